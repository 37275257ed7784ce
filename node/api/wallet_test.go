package api_test

import (
	"errors"
	"testing"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/node/api"
	"github.com/pinfi/pinfi/p2p"
)

// [API-23] An order to pay is answered once it is on disk; its id is its idempotency
// key, and another order with the id, and one that cannot be met, is refused.
// [API-24] The history of an account shows what it has signed and what was paid to
// it, the newest first, and the ledger where its money is.
func TestPay(t *testing.T) {
	c, providers := newMarket(t, 2)
	ctx, to := t.Context(), providers[0].cfg.Node.Self()
	self := c.cfg.Node.Self()
	order := api.PayOrder{ID: p2p.Sum("test/pay"), Payments: []api.Payment{{To: to, Amount: 5}, {To: to, Amount: 7}}}
	for i := range 2 {
		ticket, err := c.Pay(ctx, order)
		if err != nil || ticket.ID != order.ID || ticket.Known != (i == 1) {
			t.Fatalf("order %d: %+v, %v", i, ticket, err)
		}
	}
	var p api.Payments
	until(t, "both payments are made", func() bool {
		var err error
		p, err = c.Payments(ctx, order.ID, false)
		return err == nil && p.Certified == 2
	})
	if p.Open() != 0 || p.Paid != 12 || p.Fees != 2000 || len(p.Payments) != 2 || p.Payments[1].Op.IsZero() {
		t.Errorf("payments %+v", p)
	}
	other := order
	other.Payments = order.Payments[:1]
	_, err := c.Pay(ctx, other)
	wantProblem(t, err, api.CodeIDTaken, "repeat an order without changes")
	_, err = c.Pay(ctx, api.PayOrder{Payments: []api.Payment{{To: to, Amount: 1000 * ledger.Token}}})
	wantProblem(t, err, api.CodeBadPayment, "can spend")
	_, err = c.Pay(ctx, api.PayOrder{Payments: []api.Payment{{To: to}}})
	wantProblem(t, err, api.CodeInvalid, "amount")
	_, err = c.Payments(ctx, p2p.Sum("other"), true)
	wantProblem(t, err, api.CodeUnknownPay)

	entries, err := c.History(ctx, self, 10)
	if err != nil || len(entries) != 2 || entries[0].Amount != 7 || entries[1].Amount != 5 || entries[0].To != to {
		t.Errorf("history %+v, %v", entries, err)
	}
	if entries, err = c.History(ctx, self, 1); err != nil || len(entries) != 1 {
		t.Errorf("history of one: %+v, %v", entries, err)
	}
	l, err := c.Ledger(ctx, to)
	if err != nil || l.Account.Unclaimed != 12 || len(l.Account.Credits) != 2 || len(l.Witnesses) != 2 {
		t.Errorf("ledger %+v, %v", l, err)
	}
	if l, err = c.Ledger(ctx, self); err != nil || len(l.Account.Lanes) != 1 || l.Account.Lanes[0].Seq != 2 {
		t.Errorf("ledger %+v, %v", l, err)
	}
}

// [API-25] What a lane holds is proven against the root: a proof with another figure,
// root or lane does not hold.
func TestProve(t *testing.T) {
	c, _ := newMarket(t, 1)
	self := c.cfg.Node.Self()
	p, err := c.Prove(t.Context(), self, 0)
	if err != nil || !p.Present || p.Balance != 1000*ledger.Token {
		t.Fatalf("%+v, %v", p, err)
	}
	none, err := c.Prove(t.Context(), self, 9)
	if err != nil || none.Present {
		t.Fatalf("%+v, %v", none, err)
	}
	if err := errors.Join(p.Check(), none.Check()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*api.LaneProof){
		"balance": func(p *api.LaneProof) { p.Balance++ },
		"seq":     func(p *api.LaneProof) { p.Seq++ },
		"present": func(p *api.LaneProof) { p.Present = false },
		"root":    func(p *api.LaneProof) { p.Root[0] ^= 1 },
		"lane":    func(p *api.LaneProof) { p.Lane++ },
		"account": func(p *api.LaneProof) { p.Account[0] ^= 1 },
		"proof":   func(p *api.LaneProof) { p.Proof = p.Proof[2:] },
		"digits":  func(p *api.LaneProof) { p.Proof = "x" },
	} {
		bad := p
		change(&bad)
		if err := bad.Check(); !errors.Is(err, api.ErrProof) {
			t.Errorf("another %s: %v", name, err)
		}
	}
}
