package machine

import (
	"testing"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/p2p/wire"
)

// [MCH-93] Whoever sees an account sign two operations for one slot tells all others,
// who need to hold neither to know it, keep the proof, and still know it in their next
// life. A proof that does not hold accuses nobody.
func TestForkIsToldToAll(t *testing.T) {
	s := newMarket(t, never, 2)
	seer, other := s.player("provider1"), s.player("provider2")
	s.startAll()
	s.run(200*time.Millisecond, nil)
	client := s.player("client")
	left, right := burns(client, 1)[0], burns(client, 1)[0]
	right.Body = ledger.Burn{Amount: 2}.Encode()
	right.Sig = client.cfg.Crypto.Sign(right.SigningDigest())
	p := &replica.Accusation{Offence: replica.OpFork, Ops: [2]*ledger.Op{left, right}}
	if left.ID().Compare(right.ID()) > 0 {
		p.Ops = [2]*ledger.Op{right, left}
	}
	offender := client.key.id
	s.rules = []*rule{{kind: wire.KindOp, count: -1}, {kind: wire.KindItems, count: -1}} // none of it spreads
	knows := func(m *Machine) bool {
		for _, ev := range m.Replica().Evidence() {
			if ev.Offence == replica.OpFork && ev.Account == offender {
				return true
			}
		}
		return false
	}
	forged := *p
	wrong := *p.Ops[1]
	wrong.Sig[0] ^= 1
	forged.Ops[1] = &wrong
	s.step(other, Gossiped{Data: sealAccusation(&forged)})
	s.step(other, Gossiped{Data: sealAccusation(flood{s, seer}.fork(1))}) // of an account that owns nothing
	s.run(200*time.Millisecond, nil)
	if knows(other.m) {
		t.Fatal("a proof with a wrong signature accuses")
	}
	if n := other.m.Replica().EvidenceLen(); n > 0 {
		t.Fatalf("%d accusations that cost nothing are taken", n)
	}
	for _, op := range p.Ops {
		s.step(seer, Gossiped{Data: sealOp(op)})
	}
	s.run(200*time.Millisecond, nil)
	if _, held := other.m.Replica().Op(p.Ops[0].ID()); held || !knows(seer.m) || !knows(other.m) {
		t.Fatalf("the one who saw it knows %v, another %v; it holds an operation: %v", knows(seer.m), knows(other.m), held)
	}
	again, err := New(other.config(), other.snapshot())
	if err != nil || !knows(again) {
		t.Errorf("in the next life it is forgotten: %v", err)
	}
	bad := other.snapshot()
	for i, r := range bad {
		if r.Kind == RecordEvidence {
			bad[i].Value = append(r.Value[:len(r.Value)-1:len(r.Value)-1], r.Value[len(r.Value)-1]^1)
		}
	}
	if _, err := New(other.config(), bad); err == nil {
		t.Error("a record with a wrong signature is taken")
	}
}
