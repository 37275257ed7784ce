package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market/curve"
)

// curveFlags are the numbers from which anybody recomputes a price.
type curveFlags struct {
	p0, d0, d1, r, seconds, floor, reserve uint64
	alpha                                  string
	json                                   bool
}

// curveCommand computes prices from flags, with nothing but market/curve.
func curveCommand(env environment) *cobra.Command {
	cmd := &cobra.Command{Use: "curve", Short: "Compute prices from numbers, as every node does"}
	var f curveFlags
	cost := &cobra.Command{
		Use:   "cost",
		Short: "Price of a lease: what capacity from d0 to d1 costs for a time",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return f.cost(env.stdout) },
	}
	flags := cost.Flags()
	flags.Uint64Var(&f.p0, "p0", 0, "base price in atoms per CU-hour")
	flags.Uint64Var(&f.d0, "d0", 0, "demand before, in mCU")
	flags.Uint64Var(&f.d1, "d1", 0, "demand after, in mCU")
	flags.Uint64Var(&f.r, "r", 0, "capacity of the class, in mCU")
	flags.Uint64Var(&f.seconds, "seconds", 0, "time in seconds")
	flags.Uint64Var(&f.floor, "floor-demand", 0, "demand below which the price does not fall, in mCU")
	flags.Uint64Var(&f.reserve, "reserve", 0, "provider's least price, in atoms per CU-hour")
	flags.StringVar(&f.alpha, "alpha", "3/4", "steepness, in quarters: 1/4 to 16/4")
	flags.BoolVar(&f.json, "json", false, "print one JSON object")
	for _, name := range []string{"p0", "d1", "r", "seconds"} {
		if err := cost.MarkFlagRequired(name); err != nil {
			panic(err) // the flag is defined above
		}
	}
	cmd.AddCommand(cost)
	return cmd
}

func (f *curveFlags) cost(out io.Writer) error {
	quarters, err := parseAlpha(f.alpha)
	if err != nil {
		return exit(exitUsage, err)
	}
	p := curve.Params{
		P0: ledger.Amount(f.p0), Quarters: quarters, Capacity: f.r, Floor: f.floor, Reserve: ledger.Amount(f.reserve),
	}
	floor, charge, err := p.Cost(f.d0, f.d1, f.seconds)
	if err != nil {
		return exit(exitUsage, err)
	}
	if f.json {
		return json.NewEncoder(out).Encode(map[string]string{"charge": charge.String(), "floor": floor.String()})
	}
	_, err = fmt.Fprintf(out, "charge %v atoms (the exact price, rounded up; rounded down it is %v)\n", charge, floor)
	return err
}

// parseAlpha reads "3/4", "3/2" or "1" as a number of quarters.
func parseAlpha(s string) (uint8, error) {
	num, den, found := strings.Cut(s, "/")
	if !found {
		den = "1"
	}
	n, err1 := strconv.ParseUint(num, 10, 8)
	d, err2 := strconv.ParseUint(den, 10, 8)
	if err1 != nil || err2 != nil || d == 0 || 4*n%d != 0 || 4*n/d < 1 || 4*n/d > 16 {
		return 0, fmt.Errorf("--alpha %q: want a number of quarters from 1/4 to 16/4, such as 3/4", s)
	}
	return uint8(4 * n / d), nil
}
