package machine

import (
	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// receive takes a message. From is zero for gossip. A message that does not
// decode, or may not come this way, is refused, noted and forgotten.
func (m *Machine) receive(from p2p.PeerID, data []byte) {
	kind, r, err := wire.Open(data)
	if err == nil {
		if from.IsZero() {
			err = m.receiveGossip(kind, r)
		} else {
			err = m.receiveDirect(from, kind, r)
		}
	}
	if err != nil {
		m.note(Note{Fact: FactRefused, Peer: from, Text: err.Error()})
	}
}

// receiveGossip takes a message that anybody may have sent on.
func (m *Machine) receiveGossip(kind wire.Kind, r *wire.Reader) error {
	switch kind {
	case wire.KindOp:
		op, err := ledger.DecodeOp(r.Fixed(r.Rest()))
		if err != nil {
			return err
		}
		m.takeOp(p2p.PeerID{}, op)
	case wire.KindBundle:
		b, err := replica.DecodeBundle(r.Fixed(r.Rest()))
		if err != nil {
			return err
		}
		m.takeBundle(p2p.PeerID{}, b)
	case wire.KindAccusation:
		p, err := replica.DecodeAccusation(r.Fixed(r.Rest()))
		if err != nil {
			return err
		}
		m.takeAccusation(p)
	case wire.KindFrame:
		f, err := replica.DecodeFrame(r.Fixed(r.Rest()))
		if err != nil {
			return err
		}
		m.takeFrame(p2p.PeerID{}, f)
	case wire.KindBeat:
		b := ledger.ReadBeat(r)
		if err := r.Close(); err != nil {
			return err
		}
		m.takeBeat(b)
	case wire.KindOffer:
		o := market.TakeOffer(r)
		if err := r.Close(); err != nil {
			return err
		}
		m.takeOffer(o)
	case wire.KindBid:
		b := market.TakeBid(r)
		if err := r.Close(); err != nil {
			return err
		}
		m.takeBid(b)
	default:
		return errWay(kind)
	}
	return nil
}

// receiveDirect takes a message that a peer sent to this node alone.
func (m *Machine) receiveDirect(from p2p.PeerID, kind wire.Kind, r *wire.Reader) error {
	switch kind {
	case wire.KindAsk:
		return deliver(r, market.TakeAsk, func(v market.Ask) { m.ask(from, v) })
	case wire.KindQuoted:
		return deliver(r, market.TakeQuote, func(v market.Quote) { m.quoted(from, v) })
	case wire.KindStart:
		return deliver(r, market.TakeStart, func(v market.Start) { m.start(from, v) })
	case wire.KindReport:
		return deliver(r, market.TakeReport, func(v market.Report) { m.report(from, v) })
	case wire.KindPay:
		return deliver(r, market.TakeVoucher, func(v market.Voucher) { m.paid(from, v) })
	case wire.KindReveal:
		return deliver(r, takeRevealing, func(v revealing) { m.reveal(from, v) })
	case wire.KindHeads:
		return deliver(r, takeHeads, func(v []uint32) { m.heads(from, v) })
	case wire.KindItems:
		return deliver(r, takeItems, func(v items) { m.items(from, v) })
	case wire.KindWant:
		return deliver(r, takeWant, func(v want) { m.wanted(from, v) })
	default:
		return errWay(kind)
	}
}

// deliver hands a message that decodes to the last byte to act.
func deliver[T any](r *wire.Reader, take func(*wire.Reader) T, act func(T)) error {
	v := take(r)
	if err := r.Close(); err != nil {
		return err
	}
	act(v)
	return nil
}

type wayError wire.Kind

func errWay(k wire.Kind) error { return wayError(k) }

func (k wayError) Error() string { return wire.Kind(k).String() + " message: does not travel this way" }
