package machine

import (
	"slices"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/market"
)

// An Entry is an applied operation in words of money. What the operation has none of
// is zero.
type Entry struct {
	Op     *ledger.Op
	ID     ledger.OpID
	To     ledger.Account // whom it pays; of a lease the other side
	Amount ledger.Amount  // what it moves; of a closed lease what was paid
	Refund ledger.Amount  // of a closed lease: what returned to its client
	Lease  ledger.OpID
}

// Concerns reports whether the operation is of an account, or for it.
func (e *Entry) Concerns(account ledger.Account) bool {
	return e.Op.Account == account || e.To == account
}

// Describe says what an applied operation did. The state and the leases are those
// that it is part of.
func Describe(st *ledger.State, leases *market.Contract, op *ledger.Op) Entry {
	e := Entry{Op: op, ID: op.ID()}
	body, err := st.Body(op)
	if err != nil {
		return e // it was applied, so it has one
	}
	switch b := body.(type) {
	case ledger.Transfer:
		e.To, e.Amount = b.To, b.Amount
	case ledger.LaneMove:
		e.To, e.Amount = op.Account, b.Amount
	case ledger.Burn:
		e.Amount = b.Amount
	case ledger.StakeBond:
		e.Amount = b.Amount
	case ledger.HashLock:
		e.To, e.Amount = b.To, b.Amount
	case *market.LeaseOpen:
		e.To, e.Amount, e.Lease = b.Provider, b.Escrow, e.ID
	case *market.LeaseAccept:
		e.Lease = b.Lease
		l, _ := leases.Lease(b.Lease)
		e.To = l.Client
	}
	if c, err := market.DecodeLeaseClose(op.Body); err == nil && op.Kind == ledger.KindLeaseClose {
		l, _ := leases.Lease(c.Lease)
		e.Lease, e.Amount, e.Refund, e.To = c.Lease, l.Paid.Total(), l.Refund, l.Client
	}
	return e
}

// History returns at most limit applied operations of an account, or for it, the
// newest first; of all accounts when it is zero. The order is that in which this
// node has applied them, in this life or when it started; of one lane it is the
// lane's.
func (m *Machine) History(account ledger.Account, limit int) []Entry {
	var out []Entry
	for _, op := range slices.Backward(m.log) {
		if len(out) >= limit {
			break
		}
		if e := Describe(m.replica.State(), m.leases, op); account.IsZero() || e.Concerns(account) {
			out = append(out, e)
		}
	}
	return out
}

// logApplied keeps the log of applied operations.
func (m *Machine) logApplied(a replica.Applied) {
	if a.Result == ledger.OK {
		m.log = append(m.log, a.Op)
		return
	}
	m.log = slices.DeleteFunc(m.log, func(op *ledger.Op) bool { return op == a.Op })
}
