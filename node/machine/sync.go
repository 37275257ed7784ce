package machine

import (
	"encoding/binary"
	"slices"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// Anti-entropy. A node tells a random peer how far it holds each witness's frames.
// The peer sends what is missing, oldest first, and the operations that those
// frames vote for. The node that lacks something owns the retry: it asks again
// with its next heads. Frame heads are a complete index, since every certified
// operation is voted for in some frame.

const (
	// itemsBytes bounds the bytes of one answer, so that the Step that takes it stays
	// about its millisecond. One bundle or frame may come on top.
	itemsBytes = 1 << 16
	// itemsMax bounds the frames, the bundles and the operations of an answer.
	itemsMax = 256
	// headsMax bounds the witnesses that a heads message speaks of.
	headsMax = ledger.MaxWitnesses
	// wantMax bounds the operations, the bundles and the frames asked for in one message.
	wantMax = 64
)

func (m *Machine) sync() {
	m.due.sync = m.now.Add(m.cfg.Timing.Sync)
	if to, ok := m.someone(); ok {
		m.sendHeads(to)
		m.sendWant(to)
	}
}

// headWords is how many words a heads message has of each witness: how far its
// frames are held, and the eight of its tip, which differs where the sides of a
// fork do.
const headWords = 1 + 8

func (m *Machine) sendHeads(to p2p.PeerID) {
	words := m.headWords()
	m.send(to, p2p.Sync, wire.Seal(wire.KindHeads, func(w *wire.Writer) {
		w.Count(len(words))
		for _, word := range words {
			w.U32(word)
		}
	}))
}

// headWords returns what a heads message of this node says.
func (m *Machine) headWords() []uint32 {
	heads, tips := m.replica.Heads(), m.replica.Tips()
	words := make([]uint32, 0, headWords*len(heads))
	for i, seq := range heads {
		words = append(words, seq)
		for b := tips[i][:]; len(b) > 0; b = b[4:] {
			words = append(words, binary.BigEndian.Uint32(b))
		}
	}
	return words
}

func takeHeads(r *wire.Reader) []uint32 {
	words := make([]uint32, r.Count(headWords*headsMax, 4))
	for i := range words {
		words[i] = r.U32()
	}
	return words
}

// heads answers with what the peer lacks: frames, and the operations and bundles that
// they were the first to vote for.
func (m *Machine) heads(from p2p.PeerID, theirs []uint32) {
	mine := m.headWords()
	if len(theirs) != len(mine) {
		m.note(Note{Fact: FactRefused, Peer: from, Text: "heads: not of this network's witnesses"})
		return
	}
	after := make([]uint32, len(mine)/headWords)
	for i := range after {
		after[i] = m.sendAfter(uint16(i), mine, theirs)
	}
	var all items
	for _, f := range m.replica.FramesAfter(after, itemsMax) {
		if all.full() {
			break
		}
		m.bring(&all, f)
	}
	m.sendItems(from, &all)
}

// bring adds a frame, with the operations and bundles that it was the first to vote for.
func (m *Machine) bring(all *items, f *replica.Frame) {
	all.addFrame(f)
	ops, bundles := m.replica.Brought(f)
	for _, op := range ops {
		all.addOp(op)
	}
	for _, b := range bundles {
		all.addBundle(b)
	}
}

// sendAfter returns the place after which a peer needs a witness's frames.
func (m *Machine) sendAfter(witness uint16, mine, theirs []uint32) uint32 {
	at := headWords * int(witness)
	if theirs[at] == mine[at] && !slices.Equal(theirs[at:at+headWords], mine[at:at+headWords]) {
		return m.replica.Resend(witness)
	}
	return theirs[at]
}

// items are what one answer holds. What finds no room is left out: the peer asks for
// it.
type items struct {
	ops     []*ledger.Op
	bundles []*replica.Bundle
	frames  []*replica.Frame
	bytes   int
}

func (a *items) full() bool { return a.bytes >= itemsBytes }

func (a *items) addOp(op *ledger.Op) {
	if !a.full() && len(a.ops) < itemsMax {
		a.ops = append(a.ops, op)
		a.bytes += op.Size()
	}
}

func (a *items) addBundle(b *replica.Bundle) {
	if !a.full() && len(a.bundles) < itemsMax {
		a.bundles = append(a.bundles, b)
		a.bytes += b.Size()
	}
}

func (a *items) addFrame(f *replica.Frame) {
	if !a.full() && len(a.frames) < itemsMax {
		a.frames = append(a.frames, f)
		a.bytes += f.Size()
	}
}

// sendItems sends items, if there are any.
func (m *Machine) sendItems(to p2p.PeerID, all *items) {
	if all.bytes == 0 {
		return
	}
	m.send(to, p2p.Sync, wire.Seal(wire.KindItems, all.append))
}

func (a *items) append(w *wire.Writer) {
	w.Count(len(a.ops))
	for _, op := range a.ops {
		w.Blob(op.Encode())
	}
	w.Count(len(a.bundles))
	for _, b := range a.bundles {
		w.Blob(b.Encode())
	}
	w.Count(len(a.frames))
	for _, f := range a.frames {
		w.Blob(f.Encode())
	}
}

// takeItems reads what append writes.
func takeItems(r *wire.Reader) items {
	return items{
		ops:     takeBlobs(r, ledger.MaxOp, ledger.DecodeOp),
		bundles: takeBlobs(r, replica.MaxBundle, replica.DecodeBundle),
		frames:  takeBlobs(r, replica.MaxFrame, replica.DecodeFrame),
	}
}

// takeBlobs reads a list of at most itemsMax blobs.
func takeBlobs[T any](r *wire.Reader, limit int, decode func([]byte) (*T, error)) []*T {
	n := r.Count(itemsMax, 4)
	out := make([]*T, 0, n)
	for range n {
		v, err := decode(r.Blob(limit))
		if err != nil {
			r.Fail(err)
			return nil
		}
		out = append(out, v)
	}
	return out
}

// items takes what a peer thinks is missing here. Once it is added, the peer is asked
// for more if it brought something.
func (m *Machine) items(from p2p.PeerID, all items) {
	for _, op := range all.ops {
		m.takeOp(from, op)
	}
	for _, b := range all.bundles {
		m.takeBundle(from, b)
	}
	for _, f := range all.frames {
		m.takeFrame(from, f)
	}
}

// A want asks for operations, bundles and frames.
type want struct {
	ops     []ledger.OpID
	bundles []replica.BundleID
	frames  []p2p.Digest
}

// sendWant asks for operations and bundles that were voted for and are not here, and for
// frames that others rest on and that heads do not ask for.
func (m *Machine) sendWant(to p2p.PeerID) {
	v := want{
		ops: m.replica.Missing(wantMax), bundles: m.replica.Absent(wantMax), frames: m.replica.Lacking(wantMax),
	}
	if len(v.ops)+len(v.bundles)+len(v.frames) > 0 {
		m.send(to, p2p.Sync, wire.Seal(wire.KindWant, v.append))
	}
}

func (v want) append(w *wire.Writer) {
	w.Count(len(v.ops))
	for i := range v.ops {
		w.Fixed(v.ops[i][:])
	}
	w.Count(len(v.bundles))
	for i := range v.bundles {
		w.Fixed(v.bundles[i][:])
	}
	w.Count(len(v.frames))
	for i := range v.frames {
		w.Fixed(v.frames[i][:])
	}
}

// takeWant reads what append writes.
func takeWant(r *wire.Reader) want {
	v := want{ops: make([]ledger.OpID, r.Count(wantMax, 32))}
	for i := range v.ops {
		r.Into(v.ops[i][:])
	}
	v.bundles = make([]replica.BundleID, r.Count(wantMax, 32))
	for i := range v.bundles {
		r.Into(v.bundles[i][:])
	}
	v.frames = make([]p2p.Digest, r.Count(wantMax, 32))
	for i := range v.frames {
		r.Into(v.frames[i][:])
	}
	return v
}

// wanted sends what a peer asks for and is here.
func (m *Machine) wanted(from p2p.PeerID, v want) {
	var all items
	for _, id := range v.ops {
		if op, ok := m.replica.Op(id); ok {
			all.addOp(op)
		}
	}
	for _, id := range v.bundles {
		if b, ok := m.replica.Bundle(id); ok {
			all.addBundle(b)
		}
	}
	for _, id := range v.frames {
		if f, ok := m.replica.Frame(id); ok {
			m.bring(&all, f)
		}
	}
	m.sendItems(from, &all)
}
