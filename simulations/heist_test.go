package simulations

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pinfi/pinfi/simulations/check"
	"github.com/pinfi/pinfi/simulations/world"
)

var (
	heistsFlag = flag.Int("heists", 150, "how many seeds TestHeist and TestGraveHeist run")
	heistFlag  = flag.Uint64("heist", 1, "the first of them; with -heists=1 and -v every step is printed")
)

// Worlds are small and short-lived: with rarer garbage collections a run takes a
// fifth less time.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}

// heists runs heists on all cores and hands their outcomes over in the order of the
// seeds.
func heists(t testing.TB, first uint64, count int, make func(seed uint64) Heist) []Outcome {
	t.Helper()
	outcomes, errs := newLists(count)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), count) {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < int64(count); i = next.Add(1) - 1 {
				outcomes[i], errs[i] = make(first + uint64(i)).Run()
			}
		})
	}
	workers.Wait()
	for i, err := range errs {
		if err != nil {
			h := make(first + uint64(i))
			t.Fatalf("seed %d: %v\nrepeat: %s", h.Seed, err, h.repeat())
		}
	}
	return outcomes
}

func newLists(count int) ([]Outcome, []error) { return make([]Outcome, count), make([]error, count) }

// many runs as many heists as the flags say, and fails when an oracle said no.
func many(t *testing.T, grave bool) {
	t.Helper()
	count := *heistsFlag
	if testing.Short() {
		count = min(count, 20)
	}
	began := time.Now()
	var paid, proofs, failed int
	var steps uint64
	var slowest Outcome
	for _, o := range heists(t, *heistFlag, count, func(seed uint64) Heist {
		h := Heist{Seed: seed, Grave: grave}
		if testing.Verbose() && count == 1 {
			h.Log = func(at time.Duration, node int, line string) { fmt.Printf("%12v %d %s\n", at, node, line) }
		}
		return h
	}) {
		paid, proofs, steps = paid+o.Paid, proofs+o.Proofs, steps+o.Steps
		if o.Settled > slowest.Settled {
			slowest = o
		}
		if err := o.Err(); err != nil {
			if failed++; failed <= 5 {
				t.Error(err)
				for _, v := range o.Faults[1:min(len(o.Faults), 6)] {
					t.Logf("  and %v", v)
				}
			}
		}
	}
	t.Logf("%d seeds in %v: %d failed, %d machine steps, %d operations of honest owners, %d proofs, slowest seed %d at %v",
		count, time.Since(began).Round(time.Millisecond), failed, steps, paid, proofs, slowest.Seed, slowest.Settled)
	if paid == 0 || proofs == 0 {
		t.Errorf("the heists are empty: %d operations, %d proofs", paid, proofs)
	}
}

func TestHeist(t *testing.T) { many(t, false) }

func TestGraveHeist(t *testing.T) { many(t, true) }

var _ = check.Kept
var _ world.Flaw
