package proofs

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
)

// Seed returns the seed of a device's first round in the storm that a beat with
// the given output calls. It binds everything that could be answered once and used
// twice: the network, the rules, the storm, the device and its class.
func (p *Params) Seed(network p2p.Network, output p2p.Digest, device ledger.Account, class ledger.Class) p2p.Digest {
	rules := p.Hash()
	return p2p.Sum("pinfi/pocps/seed/1", network[:], rules[:], output[:], device[:], []byte(class))
}

// IsStorm reports whether the beat with the given output challenges every idle
// device: with chance 1/StormPer.
func IsStorm(p *Params, output p2p.Digest) bool {
	draw := p2p.Sum("pinfi/pocps/storm/1", output[:])
	return binary.LittleEndian.Uint64(draw[:8])%uint64(p.StormPer) == 0
}

// nextSeed returns the seed of the round after round number t: no round can start
// before the one before it has been computed and hashed in full.
func nextSeed(seed p2p.Digest, t uint32, root p2p.Digest) p2p.Digest {
	return p2p.Sum("pinfi/pocps/next/1", seed[:], le32(t), root[:])
}

// roundLeaf returns the leaf of a round in the tree over the whole transcript.
func roundLeaf(seed p2p.Digest, t uint32, root p2p.Digest) p2p.Digest {
	return p2p.Sum("pinfi/pocps/round/1", le32(t), seed[:], root[:])
}

// A tileBuffer is what is hashed of a tile: 0x00, the tile's number as eight bytes
// and its 256 sums as four bytes each, row by row, little end first.
type tileBuffer [1 + 8 + 4*Tile*Tile]byte

// leaf returns the hash of the tile that begins at c[0], in rows that are stride
// entries apart.
func (b *tileBuffer) leaf(number uint32, c []int32, stride int) p2p.Digest {
	binary.LittleEndian.PutUint64(b[1:], uint64(number))
	out := b[9:]
	for range Tile {
		for i, v := range c[:Tile] {
			binary.LittleEndian.PutUint32(out[4*i:], uint32(v))
		}
		out = out[4*Tile:]
		c = c[min(stride, len(c)):]
	}
	return sha256.Sum256(b[:])
}

// le32 returns the four bytes of v, little end first.
func le32(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }
