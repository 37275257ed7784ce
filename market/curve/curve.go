// Package curve computes the price of computing power by the dissipative pool:
// P = P0 (D/R)^alpha, where D is the demand in a class, R its capacity and alpha
// a number of quarters. It is exact: every result is the true real number rounded
// once, up or down as its name says, whatever the size of its arguments.
//
// It is not a market: it knows no leases and no time. The calls you need are
// Params.Charge, what a client pays for some units, and SplitOf, where the money
// goes. The invariant: buying in pieces is never cheaper than buying at once, and
// dearer by at most one atom for each cut.
package curve

import (
	"errors"
	"fmt"
	"math/big"

	"github.com/pinfi/pinfi/ledger"
)

// UnitSeconds is the work in one CU-hour: 1 000 mCU for 3 600 seconds.
const UnitSeconds = 3_600_000

// MaxQuarters is the largest alpha, in quarters.
const MaxQuarters = 16

// The ways in which a question has no answer. Errors of this package wrap one of
// them.
var (
	ErrParams   = errors.New("bad curve parameters")
	ErrRange    = errors.New("demand after is below demand before")
	ErrOverflow = errors.New("charge does not fit an amount")
)

// Params is one curve: that of a class, as one provider sells on it.
type Params struct {
	P0       ledger.Amount // price at D = R, in atoms per CU-hour, at least 1
	Quarters uint8         // alpha in quarters, from 1 to MaxQuarters
	Capacity uint64        // R, in mCU, at least 1
	Floor    uint64        // demand below which the price does not fall further, in mCU
	Reserve  ledger.Amount // least price the provider takes, in atoms per CU-hour; 0: none
}

// Validate reports what is wrong with the parameters; the error wraps ErrParams.
func (p Params) Validate() error {
	switch {
	case p.P0 == 0:
		return fmt.Errorf("%w: base price 0, want at least 1 atom per CU-hour", ErrParams)
	case p.Quarters == 0 || p.Quarters > MaxQuarters:
		return fmt.Errorf("%w: alpha of %d quarters, want 1 to %d", ErrParams, p.Quarters, MaxQuarters)
	case p.Capacity == 0:
		return fmt.Errorf("%w: capacity 0, want at least 1 mCU", ErrParams)
	}
	return nil
}

// Price returns the price at demand d in atoms per CU-hour, rounded down and up:
// P0 (max(d, Floor)/Capacity)^alpha, and not below Reserve (economics 2.2). The
// two are equal when the price is a whole number of atoms. A client is shown the
// upper one.
func (p Params) Price(d uint64) (floor, ceil *big.Int, err error) {
	if err := p.Validate(); err != nil {
		return nil, nil, err
	}
	if reserved, knee := p.reserved(); reserved && d < knee {
		r := amount(p.Reserve)
		return r, new(big.Int).Set(r), nil
	}
	den := pow(natural(p.Capacity), p.Quarters)
	floor, ceil = fraction(p.power(max(d, p.Floor)), den)
	return floor, ceil, nil
}

// Cost returns the price of raising demand from d0 to d1 for some seconds, in
// atoms: the integral of the price over the units taken, times the term. Both
// numbers are sums of at most two parts, a flat one below the knee and one on the
// curve, each rounded once: down in floor, up in ceil (economics 2.3). Without a
// floor or a reserve in the way floor and ceil differ by at most one atom.
func (p Params) Cost(d0, d1, seconds uint64) (floor, ceil *big.Int, err error) {
	if err := p.Validate(); err != nil {
		return nil, nil, err
	}
	if d1 < d0 {
		return nil, nil, fmt.Errorf("cost from %d to %d mCU: %w", d0, d1, ErrRange)
	}
	floor, ceil = new(big.Int), new(big.Int)
	if d1 == d0 || seconds == 0 {
		return floor, ceil, nil
	}
	reserved, knee := p.reserved()
	if d0 < knee {
		lo, hi := p.flat(min(d1, knee)-d0, seconds, reserved)
		floor.Add(floor, lo)
		ceil.Add(ceil, hi)
	}
	if d1 > knee {
		lo, hi := p.integral(max(d0, knee), d1, seconds)
		floor.Add(floor, lo)
		ceil.Add(ceil, hi)
	}
	return floor, ceil, nil
}

// Charge returns what a client pays for raising demand from d0 to d1 for some
// seconds, in atoms: the ceil of Cost, in favour of the pool, so that it is at
// least 1 for any service. The error wraps ErrParams, ErrRange or, when the charge
// exceeds what an Amount may hold, ErrOverflow.
func (p Params) Charge(d0, d1, seconds uint64) (ledger.Amount, error) {
	_, ceil, err := p.Cost(d0, d1, seconds)
	if err != nil {
		return 0, err
	}
	if !ceil.IsUint64() || ledger.Amount(ceil.Uint64()) > ledger.MaxSupply {
		return 0, fmt.Errorf("charge of %d mCU for %d s: %w", d1-d0, seconds, ErrOverflow)
	}
	return ledger.Amount(ceil.Uint64()), nil
}

// reserved reports whether the reserve price is above the price at the floor, and
// the knee: the demand from which the curve holds. Below it the price is flat, at
// the reserve or at the price of the floor. The knee of a reserve is the least
// whole number of mCU at which P >= Reserve. It is rounded up: in the one mCU
// that the true knee cuts, the provider sells at its reserve. A curve that never
// reaches the reserve within 64 bits has its knee at their end.
func (p Params) reserved() (reserved bool, knee uint64) {
	if p.Reserve == 0 {
		return false, p.Floor
	}
	// P(x) >= Reserve  <=>  x^q >= Reserve^4 R^q / P0^4, and x^q is whole.
	least := pow(amount(p.Reserve), 4)
	least.Mul(least, pow(natural(p.Capacity), p.Quarters))
	_, least = quotient(least, pow(amount(p.P0), 4))
	at := rootUp(least, p.Quarters)
	if !at.IsUint64() {
		return true, ^uint64(0)
	}
	if at.Uint64() <= p.Floor {
		return false, p.Floor
	}
	return true, at.Uint64()
}

// rootUp returns the least x with x^q >= n, for n > 0. Newton's method falls from
// a power of two above the root to the floor of the root.
func rootUp(n *big.Int, q uint8) *big.Int {
	degree := big.NewInt(int64(q))
	before := big.NewInt(int64(q) - 1)
	x := new(big.Int).Lsh(one(), uint(n.BitLen()+int(q)-1)/uint(q))
	for {
		y := new(big.Int).Div(n, pow(x, q-1))
		y.Add(y, new(big.Int).Mul(x, before))
		y.Div(y, degree)
		if y.Cmp(x) >= 0 {
			break
		}
		x = y
	}
	if pow(x, q).Cmp(n) < 0 {
		x.Add(x, one())
	}
	return x
}

// power returns P0^4 x^q: the fourth power of the price at x, times R^q.
func (p Params) power(x uint64) *big.Int {
	n := pow(amount(p.P0), 4)
	return n.Mul(n, pow(natural(x), p.Quarters))
}

// flat returns the cost of some units at the flat price, rounded down and up: the
// reserve, or P0 (Floor/Capacity)^alpha taken into the fourth power, so that the
// root is the only rounding.
func (p Params) flat(units, seconds uint64, reserved bool) (floor, ceil *big.Int) {
	work := new(big.Int).Mul(natural(units), natural(seconds))
	if reserved {
		return quotient(work.Mul(work, amount(p.Reserve)), big.NewInt(UnitSeconds))
	}
	num := pow(work, 4)
	num.Mul(num, p.power(p.Floor))
	den := pow(big.NewInt(UnitSeconds), 4)
	den.Mul(den, pow(natural(p.Capacity), p.Quarters))
	return fraction(num, den)
}

// integral returns the cost along the curve, rounded down and up. With
// k = ceil(q/4) and N(X) = X^(q+4) R^(4k-q),
//
//	T = 4 P0 s / ((q+4) 3.6e6 R^k) (N(d1)^(1/4) - N(d0)^(1/4)).
//
// Two whole roots make T rational, and one division rounds it. Else T is
// irrational (fourth roots of integers are independent over the rationals unless
// one is a rational multiple of the other, and d1 > d0), so it is no whole number
// and bounds that are narrowed bit by bit come to agree on its floor (Ziv).
func (p Params) integral(d0, d1, seconds uint64) (floor, ceil *big.Int) {
	q := int64(p.Quarters)
	k := (p.Quarters + 3) / 4
	num := new(big.Int).Mul(amount(p.P0), natural(seconds))
	num.Lsh(num, 2)
	den := new(big.Int).Mul(big.NewInt((q+4)*UnitSeconds), pow(natural(p.Capacity), k))
	scale := pow(natural(p.Capacity), 4*k-p.Quarters)
	upper := new(big.Int).Mul(pow(natural(d1), p.Quarters+4), scale)
	lower := new(big.Int).Mul(pow(natural(d0), p.Quarters+4), scale)
	for bits := uint(64); ; bits += 64 {
		a, aw := root(upper, bits)
		b, bw := root(lower, bits)
		d := new(big.Int).Lsh(den, bits)
		if aw && bw {
			return quotient(num.Mul(num, a.Sub(a, b)), d)
		}
		if t, ok := between(num, d, a, b, aw, bw); ok {
			return t, new(big.Int).Add(t, one())
		}
	}
}

// between returns the floor of the irrational number num/den (A - B), where a and
// b are A and B rounded down and aw and bw tell that nothing was lost. It reports
// false when a and b are too coarse to tell.
func between(num, den, a, b *big.Int, aw, bw bool) (*big.Int, bool) {
	low, high := new(big.Int).Sub(a, b), new(big.Int).Sub(a, b)
	if !bw {
		low.Sub(low, one())
	}
	if !aw {
		high.Add(high, one())
	}
	low.Div(low.Mul(low, num), den)
	high.Mul(high, num)
	high.Sub(high, one()) // the bound is never reached: the largest whole number below it
	high.Div(high, den)
	return low, low.Cmp(high) == 0
}

// root returns the fourth root of n scaled by 2^bits, rounded down, and whether
// the fourth root of n is a whole number, in which case the result is exact.
func root(n *big.Int, bits uint) (r *big.Int, whole bool) {
	r = new(big.Int).Lsh(n, 4*bits)
	r.Sqrt(r.Sqrt(r))
	if r.Sign() == 0 {
		return r, true
	}
	if r.TrailingZeroBits() < bits {
		return r, false
	}
	return r, pow(new(big.Int).Rsh(r, bits), 4).Cmp(n) == 0
}

// fraction returns the fourth root of num/den, rounded down and up. The floor of
// the root of a floor is the floor of the root.
func fraction(num, den *big.Int) (floor, ceil *big.Int) {
	floor = new(big.Int).Div(num, den)
	floor.Sqrt(floor.Sqrt(floor))
	ceil = new(big.Int).Set(floor)
	if back := pow(floor, 4); back.Mul(back, den).Cmp(num) != 0 {
		ceil.Add(ceil, one())
	}
	return floor, ceil
}

// quotient returns num/den, rounded down and up.
func quotient(num, den *big.Int) (floor, ceil *big.Int) {
	floor, rest := new(big.Int).QuoRem(num, den, new(big.Int))
	ceil = new(big.Int).Set(floor)
	if rest.Sign() != 0 {
		ceil.Add(ceil, one())
	}
	return floor, ceil
}

func one() *big.Int                   { return big.NewInt(1) }
func natural(v uint64) *big.Int       { return new(big.Int).SetUint64(v) }
func amount(a ledger.Amount) *big.Int { return natural(uint64(a)) }

// pow returns x^n.
func pow(x *big.Int, n uint8) *big.Int {
	return new(big.Int).Exp(x, big.NewInt(int64(n)), nil)
}
