package machine

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
	"github.com/pinfi/pinfi/proofs"
)

// A storm is one proof that this node's device owes, from the beat that called it
// to the verdicts. It is not saved: who crashes in a storm has missed it.
type storm struct {
	beat   ledger.Beat
	commit proofs.Commit
	id     ledger.OpID // of the ProofCommit; zero until it is signed
	landed bool        // the ProofCommit is applied
	sample heldBeat    // the beat that picked the tiles
	reveal *proofs.Reveal
	due    time.Time // when to send the reveal again
}

// An audit is another node's commit that this witness judges.
type audit struct {
	owner    p2p.PeerID
	commit   proofs.Commit
	seen     ledger.Slot // when the commit was applied here
	sample   ledger.Beat
	checking bool
}

// A passedKey names a device whose passed storms were noted.
type passedKey struct {
	owner p2p.PeerID
	class ledger.Class
}

// beatCame calls a storm, or picks the tiles of earlier ones.
func (m *Machine) beatCame(b ledger.Beat, output p2p.Digest) {
	for _, slot := range slices.Sorted(maps.Keys(m.storms)) {
		m.pickTiles(m.storms[slot], heldBeat{beat: b, output: output})
	}
	if m.cfg.Sell == nil || !proofs.IsStorm(&m.cfg.Genesis.Proofs, output) {
		return
	}
	m.joinStorm(b, output)
}

// joinStorm starts to prove, unless the device is leased or not yet registered.
func (m *Machine) joinStorm(b ledger.Beat, output p2p.Digest) {
	p := &m.cfg.Genesis.Proofs
	device, registered := m.replica.State().Device(m.cfg.Self, m.cfg.Sell.Class)
	until := m.cfg.Genesis.SlotStart(b.Slot + ledger.Slot(p.Window))
	registered = registered && !device.Retired()
	if !registered || len(m.sales) > 0 || len(m.storms) >= m.cfg.Limits.Sessions || !m.now.Before(until) {
		return
	}
	m.storms[b.Slot] = &storm{beat: b}
	seed := p.Seed(m.network, output, m.cfg.Self, m.cfg.Sell.Class)
	m.do(Prove{Storm: b.Slot, Seed: seed, Deadline: until})
	soonest(&m.due.prove, m.cfg.Genesis.SlotStart(p.SampleUntil(b.Slot)+1))
}

// proved commits to the work of a storm, if there is still time.
func (m *Machine) proved(ev Proved) {
	s := m.storms[ev.Storm]
	p := &m.cfg.Genesis.Proofs
	if s == nil || !s.id.IsZero() || ev.Rounds == 0 {
		return
	}
	s.commit = proofs.Commit{
		Class: m.cfg.Sell.Class, Beat: s.beat, Params: p.Hash(), Rounds: ev.Rounds, Root: ev.Root, Last: ev.Last,
	}
	m.want(0, intent{
		kind: ledger.KindProofCommit,
		key:  p2p.Sum("commit", fmt.Appendf(nil, "%d", ev.Storm)),
		body: func() ([]byte, bool) {
			return s.commit.Encode(), m.cfg.Genesis.SlotAt(m.now) <= p.CommitBy(ev.Storm)
		},
		made: func(id ledger.OpID) []Record {
			s.id = id
			m.note(Note{Fact: FactProved, Lease: id})
			return nil
		},
	})
}

// commitApplied starts the wait for the beat that picks the tiles: of an own
// commit to open them, of another node's to judge them.
func (m *Machine) commitApplied(op *ledger.Op) {
	c, err := proofs.DecodeCommit(op.Body)
	if err != nil {
		panic("machine: the ledger applied a ProofCommit that does not decode: " + err.Error())
	}
	if op.Account == m.cfg.Self {
		if s := m.storms[c.Storm()]; s != nil && s.id == op.ID() {
			s.landed = true
			for _, slot := range slices.Sorted(maps.Keys(m.beats.held)) {
				m.pickTiles(s, m.beats.held[slot])
			}
		}
		return
	}
	now := m.cfg.Genesis.SlotAt(m.now)
	if m.witness < 0 || now > m.cfg.Genesis.Proofs.CommitBy(c.Storm()) || c.Storm() > now+1 {
		return
	}
	if len(m.audits) >= m.cfg.Limits.Sessions {
		return
	}
	m.audits[op.ID()] = &audit{owner: op.Account, commit: *c, seen: now}
	soonest(&m.due.prove, m.cfg.Genesis.SlotStart(m.cfg.Genesis.Proofs.SampleUntil(c.Storm())+1))
}

// pickTiles opens the tiles that a beat picks, if it is the first that may.
func (m *Machine) pickTiles(s *storm, h heldBeat) {
	p := &m.cfg.Genesis.Proofs
	if !s.landed || s.sample.beat.Slot != 0 ||
		h.beat.Slot < p.SampleFrom(s.beat.Slot) || h.beat.Slot > p.SampleUntil(s.beat.Slot) {
		return
	}
	s.sample = h
	m.do(Open{Storm: s.beat.Slot, Commit: s.id, Samples: proofs.Samples(p, h.output, s.id, s.commit.Rounds)})
}

func (m *Machine) opened(ev Opened) {
	for _, s := range m.storms { // order-free: at most one has the id
		if s.id == ev.Commit && s.landed && s.reveal == nil {
			s.reveal = ev.Reveal
			m.sendReveal(s)
		}
	}
}

// sendReveal sends the tiles to every witness that has not judged them. The prover
// owns the retry, until the last slot in which tiles can be picked.
func (m *Machine) sendReveal(s *storm) {
	data := wire.Seal(wire.KindReveal, func(w *wire.Writer) {
		w.Fixed(s.id[:])
		s.sample.beat.AppendTo(w)
		proofs.EncodeReveal(w, s.reveal)
	})
	for i, w := range m.cfg.Genesis.Ledger.Witnesses {
		if w.Account != m.cfg.Self && !m.judged(s.id, uint16(i)) {
			m.send(w.Account, p2p.Proof, data)
		}
	}
	s.due = m.now.Add(m.cfg.Timing.Retry)
	soonest(&m.due.prove, s.due)
}

// A revealing is a Reveal message: the tiles of a commit, picked by a beat.
type revealing struct {
	commit ledger.OpID
	beat   ledger.Beat
	reveal *proofs.Reveal
}

func takeRevealing(r *wire.Reader) revealing {
	var v revealing
	r.Into(v.commit[:])
	v.beat = ledger.ReadBeat(r)
	reveal, err := proofs.DecodeReveal(r)
	if err != nil {
		r.Fail(err)
	}
	v.reveal = reveal
	return v
}

// reveal has the tiles of a commit checked. The beat that picked them must be of
// a later slot than the one in which the commit was final here: else the prover
// could have known the tiles when it made them.
func (m *Machine) reveal(from p2p.PeerID, v revealing) {
	a := m.audits[v.commit]
	g := m.cfg.Genesis
	if a == nil || a.owner != from || a.checking || v.beat.Slot <= a.seen || v.beat.Slot > g.SlotAt(m.now)+1 {
		return
	}
	if !m.picks(a.commit.Storm(), v.beat.Slot) {
		m.note(Note{Fact: FactRefused, Peer: from, Lease: v.commit, Text: "reveal: its beat is not the first that may pick"})
		return
	}
	called, ok1 := a.commit.Beat.Verify(&g.Ledger, m.beacon, m.cfg.Crypto.VerifyVRF)
	output, ok2 := v.beat.Verify(&g.Ledger, m.beacon, m.cfg.Crypto.VerifyVRF)
	if !ok1 || !ok2 {
		m.note(Note{Fact: FactRefused, Peer: from, Lease: v.commit, Text: "reveal: its beat does not verify"})
		return
	}
	a.checking, a.sample = true, v.beat
	m.do(Check{
		ID:      v.commit,
		Seed:    g.Proofs.Seed(m.network, called, a.owner, a.commit.Class),
		Commit:  a.commit,
		Samples: proofs.Samples(&g.Proofs, output, v.commit, a.commit.Rounds),
		Reveal:  v.reveal,
	})
}

// picks reports whether a prover may take the beat of a slot to pick its tiles: the
// first that this node holds from SampleFrom on, or one later, since either of the
// two may have missed one. A prover that could wait would take the beat it likes.
func (m *Machine) picks(storm, slot ledger.Slot) bool {
	from := m.cfg.Genesis.Proofs.SampleFrom(storm)
	passed := 0
	for s := from; s < slot && passed < 2; s++ {
		if _, held := m.beats.held[s]; held {
			passed++
		}
	}
	return slot >= from && slot <= m.cfg.Genesis.Proofs.SampleUntil(storm) && passed < 2
}

// checked signs the verdict. It is the last that this node does about the commit.
func (m *Machine) checked(ev Checked) {
	a := m.audits[ev.Commit]
	if a == nil || !a.checking {
		return
	}
	m.note(Note{Fact: FactJudged, Peer: a.owner, Lease: ev.Commit, Text: ev.Fault.String()})
	m.want(0, intent{
		kind: ledger.KindProofVerdict,
		key:  p2p.Sum("verdict", ev.Commit[:]),
		body: func() ([]byte, bool) {
			v := proofs.Verdict{Commit: ev.Commit, Beat: a.sample, Fault: ev.Fault}
			return v.Encode(), true
		},
	})
	delete(m.audits, ev.Commit)
}

// verdictApplied notes when a verdict is the one by which a storm is passed.
func (m *Machine) verdictApplied(op *ledger.Op) {
	v, err := proofs.DecodeVerdict(op.Body)
	if err != nil {
		panic("machine: the ledger applied a ProofVerdict that does not decode: " + err.Error())
	}
	f, ok := m.proofs.Commit(v.Commit)
	if !ok {
		return
	}
	key := passedKey{f.Device, f.Commit.Class}
	if n := m.proofs.Passed(f.Device, f.Commit.Class); n > m.passed[key] {
		m.passed[key] = n
		m.note(Note{Fact: FactPassed, Peer: f.Device, Lease: v.Commit})
	}
}

// judged reports whether a witness has judged a commit.
func (m *Machine) judged(id ledger.OpID, witness uint16) bool {
	f, _ := m.proofs.Commit(id)
	return slices.ContainsFunc(f.Verdicts, func(v proofs.Vote) bool { return v.Witness == witness })
}

// prove repeats reveals and forgets storms and audits whose time has passed.
func (m *Machine) prove() {
	p, now := &m.cfg.Genesis.Proofs, m.cfg.Genesis.SlotAt(m.now)
	for _, slot := range slices.Sorted(maps.Keys(m.storms)) {
		s := m.storms[slot]
		end := m.cfg.Genesis.SlotStart(p.SampleUntil(slot) + 1)
		if now > p.SampleUntil(slot) || m.judgedByAll(s) {
			delete(m.storms, slot)
			continue
		}
		soonest(&m.due.prove, end)
		if s.reveal != nil {
			if !m.now.Before(s.due) {
				m.sendReveal(s)
			}
			soonest(&m.due.prove, s.due)
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(m.audits), ledger.OpID.Compare) {
		if until := p.SampleUntil(m.audits[id].commit.Storm()); now > until {
			delete(m.audits, id)
		} else {
			soonest(&m.due.prove, m.cfg.Genesis.SlotStart(until+1))
		}
	}
}

// judgedByAll reports whether every other witness has judged the storm's commit.
func (m *Machine) judgedByAll(s *storm) bool {
	for i, w := range m.cfg.Genesis.Ledger.Witnesses {
		if w.Account != m.cfg.Self && !m.judged(s.id, uint16(i)) {
			return false
		}
	}
	return true
}
