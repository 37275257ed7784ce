package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/ledger/store"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// This file is all that knows how operations and votes travel, are verified, and
// enter a replica. Today each operation is a message of its own, a frame votes
// for 256 of them, and the replica verifies one signature at a time: here that is
// switched off, and done before in batches.

// A message is what one node gossips.
type message struct {
	topic p2p.Topic
	data  []byte
}

// topics are those that the messages travel on.
func topics() []p2p.Topic { return []p2p.Topic{network().Topic(p2p.Ops), network().Topic(p2p.Frames)} }

// rounds returns how many rounds of votes the workload has.
func (w *workload) rounds() int { return len(w.ops) / roundOps }

// messages returns what is sent for one round: its operations, then the votes of
// all witnesses, which are signed before.
func (w *workload) messages(round, witnesses int) []message {
	topic := topics()[0]
	out := make([]message, 0, roundOps+len(w.votes[witnesses][round]))
	for _, op := range w.ops[round*roundOps : (round+1)*roundOps] {
		data := wire.Seal(wire.KindOp, func(w *wire.Writer) { w.Fixed(op.Encode()) })
		out = append(out, message{topic, data})
	}
	return append(out, w.votes[witnesses][round]...)
}

// vote has so many witnesses vote for everything, unless they have before.
func (w *workload) vote(witnesses int) {
	if w.votes[witnesses] != nil {
		return
	}
	topic := topics()[1]
	last := make([]*replica.Frame, witnesses)
	for round := range w.rounds() {
		var out []message
		for ops := range slices.Chunk(w.ops[round*roundOps:(round+1)*roundOps], replica.MaxVotes) {
			ids := make([]ledger.OpID, len(ops))
			for i, op := range ops {
				ids[i] = op.ID()
			}
			slices.SortFunc(ids, ledger.OpID.Compare)
			for i := range witnesses {
				f := &replica.Frame{Chain: ledger.ChainOf(network()), Witness: uint16(i), Seq: 1, Slot: ledger.Slot(round), Votes: ids}
				if last[i] != nil {
					f.Seq, f.Prev = last[i].Seq+1, last[i].ID()
				}
				f.Sig = w.witnesses[i].Sign(f.SigningDigest())
				last[i] = f
				data := wire.Seal(wire.KindFrame, func(w *wire.Writer) { w.Fixed(f.Encode()) })
				out = append(out, message{topic, data})
			}
		}
		w.votes[witnesses] = append(w.votes[witnesses], out)
	}
}

// A node takes messages and certifies, applies and keeps what they bring.
type node struct {
	replica *replica.Replica
	save    func([]store.Record) error // nil: memory only
	keys    []*ed25519.ExpandedPublicKey
	ops     []named[*ledger.Op]     // not verified yet
	frames  []named[*replica.Frame] // not verified yet
	records []store.Record          // not saved yet
	applied int
}

// A named is an operation or a frame with the digest that names it and is signed.
type named[T any] struct {
	what T
	id   p2p.Digest
}

// newNode returns a node at genesis.
func newNode(w *workload, witnesses int, save func([]store.Record) error) (*node, error) {
	n := &node{save: save}
	g := w.genesis(witnesses)
	for _, x := range g.Witnesses {
		key, err := ed25519.NewExpandedPublicKey(x.Account[:])
		if err != nil {
			return nil, fmt.Errorf("key of a witness: %w", err)
		}
		n.keys = append(n.keys, key)
	}
	r, err := replica.New(replica.Config{
		Network: network(), Genesis: g,
		Verify: func(p2p.PeerID, p2p.Digest, p2p.Signature) bool { return true }, // verified before, in batches
	})
	n.replica = r
	return n, err
}

// take takes a message, and verifies and adds operations and frames when there are
// enough of them for a batch.
func (n *node) take(data []byte) error {
	kind, body, err := wire.Open(data)
	if err != nil {
		return err
	}
	raw := body.Fixed(body.Rest())
	switch kind {
	case wire.KindOp:
		op, err := ledger.DecodeOp(raw)
		if err != nil {
			return err
		}
		id := op.SigningDigest()
		n.ops = append(n.ops, named[*ledger.Op]{op, id})
		n.keep(store.Record{Kind: 2, Key: id[:], Value: raw})
	case wire.KindFrame:
		f, err := replica.DecodeFrame(raw)
		if err != nil {
			return err
		}
		id := f.ID()
		n.frames = append(n.frames, named[*replica.Frame]{f, id})
		n.keep(store.Record{Kind: 1, Key: id[:], Value: raw})
	default:
		return fmt.Errorf("message of kind %v", kind)
	}
	if len(n.ops) >= bundleOps || len(n.frames) >= bundleOps {
		return n.admit()
	}
	return nil
}

// keep notes a record for the next flush.
func (n *node) keep(r store.Record) {
	if n.save != nil {
		n.records = append(n.records, r)
	}
}

// errSignature says that a batch holds a signature that is none.
var errSignature = errors.New("a signature does not verify")

// admit verifies what waits, in one batch, and adds it.
func (n *node) admit() error {
	if len(n.ops)+len(n.frames) == 0 {
		return nil
	}
	rules := ed25519.Options{Verify: ed25519.VerifyOptionsZIP_215}
	batch := ed25519.NewBatchVerifierWithCapacity(len(n.ops) + len(n.frames))
	for i := range n.ops {
		op, id := n.ops[i].what, &n.ops[i].id
		batch.AddWithOptions(op.Account[:], id[:], op.Sig[:], &rules)
	}
	for i := range n.frames {
		f, id := n.frames[i].what, &n.frames[i].id
		batch.AddExpandedWithOptions(n.keys[f.Witness], id[:], f.Sig[:], &rules)
	}
	if !batch.VerifyBatchOnly(rand.Reader) {
		return errSignature
	}
	for _, op := range n.ops {
		if out, res := n.replica.AddOp(op.what); out != replica.Added {
			return fmt.Errorf("operation %v: %v, %v", op.id.Short(), out, res)
		}
	}
	for _, f := range n.frames {
		if out := n.replica.AddFrame(f.what); out != replica.Added && out != replica.Parked { // gossip keeps no order
			return fmt.Errorf("frame %d of witness %d: %v", f.what.Seq, f.what.Witness, out)
		}
	}
	n.ops, n.frames = n.ops[:0], n.frames[:0]
	for _, a := range n.replica.TakeApplied() {
		if a.Result != ledger.OK {
			return fmt.Errorf("operation %v: %v", a.Op.ID().Short(), a.Result)
		}
		n.applied++
	}
	return nil
}

// flush verifies and adds what waits, and makes durable all that was added, in one
// synced batch.
func (n *node) flush() error {
	if err := n.admit(); err != nil || len(n.records) == 0 {
		return err
	}
	err := n.save(n.records)
	n.records = n.records[:0]
	return err
}

// probe returns a message for a topic that no node is given.
func probe(t p2p.Topic, try byte) []byte {
	kind := wire.KindOp
	if t == network().Topic(p2p.Frames) {
		kind = wire.KindFrame
	}
	return wire.Seal(kind, func(w *wire.Writer) { w.U8(try) })
}
