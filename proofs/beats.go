package proofs

import (
	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
)

// beatsMax is the number of beats whose outputs are remembered: those of a storm's
// life many times over, 200 bytes each.
const beatsMax = 1024

// A beatMemo remembers which beats hold and what they put out. Every device's
// commit carries the same beat, and proving one again costs a hundred times what
// all else in Check does.
type beatMemo struct {
	genesis *ledger.Genesis
	beacon  p2p.Digest
	prove   VerifyVRF
	known   map[ledger.Beat]beatOutput
	ring    []ledger.Beat // the beats of known; the oldest at next once full
	next    int
}

// A beatOutput is the output of a beat that holds, or !ok.
type beatOutput struct {
	output p2p.Digest
	ok     bool
}

func newBeatMemo(g *ledger.Genesis, beacon p2p.Digest, prove VerifyVRF) *beatMemo {
	return &beatMemo{genesis: g, beacon: beacon, prove: prove, known: make(map[ledger.Beat]beatOutput)}
}

// verify returns the output of a beat, and false when it does not hold.
func (m *beatMemo) verify(b *ledger.Beat) (p2p.Digest, bool) {
	if o, hit := m.known[*b]; hit {
		return o.output, o.ok
	}
	var o beatOutput
	o.output, o.ok = b.Verify(m.genesis, m.beacon, m.prove)
	if len(m.ring) < beatsMax {
		m.ring = append(m.ring, *b)
	} else {
		delete(m.known, m.ring[m.next])
		m.ring[m.next] = *b
		m.next = (m.next + 1) % beatsMax
	}
	m.known[*b] = o
	return o.output, o.ok
}
