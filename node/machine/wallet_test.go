package machine

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
)

// payday returns an order of n payments of 1, 2, ... tokens to two accounts.
func payday(s *stage, name string, n int) Pay {
	p := Pay{ID: p2p.Sum("test/pay", []byte(name))}
	for i := range n {
		to := s.player("provider1").key.id
		if i%2 == 1 {
			to = s.player("witness1").key.id
		}
		p.Payments = append(p.Payments, Payment{To: to, Amount: ledger.Amount(i+1) * ledger.Token})
	}
	return p
}

// paid reports whether all payments of an order are certified.
func (p *player) paid(id p2p.Digest) bool {
	if p.m == nil {
		return false
	}
	all, ok := p.m.Payments(id)
	for _, v := range all {
		ok = ok && (v.State == PaymentCertified || v.State == PaymentFinal)
	}
	return ok
}

// wantPaid fails unless the client has made exactly the payments of an order.
func (s *stage) wantPaid(p Pay) {
	s.t.Helper()
	c := s.player("client")
	s.run(2*time.Minute, func() bool { return c.paid(p.ID) })
	if !c.paid(p.ID) {
		all, _ := c.m.Payments(p.ID)
		s.t.Fatalf("not paid: %+v", all)
	}
	s.run(3*time.Second, nil)
	got := map[ledger.Account]ledger.Amount{}
	var spent ledger.Amount
	for _, pay := range p.Payments {
		got[pay.To] += pay.Amount
		spent += pay.Amount + s.g.Ledger.MinFee
	}
	for _, to := range []string{"provider1", "witness1"} {
		if has := c.m.replica.State().Balance(s.player(to).key.id); has != got[s.player(to).key.id] {
			s.t.Errorf("%s has got %v atoms, want %v", to, has, got[s.player(to).key.id])
		}
	}
	if c.spent() != spent {
		s.t.Errorf("the client has spent %v, want %v", c.spent(), spent)
	}
	s.wantBalance()
}

// [MCH-90] Each payment of an order is made once, in their order, however often the
// order is given and however many payments it has.
func TestPay(t *testing.T) {
	s := newMarket(t, never, 1)
	s.startAll()
	s.run(1200*time.Millisecond, nil)
	p := payday(s, "a", 2)
	for len(p.Payments) < payWindow+10 { // more than wait in the outbox at once
		p.Payments = append(p.Payments, Payment{To: p.Payments[0].To, Amount: 1})
	}
	s.step(s.player("client"), p)
	s.step(s.player("client"), p)
	s.wantPaid(p)
	s.step(s.player("client"), p)
	s.wantPaid(p)
}

// [MCH-91] A node that dies after any of its Saves, before anything else of that
// step, makes each payment of an order that it has saved once.
func TestPayDeathAfterAnySave(t *testing.T) {
	deaths := 0
	for n := 1; payAndDie(t, n); n++ {
		deaths++
	}
	if deaths < 8 {
		t.Errorf("the client saved %d times, too few for this test to mean anything", deaths)
	}
}

// payAndDie has the client die after its n-th Save of an order, and reports whether
// it saved so often.
func payAndDie(t *testing.T, n int) bool {
	t.Helper()
	s := newMarket(t, never, 1)
	s.startAll()
	s.run(1200*time.Millisecond, nil)
	c, p := s.player("client"), payday(s, "a", 4)
	for len(p.Payments) < 2*flyingMax+2 { // more than others keep ahead of what is applied
		p.Payments = append(p.Payments, Payment{To: p.Payments[0].To, Amount: 1})
	}
	c.dieAfter = n
	s.step(c, p)
	s.run(20*time.Second, func() bool { return c.m == nil })
	if c.m != nil {
		return false
	}
	s.run(500*time.Millisecond, nil)
	s.start(c)
	if _, ok := c.m.Payments(p.ID); !ok {
		t.Fatalf("death %d: the order was saved first and is forgotten", n)
	}
	s.wantPaid(p)
	return true
}

// [MCH-92] An order to pay that cannot be met, with all that was ordered before, is
// refused with what would be right, and nothing of it is paid.
func TestCheckPay(t *testing.T) {
	s := newMarket(t, never, 1)
	s.startAll()
	s.run(1200*time.Millisecond, nil)
	c, to := s.player("client"), s.player("provider1").key.id
	id := p2p.Sum("test/pay")
	order := func(payments ...Payment) Pay { return Pay{ID: id, Payments: payments} }
	const all = 1000*ledger.Token - 1000 // but the fee
	for _, test := range []struct {
		want string
		pay  Pay
	}{
		{"no id", Pay{Payments: []Payment{{to, 1}}}},
		{"0 payments", order()},
		{"16385 payments", order(make([]Payment, MaxPayments+1)...)},
		{"payment 2: want an account", order(Payment{to, 1}, Payment{to, 0})},
		{"payment 1: want an account", order(Payment{ledger.Account{}, 1})},
		{"payment 879: the sum exceeds", order(slices.Repeat([]Payment{{to, ledger.MaxSupply}}, 1000)...)},
		{"can spend 1000000000000", order(Payment{to, all + 1})},
	} {
		if err := c.m.CheckPay(test.pay); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v, want %q", err, test.want)
		}
		s.step(c, test.pay)
		if _, ok := c.m.Payments(id); ok {
			t.Fatalf("taken: %s", test.want)
		}
	}
	s.step(c, order(Payment{to, 600 * ledger.Token}))
	second := Pay{ID: p2p.Sum("test/second"), Payments: []Payment{{c.key.id, 400 * ledger.Token}}}
	if err := c.m.CheckPay(second); err == nil {
		t.Error("money that is promised is taken for free")
	}
	second.Payments[0].Amount = 300 * ledger.Token // to itself: it costs the fee only
	s.step(c, second)
	s.run(time.Minute, func() bool { return c.paid(id) && c.paid(second.ID) })
	if want := 600*ledger.Token + 2*s.g.Ledger.MinFee; c.spent() != want {
		t.Errorf("the client has spent %v, want %v", c.spent(), want)
	}
}
