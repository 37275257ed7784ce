package curve

import "github.com/pinfi/pinfi/ledger"

// Whole is 100 % in basis points.
const Whole = 10_000

// A Split says where a payment goes, in atoms.
type Split struct {
	Burn    ledger.Amount // destroyed: the dissipated part
	Serve   ledger.Amount // to the provider that served
	Stakers ledger.Amount // to all staked providers of the class
}

// SplitOf splits a total: Burn = ceil(total beta), Serve = floor(sigma of the
// rest), Stakers what remains, with beta and sigma in basis points (economics
// 2.5). The parts add up to the total, and none shrinks when the total grows, so
// that the split of a further payment is the difference of two splits of totals.
// More than 10 000 basis points count as 10 000.
func SplitOf(total ledger.Amount, betaBps, sigmaBps uint16) Split {
	burn := Share(total, betaBps)
	rest := total - burn
	serve, _ := ledger.MulDivFloor(rest, uint64(min(sigmaBps, Whole)), Whole) // fits: at most rest
	return Split{Burn: burn, Serve: serve, Stakers: rest - serve}
}

// Total returns the sum of the parts.
func (s Split) Total() ledger.Amount { return s.Burn + s.Serve + s.Stakers }

// Minus returns what each part grew by since an earlier split of a smaller total.
func (s Split) Minus(earlier Split) Split {
	return Split{
		Burn:    s.Burn - earlier.Burn,
		Serve:   s.Serve - earlier.Serve,
		Stakers: s.Stakers - earlier.Stakers,
	}
}

// Share returns bps basis points of a, rounded up in favour of the pool. More
// than 10 000 basis points count as 10 000.
func Share(a ledger.Amount, bps uint16) ledger.Amount {
	part, _ := ledger.MulDivCeil(a, uint64(min(bps, Whole)), Whole) // fits: at most a
	return part
}

// Due returns the part of the charge for a term that is due after used of its
// seconds: ceil(charge used / term), in favour of the provider. From the end of
// the term on it is the charge.
func Due(charge ledger.Amount, used, term uint64) ledger.Amount {
	if used >= term {
		return charge
	}
	due, _ := ledger.MulDivCeil(charge, used, term) // fits: at most charge
	return due
}
