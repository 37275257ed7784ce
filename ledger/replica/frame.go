package replica

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// A Frame is a witness's signed word: what it votes for, and what it has seen of
// the others. Each names the witness's frame before it, so that a witness which
// tells different peers different things leaves a fork.
type Frame struct {
	Chain   uint32        // network, as ledger.ChainOf gives it
	Epoch   ledger.Epoch  // epoch whose stake the votes carry
	Witness uint16        // place in Genesis.Witnesses
	Seq     uint32        // place in the witness's chain, from 1
	Prev    p2p.Digest    // frame before it, zero for the first
	Slot    ledger.Slot   // the witness's current slot, never less than in Prev
	Seen    []Seen        // other witnesses' latest votes, where news came since Prev; strictly ascending
	Votes   []ledger.OpID // operations voted for one by one, strictly ascending
	Bundles []BundleVote  // votes for bundles, strictly ascending
	Sig     p2p.Signature // of SigningDigest, by the witness's account
}

// A Seen names a frame with votes of another witness. Whoever signs it holds that
// frame and all before it in its chain.
type Seen struct {
	Witness uint16
	Seq     uint32
	ID      p2p.Digest
}

// Compare orders by witness, place and id.
func (s Seen) Compare(t Seen) int {
	if s.Witness != t.Witness {
		return cmp.Compare(s.Witness, t.Witness)
	}
	if s.Seq != t.Seq {
		return cmp.Compare(s.Seq, t.Seq)
	}
	return p2p.PeerID(s.ID).Compare(p2p.PeerID(t.ID))
}

// A BundleVote is a vote for each operation of a bundle but those at some places.
type BundleVote struct {
	ID      BundleID
	Rejects []uint16 // places in the bundle, strictly ascending
}

// The bounds of a frame. MaxFrame is the size of the largest encoded one in bytes.
const (
	MaxVotes   = 256
	MaxBundles = 64
	MaxRejects = 2048 // of all bundle votes together
	MaxSeen    = 2 * ledger.MaxWitnesses
	MaxFrame   = frameFixed + seenSize*MaxSeen + 32*MaxVotes + bundleVoteSize*MaxBundles + 2*MaxRejects
)

const (
	frameVersion   = 2
	frameFixed     = 1 + 4 + 4 + 2 + 4 + 32 + 8 + 3*2 + 64
	seenSize       = 2 + 4 + 32
	bundleVoteSize = 32 + 2
)

// SigningDigest returns what the witness signs: a digest of every field but Sig.
func (f *Frame) SigningDigest() p2p.Digest {
	var room [usualFrame]byte
	return p2p.Sum("pinfi/frame/1", f.unsigned(room[:0]))
}

// usualFrame is the size in bytes below which most frames are.
const usualFrame = 6 << 10

// ID returns the frame's name. It does not cover Sig.
func (f *Frame) ID() p2p.Digest { return f.SigningDigest() }

// votes reports whether the frame votes for anything.
func (f *Frame) votes() bool { return len(f.Votes) > 0 || len(f.Bundles) > 0 }

// Size returns the length of the encoding in bytes.
func (f *Frame) Size() int {
	return frameFixed + seenSize*len(f.Seen) + 32*len(f.Votes) + bundleVoteSize*len(f.Bundles) + 2*f.rejects()
}

// rejects returns how many places all bundle votes leave out.
func (f *Frame) rejects() int {
	n := 0
	for i := range f.Bundles {
		n += len(f.Bundles[i].Rejects)
	}
	return n
}

// Encode returns the canonical bytes. It panics on a frame over its bounds, which
// its maker keeps.
func (f *Frame) Encode() []byte { return append(f.unsigned(make([]byte, 0, f.Size())), f.Sig[:]...) }

// unsigned appends the canonical bytes without the signature to b. It uses no Writer, so
// that b may be on the stack.
func (f *Frame) unsigned(b []byte) []byte {
	if !f.bounded() {
		panic(fmt.Sprintf("replica: frame with %d votes, %d bundles, %d rejects, %d seen",
			len(f.Votes), len(f.Bundles), f.rejects(), len(f.Seen)))
	}
	big := binary.BigEndian
	b = append(b, frameVersion)
	b = big.AppendUint32(b, f.Chain)
	b = big.AppendUint32(b, uint32(f.Epoch))
	b = big.AppendUint16(b, f.Witness)
	b = big.AppendUint32(b, f.Seq)
	b = append(b, f.Prev[:]...)
	b = big.AppendUint64(b, uint64(f.Slot))
	b = big.AppendUint16(b, uint16(len(f.Seen))) // the lists are bounded
	for i := range f.Seen {
		b = big.AppendUint16(b, f.Seen[i].Witness)
		b = big.AppendUint32(b, f.Seen[i].Seq)
		b = append(b, f.Seen[i].ID[:]...)
	}
	b = big.AppendUint16(b, uint16(len(f.Votes)))
	for i := range f.Votes {
		b = append(b, f.Votes[i][:]...)
	}
	b = big.AppendUint16(b, uint16(len(f.Bundles)))
	for i := range f.Bundles {
		b = append(b, f.Bundles[i].ID[:]...)
		b = big.AppendUint16(b, uint16(len(f.Bundles[i].Rejects)))
		for _, at := range f.Bundles[i].Rejects {
			b = big.AppendUint16(b, at)
		}
	}
	return b
}

// bounded reports whether the lists are as long as they may be at most.
func (f *Frame) bounded() bool {
	return len(f.Seen) <= MaxSeen && len(f.Votes) <= MaxVotes && len(f.Bundles) <= MaxBundles &&
		f.rejects() <= MaxRejects
}

// ordered reports whether the lists are in their canonical order.
func (f *Frame) ordered() bool {
	for i := range f.Bundles {
		if !ascending(f.Bundles[i].Rejects, cmp.Compare[uint16]) {
			return false
		}
	}
	return ascending(f.Seen, Seen.Compare) && ascending(f.Votes, ledger.OpID.Compare) &&
		ascending(f.Bundles, func(a, b BundleVote) int { return a.ID.Compare(b.ID) })
}

// sort brings the lists into their canonical order. Rejects are in order already.
func (f *Frame) sort() {
	slices.SortFunc(f.Seen, Seen.Compare)
	slices.SortFunc(f.Votes, ledger.OpID.Compare)
	slices.SortFunc(f.Bundles, func(a, b BundleVote) int { return a.ID.Compare(b.ID) })
}

// DecodeFrame reads what Encode writes for a frame whose lists are in order, and
// nothing else. Its errors wrap those of package wire. The frame does not alias b.
func DecodeFrame(b []byte) (*Frame, error) {
	r := wire.NewReader(b)
	if v := r.U8(); v != frameVersion {
		r.Fail(fmt.Errorf("%w: version %d, want %d", wire.ErrValue, v, frameVersion))
	}
	f := &Frame{Chain: r.U32(), Epoch: ledger.Epoch(r.U32()), Witness: r.U16(), Seq: r.U32()}
	r.Into(f.Prev[:])
	f.Slot = ledger.Slot(r.U64())
	f.Seen = readList(r, MaxSeen, seenSize, func(s *Seen) {
		s.Witness, s.Seq = r.U16(), r.U32()
		r.Into(s.ID[:])
	})
	f.Votes = readList(r, MaxVotes, 32, func(id *ledger.OpID) { r.Into(id[:]) })
	f.Bundles = readList(r, MaxBundles, bundleVoteSize, func(v *BundleVote) {
		r.Into(v.ID[:])
		v.Rejects = readList(r, MaxRejects, 2, func(at *uint16) { *at = r.U16() })
	})
	if !f.bounded() || !f.ordered() {
		r.Fail(fmt.Errorf("%w: lists out of order, or too long", wire.ErrValue))
	}
	r.Into(f.Sig[:])
	if err := r.Close(); err != nil {
		return nil, fmt.Errorf("frame: %w", err)
	}
	return f, nil
}

// readList reads a list of at most limit items of at least size bytes each; nil
// when it is empty.
func readList[T any](r *wire.Reader, limit, size int, read func(*T)) []T {
	n := r.Count(limit, size)
	if n == 0 {
		return nil
	}
	out := make([]T, n)
	for i := range out {
		read(&out[i])
	}
	return out
}

// ascending reports whether the items are strictly ascending.
func ascending[T any](items []T, compare func(a, b T) int) bool {
	for i := 1; i < len(items); i++ {
		if compare(items[i-1], items[i]) >= 0 {
			return false
		}
	}
	return true
}
