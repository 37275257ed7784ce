// Package proofs is PoCPS, the proof of computing power staking: a device that is
// challenged at a moment nobody can foresee computes chained rounds of exact
// matrix products until a window closes, commits to all of them with one hash,
// and opens a few tiles that a later beat picks. It shows capacity under one key
// at one time, not who owns the hardware, and nothing about jobs.
//
// It is not a driver: it has no clock and no network, and who runs a Prover decides
// when the window is over. The calls you need are NewProver, Prover.Round and
// Transcript.Open for a prover, Samples and Verify for a verifier, NewContract for
// the ledger. The invariant: Verify says NoFault only if every round follows from
// the challenge's seed and every sampled tile holds the true products, and a
// reveal it passes has no bit that could be another.
package proofs

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
	"github.com/pinfi/pinfi/proofs/merkle"
)

// Tile is the side of a tile: the smallest piece of a product that is hashed,
// opened and recomputed.
const Tile = 16

// The bounds of Params. A sum of KMax products of int8 is at most 2^29 in size and
// so never wraps in int32.
const (
	SideMax   = 1 << 15
	KMax      = 1 << 15
	RoundsMax = 1 << 12
)

// Params are the rules of the proofs of one network, part of its genesis. There
// are no defaults: every field must be set.
type Params struct {
	M uint32 // rows of A: a multiple of 16; more rows make a round longer
	N uint32 // columns of B: a multiple of 16; M/16 * N/16 must be a power of two
	K uint32 // length of a row of A: a multiple of 64; longer rows hide hashing behind arithmetic

	MaxRounds uint32 // most rounds that count: 1 to RoundsMax; a device that could do more proves no more
	Samples   uint8  // tiles opened: a share f of wrong tiles passes with chance (1-f)^Samples
	Window    uint32 // slots in which a device computes, from the storm's slot
	Delta     uint32 // slots after the window in which the commit must be seen by the witnesses
	Sample    uint32 // slots from then to the beat that picks the tiles: at least 1
	StormPer  uint32 // a beat is a storm with chance 1/StormPer: 1 makes every beat one
	Admission uint8  // storms to pass before a device counts as proven: at least 1
	Reference uint64 // multiplications and additions in a second that make one CU (1000 mCU)
}

// Validate returns all that is wrong with the parameters, joined, or nil.
func (p *Params) Validate() error {
	var errs []error
	refuse := func(ok bool, name string, v any, want string) {
		if !ok {
			errs = append(errs, fmt.Errorf("proofs parameter %s = %v: want %s", name, v, want))
		}
	}
	side := fmt.Sprintf("a multiple of %d, at most %d", Tile, SideMax)
	refuse(p.M > 0 && p.M%Tile == 0 && p.M <= SideMax, "M", p.M, side)
	refuse(p.N > 0 && p.N%Tile == 0 && p.N <= SideMax, "N", p.N, side)
	refuse(bits.OnesCount32(p.Tiles()) == 1, "M/16 * N/16", p.Tiles(), "a power of two")
	refuse(p.K > 0 && p.K%blockSize == 0 && p.K <= KMax, "K", p.K,
		fmt.Sprintf("a multiple of %d, at most %d", blockSize, KMax))
	refuse(p.MaxRounds > 0 && p.MaxRounds <= RoundsMax, "MaxRounds", p.MaxRounds, fmt.Sprintf("1 to %d", RoundsMax))
	refuse(p.Samples > 0, "Samples", p.Samples, "at least 1")
	refuse(p.Window > 0 && p.Window <= slotsMax, "Window", p.Window, fmt.Sprintf("1 to %d slots", slotsMax))
	refuse(p.Delta <= slotsMax, "Delta", p.Delta, fmt.Sprintf("at most %d slots", slotsMax))
	refuse(p.Sample > 0 && p.Sample <= slotsMax, "Sample", p.Sample, fmt.Sprintf("1 to %d slots", slotsMax))
	refuse(p.StormPer > 0, "StormPer", p.StormPer, "at least 1")
	refuse(p.Admission > 0, "Admission", p.Admission, "at least 1")
	refuse(p.Reference > 0, "Reference", p.Reference, "at least 1 operation a second")
	if len(errs) == 0 && p.revealMax() > wire.KindReveal.Limit() {
		errs = append(errs, fmt.Errorf("proofs parameters allow reveals of %d bytes: a message holds %d",
			p.revealMax(), wire.KindReveal.Limit()))
	}
	return errors.Join(errs...)
}

// slotsMax bounds the stages of a storm, so that no sum of slots overflows.
const slotsMax = 1 << 16

// AppendTo writes the canonical bytes of the parameters.
func (p *Params) AppendTo(w *wire.Writer) {
	for _, v := range [...]uint32{p.M, p.N, p.K, p.MaxRounds, p.Window, p.Delta, p.Sample, p.StormPer} {
		w.U32(v)
	}
	w.U8(p.Samples)
	w.U8(p.Admission)
	w.U64(p.Reference)
}

// Hash returns the digest that seeds and commits bind the parameters with.
func (p *Params) Hash() p2p.Digest {
	w := wire.NewWriter(64)
	p.AppendTo(w)
	return p2p.Sum("pinfi/pocps/params/1", w.Bytes())
}

// Tiles returns the number of tiles in a round.
func (p *Params) Tiles() uint32 { return p.M / Tile * (p.N / Tile) }

// Ops returns the multiplications and additions of one round: 2 M N K.
func (p *Params) Ops() uint64 { return 2 * uint64(p.M) * uint64(p.N) * uint64(p.K) }

// CommitBy returns the last slot in which a witness may see the commit of the storm
// of the given slot applied and still judge it.
func (p *Params) CommitBy(storm ledger.Slot) ledger.Slot {
	return storm + ledger.Slot(p.Window) + ledger.Slot(p.Delta)
}

// SampleFrom returns the first slot whose beat may pick the tiles to open of the
// storm of the given slot, SampleUntil the last: later beats would let a verifier
// wait for one that it likes.
func (p *Params) SampleFrom(storm ledger.Slot) ledger.Slot {
	return p.CommitBy(storm) + ledger.Slot(p.Sample)
}

// SampleUntil returns the last slot whose beat may pick the tiles.
func (p *Params) SampleUntil(storm ledger.Slot) ledger.Slot {
	return p.SampleFrom(storm) + sampleSpan - 1
}

// sampleSpan is the number of slots whose beats may pick the tiles. More than one,
// since the witness of a slot may be down.
const sampleSpan = 32

// Rate returns what a number of rounds in one storm proves, in mCU, rounded down:
// operations over the time in which a commit is accepted, Window and Delta, as a
// share of Reference (docs/spec/proofs.md, "Rate"). The time is that of the rules,
// not the device's own, so that nothing is gained by lying about it.
func (p *Params) Rate(rounds uint32, g *ledger.Genesis) uint64 {
	// mCU = 1000 * (rounds * ops) / (slots * SlotMillis / 1000) / Reference.
	slots := uint64(p.Window) + uint64(p.Delta)
	return mulDiv([]uint64{uint64(rounds), p.Ops(), 1_000_000}, []uint64{slots, uint64(g.SlotMillis), p.Reference})
}

// revealMax returns the size in bytes of the largest message with a reveal: every
// sampled tile in another round.
func (p *Params) revealMax() int {
	return messageRoom + 2 + 32*int(p.MaxRounds) + 2 +
		int(p.Samples)*(groupMin+32*merkle.Depth(int(p.Tiles())))
}
