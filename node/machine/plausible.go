package machine

import (
	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// Plausible reports whether a gossiped message may be passed on: whether it decodes
// to the last byte and travels on the topic it belongs to. It looks at no state and
// at no signature, so any goroutine may ask, and two nodes never disagree. A
// transport asks it before it forwards; the machine itself looks closer.
func Plausible(n p2p.Network, topic p2p.Topic, data []byte) bool {
	kind, r, err := wire.Open(data)
	if err != nil {
		return false
	}
	switch kind { // the kinds that are gossiped
	case wire.KindOp:
		_, err = ledger.DecodeOp(r.Fixed(r.Rest()))
		return err == nil && topic == n.Topic(p2p.Ops)
	case wire.KindBundle:
		_, err = replica.DecodeBundle(r.Fixed(r.Rest()))
		return err == nil && topic == n.Topic(p2p.Ops)
	case wire.KindAccusation:
		_, err = replica.DecodeAccusation(r.Fixed(r.Rest()))
		return err == nil && topic == n.Topic(p2p.Accusations)
	case wire.KindFrame:
		_, err = replica.DecodeFrame(r.Fixed(r.Rest()))
		return err == nil && topic == n.Topic(p2p.Frames)
	case wire.KindBeat:
		ledger.ReadBeat(r)
		return r.Close() == nil && topic == n.Topic(p2p.Beats)
	case wire.KindOffer:
		o := market.TakeOffer(r)
		return r.Close() == nil && topic == n.Offers(string(o.Class), o.Region)
	case wire.KindBid:
		b := market.TakeBid(r)
		return r.Close() == nil && topic == n.Offers(string(b.Class), b.Region)
	default:
		return false
	}
}
