package replica

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pinfi/pinfi/ledger"
)

// [LED-119] An outline has one encoding, which is no longer than that of its bundle; anything
// else is refused.
func FuzzDecodeOutline(f *testing.F) {
	ops := chainOf('a', 3)
	f.Add((&Bundle{Ops: ops}).Encode())
	f.Add((&Outline{IDs: (&Bundle{Ops: ops}).ids(), Ops: []*ledger.Op{nil, ops[1], nil}}).Encode())
	f.Add([]byte{0, 0})
	f.Add([]byte{0, 2, 0, 0, 0, 0, 1, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := DecodeOutline(b)
		if err != nil {
			return
		}
		if !bytes.Equal(o.Encode(), b) {
			t.Fatalf("%x encodes to %x", b, o.Encode())
		}
		whole, ok := o.Whole()
		filled, err := o.Fill(func(ledger.OpID) *ledger.Op { return nil })
		if ok != (err == nil) || ok && (filled.ID() != o.ID() || whole.ID() != o.ID()) {
			t.Fatalf("whole %v, filled: %v", ok, err)
		}
	})
}

// [LED-119] A hostile witness that votes for one bundle in ever other orders makes others keep
// each operation once, and ids.
func TestOutlines(t *testing.T) {
	const orders = 40
	g := newGenesis(1, 1, 1)
	r := newReplica(t, g, -1)
	rng := rand.New(rand.NewPCG(4, 5))
	ops := chainOf('a', 60)
	full := len((&Bundle{Ops: ops}).Encode())
	var last *Frame
	for i := range orders {
		b := &Bundle{Ops: slices.Clone(ops)}
		rng.Shuffle(len(ops), func(i, j int) { b.Ops[i], b.Ops[j] = b.Ops[j], b.Ops[i] })
		if i == orders-1 {
			b.Ops = append(b.Ops[:30:30], transfer(who('b'), 1, ledger.OpID{}, who('z'), 1))
		}
		last = votesFor(g, 0, last, b)
		last.Slot = ledger.Slot(i)
		last = signed(g, last)
		r.AddFrame(last)
		addBundle(r, b)
	}
	size, held := 0, map[ledger.OpID]*ledger.Op{}
	kept := r.TakeKept()
	for i, id := range kept {
		o, ok := r.Outline(id)
		if !ok {
			t.Fatalf("no outline of bundle %d", i)
		}
		size += len(o.Encode())
		for _, op := range o.Ops {
			if op != nil {
				held[op.ID()] = op
			}
		}
		b, err := o.Fill(func(id ledger.OpID) *ledger.Op { return held[id] })
		if err != nil || b.ID() != id {
			t.Fatalf("bundle %d does not follow from those before it: %v", i, err)
		}
		if _, whole := o.Whole(); whole != (i == 0) {
			t.Errorf("bundle %d is whole: %v", i, whole)
		}
	}
	if most := full + orders*(2+36*len(ops)) + ledger.MaxOp; len(kept) != orders || size > most || !r.Kept(ops[0].ID()) {
		t.Errorf("%d bytes for %d orders, want at most %d; whole ones take %d", size, len(kept), most, orders*full)
	}
	t.Logf("%d orders: %d bytes, whole %d", orders, size, orders*full)
	if _, ok := r.Outline(BundleID{1}); ok {
		t.Error("an outline of what is not there")
	}
}

// [LED-120] What it costs to take a bundle and a vote for it does not grow with how many
// bundles hold its operations.
func TestManyOrders(t *testing.T) {
	const chunks, of = 12, 50
	g := newGenesis(1, 1, 1)
	r := newReplica(t, g, -1)
	rng := rand.New(rand.NewPCG(4, 5))
	var ops []*ledger.Op
	for i := range 256 {
		ops = append(ops, transfer(ledger.Account{'k', byte(i)}, 1, ledger.OpID{}, who('z'), 1))
	}
	var last *Frame
	took := make([]time.Duration, chunks)
	for i := range chunks * of {
		b := &Bundle{Ops: slices.Clone(ops)}
		rng.Shuffle(len(ops), func(i, j int) { b.Ops[i], b.Ops[j] = b.Ops[j], b.Ops[i] })
		f := draft(0, last)
		f.Slot, f.Bundles = ledger.Slot(i), []BundleVote{{ID: b.ID()}}
		last = signed(g, f)
		start := time.Now()
		r.AddFrame(last)
		addBundle(r, b)
		took[i/of] += time.Since(start)
	}
	if first, end := slices.Max(took[:3]), slices.Min(took[chunks-3:]); end > 3*first {
		t.Errorf("%d bundles at first take at most %v, at last at least %v", of, first, end)
	}
	few := transfer(who('a'), 1, ledger.OpID{}, who('z'), 1)
	for i := range byte(2) {
		b := &Bundle{Ops: []*ledger.Op{few, junk('b', 2+uint64(i))}}
		last = votesFor(g, 0, last, b)
		r.AddFrame(last)
		addBundle(r, b)
	}
	cost := func(op *ledger.Op) time.Duration {
		start := time.Now()
		for range 20_000 {
			r.backed(r.entries[op.ID()])
		}
		return time.Since(start)
	}
	if two, all := cost(few), cost(ops[0]); len(r.entries[ops[0].ID()].in) != chunks*of || all > 10*two {
		t.Errorf("the votes for what %d bundles hold are counted in %v, those for what two hold in %v", chunks*of, all, two)
	}
}
