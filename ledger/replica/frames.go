package replica

import (
	"slices"

	"github.com/pinfi/pinfi/p2p"
)

// A link is a frame that is held, with its name.
type link struct {
	id     p2p.Digest
	frame  *Frame
	order  int  // place in Replica.log
	inSlot load // of its chain up to it, all that names its slot

	up, jump *link   // the one before it in its chain, and one further back; nil for the first
	voted    *link   // last one with votes of its chain up to it
	seen     []*link // what its chain up to it has seen: see Replica.write; nil elsewhere
}

// A witness is what a replica holds of one witness.
type witness struct {
	chain   [][]*link  // by sequence number from 1: one frame, or more that fork
	leaves  []*link    // last ones with votes, one for each side of a fork
	seen    [][]*link  // by witness, the last frames that the chain has seen, while it does not fork
	parked  int        // frames that wait for others
	forks   []uint32   // places of chain with more than one frame, ascending
	sides   p2p.Digest // of the frames at forks
	turn    int        // calls of Resend
	unknown int        // operations and bundles missing that it was the first to vote for

	charged int      // votes that wait to be judged
	behind  []charge // of them, those that may go by an absent bundle

	again map[ballot][]*link // by what they vote for, frames that the tally does not name: see repeat
}

// maxForks is how many frames of one place in a witness's chain are kept: two are
// proof enough that the witness is hostile. More are kept only where frames of
// others, which do not fork, rest on them.
const maxForks = 2

// maxForked is how many places of a chain may have more than one frame, with the same
// exception: who has not told of all sides of a fork votes for nothing.
const maxForked = 64

// ScreenFrame says whether a frame is worth the work of verifying its signature, and
// then what is to be verified, with the zero Outcome; else Known or Refused.
func (r *Replica) ScreenFrame(f *Frame) (p2p.Signed, Outcome) {
	id, out := r.screen(f)
	if out != 0 {
		return p2p.Signed{}, out
	}
	return p2p.Signed{Key: r.cfg.Genesis.Witnesses[f.Witness].Account, Digest: id, Sig: f.Sig}, 0
}

// screen is ScreenFrame that returns the frame's name.
func (r *Replica) screen(f *Frame) (p2p.Digest, Outcome) {
	if !r.wellFormed(f) {
		return p2p.Digest{}, Refused
	}
	id := f.ID()
	if r.frames[id] != nil || r.parked[id] != nil {
		return id, Known
	}
	if r.witnesses[f.Witness].parked >= r.cfg.Limits.Parked && len(r.lacks(f)) > 0 &&
		!r.recalls && !r.parks(id) {
		return id, Refused
	}
	return id, 0
}

// AddFrame adds a frame whose signature the caller has verified, and the parked ones
// that waited for it, counts their votes, and folds what they make possible. The
// frame must not change afterwards.
func (r *Replica) AddFrame(f *Frame) Outcome {
	id, out := r.screen(f)
	if out != 0 {
		return out
	}
	l := &link{id: id, frame: f}
	if lacks := r.lacks(f); len(lacks) > 0 {
		r.park(l, lacks)
		return Parked
	}
	outcome := r.link(l)
	if outcome != Refused {
		r.unpark(l)
		r.fold()
		r.judge()
	}
	return outcome
}

// wellFormed checks what does not depend on other frames.
func (r *Replica) wellFormed(f *Frame) bool {
	if f.Chain != r.state.Chain() || f.Epoch != r.state.Epoch() || int(f.Witness) >= len(r.witnesses) ||
		f.Seq == 0 || (f.Seq == 1) != f.Prev.IsZero() || !f.bounded() || !f.ordered() || !f.votes() && len(f.Seen) == 0 {
		return false
	}
	for _, s := range f.Seen {
		if int(s.Witness) >= len(r.witnesses) || s.Witness == f.Witness || s.Seq == 0 {
			return false
		}
	}
	return true
}

// lacks returns the names of the frames that a frame rests on and that are not
// held.
func (r *Replica) lacks(f *Frame) []p2p.Digest {
	var out []p2p.Digest
	if f.Seq > 1 && r.frames[f.Prev] == nil {
		out = append(out, f.Prev)
	}
	for i := range f.Seen {
		if r.seenLink(&f.Seen[i]) == nil {
			out = append(out, f.Seen[i].ID)
		}
	}
	return out
}

// seenLink returns the frame that a Seen names by its id, nil when it is not held. It
// stands where the Seen says, unless that is wrong.
func (r *Replica) seenLink(s *Seen) *link {
	if int(s.Witness) < len(r.witnesses) {
		chain := r.witnesses[s.Witness].chain
		if at := int(s.Seq) - 1; at >= 0 && at < len(chain) {
			for _, l := range chain[at] {
				if l.id == s.ID {
					return l
				}
			}
		}
	}
	return r.frames[s.ID]
}

// parks reports whether there is room to park a frame past the bound of its witness:
// what frames of honest witnesses may rest on must not be kept out by junk.
func (r *Replica) parks(id p2p.Digest) bool {
	return len(r.parked) < r.cfg.Limits.Parked*len(r.witnesses) && r.pinned(id)
}

// Recall is AddFrame for a frame that a former life held: the bounds on what strangers
// bring let it in once, in an order that is forgotten.
func (r *Replica) Recall(f *Frame) Outcome {
	r.recalls = true
	defer func() { r.recalls = false }()
	return r.AddFrame(f)
}

// park keeps a frame until those that it rests on have come.
func (r *Replica) park(l *link, lacks []p2p.Digest) {
	r.parked[l.id] = l
	for _, lack := range lacks {
		if r.waits[lack] == nil {
			r.lacking.add(lack, len(r.waits), r.waitsFor)
		}
		r.waits[lack] = append(r.waits[lack], l)
	}
	r.witnesses[l.frame.Witness].parked++
}

// unpark links the parked frames that a linked one makes whole.
func (r *Replica) unpark(l *link) {
	done := []*link{l}
	for len(done) > 0 {
		waiting := r.waits[done[0].id]
		delete(r.waits, done[0].id)
		done = done[1:]
		for _, next := range waiting {
			if r.parked[next.id] == nil || len(r.lacks(next.frame)) > 0 {
				continue
			}
			delete(r.parked, next.id)
			r.witnesses[next.frame.Witness].parked--
			if r.link(next) != Refused {
				done = append(done, next)
			}
		}
	}
}

// link adds a frame of which all that it rests on is held.
func (r *Replica) link(l *link) Outcome {
	f := l.frame
	w := &r.witnesses[f.Witness]
	if !r.follows(l) || !r.tellsMore(f) {
		return Refused
	}
	var rivals []*link
	if int(f.Seq) <= len(w.chain) {
		rivals = w.chain[f.Seq-1]
	}
	forked := len(rivals) >= maxForks || len(rivals) == 1 && len(w.forks) >= maxForked
	if forked || w.unknown+r.countUnknown(f) > r.cfg.Limits.Unknown {
		if !r.recalls && !r.pinned(l.id) {
			return Refused
		}
	}
	if len(rivals) == 0 {
		w.chain = append(w.chain, nil) // the parent is held: exactly one is missing
	}
	w.chain[f.Seq-1] = append(rivals, l)
	l.follow(r.frames[f.Prev])
	l.order = len(r.log)
	r.log = append(r.log, l)
	r.frames[l.id] = l
	r.linked = append(r.linked, f)
	r.quiet = false
	if len(rivals) > 0 {
		w.fork(f.Seq)
		r.accuse(Evidence{
			Offence: FrameFork, Account: r.cfg.Genesis.Witnesses[f.Witness].Account,
			Seq: uint64(f.Seq), First: rivals[0].id, Second: l.id,
		})
	}
	r.countVotes(l)
	r.take(w, l)
	if len(rivals) > 0 {
		return Equivocation
	}
	return Added
}

// countVotes counts what a linked frame votes for.
func (r *Replica) countVotes(l *link) {
	f := l.frame
	for _, id := range f.Votes {
		r.voteOne(f.Witness, id, l)
	}
	for i := range f.Bundles {
		r.voteBundle(f.Witness, &f.Bundles[i], l)
	}
	if f.votes() {
		r.unjudged = append(r.unjudged, l)
	}
}

// take brings what is known of a witness's chain up to a linked frame.
func (r *Replica) take(w *witness, l *link) {
	if len(w.forks) == 0 {
		for i := range l.frame.Seen {
			s := &l.frame.Seen[i]
			if w.seen == nil {
				w.seen = make([][]*link, len(r.witnesses))
			}
			w.seen[s.Witness] = r.see(w.seen[s.Witness], r.seenLink(s))
		}
	}
	r.write(l)
	if l.frame.votes() {
		w.voteAt(l)
	}
	switch {
	case r.voting && l.frame.Witness == r.self:
		seen, _ := r.news()
		r.unseen = len(seen) > 0
	case l.frame.votes():
		r.unseen = true
	}
}

// follows reports whether a frame fits those that it rests on, which are held, and
// does not come too often, or say too much: see load.
func (r *Replica) follows(l *link) bool {
	f := l.frame
	l.inSlot = loadOf(f)
	if f.Seq > 1 {
		parent := r.frames[f.Prev]
		if parent.frame.Witness != f.Witness || parent.frame.Seq+1 != f.Seq || parent.frame.Slot > f.Slot {
			return false
		}
		if parent.frame.Slot == f.Slot {
			l.inSlot = l.inSlot.plus(parent.inSlot)
		}
	}
	for i := range f.Seen {
		s := &f.Seen[i]
		if seen := r.seenLink(s).frame; seen.Witness != s.Witness || seen.Seq != s.Seq || !seen.votes() {
			return false
		}
	}
	return l.inSlot.within(r.perSlot())
}

// tellsMore reports whether a frame that follows those it rests on says something
// that none of the frames before it in its chain says. Only those count: were the
// other side of a fork to count too, it would depend on their order which frames
// are refused, and with them those that follow.
func (r *Replica) tellsMore(f *Frame) bool {
	w := &r.witnesses[f.Witness]
	for _, id := range f.Votes {
		if e := r.entries[id]; e == nil || e.single == nil || !e.single.voters.has(f.Witness) {
			return true
		}
	}
	for i := range f.Bundles {
		if b := r.bundles[f.Bundles[i].ID]; b == nil || !b.tally.voters.has(f.Witness) {
			return true
		}
	}
	if len(w.forks) == 0 && int(f.Seq) > len(w.chain) { // all frames held are before it
		return slices.ContainsFunc(f.Seen, func(s Seen) bool { return w.seen == nil || !r.seenBy(w.seen[s.Witness], s) })
	}
	return r.newOnPath(f)
}

// seenBy reports whether one of the frames is the named one or comes after it.
func (r *Replica) seenBy(heads []*link, s Seen) bool {
	l := r.seenLink(&s)
	return slices.ContainsFunc(heads, func(h *link) bool { return r.precedes(l, h) })
}

// pinned reports whether a parked frame of a witness that does not fork rests on the
// named frame. Such a frame is kept even as the third side of a fork: an honest
// witness counted its votes.
func (r *Replica) pinned(id p2p.Digest) bool {
	want, done := []p2p.Digest{id}, map[p2p.Digest]bool{}
	for len(want) > 0 {
		at := want[0]
		want = want[1:]
		for _, l := range r.waits[at] {
			if done[l.id] {
				continue
			}
			if len(r.witnesses[l.frame.Witness].forks) == 0 {
				return true
			}
			done[l.id] = true
			want = append(want, l.id)
		}
	}
	return false
}

// countUnknown returns how many operations and bundles a frame is the first to vote
// for.
func (r *Replica) countUnknown(f *Frame) int {
	n := 0
	for _, id := range f.Votes {
		if r.entries[id] == nil {
			n++
		}
	}
	for i := range f.Bundles {
		if r.bundles[f.Bundles[i].ID] == nil {
			n++
		}
	}
	return n
}

// Parked reports whether frames wait for others that they rest on.
func (r *Replica) Parked() bool { return len(r.parked) > 0 }

// Ready reports whether all that a frame rests on is held.
func (r *Replica) Ready(f *Frame) bool { return len(r.lacks(f)) == 0 }

// TakeLinked returns the frames that were added since the last call, those that had
// been parked among them, in an order in which they can be added again.
func (r *Replica) TakeLinked() []*Frame {
	out := r.linked
	r.linked = nil
	return out
}

// fork takes note of another frame at a place.
func (w *witness) fork(seq uint32) {
	if at, there := slices.BinarySearch(w.forks, seq); !there {
		w.forks = slices.Insert(w.forks, at, seq)
	}
	w.sides = p2p.Digest{}
}

// news returns what self has not said yet that it has seen, at most two sides of each
// witness, and whether that is all.
func (r *Replica) news() (out []Seen, all bool) {
	mine := &r.witnesses[r.self]
	all = true
	for i := range r.witnesses {
		if uint16(i) == r.self {
			continue
		}
		n := 0
		for _, l := range r.witnesses[i].leaves {
			s := Seen{Witness: uint16(i), Seq: l.frame.Seq, ID: l.id}
			if mine.seen != nil && r.seenBy(mine.seen[i], s) {
				continue
			}
			if n == maxForks {
				all = false
				break
			}
			out = append(out, s)
			n++
		}
	}
	return out, all
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
