package machine

import (
	"testing"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// [MCH-30] A gossiped message is passed on when it decodes to its last byte and
// travels on the topic it belongs to, and else not.
func TestPlausible(t *testing.T) {
	n := p2p.Network{1}
	beat := ledger.Beat{Slot: 1}
	offer := market.Offer{Provider: p2p.PeerID{1}, Class: "cpu.small", Region: "local", Seq: 1, Declared: 1, Expires: 1}
	sealed := wire.Seal(wire.KindBeat, beat.AppendTo)
	offered := wire.Seal(wire.KindOffer, offer.Put)
	for _, c := range []struct {
		what  string
		topic p2p.Topic
		data  []byte
		want  bool
	}{
		{"a beat among beats", n.Topic(p2p.Beats), sealed, true},
		{"a beat among frames", n.Topic(p2p.Frames), sealed, false},
		{"a beat of another network", p2p.Network{2}.Topic(p2p.Beats), sealed, false},
		{"a beat and a byte", n.Topic(p2p.Beats), append(sealed[:len(sealed):len(sealed)], 0), false},
		{"half a beat", n.Topic(p2p.Beats), sealed[:len(sealed)/2], false},
		{"an offer in its market", n.Offers("cpu.small", "local"), offered, true},
		{"an offer in another market", n.Offers("cpu.large", "local"), offered, false},
		{"a direct message", n.Topic(p2p.Ops), wire.Seal(wire.KindWant, func(w *wire.Writer) { w.Count(0) }), false},
		{"no message", n.Topic(p2p.Ops), []byte{9, 9, 9}, false},
	} {
		if got := Plausible(n, c.topic, c.data); got != c.want {
			t.Errorf("%s: plausible %v, want %v", c.what, got, c.want)
		}
	}
}
