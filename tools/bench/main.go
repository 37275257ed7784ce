// Command bench measures the ledger's speed as ratios to L, the rate at which one
// core verifies signatures in batches, and beside go-ds-crdt. It holds no tests
// and gates nothing: it says what it measured, and how that stands to the targets.
//
// It is a module of its own, because what it compares with (go-ds-crdt, boxo) must
// not be among the modules of pinfi: ADR 0001 and its fence are about the main
// go.mod only. Run it from its folder:
//
//	go run . [-only memory,gossip] [-ops 131072] [-rounds 3] [-json]
//
// Every rate is per second of processor time of the whole process, so that what
// else the machine does counts little; the rate per second of wall time stands
// beside it. L is measured before and after each run of each figure, and the
// ratio is to the mean of the two.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/pprof"
	"slices"
	"strings"
)

// options are the flags.
type options struct {
	ops      int
	rounds   int
	accounts int
	puts     int
	only     string
	dir      string
	profile  string
	json     bool
}

func main() {
	var o options
	flag.IntVar(&o.ops, "ops", 1<<17, "operations of a run, rounded up to whole rounds of votes")
	flag.IntVar(&o.rounds, "rounds", 3, "runs of each figure")
	flag.IntVar(&o.accounts, "accounts", 1_000_000, "accounts under the state root, at least 4096 for each round")
	flag.IntVar(&o.puts, "puts", 40_000, "keys that go-ds-crdt replicates in batches; one by one a hundredth")
	flag.StringVar(&o.only, "only", "", "names of figures, with commas; those whose name begins so (default all)")
	flag.StringVar(&o.dir, "dir", "", "folder for stores, on the disk to measure (default the system's for temporary files)")
	flag.StringVar(&o.profile, "profile", "", "file for a CPU profile of the runs")
	flag.BoolVar(&o.json, "json", false, "print one JSON object instead of the table")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, &o, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures what the options ask for, tells progress as it goes, and prints
// the report.
func run(ctx context.Context, o *options, out, progress io.Writer) error {
	if o.ops < 1 || o.rounds < 1 || o.accounts < o.rounds*roundOps || o.puts < 100 {
		return fmt.Errorf("ops %d, rounds %d, accounts %d, puts %d: want at least 1, 1, %d a round, 100",
			o.ops, o.rounds, o.accounts, o.puts, roundOps)
	}
	dir, err := os.MkdirTemp(o.dir, "pinfi-bench-")
	if err != nil {
		return fmt.Errorf("make a folder for stores: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // nothing in it is wanted
	figures, err := chosen(newBench(o, dir).figures(), o.only)
	if err != nil {
		return err
	}
	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return fmt.Errorf("create the profile: %w", err)
		}
		defer func() { _ = f.Close() }() // a profile cut short shows when it is read
		if err := pprof.StartCPUProfile(f); err != nil {
			return fmt.Errorf("start the profile: %w", err)
		}
		defer pprof.StopCPUProfile()
	}
	r, err := measureAll(ctx, figures, o.rounds, progress)
	if err != nil {
		return err
	}
	if o.json {
		return r.writeJSON(out)
	}
	return r.writeTable(out)
}

// chosen returns the figures whose names begin with one of the words.
func chosen(all []figure, only string) ([]figure, error) {
	if only == "" {
		return all, nil
	}
	var out []figure
	for word := range strings.SplitSeq(only, ",") {
		before := len(out)
		for _, f := range all {
			if strings.HasPrefix(f.name, word) && !slices.ContainsFunc(out, func(g figure) bool { return g.name == f.name }) {
				out = append(out, f)
			}
		}
		if len(out) == before {
			names := make([]string, len(all))
			for i, f := range all {
				names[i] = f.name
			}
			return nil, fmt.Errorf("no figure %q beside those before it: there are %s", word, strings.Join(names, ", "))
		}
	}
	return out, nil
}
