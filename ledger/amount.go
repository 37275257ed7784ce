package ledger

import (
	"fmt"
	"math/bits"
	"strconv"
)

// An Amount is money in atoms, 10^-9 of a token.
type Amount uint64

// Token is one token in atoms.
const Token Amount = 1_000_000_000

// MaxSupply is the most atoms that can ever exist. Three times it fits a signed
// 64-bit integer, so no sum of balances overflows.
const MaxSupply = 21_000_000 * Token

// ParseAmount reads the decimal digits that String writes, in atoms.
func ParseAmount(s string) (Amount, error) {
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil || strconv.FormatUint(v, 10) != s {
		return 0, fmt.Errorf("amount %q: want decimal digits of atoms", s)
	}
	return Amount(v), nil
}

// String returns the atoms as decimal digits.
func (a Amount) String() string { return strconv.FormatUint(uint64(a), 10) }

// MarshalText writes the amount as String does, because a JSON number of 64 bits
// loses digits in many readers.
func (a Amount) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads the amount as ParseAmount does.
func (a *Amount) UnmarshalText(text []byte) error {
	parsed, err := ParseAmount(string(text))
	if err != nil {
		return err
	}
	*a = parsed
	return nil
}

// Add returns a + b, and false when the sum does not fit.
func (a Amount) Add(b Amount) (Amount, bool) {
	sum, carry := bits.Add64(uint64(a), uint64(b), 0)
	return Amount(sum), carry == 0
}

// Sub returns a - b, and false when b is the larger.
func (a Amount) Sub(b Amount) (Amount, bool) {
	diff, borrow := bits.Sub64(uint64(a), uint64(b), 0)
	return Amount(diff), borrow == 0
}

// MulDivFloor returns a * num / den rounded down, with a 128-bit product, and
// false when den is 0 or the quotient does not fit.
func MulDivFloor(a Amount, num, den uint64) (Amount, bool) {
	q, _, ok := mulDiv(a, num, den)
	return q, ok
}

// MulDivCeil returns a * num / den rounded up, with a 128-bit product, and false
// when den is 0 or the quotient does not fit.
func MulDivCeil(a Amount, num, den uint64) (Amount, bool) {
	q, rest, ok := mulDiv(a, num, den)
	if !ok || rest == 0 {
		return q, ok
	}
	return q.Add(1)
}

// mulDiv returns the quotient of a * num / den rounded down, and the remainder.
func mulDiv(a Amount, num, den uint64) (q Amount, rest uint64, ok bool) {
	hi, lo := bits.Mul64(uint64(a), num)
	if hi >= den {
		return 0, 0, false
	}
	quo, rest := bits.Div64(hi, lo, den)
	return Amount(quo), rest, true
}
