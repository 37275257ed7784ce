package machine

import (
	"encoding/binary"
	"fmt"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

func (m *Machine) saveSale(s *sale) { m.save(s.record()) }

func (s *sale) record() Record {
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
	return Record{Kind: RecordSale, Key: opKey(s.lease), Value: w.Bytes()}
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
	refuse(r, s.phase < saleRunning || s.phase > saleClosing, "sale in phase %d", s.phase)
	refuse(r, s.phase == saleRunning && !s.hasTerms(), "sale that runs without terms")
	refuse(r, s.phase != saleRunning && !s.reason.Valid(), "sale that ended for %v", s.reason)
	return s
}

// refuse fails the reader when bad is true.
func refuse(r *wire.Reader, bad bool, format string, args ...any) {
	if bad {
		r.Fail(fmt.Errorf("%w: "+format, append([]any{wire.ErrValue}, args...)...))
	}
}

func (p *purchase) record() Record {
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

// rememberPurchase needs the job to be there.
func (m *Machine) rememberPurchase(r *wire.Reader) error {
	p := &purchase{former: true}
	var jobID p2p.Digest
	r.Into(p.lease[:])
	r.Into(jobID[:])
	index := r.U32()
	r.Into(p.provider[:])
	p.escrow = ledger.Amount(r.U64())
	p.opened = int64(r.U64())
	p.paid = r.U64()
	p.final, p.orphan, p.closed = r.Bool(), r.Bool(), r.Bool()
	t, err := m.taskOf(jobID, index)
	refuse(r, err != nil, "purchase: %v", err)
	refuse(r, p.escrow > ledger.MaxSupply || p.opened < 0, "purchase for %v atoms, opened at %d", p.escrow, p.opened)
	if err := r.Close(); err != nil {
		return err
	}
	p.job, p.task = t.job, t
	m.keepPurchase(p)
	return nil
}

// taskOf returns a task by the id of its job and its index.
func (m *Machine) taskOf(id p2p.Digest, index uint32) (*task, error) {
	j := m.jobs[id]
	if j == nil || uint64(index) >= uint64(len(j.tasks)) {
		return nil, fmt.Errorf("job %v has no task %d", id, index)
	}
	return j.tasks[index], nil
}

// record returns the record of the order. Tasks have their own, since they change
// and may be many.
func (j *job) record() Record {
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
	return Record{Kind: RecordJob, Key: j.ID[:], Value: w.Bytes()}
}

func (m *Machine) rememberJob(r *wire.Reader) error {
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
	if err := j.Validate(&m.cfg.Genesis.Market); err != nil {
		r.Fail(err)
	}
	if err := r.Close(); err != nil {
		return err
	}
	j.makeTasks()
	m.jobs[j.ID] = j
	return nil
}

// key returns the key of the task's record: job and index.
func (t *task) key() []byte { return binary.BigEndian.AppendUint32(t.job.ID[:], t.index) }

// record returns the record of the task. A task without one waits for a provider.
func (t *task) record() Record {
	w := wire.NewWriter(256)
	w.Fixed(t.job.ID[:])
	w.U32(t.index)
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
	return Record{Kind: RecordTask, Key: t.key(), Value: w.Bytes()}
}

// rememberTask needs the job to be there.
func (m *Machine) rememberTask(r *wire.Reader) error {
	var jobID p2p.Digest
	r.Into(jobID[:])
	t, err := m.taskOf(jobID, r.U32())
	if err != nil {
		return err
	}
	t.phase = taskPhase(r.U8())
	refuse(r, t.phase < taskWaiting || t.phase > taskDone, "task in phase %d", t.phase)
	r.Into(t.lease[:])
	r.Into(t.by[:])
	t.fails, t.moves = r.U32(), r.U32()
	t.avoid = make([]p2p.PeerID, r.Count(triesMax, 32))
	for k := range t.avoid {
		r.Into(t.avoid[k][:])
	}
	done := r.Bool()
	refuse(r, done != (t.phase == taskDone), "task in phase %d, a result %v", t.phase, done)
	if done {
		t.result = market.TakeReport(r)
	}
	return r.Close()
}
