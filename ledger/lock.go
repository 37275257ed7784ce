package ledger

import (
	"crypto/sha256"

	"github.com/pinfi/pinfi/p2p/wire"
)

// HashLock is the body of KindHashLock: it sets money aside for whoever of one
// account shows the preimage of a hash. Its operation's id names the lock. Money
// that is not claimed goes back to its lane at a checkpoint after Expiry.
type HashLock struct {
	To     Account  // the only one that may claim
	Amount Amount   // at least 1
	Hash   [32]byte // SHA-256 of the preimage, not zero
	Expiry Epoch    // last epoch of an operation that may claim
}

// Encode returns the canonical body.
func (l HashLock) Encode() []byte {
	w := wire.NewWriter(32 + 8 + 32 + 4)
	w.Fixed(l.To[:])
	w.U64(uint64(l.Amount))
	w.Fixed(l.Hash[:])
	w.U32(uint32(l.Expiry))
	return w.Bytes()
}

// takeHashLock reads a HashLock, and reports whether it holds a zero where it may
// not.
func takeHashLock(r *wire.Reader) (HashLock, bool) {
	l := HashLock{}
	r.Into(l.To[:])
	l.Amount = Amount(r.U64())
	r.Into(l.Hash[:])
	l.Expiry = Epoch(r.U32())
	return l, l.To.IsZero() || l.Amount == 0 || l.Hash == [32]byte{}
}

// HashClaim is the body of KindHashClaim, which belongs on lane 0 of the account
// that a HashLock is for: it moves the locked money into that lane. The preimage is
// public from then on.
type HashClaim struct {
	Lock     OpID
	Preimage [32]byte
}

// Encode returns the canonical body.
func (c HashClaim) Encode() []byte {
	w := wire.NewWriter(32 + 32)
	w.Fixed(c.Lock[:])
	w.Fixed(c.Preimage[:])
	return w.Bytes()
}

// takeHashClaim reads a HashClaim, and reports whether it holds a zero where it
// may not.
func takeHashClaim(r *wire.Reader) (HashClaim, bool) {
	c := HashClaim{}
	r.Into(c.Lock[:])
	r.Into(c.Preimage[:])
	return c, c.Lock.IsZero()
}

// A Lock is a hash lock as the ledger knows it.
type Lock struct {
	HashLock
	Owner Account // who locked
	Lane  Lane    // of the owner, that the money came from
	Claim OpID    // the HashClaim that took the money, zero while it is locked
}

// Lock returns the hash lock that an operation made.
func (s *State) Lock(id OpID) (Lock, bool) {
	l, ok := s.locks[id]
	return l, ok
}

// mayUnlock checks a claim of a lock. A lock changes with lane 0 of the account that
// it is for only, so this is monotone: two lanes that claim one lock would depend
// on their order.
func (s *State) mayUnlock(op *Op, c HashClaim) Result {
	l, ok := s.locks[c.Lock]
	switch {
	case op.Lane != 0:
		return BadLane
	case !ok:
		return UnknownLock
	case op.Account != l.To:
		return NotYours
	case op.Epoch > l.Expiry:
		return TooLate
	case sha256.Sum256(c.Preimage[:]) != l.Hash:
		return BadPreimage
	case !l.Claim.IsZero():
		return AlreadyDone
	}
	return OK
}

// lock applies a HashLock.
func (tx *Tx) lock(l HashLock) {
	tx.Move(LaneOf(tx.op.Account, tx.op.Lane), Escrow(tx.id), l.Amount)
	tx.state.setLock(tx.id, Lock{HashLock: l, Owner: tx.op.Account, Lane: tx.op.Lane})
}

// unlock applies a HashClaim. The lock stays, so that it is not claimed again; a
// checkpoint will drop it.
func (tx *Tx) unlock(c HashClaim) {
	l := tx.state.locks[c.Lock]
	tx.Move(Escrow(c.Lock), LaneOf(tx.op.Account, tx.op.Lane), l.Amount)
	l.Claim = tx.id
	tx.state.setLock(c.Lock, l)
}

// setLock adds or replaces a hash lock.
func (s *State) setLock(id OpID, l Lock) {
	s.locks[id] = l
	s.touch(LockKey(id))
}

// appendTo appends the value of the lock's leaf.
func (l *Lock) appendTo(b []byte) []byte {
	b = append(append(b, l.Owner[:]...), uint8(l.Lane))
	return append(append(b, l.Encode()...), l.Claim[:]...)
}
