package ledger

import (
	"errors"
	"fmt"

	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// A Genesis is the ledger's part of what all replicas of a network start from.
type Genesis struct {
	Name        string    // of the network, 1 to 64 bytes
	Start       int64     // beginning of slot 0, in Unix milliseconds
	SlotMillis  uint32    // length of a slot in milliseconds
	EpochMillis uint32    // length of an epoch in milliseconds, at least a slot
	MinFee      Amount    // least fee of the kinds that pay one, in atoms
	Alloc       []Alloc   // who starts with what, in lane 0
	Witnesses   []Witness // who votes, with stake bonded out of nothing
}

// An Alloc gives an account its first money.
type Alloc struct {
	Account Account
	Amount  Amount
}

// A Witness may vote. It is named by its place in Genesis.Witnesses.
type Witness struct {
	Account Account
	Stake   Amount
	VRF     p2p.VRFKey // verifies its beats
}

// MaxWitnesses is the most witnesses that vote, MaxAlloc the most accounts that a
// genesis can endow.
const (
	MaxWitnesses = 100
	MaxAlloc     = 60_000
)

const maxName = 64

// Validate returns all that is wrong with the genesis, joined, or nil.
func (g *Genesis) Validate() error {
	var errs []error
	if len(g.Name) == 0 || len(g.Name) > maxName {
		errs = append(errs, fmt.Errorf("genesis name of %d bytes: want 1 to %d", len(g.Name), maxName))
	}
	if g.Start < 0 {
		errs = append(errs, fmt.Errorf("genesis start %d ms: want 0 or later", g.Start))
	}
	if g.SlotMillis == 0 || g.EpochMillis < g.SlotMillis {
		errs = append(errs, fmt.Errorf("genesis slot of %d ms, epoch of %d ms: want 0 < slot <= epoch",
			g.SlotMillis, g.EpochMillis))
	}
	if n := len(g.Witnesses); n == 0 || n > MaxWitnesses {
		errs = append(errs, fmt.Errorf("genesis with %d witnesses: want 1 to %d", n, MaxWitnesses))
	}
	if n := len(g.Alloc); n > MaxAlloc {
		errs = append(errs, fmt.Errorf("genesis with %d allocations: at most %d", n, MaxAlloc))
	}
	return errors.Join(append(errs, g.validateMoney())...)
}

// validateMoney checks the accounts and amounts.
func (g *Genesis) validateMoney() error {
	var total Amount
	add := func(what string, account Account, a Amount, seen map[Account]bool) error {
		if account.IsZero() || seen[account] || a == 0 || a > MaxSupply {
			return fmt.Errorf("genesis %s of %s atoms to %s: want one positive amount an account",
				what, a, account.Short())
		}
		seen[account] = true
		total += a // both are at most MaxSupply: fits
		if total > MaxSupply {
			return fmt.Errorf("genesis %s to %s: more than %s atoms in all", what, account.Short(), MaxSupply)
		}
		return nil
	}
	seen := make(map[Account]bool, len(g.Alloc))
	for _, a := range g.Alloc {
		if err := add("allocation", a.Account, a.Amount, seen); err != nil {
			return err
		}
	}
	seen = make(map[Account]bool, len(g.Witnesses))
	for _, w := range g.Witnesses {
		if err := add("stake", w.Account, w.Stake, seen); err != nil {
			return err
		}
	}
	return nil
}

// AppendTo writes the canonical bytes, which the network's name is a digest of.
// The genesis must be valid.
func (g *Genesis) AppendTo(w *wire.Writer) {
	w.Text(g.Name)
	w.U64(uint64(g.Start))
	w.U32(g.SlotMillis)
	w.U32(g.EpochMillis)
	w.U64(uint64(g.MinFee))
	w.Count(len(g.Alloc))
	for _, a := range g.Alloc {
		w.Fixed(a.Account[:])
		w.U64(uint64(a.Amount))
	}
	w.Count(len(g.Witnesses))
	for _, x := range g.Witnesses {
		w.Fixed(x.Account[:])
		w.U64(uint64(x.Stake))
		w.Fixed(x.VRF[:])
	}
}

// Stake returns the stake of all witnesses.
func (g *Genesis) Stake() Amount {
	var total Amount
	for _, w := range g.Witnesses {
		total += w.Stake
	}
	return total
}

// WitnessOf returns the place of an account among the witnesses.
func (g *Genesis) WitnessOf(account Account) (uint16, bool) {
	for i, w := range g.Witnesses {
		if w.Account == account {
			return uint16(i), true
		}
	}
	return 0, false
}
