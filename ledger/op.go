package ledger

import (
	"encoding/binary"
	"fmt"

	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// An Account holds money. It is the public key that signs for it, and the
// identity of the peer that owns it.
type Account = p2p.PeerID

// A Lane is one of an account's independent sequences of operations, each with
// money of its own. Lane 0 is the one that receives: only it may claim credits.
type Lane uint8

// An Epoch counts checkpoints. The genesis epoch is 0.
type Epoch uint32

// A Slot counts beats of the network's clock: the time since the genesis start
// in units of Genesis.SlotMillis, rounded down.
type Slot uint64

// A Class names a kind of computing power. It is opaque here.
type Class string

// MaxClass is the longest Class in bytes.
const MaxClass = 32

// An OpID names an operation: the digest that its account signed.
type OpID p2p.Digest

// String returns the id as 64 hexadecimal digits.
func (id OpID) String() string { return p2p.Digest(id).String() }

// Short returns the first 8 digits.
func (id OpID) Short() string { return p2p.Digest(id).Short() }

// IsZero reports whether the id names nothing.
func (id OpID) IsZero() bool { return id == OpID{} }

// Compare orders ids by their bytes: -1, 0 or +1.
func (id OpID) Compare(other OpID) int { return p2p.PeerID(id).Compare(p2p.PeerID(other)) }

// MarshalText writes the id as String does.
func (id OpID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the 64 hexadecimal digits that String writes.
func (id *OpID) UnmarshalText(text []byte) error { return (*p2p.Digest)(id).UnmarshalText(text) }

// A Claim takes the credits that operations of (From, Lane) with sequence
// numbers up to Upto made to the claiming account, and that were not claimed
// before, into lane 0. It waits until (From, Lane) has reached Upto.
type Claim struct {
	From Account
	Lane Lane
	Upto uint64
}

// An Op is an operation: the only way to change a State. (Account, Lane, Seq) is
// its slot; an account that signs two operations for one slot equivocates.
type Op struct {
	Chain   uint32        // network, as ChainOf gives it
	Kind    Kind          // what Body holds
	Lane    Lane          // sequence of the account that it belongs to
	Account Account       // who signs
	Seq     uint64        // place in the lane, from 1
	Prev    OpID          // operation before it in the lane, zero for the first
	Epoch   Epoch         // epoch in which it may be certified
	Fee     Amount        // burned
	Claims  []Claim       // strictly ascending by (From, Lane)
	Body    []byte        // as the kind's contract encodes it
	Sig     p2p.Signature // of SigningDigest
}

// MaxOp is the size of the largest encoded operation in bytes, MaxClaims the
// number of claims it can carry.
const (
	MaxOp     = 1024
	MaxClaims = 16
)

const (
	opVersion = 1
	opFixed   = 1 + 4 + 1 + 1 + 32 + 8 + 32 + 4 + 8 + 1 + 2 + 64 // all but claims and body
	claimSize = 32 + 1 + 8
)

// ChainOf returns the number that operations and frames of a network carry.
func ChainOf(n p2p.Network) uint32 { return binary.BigEndian.Uint32(n[:4]) }

// SigningDigest returns what the account signs: a digest of every field but Sig.
func (o *Op) SigningDigest() p2p.Digest {
	var room [usualOp]byte
	return p2p.Sum("pinfi/op/1", o.unsigned(room[:0]))
}

// usualOp is the size in bytes below which most operations are.
const usualOp = 512

// ID returns the operation's name. It does not cover Sig, so that a second
// signature of the same words is the same operation.
func (o *Op) ID() OpID { return OpID(o.SigningDigest()) }

// Size returns the length of the encoding in bytes.
func (o *Op) Size() int { return opFixed + claimSize*len(o.Claims) + len(o.Body) }

// Encode returns the canonical bytes. It panics when they exceed MaxOp: an
// operation's maker bounds it.
func (o *Op) Encode() []byte { return o.Append(make([]byte, 0, o.Size())) }

// Append appends the canonical bytes to b, as Encode returns them.
func (o *Op) Append(b []byte) []byte {
	if n := o.Size(); n > MaxOp {
		panic(fmt.Sprintf("ledger: operation of %d bytes, limit %d", n, MaxOp))
	}
	return append(o.unsigned(b), o.Sig[:]...)
}

// unsigned appends the canonical bytes without the signature to b. It uses no Writer, so
// that b may be on the stack.
func (o *Op) unsigned(b []byte) []byte {
	if len(o.Claims) > MaxClaims || len(o.Body) > MaxOp {
		panic(fmt.Sprintf("ledger: operation with %d claims and %d bytes of body", len(o.Claims), len(o.Body)))
	}
	big := binary.BigEndian
	b = append(b, opVersion)
	b = big.AppendUint32(b, o.Chain)
	b = append(b, uint8(o.Kind), uint8(o.Lane))
	b = append(b, o.Account[:]...)
	b = big.AppendUint64(b, o.Seq)
	b = append(b, o.Prev[:]...)
	b = big.AppendUint32(b, uint32(o.Epoch))
	b = big.AppendUint64(b, uint64(o.Fee))
	b = append(b, uint8(len(o.Claims)))
	for i := range o.Claims {
		b = append(b, o.Claims[i].From[:]...)
		b = append(b, uint8(o.Claims[i].Lane))
		b = big.AppendUint64(b, o.Claims[i].Upto)
	}
	b = big.AppendUint16(b, uint16(len(o.Body)))
	return append(b, o.Body...)
}

// A parcel is an operation with room for most of what it points to: one object, where
// three would lie apart.
type parcel struct {
	op    Op
	claim [1]Claim
	body  [64]byte
}

// DecodeOp reads what Encode writes and nothing else. Its errors wrap those of
// package wire. The operation does not alias b.
func DecodeOp(b []byte) (*Op, error) {
	if len(b) > MaxOp {
		return nil, fmt.Errorf("operation of %d bytes: %w of %d", len(b), wire.ErrLimit, MaxOp)
	}
	r := wire.NewReader(b)
	if v := r.U8(); v != opVersion {
		r.Fail(fmt.Errorf("%w: version %d, want %d", wire.ErrValue, v, opVersion))
	}
	at := &parcel{}
	o := &at.op
	o.Chain, o.Kind, o.Lane = r.U32(), Kind(r.U8()), Lane(r.U8())
	r.Into(o.Account[:])
	o.Seq = r.U64()
	r.Into(o.Prev[:])
	o.Epoch = Epoch(r.U32())
	o.Fee = Amount(r.U64())
	decodeClaims(r, at)
	if n := int(r.U16()); n > 0 {
		o.Body = append(at.body[:0:min(n, len(at.body))], r.Fixed(n)...)
	}
	r.Into(o.Sig[:])
	if err := r.Close(); err != nil {
		return nil, fmt.Errorf("operation: %w", err)
	}
	return o, nil
}

// decodeClaims reads the claims and refuses any order but the canonical one.
func decodeClaims(r *wire.Reader, at *parcel) {
	n := int(r.U8())
	if n > MaxClaims {
		r.Fail(fmt.Errorf("%w: %d claims, limit %d", wire.ErrLimit, n, MaxClaims))
	}
	if n == 0 || n*claimSize > r.Rest() {
		if n > 0 {
			r.Fail(fmt.Errorf("%w: %d claims", wire.ErrShort, n))
		}
		return
	}
	o := &at.op
	o.Claims = at.claim[:]
	if n > len(at.claim) {
		o.Claims = make([]Claim, n)
	}
	for i := range o.Claims {
		c := &o.Claims[i]
		r.Into(c.From[:])
		c.Lane = Lane(r.U8())
		c.Upto = r.U64()
	}
	if !claimsAscend(o.Claims) {
		r.Fail(fmt.Errorf("%w: claims out of order", wire.ErrValue))
	}
}

// claimsAscend reports whether the claims are strictly ascending by source.
func claimsAscend(claims []Claim) bool {
	for i := 1; i < len(claims); i++ {
		a, b := &claims[i-1], &claims[i]
		if c := a.From.Compare(b.From); c > 0 || c == 0 && a.Lane >= b.Lane {
			return false
		}
	}
	return true
}
