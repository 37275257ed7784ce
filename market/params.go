// Package market is the life of a deal: offers and bids, the book that keeps
// them, quotes, and the lease contract that holds a client's money while a
// provider works and pays it out second by second.
//
// It is not a network and not a clock: it is told what arrived and when, and
// market/curve does the arithmetic of prices. The calls you need are Rank and
// CheckQuote for a client, MakeQuote for a provider, and NewContract, which
// ledger.New takes. The invariant: any node that holds the ledger's state can
// recompute every charge, and what a lease pays, burns and returns adds up to its
// escrow.
package market

import (
	"errors"
	"fmt"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market/curve"
	"github.com/pinfi/pinfi/p2p/wire"
)

// Bounds of the market that no genesis changes.
const (
	MaxClasses    = 16                // classes of one network: each has a lane
	MaxRegion     = 16                // bytes in the name of a region
	MaxCapacity   = 1_000_000_000_000 // mCU of a class, an offer or a lease
	MaxTerm       = 86_400            // seconds of a lease: prices are locked for at most a day
	ProbationTerm = 3_600             // seconds of a lease on a device that is not admitted yet
	Admission     = 3                 // storms that a device must pass before its proven capacity counts
)

// Params are the rules of the market, the same on every node of a network.
type Params struct {
	Quarters uint8         // alpha, the steepness of prices, in quarters, from 1 to 6
	BetaBps  uint16        // part of each payment that is burned, in basis points, at most 4 000
	SigmaBps uint16        // part of the rest that goes to the serving provider, in basis points
	FloorPPM uint32        // demand below which prices do not fall further, in millionths of the capacity
	Window   uint32        // seconds: a lease that ends early burns the unused part of its window
	Classes  []ClassParams // at most MaxClasses, in the order of their lanes; names differ
}

// ClassParams are the figures of one class of device.
type ClassParams struct {
	Name      ledger.Class  // lower-case letters, digits, points and dashes
	P0        ledger.Amount // price at demand = capacity, in atoms per CU-hour, at least 1 000
	Demand    uint64        // demand in the class at the last checkpoint, in mCU
	Capacity  uint64        // capacity of the class at the last checkpoint, in mCU
	Probation uint64        // most that a device sells before its admission, in mCU
}

// minP0 is the least base price, in atoms per CU-hour. The controller cannot move
// a smaller one (economics 2.6).
const minP0 = 1_000

// Validate reports everything that is wrong with the parameters.
func (p *Params) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("market: "+format, args...))
		}
	}
	check(p.Quarters >= 1 && p.Quarters <= 6, "alpha of %d quarters, want 1 to 6", p.Quarters)
	check(p.BetaBps <= 4_000, "beta of %d basis points, want at most 4000", p.BetaBps)
	check(p.SigmaBps <= curve.Whole, "sigma of %d basis points, want at most 10000", p.SigmaBps)
	check(p.FloorPPM <= 1_000_000, "demand floor of %d millionths, want at most 1000000", p.FloorPPM)
	check(p.Window >= 1 && p.Window <= MaxTerm, "window of %d s, want 1 to %d", p.Window, MaxTerm)
	check(len(p.Classes) >= 1 && len(p.Classes) <= MaxClasses, "%d classes, want 1 to %d", len(p.Classes), MaxClasses)
	for i := range p.Classes {
		c := &p.Classes[i]
		at, _ := p.ClassIndex(c.Name)
		check(at == i, "class %q appears twice", c.Name)
		check(ValidClass(c.Name), "class name %q, want 1 to %d of a-z 0-9 . -", c.Name, ledger.MaxClass)
		check(c.P0 >= minP0 && c.P0 <= ledger.MaxSupply, "class %q: base price %d, want %d to %d",
			c.Name, c.P0, minP0, ledger.MaxSupply)
		check(c.Capacity >= 1 && c.Capacity <= MaxCapacity, "class %q: capacity %d mCU, want 1 to %d",
			c.Name, c.Capacity, uint64(MaxCapacity))
		check(c.Demand <= MaxCapacity, "class %q: demand %d mCU, want at most %d", c.Name, c.Demand, uint64(MaxCapacity))
		check(c.Probation <= MaxCapacity, "class %q: probation cap %d mCU, want at most %d",
			c.Name, c.Probation, uint64(MaxCapacity))
	}
	return errors.Join(errs...)
}

// AppendTo writes the canonical bytes of the parameters, from which, among other
// things, a network gets its name. It panics on parameters with more classes or
// longer names than Validate allows.
func (p *Params) AppendTo(w *wire.Writer) {
	w.U8(p.Quarters)
	w.U16(p.BetaBps)
	w.U16(p.SigmaBps)
	w.U32(p.FloorPPM)
	w.U32(p.Window)
	w.Count(len(p.Classes))
	for i := range p.Classes {
		c := &p.Classes[i]
		w.Text(string(c.Name))
		w.U64(uint64(c.P0))
		w.U64(c.Demand)
		w.U64(c.Capacity)
		w.U64(c.Probation)
	}
}

// ClassIndex returns the place of a class in Classes.
func (p *Params) ClassIndex(class ledger.Class) (int, bool) {
	for i := range p.Classes {
		if p.Classes[i].Name == class {
			return i, true
		}
	}
	return 0, false
}

// ClassNames returns the names of the classes in their order.
func (p *Params) ClassNames() []ledger.Class {
	names := make([]ledger.Class, len(p.Classes))
	for i := range p.Classes {
		names[i] = p.Classes[i].Name
	}
	return names
}

// LaneOf returns the lane on which a provider accepts and closes the leases of
// the class with the index: 1 for the first class. Lane 0 is for payments.
func LaneOf(index int) ledger.Lane { return ledger.Lane(index + 1) }

// Lane returns the lane of a class by its name.
func (p *Params) Lane(class ledger.Class) (ledger.Lane, bool) {
	i, ok := p.ClassIndex(class)
	return LaneOf(i), ok
}

// Curve returns the curve on which a provider with a reserve price sells a class:
// that of the whole class at the last checkpoint.
func (p *Params) Curve(class ledger.Class, reserve ledger.Amount) (curve.Params, bool) {
	i, ok := p.ClassIndex(class)
	if !ok {
		return curve.Params{}, false
	}
	c := &p.Classes[i]
	floor, _ := ledger.MulDivCeil(ledger.Amount(c.Capacity), uint64(p.FloorPPM), 1_000_000) // fits: Validate
	return curve.Params{
		P0: c.P0, Quarters: p.Quarters, Capacity: c.Capacity, Floor: uint64(floor), Reserve: reserve,
	}, true
}

// ValidClass reports whether a class has a name that a genesis may give it.
func ValidClass(c ledger.Class) bool { return len(c) <= ledger.MaxClass && validName(string(c)) }

// ValidRegion reports whether a region has a name that may stand on the wire and
// in a topic.
func ValidRegion(region string) bool { return len(region) <= MaxRegion && validName(region) }

// validName reports whether s is one or more of a-z, 0-9, point and dash.
func validName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' {
			return false
		}
	}
	return s != ""
}
