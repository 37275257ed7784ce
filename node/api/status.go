package api

import (
	"context"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
)

// A reply is a body in the form that huma wants.
type reply[T any] struct{ Body T }

func (s *Server) status(ctx context.Context, _ *struct{}) (*reply[Status], error) {
	node := s.cfg.Node
	g := node.Genesis()
	st := Status{
		Version: s.cfg.Version, Self: node.Self(), Role: s.role(), Counts: s.cfg.Counts(),
		Peers: orEmpty(s.cfg.Peers()), Listen: orEmpty(s.cfg.Addrs()), Devices: []Device{}, Watchers: s.cfg.Hub.watchers(),
		Network: Network{
			Name: g.Ledger.Name, Digest: p2p.Digest(g.Network()), Classes: g.Market.ClassNames(),
			BetaBps: g.Market.BetaBps, SigmaBps: g.Market.SigmaBps, Window: g.Market.Window, MinFee: g.Ledger.MinFee,
		},
		Slot: uint64(g.SlotAt(time.Now())),
	}
	err := s.ask(ctx, func(m *machine.Machine) {
		self := node.Self()
		state := m.Replica().State()
		st.Reached, st.Offers, st.Sales, st.Jobs = m.Peers(), m.Book().Len(), m.Sales(), len(m.Jobs())
		st.Balance, st.Bond = state.Balance(self), state.BondOf(self)
		st.Ledger = ledgerOf(m)
		for _, c := range g.Market.Classes {
			if d, ok := state.Device(self, c.Name); ok {
				st.Devices = append(st.Devices, s.device(m, d))
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return &reply[Status]{st}, nil
}

// orEmpty turns a missing list into an empty one, which JSON shows as [].
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func (s *Server) devices(ctx context.Context, _ *struct{}) (*reply[Devices], error) {
	out := Devices{Devices: []Device{}}
	err := s.ask(ctx, func(m *machine.Machine) {
		for _, c := range s.cfg.Node.Genesis().Market.Classes {
			for d := range m.Replica().State().Devices(c.Name) {
				out.Devices = append(out.Devices, s.device(m, d))
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return &reply[Devices]{out}, nil
}

// device shows a device with its place and price on the curve.
func (s *Server) device(m *machine.Machine, d ledger.Device) Device {
	c := m.Leases()
	out := Device{
		Owner: d.Owner, Class: d.Class, Declared: d.Declared, Proven: d.Proven, Passed: d.Passed,
		Capacity: c.Capacity(m.Replica().State(), d.Owner, d.Class), Taken: c.Demand(d.Owner, d.Class),
		Position: c.Position(d.Owner, d.Class), Reserve: s.reserve(m, d),
	}
	if line, ok := c.Curve(d.Class, out.Reserve); ok {
		if _, ceil, err := line.Price(out.Position); err == nil { // the genesis is valid
			out.Price = ceil.String()
		}
	}
	return out
}

// reserve returns the least price of a device: its owner's own, or what it offers.
func (s *Server) reserve(m *machine.Machine, d ledger.Device) ledger.Amount {
	if sell := s.cfg.Sell; sell != nil && d.Owner == s.cfg.Node.Self() && d.Class == sell.Class {
		return sell.Reserve
	}
	o, _ := m.Book().Offer(d.Owner, d.Class)
	return o.Reserve
}
