package market

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
)

// A walk draws operations, good and bad, for a world.
type walk struct {
	*world
	rt   *rapid.T
	open []ledger.OpID
}

func (k *walk) apply(account ledger.Account, lane ledger.Lane, kind ledger.Kind, body []byte) {
	op := k.op(account, lane, kind, body)
	if k.s.Apply(op) == ledger.OK && kind == ledger.KindLeaseOpen {
		k.open = append(k.open, op.ID())
	}
}

func (k *walk) drawLease() (Lease, bool) {
	if len(k.open) == 0 {
		return Lease{}, false
	}
	l, ok := k.c.Lease(rapid.SampledFrom(k.open).Draw(k.rt, "lease"))
	return l, ok
}

func (k *walk) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"open": func(t *rapid.T) {
			scale := rapid.SampledFrom([]uint64{9, uint64(10 * ledger.Token), uint64(testMoney)}).Draw(t, "scale")
			o := LeaseOpen{
				Provider: rapid.SampledFrom(k.seller[:]).Draw(t, "provider"), Class: small,
				Units: rapid.Uint64Range(1, 5000).Draw(t, "units"), Seconds: rapid.Uint32Range(1, MaxTerm).Draw(t, "term"),
				Escrow: ledger.Amount(rapid.Uint64Range(1, scale).Draw(t, "escrow")), Terms: p2p.Digest{1},
			}
			k.apply(rapid.SampledFrom(k.client[:]).Draw(t, "client"), 0, ledger.KindLeaseOpen, o.Encode())
		},
		"accept": func(t *rapid.T) {
			l, ok := k.drawLease()
			if !ok {
				return
			}
			a := k.acceptance(l.ID)
			a.D0 += rapid.SampledFrom([]uint64{0, 0, 0, 1}).Draw(t, "lie")
			k.apply(l.Provider, 1, ledger.KindLeaseAccept, a.Encode())
		},
		"close": func(t *rapid.T) {
			l, ok := k.drawLease()
			if !ok {
				return
			}
			used := rapid.Uint64Range(0, 2*uint64(l.Seconds)).Draw(t, "used")
			reason := EndReason(rapid.Uint8Range(uint8(EndClientStop), uint8(EndDeclined)).Draw(t, "reason"))
			k.apply(l.Provider, 1, ledger.KindLeaseClose, k.closure(l.ID, used, reason).Encode())
		},
		"": func(t *rapid.T) { k.books(t) },
	}
}

// books checks what holds after every operation.
func (k *walk) books(t *rapid.T) {
	if err := k.s.Audit(); err != nil {
		t.Fatal(err)
	}
	taken := map[ledger.Account]uint64{}
	var escrowed ledger.Amount
	for l := range k.c.Leases() {
		key := ledger.ContractKey(0, l.ID[:])
		want, _ := k.c.Leaf(l.ID[:])
		p := k.s.Prove(key)
		if got, there, err := p.Verify(k.s.Root(), key); err != nil || !there || !bytes.Equal(got, want) {
			t.Fatalf("the root has %x of a lease, %v, %v; want %x", got, there, err, want)
		}
		switch l.State {
		case StateOpen:
			escrowed += l.Escrow
		case StateAccepted:
			escrowed += l.Escrow
			taken[l.Provider] += l.Units
		case StateClosed:
			if l.Paid.Total()+l.Refund != l.Escrow {
				t.Fatalf("lease pays %v and returns %v of %v", l.Paid.Total(), l.Refund, l.Escrow)
			}
			if l.Paid.Total() > l.Charge {
				t.Fatalf("lease pays %v of a charge of %v", l.Paid.Total(), l.Charge)
			}
		}
	}
	for _, p := range k.seller {
		if got := k.c.Demand(p, small); got != taken[p] {
			t.Fatalf("demand of %d, leases of %d", got, taken[p])
		}
	}
	if got := k.s.Supply().Escrowed; got != escrowed {
		t.Fatalf("escrows hold %v, live leases %v", got, escrowed)
	}
}

// [MKT-19] Whatever is opened, accepted and closed, no atom appears or vanishes: a
// lease's payments and refund are its escrow, and escrows are those of live leases.
// [LED-54] The root covers what the contract holds now.
func TestConservation(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		k := &walk{world: newWorld(t), rt: rt}
		rt.Repeat(k.actions())
	})
}

// [MKT-20] Lanes commute: operations applied in any order that keeps each lane's
// own give the same state.
func TestOrderIndependence(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		var log []*ledger.Op
		do := func(op *ledger.Op) {
			w.want(ledger.OK, op)
			log = append(log, op)
		}
		for i := range 4 {
			o := w.opening(1000, 3600, 5*ledger.Token)
			o.Provider = w.seller[i%2]
			do(w.op(w.client[i/2], 0, ledger.KindLeaseOpen, o.Encode()))
		}
		ids := w.c.ids()
		for _, id := range ids {
			l, _ := w.c.Lease(id)
			do(w.op(l.Provider, 1, ledger.KindLeaseAccept, w.acceptance(id).Encode()))
		}
		for i, id := range ids {
			l, _ := w.c.Lease(id)
			do(w.op(l.Provider, 1, ledger.KindLeaseClose, w.closure(id, uint64(i)*500, EndJobExit).Encode()))
		}
		other := newWorld(t)
		for pending := rapid.Permutation(log).Draw(rt, "order"); len(pending) > 0; {
			before := len(pending)
			pending = slices.DeleteFunc(pending, func(op *ledger.Op) bool { return other.s.Apply(op) == ledger.OK })
			if len(pending) == before {
				rt.Fatalf("%d operations never apply", before)
			}
		}
		if w.s.Root() != other.s.Root() {
			rt.Fatal("two orders, two states")
		}
	})
}

// [MKT-20] Reset returns the contract to genesis.
func TestReset(t *testing.T) {
	w := newWorld(t)
	w.accept(w.open(1000, 3600, 5*ledger.Token))
	w.s.Reset()
	for l := range w.c.Leases() {
		t.Errorf("a lease is left: %+v", l)
	}
	if w.c.Demand(w.seller[0], small) != 0 {
		t.Error("demand is left")
	}
}
