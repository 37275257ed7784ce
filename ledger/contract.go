package ledger

import "fmt"

// A Contract gives meaning to some kinds of operation and keeps the state that
// they need. A State calls it from one goroutine, in any order of operations that
// respects lanes, so whatever it stores must come out the same for every such
// order.
//
// Check therefore must be monotone: once it says OK for an operation that is next
// in its lane, operations of other lanes must not make it say anything else. A
// condition that can come and go, a provider's free capacity say, belongs in
// Voter: witnesses ask it before they vote, and the fold does not ask it again.
type Contract interface {
	// Kinds returns the kinds that the contract handles.
	Kinds() []Kind
	// Decode reads a body of one of those kinds. It accepts canonical bytes only;
	// an error becomes BadBody.
	Decode(k Kind, body []byte) (any, error)
	// Check says whether the operation may be applied now. It changes nothing. The
	// envelope, the claims and the fee have been checked; what the operation may
	// spend is State.Funds, not State.Spendable.
	Check(s *State, op *Op, body any) Result
	// Apply carries the operation out, right after Check said OK. When it runs,
	// claims are in the lane and the fee has left it.
	Apply(tx *Tx, op *Op, body any)
	// Leaf returns what the contract's state holds under a key, for the root, and
	// false for nothing: at most MaxValue bytes under at most MaxKey - 1. Apply must
	// call Tx.Touch for each key of which the value changes, comes or goes.
	Leaf(key []byte) (value []byte, ok bool)
	// Reset returns the contract to its state at genesis.
	Reset()
}

// A Voter is a Contract with conditions that a witness checks before it votes and
// that the fold leaves alone.
type Voter interface {
	Contract
	// MayVote says whether an honest witness votes for the operation now. It is
	// asked after Check said OK, and changes nothing.
	MayVote(s *State, op *Op, body any) Result
}

// A Spender is a Contract that says what its operations cost, so that others of the
// same lane may be voted for before they are applied: see State.CheckAfter. Operations
// of other contracts cannot be followed.
type Spender interface {
	Contract
	// Spends returns the most that the operation takes from its lane besides its
	// fee. Alone says that Check asks for nothing but this money and what the
	// operation says by itself, and for the money last: its answer then depends on
	// no other operation once the money is there.
	Spends(op *Op, body any) (most Amount, alone bool)
}

// A bucketKind says what holds the money of a Bucket.
type bucketKind uint8

// The holders of money.
const (
	inLane bucketKind = iota + 1
	inCredit
	inEscrow
	inPot
	inBond
	inProviderBond
	inBurned
)

// bucketKinds is one more than the last bucketKind.
const bucketKinds = int(inBurned) + 1

// A Bucket is a place that money can be in. Make one with LaneOf, CreditTo,
// Escrow, Pot, Bond, ProviderBond or Burned.
type Bucket struct {
	kind    bucketKind
	lane    Lane    // inLane; in a claimed inCredit the giver's
	account Account // inLane, inCredit, inBond, inProviderBond
	op      OpID    // inEscrow; in a claimed inCredit the giver
	upto    uint64  // in a claimed inCredit, the last sequence number
	class   Class   // inPot, inProviderBond
}

// LaneOf is the money in a lane. An operation takes from its own lane only, and
// puts into lanes of its own account only.
func LaneOf(account Account, lane Lane) Bucket {
	return Bucket{kind: inLane, account: account, lane: lane}
}

// CreditTo is money that the operation being applied makes over to an account,
// which stays there until the account claims it. Nothing is taken from it.
func CreditTo(account Account) Bucket { return Bucket{kind: inCredit, account: account} }

// Escrow is the money that the operation set aside.
func Escrow(id OpID) Bucket { return Bucket{kind: inEscrow, op: id} }

// Pot is the money that waits for the stakers of a class.
func Pot(class Class) Bucket { return Bucket{kind: inPot, class: class} }

// Bond is an account's bond as a witness.
func Bond(account Account) Bucket { return Bucket{kind: inBond, account: account} }

// ProviderBond is an account's bond as a provider of a class.
func ProviderBond(account Account, class Class) Bucket {
	return Bucket{kind: inProviderBond, account: account, class: class}
}

// Burned is money out of circulation. Nothing is taken from it.
func Burned() Bucket { return Bucket{kind: inBurned} }

// String names the bucket for messages about bugs.
func (b Bucket) String() string {
	switch b.kind {
	case inLane:
		return fmt.Sprintf("lane %d of %s", b.lane, b.account.Short())
	case inCredit:
		return "credit to " + b.account.Short()
	case inEscrow:
		return "escrow " + b.op.Short()
	case inPot:
		return fmt.Sprintf("pot %q", string(b.class))
	case inBond:
		return "bond of " + b.account.Short()
	case inProviderBond:
		return fmt.Sprintf("bond of %s for %q", b.account.Short(), string(b.class))
	case inBurned:
		return "burned"
	default:
		return "no bucket"
	}
}

// A Tx is one operation being applied. It is valid during Contract.Apply only.
type Tx struct {
	state *State
	op    *Op
	id    OpID
}

// State returns the state, changed so far as the operation has changed it.
func (tx *Tx) State() *State { return tx.state }

// Op returns the operation.
func (tx *Tx) Op() *Op { return tx.op }

// ID returns the operation's id without computing it again.
func (tx *Tx) ID() OpID { return tx.id }

// Move moves money from one bucket to another; it is the only thing that does. It
// panics when from holds less, or when the operation may not touch a bucket: the
// contract's Check is then wrong.
func (tx *Tx) Move(from, to Bucket, a Amount) {
	if from.kind == inLane && (from.account != tx.op.Account || from.lane != tx.op.Lane) ||
		to.kind == inLane && to.account != tx.op.Account || from.kind == inCredit || from.kind == inBurned {
		panic(fmt.Sprintf("ledger: %v %s moves from %v to %v", tx.op.Kind, tx.id.Short(), from, to))
	}
	if a == 0 {
		return
	}
	tx.transfer(from, to, a)
}

// transfer moves money without asking whether the operation may.
func (tx *Tx) transfer(from, to Bucket, a Amount) {
	if !tx.state.take(from, a) {
		panic(fmt.Sprintf("ledger: %v %s moves %s from %v, which holds less", tx.op.Kind, tx.id.Short(), a, from))
	}
	tx.state.put(to, tx.op, a)
}

// Touch says that what the contract's Leaf returns for a key has changed, or is
// about to before Apply returns. Without it the root would miss the change.
func (tx *Tx) Touch(key []byte) { tx.state.touch(ContractKey(tx.state.places[tx.op.Kind], key)) }

// SetDevice adds or replaces the device of (Owner, Class). A contract changes a
// device only in ways that commute, because operations of other lanes do too.
func (tx *Tx) SetDevice(d Device) {
	if tx.state.devices.set(d) {
		tx.state.classes[d.Owner]++
	}
	tx.state.touch(DeviceKey(d.Owner, d.Class))
}
