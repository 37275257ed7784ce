package ledger

import (
	"errors"
	"fmt"

	"github.com/pinfi/pinfi/p2p/wire"
)

// Transfer is the body of KindTransfer: it credits another account.
type Transfer struct {
	To     Account
	Amount Amount // at least 1
}

// Encode returns the canonical body.
func (t Transfer) Encode() []byte {
	w := wire.NewWriter(40)
	w.Fixed(t.To[:])
	w.U64(uint64(t.Amount))
	return w.Bytes()
}

// LaneMove is the body of KindLaneMove: it moves money from the operation's lane
// to another lane of the same account.
type LaneMove struct {
	To     Lane   // not the operation's own
	Amount Amount // at least 1
}

// Encode returns the canonical body.
func (m LaneMove) Encode() []byte {
	w := wire.NewWriter(9)
	w.U8(uint8(m.To))
	w.U64(uint64(m.Amount))
	return w.Bytes()
}

// Burn is the body of KindBurn: it destroys money.
type Burn struct {
	Amount Amount // at least 1
}

// Encode returns the canonical body.
func (b Burn) Encode() []byte {
	w := wire.NewWriter(8)
	w.U64(uint64(b.Amount))
	return w.Bytes()
}

// core is the contract of the kinds that the ledger itself defines. What they need
// is kept in the State.
type core struct{}

var _ Spender = core{}

// errZero is why a body with nothing in it does not decode.
var errZero = errors.New("holds a zero where it may not")

// Kinds implements Contract.
func (core) Kinds() []Kind {
	return []Kind{
		KindTransfer, KindLaneMove, KindDeviceRegister, KindDeviceRetire, KindStakeBond, KindBurn,
		KindHashLock, KindHashClaim,
	}
}

// Decode implements Contract.
func (core) Decode(k Kind, body []byte) (any, error) {
	r := wire.NewReader(body)
	var v any
	zero := false
	switch k {
	case KindTransfer:
		t := Transfer{}
		r.Into(t.To[:])
		t.Amount = Amount(r.U64())
		v, zero = t, t.To.IsZero() || t.Amount == 0
	case KindLaneMove:
		m := LaneMove{To: Lane(r.U8()), Amount: Amount(r.U64())}
		v, zero = m, m.Amount == 0
	case KindDeviceRegister:
		d := DeviceRegister{Class: Class(r.Text(MaxClass)), Declared: r.U64()}
		v, zero = d, d.Class == "" || d.Declared == 0
	case KindDeviceRetire:
		d := DeviceRetire{Class: Class(r.Text(MaxClass))}
		v, zero = d, d.Class == ""
	case KindStakeBond:
		v, zero = takeBond(r)
	case KindBurn:
		b := Burn{Amount: Amount(r.U64())}
		v, zero = b, b.Amount == 0
	case KindHashLock:
		v, zero = takeHashLock(r)
	case KindHashClaim:
		v, zero = takeHashClaim(r)
	default:
		return nil, fmt.Errorf("body of %v: %w", k, wire.ErrValue)
	}
	if err := r.Close(); err != nil {
		return nil, fmt.Errorf("body of %v: %w", k, err)
	}
	if zero {
		return nil, fmt.Errorf("body of %v: %w", k, errZero)
	}
	return v, nil
}

// Spends implements Spender. Transfer, LaneMove, Burn, HashLock and StakeBond stand
// alone; devices and the claims of locks depend on what came before them.
func (core) Spends(_ *Op, body any) (most Amount, alone bool) {
	switch b := body.(type) {
	case Transfer:
		return b.Amount, true
	case LaneMove:
		return b.Amount, true
	case Burn:
		return b.Amount, true
	case HashLock:
		return b.Amount, true
	case StakeBond:
		return b.Amount, true
	default:
		return 0, false
	}
}

// Check implements Contract. It asks for money last, as Spender wants.
func (c core) Check(s *State, op *Op, body any) Result {
	switch b := body.(type) {
	case LaneMove:
		if b.To == op.Lane {
			return BadLane
		}
	case DeviceRegister:
		return s.mayRegister(op, b)
	case DeviceRetire:
		return s.mayRetire(op, b)
	case StakeBond:
		if op.Lane != 0 {
			return BadLane
		}
	case HashLock:
		if b.Expiry < op.Epoch {
			return TooLate
		}
	case HashClaim:
		return s.mayUnlock(op, b)
	}
	if need, _ := c.Spends(op, body); s.Funds(op) < need {
		return InsufficientBalance
	}
	return OK
}

// Apply implements Contract.
func (core) Apply(tx *Tx, op *Op, body any) {
	own := LaneOf(op.Account, op.Lane)
	switch b := body.(type) {
	case Transfer:
		tx.Move(own, CreditTo(b.To), b.Amount)
	case LaneMove:
		tx.Move(own, LaneOf(op.Account, b.To), b.Amount)
	case Burn:
		tx.Move(own, Burned(), b.Amount)
	case DeviceRegister:
		tx.declare(b.Class, b.Declared)
	case DeviceRetire:
		tx.declare(b.Class, 0)
	case StakeBond:
		tx.bond(b)
	case HashLock:
		tx.lock(b)
	case HashClaim:
		tx.unlock(b)
	}
}

// Leaf implements Contract. What the kinds need has leaves of the State's own.
func (core) Leaf([]byte) ([]byte, bool) { return nil, false }

// Reset implements Contract. The State resets what it keeps.
func (core) Reset() {}
