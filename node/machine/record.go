package machine

import (
	"fmt"
	"maps"
	"slices"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// restore folds the records of a former life into a new machine. What it cannot
// read is an error: a node that has lost a promise must not go on.
func (m *Machine) restore(saved Snapshot) error {
	for _, rec := range saved {
		if err := m.remember(rec); err != nil {
			return fmt.Errorf("record %d/%x: %w", rec.Kind, rec.Key, err)
		}
	}
	m.replica.TakeApplied()
	m.restoreLanes()
	for _, j := range m.jobs { // order-free: each task on its own
		for _, t := range j.tasks {
			if t.phase == taskAsking || t.phase == taskOpening {
				t.phase = taskWaiting
			}
		}
	}
	return nil
}

func (m *Machine) remember(rec Record) error {
	r := wire.NewReader(rec.Value)
	switch rec.Kind {
	case RecordOp:
		op, err := ledger.DecodeOp(rec.Value)
		if err != nil {
			return err
		}
		if out, res := m.replica.AddOp(op); out == replica.Refused {
			return fmt.Errorf("operation of %v: %v", op.Account, res)
		}
		if op.Account == m.cfg.Self {
			m.lane(op.Lane).saved(op)
		}
		return nil
	case RecordFrame:
		f, err := replica.DecodeFrame(rec.Value)
		if err != nil {
			return err
		}
		if out := m.replica.AddFrame(f); out == replica.Refused {
			return fmt.Errorf("frame %d of witness %d: %v", f.Seq, f.Witness, out)
		}
		return nil
	case RecordSale:
		s := takeSale(r)
		m.sales[s.lease] = s
	case RecordJob:
		j := takeJob(r)
		m.jobs[j.ID] = j
	case RecordPurchase:
		return m.rememberPurchase(r)
	default:
		return fmt.Errorf("kind %d is unknown to this version", rec.Kind)
	}
	return r.Close()
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
	for _, p := range m.sortedPurchases() {
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

func (m *Machine) saveSale(s *sale) {
	w := wire.NewWriter(512)
	w.Fixed(s.lease[:])
	w.Fixed(s.client[:])
	w.Bool(s.hasTerms())
	if s.hasTerms() {
		s.terms.Put(w)
	}
	w.U8(uint8(s.phase))
	s.report.Put(w)
	w.Bool(s.hasVoucher())
	if s.hasVoucher() {
		s.voucher.Put(w)
	}
	w.U8(uint8(s.reason))
	m.save(Record{Kind: RecordSale, Key: opKey(s.lease), Value: w.Bytes()})
}

// hasTerms reports whether the client has handed its terms over; a sale that was
// ended before has none.
func (s *sale) hasTerms() bool { return s.terms.Tasks > 0 }

// hasVoucher reports whether the client has promised anything, or said that it
// will promise nothing.
func (s *sale) hasVoucher() bool { return s.voucher.Used > 0 || s.voucher.Final }

func takeSale(r *wire.Reader) *sale {
	s := &sale{}
	r.Into(s.lease[:])
	r.Into(s.client[:])
	if r.Bool() {
		s.terms = market.TakeTerms(r)
	}
	s.phase = salePhase(r.U8())
	s.report = market.TakeReport(r)
	if r.Bool() {
		s.voucher = market.TakeVoucher(r)
	}
	s.reason = market.EndReason(r.U8())
	return s
}

func (m *Machine) purchaseRecord(p *purchase) Record {
	w := wire.NewWriter(160)
	w.Fixed(p.lease[:])
	w.Fixed(p.job.ID[:])
	w.U32(p.task.index)
	w.Fixed(p.provider[:])
	w.U64(uint64(p.escrow))
	w.U64(uint64(p.opened))
	w.U64(p.paid)
	w.Bool(p.final)
	w.Bool(p.orphan)
	w.Bool(p.closed)
	return Record{Kind: RecordPurchase, Key: opKey(p.lease), Value: w.Bytes()}
}

// rememberPurchase needs the job to be there. Records come in the order of their
// kinds, and so it is.
func (m *Machine) rememberPurchase(r *wire.Reader) error {
	p := &purchase{}
	var jobID p2p.Digest
	r.Into(p.lease[:])
	r.Into(jobID[:])
	index := r.U32()
	r.Into(p.provider[:])
	p.escrow = ledger.Amount(r.U64())
	p.opened = int64(r.U64())
	p.paid = r.U64()
	p.final, p.orphan, p.closed = r.Bool(), r.Bool(), r.Bool()
	if err := r.Close(); err != nil {
		return err
	}
	j := m.jobs[jobID]
	if j == nil || int(index) >= len(j.tasks) {
		return fmt.Errorf("purchase of job %v, task %d: there is no such task", jobID, index)
	}
	p.job, p.task = j, j.tasks[index]
	m.purchases[p.lease] = p
	return nil
}

func (m *Machine) jobRecord(j *job) Record {
	w := wire.NewWriter(512)
	w.U64(j.order)
	w.Fixed(j.ID[:])
	w.Text(string(j.Class))
	w.Text(j.Region)
	w.U64(j.Units)
	w.U32(j.Seconds)
	w.U64(uint64(j.Max))
	w.Fixed(j.Module[:])
	w.Fixed(j.Input[:])
	w.Text(j.InputName)
	w.U32(j.Tasks)
	w.U32(j.Check)
	w.U32(j.MemoryPages)
	w.Bool(j.ended)
	w.U8(uint8(j.cause))
	w.Blob([]byte(j.failure))
	w.Count(len(j.tasks))
	for _, t := range j.tasks {
		t.put(w)
	}
	return Record{Kind: RecordJob, Key: j.ID[:], Value: w.Bytes()}
}

func (t *task) put(w *wire.Writer) {
	w.U32(t.of)
	w.U8(uint8(t.phase))
	w.Fixed(t.lease[:])
	w.Fixed(t.by[:])
	w.U32(t.fails)
	w.Count(len(t.avoid))
	for _, id := range t.avoid {
		w.Fixed(id[:])
	}
	w.Bool(t.phase == taskDone)
	if t.phase == taskDone {
		t.result.Put(w)
	}
}

func takeJob(r *wire.Reader) *job {
	j := &job{order: r.U64()}
	r.Into(j.ID[:])
	j.Class = ledger.Class(r.Text(255))
	j.Region = r.Text(255)
	j.Units, j.Seconds, j.Max = r.U64(), r.U32(), ledger.Amount(r.U64())
	r.Into(j.Module[:])
	r.Into(j.Input[:])
	j.InputName = r.Text(255)
	j.Tasks, j.Check, j.MemoryPages = r.U32(), r.U32(), r.U32()
	j.ended = r.Bool()
	j.cause = Cause(r.U8())
	j.failure = string(r.Blob(1 << 16))
	j.tasks = make([]*task, r.Count(2*MaxTasks, 72))
	for i := range j.tasks {
		t := &task{job: j, index: uint32(i), of: r.U32(), phase: taskPhase(r.U8())}
		r.Into(t.lease[:])
		r.Into(t.by[:])
		t.fails = r.U32()
		t.avoid = make([]p2p.PeerID, r.Count(triesMax, 32))
		for k := range t.avoid {
			r.Into(t.avoid[k][:])
		}
		if r.Bool() {
			t.result = market.TakeReport(r)
		}
		j.tasks[i] = t
	}
	return j
}
