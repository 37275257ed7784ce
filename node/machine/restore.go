package machine

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/p2p/wire"
)

// restore folds the records of a former life into a new machine. What it cannot
// read is an error: a node that has lost a promise must not go on.
func (m *Machine) restore(saved Snapshot) error {
	ops, err := savedOps(saved)
	if err != nil {
		return err
	}
	for _, rec := range saved {
		if rec.Kind == RecordFrame {
			if err := m.rememberFrame(rec, ops); err != nil {
				return rec.wrap(err)
			}
		}
	}
	for _, op := range inLaneOrder(ops) {
		if err := m.rememberOp(op); err != nil {
			return err
		}
	}
	for _, kind := range [...]RecordKind{RecordJob, RecordTask, RecordPurchase, RecordSale, RecordPay, RecordPaid} {
		for _, rec := range saved {
			if err := m.remember(rec, kind); err != nil {
				return rec.wrap(err)
			}
		}
	}
	for _, a := range m.replica.TakeApplied() {
		m.logApplied(a)
	}
	m.restoreLanes()
	m.restoreTasks()
	m.restoreWallet()
	return nil
}

// restoreTasks lets tasks wait again that were asking or opening: what was asked,
// and what was to be signed, died with the former life.
func (m *Machine) restoreTasks() {
	for _, j := range m.jobs { // order-free: each task on its own
		for _, t := range j.tasks {
			if t.phase == taskAsking || t.phase == taskOpening {
				t.phase = taskWaiting
			}
		}
	}
}

// wrap says in which record an error is.
func (rec Record) wrap(err error) error {
	return fmt.Errorf("record %d/%x: %w", rec.Kind, rec.Key, err)
}

// savedOps returns the operations of a snapshot by id.
func savedOps(saved Snapshot) (map[ledger.OpID]*ledger.Op, error) {
	ops := make(map[ledger.OpID]*ledger.Op)
	for _, rec := range saved {
		if rec.Kind != RecordOp {
			continue
		}
		op, err := ledger.DecodeOp(rec.Value)
		if err != nil {
			return nil, rec.wrap(err)
		}
		ops[op.ID()] = op
	}
	return ops, nil
}

// rememberFrame adds a frame and then the operations it votes for. So neither are
// there more votes for operations that are not here than the replica allows, nor
// more operations that nobody has voted for.
func (m *Machine) rememberFrame(rec Record, ops map[ledger.OpID]*ledger.Op) error {
	f, err := replica.DecodeFrame(rec.Value)
	if err != nil {
		return err
	}
	if out := m.replica.AddFrame(f); out == replica.Refused && !m.spare(f) {
		return fmt.Errorf("frame %d of witness %d: %v", f.Seq, f.Witness, out)
	}
	for _, id := range f.Votes {
		op := ops[id]
		if op == nil {
			continue
		}
		delete(ops, id)
		if err := m.rememberOp(op); err != nil {
			return err
		}
	}
	return nil
}

// spare reports whether the replica may refuse a saved frame: another witness has
// signed it, and peers send it again when it matters. An own frame is a promise.
func (m *Machine) spare(f *replica.Frame) bool {
	witnesses := m.cfg.Genesis.Ledger.Witnesses
	return int(f.Witness) < len(witnesses) && int(f.Witness) != m.witness &&
		m.cfg.Crypto.Verify(witnesses[f.Witness].Account, f.ID(), f.Sig)
}

// rememberOp adds an operation. The replica may have no room for another's; an own
// one is a promise.
func (m *Machine) rememberOp(op *ledger.Op) error {
	own := op.Account == m.cfg.Self
	out, res := m.replica.AddOp(op)
	if out == replica.Refused && (own || res != ledger.Full && res != ledger.Stale && res != ledger.Equivocation) {
		return fmt.Errorf("operation %v of %v: %v", op.ID(), op.Account, res)
	}
	if own {
		m.lane(op.Lane).saved(op)
	}
	return nil
}

// inLaneOrder returns operations in the order of their places in their lanes.
func inLaneOrder(ops map[ledger.OpID]*ledger.Op) []*ledger.Op {
	return slices.SortedFunc(maps.Values(ops), func(a, b *ledger.Op) int {
		return cmp.Or(a.Account.Compare(b.Account), cmp.Compare(a.Lane, b.Lane), cmp.Compare(a.Seq, b.Seq),
			a.ID().Compare(b.ID()))
	})
}

// remember takes the record if it is of a kind. What others need comes before them.
func (m *Machine) remember(rec Record, kind RecordKind) error {
	if rec.Kind < RecordFrame || rec.Kind > RecordPaid {
		return fmt.Errorf("kind %d is unknown to this version", rec.Kind)
	}
	if rec.Kind != kind {
		return nil
	}
	r := wire.NewReader(rec.Value)
	switch kind {
	case RecordJob:
		return m.rememberJob(r)
	case RecordTask:
		return m.rememberTask(r)
	case RecordPurchase:
		return m.rememberPurchase(r)
	case RecordSale:
		s := takeSale(r)
		m.sales[s.lease] = s
		return r.Close()
	case RecordPay:
		return m.rememberPay(rec.Key, r)
	case RecordPaid:
		return m.rememberPaid(rec.Key, r)
	case RecordFrame, RecordOp: // are there already
		return nil
	default:
		return nil
	}
}

// saved remembers the last operation that was signed on the lane.
func (q *lane) saved(op *ledger.Op) {
	if q.flying == nil || q.flying.Seq < op.Seq {
		q.flying = op
	}
}

// restoreLanes forgets the last operations that are applied. The others go out
// again as they are: another one for the same place would be a fork.
func (m *Machine) restoreLanes() {
	for _, q := range m.lanes { // order-free: each lane on its own
		if q.flying != nil && m.replica.IsApplied(q.flying.ID()) {
			q.flying = nil
		}
	}
}

// reconcile brings sales and purchases up to what the ledger says, since a crash
// may have come between the two.
func (m *Machine) reconcile() {
	for _, id := range slices.SortedFunc(maps.Keys(m.sales), ledger.OpID.Compare) {
		if l, ok := m.leases.Lease(id); ok && l.State == market.StateClosed {
			delete(m.sales, id)
			m.save(Record{Kind: RecordSale, Key: opKey(id)})
		}
	}
	for _, p := range inOrder(m.purchases) {
		l, ok := m.leases.Lease(p.lease)
		if ok && p.opened == 0 {
			m.leaseOpened(p.lease)
		}
		if ok && l.State == market.StateClosed {
			m.purchaseClosed(p.lease)
		}
	}
	m.releaseLost()
}

// releaseLost frees the tasks whose lease has ended before their output was here:
// what the provider reported, and where the output was, died with the former life.
func (m *Machine) releaseLost() {
	for _, j := range m.sortedJobs() {
		for _, t := range j.tasks {
			if p := m.purchases[t.lease]; !j.ended && t.phase == taskHired && (p == nil || p.closed || p.orphan) {
				m.release(t, false, "the lease ended before its output was here")
			}
		}
	}
}
