package world_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pinfi/pinfi/simulations"
)

var (
	seedsFlag = flag.Int("seeds", 500, "how many seeds TestSeeds runs")
	seedFlag  = flag.Uint64("seed", 1, "the first of them; with -seeds=1 and -v every step is printed")
)

// Worlds are small and short-lived: with rarer garbage collections a run takes a
// fifth less time.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}

// each runs storms on all cores and hands their outcomes over in the order of the
// seeds.
func each(t testing.TB, first uint64, count int, storm func(seed uint64) simulations.Storm) []simulations.Outcome {
	t.Helper()
	outcomes, errs := make([]simulations.Outcome, count), make([]error, count)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), count) {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < int64(count); i = next.Add(1) - 1 {
				outcomes[i], errs[i] = storm(first + uint64(i)).Run()
			}
		})
	}
	workers.Wait()
	for i, err := range errs {
		if err != nil {
			t.Fatalf("seed %d: %v\nrepeat: %s", first+uint64(i), err, simulations.Repeat(first+uint64(i)))
		}
	}
	return outcomes
}

// [SIM-6] At every look during the storm the books balance, replicas agree on what
// they have applied, no place holds two certified operations, nobody signs two
// things for one place, no lease is paid twice or beyond what its client promised.
// [SIM-7] After the storm every job ends well with the outputs that its tasks
// write, every lease is closed, nothing stays in escrow and all roots are equal.
// [SIM-15] Whoever delivered an output is paid.
func TestSeeds(t *testing.T) {
	count := *seedsFlag
	if testing.Short() {
		count = min(count, 50)
	}
	began := time.Now()
	outcomes := each(t, *seedFlag, count, func(seed uint64) simulations.Storm {
		s := simulations.Storm{Seed: seed}
		if testing.Verbose() && count == 1 {
			s.Log = func(at time.Duration, node int, line string) { fmt.Printf("%12v %d %s\n", at, node, line) }
		}
		return s
	})
	var steps, leases, passed, slowest, failed int
	for _, o := range outcomes {
		steps, leases, passed = steps+int(o.Steps), leases+o.Leases, passed+o.Passed
		if o.Settled > outcomes[slowest].Settled {
			slowest = int(o.Seed - *seedFlag)
		}
		if err := o.Err(); err != nil {
			if failed++; failed <= 5 {
				t.Error(err)
			}
			for _, v := range o.Faults[1:min(len(o.Faults), 8)] {
				t.Logf("  and %v", v)
			}
		}
	}
	t.Logf("%d seeds in %v: %d failed, %d machine steps, %d leases, %d storms passed, slowest seed %d settled at %v",
		count, time.Since(began).Round(time.Millisecond), failed, steps, leases, passed,
		outcomes[slowest].Seed, outcomes[slowest].Settled)
	if leases == 0 || passed == 0 {
		t.Errorf("the storms are empty: %d leases, %d storms passed", leases, passed)
	}
}

// traces runs a few seeds and returns their traces, one a line.
func traces(t *testing.T) string {
	t.Helper()
	var lines strings.Builder
	for _, o := range each(t, 1000, 6, func(seed uint64) simulations.Storm { return simulations.Storm{Seed: seed} }) {
		fmt.Fprintf(&lines, "trace %d %016x %d\n", o.Seed, o.Trace, o.Steps)
	}
	return lines.String()
}

// tracesEnv, when set, makes TestSameSeedSameTrace print its traces and stop.
const tracesEnv = "PINFI_TEST_TRACES"

// [SIM-1] The same seed gives the same trace: twice in one process, and in another
// process with another number of processors.
func TestSameSeedSameTrace(t *testing.T) {
	first := traces(t)
	if os.Getenv(tracesEnv) != "" {
		fmt.Print(first)
		return
	}
	if again := traces(t); again != first {
		t.Errorf("second run in this process:\n%s\nfirst:\n%s", again, first)
	}
	for _, procs := range []string{"1", "3"} {
		other := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSameSeedSameTrace$", "-test.count=1")
		other.Env = append(os.Environ(), tracesEnv+"=1", "GOMAXPROCS="+procs)
		out, err := other.CombinedOutput()
		if err != nil {
			t.Fatalf("other process: %v\n%s", err, out)
		}
		lines := slices.DeleteFunc(strings.SplitAfter(string(out), "\n"), func(l string) bool {
			return !strings.HasPrefix(l, "trace ")
		})
		if got := strings.Join(lines, ""); got != first {
			t.Errorf("another process with GOMAXPROCS=%s:\n%s\nhere:\n%s", procs, got, first)
		}
	}
}

// [SIM-2] Another seed gives another trace.
func TestOtherSeedOtherTrace(t *testing.T) {
	seen := map[uint64]uint64{}
	for _, o := range each(t, 1, 8, func(seed uint64) simulations.Storm { return simulations.Storm{Seed: seed} }) {
		if other, ok := seen[o.Trace]; ok {
			t.Errorf("seeds %d and %d have one trace", other, o.Seed)
		}
		seen[o.Trace] = o.Seed
	}
}

// BenchmarkStep runs storms and reports machine steps and queue events per second
// of one core.
func BenchmarkStep(b *testing.B) {
	var steps, events uint64
	began := time.Now()
	for i := 0; b.Loop(); i++ {
		o, err := simulations.Storm{Seed: uint64(i%16) + 1}.Run()
		if err != nil {
			b.Fatal(err)
		}
		steps, events = steps+o.Steps, events+o.Events
	}
	seconds := time.Since(began).Seconds()
	b.ReportMetric(float64(steps)/seconds, "steps/s")
	b.ReportMetric(float64(events)/seconds, "events/s")
}
