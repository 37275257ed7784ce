package market

import (
	"testing"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
)

// quoted returns a good quote of the first provider for the first client, and the
// client's question.
func (w *world) quoted(units uint64, seconds uint32) (Quote, Question) {
	w.t.Helper()
	ask := Ask{Client: w.client[0], Bid: fill(2), Nonce: 3, Class: small, Units: units, Seconds: seconds}
	q, no := MakeQuote(w.c, w.s, Seller{Provider: w.seller[0], Class: small}, ask, 1000)
	if no != 0 {
		w.t.Fatal(no)
	}
	w.sign(&q)
	return q, Question{Ask: ask, Provider: w.seller[0], Now: 999}
}

func (w *world) sign(q *Quote) { q.Sig = fakeSign(q.Provider, q.SigningDigest(w.s.Network())) }

// [MKT-25] A quote is what LeaseAccept will have to carry, and a replica at the
// same place finds it good.
func TestQuote(t *testing.T) {
	w := newWorld(t)
	w.accept(w.open(1000, 3600, 5*ledger.Token))
	q, asked := w.quoted(2000, 600)
	if no := CheckQuote(w.c, w.s, &q, asked, fakeVerify); no != 0 {
		t.Fatalf("a good quote is refused: %v", no)
	}
	if q.Lane != 1 || q.LaneSeq != 1 || q.D0 != 11_000 || q.D1 != 13_000 {
		t.Errorf("got %+v", q)
	}
	id := w.open(2000, 600, q.Charge)
	a := LeaseAccept{Lease: id, D0: q.D0, D1: q.D1, Reserve: q.Reserve, Charge: q.Charge}
	w.want(ledger.OK, w.op(w.seller[0], 1, ledger.KindLeaseAccept, a.Encode()))
}

// [MKT-25] A client refuses a quote that is not the true answer to its question.
func TestCheckQuoteRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(w *world, q *Quote, asked *Question)
		want   Refusal
	}{
		{"good", func(*world, *Quote, *Question) {}, 0},
		{"an atom more", func(_ *world, q *Quote, _ *Question) { q.Charge++ }, RefusedCharge},
		{"an atom less", func(_ *world, q *Quote, _ *Question) { q.Charge-- }, RefusedCharge},
		{"a reserve not charged", func(_ *world, q *Quote, _ *Question) { q.Reserve = 9_000_000_000 }, RefusedCharge},
		{"a higher place", func(w *world, q *Quote, _ *Question) { w.lie(q, 1000) }, RefusedCharge},
		{"a longer step", func(_ *world, q *Quote, _ *Question) { q.D1++ }, RefusedCharge},
		{"a place not seen yet", func(w *world, q *Quote, _ *Question) { w.lie(q, 1000); q.LaneSeq++ }, RefusedBehind},
		{"a place since left", func(w *world, q *Quote, _ *Question) {
			w.accept(w.open(1000, 60, 5*ledger.Token))
		}, RefusedMoved},
		{"another client", func(_ *world, q *Quote, _ *Question) { q.Client = name(2) }, RefusedMismatch},
		{"another nonce", func(_ *world, q *Quote, _ *Question) { q.Nonce++ }, RefusedMismatch},
		{"another bid", func(_ *world, q *Quote, _ *Question) { q.Bid = fill(9) }, RefusedMismatch},
		{"more units", func(_ *world, q *Quote, _ *Question) { q.Units++ }, RefusedMismatch},
		{"another lane", func(_ *world, q *Quote, _ *Question) { q.Lane++ }, RefusedMismatch},
		{"another provider", func(w *world, q *Quote, _ *Question) { q.Provider = w.seller[1] }, RefusedMismatch},
		{"another class", func(_ *world, q *Quote, _ *Question) { q.Class = "tpu" }, RefusedClass},
		{"expired", func(_ *world, _ *Quote, asked *Question) { asked.Now = 1000 }, RefusedExpired},
		{"within the budget", func(_ *world, q *Quote, asked *Question) { asked.Max = q.Charge }, 0},
		{"over budget", func(_ *world, q *Quote, asked *Question) { asked.Max = q.Charge - 1 }, RefusedBudget},
		{"no capacity left", func(w *world, _ *Quote, _ *Question) { w.prove(w.seller[0], 3, 0) }, RefusedCapacity},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			q, asked := w.quoted(2000, 600)
			tt.change(w, &q, &asked)
			w.sign(&q)
			if got := CheckQuote(w.c, w.s, &q, asked, fakeVerify); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if q.Sig[0]++; tt.want == 0 && CheckQuote(w.c, w.s, &q, asked, fakeVerify) != RefusedSignature {
				t.Error("a quote with a bad signature is not refused")
			}
		})
	}
}

// lie moves a quote up the curve, with the charge that belongs there.
func (w *world) lie(q *Quote, by uint64) {
	line, _ := w.c.Curve(q.Class, q.Reserve)
	q.D0, q.D1 = q.D0+by, q.D1+by
	q.Charge, _ = line.Charge(q.D0, q.D1, uint64(q.Seconds))
}

// [MKT-25] A provider quotes only what a witness would vote for, and what its own
// limits allow.
func TestMakeQuoteRefuses(t *testing.T) {
	w := newWorld(t)
	w.accept(w.open(1000, 3600, 5*ledger.Token))
	tests := []struct {
		name    string
		seller  Seller
		class   ledger.Class
		units   uint64
		seconds uint32
		want    Refusal
	}{
		{"good", Seller{Class: small}, small, 3000, 3600, 0},
		{"another class", Seller{Class: small}, "gpu.24", 1000, 600, RefusedClass},
		{"an unknown class", Seller{Class: "tpu"}, "tpu", 1000, 600, RefusedClass},
		{"no device", Seller{Class: "gpu.24"}, "gpu.24", 1000, 600, RefusedDevice},
		{"over the cap", Seller{Class: small}, small, 3001, 600, RefusedCapacity},
		{"over any number", Seller{Class: small}, small, ^uint64(0), 600, RefusedCapacity},
		{"over its own limit", Seller{Class: small, Units: 2000}, small, 1001, 600, RefusedCapacity},
		{"over its own limit by far", Seller{Class: small, Units: 2000}, small, ^uint64(0), 600, RefusedCapacity},
		{"within its own limit", Seller{Class: small, Units: 2000}, small, 1000, 600, 0},
		{"too long on probation", Seller{Class: small}, small, 1000, 3601, RefusedTerm},
		{"beyond all money", Seller{Class: small, Reserve: ledger.MaxSupply}, small, 3000, 3600, RefusedOverflow},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.seller.Provider = w.seller[0]
			ask := Ask{Client: w.client[0], Class: tt.class, Units: tt.units, Seconds: tt.seconds}
			if _, got := MakeQuote(w.c, w.s, tt.seller, ask, 1000); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// [MKT-10] Signed asks for the provider's own key and network.
func TestSigned(t *testing.T) {
	here := p2p.Network{1, 2, 3}
	o, b := testOffer(), testBid()
	o.Sig = fakeSign(o.Provider, o.SigningDigest(here))
	b.Sig = fakeSign(b.Client, b.SigningDigest(here))
	if !o.Signed(here, fakeVerify) || !b.Signed(here, fakeVerify) {
		t.Error("a good signature is refused")
	}
	if o.Signed(p2p.Network{9}, fakeVerify) || b.Signed(p2p.Network{9}, fakeVerify) {
		t.Error("a signature counts on another network")
	}
}
