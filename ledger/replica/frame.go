package replica

import (
	"fmt"
	"slices"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// A Frame is a witness's signed votes. Each names the witness's frame before it,
// so that a witness which tells different peers different things leaves a fork.
type Frame struct {
	Chain   uint32        // network, as ledger.ChainOf gives it
	Epoch   ledger.Epoch  // epoch whose stake the votes carry
	Witness uint16        // place in Genesis.Witnesses
	Seq     uint32        // place in the witness's chain, from 1
	Prev    p2p.Digest    // frame before it, zero for the first
	Slot    ledger.Slot   // the witness's current slot, never less than in Prev
	Votes   []ledger.OpID // operations voted for, strictly ascending
	Sig     p2p.Signature // of SigningDigest, by the witness's account
}

// MaxVotes is the most votes that a frame carries, MaxFrame the size of the
// largest encoded frame in bytes.
const (
	MaxVotes = 256
	MaxFrame = frameFixed + 32*MaxVotes
)

const (
	frameVersion = 1
	frameFixed   = 1 + 4 + 4 + 2 + 4 + 32 + 8 + 2 + 64
)

// SigningDigest returns what the witness signs: a digest of every field but Sig.
func (f *Frame) SigningDigest() p2p.Digest { return p2p.Sum("pinfi/frame/1", f.unsigned()) }

// ID returns the frame's name. It does not cover Sig.
func (f *Frame) ID() p2p.Digest { return f.SigningDigest() }

// Encode returns the canonical bytes. It panics on more than MaxVotes votes: a
// frame's maker bounds it.
func (f *Frame) Encode() []byte { return append(f.unsigned(), f.Sig[:]...) }

// unsigned returns the canonical bytes without the signature, with room for it.
func (f *Frame) unsigned() []byte {
	if len(f.Votes) > MaxVotes {
		panic(fmt.Sprintf("replica: frame with %d votes, limit %d", len(f.Votes), MaxVotes))
	}
	w := wire.NewWriter(frameFixed + 32*len(f.Votes))
	w.U8(frameVersion)
	w.U32(f.Chain)
	w.U32(uint32(f.Epoch))
	w.U16(f.Witness)
	w.U32(f.Seq)
	w.Fixed(f.Prev[:])
	w.U64(uint64(f.Slot))
	w.Count(len(f.Votes))
	for i := range f.Votes {
		w.Fixed(f.Votes[i][:])
	}
	return w.Bytes()
}

// DecodeFrame reads what Encode writes for a frame with votes in order, and
// nothing else. Its errors wrap those of package wire. The frame does not alias b.
func DecodeFrame(b []byte) (*Frame, error) {
	r := wire.NewReader(b)
	if v := r.U8(); v != frameVersion {
		r.Fail(fmt.Errorf("%w: version %d, want %d", wire.ErrValue, v, frameVersion))
	}
	f := &Frame{Chain: r.U32(), Epoch: ledger.Epoch(r.U32()), Witness: r.U16(), Seq: r.U32()}
	r.Into(f.Prev[:])
	f.Slot = ledger.Slot(r.U64())
	if n := r.Count(MaxVotes, 32); n > 0 {
		f.Votes = make([]ledger.OpID, n)
		for i := range f.Votes {
			r.Into(f.Votes[i][:])
		}
	}
	if !ascending(f.Votes) {
		r.Fail(fmt.Errorf("%w: votes out of order", wire.ErrValue))
	}
	r.Into(f.Sig[:])
	if err := r.Close(); err != nil {
		return nil, fmt.Errorf("frame: %w", err)
	}
	return f, nil
}

// ascending reports whether the ids are strictly ascending.
func ascending(ids []ledger.OpID) bool {
	for i := 1; i < len(ids); i++ {
		if ids[i-1].Compare(ids[i]) >= 0 {
			return false
		}
	}
	return true
}

// NextFrame returns the next frame of this replica's own witness, unsigned, with
// the votes sorted. Before anybody else sees it the caller signs it, adds it with
// AddFrame and makes it durable, together with the operations it votes for. It
// panics when SetSelf was not called.
func (r *Replica) NextFrame(slot ledger.Slot, votes []ledger.OpID) *Frame {
	if !r.voting {
		panic("replica: next frame of a replica that is no witness")
	}
	f := &Frame{Chain: r.state.Chain(), Epoch: r.state.Epoch(), Witness: r.self, Seq: 1, Slot: slot}
	if chain := r.witnesses[r.self].chain; len(chain) > 0 {
		last := chain[len(chain)-1][0]
		f.Seq, f.Prev, f.Slot = last.frame.Seq+1, last.id, max(slot, last.frame.Slot)
	}
	f.Votes = slices.Clone(votes)
	slices.SortFunc(f.Votes, ledger.OpID.Compare)
	return f
}
