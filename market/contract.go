package market

import (
	"slices"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market/curve"
)

// A Contract is the ledger's knowledge of leases. It belongs to the State that it
// was handed to, and changes only as that applies operations.
type Contract struct {
	params *Params
	verify Verify
	leases map[ledger.OpID]*Lease
	taken  map[holding]uint64 // units of accepted leases, in mCU
}

// A holding is what a provider has in one class.
type holding struct {
	provider ledger.Account
	class    ledger.Class
}

var (
	_ ledger.Voter   = (*Contract)(nil)
	_ ledger.Spender = (*Contract)(nil)
)

// NewContract returns the contract at genesis. The parameters must be valid and
// are copied; verify checks the vouchers that providers redeem.
func NewContract(p *Params, verify Verify) *Contract {
	params := *p
	params.Classes = slices.Clone(p.Classes)
	c := &Contract{params: &params, verify: verify}
	c.Reset()
	return c
}

// Reset implements ledger.Contract.
func (c *Contract) Reset() {
	c.leases = map[ledger.OpID]*Lease{}
	c.taken = map[holding]uint64{}
}

// Kinds implements ledger.Contract.
func (c *Contract) Kinds() []ledger.Kind {
	return []ledger.Kind{ledger.KindLeaseOpen, ledger.KindLeaseAccept, ledger.KindLeaseClose}
}

// Params returns the rules. They must not be changed.
func (c *Contract) Params() *Params { return c.params }

// Demand returns the units that a provider has taken in a class and not given
// back, in mCU: its own part of D.
func (c *Contract) Demand(provider ledger.Account, class ledger.Class) uint64 {
	return c.taken[holding{provider, class}]
}

// Position returns the demand that a provider's next lease starts from, in mCU:
// that of the class at the last checkpoint and the provider's own since. It is 0
// for a class that does not exist.
func (c *Contract) Position(provider ledger.Account, class ledger.Class) uint64 {
	i, ok := c.params.ClassIndex(class)
	if !ok {
		return 0
	}
	return c.params.Classes[i].Demand + c.Demand(provider, class)
}

// Curve returns the curve on which a provider with a reserve price sells a class.
func (c *Contract) Curve(class ledger.Class, reserve ledger.Amount) (curve.Params, bool) {
	return c.params.Curve(class, reserve)
}

// Charge returns what a provider's next units cost for a term, in atoms, and false
// when the class does not exist or the charge fits no amount.
func (c *Contract) Charge(
	provider ledger.Account, class ledger.Class, units uint64, seconds uint32, reserve ledger.Amount,
) (ledger.Amount, bool) {
	line, ok := c.params.Curve(class, reserve)
	if !ok {
		return 0, false
	}
	d0 := c.Position(provider, class)
	charge, err := line.Charge(d0, d0+units, uint64(seconds))
	return charge, err == nil
}

// Capacity returns what a provider's device may sell in all, in mCU: once it is
// admitted the least of what it has declared and proven, before that what it
// declares, up to the probation cap of its class. It is 0 without a device, and for
// one that is retired.
func (c *Contract) Capacity(s *ledger.State, provider ledger.Account, class ledger.Class) uint64 {
	i, ok := c.params.ClassIndex(class)
	d, found := s.Device(provider, class)
	switch {
	case !ok || !found:
		return 0
	case d.Passed >= Admission:
		return min(d.Declared, d.Proven)
	default:
		return min(d.Declared, c.params.Classes[i].Probation)
	}
}

// Check implements ledger.Contract. All that it looks at changes on the
// operation's own lane only, so it is monotone.
func (c *Contract) Check(s *ledger.State, op *ledger.Op, body any) ledger.Result {
	switch b := body.(type) {
	case *LeaseOpen:
		return c.checkOpen(s, op, b)
	case *LeaseAccept:
		return c.checkAccept(op, b)
	case *closing:
		return c.checkClose(s, op, b)
	default:
		return ledger.UnknownKind
	}
}

func (c *Contract) checkOpen(s *ledger.State, op *ledger.Op, b *LeaseOpen) ledger.Result {
	if _, ok := c.params.ClassIndex(b.Class); !ok {
		return ledger.BadBody
	}
	if s.Funds(op) < b.Escrow {
		return ledger.InsufficientBalance
	}
	return ledger.OK
}

// mine returns the lease that an operation of its provider acts on, and whether
// the operation may.
func (c *Contract) mine(op *ledger.Op, id ledger.OpID) (*Lease, ledger.Result) {
	l := c.leases[id]
	if l == nil {
		return nil, ledger.UnknownLease
	}
	if op.Account != l.Provider {
		return nil, ledger.NotYours
	}
	if lane, _ := c.params.Lane(l.Class); op.Lane != lane {
		return nil, ledger.BadLane
	}
	if l.State == StateClosed {
		return nil, ledger.AlreadyDone
	}
	return l, ledger.OK
}

func (c *Contract) checkAccept(op *ledger.Op, b *LeaseAccept) ledger.Result {
	l, r := c.mine(op, b.Lease)
	if r != ledger.OK {
		return r
	}
	if l.State != StateOpen {
		return ledger.AlreadyDone
	}
	if b.D0 != c.Position(l.Provider, l.Class) || b.D1 != b.D0+l.Units {
		return ledger.BadPrice
	}
	charge, ok := c.Charge(l.Provider, l.Class, l.Units, l.Seconds, b.Reserve)
	if !ok || b.Charge != charge || charge > l.Escrow {
		return ledger.BadPrice
	}
	return ledger.OK
}

func (c *Contract) checkClose(s *ledger.State, op *ledger.Op, b *closing) ledger.Result {
	l, r := c.mine(op, b.Lease)
	if r != ledger.OK {
		return r
	}
	if !b.signed(s.Network(), l.Client, c.verify) {
		return ledger.BadVoucher
	}
	return ledger.OK
}

// Spends implements ledger.Spender: a LeaseOpen takes its escrow, the others nothing.
// They may be followed, but follow nothing.
func (c *Contract) Spends(_ *ledger.Op, body any) (most ledger.Amount, alone bool) {
	if b, ok := body.(*LeaseOpen); ok {
		return b.Escrow, false
	}
	return 0, false
}

// MayVote implements ledger.Voter: a provider sells no more than its device's
// capacity, and, on probation, for no longer than ProbationTerm. Capacity comes
// and goes with proofs, so that only witnesses ask.
func (c *Contract) MayVote(s *ledger.State, _ *ledger.Op, body any) ledger.Result {
	b, ok := body.(*LeaseAccept)
	if !ok {
		return ledger.OK
	}
	l := c.leases[b.Lease]
	return c.fits(s, l.Provider, l.Class, l.Units, l.Seconds)
}

// fits says whether a provider may sell some units for a term.
func (c *Contract) fits(
	s *ledger.State, provider ledger.Account, class ledger.Class, units uint64, seconds uint32,
) ledger.Result {
	d, ok := s.Device(provider, class)
	switch {
	case !ok:
		return ledger.UnknownDevice
	case !within(c.Demand(provider, class), units, c.Capacity(s, provider, class)):
		return ledger.NoCapacity
	case d.Passed < Admission && seconds > ProbationTerm:
		return ledger.BadState
	}
	return ledger.OK
}

// within reports whether units more than taken are at most a capacity.
func within(taken, units, capacity uint64) bool { return units <= capacity && taken <= capacity-units }

// Apply implements ledger.Contract.
func (c *Contract) Apply(tx *ledger.Tx, op *ledger.Op, body any) {
	switch b := body.(type) {
	case *LeaseOpen:
		c.open(tx, op, b)
	case *LeaseAccept:
		l := c.leases[b.Lease]
		tx.Touch(l.ID[:])
		l.State = StateAccepted
		l.D0, l.D1, l.Reserve, l.Charge = b.D0, b.D1, b.Reserve, b.Charge
		c.taken[holding{l.Provider, l.Class}] += l.Units
	case *closing:
		c.close(tx, b)
	}
}

func (c *Contract) open(tx *ledger.Tx, op *ledger.Op, b *LeaseOpen) {
	id := tx.ID()
	c.leases[id] = &Lease{
		ID: id, Client: op.Account, Provider: b.Provider, Class: b.Class, Units: b.Units, Seconds: b.Seconds,
		Escrow: b.Escrow, Terms: b.Terms, State: StateOpen,
	}
	tx.Touch(id[:])
	tx.Move(ledger.LaneOf(op.Account, op.Lane), ledger.Escrow(id), b.Escrow)
}

// close empties the escrow: to fire, to the provider, to the stakers of the class,
// and the rest back to the client.
func (c *Contract) close(tx *ledger.Tx, b *closing) {
	l := c.leases[b.Lease]
	tx.Touch(l.ID[:])
	paid := c.params.settle(l, b.Used, b.Reason)
	if l.State == StateAccepted {
		c.release(l)
	}
	l.State, l.Used, l.Paid, l.Reason = StateClosed, b.Used, paid, b.Reason
	l.Refund = l.Escrow - paid.Total()
	from := ledger.Escrow(l.ID)
	tx.Move(from, ledger.Burned(), paid.Burn)
	tx.Move(from, ledger.CreditTo(l.Provider), paid.Serve)
	tx.Move(from, ledger.Pot(l.Class), paid.Stakers)
	tx.Move(from, ledger.CreditTo(l.Client), l.Refund)
}

// release gives the units of an accepted lease back.
func (c *Contract) release(l *Lease) {
	key := holding{l.Provider, l.Class}
	c.taken[key] -= l.Units
	if c.taken[key] == 0 {
		delete(c.taken, key)
	}
}
