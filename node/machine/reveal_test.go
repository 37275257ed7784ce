package machine

import (
	"testing"
	"time"

	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
	"github.com/pinfi/pinfi/proofs"
)

// Only the owner of a commit opens its tiles: wrong ones from a stranger, who is
// faster, are not taken for the owner's.
func TestRevealOfAnother(t *testing.T) {
	s := newMarket(t, 8, 1)
	faults := 0
	s.watch = append(s.watch, func(_ *player, ev Event, _ []Effect) {
		if c, ok := ev.(Checked); ok && c.Fault != proofs.NoFault {
			faults++
		}
	})
	s.twists = append(s.twists, func(_, to *player, kind wire.Kind, data []byte) []byte {
		if kind == wire.KindReveal {
			_, r, _ := wire.Open(data)
			v := takeRevealing(r)
			wrong := wire.Seal(wire.KindReveal, func(w *wire.Writer) {
				w.Fixed(v.commit[:])
				v.beat.AppendTo(w)
				proofs.EncodeReveal(w, &proofs.Reveal{Roots: []p2p.Digest{{1}}})
			})
			s.post(&arrival{at: s.now, to: to, life: -1, make: func() Event {
				return Received{From: keyOf("stranger").id, Data: wrong}
			}})
		}
		return data
	})
	s.startAll()
	p := s.player("provider1")
	s.run(30*time.Second, func() bool { return p.m.proofs.Passed(p.key.id, testClass) > 1 })
	if p.m.proofs.Passed(p.key.id, testClass) < 2 || faults > 0 {
		t.Errorf("%d storms are passed, %d faults were found", p.m.proofs.Passed(p.key.id, testClass), faults)
	}
}
