package curve

import (
	"errors"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/pinfi/pinfi/ledger"
)

// anyParams draws a plain curve, at dust, usual and huge scale.
func anyParams(t *rapid.T) Params {
	scale := rapid.SampledFrom([]uint64{9, 1 << 20, 1 << 40}).Draw(t, "scale")
	return Params{
		P0:       ledger.Amount(rapid.Uint64Range(1, scale).Draw(t, "p0")),
		Quarters: rapid.Uint8Range(1, MaxQuarters).Draw(t, "quarters"),
		Capacity: rapid.Uint64Range(1, scale).Draw(t, "capacity"),
	}
}

// withKnee adds a demand floor, a reserve, or both.
func withKnee(t *rapid.T, p Params) Params {
	if rapid.Bool().Draw(t, "floored") {
		p.Floor = rapid.Uint64Range(0, p.Capacity).Draw(t, "floor")
	}
	if rapid.Bool().Draw(t, "reserved") {
		p.Reserve = ledger.Amount(rapid.Uint64Range(0, 2*uint64(p.P0)).Draw(t, "reserve"))
	}
	return p
}

func ceilOf(t interface{ Fatal(...any) }, p Params, d0, d1, s uint64) *big.Int {
	_, hi, err := p.Cost(d0, d1, s)
	if err != nil {
		t.Fatal(err)
	}
	return hi
}

// three draws d0 <= d1 <= d2 up to twice the capacity.
func three(t *rapid.T, p Params) (d0, d1, d2 uint64) {
	d2 = rapid.Uint64Range(0, 2*p.Capacity).Draw(t, "d2")
	d1 = rapid.Uint64Range(0, d2).Draw(t, "d1")
	return rapid.Uint64Range(0, d1).Draw(t, "d0"), d1, d2
}

func seconds(t *rapid.T) uint64 { return rapid.Uint64Range(1, 30*86400).Draw(t, "seconds") }

// [MKT-2] C-I1: buying in two parts never costs less than buying at once, and
// costs at most one atom more.
func TestSplitProof(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := withKnee(t, anyParams(t))
		d0, d1, d2 := three(t, p)
		s := seconds(t)
		parts := new(big.Int).Add(ceilOf(t, p, d0, d1, s), ceilOf(t, p, d1, d2, s))
		extra := parts.Sub(parts, ceilOf(t, p, d0, d2, s))
		if extra.Sign() < 0 || extra.Cmp(big.NewInt(1)) > 0 {
			t.Fatalf("%+v: %d, %d, %d for %d s: parts cost %v more", p, d0, d1, d2, s, extra)
		}
	})
}

// [MKT-3] C-I2: a charge lies between the units at the price before and at the
// price after; where a knee cuts it in two, its second rounding adds at most one.
func TestBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := withKnee(t, anyParams(t))
		d0, d1, _ := three(t, p)
		s := seconds(t)
		low, _, err := p.Price(d0)
		if err != nil {
			t.Fatal(err)
		}
		_, high, err := p.Price(d1)
		if err != nil {
			t.Fatal(err)
		}
		work := new(big.Int).Mul(natural(d1-d0), natural(s))
		low, _ = quotient(low.Mul(low, work), big.NewInt(UnitSeconds))
		_, high = quotient(high.Mul(high, work), big.NewInt(UnitSeconds))
		if _, knee := p.reserved(); d0 < knee && knee < d1 {
			high.Add(high, one())
		}
		if got := ceilOf(t, p, d0, d1, s); got.Cmp(low) < 0 || got.Cmp(high) > 0 {
			t.Fatalf("%+v: %d to %d for %d s costs %v, want %v to %v", p, d0, d1, s, got, low, high)
		}
	})
}

// [MKT-4] C-I3: a charge does not fall when the base price, the units, the term or
// the demand grow, nor when the capacity shrinks. A knee can take back one atom,
// its second rounding.
func TestMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plain := anyParams(t)
		p := withKnee(t, plain)
		d0, d1, d2 := three(t, p)
		s := seconds(t)
		base := ceilOf(t, p, d0, d1, s)
		slack := int64(1)
		if p == plain {
			slack = 0
		}
		least := func(what string, slack int64, dearer *big.Int) {
			if new(big.Int).Add(dearer, big.NewInt(slack)).Cmp(base) < 0 {
				t.Fatalf("%+v: %d to %d for %d s costs %v, and with more %s %v", p, d0, d1, s, base, what, dearer)
			}
		}
		least("units", 0, ceilOf(t, p, d0, d2, s))
		least("seconds", 0, ceilOf(t, p, d0, d1, s+1))
		least("demand", slack, ceilOf(t, p, d0+(d2-d1), d2, s))
		dear := p
		dear.P0 += ledger.Amount(rapid.Uint64Range(1, uint64(p.P0)).Draw(t, "more p0"))
		least("base price", slack, ceilOf(t, dear, d0, d1, s))
		scarce := p
		scarce.Capacity = rapid.Uint64Range(1, p.Capacity).Draw(t, "less capacity")
		least("scarcity", slack, ceilOf(t, scarce, d0, d1, s))
	})
}

// [MKT-5] C-I4: no service is free, and a floor and a ceil differ by at most one
// atom for each of at most two parts.
func TestNeverFree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := withKnee(t, anyParams(t))
		d0, d1, _ := three(t, p)
		s := seconds(t)
		lo, hi, err := p.Cost(d0, d1, s)
		if err != nil {
			t.Fatal(err)
		}
		if d1 > d0 && hi.Sign() == 0 {
			t.Fatalf("%+v: %d to %d for %d s is free", p, d0, d1, s)
		}
		if gap := new(big.Int).Sub(hi, lo); gap.Sign() < 0 || gap.Cmp(big.NewInt(2)) > 0 {
			t.Fatalf("%+v: %d to %d: floor %v, ceil %v", p, d0, d1, lo, hi)
		}
	})
}

// [MKT-6] A reserve price is flat up to its knee, the least whole demand at which
// the curve reaches it, and gone from there on.
func TestReserve(t *testing.T) {
	p := Params{P0: 2_000_000_000, Quarters: 4, Capacity: 1000, Floor: 100, Reserve: 1_000_000_000}
	tests := []struct {
		name       string
		d0, d1     uint64
		floor, top int64
	}{
		{"below the knee", 0, 100, 100_000_000, 100_000_000},
		{"to the knee", 400, 500, 100_000_000, 100_000_000},
		{"over the knee", 400, 600, 210_000_000, 210_000_000},
		{"above the knee", 500, 600, 110_000_000, 110_000_000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			lo, hi, err := p.Cost(tt.d0, tt.d1, 3600)
			if err != nil || lo.Int64() != tt.floor || hi.Int64() != tt.top {
				t.Errorf("got %v, %v, %v, want %d, %d", lo, hi, err, tt.floor, tt.top)
			}
		})
	}
	if _, hi, err := p.Price(0); err != nil || hi.Int64() != 1_000_000_000 {
		t.Errorf("price at 0: got %v, %v, want the reserve", hi, err)
	}
	for _, p.Reserve = range []ledger.Amount{100_000_000, 200_000_000} { // at most the price at the floor: binds nowhere
		if lo, _, err := p.Cost(0, 100, 3600); err != nil || lo.Int64() != 20_000_000 {
			t.Errorf("a reserve of %v: got %v, %v", p.Reserve, lo, err)
		}
	}
}

// [MKT-6] The knee is the least demand whose price reaches the reserve.
func TestKneeIsLeast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := anyParams(t)
		p.Reserve = ledger.Amount(rapid.Uint64Range(1, 4*uint64(p.P0)).Draw(t, "reserve"))
		plain := p
		plain.Reserve = 0
		_, knee := p.reserved()
		if knee == ^uint64(0) {
			t.Skip("the curve never reaches the reserve")
		}
		least := pow(amount(p.Reserve), 4)
		least.Mul(least, pow(natural(p.Capacity), p.Quarters))
		if plain.power(knee).Cmp(least) < 0 {
			t.Fatalf("%+v: the price at the knee %d is below the reserve", p, knee)
		}
		if plain.power(knee-1).Cmp(least) >= 0 {
			t.Fatalf("%+v: the price below the knee %d reaches the reserve", p, knee)
		}
	})
}

// [MKT-7] Bad parameters are errors, whatever they are.
func TestErrors(t *testing.T) {
	good := Params{P0: 1000, Quarters: 3, Capacity: 1000}
	with := func(change func(*Params)) Params {
		p := good
		change(&p)
		return p
	}
	tests := []struct {
		name    string
		p       Params
		d0, d1  uint64
		seconds uint64
		want    error
	}{
		{"good", good, 0, 1000, 3600, nil},
		{"no base price", with(func(p *Params) { p.P0 = 0 }), 0, 1, 1, ErrParams},
		{"no alpha", with(func(p *Params) { p.Quarters = 0 }), 0, 1, 1, ErrParams},
		{"steep alpha", with(func(p *Params) { p.Quarters = 17 }), 0, 1, 1, ErrParams},
		{"no capacity", with(func(p *Params) { p.Capacity = 0 }), 0, 1, 1, ErrParams},
		{"backwards", good, 2, 1, 1, ErrRange},
		{"too dear", with(func(p *Params) { p.P0 = ledger.MaxSupply }), 0, 1 << 40, 1 << 40, ErrOverflow},
		{"huge", Params{^ledger.Amount(0), 16, 1, 1 << 63, ^ledger.Amount(0)}, 0, ^uint64(0), ^uint64(0), ErrOverflow},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := tt.p.Charge(tt.d0, tt.d1, tt.seconds); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if _, _, err := tt.p.Price(tt.d0); errors.Is(tt.want, ErrParams) && !errors.Is(err, ErrParams) {
				t.Errorf("price: got %v, want %v", err, tt.want)
			}
		})
	}
}

// [MKT-8] Splits of cumulative totals add up, and no part ever shrinks.
func TestSplitGrows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.SampledFrom([]uint64{9, uint64(ledger.MaxSupply)}).Draw(t, "scale")
		total := ledger.Amount(rapid.Uint64Range(0, most).Draw(t, "total"))
		before := ledger.Amount(rapid.Uint64Range(0, uint64(total)).Draw(t, "before"))
		beta := rapid.Uint16().Draw(t, "beta")
		sigma := rapid.Uint16().Draw(t, "sigma")
		a, b := SplitOf(before, beta, sigma), SplitOf(total, beta, sigma)
		if b.Total() != total {
			t.Fatalf("split of %d adds up to %d", total, b.Total())
		}
		if d := b.Minus(a); d.Burn > total || d.Serve > total || d.Stakers > total {
			t.Fatalf("a part shrank from %+v to %+v", a, b)
		}
	})
}

// [MKT-8] What is due grows with use, is never free, and ends at the charge.
func TestDue(t *testing.T) {
	tests := []struct {
		charge     ledger.Amount
		used, term uint64
		want       ledger.Amount
	}{
		{100, 0, 60, 0},
		{100, 1, 60, 2},
		{100, 30, 60, 50},
		{100, 60, 60, 100},
		{100, 61, 60, 100},
		{1, 1, 86400, 1},
		{ledger.MaxSupply, 1<<63 - 1, 1 << 63, ledger.MaxSupply},
		{5, 0, 0, 5},
	}
	for _, tt := range tests {
		if got := Due(tt.charge, tt.used, tt.term); got != tt.want {
			t.Errorf("due of %d after %d of %d s: got %d, want %d", tt.charge, tt.used, tt.term, got, tt.want)
		}
	}
}

// FuzzCharge looks for arguments that panic or break the split rule.
func FuzzCharge(f *testing.F) {
	f.Add(uint64(2_000_000_000), uint8(3), uint64(1000), uint64(50), uint64(0),
		uint64(0), uint64(500), uint64(1000), uint64(3600))
	f.Add(uint64(1), uint8(16), uint64(1), uint64(0), uint64(9), uint64(0), uint64(1), uint64(2), uint64(1))
	f.Add(^uint64(0), uint8(16), ^uint64(0), ^uint64(0), ^uint64(0), uint64(0), uint64(1), ^uint64(0), ^uint64(0))
	f.Add(uint64(7), uint8(2), uint64(7), uint64(0), uint64(0), uint64(0), uint64(2), uint64(3), uint64(3600000))
	f.Fuzz(func(t *testing.T, p0 uint64, q uint8, r, dm, reserve, d0, d1, d2, s uint64) {
		p := Params{ledger.Amount(p0), q, r, dm, ledger.Amount(reserve)}
		_, a, err1 := p.Cost(d0, d1, s)
		_, b, err2 := p.Cost(d1, d2, s)
		_, c, err3 := p.Cost(d0, d2, s)
		if err1 != nil || err2 != nil || err3 != nil {
			return
		}
		extra := a.Sub(a.Add(a, b), c)
		if extra.Sign() < 0 || extra.Cmp(big.NewInt(1)) > 0 {
			t.Fatalf("%+v: %d, %d, %d for %d s: parts cost %v more", p, d0, d1, d2, s, extra)
		}
	})
}

func BenchmarkCharge(b *testing.B) {
	tests := []struct {
		name   string
		p      Params
		d0, d1 uint64
	}{
		{"small", Params{P0: 2_000_000_000, Quarters: 3, Capacity: 64_000, Floor: 3_200}, 1000, 5000},
		{"large", Params{P0: 2_500_000_000, Quarters: 6, Capacity: 400_000_000}, 123_456_789, 123_556_789},
		{
			"reserve",
			Params{P0: 2_000_000_000, Quarters: 3, Capacity: 64_000, Floor: 3_200, Reserve: 1_000_000_000},
			20_000, 40_000,
		},
		{"steep", Params{P0: 2_500_000_000, Quarters: 16, Capacity: 400_000_000_000}, 123_456_789_012, 123_556_789_012},
	}
	for _, tt := range tests {
		b.Run(tt.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := tt.p.Charge(tt.d0, tt.d1, 3600); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
