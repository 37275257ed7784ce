package world

import (
	"encoding/binary"

	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/simulations/weather"
)

// A Key is the stand-in for a node's secret: who it is, and nothing secret.
//
// Signatures of a world are keyed hashes that anybody could compute. They cost a
// few nanoseconds where Ed25519 costs thirty microseconds, and bind the signer and
// the digest just as well, as long as nobody in the world forges: the nodes are
// honest or scripted, and no script forges.
type Key struct {
	ID  p2p.PeerID
	VRF p2p.VRFKey
}

// KeyOf returns the key of a node in the world of a seed.
func KeyOf(seed uint64, node int) Key {
	var name [16]byte
	binary.BigEndian.PutUint64(name[:8], seed)
	binary.BigEndian.PutUint64(name[8:], uint64(node))
	return Key{
		ID:  p2p.PeerID(p2p.Sum("pinfi/world-key/1", name[:])),
		VRF: p2p.VRFKey(p2p.Sum("pinfi/world-vrf/1", name[:])),
	}
}

// Crypto returns cheap functions that sign as this key.
func (k Key) Crypto() p2p.Crypto {
	return p2p.Crypto{
		Sign:        func(d p2p.Digest) p2p.Signature { return sign(k.ID, d) },
		Verify:      verify,
		VerifyBatch: p2p.VerifyEach(verify),
		ProveVRF:    func(alpha p2p.Digest) p2p.VRFProof { return proveVRF(k.VRF, alpha) },
		VerifyVRF:   verifyVRF,
	}
}

func sign(id p2p.PeerID, d p2p.Digest) p2p.Signature {
	var sig p2p.Signature
	a, b := content(id[:], 1), content(d[:], 2)
	for i := range 4 {
		binary.BigEndian.PutUint64(sig[8*i:], weather.Draw(a, 0, b, uint64(i)))
	}
	return sig
}

func verify(id p2p.PeerID, d p2p.Digest, sig p2p.Signature) bool { return sign(id, d) == sig }

func proveVRF(key p2p.VRFKey, alpha p2p.Digest) p2p.VRFProof {
	var proof p2p.VRFProof
	sum := p2p.Sum("pinfi/world-proof/1", key[:], alpha[:])
	copy(proof[:], sum[:])
	return proof
}

func verifyVRF(key p2p.VRFKey, alpha p2p.Digest, proof p2p.VRFProof) (p2p.VRFOutput, bool) {
	if proveVRF(key, alpha) != proof {
		return p2p.VRFOutput{}, false
	}
	var out p2p.VRFOutput
	sum := p2p.Sum("pinfi/world-output/1", proof[:])
	copy(out[:], sum[:])
	sum = p2p.Sum("pinfi/world-output/2", proof[:])
	copy(out[len(sum):], sum[:])
	return out, true
}
