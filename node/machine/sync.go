package machine

import (
	"encoding/binary"
	"fmt"
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
	// signaturesMax bounds the operations and frames of one answer, so that the Step
	// that takes them stays under its millisecond.
	signaturesMax = 16
	// headsMax bounds the witnesses that a heads message speaks of.
	headsMax = ledger.MaxWitnesses
	// wantMax bounds the operations asked for in one message.
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

// heads answers with what the peer lacks.
func (m *Machine) heads(from p2p.PeerID, theirs []uint32) {
	mine := m.headWords()
	if len(theirs) != len(mine) {
		m.note(Note{Fact: FactRefused, Peer: from, Text: "heads: not of this network's witnesses"})
		return
	}
	room := signaturesMax
	var frames []*replica.Frame
	var ops []*ledger.Op
	sent := make(map[ledger.OpID]bool)
	n := len(mine) / headWords
	first := m.replica.Turn() // so that no witness's frames take the room of another's again and again
	for i := range n {
		witness := (first + i) % n
		after := m.sendAfter(uint16(witness), mine, theirs)
		for _, f := range m.replica.FramesAfter(uint16(witness), after, room) {
			if room <= 0 {
				break
			}
			frames = append(frames, f)
			room--
			for _, id := range f.Votes {
				if op, ok := m.replica.Op(id); ok && !sent[id] && room > 0 {
					sent[id] = true
					ops = append(ops, op)
					room--
				}
			}
		}
	}
	if len(frames) > 0 {
		m.sendItems(from, ops, frames)
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

func (m *Machine) sendItems(to p2p.PeerID, ops []*ledger.Op, frames []*replica.Frame) {
	m.send(to, p2p.Sync, wire.Seal(wire.KindItems, func(w *wire.Writer) {
		w.Count(len(ops))
		for _, op := range ops {
			w.Blob(op.Encode())
		}
		w.Count(len(frames))
		for _, f := range frames {
			w.Blob(f.Encode())
		}
	}))
}

// items takes what a peer thinks is missing here. Once it is added, the peer is asked
// for more if it brought something.
func (m *Machine) items(from p2p.PeerID, r *wire.Reader) error {
	ops := make([]*ledger.Op, 0, signaturesMax)
	for range r.Count(signaturesMax, 4) {
		op, err := ledger.DecodeOp(r.Blob(ledger.MaxOp))
		if err != nil {
			r.Fail(err)
			break
		}
		ops = append(ops, op)
	}
	frames := make([]*replica.Frame, 0, signaturesMax)
	for range r.Count(signaturesMax, 4) {
		f, err := replica.DecodeFrame(r.Blob(replica.MaxFrame))
		if err != nil {
			r.Fail(err)
			break
		}
		frames = append(frames, f)
	}
	if n := len(ops) + len(frames); n > signaturesMax {
		r.Fail(fmt.Errorf("%w: %d operations and frames, limit %d", wire.ErrLimit, n, signaturesMax))
	}
	if err := r.Close(); err != nil {
		return err
	}
	for _, op := range ops {
		m.takeOp(from, op)
	}
	for _, f := range frames {
		m.takeFrame(from, f)
	}
	// Nothing of it is to be added, and nothing was dropped, which it would send again.
	if m.inbox.sources[from] == nil && len(m.inbox.queue) < m.cfg.Limits.Inbox {
		m.drained(from, false)
	}
	return nil
}

// sendWant asks for operations that were voted for and are not here.
func (m *Machine) sendWant(to p2p.PeerID) {
	ids := m.replica.Missing(wantMax)
	if len(ids) == 0 {
		return
	}
	m.send(to, p2p.Sync, wire.Seal(wire.KindWant, func(w *wire.Writer) {
		w.Count(len(ids))
		for _, id := range ids {
			w.Fixed(id[:])
		}
	}))
}

func takeIDs(r *wire.Reader) []ledger.OpID {
	ids := make([]ledger.OpID, r.Count(wantMax, 32))
	for i := range ids {
		r.Into(ids[i][:])
	}
	return ids
}

func (m *Machine) wanted(from p2p.PeerID, ids []ledger.OpID) {
	var ops []*ledger.Op
	for _, id := range ids {
		if op, ok := m.replica.Op(id); ok && len(ops) < signaturesMax {
			ops = append(ops, op)
		}
	}
	if len(ops) > 0 {
		m.sendItems(from, ops, nil)
	}
}
