package curve

import (
	"encoding/json"
	"math/big"
	"os"
	"strconv"
	"testing"

	"github.com/pinfi/pinfi/ledger"
)

// A vector is one line of the published tables (economics 2.9).
type vector struct {
	ID          string
	P0          string
	D, R        uint64
	D0, D1, Dm  uint64
	Sec         uint64
	P           uint8
	Floor, Ceil string
}

func (v vector) params(t *testing.T) Params {
	t.Helper()
	p0, err := strconv.ParseUint(v.P0, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return Params{P0: ledger.Amount(p0), Quarters: v.P, Capacity: v.R, Floor: v.Dm}
}

func readJSON(t *testing.T, name string, into any) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatal(err)
	}
}

// [MKT-1] Prices and costs equal the published vectors bit for bit.
func TestVectors(t *testing.T) {
	var all struct{ Price, Cost, Floored []vector }
	readJSON(t, "testdata/curve_vectors.json", &all)
	if len(all.Price) != 15 || len(all.Cost) != 25 || len(all.Floored) != 6 {
		t.Fatalf("have %d + %d + %d vectors, want 15 + 25 + 6", len(all.Price), len(all.Cost), len(all.Floored))
	}
	want := func(v vector, lo, hi *big.Int, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", v.ID, err)
		}
		if lo.String() != v.Floor || hi.String() != v.Ceil {
			t.Errorf("%s: got %v, %v, want %s, %s", v.ID, lo, hi, v.Floor, v.Ceil)
		}
	}
	for _, v := range all.Price {
		lo, hi, err := v.params(t).Price(v.D)
		want(v, lo, hi, err)
	}
	for _, v := range append(all.Cost, all.Floored...) {
		lo, hi, err := v.params(t).Cost(v.D0, v.D1, v.Sec)
		want(v, lo, hi, err)
	}
}

// [MKT-1] The split of a payment equals the published vectors.
func TestSplitVectors(t *testing.T) {
	var all struct {
		Split []struct {
			T                    uint64
			BetaBps              uint16 `json:"beta_bps"`
			SigmaBps             uint16 `json:"sigma_bps"`
			Burn, Serve, Stakers ledger.Amount
		}
	}
	readJSON(t, "testdata/split_vectors.json", &all)
	if len(all.Split) != 8 {
		t.Fatalf("have %d vectors, want 8", len(all.Split))
	}
	for _, v := range all.Split {
		want := Split{Burn: v.Burn, Serve: v.Serve, Stakers: v.Stakers}
		if got := SplitOf(ledger.Amount(v.T), v.BetaBps, v.SigmaBps); got != want {
			t.Errorf("split of %d at %d, %d: got %+v, want %+v", v.T, v.BetaBps, v.SigmaBps, got, want)
		}
	}
}
