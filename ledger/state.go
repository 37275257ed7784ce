package ledger

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/pinfi/pinfi/p2p"
)

// A State is what the operations applied to it add up to. It belongs to one
// goroutine. Make one with New.
type State struct {
	network   p2p.Network
	chain     uint32
	genesis   *Genesis
	total     Amount // of all buckets, always
	contracts []Contract
	handlers  [256]Contract // by kind
	places    [256]int      // by kind, of the handler among contracts; -1 of core

	holders map[Account]*holder
	recent  [64]*holder // of those that were asked for, by the first byte
	escrows map[OpID]Amount
	pots    map[Class]Amount
	bonds   map[Account]Amount           // of witnesses
	pledges map[Account]map[Class]Amount // bonds of providers
	keys    map[Account]p2p.VRFKey       // of witnesses
	locks   map[OpID]Lock
	devices roster
	classes map[Account]int     // devices of an owner
	sums    [bucketKinds]Amount // what all buckets of a kind hold
	applied uint64
	tx      Tx // the one that Apply hands out

	tree     tree
	touched  []*holder // since the tree was brought up to the state
	changed  []Key     // the same for all that holders do not hold; some more than once
	keyBuf   []byte    // for refresh
	valueBuf []byte
}

// New returns the state at genesis. It refuses an invalid genesis and contracts
// that share a kind. The contracts must be at genesis too, and must not be handed
// to another State.
func New(network p2p.Network, g *Genesis, contracts []Contract) (*State, error) {
	if err := g.Validate(); err != nil {
		return nil, fmt.Errorf("new state: %w", err)
	}
	s := &State{network: network, chain: ChainOf(network), genesis: g, contracts: slices.Clone(contracts)}
	for i, c := range append([]Contract{core{}}, contracts...) {
		for _, k := range c.Kinds() {
			if k == 0 || s.handlers[k] != nil {
				return nil, fmt.Errorf("new state: two contracts for kind %v, or none", k)
			}
			s.handlers[k], s.places[k] = c, i-1
		}
	}
	s.endow()
	return s, nil
}

// Reset returns the state and its contracts to genesis.
func (s *State) Reset() {
	for _, c := range s.contracts {
		c.Reset()
	}
	s.endow()
}

// endow makes the buckets what they are at genesis.
func (s *State) endow() {
	s.holders = make(map[Account]*holder, len(s.genesis.Alloc))
	s.recent = [len(s.recent)]*holder{}
	s.escrows = map[OpID]Amount{}
	s.pots = map[Class]Amount{}
	s.bonds = make(map[Account]Amount, len(s.genesis.Witnesses))
	s.pledges = map[Account]map[Class]Amount{}
	s.keys = make(map[Account]p2p.VRFKey, len(s.genesis.Witnesses))
	s.locks = map[OpID]Lock{}
	s.devices = roster{}
	s.classes = map[Account]int{}
	s.sums = [bucketKinds]Amount{}
	s.applied, s.total = 0, 0
	s.tree, s.touched, s.changed = tree{}, nil, nil
	for _, a := range s.genesis.Alloc {
		s.put(LaneOf(a.Account, 0), nil, a.Amount)
		s.total += a.Amount
	}
	for _, w := range s.genesis.Witnesses {
		s.put(Bond(w.Account), nil, w.Stake)
		s.setWitnessKey(w.Account, w.VRF)
		s.total += w.Stake
	}
}

// Network returns the network's name.
func (s *State) Network() p2p.Network { return s.network }

// Chain returns the number that operations of the network carry.
func (s *State) Chain() uint32 { return s.chain }

// Epoch returns the epoch in which operations are certified now.
func (s *State) Epoch() Epoch { return 0 }

// Genesis returns what New was given. It must not be changed.
func (s *State) Genesis() *Genesis { return s.genesis }

// Applied returns how many operations the state holds. It changes whenever the
// state does.
func (s *State) Applied() uint64 { return s.applied }

// Head returns the sequence number and id of a lane's last operation, zero
// before the first.
func (s *State) Head(account Account, l Lane) (seq uint64, id OpID) {
	if at := s.lane(account, l); at != nil {
		return at.seq, at.head
	}
	return 0, OpID{}
}

// Spendable returns the money in a lane. A contract that checks an operation asks
// Funds instead.
func (s *State) Spendable(account Account, l Lane) Amount {
	if at := s.lane(account, l); at != nil {
		return at.balance
	}
	return 0
}

// Funds returns what an operation may spend: its lane's money and what it claims,
// less its fee; 0 when they do not cover the fee.
func (s *State) Funds(op *Op) Amount {
	sum := s.Spendable(op.Account, op.Lane)
	for i := range op.Claims {
		c := &op.Claims[i]
		sum += s.claimable(op.Account, s.lane(c.From, c.Lane), c.Upto)
	}
	rest, _ := sum.Sub(op.Fee)
	if op.Fee > sum {
		return 0
	}
	return rest
}

// claimable returns what an account's claim of a lane's credits would take now.
func (s *State) claimable(account Account, from *lane, seq uint64) Amount {
	h := s.holder(account)
	if h == nil || from == nil {
		return 0
	}
	_, sum := upto(h.inbox.of(from), seq)
	return sum
}

// A Credit is money that an operation made over to an account and that the
// account has not claimed.
type Credit struct {
	From   Account
	Lane   Lane
	Seq    uint64
	Amount Amount
}

// Unclaimed returns the credits to an account, by source and sequence number.
func (s *State) Unclaimed(account Account) []Credit {
	h := s.holder(account)
	if h == nil {
		return nil
	}
	var out []Credit
	for _, src := range h.inbox.sources {
		for _, g := range src.gifts {
			out = append(out, Credit{From: src.from.owner.id, Lane: src.from.number, Seq: g.seq, Amount: g.amount})
		}
	}
	slices.SortFunc(out, func(a, b Credit) int {
		return cmp.Or(a.From.Compare(b.From), cmp.Compare(a.Lane, b.Lane), cmp.Compare(a.Seq, b.Seq))
	})
	return out
}

// Balance returns all money of an account that is neither bonded nor escrowed:
// its lanes and its unclaimed credits.
func (s *State) Balance(account Account) Amount {
	h := s.holder(account)
	if h == nil {
		return 0
	}
	sum := h.inbox.total + h.zero.balance
	for _, l := range h.more {
		sum += l.balance
	}
	return sum
}

// EscrowOf returns the money that an operation set aside and that is still there.
func (s *State) EscrowOf(id OpID) Amount { return s.escrows[id] }

// PotOf returns the money that waits for the stakers of a class.
func (s *State) PotOf(class Class) Amount { return s.pots[class] }
