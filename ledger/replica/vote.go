package replica

import (
	"slices"

	"github.com/pinfi/pinfi/ledger"
)

// choicesMax bounds the operations that one frame chooses.
const choicesMax = 4096

// HasVotes reports whether NextFrame would vote for something.
func (r *Replica) HasVotes() bool {
	if !r.speaks() || r.unknown > 0 || r.quiet {
		return false
	}
	if len(r.choose(1)) > 0 {
		return true
	}
	r.quiet = true
	return false
}

// HasNews reports whether NextFrame would tell of votes of others that came since
// the witness's last frame.
func (r *Replica) HasNews() bool { return r.speaks() && r.unseen }

// speaks reports whether self is a witness that may make frames. One whose chain forks
// has lost what it said in a former life: it does not know what it has voted for, and
// says nothing more.
func (r *Replica) speaks() bool { return r.voting && len(r.witnesses[r.self].forks) == 0 }

// NextFrame returns the next frame of this replica's own witness, unsigned, and nil
// when there is nothing to tell, the witness has said enough in this slot, or its chain
// forks. It
// votes for what an honest witness may vote for: operations that are next in their
// lanes and applicable, or follow such a one that the witness voted for, in places
// where it has not voted. It votes for none while one that it once voted for is
// missing, because its place is unknown. Before anybody else sees the frame the
// caller signs it, adds it with AddFrame and makes it durable, together with the
// operations it votes for. It panics when SetSelf was not called.
func (r *Replica) NextFrame(slot ledger.Slot) *Frame {
	if !r.voting {
		panic("replica: next frame of a replica that is no witness")
	}
	if !r.speaks() {
		return nil
	}
	room := r.perSlot()
	f := &Frame{Chain: r.state.Chain(), Epoch: r.state.Epoch(), Witness: r.self, Seq: 1, Slot: slot}
	if chain := r.witnesses[r.self].chain; len(chain) > 0 {
		last := chain[len(chain)-1][0]
		f.Seq, f.Prev, f.Slot = last.frame.Seq+1, last.id, max(slot, last.frame.Slot)
		if f.Slot == last.frame.Slot {
			room = last.inSlot.left(room)
		}
		if room.frames == 0 {
			return nil
		}
	}
	seen, all := r.news()
	if f.Seen = seen; all && r.unknown == 0 { // a vote that rests on what is not said looks like a wrong one
		r.ballot(f, int(min(room.votes, MaxVotes)), int(min(room.bundles, MaxBundles)))
	}
	if !f.votes() && len(f.Seen) == 0 {
		return nil
	}
	f.sort()
	return f
}

// choose returns at most limit operations to vote for, in the order their lanes came
// and in the order of each lane. It drops lanes with nothing to choose ever.
func (r *Replica) choose(limit int) []*entry {
	version := r.state.Applied() + 1
	var out []*entry
	r.open = slices.DeleteFunc(r.open, func(l *lane) bool {
		if len(out) >= limit || l.checked == version {
			return false
		}
		chosen, more := r.chooseIn(l, limit-len(out))
		out = append(out, chosen...)
		if len(chosen) == 0 && more {
			l.checked = version
		}
		l.open = more || len(chosen) > 0
		return !l.open
	})
	return out
}

// chooseIn returns what to vote for in a lane, and whether something stands in the
// lane that may be chosen later.
func (r *Replica) chooseIn(l *lane, limit int) (out []*entry, more bool) {
	var row row
	for seq := l.head + 1; len(out) < limit; seq++ {
		p := l.place(seq)
		if p == nil || p.certified > 0 {
			return out, false
		}
		if p.mine != nil {
			if !r.extend(&row, p.mine.item, true) {
				return out, true
			}
			continue
		}
		at := slices.IndexFunc(p.rivals, func(e *entry) bool { return r.extend(&row, e.item, false) })
		if at < 0 {
			return out, len(p.rivals) > 0
		}
		out = append(out, p.rivals[at])
	}
	return out, true
}

// A row is operations of a lane that the witness votes for, one after another, and that
// are not applied yet.
type row struct {
	last   *ledger.Item // nil: none
	left   ledger.Amount
	closed bool // nothing may follow
}

// extend adds an operation to a row if an honest witness votes for it there, or has.
func (r *Replica) extend(w *row, it *ledger.Item, voted bool) bool {
	if w.last == nil {
		if !voted && r.state.MayVoteItem(it) != ledger.OK {
			return false
		}
		left, ok := r.state.Left(it)
		w.last, w.left, w.closed = it, left, !ok
		return true
	}
	if w.closed {
		return false
	}
	left, res := r.state.Follow(w.last, it, w.left)
	if res != ledger.OK {
		return false
	}
	w.last, w.left = it, left
	return true
}

// ballot puts votes into a frame, so many at most: for bundles where most of one is
// chosen, else one by one.
func (r *Replica) ballot(f *Frame, votes, bundles int) {
	r.round++
	chosen := r.choose(choicesMax)
	for _, e := range chosen {
		e.chosen = r.round
	}
	rejects := 0
	for _, e := range chosen {
		if e.cast == r.round {
			continue
		}
		for _, s := range e.in {
			v, ok := r.bundleVote(s.bundle)
			if ok && len(f.Bundles) < bundles && rejects+len(v.Rejects) <= MaxRejects {
				rejects += len(v.Rejects)
				f.Bundles = append(f.Bundles, v)
				r.castAll(s.bundle, v.Rejects)
				break
			}
		}
		if e.cast != r.round && len(f.Votes) < votes && r.preceded(e) {
			e.cast = r.round
			f.Votes = append(f.Votes, e.id)
		}
	}
	r.quiet = len(chosen) == 0
}

// bundleVote returns the vote for a bundle in the frame that is being made, and
// whether it is better than votes one by one: it leaves out at most half.
func (r *Replica) bundleVote(b *bundle) (BundleVote, bool) {
	v := BundleVote{ID: b.id}
	if len(b.ops) < 2 || b.cast == r.round || b.tally.voters.has(r.self) {
		return v, false
	}
	taken := map[*entry]bool{}
	for i, e := range b.ops {
		if e.at.mine == e || e.cast == r.round || e.chosen == r.round && (r.preceded(e) || r.takenBefore(e, taken)) {
			taken[e] = true
			continue
		}
		if v.Rejects = append(v.Rejects, uint16(i)); 2*len(v.Rejects) > len(b.ops) {
			return v, false
		}
	}
	return v, true
}

// takenBefore reports whether the operation before e in its lane is among the taken.
func (r *Replica) takenBefore(e *entry, taken map[*entry]bool) bool {
	last := r.entries[e.item.Op.Prev]
	return last != nil && taken[last]
}

// preceded reports whether all that stands before a chosen operation in its lane is
// applied or voted for.
func (r *Replica) preceded(e *entry) bool {
	if e.at.seq == e.at.lane.head+1 {
		return true
	}
	last := r.entries[e.item.Op.Prev]
	return last != nil && last.item != nil && (last.cast == r.round || last.at.mine == last)
}

// castAll takes note that the frame votes for a bundle.
func (r *Replica) castAll(b *bundle, rejects []uint16) {
	b.cast = r.round
	for i, e := range b.ops {
		if _, out := slices.BinarySearch(rejects, uint16(i)); !out {
			e.cast = r.round
		}
	}
}
