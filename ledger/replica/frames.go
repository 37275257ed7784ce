package replica

import (
	"slices"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
)

// A link is a frame that is held, with its name.
type link struct {
	id    p2p.Digest
	frame *Frame
}

// A witness is what a replica holds of one witness.
type witness struct {
	chain   [][]*link  // by sequence number from 1: one frame, or two that fork
	parked  []*link    // waiting for a parent
	forks   []uint32   // places of chain with two frames, ascending
	sides   p2p.Digest // of the frames at forks
	turn    int        // calls of Resend
	unknown int        // operations missing that it was the first to vote for
}

// maxForks is how many frames of one place in a witness's chain are kept: two are
// proof enough that the witness is hostile.
const maxForks = 2

// ScreenFrame says whether a frame is worth verifying its signature, which it does
// not look at: with the zero Outcome it returns who must have signed what. Otherwise
// the Outcome is the one that AddFrame would return now.
func (r *Replica) ScreenFrame(f *Frame) (p2p.Signed, Outcome) {
	if !r.wellFormed(f) {
		return p2p.Signed{}, Refused
	}
	id := f.ID()
	if r.holdsFrame(f.Witness, id) {
		return p2p.Signed{}, Known
	}
	return p2p.Signed{Key: r.cfg.Genesis.Witnesses[f.Witness].Account, Digest: id, Sig: f.Sig}, 0
}

// holdsFrame reports whether a witness's frame is linked or parked.
func (r *Replica) holdsFrame(witness uint16, id p2p.Digest) bool {
	return r.frames[id] != nil ||
		slices.ContainsFunc(r.witnesses[witness].parked, func(o *link) bool { return o.id == id })
}

// AddFrame adds a frame whose signature the caller has verified, as ScreenFrame says:
// the replica does not. With it come the parked frames that waited for it. It counts
// their votes, and folds what they make possible. The frame must not change
// afterwards.
func (r *Replica) AddFrame(f *Frame) Outcome {
	if !r.wellFormed(f) {
		return Refused
	}
	l := &link{id: f.ID(), frame: f}
	if r.holdsFrame(f.Witness, l.id) {
		return Known
	}
	w := &r.witnesses[f.Witness]
	if f.Seq > 1 && r.frames[f.Prev] == nil {
		if len(w.parked) >= r.cfg.Limits.Parked {
			return Refused
		}
		w.parked = append(w.parked, l)
		r.parked++
		return Parked
	}
	outcome := r.link(l)
	if outcome != Refused {
		r.unpark(w, l)
		r.fold()
	}
	return outcome
}

// wellFormed checks what does not depend on other frames.
func (r *Replica) wellFormed(f *Frame) bool {
	return f.Chain == r.state.Chain() && f.Epoch == r.state.Epoch() && int(f.Witness) < len(r.witnesses) &&
		f.Seq > 0 && (f.Seq == 1) == f.Prev.IsZero() &&
		len(f.Votes) > 0 && len(f.Votes) <= MaxVotes && ascending(f.Votes)
}

// link adds a frame whose parent is held.
func (r *Replica) link(l *link) Outcome {
	f := l.frame
	w := &r.witnesses[f.Witness]
	if f.Seq > 1 {
		parent := r.frames[f.Prev].frame
		if parent.Witness != f.Witness || parent.Seq+1 != f.Seq || parent.Slot > f.Slot {
			return Refused
		}
	}
	if !r.tellsMore(f) {
		return Refused
	}
	if int(f.Seq) > len(w.chain) {
		w.chain = append(w.chain, nil) // the parent is held: exactly one is missing
	}
	rivals := w.chain[f.Seq-1]
	if len(rivals) >= maxForks || w.unknown+r.countUnknown(f.Votes) > r.cfg.Limits.Unknown {
		if len(rivals) == 0 {
			w.chain = w.chain[:f.Seq-1]
		}
		return Refused
	}
	r.quiet = false
	w.chain[f.Seq-1] = append(rivals, l)
	r.frames[l.id] = l
	for _, id := range f.Votes {
		r.vote(f.Witness, id)
	}
	if len(rivals) == 0 {
		return Added
	}
	w.fork(f.Seq)
	r.accuse(Evidence{
		Offence: FrameFork, Account: r.cfg.Genesis.Witnesses[f.Witness].Account,
		Seq: uint64(f.Seq), First: rivals[0].id, Second: l.id,
	})
	return Equivocation
}

// tellsMore reports whether a frame whose parent is held votes for an operation
// that none of the frames before it votes for. Only those count: were a vote on the
// other side of a fork to count too, it would depend on their order which frames
// are refused, and with them those that follow.
func (r *Replica) tellsMore(f *Frame) bool {
	w := &r.witnesses[f.Witness]
	for _, id := range f.Votes {
		if e := r.entries[id]; e == nil || !e.voters.has(f.Witness) {
			return true
		}
	}
	if len(w.forks) == 0 && int(f.Seq) > len(w.chain) {
		return false // all frames held are before it
	}
	left := slices.Clone(f.Votes)
	for l := r.frames[f.Prev]; l != nil && len(left) > 0; l = r.frames[l.frame.Prev] {
		left = slices.DeleteFunc(left, func(id ledger.OpID) bool {
			_, there := slices.BinarySearchFunc(l.frame.Votes, id, ledger.OpID.Compare)
			return there
		})
	}
	return len(left) > 0
}

// unpark links the parked frames that descend from l.
func (r *Replica) unpark(w *witness, l *link) {
	parents := []*link{l}
	for len(parents) > 0 && len(w.parked) > 0 {
		parent := parents[0]
		parents = parents[1:]
		var children []*link
		w.parked = slices.DeleteFunc(w.parked, func(o *link) bool {
			if o.frame.Prev != parent.id {
				return false
			}
			children = append(children, o)
			return true
		})
		r.parked -= len(children)
		for _, child := range children {
			if r.link(child) != Refused {
				parents = append(parents, child)
			}
		}
	}
}

// countUnknown returns how many of the ids have no entry.
func (r *Replica) countUnknown(ids []ledger.OpID) int {
	n := 0
	for _, id := range ids {
		if r.entries[id] == nil {
			n++
		}
	}
	return n
}

// Parked reports whether frames wait for a parent.
func (r *Replica) Parked() bool { return r.parked > 0 }

// Heads returns, by witness, the sequence number after which this replica asks
// for frames: that of the last frame held, or less when a parked frame shows that
// it lacks one side of a fork.
func (r *Replica) Heads() []uint32 {
	out := make([]uint32, len(r.witnesses))
	for i := range r.witnesses {
		w := &r.witnesses[i]
		out[i] = uint32(len(w.chain))
		for _, l := range w.parked { // a parked frame lacks a parent, of sequence number Seq-1
			out[i] = min(out[i], l.frame.Seq-2)
		}
	}
	return out
}

// fork takes note of a second frame at a place.
func (w *witness) fork(seq uint32) {
	at, _ := slices.BinarySearch(w.forks, seq)
	w.forks = slices.Insert(w.forks, at, seq)
	w.sides = p2p.Digest{}
}

// ids returns the ids of the frames at a place, in order.
func (w *witness) ids(seq uint32) []byte {
	out := make([]byte, 0, maxForks*len(p2p.Digest{}))
	for _, l := range byID(w.chain[seq-1]) {
		out = append(out, l.id[:]...)
	}
	return out
}

// Tips returns, by witness, a digest of the frames held at the end of its chain and
// wherever it forks. Replicas with equal Heads and different Tips hold different
// sides of a fork: each sends the other what comes after Resend.
func (r *Replica) Tips() []p2p.Digest {
	out := make([]p2p.Digest, len(r.witnesses))
	for i := range r.witnesses {
		w := &r.witnesses[i]
		if len(w.chain) == 0 {
			continue
		}
		if len(w.forks) > 0 && w.sides == (p2p.Digest{}) {
			var ids []byte
			for _, seq := range w.forks {
				ids = append(ids, w.ids(seq)...)
			}
			w.sides = p2p.Sum("pinfi/sides/1", ids)
		}
		out[i] = p2p.Sum("pinfi/tips/1", w.sides[:], w.ids(uint32(len(w.chain))))
	}
	return out
}

// Resend returns the sequence number after which to send a witness's frames to a
// replica that has the same head and another tip: the end of the chain and the
// places where it forks come up in turn. The witness must be one.
func (r *Replica) Resend(witness uint16) uint32 {
	w := &r.witnesses[witness]
	at := w.turn % (len(w.forks) + 1)
	w.turn++
	if at > 0 {
		return w.forks[at-1] - 1
	}
	return uint32(max(1, len(w.chain)) - 1)
}

// Turn returns another witness at each call, and all in turn: with which to begin
// where there may not be room for the frames of all.
func (r *Replica) Turn() int {
	r.turn++
	return r.turn % len(r.witnesses)
}

// FramesAfter returns at most limit frames of a witness with larger sequence
// numbers than seq, in order, both sides of a fork included.
func (r *Replica) FramesAfter(witness uint16, seq uint32, limit int) []*Frame {
	if int(witness) >= len(r.witnesses) {
		return nil
	}
	chain := r.witnesses[witness].chain
	var out []*Frame
	for i := int(seq); i < len(chain); i++ {
		for _, l := range byID(chain[i]) {
			if len(out) >= limit {
				return out
			}
			out = append(out, l.frame)
		}
	}
	return out
}

// byID returns the links in order of ids.
func byID(links []*link) []*link {
	if len(links) < 2 {
		return links
	}
	return slices.SortedFunc(slices.Values(links), func(a, b *link) int {
		return p2p.PeerID(a.id).Compare(p2p.PeerID(b.id))
	})
}
