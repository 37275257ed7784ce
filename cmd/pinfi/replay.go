package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/ledger/store"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/proofs"
)

// A replay folds the records of a stopped node again, from the genesis on, and trusts
// nothing else.
type replay struct {
	genesis *machine.Genesis
	leases  *market.Contract
	replica *replica.Replica
	ops     map[ledger.OpID]*ledger.Op // not added yet
	bundles map[replica.BundleID]*replica.Bundle
	parts   []*replica.Outline // not in bundles yet
	frames  []*replica.Frame
	count   struct{ records, ops, bundles, frames int }

	evidence []replica.Evidence // with a record of its own

	// applied is told of every operation that counts, in an order that respects lanes,
	// with the slot of the frame that certified it.
	applied func(op *ledger.Op, slot ledger.Slot)
}

// A wrongError is a record that cannot be a true one.
type wrongError struct {
	kind uint8
	key  []byte
	what string
}

func (e *wrongError) Error() string { return fmt.Sprintf("record %d/%x: %s", e.kind, e.key, e.what) }

func wrong(r store.Record, format string, args ...any) error {
	return &wrongError{r.Kind, r.Key, fmt.Sprintf(format, args...)}
}

// openReplay reads the folder of a stopped node, or the ledger folder in it.
func openReplay(ctx context.Context, dir string) (*replay, error) {
	at := filepath.Join(dir, "ledger")
	if _, err := os.Stat(filepath.Join(dir, genesisName)); errors.Is(err, fs.ErrNotExist) {
		at, dir = dir, filepath.Dir(filepath.Clean(dir))
	}
	g, err := readGenesis(filepath.Join(dir, genesisName))
	if err != nil {
		return nil, err
	}
	s, err := store.OpenReadOnly(at, g.Network(), nil)
	if errors.Is(err, store.ErrInUse) {
		err = fmt.Errorf("%w; pinfi ledger show and history ask a node that runs", err)
	}
	if err != nil {
		return nil, err
	}
	records, err := s.Load(ctx)
	if err := errors.Join(err, s.Close()); err != nil {
		return nil, err
	}
	r := &replay{
		genesis: g, ops: map[ledger.OpID]*ledger.Op{}, bundles: map[replica.BundleID]*replica.Bundle{},
		applied: func(*ledger.Op, ledger.Slot) {},
	}
	if err := r.decode(records); err != nil {
		return nil, exit(exitData, fmt.Errorf("store %s: %w", at, err))
	}
	return r, nil
}

// decode reads the operations and frames, and verifies every signature.
func (r *replay) decode(records []store.Record) error {
	for _, rec := range records {
		r.count.records++
		if err := r.takeRecord(rec); err != nil {
			return err
		}
	}
	for _, o := range r.parts {
		b, err := o.Fill(func(id ledger.OpID) *ledger.Op { return r.ops[id] })
		if err != nil {
			return err
		}
		r.bundles[o.ID()] = b
	}
	slices.SortStableFunc(r.frames, func(a, b *replica.Frame) int {
		return cmp.Or(cmp.Compare(a.Slot, b.Slot), cmp.Compare(a.Witness, b.Witness), cmp.Compare(a.Seq, b.Seq))
	})
	return nil
}

// takeRecord takes a record of the ledger. Others must be of a kind that is known.
func (r *replay) takeRecord(rec store.Record) error {
	switch kind := machine.RecordKind(rec.Kind); {
	case kind == machine.RecordOp:
		return r.takeOp(rec)
	case kind == machine.RecordBundle:
		return r.takeBundle(rec)
	case kind == machine.RecordOutline:
		return r.takeOutline(rec)
	case kind == machine.RecordFrame:
		return r.takeFrame(rec)
	case kind == machine.RecordEvidence:
		return r.takeEvidence(rec)
	case kind > machine.RecordOutline || kind == 0:
		return wrong(rec, "its kind is unknown to this version")
	}
	return nil
}

func (r *replay) takeOp(rec store.Record) error {
	op, err := ledger.DecodeOp(rec.Value)
	if err != nil {
		return wrong(rec, "%v", err)
	}
	if id := op.ID(); !bytes.Equal(rec.Key, id[:]) {
		return wrong(rec, "it holds operation %v", id)
	}
	return r.takeOps(rec, op)
}

func (r *replay) takeBundle(rec store.Record) error {
	b, err := replica.DecodeBundle(rec.Value)
	if err != nil {
		return wrong(rec, "%v", err)
	}
	id := b.ID()
	if !bytes.Equal(rec.Key, id[:]) {
		return wrong(rec, "it holds bundle %v", p2p.Digest(id))
	}
	r.bundles[id] = b
	r.count.bundles++
	return r.takeOps(rec, b.Ops...)
}

// takeOutline takes a bundle of which other records hold some operations.
func (r *replay) takeOutline(rec store.Record) error {
	o, err := replica.DecodeOutline(rec.Value)
	if err != nil {
		return wrong(rec, "%v", err)
	}
	id := o.ID()
	if !bytes.Equal(rec.Key, id[:]) {
		return wrong(rec, "it holds bundle %v", p2p.Digest(id))
	}
	r.parts = append(r.parts, o)
	r.count.bundles++
	return r.takeOps(rec, slices.DeleteFunc(slices.Clone(o.Ops), func(op *ledger.Op) bool { return op == nil })...)
}

func (r *replay) takeFrame(rec store.Record) error {
	witnesses := r.genesis.Ledger.Witnesses
	f, err := replica.DecodeFrame(rec.Value)
	switch {
	case err != nil:
		return wrong(rec, "%v", err)
	case int(f.Witness) >= len(witnesses):
		return wrong(rec, "frame of witness %d, there are %d", f.Witness, len(witnesses))
	case !p2p.Verify(witnesses[f.Witness].Account, f.ID(), f.Sig):
		return wrong(rec, "frame that witness %d did not sign", f.Witness)
	}
	r.frames = append(r.frames, f)
	r.count.frames++
	return nil
}

// takeEvidence takes the proof of an offence that the operations and frames may not show.
func (r *replay) takeEvidence(rec store.Record) error {
	p, err := replica.DecodeAccusation(rec.Value)
	if err != nil {
		return wrong(rec, "%v", err)
	}
	ev, signed, err := p.Evidence(r.genesis.Network(), &r.genesis.Ledger)
	if err != nil {
		return wrong(rec, "%v", err)
	}
	if id := ev.ID(); !bytes.Equal(rec.Key, id[:]) {
		return wrong(rec, "it proves offence %v", p2p.Digest(id))
	}
	if i := slices.Index(p2p.VerifyBatch(signed), false); i >= 0 {
		return wrong(rec, "proof of an offence that %v did not sign", signed[i].Key)
	}
	r.evidence = append(r.evidence, ev)
	return nil
}

// takeOps takes operations of one record.
func (r *replay) takeOps(rec store.Record, ops ...*ledger.Op) error {
	chain := ledger.ChainOf(r.genesis.Network())
	batch := make([]p2p.Signed, len(ops))
	for i, op := range ops {
		if op.Chain != chain {
			return wrong(rec, "operation %v of another network", op.ID())
		}
		batch[i] = p2p.Signed{Key: op.Account, Digest: op.SigningDigest(), Sig: op.Sig}
	}
	if i := slices.Index(p2p.VerifyBatch(batch), false); i >= 0 {
		return wrong(rec, "operation %v that %v did not sign", ops[i].ID(), ops[i].Account)
	}
	for _, op := range ops {
		if r.ops[op.ID()] == nil {
			r.ops[op.ID()] = op
			r.count.ops++
		}
	}
	return nil
}

// run folds all that was read.
func (r *replay) run() error {
	g := r.genesis
	r.leases = market.NewContract(&g.Market, p2p.Verify)
	storms := proofs.NewContract(&g.Proofs, g.Network(), &g.Ledger, p2p.VerifyVRF)
	all := len(r.ops) + 1
	var err error
	r.replica, err = replica.New(replica.Config{
		Network: g.Network(), Genesis: &g.Ledger, Contracts: []ledger.Contract{r.leases, storms},
		Limits: replica.Limits{Pending: all, PerAccount: all, Ahead: uint64(all), Unknown: all * replica.MaxVotes},
	})
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	if err := r.runFrames(); err != nil {
		return err
	}
	for _, id := range slices.SortedFunc(maps.Keys(r.ops), ledger.OpID.Compare) {
		if err := r.add(r.ops[id]); err != nil { // nobody has voted for it
			return err
		}
	}
	for _, ev := range r.evidence {
		r.replica.Accuse(ev)
	}
	return nil
}

// runFrames adds the frames, each after those that it rests on, and what they vote for.
func (r *replay) runFrames() error {
	for left := r.frames; len(left) > 0; {
		var next []*replica.Frame
		for _, f := range left {
			if !r.replica.Ready(f) {
				next = append(next, f)
			} else if err := r.addFrame(f); err != nil {
				return err
			}
		}
		if len(next) == len(left) {
			return outOfPlace(next[0])
		}
		left = next
	}
	return nil
}

// outOfPlace says that a frame does not fit the others.
func outOfPlace(f *replica.Frame) error {
	return exit(exitData, fmt.Errorf("frame %v, number %d of witness %d, does not follow what is there",
		f.ID(), f.Seq, f.Witness))
}

// addFrame adds a frame and what it votes for.
func (r *replay) addFrame(f *replica.Frame) error {
	if out := r.replica.Recall(f); out == replica.Refused || out == replica.Parked {
		return outOfPlace(f)
	}
	for i := range f.Bundles {
		b := r.bundles[f.Bundles[i].ID]
		if b == nil {
			continue
		}
		for _, op := range b.Ops {
			delete(r.ops, op.ID())
		}
		if items, out := r.replica.ScreenBundle(b); out == 0 {
			r.replica.AddBundle(b, items)
		}
	}
	for _, id := range f.Votes {
		if op := r.ops[id]; op != nil {
			delete(r.ops, id)
			if err := r.add(op); err != nil {
				return err
			}
		}
	}
	r.take(f.Slot)
	return nil
}

// add adds an operation. One that is late, or a rival, may be refused; one that no
// state takes must not be there.
func (r *replay) add(op *ledger.Op) error {
	out, res := r.replica.AddOp(op)
	if out == replica.Refused && res != ledger.Full && res != ledger.Stale && res != ledger.Equivocation {
		return exit(exitData, fmt.Errorf("operation %v of %v: %v", op.ID(), op.Account, res))
	}
	return nil
}

// take hands on what has been applied.
func (r *replay) take(slot ledger.Slot) {
	for _, a := range r.replica.TakeApplied() {
		if a.Result == ledger.OK {
			r.applied(a.Op, slot)
		}
	}
}
