package ledger

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/pinfi/pinfi/p2p"
)

// A laneKey names a lane of an account.
type laneKey struct {
	account Account
	lane    Lane
}

// A lane is a sequence of operations and its money.
type lane struct {
	balance Amount
	seq     uint64
	head    OpID
}

// A gift is a credit as its source's list holds it.
type gift struct {
	seq    uint64
	amount Amount
}

// An inbox holds the credits that an account has not claimed: by source, each in
// ascending order of sequence numbers.
type inbox struct {
	total Amount
	from  map[laneKey][]gift
}

// A State is what the operations applied to it add up to. It belongs to one
// goroutine. Make one with New.
type State struct {
	network   p2p.Network
	chain     uint32
	genesis   *Genesis
	total     Amount        // of all buckets, always
	contracts []Contract    // core is the last
	handlers  [256]Contract // by kind

	lanes   map[laneKey]*lane
	owned   map[Account][]Lane // lanes that exist, as they were made
	inboxes map[Account]*inbox
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
}

// New returns the state at genesis. It refuses an invalid genesis and contracts
// that share a kind. The contracts must be at genesis too, and must not be handed
// to another State.
func New(network p2p.Network, g *Genesis, contracts []Contract) (*State, error) {
	if err := g.Validate(); err != nil {
		return nil, fmt.Errorf("new state: %w", err)
	}
	s := &State{network: network, chain: ChainOf(network), genesis: g, contracts: slices.Clone(contracts)}
	s.contracts = append(s.contracts, core{s}) // last, so that it takes no other's place in the root
	for _, c := range s.contracts {
		for _, k := range c.Kinds() {
			if k == 0 || s.handlers[k] != nil {
				return nil, fmt.Errorf("new state: two contracts for kind %v, or none", k)
			}
			s.handlers[k] = c
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
	s.lanes = make(map[laneKey]*lane, len(s.genesis.Alloc))
	s.owned = make(map[Account][]Lane, len(s.genesis.Alloc))
	s.inboxes = map[Account]*inbox{}
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
	for _, a := range s.genesis.Alloc {
		s.put(LaneOf(a.Account, 0), laneKey{}, 0, a.Amount)
		s.total += a.Amount
	}
	for _, w := range s.genesis.Witnesses {
		s.put(Bond(w.Account), laneKey{}, 0, w.Stake)
		s.keys[w.Account] = w.VRF
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
	if at := s.lanes[laneKey{account, l}]; at != nil {
		return at.seq, at.head
	}
	return 0, OpID{}
}

// Spendable returns the money in a lane. A contract that checks an operation asks
// Funds instead.
func (s *State) Spendable(account Account, l Lane) Amount {
	if at := s.lanes[laneKey{account, l}]; at != nil {
		return at.balance
	}
	return 0
}

// Funds returns what an operation may spend: its lane's money and what it claims,
// less its fee; 0 when they do not cover the fee.
func (s *State) Funds(op *Op) Amount {
	sum := s.Spendable(op.Account, op.Lane)
	for i := range op.Claims {
		sum += s.claimable(op.Account, &op.Claims[i])
	}
	rest, _ := sum.Sub(op.Fee)
	if op.Fee > sum {
		return 0
	}
	return rest
}

// claimable returns what a claim would take now.
func (s *State) claimable(account Account, c *Claim) Amount {
	box := s.inboxes[account]
	if box == nil {
		return 0
	}
	var sum Amount
	for _, g := range box.from[laneKey{c.From, c.Lane}] {
		if g.seq > c.Upto {
			break
		}
		sum += g.amount
	}
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
	box := s.inboxes[account]
	if box == nil {
		return nil
	}
	var out []Credit
	for from, gifts := range box.from { // order-free: sorted below
		for _, g := range gifts {
			out = append(out, Credit{From: from.account, Lane: from.lane, Seq: g.seq, Amount: g.amount})
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
	var sum Amount
	if box := s.inboxes[account]; box != nil {
		sum = box.total
	}
	for _, l := range s.owned[account] {
		sum += s.Spendable(account, l)
	}
	return sum
}

// EscrowOf returns the money that an operation set aside and that is still there.
func (s *State) EscrowOf(id OpID) Amount { return s.escrows[id] }

// PotOf returns the money that waits for the stakers of a class.
func (s *State) PotOf(class Class) Amount { return s.pots[class] }
