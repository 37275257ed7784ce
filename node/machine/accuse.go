package machine

import (
	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// Evidence follows from what a replica holds, and so every node that holds the same
// finds it. The one that need not be held by all is an operation that a rival has
// kept out: its fork travels as a proof, and is kept as one.

// accuse notes the offences that the replica has found, and tells others of those that
// they may not find.
func (m *Machine) accuse() {
	for _, ev := range m.replica.TakeCaught() {
		m.note(Note{Fact: FactEvidence, Peer: ev.Account, Text: ev.Offence.String()})
		if ev.Offence == replica.VoteConflict {
			m.keepRivals(&ev)
		}
		p, ok := m.replica.Accusation(ev)
		if !ok || ev.Offence != replica.OpFork {
			continue
		}
		m.keepAccusation(ev, p)
		m.do(Publish{Topic: m.network.Topic(p2p.Accusations), Data: sealAccusation(p)})
	}
}

// keepRivals saves the operations that a witness voted for against itself, which nothing
// else may save: a rival never counts. An own one is left out: a node could not start
// from both.
func (m *Machine) keepRivals(ev *replica.Evidence) {
	for _, id := range [...]p2p.Digest{ev.First, ev.Second} {
		if op, ok := m.replica.Op(ledger.OpID(id)); ok && op.Account != m.cfg.Self {
			m.foreign = append(m.foreign, Record{Kind: RecordOp, Key: id[:], Value: op.Encode()})
		}
	}
}

// keepAccusation saves a proof. Others may have it, too: it is saved last.
func (m *Machine) keepAccusation(ev replica.Evidence, p *replica.Accusation) {
	id := ev.ID()
	m.foreign = append(m.foreign, Record{Kind: RecordEvidence, Key: id[:], Value: p.Encode()})
}

func sealAccusation(p *replica.Accusation) []byte {
	return wire.Seal(wire.KindAccusation, func(w *wire.Writer) { w.Fixed(p.Encode()) })
}

// takeAccusation takes a proof that others have sent.
func (m *Machine) takeAccusation(p *replica.Accusation) {
	ev, signed, err := p.Evidence(m.network, &m.cfg.Genesis.Ledger)
	if err != nil {
		m.note(Note{Fact: FactRefused, Text: err.Error()})
		return
	}
	if m.replica.Knows(ev.ID()) || ev.Offence == replica.OpFork && !m.replica.State().Owns(ev.Account) {
		return // known, or it has cost nobody anything: there would be no end of them
	}
	key := p2p.Signed{Key: p2p.PeerID(ev.ID()), Digest: p2p.Sum("pinfi/letter/1", p.Encode())}
	m.arrived(letter{charge: p, key: key, signed: signed})
}

// accusationTaken takes a proof that was verified.
func (m *Machine) accusationTaken(a *letter) {
	ev, _, err := a.charge.Evidence(m.network, &m.cfg.Genesis.Ledger)
	if !a.ok || err != nil {
		m.note(Note{Fact: FactRefused, Text: "proof of an offence: a signature does not hold"})
		return
	}
	if !m.replica.Accuse(ev) {
		return
	}
	m.keepAccusation(ev, a.charge)
}
