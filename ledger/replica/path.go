package replica

import (
	"cmp"
	"slices"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
)

// What a frame may say depends on the frames before it in its own chain. Where the chain
// does not fork those are all that its witness has made. Where it forks they are looked up
// here, at a cost that does not grow with the length of the chain: only with the forks,
// which are bounded.

// seenEvery is at how many places of a chain it is written down what it has seen.
const seenEvery = 64

// follow makes a link one of a chain, after the parent; nil for the first.
func (l *link) follow(parent *link) {
	l.up = parent
	if parent == nil {
		return
	}
	l.voted, l.jump = parent.voted, parent
	if j := parent.jump; j != nil && j.jump != nil && parent.frame.Seq-j.frame.Seq == j.frame.Seq-j.jump.frame.Seq {
		l.jump = j.jump
	}
}

// back returns the frame at a place of the chain up to l, which is not before it. The jumps
// are such that it takes a number of steps like the logarithm of the distance.
func (l *link) back(seq uint32) *link {
	for l.frame.Seq > seq {
		if l.jump.frame.Seq >= seq {
			l = l.jump
		} else {
			l = l.up
		}
	}
	return l
}

// precedes reports whether a is b, or before it in one chain.
func (r *Replica) precedes(a, b *link) bool {
	if a.frame.Witness != b.frame.Witness || a.frame.Seq > b.frame.Seq {
		return false
	}
	return len(r.witnesses[a.frame.Witness].forks) == 0 || b.back(a.frame.Seq) == a
}

// A ballot names what a witness votes for: an operation or a bundle.
type ballot struct {
	id     [32]byte
	bundle bool
}

// votesOn reports whether the frame itself votes for something.
func (f *Frame) votesOn(b ballot) bool {
	if b.bundle {
		_, ok := slices.BinarySearchFunc(f.Bundles, BundleID(b.id), func(v BundleVote, id BundleID) int {
			return v.ID.Compare(id)
		})
		return ok
	}
	_, ok := slices.BinarySearchFunc(f.Votes, ledger.OpID(b.id), ledger.OpID.Compare)
	return ok
}

// tallyOf returns the votes for something, nil for none.
func (r *Replica) tallyOf(b ballot) *tally {
	if b.bundle {
		if held := r.bundles[BundleID(b.id)]; held != nil {
			return &held.tally
		}
		return nil
	}
	if e := r.entries[ledger.OpID(b.id)]; e != nil {
		return e.single
	}
	return nil
}

// said reports whether a frame, or one before it in its chain, votes for something. The
// frame is nil for none.
func (r *Replica) said(l *link, b ballot) bool {
	if l == nil {
		return false
	}
	t, w := r.tallyOf(b), &r.witnesses[l.frame.Witness]
	if t == nil || !t.voters.has(l.frame.Witness) {
		return false
	}
	before := func(o *link) bool { return r.precedes(o, l) }
	return slices.ContainsFunc(w.chain[t.at[l.frame.Witness]-1], func(o *link) bool {
		return before(o) && o.frame.votesOn(b)
	}) || slices.ContainsFunc(w.again[b], before)
}

// repeat takes note of a frame that votes for what its witness has voted for, unless a frame
// before it in its chain does. The tally names another one.
func (r *Replica) repeat(l *link, b ballot) {
	w := &r.witnesses[l.frame.Witness]
	if len(w.forks) > 0 && !r.said(l, b) {
		w.sayAgain(l, b)
	}
}

// sayAgain takes note of a frame that votes for something, besides the one that the tally
// names.
func (w *witness) sayAgain(l *link, b ballot) {
	if w.again == nil {
		w.again = map[ballot][]*link{}
	}
	w.again[b] = append(w.again[b], l)
}

// newOnPath is tellsMore for a frame that may be on a side of a fork.
func (r *Replica) newOnPath(f *Frame) bool {
	parent := r.frames[f.Prev]
	if parent == nil {
		return true
	}
	return slices.ContainsFunc(f.Votes, func(id ledger.OpID) bool {
		return !r.said(parent, ballot{id: id})
	}) || slices.ContainsFunc(f.Bundles, func(v BundleVote) bool {
		return !r.said(parent, ballot{id: v.ID, bundle: true})
	}) || r.newsOnPath(f, parent)
}

// newsOnPath reports whether a frame has seen what none of those up to its parent has.
func (r *Replica) newsOnPath(f *Frame, parent *link) bool {
	seen := slices.DeleteFunc(slices.Clone(f.Seen), func(s Seen) bool { return r.seenBy(parent.written(), s) })
	for l := parent; l != nil && len(seen) > 0 && l.seen == nil; l = l.up {
		seen = slices.DeleteFunc(seen, func(s Seen) bool {
			return slices.ContainsFunc(l.frame.Seen, func(o Seen) bool {
				return r.precedes(r.frames[s.ID], r.frames[o.ID])
			})
		})
	}
	return len(seen) > 0
}

// written returns what was written down last in the chain up to a frame.
func (l *link) written() []*link {
	for l != nil && l.seen == nil {
		l = l.up
	}
	if l == nil {
		return nil
	}
	return l.seen
}

// write writes down what the chain up to a frame has seen, now and then.
func (r *Replica) write(l *link) {
	if l.frame.Seq%seenEvery != 0 {
		return
	}
	if w := &r.witnesses[l.frame.Witness]; len(w.forks) == 0 {
		l.seen = flat(w.seen)
		return
	}
	var line []*link
	for at := l; at != nil && at.seen == nil; at = at.up {
		line = append(line, at)
	}
	heads := make([][]*link, len(r.witnesses))
	for _, h := range l.written() {
		heads[h.frame.Witness] = append(heads[h.frame.Witness], h)
	}
	for _, at := range slices.Backward(line) {
		for _, s := range at.frame.Seen {
			heads[s.Witness] = r.see(heads[s.Witness], r.frames[s.ID])
		}
	}
	l.seen = flat(heads)
}

// flat returns all heads in one list, which is never nil.
func flat(heads [][]*link) []*link {
	out := make([]*link, 0, len(heads))
	for _, of := range heads {
		out = append(out, of...)
	}
	return out
}

// see returns the last frames of a witness that a chain has seen, when it sees another.
func (r *Replica) see(heads []*link, l *link) []*link {
	for i, h := range heads {
		switch {
		case r.precedes(l, h):
			return heads
		case r.precedes(h, l):
			heads[i] = l
			return heads
		}
	}
	return append(heads, l)
}

// compareLinks orders links by their places, those at one place backwards by id.
func compareLinks(a, b *link) int {
	return cmp.Or(cmp.Compare(a.frame.Seq, b.frame.Seq), p2p.PeerID(b.id).Compare(p2p.PeerID(a.id)))
}

// voteAt takes note of a frame with votes: the one before it in its chain is a leaf no more.
// The leaves are the last frames with votes, one for each side of a fork, in order.
func (w *witness) voteAt(l *link) {
	if last := l.voted; last != nil {
		if at, ok := slices.BinarySearchFunc(w.leaves, last, compareLinks); ok {
			w.leaves = slices.Delete(w.leaves, at, at+1)
		}
	}
	l.voted = l
	at, _ := slices.BinarySearchFunc(w.leaves, l, compareLinks)
	w.leaves = slices.Insert(w.leaves, at, l)
}
