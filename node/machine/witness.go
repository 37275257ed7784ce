package machine

import (
	"encoding/binary"
	"maps"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// scheduleFrame sets the time of the next frame when there is something to vote
// for, or, less soon, something that others voted for to tell of.
func (m *Machine) scheduleFrame() {
	if m.witness < 0 {
		return
	}
	at := m.now
	if next := m.beats.lastFrame.Add(m.cfg.Timing.Frame); next.After(at) {
		at = next
	}
	if m.beats.mute.After(at) {
		at = m.beats.mute
	}
	switch {
	case m.replica.HasVotes():
		soonest(&m.due.frame, at)
	case m.replica.HasNews():
		soonest(&m.due.frame, at.Add(m.cfg.Timing.Frame))
	}
}

// frame votes for everything that applies now, and tells of the votes of others. The
// frame is saved before it is sent, after all that it rests on and with the operations
// it votes for: a witness that forgot a vote, or what place it was for, could vote for
// a rival.
func (m *Machine) frame() {
	now := m.cfg.Genesis.SlotAt(m.now)
	f := m.replica.NextFrame(now)
	if f == nil { // it has said enough in this slot, or its clock was ahead once
		m.beats.mute = m.cfg.Genesis.SlotStart(now + 1)
		return
	}
	m.saveForeign()
	f.Sig = m.cfg.Crypto.Sign(f.SigningDigest())
	m.beats.lastFrame = m.now
	for _, id := range f.Votes {
		op, ok := m.replica.Op(id)
		if !ok {
			panic("machine: operation to vote for is not held: " + id.Short())
		}
		if op.Account != m.cfg.Self { // an own one is saved since it was signed
			m.save(Record{Kind: RecordOp, Key: opKey(id), Value: op.Encode()})
			m.beats.voted[id] = true
		}
	}
	if out := m.replica.AddFrame(f); out != replica.Added {
		panic("machine: the replica does not take its own frame: " + out.String())
	}
	m.saveForeign()
	m.do(Publish{Topic: m.network.Topic(p2p.Frames), Data: sealFrame(f)})
}

// saveForeign saves what others have made at once, before what this node makes of it.
func (m *Machine) saveForeign() {
	m.keep()
	m.save(m.foreign...)
	m.foreign = nil
}

// keep saves what came to the replica and must be there in the next life, so that it
// can be served: bundles with a vote, and frames after what they rest on.
func (m *Machine) keep() {
	for _, id := range m.replica.TakeKept() {
		o, held := m.replica.Outline(id)
		if !held {
			panic("machine: bundle to keep is not held: " + id.Short())
		}
		rec := Record{Kind: RecordOutline, Key: id[:]}
		if b, whole := o.Whole(); whole {
			rec.Kind, rec.Value = RecordBundle, b.Encode()
		} else {
			rec.Value = o.Encode()
		}
		m.foreign = append(m.foreign, rec)
	}
	for _, f := range m.replica.TakeLinked() {
		m.foreign = append(m.foreign, Record{Kind: RecordFrame, Key: frameKey(f), Value: f.Encode()})
	}
}

func sealFrame(f *replica.Frame) []byte {
	return wire.Seal(wire.KindFrame, func(w *wire.Writer) { w.Fixed(f.Encode()) })
}

// opKey is the key of an operation's record.
func opKey(id ledger.OpID) []byte { return id[:] }

// frameKey is the key of a frame's record: witness and number, so that records
// come back in the order in which frames link, and a part of the id, since a
// hostile witness signs two frames with one number.
func frameKey(f *replica.Frame) []byte {
	id := f.ID()
	return append(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(nil, f.Witness), f.Seq), id[:8]...)
}

// beatLookahead is how many slots a witness looks ahead for its next turn.
const beatLookahead = 256

// beatsKept is how many slots of beats are remembered.
const beatsKept = 512

// beats remembers the latest random outputs of the network.
type beats struct {
	held      map[ledger.Slot]heldBeat
	lastFrame time.Time            // when this node's last frame was made
	mute      time.Time            // until when it makes none
	voted     map[ledger.OpID]bool // saved with an own frame, not yet applied
}

type heldBeat struct {
	beat   ledger.Beat
	output p2p.Digest
}

func newBeats() beats {
	return beats{held: make(map[ledger.Slot]heldBeat), voted: make(map[ledger.OpID]bool)}
}

// scheduleBeat sets the time of the witness's next turn, from the given slot on.
func (m *Machine) scheduleBeat(from ledger.Slot) {
	if m.witness < 0 {
		return
	}
	for s := from; s < from+beatLookahead; s++ {
		if int(ledger.Schedule(&m.cfg.Genesis.Ledger, m.beacon, s)) == m.witness {
			m.due.beat = m.cfg.Genesis.SlotStart(s)
			return
		}
	}
}

// beat publishes the beat of this slot when it is this witness's turn. A beat is
// the only one its key can make for its slot, so it need not be saved.
func (m *Machine) beat() {
	g := m.cfg.Genesis
	now := g.SlotAt(m.now)
	m.due.beat = m.now.Add(beatLookahead * time.Duration(g.Ledger.SlotMillis) * time.Millisecond)
	if m.witness >= 0 && int(ledger.Schedule(&g.Ledger, m.beacon, now)) == m.witness {
		b := ledger.Beat{Slot: now, Witness: uint16(m.witness)}
		b.Proof = m.cfg.Crypto.ProveVRF(ledger.BeatAlpha(m.beacon, now))
		m.do(Publish{Topic: m.network.Topic(p2p.Beats), Data: wire.Seal(wire.KindBeat, b.AppendTo)})
		m.takeBeat(b)
	}
	m.scheduleBeat(now + 1)
}

// takeBeat verifies a beat and starts what it triggers. A beat that is not of
// about now triggers nothing.
func (m *Machine) takeBeat(b ledger.Beat) {
	now := m.cfg.Genesis.SlotAt(m.now)
	if b.Slot+2 < now || b.Slot > now+1 {
		return
	}
	if _, known := m.beats.held[b.Slot]; known {
		return
	}
	output, ok := b.Verify(&m.cfg.Genesis.Ledger, m.beacon, m.cfg.Crypto.VerifyVRF)
	if !ok {
		m.note(Note{Fact: FactRefused, Text: "beat: its proof does not verify"})
		return
	}
	m.beats.held[b.Slot] = heldBeat{beat: b, output: output}
	if len(m.beats.held) > beatsKept {
		maps.DeleteFunc(m.beats.held, func(s ledger.Slot, _ heldBeat) bool { return s+beatsKept/2 < b.Slot })
	}
	m.beatCame(b, output)
}
