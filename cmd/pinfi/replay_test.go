package main

import (
	"slices"
	"testing"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/ledger/store"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
)

// [LED-119] To verify a store takes outlines in whatever order records come, and names one
// of which an operation is nowhere.
func TestReplayOutline(t *testing.T) {
	g := &machine.Genesis{}
	id := p2p.IdentityFromSeed([32]byte{7})
	ops := make([]*ledger.Op, 3)
	for i := range ops {
		ops[i] = &ledger.Op{
			Chain: ledger.ChainOf(g.Network()), Kind: ledger.KindBurn, Account: id.PeerID(), Seq: uint64(i + 1),
			Body: ledger.Burn{Amount: 1}.Encode(),
		}
		ops[i].Sig = id.Sign(ops[i].SigningDigest())
	}
	first := &replica.Bundle{Ops: ops[:2]}
	o := &replica.Outline{
		IDs: []ledger.OpID{ops[1].ID(), ops[2].ID(), ops[0].ID()}, Ops: []*ledger.Op{nil, ops[2], nil},
	}
	bid, oid := first.ID(), o.ID()
	whole := store.Record{Kind: uint8(machine.RecordBundle), Key: bid[:], Value: first.Encode()}
	outline := store.Record{Kind: uint8(machine.RecordOutline), Key: oid[:], Value: o.Encode()}
	forged := *ops[2]
	forged.Fee++
	o.Ops[1], o.IDs[1] = &forged, forged.ID()
	fid := o.ID()
	for name, tt := range map[string]struct {
		records []store.Record
		ok      bool
	}{
		"one way":   {[]store.Record{whole, outline}, true},
		"the other": {[]store.Record{outline, whole}, true},
		"alone":     {[]store.Record{outline}, false},
		"key":       {[]store.Record{whole, {Kind: outline.Kind, Key: bid[:], Value: outline.Value}}, false},
		"forged":    {[]store.Record{whole, {Kind: outline.Kind, Key: fid[:], Value: o.Encode()}}, false},
		"malformed": {[]store.Record{whole, {Kind: outline.Kind, Key: oid[:], Value: outline.Value[1:]}}, false},
	} {
		r := &replay{genesis: g, ops: map[ledger.OpID]*ledger.Op{}, bundles: map[replica.BundleID]*replica.Bundle{}}
		err := r.decode(tt.records)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
		if b := r.bundles[oid]; tt.ok && (b == nil || b.ID() != oid || len(r.ops) != 3 || r.count.bundles != 2 ||
			!slices.Equal(b.Ops[0].Encode(), ops[1].Encode())) {
			t.Errorf("%s: %v of %d operations, %d bundles", name, b, len(r.ops), r.count.bundles)
		}
	}
}
