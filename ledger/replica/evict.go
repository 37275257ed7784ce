package replica

import (
	"cmp"
	"slices"

	"github.com/pinfi/pinfi/ledger"
)

// evictShare is which part of Limits.Pending goes at once: to look for it takes a
// look at everything that is pending.
const evictShare = 16

// evict drops pending operations that nobody voted for and that are not votable,
// as if again and again one of the account that has most of them, the last in its
// lanes. It spares this replica's own account, and the first few of each account.
// It reports whether there is room afterwards.
func (r *Replica) evict(few int) bool {
	version := r.state.Applied() + 1
	if r.packed == version && few >= r.packedFew {
		return false
	}
	all := r.dispensable()
	ranks := make(map[*entry]int, len(all)) // place among those of its account
	for i, e := range all {
		if i > 0 && all[i-1].item.Op.Account == e.item.Op.Account {
			ranks[e] = ranks[all[i-1]] + 1
		}
	}
	all = slices.DeleteFunc(all, func(e *entry) bool { return ranks[e] < few })
	if len(all) == 0 {
		r.packed, r.packedFew = version, few
		return false
	}
	slices.SortStableFunc(all, func(a, b *entry) int { return cmp.Compare(ranks[b], ranks[a]) })
	for _, e := range all[:min(len(all), max(1, r.cfg.Limits.Pending/evictShare))] {
		r.drop(e)
	}
	return true
}

// dispensable returns the pending operations of strangers that no vote speaks of and
// that are not votable, by account, lane, place and id.
func (r *Replica) dispensable() []*entry {
	var all []*entry
	for _, e := range r.strays {
		if e.pending && r.bounds(e) && r.free(e) && r.state.MayVoteItem(e.item) != ledger.OK {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b *entry) int {
		x, y := a.item.Op, b.item.Op
		return cmp.Or(x.Account.Compare(y.Account), cmp.Compare(x.Lane, y.Lane), cmp.Compare(x.Seq, y.Seq),
			a.id.Compare(b.id))
	})
	return all
}

// drop forgets a pending operation, and its lane when nothing else is in it.
func (r *Replica) drop(e *entry) {
	r.settle(e)
	r.forget(e)
	p, l := e.at, e.at.lane
	p.rivals = slices.DeleteFunc(p.rivals, func(o *entry) bool { return o == e })
	if len(p.rivals) > 0 {
		return
	}
	l.places = slices.DeleteFunc(l.places, func(o placed) bool { return o.place == p })
	if len(l.places) > 0 {
		return
	}
	r.open = slices.DeleteFunc(r.open, func(o *lane) bool { return o == l })
	own := l.owner
	own.lanes = slices.DeleteFunc(own.lanes, func(o *lane) bool { return o == l })
	if len(own.lanes) == 0 {
		delete(r.owners, l.key.account)
	}
}

// outbid makes room for a votable operation by dropping those that pay a lower fee a
// byte, the lowest first; evict has dropped what follows them. It reports whether there
// is room.
func (r *Replica) outbid(op *ledger.Op) bool {
	if r.floor != nil && !cheaper(r.floor, op) {
		return false
	}
	all := slices.DeleteFunc(slices.Clone(r.strays), func(e *entry) bool {
		return !e.pending || !r.bounds(e) || !r.free(e)
	})
	slices.SortFunc(all, func(a, b *entry) int {
		switch {
		case cheaper(a.item.Op, b.item.Op):
			return -1
		case cheaper(b.item.Op, a.item.Op):
			return 1
		}
		return a.id.Compare(b.id)
	})
	n := 0
	for _, e := range all[:min(len(all), max(1, r.cfg.Limits.Pending/evictShare))] {
		if !cheaper(e.item.Op, op) {
			break
		}
		r.drop(e)
		n++
	}
	if n < len(all) {
		r.floor = all[n].item.Op
	}
	return n > 0
}

// cheaper reports whether a pays a lower fee a byte than b.
func cheaper(a, b *ledger.Op) bool {
	left, _ := ledger.MulDivFloor(a.Fee, uint64(b.Size()), 1) // at most the supply times 1024: fits
	right, _ := ledger.MulDivFloor(b.Fee, uint64(a.Size()), 1)
	return left < right
}
