package market

import (
	"iter"
	"slices"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market/curve"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// A Lease is a deal as the ledger knows it.
type Lease struct {
	ID       ledger.OpID // of the LeaseOpen
	Client   ledger.Account
	Provider ledger.Account
	Class    ledger.Class
	Units    uint64 // in mCU
	Seconds  uint32 // the term
	Escrow   ledger.Amount
	Terms    p2p.Digest
	State    LeaseState

	// Set by LeaseAccept.
	D0, D1  uint64        // place on the curve, in mCU
	Reserve ledger.Amount // the provider's least price, in atoms per CU-hour
	Charge  ledger.Amount // price of the whole term

	// Set by LeaseClose.
	Used   uint64        // seconds of the last voucher
	Paid   curve.Split   // where the money went; Burn includes the unused part of the window
	Refund ledger.Amount // what the client got back: Escrow less Paid
	Reason EndReason
}

// settle returns what a lease pays when it closes after used seconds of a term of
// at least one second: what is due by the split, and, unless the provider is to
// blame, the burn of what would have become due until the end of the window
// (rounded up, in favour of the pool). A lease that nobody accepted has a charge
// of nothing and pays nothing. One without a voucher pays nothing either: the
// reason is the provider's word alone, and would let it burn a client's money at
// no cost to itself.
func (p *Params) settle(l *Lease, used uint64, reason EndReason) curve.Split {
	term, window := uint64(l.Seconds), uint64(p.Window)
	used = min(used, term)
	due := curve.Due(l.Charge, used, term)
	paid := curve.SplitOf(due, p.BetaBps, p.SigmaBps)
	if used == 0 || reason.ByProvider() {
		return paid
	}
	windows := (used + window - 1) / window
	end := min(term, window*windows)
	paid.Burn += curve.Share(curve.Due(l.Charge, end, term)-due, p.BetaBps)
	return paid
}

// put writes the canonical bytes, without the id.
func (l *Lease) put(w *wire.Writer) {
	w.Fixed(l.Client[:])
	w.Fixed(l.Provider[:])
	w.Text(string(l.Class))
	w.U64(l.Units)
	w.U32(l.Seconds)
	w.U64(uint64(l.Escrow))
	w.Fixed(l.Terms[:])
	w.U8(uint8(l.State))
	for _, v := range []uint64{l.D0, l.D1, uint64(l.Reserve), uint64(l.Charge), l.Used} {
		w.U64(v)
	}
	for _, a := range []ledger.Amount{l.Paid.Burn, l.Paid.Serve, l.Paid.Stakers, l.Refund} {
		w.U64(uint64(a))
	}
	w.U8(uint8(l.Reason))
}

// Lease returns the lease that the operation opened.
func (c *Contract) Lease(id ledger.OpID) (Lease, bool) {
	l := c.leases[id]
	if l == nil {
		return Lease{}, false
	}
	return *l, true
}

// Leases yields all leases in the order of their ids. The state must not change
// meanwhile.
func (c *Contract) Leases() iter.Seq[Lease] {
	return func(yield func(Lease) bool) {
		for _, id := range c.ids() {
			if !yield(*c.leases[id]) {
				return
			}
		}
	}
}

// ids returns the ids of all leases, ascending.
func (c *Contract) ids() []ledger.OpID {
	ids := make([]ledger.OpID, 0, len(c.leases))
	for id := range c.leases { // order-free: sorted below
		ids = append(ids, id)
	}
	slices.SortFunc(ids, ledger.OpID.Compare)
	return ids
}

// Leaf implements ledger.Contract: the key of a lease is its id.
func (c *Contract) Leaf(key []byte) ([]byte, bool) {
	l := c.leases[ledger.OpID(key)]
	if l == nil {
		return nil, false
	}
	w := wire.NewWriter(256)
	l.put(w)
	return w.Bytes(), true
}
