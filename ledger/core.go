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

// MaxClasses is the most classes in which one account has a device.
const MaxClasses = 16

// DeviceRegister is the body of KindDeviceRegister, which belongs on lane 0. It
// makes a device known, or raises the capacity of one that is.
type DeviceRegister struct {
	Class    Class  // 1 to MaxClass bytes
	Declared uint64 // mCU, at least 1
}

// Encode returns the canonical body.
func (d DeviceRegister) Encode() []byte {
	w := wire.NewWriter(1 + len(d.Class) + 8)
	w.Text(string(d.Class))
	w.U64(d.Declared)
	return w.Bytes()
}

// core is the contract of the kinds that the ledger itself defines. It keeps no
// state of its own.
type core struct{}

var _ Contract = core{}

// errZero is why a body with nothing in it does not decode.
var errZero = errors.New("holds a zero where it may not")

// Kinds implements Contract.
func (core) Kinds() []Kind { return []Kind{KindTransfer, KindLaneMove, KindDeviceRegister, KindBurn} }

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
	case KindBurn:
		b := Burn{Amount: Amount(r.U64())}
		v, zero = b, b.Amount == 0
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

// Check implements Contract.
func (core) Check(s *State, op *Op, body any) Result {
	need := Amount(0)
	switch b := body.(type) {
	case Transfer:
		need = b.Amount
	case Burn:
		need = b.Amount
	case LaneMove:
		need = b.Amount
		if b.To == op.Lane {
			return BadLane
		}
	case DeviceRegister:
		return s.mayRegister(op, b)
	}
	if s.Funds(op) < need {
		return InsufficientBalance
	}
	return OK
}

// mayRegister checks a registration. All that it looks at changes with lane 0 of
// the owner only, so it is monotone.
func (s *State) mayRegister(op *Op, d DeviceRegister) Result {
	if op.Lane != 0 {
		return BadLane
	}
	device, known := s.Device(op.Account, d.Class)
	switch {
	case known && d.Declared <= device.Declared:
		return AlreadyDone
	case !known && s.classes[op.Account] >= MaxClasses:
		return Full
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
		d, ok := tx.State().Device(op.Account, b.Class)
		if !ok {
			d = Device{Owner: op.Account, Class: b.Class}
		}
		d.Declared = b.Declared
		tx.SetDevice(d)
	}
}

// Leaf implements Contract.
func (core) Leaf([]byte) ([]byte, bool) { return nil, false }

// Reset implements Contract.
func (core) Reset() {}
