package p2p

import (
	"crypto/sha512"
	"fmt"

	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519/extra/ecvrf"
)

// A Signature is an Ed25519 signature of a Digest.
type Signature [64]byte

// A VRFKey is the public half of a key for verifiable random outputs.
type VRFKey [32]byte

// A VRFProof proves a verifiable random output (RFC 9381, suite
// ECVRF-EDWARDS25519-SHA512-ELL2).
type VRFProof [80]byte

// A VRFOutput is the random output that a VRFProof proves.
type VRFOutput [64]byte

// An Identity is a secret key and what can be done with it. Whoever holds it is
// the peer and owns the account.
type Identity struct {
	key ed25519.PrivateKey
	vrf ed25519.PrivateKey
}

// IdentityFromSeed returns the identity of a 32-byte secret seed. The key for
// random outputs is derived from the seed, so that one secret is all there is to
// keep, and is a different key, so that neither use can be turned on the other.
func IdentityFromSeed(seed [32]byte) *Identity {
	sub := Sum("pinfi/vrf-key/1", seed[:])
	return &Identity{key: ed25519.NewKeyFromSeed(seed[:]), vrf: ed25519.NewKeyFromSeed(sub[:])}
}

// PeerID returns the public key.
func (id *Identity) PeerID() PeerID { return PeerID(id.key.Public().(ed25519.PublicKey)) }

// VRFKey returns the public key of the random outputs.
func (id *Identity) VRFKey() VRFKey { return VRFKey(id.vrf.Public().(ed25519.PublicKey)) }

// Seed returns the secret that IdentityFromSeed was given.
func (id *Identity) Seed() [32]byte { return [32]byte(id.key.Seed()) }

// Sign signs a digest. It is deterministic.
func (id *Identity) Sign(d Digest) Signature { return Signature(ed25519.Sign(id.key, d[:])) }

// ProveVRF returns the proof of the random output of alpha.
func (id *Identity) ProveVRF(alpha Digest) VRFProof {
	return VRFProof(ecvrf.Prove(id.vrf, alpha[:]))
}

// String hides the secret: it names the public key.
func (id *Identity) String() string { return fmt.Sprintf("identity of %v", id.PeerID()) }

// Verify reports whether key signed the digest, by the rules of ZIP-215, the only
// ones under which single and batch verification agree. Never verify a signature
// with another library: one crafted signature would then split the network.
func Verify(key PeerID, d Digest, sig Signature) bool {
	return ed25519.VerifyWithOptions(key[:], d[:], sig[:], zip215())
}

// VerifyVRF returns the random output that the proof proves for alpha.
func VerifyVRF(key VRFKey, alpha Digest, proof VRFProof) (VRFOutput, bool) {
	ok, beta := ecvrf.Verify(ed25519.PublicKey(key[:]), proof[:], alpha[:])
	if !ok || len(beta) != sha512.Size {
		return VRFOutput{}, false
	}
	return VRFOutput(beta), true
}

// Crypto is how a machine signs and verifies: with real keys in a node, with
// cheap stand-ins in the simulator. Every field must be set. VerifyBatch agrees with
// Verify on every signature, and any goroutine may call it.
type Crypto struct {
	Sign        func(Digest) Signature
	Verify      func(PeerID, Digest, Signature) bool
	VerifyBatch func([]Signed) []bool
	ProveVRF    func(Digest) VRFProof
	VerifyVRF   func(VRFKey, Digest, VRFProof) (VRFOutput, bool)
}

// keysKept is how many keys the verifier of a Crypto remembers at most: 9 MiB, once so
// many accounts have signed. A key that is remembered saves a quarter of the work.
const keysKept = 1 << 15

// Crypto returns the real functions, signing as this identity. Each has a memory of
// keys of its own.
func (id *Identity) Crypto() Crypto {
	return Crypto{
		Sign: id.Sign, Verify: Verify, VerifyBatch: NewVerifier(keysKept).VerifyBatch,
		ProveVRF: id.ProveVRF, VerifyVRF: VerifyVRF,
	}
}
