package replica

import (
	"fmt"
	"slices"

	"github.com/pinfi/pinfi/ledger"
)

// certifyUp takes note that an operation is certified, and with it those before it in
// its lane: a vote for an operation is a vote for all of them.
func (r *Replica) certifyUp(e *entry) {
	if l := e.at.lane; e.at.seq == l.head+1 && (l.top == nil || l.topID == e.item.Op.Prev) {
		e.certified = true // all that it follows is, being applied
		r.certify(e)
		return
	}
	line := []*entry{e}
	for !r.flaws.perOp {
		e = r.before(e)
		if e == nil || e.certified {
			break
		}
		line = append(line, e)
	}
	for _, e := range slices.Backward(line) {
		e.certified = true
		r.certify(e)
	}
}

// before returns the held operation that a held one follows in its lane; nil when
// there is none. One that is not held is asked for.
func (r *Replica) before(e *entry) *entry {
	op := e.item.Op
	if op.Seq == 1 {
		return nil
	}
	if l := e.at.lane; e.last == nil && l.top != nil && l.topID == op.Prev {
		e.last = l.top
	}
	if e.last == nil {
		e.last = r.entries[op.Prev]
	}
	if e.last == nil {
		e.last = &entry{id: op.Prev}
		r.entries[op.Prev] = e.last
		r.miss(e.last)
		r.reshuffled++
	}
	e.last.needed = e.last.item == nil
	if last := e.last; last.item != nil && last.at.lane == e.at.lane && last.at.seq+1 == e.at.seq {
		return last
	}
	return nil
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
	r.halted++
	here := func(o *entry) bool { return o.at == p }
	r.stuck = slices.DeleteFunc(r.stuck, here)
	for from, waiting := range r.claiming { // order-free: each list by itself
		r.claiming[from] = slices.DeleteFunc(waiting, here)
	}
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
	r.accuse(Evidence{
		Offence: DoubleCertificate, Account: p.lane.key.account, Lane: p.lane.key.lane, Seq: p.seq,
		First: [32]byte(p.rivals[0].id), Second: [32]byte(e.id),
	})
	if l := p.lane; l.doubled == 0 || p.seq < l.doubled {
		l.doubled = p.seq
	}
	r.suspect(p.lane)
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
			e.waiting = false
		}
	}
}

// try applies a certified operation, or leaves it to wait: for the lane that it
// claims from, or for anything else.
func (r *Replica) try(e *entry) {
	if e.applied || e.waiting || e.at.certified > 1 {
		return
	}
	op := e.item.Op
	if e.at.seq != e.at.lane.head+1 {
		return // advance comes back to it
	}
	if r.state.ApplyItem(e.item) != ledger.OK {
		e.waiting = true
		if from, ok := r.claimsOf(op); ok {
			r.claiming[from] = append(r.claiming[from], e)
			return
		}
		r.stuck = append(r.stuck, e)
		return
	}
	l := e.at.lane
	e.applied, l.head, l.top, l.topID = true, e.at.seq, e, e.id
	if !e.reported {
		e.reported = true
		r.applied = append(r.applied, Applied{Op: op, Result: ledger.OK})
	}
	r.advance(e)
}

// claimsOf returns a lane that an operation claims from and that has not got there.
func (r *Replica) claimsOf(op *ledger.Op) (laneKey, bool) {
	for i := range op.Claims {
		c := &op.Claims[i]
		if at, _ := r.state.Head(c.From, c.Lane); at < c.Upto {
			return laneKey{c.From, c.Lane}, true
		}
	}
	return laneKey{}, false
}

// advance drops the rivals of an applied operation, turns to the next place, and
// wakes those who waited for the lane.
func (r *Replica) advance(e *entry) {
	p := e.at
	if len(p.rivals) > 1 {
		r.dropRivals(p, e)
	}
	if len(r.claiming) > 0 {
		for _, next := range r.claiming[p.lane.key] {
			next.waiting = false
			r.ready = append(r.ready, next)
		}
		delete(r.claiming, p.lane.key)
	}
	next := p.lane.place(p.seq + 1)
	if next == nil {
		return
	}
	for _, rival := range next.rivals {
		if rival.certified {
			r.ready = append(r.ready, rival)
		}
	}
	r.reopen(p.lane)
}

// dropRivals forgets the rivals of an applied operation that nobody voted for.
func (r *Replica) dropRivals(p *place, e *entry) {
	var kept []*entry
	for _, rival := range p.rivals {
		r.settle(rival)
		if rival != e && r.free(rival) {
			r.forget(rival)
			continue
		}
		kept = append(kept, rival)
	}
	p.rivals = kept
	if len(kept) < 2 {
		p.lane.rivalry = slices.DeleteFunc(p.lane.rivalry, func(o *place) bool { return o == p })
	}
}

// free reports whether no vote speaks of an operation, not even to leave it out, and
// none of what follows it is certified.
func (r *Replica) free(e *entry) bool {
	return !e.backed && !e.certified && !slices.ContainsFunc(e.in, func(s spot) bool { return s.bundle.tally.stake > 0 })
}

// forget takes an operation out of the entries and out of its bundles, of which
// nobody voted for any.
func (r *Replica) forget(e *entry) {
	for _, s := range slices.Clone(e.in) {
		r.dissolve(s.bundle)
	}
	delete(r.entries, e.id)
	r.reshuffled++
}

// rebuild folds everything again from genesis, and reports what no longer counts.
// It is needed only when hostile stake certified two rivals, so its cost does not
// matter.
func (r *Replica) rebuild() {
	r.doubt = false
	r.state.Reset()
	r.ready, r.stuck, r.open = nil, nil, nil
	r.claiming = map[laneKey][]*entry{}
	ids := sortedKeys(r.entries, ledger.OpID.Compare)
	for _, id := range ids {
		e := r.entries[id]
		e.applied, e.waiting = false, false
		if e.item == nil {
			continue
		}
		e.at.lane.open, e.at.lane.head, e.at.lane.top = false, 0, nil
		if e.certified && e.item.Op.Seq == 1 { // advance comes to the others
			r.ready = append(r.ready, e)
		}
	}
	r.run()
	if !r.state.Conserved() {
		panic(fmt.Sprintf("replica: money not conserved: %+v", r.state.Supply()))
	}
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
			r.await(e)
		}
	}
}
