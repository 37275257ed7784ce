package p2p

import (
	"crypto/sha256"
	"math/rand/v2"
	"slices"

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
// more or less, at most as many as it is told, at least 1. Each takes 1.7 KiB.
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
	v.expand(all)
	h := hunt{expanded: v.ring != nil, rand: rand.NewChaCha8(transcript(batch)), left: huntShare * len(batch)}
	ok := make([]bool, len(batch))
	h.search(all, ok, false)
	return ok
}

// A suspect is a signature whose verification has begun.
type suspect struct {
	signed *Signed
	key    *ed25519.ExpandedPublicKey // nil: none, or it is no key
}

// expand finds the keys of signatures, and remembers those that are new.
func (v *Verifier) expand(all []suspect) {
	if v.ring == nil {
		return
	}
	known := <-v.ring
	for i := range all {
		all[i].key = known.get(&all[i].signed.Key)
	}
	v.ring <- known
	var fresh []suspect
	for i := range all {
		if s := &all[i]; s.key == nil {
			if key, err := ed25519.NewExpandedPublicKey(s.signed.Key[:]); err == nil {
				s.key, fresh = key, append(fresh, suspect{s.signed, key})
			}
		}
	}
	if len(fresh) == 0 {
		return
	}
	known = <-v.ring
	for i := range fresh {
		known.put(&fresh[i].signed.Key, fresh[i].key)
	}
	v.ring <- known
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
	singly = 4
	// expandMax is the size from which the equation does not use expanded keys.
	expandMax = 95
)

// A hunt looks for the wrong signatures of a batch.
type hunt struct {
	expanded bool // the keys were looked for
	rand     *rand.ChaCha8
	left     int // signatures that may still be tried in batches
}

// search sets ok to what holds of each signature; wrong says that at least one is.
func (h *hunt) search(batch []suspect, ok []bool, wrong bool) {
	if len(batch) < singly || h.left < len(batch) {
		for i := range batch {
			ok[i] = h.one(&batch[i])
		}
		return
	}
	if !wrong && h.all(batch) {
		for i := range ok {
			ok[i] = true
		}
		return
	}
	mid := len(batch) / 2
	h.search(batch[:mid], ok[:mid], false)
	h.search(batch[mid:], ok[mid:], !slices.Contains(ok[:mid], false))
}

// all reports whether every signature of the batch is right.
func (h *hunt) all(batch []suspect) bool {
	h.left -= len(batch)
	b := ed25519.NewBatchVerifierWithCapacity(len(batch))
	if len(batch) >= expandMax {
		b.ForceNoPublicKeyExpansion()
	}
	options := zip215()
	for i := range batch {
		s := batch[i].signed
		if h.expanded {
			b.AddExpandedWithOptions(batch[i].key, s.Digest[:], s.Sig[:], options) // refuses what has no key
		} else {
			b.AddWithOptions(s.Key[:], s.Digest[:], s.Sig[:], options)
		}
	}
	return b.VerifyBatchOnly(h.rand)
}

// one reports whether a signature is right.
func (h *hunt) one(s *suspect) bool {
	if !h.expanded {
		return Verify(s.signed.Key, s.signed.Digest, s.signed.Sig)
	}
	return s.key != nil && ed25519.VerifyExpandedWithOptions(s.key, s.signed.Digest[:], s.signed.Sig[:], zip215())
}

// zip215 returns the rules of all verification.
func zip215() *ed25519.Options { return &ed25519.Options{Verify: ed25519.VerifyOptionsZIP_215} }
