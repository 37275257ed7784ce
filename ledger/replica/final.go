package replica

import (
	"slices"

	"github.com/pinfi/pinfi/ledger"
)

// Final reports whether witnesses with more than two thirds of the stake have told
// that they hold a certificate of the operation. Such an operation is in every
// checkpoint that can be agreed on, whichever witnesses agree.
//
// It counts what is beyond doubt only: votes and words of witnesses that do not fork.
func (r *Replica) Final(id ledger.OpID) bool {
	e := r.entries[id]
	for e != nil && e.item != nil && e.certified {
		if r.backed(e) && r.quorum(r.knowing(e)) {
			return true
		}
		e = r.certifiedAfter(e)
	}
	return false
}

// certifiedAfter returns the certified operation that follows a certified one in its
// lane, if there is one: a certificate of it is one of both.
func (r *Replica) certifiedAfter(e *entry) *entry {
	next := e.at.lane.place(e.at.seq + 1)
	if next == nil {
		return nil
	}
	at := slices.IndexFunc(next.rivals, func(o *entry) bool { return o.certified && o.item.Op.Prev == e.id })
	if at < 0 {
		return nil
	}
	return next.rivals[at]
}

// knowing returns the stake of the witnesses that have told that they hold votes of
// a quorum for the operation itself.
func (r *Replica) knowing(e *entry) ledger.Amount {
	places := r.votePlaces(e)
	var sum ledger.Amount
	for x := range r.witnesses {
		w := &r.witnesses[x]
		if len(w.forks) > 0 {
			continue
		}
		var seen ledger.Amount
		for v, at := range places {
			if at > 0 && (v == x || w.seen != nil && slices.ContainsFunc(w.seen[v], func(l *link) bool {
				return l.frame.Seq >= at
			})) {
				seen += r.cfg.Genesis.Witnesses[v].Stake
			}
		}
		if r.quorum(seen) {
			sum += r.cfg.Genesis.Witnesses[x].Stake
		}
	}
	return sum
}

// votePlaces returns, by witness, the place of its first frame that votes for the
// operation; 0 for those that do not vote for it, or that fork.
func (r *Replica) votePlaces(e *entry) []uint32 {
	out := make([]uint32, len(r.witnesses))
	first := func(w int, at uint32) {
		if at > 0 && (out[w] == 0 || at < out[w]) && len(r.witnesses[w].forks) == 0 {
			out[w] = at
		}
	}
	if e.single != nil {
		for w, at := range e.single.at {
			first(w, at)
		}
	}
	for _, s := range e.in {
		for w, at := range s.bundle.tally.at {
			if !s.bundle.rejected(uint16(w), s.at) {
				first(w, at)
			}
		}
	}
	return out
}
