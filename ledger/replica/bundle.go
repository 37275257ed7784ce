package replica

import (
	"encoding/binary"
	"fmt"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// A Bundle is operations that travel together, so that a witness can vote for all of
// them in one word. Anybody may make one; it carries no authority.
type Bundle struct {
	Ops []*ledger.Op // 1 to MaxBundleOps, no two with one id
}

// MaxBundleOps is the most operations that a bundle holds, MaxBundle the size of
// the largest encoded bundle in bytes.
const (
	MaxBundleOps = 512
	MaxBundle    = 1 << 17
)

// BundleID names a bundle: a digest of the ids of its operations, in their order.
type BundleID p2p.Digest

// Short returns the first 8 hexadecimal digits.
func (id BundleID) Short() string { return p2p.Digest(id).Short() }

// Compare orders ids by their bytes: -1, 0 or +1.
func (id BundleID) Compare(other BundleID) int { return p2p.PeerID(id).Compare(p2p.PeerID(other)) }

// bundleID returns the name of a bundle of operations with these ids.
func bundleID(ids []ledger.OpID) BundleID {
	b := make([]byte, 0, len(ids)*len(ledger.OpID{}))
	for i := range ids {
		b = append(b, ids[i][:]...)
	}
	return BundleID(p2p.Sum("pinfi/bundle/1", b))
}

// ids returns the ids of the operations.
func (b *Bundle) ids() []ledger.OpID {
	ids := make([]ledger.OpID, len(b.Ops))
	for i, op := range b.Ops {
		ids[i] = op.ID()
	}
	return ids
}

// ID returns the bundle's name.
func (b *Bundle) ID() BundleID { return bundleID(b.ids()) }

// Size returns the length of the encoded bundle in bytes.
func (b *Bundle) Size() int {
	n := 2
	for _, op := range b.Ops {
		n += blobHead + op.Size()
	}
	return n
}

// blobHead is how many bytes the codec puts before a blob.
const blobHead = 4

// Encode returns the canonical bytes. It panics on a bundle over its bounds, which
// its maker keeps.
func (b *Bundle) Encode() []byte {
	if n := b.Size(); len(b.Ops) == 0 || len(b.Ops) > MaxBundleOps || n > MaxBundle {
		panic(fmt.Sprintf("replica: bundle of %d operations, %d bytes", len(b.Ops), n))
	}
	out := binary.BigEndian.AppendUint16(make([]byte, 0, b.Size()), uint16(len(b.Ops)))
	for _, op := range b.Ops {
		out = op.Append(binary.BigEndian.AppendUint32(out, uint32(op.Size()))) // a blob
	}
	return out
}

// DecodeBundle reads what Encode writes and nothing else. Its errors wrap those of
// package wire. The bundle does not alias b.
func DecodeBundle(b []byte) (*Bundle, error) {
	if len(b) > MaxBundle {
		return nil, fmt.Errorf("bundle of %d bytes: %w of %d", len(b), wire.ErrLimit, MaxBundle)
	}
	r := wire.NewReader(b)
	n := int(r.U16())
	if n == 0 || n > MaxBundleOps {
		r.Fail(fmt.Errorf("%w: %d operations, want 1 to %d", wire.ErrValue, n, MaxBundleOps))
	}
	out := &Bundle{Ops: make([]*ledger.Op, 0, min(n, r.Rest()/blobHead))}
	for i := 0; i < n && r.Rest() > 0; i++ {
		op, err := ledger.DecodeOp(r.Blob(ledger.MaxOp))
		if err != nil {
			r.Fail(fmt.Errorf("operation %d: %w", i, err))
			break
		}
		out.Ops = append(out.Ops, op)
	}
	if len(out.Ops) < n {
		r.Fail(fmt.Errorf("%w: %d of %d operations", wire.ErrShort, len(out.Ops), n))
	}
	if err := r.Close(); err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	return out, nil
}
