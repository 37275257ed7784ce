package replica

import (
	"fmt"
	"slices"

	"github.com/pinfi/pinfi/ledger"
)

// vote counts a witness's vote for an operation, once.
func (r *Replica) vote(w uint16, id ledger.OpID) {
	e := r.entries[id]
	if e == nil {
		e = &entry{id: id, sponsor: w}
		r.entries[id] = e
		r.missing[id] = e
		r.witnesses[w].unknown++
	}
	if !e.voters.add(w) {
		return
	}
	if r.pending[id] != nil && r.bounds(e) {
		r.unvoted--
	}
	e.stake += r.cfg.Genesis.Witnesses[w].Stake
	if r.voting && w == r.self {
		if e.item == nil {
			r.unknown++
		} else {
			e.at.locked = true
		}
	}
	if e.item != nil && len(e.at.rivals) > 1 {
		r.conflict(w, e)
	}
	if !e.certified && 3*e.stake > 2*r.stake { // three times the supply fits
		e.certified = true
		if e.item != nil {
			r.certify(e)
		}
	}
}

// certify takes note that an operation is both held and certified.
func (r *Replica) certify(e *entry) {
	r.settle(e)
	p := e.at
	p.certified++
	if p.certified == 1 {
		r.ready = append(r.ready, e)
		return
	}
	r.stuck = slices.DeleteFunc(r.stuck, func(o *entry) bool { return o.at == p })
	// Two certificates for one place: more than a third of the stake is hostile.
	// Neither operation may count on any replica, so what rested on the first goes.
	for _, rival := range p.rivals {
		if !rival.certified {
			continue
		}
		r.doubt = r.doubt || rival.applied
		if rival == e || p.certified == 2 {
			r.applied = append(r.applied, Applied{Op: rival.item.Op, Result: ledger.Equivocation})
		}
	}
	key := e.key()
	r.accuse(Evidence{
		Offence: DoubleCertificate, Account: key.account, Lane: key.lane, Seq: key.seq,
		First: [32]byte(p.rivals[0].id), Second: [32]byte(e.id),
	})
}

// fold applies certified operations until no more can be. The outcome does not
// depend on the order in which it tries them: an operation only ever waits for
// others, and each lane's are applied in the lane's order.
func (r *Replica) fold() {
	if r.doubt {
		r.rebuild()
		return
	}
	before := r.state.Applied()
	r.run()
	if r.state.Applied() != before && !r.state.Conserved() {
		panic(fmt.Sprintf("replica: money not conserved: %+v", r.state.Supply()))
	}
}

// run is fold on a state that needs no rebuilding.
func (r *Replica) run() {
	for {
		before := r.state.Applied()
		for len(r.ready) > 0 {
			e := r.ready[len(r.ready)-1]
			r.ready = r.ready[:len(r.ready)-1]
			r.try(e)
		}
		if r.state.Applied() == before || len(r.stuck) == 0 {
			return
		}
		r.ready, r.stuck = r.stuck, r.ready[:0]
		for _, e := range r.ready {
			e.stuck = false
		}
	}
}

// try applies a certified operation, or leaves it to wait.
func (r *Replica) try(e *entry) {
	if e.applied || e.stuck || e.at.certified > 1 {
		return
	}
	key := e.key()
	head, _ := r.state.Head(key.account, key.lane)
	if key.seq != head+1 {
		return // advance comes back to it
	}
	if r.state.ApplyItem(e.item) != ledger.OK {
		e.stuck = true
		r.stuck = append(r.stuck, e)
		return
	}
	e.applied = true
	if !e.reported {
		e.reported = true
		r.applied = append(r.applied, Applied{Op: e.item.Op, Result: ledger.OK})
	}
	r.advance(e, key)
}

// advance drops the rivals of an applied operation and turns to the next place.
func (r *Replica) advance(e *entry, key placeKey) {
	kept := e.at.rivals[:0]
	for _, rival := range e.at.rivals {
		r.settle(rival)
		if rival != e && rival.stake == 0 {
			delete(r.entries, rival.id)
			continue
		}
		kept = append(kept, rival)
	}
	clear(e.at.rivals[len(kept):])
	e.at.rivals = kept
	key.seq++
	next := r.places[key]
	if next == nil {
		return
	}
	for _, rival := range next.rivals {
		if rival.certified {
			r.ready = append(r.ready, rival)
		} else {
			r.open = append(r.open, rival)
		}
	}
}

// rebuild folds everything again from genesis, and reports what no longer counts.
// It is needed only when hostile stake certified two rivals, so its cost does not
// matter.
func (r *Replica) rebuild() {
	r.doubt = false
	r.state.Reset()
	r.ready, r.stuck, r.open = nil, nil, nil
	ids := firstIDs(r.entries, len(r.entries))
	for _, id := range ids {
		e := r.entries[id]
		e.applied, e.stuck, e.checked = false, false, 0
		if e.item != nil && e.certified && e.item.Op.Seq == 1 { // advance comes to the others
			r.ready = append(r.ready, e)
		}
	}
	r.run()
	if !r.state.Conserved() {
		panic(fmt.Sprintf("replica: money not conserved: %+v", r.state.Supply()))
	}
	r.open = nil
	for _, id := range ids {
		e := r.entries[id]
		if e == nil || e.item == nil {
			continue
		}
		if e.reported && !e.applied {
			e.reported = false
			r.applied = append(r.applied, Applied{Op: e.item.Op, Result: ledger.Reverted})
		}
		if !e.certified {
			r.settle(e)
			r.await(e, e.key())
		}
	}
}
