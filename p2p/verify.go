package p2p

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"math/rand/v2"
	"slices"

	"github.com/oasisprotocol/curve25519-voi/curve"
	"github.com/oasisprotocol/curve25519-voi/curve/scalar"
	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
)

// A Signed is a signature with what it is about: Key is said to have signed Digest.
type Signed struct {
	Key    PeerID
	Digest Digest
	Sig    Signature
}

// VerifyBatch reports for each signature whether Verify accepts it. Many at once
// cost less than half of what they cost one by one.
func VerifyBatch(batch []Signed) []bool { return new(Verifier).VerifyBatch(batch) }

// VerifyEach returns a batch verification that asks verify for each signature: for
// stand-ins, which have nothing to gain from a batch.
func VerifyEach(verify func(PeerID, Digest, Signature) bool) func([]Signed) []bool {
	return func(batch []Signed) []bool {
		ok := make([]bool, len(batch))
		for i := range batch {
			ok[i] = verify(batch[i].Key, batch[i].Digest, batch[i].Sig)
		}
		return ok
	}
}

// A Verifier verifies batches of signatures and remembers the keys that it met, in
// the form in which verification needs them. It is safe for concurrent use. The zero
// Verifier remembers none.
type Verifier struct {
	ring chan *keyring // holds the keys while nobody looks at them; nil: none
}

// NewVerifier returns a Verifier that remembers the keys that it was asked for last,
// more or less, at most as many as it is told, at least 1. Each takes some 280 bytes.
func NewVerifier(keys int) *Verifier {
	ring := make(chan *keyring, 1)
	ring <- &keyring{most: max(1, keys), at: map[PeerID]uint32{}}
	return &Verifier{ring: ring}
}

// VerifyBatch reports for each signature whether Verify accepts it: both go by the
// equation of ZIP-215, which multiplies by the cofactor, and so agree on every
// signature, in whatever company. A signature that is wrong and passes in a batch
// has a chance of 2^-128.
func (v *Verifier) VerifyBatch(batch []Signed) []bool {
	all := make([]suspect, len(batch))
	for i := range all {
		all[i].signed = &batch[i]
	}
	v.decodeKeys(all)
	for i := range all {
		all[i].decode()
	}
	h := hunt{rand: rand.NewChaCha8(transcript(batch)), left: huntShare * len(batch)}
	ok := make([]bool, len(batch))
	h.search(all, ok, false)
	return ok
}

// decodeKeys finds the keys of signatures, and remembers those that are new.
func (v *Verifier) decodeKeys(all []suspect) {
	if v.ring != nil {
		known := <-v.ring
		for i := range all {
			all[i].key = known.get(&all[i].signed.Key)
		}
		v.ring <- known
	}
	var fresh []*suspect
	for i := range all {
		if s := &all[i]; s.key == nil {
			if s.key = pointOf(s.signed.Key[:]); s.key != nil {
				fresh = append(fresh, s)
			}
		}
	}
	if v.ring == nil || len(fresh) == 0 {
		return
	}
	known := <-v.ring
	for _, s := range fresh {
		known.put(&s.signed.Key, s.key)
	}
	v.ring <- known
}

// pointOf returns the point that 32 bytes stand for, canonically or not; nil for none.
func pointOf(b []byte) *curve.EdwardsPoint {
	p := &curve.EdwardsPoint{}
	if _, err := p.SetCompressedY((*curve.CompressedEdwardsY)(b)); err != nil {
		return nil
	}
	return p
}

// A suspect is a signature, decoded: it is right if s times the base point is r plus k
// times the key, all that times the cofactor.
type suspect struct {
	signed *Signed
	key    *curve.EdwardsPoint // nil: it is no key
	ok     bool                // all is decoded
	r      curve.EdwardsPoint
	s, k   scalar.Scalar
}

// decode decodes all but the key.
func (s *suspect) decode() {
	sig := &s.signed.Sig
	if s.key == nil || !scalar.ScMinimalVartime(sig[32:]) {
		return
	}
	if _, err := s.r.SetCompressedY((*curve.CompressedEdwardsY)(sig[:32])); err != nil {
		return
	}
	var words [96]byte // R, the key, the digest
	copy(words[:], sig[:32])
	copy(words[32:], s.signed.Key[:])
	copy(words[64:], s.signed.Digest[:])
	hash := sha512.Sum512(words[:])
	_, errS := s.s.SetBits(sig[32:])
	_, errK := s.k.SetBytesModOrderWide(hash[:])
	s.ok = errS == nil && errK == nil // always: the lengths are right
}

// transcript returns a digest of the whole batch. The coefficients of its equation
// are drawn from it: whoever makes a signature cannot choose it by coefficients that
// any change of it changes, and a run stays a function of what went in.
func transcript(batch []Signed) [32]byte {
	h := sha256.New()
	h.Write([]byte("pinfi/batch/1"))
	for i := range batch {
		s := &batch[i]
		h.Write(s.Key[:])
		h.Write(s.Digest[:])
		h.Write(s.Sig[:])
	}
	return [32]byte(h.Sum(nil))
}

const (
	// huntShare bounds the search for wrong signatures: batches that are tried have
	// so many signatures in all, by those that are to be judged. One wrong one in 512
	// is found within it; of many, the rest is verified one by one.
	huntShare = 3
	// singly is the size below which a batch gains nothing.
	singly = 2
)

// A hunt looks for the wrong signatures of a batch.
type hunt struct {
	rand    *rand.ChaCha8
	left    int // signatures that may still be tried in batches
	values  []scalar.Scalar
	scalars []*scalar.Scalar // of values
	points  []*curve.EdwardsPoint
}

// search sets ok to what holds of each signature; wrong says that at least one is.
func (h *hunt) search(batch []suspect, ok []bool, wrong bool) {
	if len(batch) < singly || h.left < len(batch) {
		for i := range batch {
			ok[i] = h.holds(batch[i : i+1])
		}
		return
	}
	if !wrong {
		h.left -= len(batch)
		if h.holds(batch) {
			for i := range ok {
				ok[i] = true
			}
			return
		}
	}
	mid := len(batch) / 2
	h.search(batch[:mid], ok[:mid], false)
	h.search(batch[mid:], ok[mid:], !slices.Contains(ok[:mid], false))
}

// holds reports whether every signature of the batch is right: whether the sum of their
// equations is, each times a coefficient of its own that nobody can foresee.
func (h *hunt) holds(batch []suspect) bool {
	h.grow(len(batch))
	base := h.values[2*len(batch)].Zero()
	for i := range batch {
		s := &batch[i]
		if !s.ok {
			return false
		}
		z, zk := &h.values[2*i], &h.values[2*i+1]
		h.coefficient(z)
		h.points[2*i], h.points[2*i+1] = &s.r, s.key
		zk.Mul(z, &s.k)
		var zs scalar.Scalar
		base.Add(base, zs.Mul(z, &s.s))
	}
	base.Neg(base)
	n := 2*len(batch) + 1
	h.points[n-1] = curve.ED25519_BASEPOINT_POINT
	var sum curve.EdwardsPoint
	return sum.MultiscalarMulVartime(h.scalars[:n], h.points[:n]).IsSmallOrder()
}

// grow makes room for the equation of so many signatures.
func (h *hunt) grow(n int) {
	if n = 2*n + 1; n <= len(h.values) {
		return
	}
	h.values, h.scalars, h.points = make([]scalar.Scalar, n), make([]*scalar.Scalar, n), make([]*curve.EdwardsPoint, n)
	for i := range h.values {
		h.scalars[i] = &h.values[i]
	}
}

// coefficient draws a number from 1 to 2^128.
func (h *hunt) coefficient(z *scalar.Scalar) {
	var b [scalar.ScalarSize]byte
	low, high := h.rand.Uint64(), h.rand.Uint64()
	binary.LittleEndian.PutUint64(b[:], low)
	binary.LittleEndian.PutUint64(b[8:], high)
	if low|high == 0 {
		b[16] = 1
	}
	if _, err := z.SetBits(b[:]); err != nil {
		panic("p2p: " + err.Error()) // the length is right
	}
}

// zip215 returns the rules of all verification.
func zip215() *ed25519.Options { return &ed25519.Options{Verify: ed25519.VerifyOptionsZIP_215} }
