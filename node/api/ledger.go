package api

import (
	"context"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
)

// A Ledger tells how a node's copy of the ledger stands.
type Ledger struct {
	Root      p2p.Digest `json:"root" doc:"equal on all nodes that have applied the same operations"`
	Applied   uint64     `json:"applied" doc:"operations"`
	Pending   int        `json:"pending" doc:"operations without a certificate"`
	Evidence  int        `json:"evidence" doc:"offences that somebody was caught in"`
	Supply    Supply     `json:"supply"`
	SupplyOK  bool       `json:"supply_ok" doc:"there is as much money as at genesis"`
	Witnesses []Witness  `json:"witnesses" nullable:"false"`
	Account   *Account   `json:"account,omitempty" doc:"the account that was asked for"`
}

// A Witness votes with its stake.
type Witness struct {
	Account p2p.PeerID    `json:"account"`
	Stake   ledger.Amount `json:"stake"`
	Frames  uint32        `json:"frames" doc:"number of its last frame that this node holds"`
}

// A Supply says where all money is.
type Supply struct {
	Lanes    ledger.Amount `json:"lanes"`
	Credits  ledger.Amount `json:"credits"`
	Escrowed ledger.Amount `json:"escrowed"`
	Pots     ledger.Amount `json:"pots"`
	Bonded   ledger.Amount `json:"bonded"`
	Burned   ledger.Amount `json:"burned"`
	Total    ledger.Amount `json:"total"`
}

// An Account is what one account has.
type Account struct {
	ID        p2p.PeerID    `json:"id"`
	Balance   ledger.Amount `json:"balance" doc:"lanes and unclaimed credits"`
	Unclaimed ledger.Amount `json:"unclaimed"`
	Bond      ledger.Amount `json:"bond"`
	Escrowed  ledger.Amount `json:"escrowed" doc:"in leases that it pays"`
	Lanes     []Lane        `json:"lanes" nullable:"false"`
	Credits   []Credit      `json:"credits" nullable:"false"`
	Devices   []Device      `json:"devices" nullable:"false"`
	Leases    []LeaseState  `json:"leases" nullable:"false" doc:"that are not closed, on either side"`
}

// A Lane is one sequence of operations of an account, and its money.
type Lane struct {
	Lane    ledger.Lane   `json:"lane"`
	Seq     uint64        `json:"seq" doc:"operations applied"`
	Head    ledger.OpID   `json:"head,omitzero" doc:"the last of them"`
	Balance ledger.Amount `json:"balance"`
}

// A Credit is money that its receiver has not claimed.
type Credit struct {
	From   p2p.PeerID    `json:"from"`
	Lane   ledger.Lane   `json:"lane"`
	Seq    uint64        `json:"seq"`
	Amount ledger.Amount `json:"amount"`
}

// A LeaseState is how a lease stands on the ledger.
type LeaseState struct {
	ID       ledger.OpID   `json:"id"`
	Client   p2p.PeerID    `json:"client"`
	Provider p2p.PeerID    `json:"provider"`
	State    string        `json:"state" doc:"open or accepted"`
	Escrow   ledger.Amount `json:"escrow"`
}

// History is what an account has done and got, the newest first.
type History struct {
	Entries []Entry `json:"entries" nullable:"false"`
}

// An Entry is an applied operation in words of money.
type Entry struct {
	ID      ledger.OpID   `json:"id"`
	Kind    string        `json:"kind"`
	Account p2p.PeerID    `json:"account" doc:"who signed it"`
	Lane    ledger.Lane   `json:"lane"`
	Seq     uint64        `json:"seq"`
	To      p2p.PeerID    `json:"to,omitzero" doc:"whom it pays; of a lease the other side"`
	Amount  ledger.Amount `json:"amount" doc:"of a closed lease what was paid"`
	Refund  ledger.Amount `json:"refund" doc:"of a closed lease what returned to its client"`
	Fee     ledger.Amount `json:"fee"`
	Claims  int           `json:"claims" doc:"sources of credits that it claimed"`
	Lease   ledger.OpID   `json:"lease,omitzero"`
	State   string        `json:"state" doc:"certified"`
}

// EntryOf shows an operation that was applied.
func EntryOf(e *machine.Entry) Entry {
	op := e.Op
	return Entry{
		ID: e.ID, Kind: op.Kind.String(), Account: op.Account, Lane: op.Lane, Seq: op.Seq, To: e.To, Amount: e.Amount,
		Refund: e.Refund, Fee: op.Fee, Claims: len(op.Claims), Lease: e.Lease, State: "certified",
	}
}

// SupplyOf shows where all money of a state is.
func SupplyOf(st *ledger.State) Supply {
	sup := st.Supply()
	return Supply{
		Lanes: sup.Lanes, Credits: sup.Credits, Escrowed: sup.Escrowed, Pots: sup.Pots,
		Bonded: sup.Bonded, Burned: sup.Burned, Total: sup.Total,
	}
}

// ledgerOf tells how a machine's ledger stands. The root costs time in proportion
// to what has changed since it was last asked for.
func ledgerOf(m *machine.Machine) Ledger {
	r := m.Replica()
	state := r.State()
	out := Ledger{
		Root: state.Root(), Applied: state.Applied(), Pending: r.PendingLen(), Evidence: r.EvidenceLen(),
		Supply: SupplyOf(state), SupplyOK: state.Conserved(), Witnesses: []Witness{},
	}
	heads := r.Heads()
	for i, w := range state.Genesis().Witnesses {
		out.Witnesses = append(out.Witnesses, Witness{Account: w.Account, Stake: w.Stake, Frames: heads[i]})
	}
	return out
}

// A ledgerQuery may ask for one account.
type ledgerQuery struct {
	Account p2p.PeerID `query:"account" pattern:"^[0-9a-f]{64}$" doc:"an account to show"`
}

func (s *Server) ledger(ctx context.Context, in *ledgerQuery) (*reply[Ledger], error) {
	var out Ledger
	err := s.ask(ctx, func(m *machine.Machine) {
		out = ledgerOf(m)
		if !in.Account.IsZero() {
			out.Account = s.account(m, in.Account)
		}
	})
	if err != nil {
		return nil, err
	}
	return &reply[Ledger]{out}, nil
}

// account shows all that an account has.
func (s *Server) account(m *machine.Machine, id p2p.PeerID) *Account {
	state := m.Replica().State()
	a := &Account{
		ID: id, Balance: state.Balance(id), Bond: state.BondOf(id),
		Lanes: []Lane{}, Credits: []Credit{}, Devices: []Device{}, Leases: []LeaseState{},
	}
	for l := range 256 {
		lane := Lane{Lane: ledger.Lane(l), Balance: state.Spendable(id, ledger.Lane(l))}
		lane.Seq, lane.Head = state.Head(id, lane.Lane)
		if lane.Seq > 0 || lane.Balance > 0 {
			a.Lanes = append(a.Lanes, lane)
		}
	}
	for _, c := range state.Unclaimed(id) {
		a.Unclaimed += c.Amount // at most Balance
		a.Credits = append(a.Credits, Credit(c))
	}
	for _, c := range s.cfg.Node.Genesis().Market.Classes {
		if d, ok := state.Device(id, c.Name); ok {
			a.Devices = append(a.Devices, s.device(m, d))
		}
	}
	for l := range m.Leases().Leases() {
		if l.State == market.StateClosed || l.Client != id && l.Provider != id {
			continue
		}
		a.Leases = append(a.Leases, LeaseState{
			ID: l.ID, Client: l.Client, Provider: l.Provider, State: l.State.String(), Escrow: l.Escrow,
		})
		if l.Client == id {
			a.Escrowed += l.Escrow
		}
	}
	return a
}

// A historyQuery asks for operations.
type historyQuery struct {
	Account p2p.PeerID `query:"account" pattern:"^[0-9a-f]{64}$" doc:"whose; default: of all accounts"`
	Limit   int        `query:"limit" minimum:"1" maximum:"10000" default:"100"`
}

func (s *Server) history(ctx context.Context, in *historyQuery) (*reply[History], error) {
	out := History{Entries: []Entry{}}
	err := s.ask(ctx, func(m *machine.Machine) {
		for _, e := range m.History(in.Account, in.Limit) {
			out.Entries = append(out.Entries, EntryOf(&e))
		}
	})
	if err != nil {
		return nil, err
	}
	return &reply[History]{out}, nil
}
