package machine

import (
	"fmt"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

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
	p.job, p.task, p.former = j, j.tasks[index], true
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
	w.U32(t.moves)
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
		t.moves = r.U32()
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
