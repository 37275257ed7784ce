package simulations

import (
	"strings"
	"testing"
	"time"

	"github.com/pinfi/pinfi/simulations/check"
	"github.com/pinfi/pinfi/simulations/weather"
)

// What a seed draws is valid and varied: one to three jobs of one to six tasks, up
// to two of them checked, all before the storm is over.
func TestOrdersAreValidAndVaried(t *testing.T) {
	jobs, tasks, checks := map[int]bool{}, map[uint32]bool{}, map[uint32]bool{}
	for seed := range uint64(200) {
		s := Storm{Seed: seed}.withDefaults()
		g := s.genesis()
		if err := g.Validate(); err != nil {
			t.Fatalf("seed %d: genesis: %v", seed, err)
		}
		orders := s.orders()
		jobs[len(orders)] = true
		for _, o := range orders {
			if err := o.job.Validate(&g.Market); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if o.at < 0 || o.at > s.Climate.Storm {
				t.Fatalf("seed %d: a job comes at %v", seed, o.at)
			}
			tasks[o.job.Tasks], checks[o.job.Check] = true, true
		}
	}
	if len(jobs) != 3 || len(tasks) != 6 || len(checks) != 3 {
		t.Errorf("200 seeds draw %d numbers of jobs, %d of tasks, %d of checks", len(jobs), len(tasks), len(checks))
	}
}

// A failing outcome names the seed, the trace and the command that repeats it.
func TestOutcomeSaysHowToRepeat(t *testing.T) {
	o := Outcome{Seed: 42, Trace: 0xbeef}
	o.Faults = []check.Violation{{Oracle: check.Supply, Node: 1, Text: "an atom too many"}}
	err := o.Err()
	if err == nil {
		t.Fatal("a violation is no error")
	}
	for _, want := range []string{"seed 42", "000000000000beef", "an atom too many", "-seed=42 -seeds=1"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
	if (&Outcome{Seed: 42}).Err() != nil {
		t.Error("no violation is an error")
	}
}

// A network without faults settles as soon as it may.
func TestCalmNetworkSettlesAtOnce(t *testing.T) {
	o, err := Storm{Seed: 7, Climate: weather.Climate{Storm: 10 * time.Second}, Length: 25 * time.Second}.Run()
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Err(); err != nil {
		t.Error(err)
	}
	if o.Settled > 27*time.Second || o.Leases == 0 || o.Passed == 0 {
		t.Errorf("settled at %v with %d leases and %d storms passed", o.Settled, o.Leases, o.Passed)
	}
}
