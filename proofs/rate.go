package proofs

import (
	"cmp"
	"math/big"
	"slices"

	"github.com/pinfi/pinfi/ledger"
)

// mulDiv returns the product of the numerators over that of the denominators,
// rounded down, or the largest uint64 when it does not fit. No denominator may be
// 0.
func mulDiv(numerators, denominators []uint64) uint64 {
	product := func(factors []uint64) *big.Int {
		x := big.NewInt(1)
		for _, f := range factors {
			x.Mul(x, new(big.Int).SetUint64(f))
		}
		return x
	}
	q := product(numerators)
	q.Quo(q, product(denominators))
	if !q.IsUint64() {
		return 1<<64 - 1
	}
	return q.Uint64()
}

// rateWindow is the number of storms whose rates count.
const rateWindow = 8

// A rate is what one passed storm proved.
type rate struct {
	storm ledger.Slot
	mCU   uint64
}

// addRate puts a rate among those of the latest storms, in order of storms. Which
// ones remain depends on the storms alone and not on the order in which their
// verdicts arrive, so replicas that apply verdicts in different orders agree.
func addRate(rates []rate, r rate) []rate {
	at, _ := slices.BinarySearchFunc(rates, r, func(a, b rate) int { return cmp.Compare(a.storm, b.storm) })
	rates = slices.Insert(rates, at, r)
	if len(rates) > rateWindow {
		rates = slices.Delete(rates, 0, 1)
	}
	return rates
}

// medianRate returns the median, the lower of the middle two of an even number: a
// device is never credited with more than half of its storms have shown. No rates
// count as 0.
func medianRate(rates []rate) uint64 {
	if len(rates) == 0 {
		return 0
	}
	values := make([]uint64, len(rates))
	for i, r := range rates {
		values[i] = r.mCU
	}
	slices.Sort(values)
	return values[(len(values)-1)/2]
}
