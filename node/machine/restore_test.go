package machine

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/p2p"
)

// config returns what a player is born with.
func (p *player) config() Config {
	cfg := p.cfg
	cfg.Rand = rand.New(rand.NewPCG(1, 2))
	return cfg
}

// inKeyOrder sorts records as a store returns them.
func inKeyOrder(saved Snapshot) Snapshot {
	slices.SortFunc(saved, func(a, b Record) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), slices.Compare(a.Key, b.Key))
	})
	return saved
}

// burns returns operations of a player that follow each other in lane 0.
func burns(p *player, n int) []*ledger.Op {
	ops := make([]*ledger.Op, n)
	var prev ledger.OpID
	for i := range ops {
		op := &ledger.Op{
			Chain: ledger.ChainOf(p.cfg.Genesis.Network()), Kind: ledger.KindBurn, Account: p.key.id,
			Seq: uint64(i + 1), Prev: prev, Fee: p.cfg.Genesis.Ledger.MinFee, Body: ledger.Burn{Amount: 1}.Encode(),
		}
		op.Sig = p.cfg.Crypto.Sign(op.SigningDigest())
		ops[i], prev = op, op.ID()
	}
	return ops
}

// frameOf returns a witness's frame that follows another.
func (s *stage) frameOf(witness int, prev *replica.Frame, votes ...ledger.OpID) *replica.Frame {
	f := &replica.Frame{Chain: ledger.ChainOf(s.g.Network()), Witness: uint16(witness), Seq: 1, Votes: votes}
	slices.SortFunc(f.Votes, ledger.OpID.Compare)
	if prev != nil {
		f.Seq, f.Prev, f.Slot = prev.Seq+1, prev.ID(), ledger.Slot(prev.Seq/16)
	}
	f.Sig = cheapSign(s.g.Ledger.Witnesses[witness].Account, f.SigningDigest())
	return f
}

func opRecord(op *ledger.Op) Record {
	return Record{Kind: RecordOp, Key: opKey(op.ID()), Value: op.Encode()}
}

func frameRecord(f *replica.Frame) Record {
	return Record{Kind: RecordFrame, Key: frameKey(f), Value: f.Encode()}
}

// history returns the records of operations that one witness voted for in frames
// of 256.
func (s *stage) history(ops []*ledger.Op) Snapshot {
	var saved Snapshot
	var last *replica.Frame
	for chunk := range slices.Chunk(ops, replica.MaxVotes) {
		var votes []ledger.OpID
		for _, op := range chunk {
			saved = append(saved, opRecord(op))
			votes = append(votes, op.ID())
		}
		last = s.frameOf(0, last, votes...)
		saved = append(saved, frameRecord(last))
	}
	return saved
}

// [MCH-3] A node starts from what it saved however long its history is, and
// whatever order its records come in.
//
// Operations come back in the order of their ids, in which the place of one in its
// lane means nothing: the last one, for which nobody has voted yet, must not be
// taken for one that is too far ahead. And more operations than a replica lets one
// witness vote for unseen must find their votes.
func TestRestoreLongHistory(t *testing.T) {
	for _, n := range []int{100, 17_000} {
		s := newStage(t, never)
		s.add("witness", true, 0, nil)
		p := s.add("client", false, 1000, nil)
		ops := burns(p, n+1)
		saved := s.history(ops[:n])
		saved = append(saved, opRecord(ops[n])) // signed, saved, and not heard of by anybody
		m, err := New(p.config(), inKeyOrder(saved))
		if err != nil {
			t.Fatalf("%d operations: %v", n, err)
		}
		seq, _ := m.replica.State().Head(p.key.id, 0)
		if seq != uint64(n) {
			t.Errorf("%d of %d operations are applied", seq, n)
		}
		if q := m.lane(0); len(q.flying) == 0 || q.flying[0].ID() != ops[n].ID() {
			t.Errorf("the operation under way is not that of place %d", n+1)
		}
	}
}

// [MCH-4] Both sides of a witness's fork are kept, so that frames which follow the
// second find it after a restart.
func TestRestoreFork(t *testing.T) {
	s := newStage(t, never)
	for i := range 4 {
		s.add(fmt.Sprint("witness", i), true, 0, nil)
	}
	p := s.add("client", false, 1000, nil)
	s.start(p)
	first, second := s.frameOf(0, nil, opNamed("left")), s.frameOf(0, nil, opNamed("right"))
	s.step(p, Gossiped{Data: sealFrame(first)})
	s.step(p, Gossiped{Data: sealFrame(second)})
	last := second
	for i := range 300 {
		last = s.frameOf(0, last, opNamed(fmt.Sprint(i)))
		s.step(p, Gossiped{Data: sealFrame(last)})
	}
	m, err := New(p.config(), p.snapshot())
	if err != nil {
		t.Fatal(err)
	}
	if got := m.replica.Heads()[0]; got != 301 || m.replica.Parked() {
		t.Errorf("after a restart the witness's head is %d, parked %v, want 301 and none", got, m.replica.Parked())
	}
}

// [MCH-4] A third side of a fork, which was kept because a frame of this very witness
// rests on it, is there after a restart, whatever the ids of the sides are.
func TestRestoreThirdSide(t *testing.T) {
	s := newStage(t, never)
	p := s.add("self", true, 1000, nil)
	for i := range 3 {
		s.add(fmt.Sprint("witness", i), true, 0, nil)
	}
	sides := make([]*replica.Frame, 3)
	for i := range sides {
		sides[i] = s.frameOf(1, nil, opNamed(fmt.Sprint("side", i)))
	}
	for _, side := range sides {
		after := s.frameOf(1, side, opNamed("d"))
		own := &replica.Frame{
			Chain: ledger.ChainOf(s.g.Network()), Seq: 1,
			Seen: []replica.Seen{{Witness: 1, Seq: after.Seq, ID: after.ID()}},
		}
		own.Sig = cheapSign(p.key.id, own.SigningDigest())
		saved := Snapshot{frameRecord(own), frameRecord(after)}
		for _, f := range sides {
			saved = append(saved, frameRecord(f))
		}
		m, err := New(p.config(), inKeyOrder(saved))
		if err != nil {
			t.Fatal(err)
		}
		if got := m.replica.Heads(); got[0] != 1 || got[1] != 2 || m.replica.Parked() {
			t.Errorf("heads after a restart are %v, parked %v", got, m.replica.Parked())
		}
	}
}

func opNamed(name string) ledger.OpID { return ledger.OpID(p2p.Sum("op", []byte(name))) }

// What proves that an account forked and that a witness voted for both sides is there
// in the next life, though the operations never counted.
func TestRestoreProofs(t *testing.T) {
	s := newStage(t, never)
	for i := range 4 {
		s.add(fmt.Sprint("witness", i), true, 0, nil)
	}
	a, owner := s.add("a", false, 1000, nil), s.add("owner", false, 1000, nil)
	s.start(a)
	left, right := burns(owner, 1)[0], burns(owner, 1)[0]
	right.Body = ledger.Burn{Amount: 2}.Encode()
	right.Sig = owner.cfg.Crypto.Sign(right.SigningDigest())
	for _, op := range []*ledger.Op{left, right} {
		s.step(a, Gossiped{Data: sealOp(op)})
	}
	s.step(a, Gossiped{Data: sealFrame(s.frameOf(0, nil, left.ID(), right.ID()))})
	s.run(time.Second, nil)
	before := a.m.replica.Evidence()
	s.stop(a)
	s.start(a)
	if after := a.m.replica.Evidence(); len(before) != 2 || !slices.Equal(after, before) {
		t.Errorf("evidence after a restart: %v, before it: %v", after, before)
	}
}

// A record that cannot be a true one is an error that names it.
func TestRestoreRefuses(t *testing.T) {
	s := newMarket(t, never, 1)
	p := s.player("client")
	other := s.player("provider1")
	op := burns(p, 1)[0]
	badSig := *op
	badSig.Sig[0] ^= 1
	foreign := *burns(other, 1)[0]
	foreign.Sig[0] ^= 1
	f := s.frameOf(0, nil, op.ID())
	badFrame := *f
	badFrame.Sig[0] ^= 1
	outside := *f
	outside.Witness = 77
	j, other1 := &job{Job: testJob("a", 2, 0), order: 1}, &job{Job: testJob("b", 2, 0)}
	j.makeTasks()
	other1.makeTasks()
	beyond := &task{job: j, index: 2, phase: taskWaiting}
	phase := func(n taskPhase) *task { return &task{job: j, phase: n} }
	doneWithout := func(b []byte) []byte { b[32+4] = byte(taskDone); return b }
	without := func(change func(*Job)) Record {
		bad := &job{Job: testJob("c", 1, 0)}
		change(&bad.Job)
		return bad.record()
	}
	report := market.Report{Lease: op.ID(), Phase: market.PhaseAccepted}
	for name, rec := range map[string]Record{
		"kind":             {Kind: 99, Key: []byte("k"), Value: []byte("v")},
		"operation":        {Kind: RecordOp, Key: []byte("k"), Value: []byte("v")},
		"own, no history":  opRecord(burns(p, 300)[299]),
		"own signature":    opRecord(&badSig),
		"other signature":  opRecord(&foreign),
		"frame":            {Kind: RecordFrame, Key: []byte("k"), Value: []byte("v")},
		"frame signature":  frameRecord(&badFrame),
		"frame of nobody":  frameRecord(&outside),
		"sale":             {Kind: RecordSale, Key: []byte("k"), Value: []byte("v")},
		"job":              {Kind: RecordJob, Key: []byte("k"), Value: []byte("v")},
		"purchase":         {Kind: RecordPurchase, Key: []byte("k"), Value: []byte("v")},
		"purchase, no job": {Kind: RecordPurchase, Key: []byte("k"), Value: make([]byte, 32+32+4+32+24+3)},
		"task, no job":     other1.tasks[0].record(),
		"no such task":     beyond.record(),
		"phase of a task":  phase(7).record(),
		"done, no result":  {Kind: RecordTask, Key: []byte("k"), Value: doneWithout(j.tasks[0].record().Value)},
		"no tasks":         without(func(j *Job) { j.Tasks = 0 }),
		"class":            without(func(j *Job) { j.Class = "none" }),
		"phase of a sale":  (&sale{lease: op.ID(), report: report, reason: 1}).record(),
		"sale, no terms":   (&sale{lease: op.ID(), report: report, phase: saleRunning}).record(),
		"sale, no reason":  (&sale{lease: op.ID(), report: report, phase: saleClosing}).record(),
		"much escrow":      (&purchase{job: j, task: j.tasks[0], escrow: ledger.MaxSupply + 1}).record(),
	} {
		if m, err := New(p.config(), inKeyOrder(Snapshot{j.record(), rec})); err == nil || m != nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := New(p.config(), inKeyOrder(Snapshot{j.record(), j.tasks[0].record()})); err != nil {
		t.Errorf("what the others are made of: %v", err)
	}
	if _, err := New(p.config(), Snapshot{opRecord(burns(other, 100)[99])}); err != nil {
		t.Errorf("an operation of another that has no place here: %v", err)
	}
}
