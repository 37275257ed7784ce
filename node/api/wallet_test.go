package api_test

import (
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
