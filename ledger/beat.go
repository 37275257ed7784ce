package ledger

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// A Beat is the verifiable random output of a slot, published by the witness
// that Schedule names.
type Beat struct {
	Slot    Slot
	Witness uint16
	Proof   p2p.VRFProof // of BeatAlpha
}

// BeatSize is the length of an encoded Beat in bytes.
const BeatSize = 8 + 2 + 80

// GenesisBeacon returns the beacon of the genesis epoch.
func GenesisBeacon(n p2p.Network) p2p.Digest { return p2p.Sum("pinfi/beacon/1", n[:]) }

// Schedule returns the witness that beats in a slot: each with a chance in
// proportion to its stake, up to the 2^-64 by which rounding down favours early
// witnesses. The genesis must be valid.
func Schedule(g *Genesis, beacon p2p.Digest, s Slot) uint16 {
	draw := p2p.Sum("pinfi/schedule/1", beacon[:], slotBytes(s))
	at, _ := bits.Mul64(binary.BigEndian.Uint64(draw[:8]), uint64(g.Stake()))
	for i, w := range g.Witnesses {
		if at < uint64(w.Stake) {
			return uint16(i)
		}
		at -= uint64(w.Stake)
	}
	panic(fmt.Sprintf("ledger: schedule of slot %d runs past all stake", s))
}

// BeatAlpha returns what the witness of a slot proves the random output of.
func BeatAlpha(beacon p2p.Digest, s Slot) p2p.Digest {
	return p2p.Sum("pinfi/beat/1", beacon[:], slotBytes(s))
}

// BeatOutput returns the digest in which the rest of pinfi uses an output.
func BeatOutput(out p2p.VRFOutput) p2p.Digest { return p2p.Sum("pinfi/beat-output/1", out[:]) }

// Verify returns the beat's output, and false when another witness is scheduled
// or the proof does not hold.
func (b *Beat) Verify(
	g *Genesis, beacon p2p.Digest, verify func(p2p.VRFKey, p2p.Digest, p2p.VRFProof) (p2p.VRFOutput, bool),
) (output p2p.Digest, ok bool) {
	if int(b.Witness) >= len(g.Witnesses) || Schedule(g, beacon, b.Slot) != b.Witness {
		return p2p.Digest{}, false
	}
	out, ok := verify(g.Witnesses[b.Witness].VRF, BeatAlpha(beacon, b.Slot), b.Proof)
	if !ok {
		return p2p.Digest{}, false
	}
	return BeatOutput(out), true
}

// AppendTo writes the beat's BeatSize bytes.
func (b *Beat) AppendTo(w *wire.Writer) {
	w.U64(uint64(b.Slot))
	w.U16(b.Witness)
	w.Fixed(b.Proof[:])
}

// Encode returns the beat's BeatSize bytes.
func (b *Beat) Encode() []byte {
	w := wire.NewWriter(BeatSize)
	b.AppendTo(w)
	return w.Bytes()
}

// ReadBeat reads what AppendTo writes; the reader keeps the error.
func ReadBeat(r *wire.Reader) Beat {
	b := Beat{Slot: Slot(r.U64()), Witness: r.U16()}
	r.Into(b.Proof[:])
	return b
}

// DecodeBeat reads what Encode writes and nothing else.
func DecodeBeat(data []byte) (*Beat, error) {
	r := wire.NewReader(data)
	b := ReadBeat(r)
	if err := r.Close(); err != nil {
		return nil, fmt.Errorf("beat: %w", err)
	}
	return &b, nil
}

// slotBytes returns the slot as eight bytes, big end first.
func slotBytes(s Slot) []byte { return binary.BigEndian.AppendUint64(nil, uint64(s)) }
