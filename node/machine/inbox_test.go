package machine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// bankOf returns a machine that is nobody's, and burns of a player that others send it.
func bankOf(t *testing.T, n int, limits Limits) (*stage, *Machine, []*ledger.Op) {
	t.Helper()
	s := newStage(t, never)
	s.add("witness", true, 0, nil)
	payer, p := s.add("payer", false, 1000, nil), s.add("watcher", false, 0, nil)
	p.cfg.Limits = limits
	m, err := New(p.config(), nil)
	if err != nil {
		t.Fatal(err)
	}
	m.Step(s.now, Tick{})
	return s, m, burns(payer, n)
}

// questions returns the Verify effects.
func questions(fx []Effect) (all []Verify) {
	for _, f := range fx {
		if v, ok := f.(Verify); ok {
			all = append(all, v)
		}
	}
	return all
}

// rightly answers a question.
func rightly(v Verify) Verified {
	return Verified{ID: v.ID, OK: p2p.VerifyEach(cheapVerify)(v.Batch)}
}

// held returns how many of the operations the machine's replica holds.
func held(m *Machine, ops []*ledger.Op) (n int) {
	for _, op := range ops {
		if _, ok := m.replica.Op(op.ID()); ok {
			n++
		}
	}
	return n
}

// [MCH-44] What others send for the ledger is added once its signature is verified,
// in the order in which it came, in whatever order the answers come; what is wrongly
// signed is refused.
func TestInboxOrder(t *testing.T) {
	s, m, ops := bankOf(t, 6, Limits{})
	f := s.frameOf(0, nil, ops[0].ID())
	forged := *ops[1]
	forged.Sig[0] ^= 1
	first := questions(m.Step(s.now, Gossiped{Data: sealOp(ops[0])}))
	second := questions(m.Step(s.now, Gossiped{Data: sealFrame(f)}))
	for _, op := range []*ledger.Op{&forged, ops[1], ops[1], ops[2]} { // the forged one does not keep out the right one
		if fx := m.Step(s.now, Gossiped{Data: sealOp(op)}); len(fx) > 0 {
			t.Fatalf("effects %v while two questions are open", fx)
		}
	}
	if len(first) != 1 || len(second) != 1 || held(m, ops) != 0 || m.replica.Heads()[0] != 0 {
		t.Fatalf("%d and %d questions; something was added before it was verified", len(first), len(second))
	}
	fx := m.Step(s.now, rightly(second[0]))
	if third := questions(fx); len(third) != 0 || m.replica.Heads()[0] != 0 {
		t.Fatalf("the frame was added before the operation that came before it, or %v was asked", third)
	}
	for _, stranger := range []Verified{{ID: 99, OK: []bool{true}}, rightly(second[0])} {
		if m.Step(s.now, stranger); m.replica.Heads()[0] != 0 {
			t.Fatal("an answer to no question counts")
		}
	}
	fx = m.Step(s.now, rightly(first[0]))
	if !m.replica.IsApplied(ops[0].ID()) {
		t.Error("the first operation and its frame were not added")
	}
	third := questions(fx)
	if len(third) != 1 || len(third[0].Batch) != 3 {
		t.Fatalf("asked %v, want one question for the three that waited", third)
	}
	if fx = m.Step(s.now, rightly(third[0])); !noted(fx, FactRefused) || held(m, ops) != 3 {
		t.Errorf("%d operations are held, want 3, and the forged one noted as refused", held(m, ops))
	}
	if len(m.inbox.queue)+len(m.inbox.held)+len(m.inbox.sources)+len(m.inbox.flying) > 0 {
		t.Errorf("the inbox is not empty: %+v", m.inbox)
	}
}

// An answer of another length is a bug of the host.
func TestVerifiedLength(t *testing.T) {
	s, m, ops := bankOf(t, 1, Limits{})
	q := questions(m.Step(s.now, Gossiped{Data: sealOp(ops[0])}))
	defer func() {
		if said := fmt.Sprint(recover()); !strings.Contains(said, "2 answers to a batch of 1") {
			t.Errorf("the panic says %s", said)
		}
	}()
	m.Step(s.now, Verified{ID: q[0].ID, OK: []bool{true, true}})
}

// [MCH-45] A question is for at most 512 signatures, and two are open at most.
// [MCH-46] The inbox has room for Inbox letters, and a source takes as much as is
// free; the newest are dropped, and a repetition takes no room.
func TestInboxRoom(t *testing.T) {
	const room = 3000
	s, m, _ := bankOf(t, 0, Limits{Inbox: room})
	f := flood{s, s.player("watcher")}
	var open []Verify
	sent, dropped := 0, 0
	fill := func(from p2p.PeerID, n int) {
		for range n {
			fx := m.Step(s.now, one(from, f.register(sent)))
			open = append(open, questions(fx)...)
			sent++
			if noted(fx, FactRefused) {
				dropped++
			}
		}
	}
	fill(p2p.PeerID{}, room)
	if got := len(m.inbox.queue); got != room/2 || dropped != room/2 {
		t.Errorf("gossip fills %d of %d, %d are dropped, want half", got, room, dropped)
	}
	for i := range 5 { // a peer that sends a lot, and others
		fill(keyOf(fmt.Sprint(i)).id, room/2)
	}
	if got := len(m.inbox.queue); got > room || got < room*31/32 || len(m.inbox.sources) != 6 {
		t.Errorf("%d letters of %d sources, room %d", got, len(m.inbox.sources), room)
	}
	before := len(m.inbox.queue)
	m.Step(s.now, Gossiped{Data: sealOp(f.register(0))})
	m.Step(s.now, one(keyOf("another").id, f.register(1)))
	if len(m.inbox.queue) != before {
		t.Error("what is there already takes more room")
	}
	if len(open) != 2 {
		t.Fatalf("%d questions are open, want 2", len(open))
	}
	sizes, total := []int{}, before
	for len(open) > 0 {
		sizes, total = append(sizes, len(open[0].Batch)), total-len(open[0].Batch)
		fx := m.Step(s.now, rightly(open[0]))
		for !m.due.inbox.IsZero() {
			fx = append(fx, m.Step(s.now, Tick{})...)
		}
		open = append(open[1:], questions(fx)...)
		if len(open) > 2 {
			t.Fatalf("%d questions are open", len(open))
		}
	}
	if slices.Max(sizes) != 1024 || total != 0 || len(m.inbox.queue) != 0 || len(m.inbox.sources) != 0 {
		t.Errorf("batches of %v, %d letters never left", sizes, total)
	}
}

// one returns the event of an operation that comes from a peer, or by gossip.
func one(from p2p.PeerID, op *ledger.Op) Event {
	if from.IsZero() {
		return Gossiped{Data: sealOp(op)}
	}
	return Received{From: from, Data: itemsOf([]*ledger.Op{op}, nil)}
}

// itemsOf returns an items message.
func itemsOf(ops []*ledger.Op, frames []*replica.Frame) []byte {
	return wire.Seal(wire.KindItems, (&items{ops: ops, frames: frames}).append)
}

// [MCH-47] A step adds operations and votes until there are 64, and a tick goes on.
func TestInboxSteps(t *testing.T) {
	s, m, _ := bankOf(t, 0, Limits{})
	f := flood{s, s.player("watcher")}
	var ops []*ledger.Op
	var open []Verify
	for i := range 400 {
		ops = append(ops, f.register(i))
		open = append(open, questions(m.Step(s.now, Gossiped{Data: sealOp(ops[i])}))...)
	}
	steps := 0
	for len(open) > 0 {
		var ev Event = rightly(open[0])
		open = open[1:]
		for ev != nil {
			before := held(m, ops)
			open = append(open, questions(m.Step(s.now, ev))...)
			if n := held(m, ops) - before; n > 64 {
				t.Errorf("a step adds %d operations", n)
			} else if n > 0 {
				steps++
			}
			if ev = nil; !m.due.inbox.IsZero() {
				if m.Deadline().After(s.now) {
					t.Fatal("what is verified waits for later")
				}
				ev = Tick{}
			}
		}
	}
	if held(m, ops) != 400 || steps < 400/64 {
		t.Errorf("%d of 400 operations are held, after %d steps", held(m, ops), steps)
	}
}

// [MCH-44] A peer is asked for more when all that it sent is added, not before, and only
// if it brought something.
func TestInboxAsksForMore(t *testing.T) {
	s, m, ops := bankOf(t, 3, Limits{})
	peer := keyOf("peer").id
	f := s.frameOf(0, nil, ops[0].ID(), ops[1].ID(), ops[2].ID())
	fx := m.Step(s.now, Received{From: peer, Data: itemsOf(ops[:2], []*replica.Frame{f})})
	if sent(fx, wire.KindHeads)+sent(fx, wire.KindWant) > 0 || len(questions(fx)) != 1 {
		t.Fatalf("effects %v, want one question and no message", fx)
	}
	fx = m.Step(s.now, rightly(questions(fx)[0]))
	if sent(fx, wire.KindHeads) != 1 || sent(fx, wire.KindWant) != 1 {
		t.Errorf("%d heads, %d wants, want one each", sent(fx, wire.KindHeads), sent(fx, wire.KindWant))
	}
	// Were a peer asked again for answers that bring nothing, the two would never end.
	alien, forged := *ops[2], *ops[2]
	alien.Chain++
	forged.Sig[0] ^= 1
	for name, op := range map[string]*ledger.Op{"known": ops[0], "of another network": &alien, "forged": &forged} {
		fx := m.Step(s.now, Received{From: peer, Data: itemsOf([]*ledger.Op{op}, nil)})
		for _, q := range questions(fx) {
			fx = append(fx, m.Step(s.now, rightly(q))...)
		}
		if n := sent(fx, wire.KindHeads) + sent(fx, wire.KindWant); n > 0 {
			t.Errorf("an operation that is %s is answered by %d messages", name, n)
		}
	}
	fx = m.Step(s.now, Received{From: peer, Data: itemsOf(ops[2:], nil)})
	m.Step(s.now, rightly(questions(fx)[0]))
	if len(m.replica.Missing(1)) > 0 {
		t.Error("what was asked for is still missing")
	}
}

// [MCH-48] A node verifies at its start what it has saved of the ledger, whoever
// signed it, and refuses to start from what is wrongly signed.
func TestRestoreVerifies(t *testing.T) {
	s := newStage(t, never)
	s.add("witness", true, 0, nil)
	payer, p := s.add("payer", false, 1000, nil), s.add("watcher", false, 0, nil)
	ops := burns(payer, 1500)
	saved := inKeyOrder(s.history(ops))
	verified, calls := 0, 0
	cfg := p.config()
	cfg.Crypto.VerifyBatch = func(batch []p2p.Signed) []bool {
		verified, calls = verified+len(batch), calls+1
		if len(batch) > batchMax {
			t.Errorf("a batch of %d", len(batch))
		}
		return p2p.VerifyEach(cheapVerify)(batch)
	}
	cfg.Crypto.Verify = func(p2p.PeerID, p2p.Digest, p2p.Signature) bool {
		t.Error("a signature is verified by itself")
		return false
	}
	if _, err := New(cfg, saved); err != nil || verified != len(saved) || calls > 1+len(saved)/batchMax {
		t.Errorf("%d of %d records verified, in %d batches: %v", verified, len(saved), calls, err)
	}
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 20 {
		bad, i := slices.Clone(saved), rng.IntN(len(saved))
		bad[i].Value = slices.Clone(bad[i].Value)
		bad[i].Value[len(bad[i].Value)-1-rng.IntN(32)] ^= 1
		_, err := New(p.config(), bad)
		if name := fmt.Sprintf("record %d/%x", bad[i].Kind, bad[i].Key); err == nil || !strings.Contains(err.Error(), name) ||
			!strings.Contains(err.Error(), "signature") {
			t.Fatalf("seed %d, %s: %v", seed, name, err)
		}
	}
}
