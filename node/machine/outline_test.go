package machine

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/p2p/wire"
)

// voteOrder has a witness vote for a bundle, of which a player hears, and returns the frame.
func (s *stage) voteOrder(p *player, last *replica.Frame, ops ...*ledger.Op) (*replica.Frame, replica.BundleID) {
	b := &replica.Bundle{Ops: ops}
	f := s.frameOf(1, last)
	f.Bundles = []replica.BundleVote{{ID: b.ID()}}
	f.Sig = cheapSign(s.g.Ledger.Witnesses[1].Account, f.SigningDigest())
	s.step(p, Gossiped{Data: sealFrame(f)})
	s.run(time.Second, nil)
	s.step(p, Gossiped{Data: wire.Seal(wire.KindBundle, func(w *wire.Writer) { w.Fixed(b.Encode()) })})
	s.run(time.Second, nil)
	return f, b.ID()
}

// bytesOf returns how many bytes of a kind a player has saved.
func (p *player) bytesOf(kind RecordKind) (n int) {
	for _, r := range p.snapshot() {
		if r.Kind == kind {
			n += len(r.Value)
		}
	}
	return n
}

// [LED-119] A node keeps each operation of bundles once, in whatever order a hostile witness
// names them, and has all the bundles in its next life.
func TestRestoreOutlines(t *testing.T) {
	s := newStage(t, never)
	for i := range 4 {
		s.add(fmt.Sprint("witness", i), true, 0, nil)
	}
	p, owner := s.add("client", false, 1000, nil), s.add("owner", false, 1000, nil)
	s.start(p)
	ops := burns(owner, 20)
	ids := make([]replica.BundleID, len(ops))
	var last *replica.Frame
	for i := range ops {
		last, ids[i] = s.voteOrder(p, last, slices.Concat(ops[i:], ops[:i])...)
	}
	full, most := (&replica.Bundle{Ops: ops}).Size(), len(ops)*(2+36*len(ops))
	if got, of := p.bytesOf(RecordBundle), p.bytesOf(RecordOutline); got != full || of == 0 || of > most {
		t.Errorf("%d bytes of bundles, %d of outlines; one bundle has %d", got, of, full)
	}
	saved := p.snapshot()
	slices.Reverse(saved) // in whatever order
	m, err := New(p.config(), saved)
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		if b, held := m.replica.Bundle(id); !held || b.ID() != id {
			t.Errorf("order %d is not there after a restart", i)
		}
	}
	s.stop(p)
	s.start(p)
	s.voteOrder(p, last, ops[1], ops[0])
	if got := p.bytesOf(RecordBundle); got != full {
		t.Errorf("%d bytes of bundles after a restart and one more order, want %d", got, full)
	}
	cut := slices.DeleteFunc(p.snapshot(), func(r Record) bool { return r.Kind == RecordBundle })
	if _, err := New(p.config(), cut); err == nil {
		t.Error("no error without the operations")
	}
}
