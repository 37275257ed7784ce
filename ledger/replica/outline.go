package replica

import (
	"fmt"
	"slices"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p/wire"
)

// An Outline is a bundle as a node keeps it: operations that it keeps with another bundle
// are named only, so that one more bundle of the same operations takes little room.
type Outline struct {
	IDs []ledger.OpID // of all operations of the bundle, in order
	Ops []*ledger.Op  // as many; nil where it is kept with another bundle
}

// Outline returns a bundle that TakeKept has told of, without the operations of those
// that it told of before.
func (r *Replica) Outline(id BundleID) (*Outline, bool) {
	b := r.bundles[id]
	if !b.held() || !b.kept {
		return nil, false
	}
	o := &Outline{IDs: make([]ledger.OpID, len(b.ops)), Ops: make([]*ledger.Op, len(b.ops))}
	for i, e := range b.ops {
		o.IDs[i] = e.id
		if _, again := slices.BinarySearch(b.repeats, uint16(i)); !again {
			o.Ops[i] = e.item.Op
		}
	}
	return o, true
}

// Whole returns the bundle when no operation is named only.
func (o *Outline) Whole() (*Bundle, bool) {
	if slices.Contains(o.Ops, nil) {
		return nil, false
	}
	return &Bundle{Ops: o.Ops}, true
}

// Fill returns the bundle, with the operations that are named only from elsewhere. The
// error says which one is nowhere.
func (o *Outline) Fill(op func(ledger.OpID) *ledger.Op) (*Bundle, error) {
	b := &Bundle{Ops: slices.Clone(o.Ops)}
	for i, have := range b.Ops {
		if have != nil {
			continue
		}
		if b.Ops[i] = op(o.IDs[i]); b.Ops[i] == nil {
			return nil, fmt.Errorf("outline of bundle %s: operation %v is nowhere", o.ID().Short(), o.IDs[i])
		}
	}
	return b, nil
}

// ID returns the bundle's name.
func (o *Outline) ID() BundleID { return bundleID(o.IDs) }

// Encode returns the canonical bytes: how many operations, then each, or nothing and its
// id. They are no more than those of the bundle.
func (o *Outline) Encode() []byte {
	w := wire.NewWriter(4096)
	w.U16(uint16(len(o.IDs)))
	for i, op := range o.Ops {
		if op != nil {
			w.Blob(op.Encode())
			continue
		}
		w.Blob(nil)
		w.Fixed(o.IDs[i][:])
	}
	return w.Bytes()
}

// DecodeOutline reads what Encode writes and nothing else. Its errors wrap those of package
// wire. The outline does not alias b.
func DecodeOutline(b []byte) (*Outline, error) {
	if len(b) > MaxBundle {
		return nil, fmt.Errorf("outline of %d bytes: %w of %d", len(b), wire.ErrLimit, MaxBundle)
	}
	r := wire.NewReader(b)
	n := int(r.U16())
	if n == 0 || n > MaxBundleOps {
		r.Fail(fmt.Errorf("%w: %d operations, want 1 to %d", wire.ErrValue, n, MaxBundleOps))
	}
	o := &Outline{}
	for i := 0; i < n && r.Err() == nil; i++ {
		var id ledger.OpID
		raw := r.Blob(ledger.MaxOp)
		if len(raw) == 0 {
			r.Into(id[:])
			o.IDs, o.Ops = append(o.IDs, id), append(o.Ops, nil)
			continue
		}
		op, err := ledger.DecodeOp(raw)
		if err != nil {
			r.Fail(fmt.Errorf("operation %d: %w", i, err))
			break
		}
		o.IDs, o.Ops = append(o.IDs, op.ID()), append(o.Ops, op)
	}
	if err := r.Close(); err != nil {
		return nil, fmt.Errorf("outline: %w", err)
	}
	return o, nil
}
