package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/ledger/store"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// This file is all that knows how operations and votes travel, are verified, and
// enter a replica. It does what the machine's inbox and records do, without them.

// A message is what one node gossips.
type message struct {
	topic p2p.Topic
	data  []byte
}

// topics are those that the messages travel on.
func topics() []p2p.Topic { return []p2p.Topic{network().Topic(p2p.Ops), network().Topic(p2p.Frames)} }

// A parcel is a bundle as it is sent: bytes, since operations of the benchmark's own
// would be work for the collector of garbage that no node has.
type parcel struct {
	id   replica.BundleID
	data []byte
}

// pack returns operations in bundles.
func pack(ops []*ledger.Op) (out []parcel) {
	for part := range slices.Chunk(ops, bundleOps) {
		b := &replica.Bundle{Ops: part}
		data := wire.Seal(wire.KindBundle, func(w *wire.Writer) { w.Fixed(b.Encode()) })
		out = append(out, parcel{b.ID(), data})
	}
	return out
}

// messages returns what is sent for one round: its bundles, then the frames of all
// witnesses, which are signed before.
func (w *workload) messages(round, witnesses int) []message {
	var out []message
	for _, p := range w.rounds[round] {
		out = append(out, message{topics()[0], p.data})
	}
	for _, f := range w.frames[witnesses][round] {
		out = append(out, message{topics()[1], wire.Seal(wire.KindFrame, func(w *wire.Writer) { w.Fixed(f.Encode()) })})
	}
	return out
}

// vote has so many witnesses vote for everything, unless they have before. They say
// what a witness says that got all of a round before its frame, and the frames of
// the others after it: so each tells in every round that it has seen all others.
func (w *workload) vote(witnesses int) {
	if w.frames[witnesses] != nil {
		return
	}
	last := make([]replica.Seen, witnesses)
	for round, parcels := range w.rounds {
		var votes []replica.BundleVote
		for _, p := range parcels {
			votes = append(votes, replica.BundleVote{ID: p.id})
		}
		slices.SortFunc(votes, func(a, b replica.BundleVote) int { return a.ID.Compare(b.ID) })
		frames := make([]*replica.Frame, witnesses)
		next := make([]replica.Seen, witnesses)
		for i := range frames {
			f := &replica.Frame{
				Chain: ledger.ChainOf(network()), Witness: uint16(i), Seq: uint32(round + 1), Prev: last[i].ID,
				Slot: ledger.Slot(round), Bundles: votes,
			}
			if round > 0 {
				f.Seen = slices.Concat(last[:i], last[i+1:])
			}
			id := f.SigningDigest()
			f.Sig = w.witnesses[i].Sign(id)
			frames[i], next[i] = f, replica.Seen{Witness: f.Witness, Seq: f.Seq, ID: id}
		}
		w.frames[witnesses], last = append(w.frames[witnesses], frames), next
	}
}

// A node takes messages and certifies, applies and keeps what they bring.
type node struct {
	replica *replica.Replica
	verify  func([]p2p.Signed) []bool
	save    func([]store.Record) error // nil: memory only
	letters []letter                   // not verified yet
	signed  []p2p.Signed               // of letters
	records []store.Record             // not saved yet
	applied int
}

// batchMax is how many signatures the machine has verified at once.
const batchMax = 2 * bundleOps

// A letter is a bundle or a frame that waits to be verified.
type letter struct {
	bundle *replica.Bundle
	items  []*ledger.Item // of bundle
	frame  *replica.Frame // nil: bundle is set
}

// newNode returns a node at genesis.
func newNode(w *workload, witnesses int, save func([]store.Record) error) (*node, error) {
	r, err := replica.New(replica.Config{Network: network(), Genesis: w.genesis(witnesses)})
	return &node{replica: r, verify: w.witnesses[0].Crypto().VerifyBatch, save: save}, err
}

// take takes a message, and verifies and adds what waits when there is enough of it
// for a batch.
func (n *node) take(data []byte) error {
	kind, body, err := wire.Open(data)
	if err != nil {
		return err
	}
	raw := body.Fixed(body.Rest())
	switch kind {
	case wire.KindBundle:
		err = n.takeBundle(raw)
	case wire.KindFrame:
		err = n.takeFrame(raw)
	default:
		err = fmt.Errorf("message of kind %v", kind)
	}
	if err == nil && len(n.signed) >= batchMax {
		err = n.admit()
	}
	return err
}

func (n *node) takeBundle(raw []byte) error {
	b, err := replica.DecodeBundle(raw)
	if err != nil {
		return err
	}
	items, out := n.replica.ScreenBundle(b)
	if out != 0 {
		return fmt.Errorf("bundle %v: %v", b.ID().Short(), out)
	}
	for _, it := range items {
		n.signed = append(n.signed, p2p.Signed{Key: it.Op.Account, Digest: p2p.Digest(it.ID), Sig: it.Op.Sig})
	}
	n.letters = append(n.letters, letter{bundle: b, items: items})
	return nil
}

func (n *node) takeFrame(raw []byte) error {
	f, err := replica.DecodeFrame(raw)
	if err != nil {
		return err
	}
	signed, out := n.replica.ScreenFrame(f)
	if out != 0 {
		return fmt.Errorf("frame %d of witness %d: %v", f.Seq, f.Witness, out)
	}
	n.signed = append(n.signed, signed)
	n.letters = append(n.letters, letter{frame: f})
	return nil
}

// errSignature says that a batch holds a signature that is none.
var errSignature = errors.New("a signature does not verify")

// admit verifies what waits, in one batch, adds it, and notes what is to be saved.
func (n *node) admit() error {
	if slices.Contains(n.verify(n.signed), false) {
		return errSignature
	}
	for _, a := range n.letters {
		if a.frame == nil {
			if out := n.replica.AddBundle(a.bundle, a.items); out != replica.Added {
				return fmt.Errorf("bundle %v: %v", a.bundle.ID().Short(), out)
			}
			continue
		}
		if out := n.replica.AddFrame(a.frame); out != replica.Added && out != replica.Parked { // gossip keeps no order
			return fmt.Errorf("frame %d of witness %d: %v", a.frame.Seq, a.frame.Witness, out)
		}
	}
	n.letters, n.signed = n.letters[:0], n.signed[:0]
	for _, a := range n.replica.TakeApplied() {
		if a.Result != ledger.OK {
			return fmt.Errorf("operation %v: %v", a.Op.ID().Short(), a.Result)
		}
		n.applied++
	}
	n.keep()
	return nil
}

// keep notes records of the bundles that were voted for and of the frames, as the
// machine does.
func (n *node) keep() {
	kept, linked := n.replica.TakeKept(), n.replica.TakeLinked()
	if n.save == nil {
		return
	}
	for _, id := range kept {
		b, _ := n.replica.Bundle(id)
		n.records = append(n.records, store.Record{Kind: 9, Key: id[:], Value: b.Encode()})
	}
	for _, f := range linked {
		id := f.ID()
		n.records = append(n.records, store.Record{Kind: 1, Key: id[:], Value: f.Encode()})
	}
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
	kind := wire.KindBundle
	if t == network().Topic(p2p.Frames) {
		kind = wire.KindFrame
	}
	return wire.Seal(kind, func(w *wire.Writer) { w.U8(try) })
}
