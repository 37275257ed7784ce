package ledger

import "fmt"

// A Supply says where all money is, in atoms.
type Supply struct {
	Lanes    Amount // in lanes, ready to spend
	Credits  Amount // made over, not yet claimed
	Escrowed Amount // set aside by open leases and hash locks
	Pots     Amount // waiting for stakers
	Bonded   Amount // bonds of witnesses and of providers
	Burned   Amount // out of circulation
	Total    Amount // all of these
}

// Supply returns where all money is, from running sums.
func (s *State) Supply() Supply { return supplyOf(&s.sums) }

// supplyOf names sums by bucket kind.
func supplyOf(sums *[bucketKinds]Amount) Supply {
	out := Supply{
		Lanes: sums[inLane], Credits: sums[inCredit], Escrowed: sums[inEscrow],
		Pots: sums[inPot], Bonded: sums[inBond] + sums[inProviderBond], Burned: sums[inBurned],
	}
	out.Total = out.Lanes + out.Credits + out.Escrowed + out.Pots + out.Bonded + out.Burned
	return out
}

// Conserved reports whether there is as much money as at genesis, by the running
// sums. It is cheap; Audit counts again.
func (s *State) Conserved() bool { return s.Supply().Total == s.total }

// Audit counts the money of every bucket and returns an error unless the counts
// are the running sums and add up to what there was at genesis.
func (s *State) Audit() error {
	var sums [bucketKinds]Amount
	for account, h := range s.holders { // order-free: sums
		sums[inLane] += h.zero.balance
		for _, l := range h.more {
			sums[inLane] += l.balance
		}
		var total Amount
		for _, src := range h.inbox.sources {
			_, sum := upto(src.gifts, ^uint64(0))
			total += sum
		}
		if total != h.inbox.total {
			return fmt.Errorf("audit: credits to %s are %s, sum says %s", account.Short(), total, h.inbox.total)
		}
		sums[inCredit] += total
	}
	for _, a := range s.escrows { // order-free: a sum
		sums[inEscrow] += a
	}
	for _, a := range s.pots { // order-free: a sum
		sums[inPot] += a
	}
	for _, a := range s.bonds { // order-free: a sum
		sums[inBond] += a
	}
	for _, bonds := range s.pledges { // order-free: a sum
		for _, a := range bonds { // order-free: a sum
			sums[inProviderBond] += a
		}
	}
	sums[inBurned] = s.sums[inBurned]
	if sums != s.sums {
		return fmt.Errorf("audit: counted %+v, sums say %+v", supplyOf(&sums), s.Supply())
	}
	if total := s.Supply().Total; total != s.total {
		return fmt.Errorf("audit: %s atoms, genesis made %s", total, s.total)
	}
	return nil
}
