package ledger

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/pinfi/pinfi/p2p"
)

// A Key names a leaf of the state: a tag and what tells leaves of that tag apart.
// docs/spec/ledger.md says what the leaves hold.
type Key string

// String returns the key in hexadecimal digits: its bytes are not text.
func (k Key) String() string { return hex.EncodeToString([]byte(k)) }

// The first byte of a key. That of the i-th contract's keys is leafContract+i.
const (
	leafLane uint8 = iota + 1
	leafCredit
	leafEscrow
	leafPot
	leafBond
	leafDevice
	leafBurned
	leafProviderBond
	leafWitnessKey
	leafLock
	leafContract uint8 = 16
)

// MaxKey is the size of the longest key in bytes, MaxValue that of the longest
// value of a leaf.
const (
	MaxKey   = 128
	MaxValue = 4096
)

// LaneKey is the key of a lane: its leaf holds the balance, the sequence number and
// the id of the last operation.
func LaneKey(account Account, l Lane) Key { return Key(appendLaneKey(nil, &account, l)) }

// CreditKey is the key of what an operation made over to an account; there is no
// leaf once it is claimed.
func CreditKey(to, from Account, l Lane, seq uint64) Key {
	return Key(appendCreditKey(nil, &to, &from, l, seq))
}

// EscrowKey is the key of what an operation set aside and is still there.
func EscrowKey(id OpID) Key { return Key(append([]byte{leafEscrow}, id[:]...)) }

// PotKey is the key of what waits for the stakers of a class.
func PotKey(class Class) Key { return Key(append([]byte{leafPot}, class...)) }

// BondKey is the key of an account's bond as a witness.
func BondKey(account Account) Key { return Key(append([]byte{leafBond}, account[:]...)) }

// DeviceKey is the key of an account's device of a class: its leaf holds the
// declared and the proven capacity and the storms passed.
func DeviceKey(owner Account, class Class) Key {
	return Key(append(append([]byte{leafDevice}, owner[:]...), class...))
}

// BurnedKey is the key of what was burned. Every state has its leaf.
func BurnedKey() Key { return Key([]byte{leafBurned}) }

// ProviderBondKey is the key of an account's bond as a provider of a class.
func ProviderBondKey(account Account, class Class) Key {
	return Key(append(append([]byte{leafProviderBond}, account[:]...), class...))
}

// WitnessKeyKey is the key of the leaf that holds the VRF key of a witness.
func WitnessKeyKey(account Account) Key { return Key(append([]byte{leafWitnessKey}, account[:]...)) }

// LockKey is the key of a hash lock, claimed or not: its leaf holds the owner, the
// owner's lane, the body and the id of the claim.
func LockKey(id OpID) Key { return Key(append([]byte{leafLock}, id[:]...)) }

// ContractKey is the key of a leaf of a contract: the i-th of those handed to New,
// from 0. The contract gives its keys their meaning.
func ContractKey(i int, key []byte) Key { return Key(append([]byte{leafContract + uint8(i)}, key...)) }

func appendLaneKey(b []byte, account *Account, l Lane) []byte {
	return append(append(append(b, leafLane), account[:]...), uint8(l))
}

func appendCreditKey(b []byte, to, from *Account, l Lane, seq uint64) []byte {
	b = append(append(append(b, leafCredit), to[:]...), from[:]...)
	return binary.BigEndian.AppendUint64(append(b, uint8(l)), seq)
}

// Root returns the Merkle root of the state, which docs/spec/ledger.md defines. It
// costs time in proportion to what has changed since it was last asked for, times
// the logarithm of the size of the state.
func (s *State) Root() p2p.Digest {
	s.settle()
	return *s.tree.digest(s.tree.root)
}

// maxKeys is how many keys may wait for the tree. More would take memory without
// end on a node that asks for no root.
const maxKeys = 1 << 14

// touch notes that the leaf of a key may have changed.
func (s *State) touch(k Key) { s.changed = append(s.changed, k) }

// settle brings the tree up to the state, but for the hashes of nodes.
func (s *State) settle() {
	s.touch(BurnedKey())
	var fresh []newLeaf
	for _, h := range s.touched {
		s.settleHolder(h, &fresh)
	}
	for _, k := range s.changed {
		s.refresh(k, s.tree.leafOf([]byte(k)), nil, &fresh)
	}
	clear(s.touched)
	clear(s.changed)
	s.touched, s.changed = s.touched[:0], s.changed[:0]
	s.tree.insertAll(fresh)
}

// settleHolder does so for an account's lanes and credits.
func (s *State) settleHolder(h *holder, fresh *[]newLeaf) {
	h.touched = false
	for i := -1; i < len(h.more); i++ {
		l := &h.zero
		if i >= 0 {
			l = h.more[i]
		}
		if l.touched {
			l.touched = false
			s.refresh(l, l.leaf, &l.leaf, fresh)
		}
	}
	for i := range h.inbox.sources {
		src := &h.inbox.sources[i]
		for j := len(src.gifts) - src.fresh; j < len(src.gifts); j++ {
			g := &src.gifts[j]
			s.refresh(credit{to: h, from: src.from, gift: *g}, g.leaf, &g.leaf, fresh)
		}
		src.fresh = 0
	}
}

// refresh makes a leaf what its owner says, leaf 0 being none. A new leaf goes to the
// batch, with the place where its number is to be written, if any.
func (s *State) refresh(owner leafOwner, leaf uint32, place *uint32, fresh *[]newLeaf) {
	key := owner.appendKey(s.keyBuf[:0])
	value, ok := owner.appendValue(s, s.valueBuf[:0])
	s.keyBuf, s.valueBuf = key, value
	switch {
	case !ok && leaf != 0:
		s.tree.remove(leaf)
		if place != nil {
			*place = 0
		}
	case !ok:
	case leaf != 0:
		s.tree.set(leaf, owner, leafHash(key, value))
	default:
		*fresh = append(*fresh, newLeaf{pathOf(key), leafHash(key, value), owner, place})
	}
}

// appendKey implements leafOwner.
func (l *lane) appendKey(b []byte) []byte { return appendLaneKey(b, &l.owner.id, l.number) }

// appendValue implements leafOwner.
func (l *lane) appendValue(_ *State, b []byte) ([]byte, bool) {
	b = binary.BigEndian.AppendUint64(b, uint64(l.balance))
	b = binary.BigEndian.AppendUint64(b, l.seq)
	return append(b, l.head[:]...), l.seq > 0 || l.balance > 0
}

// A credit is a gift for the tree.
type credit struct {
	to   *holder
	from *lane
	gift
}

// appendKey implements leafOwner.
func (c credit) appendKey(b []byte) []byte {
	return appendCreditKey(b, &c.to.id, &c.from.owner.id, c.from.number, c.seq)
}

// appendValue implements leafOwner.
func (c credit) appendValue(_ *State, b []byte) ([]byte, bool) { return appendAmount(b, c.amount) }

// appendAmount appends the value of a leaf that holds money, and false for none.
func appendAmount(b []byte, a Amount) ([]byte, bool) {
	return binary.BigEndian.AppendUint64(b, uint64(a)), a > 0
}

// appendKey implements leafOwner.
func (k Key) appendKey(b []byte) []byte { return append(b, k...) }

// appendValue implements leafOwner for what changes rarely.
func (k Key) appendValue(s *State, b []byte) ([]byte, bool) {
	rest := k[1:]
	switch k[0] {
	case leafEscrow:
		return appendAmount(b, s.escrows[OpID([]byte(rest))])
	case leafPot:
		return appendAmount(b, s.pots[Class(rest)])
	case leafBond:
		return appendAmount(b, s.bonds[Account([]byte(rest))])
	case leafDevice:
		d, ok := s.Device(Account([]byte(rest[:32])), Class(rest[32:]))
		b = binary.BigEndian.AppendUint64(b, d.Declared)
		b = binary.BigEndian.AppendUint64(b, d.Proven)
		return binary.BigEndian.AppendUint32(b, d.Passed), ok
	case leafBurned:
		b, _ = appendAmount(b, s.sums[inBurned])
		return b, true
	case leafProviderBond:
		return appendAmount(b, s.ProviderBondOf(Account([]byte(rest[:32])), Class(rest[32:])))
	case leafWitnessKey:
		key, ok := s.WitnessKey(Account([]byte(rest)))
		return append(b, key[:]...), ok
	case leafLock:
		l, ok := s.Lock(OpID([]byte(rest)))
		return l.appendTo(b), ok
	default:
		value, ok := s.contracts[k[0]-leafContract].Leaf([]byte(rest))
		if len(value) > MaxValue || len(k) > MaxKey {
			panic(fmt.Sprintf("ledger: leaf of %d and %d bytes of contract %d", len(k), len(value), k[0]-leafContract))
		}
		return append(b, value...), ok
	}
}
