package ledger

import (
	"fmt"

	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// A Role is what a bond stands for. Bonds of different roles are different buckets,
// so that a provider who is fined for its proofs votes with as much weight as before.
type Role uint8

// The roles.
const (
	RoleWitness  Role = 1 // votes
	RoleProvider Role = 2 // sells one class
)

// StakeBond is the body of KindStakeBond, which belongs on lane 0: it adds money
// to the account's bond for a role. The witnesses and their weights stay those of
// the genesis until there are checkpoints, and so does what is bonded.
type StakeBond struct {
	Role   Role
	Amount Amount     // at least 1
	VRF    p2p.VRFKey // of a witness: verifies its beats, not zero, the last one counts
	Class  Class      // of a provider, 1 to MaxClass bytes
}

// Encode returns the canonical body. It panics when there is no such role.
func (b StakeBond) Encode() []byte {
	w := wire.NewWriter(64)
	w.U8(uint8(b.Role))
	w.U64(uint64(b.Amount))
	switch b.Role {
	case RoleWitness:
		w.Fixed(b.VRF[:])
	case RoleProvider:
		w.Text(string(b.Class))
	default:
		panic(fmt.Sprintf("ledger: bond of role %d", b.Role))
	}
	return w.Bytes()
}

// takeBond reads a StakeBond, and reports whether it holds a zero where it may not.
func takeBond(r *wire.Reader) (StakeBond, bool) {
	b := StakeBond{Role: Role(r.U8()), Amount: Amount(r.U64())}
	zero := b.Amount == 0
	switch b.Role {
	case RoleWitness:
		r.Into(b.VRF[:])
		zero = zero || b.VRF == p2p.VRFKey{}
	case RoleProvider:
		b.Class = Class(r.Text(MaxClass))
		zero = zero || b.Class == ""
	default:
		r.Fail(fmt.Errorf("%w: bond of role %d", wire.ErrValue, b.Role))
	}
	return b, zero
}

// bond applies a StakeBond.
func (tx *Tx) bond(b StakeBond) {
	to := ProviderBond(tx.op.Account, b.Class)
	if b.Role == RoleWitness {
		to = Bond(tx.op.Account)
		tx.state.setWitnessKey(tx.op.Account, b.VRF)
	}
	tx.Move(LaneOf(tx.op.Account, tx.op.Lane), to, b.Amount)
}

// BondOf returns an account's bond as a witness.
func (s *State) BondOf(account Account) Amount { return s.bonds[account] }

// ProviderBondOf returns an account's bond as a provider of a class.
func (s *State) ProviderBondOf(account Account, class Class) Amount { return s.pledges[account][class] }

// WitnessKey returns the key that an account named with its last bond as a witness.
func (s *State) WitnessKey(account Account) (p2p.VRFKey, bool) {
	key, ok := s.keys[account]
	return key, ok
}

// setWitnessKey sets the key that verifies a witness's beats.
func (s *State) setWitnessKey(account Account, key p2p.VRFKey) {
	s.keys[account] = key
	s.touch(WitnessKeyKey(account))
}

// pledge adds to a provider's bond.
func (s *State) pledge(account Account, class Class, a Amount) {
	if s.pledges[account] == nil {
		s.pledges[account] = map[Class]Amount{}
	}
	s.pledges[account][class] += a
	s.touch(ProviderBondKey(account, class))
}
