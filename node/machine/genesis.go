package machine

import (
	"errors"
	"fmt"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
	"github.com/pinfi/pinfi/proofs"
)

// A Genesis is all that two nodes must agree on before they meet: the money, the
// witnesses, and the rules of market and proofs. Its digest names the network.
type Genesis struct {
	Ledger ledger.Genesis
	Market market.Params
	Proofs proofs.Params
}

// Validate reports everything that is wrong with the genesis.
func (g *Genesis) Validate() error {
	var admission error
	if g.Proofs.Admission != market.Admission {
		admission = fmt.Errorf("proofs parameter Admission = %d: want %d, after which the market admits",
			g.Proofs.Admission, market.Admission)
	}
	return errors.Join(g.Ledger.Validate(), g.Market.Validate(), g.Proofs.Validate(), admission)
}

// Network returns the digest of the canonical bytes of the genesis.
func (g *Genesis) Network() p2p.Network {
	w := wire.NewWriter(1024)
	g.Ledger.AppendTo(w)
	g.Market.AppendTo(w)
	g.Proofs.AppendTo(w)
	return p2p.Network(p2p.Sum("pinfi/genesis/1", w.Bytes()))
}

// SlotAt returns the slot of a time. Before the start it is slot 0.
func (g *Genesis) SlotAt(t time.Time) ledger.Slot {
	since := t.UnixMilli() - g.Ledger.Start
	if since < 0 {
		return 0
	}
	return ledger.Slot(since / int64(g.Ledger.SlotMillis))
}

// slotMax is the last slot whose beginning is told apart: thousands of years.
const slotMax ledger.Slot = 1 << 40

// SlotStart returns the time at which a slot begins.
func (g *Genesis) SlotStart(s ledger.Slot) time.Time {
	s = min(s, slotMax)
	return time.UnixMilli(g.Ledger.Start + int64(s)*int64(g.Ledger.SlotMillis))
}
