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

	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
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
	var paid, proofs, halted, failed int
	var steps uint64
	var slowest Outcome
	for _, o := range heists(t, *heistFlag, count, func(seed uint64) Heist {
		h := Heist{Seed: seed, Grave: grave}
		if testing.Verbose() && count == 1 {
			h.Log = func(at time.Duration, node int, line string) { fmt.Printf("%12v %d %s\n", at, node, line) }
		}
		return h
	}) {
		paid, proofs, halted, steps = paid+o.Paid, proofs+o.Proofs, halted+o.Halted, steps+o.Steps
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
	t.Logf("%d seeds in %v: %d failed, %d machine steps, %d operations of honest owners, "+
		"%d proofs, %d double certificates, slowest seed %d at %v",
		count, time.Since(began).Round(time.Millisecond), failed, steps, paid, proofs, halted, slowest.Seed, slowest.Settled)
	if paid == 0 || proofs == 0 || grave && halted == 0 {
		t.Errorf("the heists are empty: %d operations, %d proofs, %d double certificates", paid, proofs, halted)
	}
}

// [SIM-20] With less than a third of hostile stake, whatever it does, nothing is spent twice, replicas agree on every
// place and in the end on everything, what honest owners signed is applied, what was ever applied stays, and nobody
// honest is accused.
func TestHeist(t *testing.T) { many(t, false) }

// [SIM-21] With 40 to 60 % of hostile stake replicas come to agree, money is conserved, and of two certificates for one
// place there is evidence against more than a third of the stake, all of it hostile.
func TestGraveHeist(t *testing.T) { many(t, true) }

// [SIM-22] A heist is a function of its seed.
func TestHeistRepeats(t *testing.T) {
	run := func(seed uint64) Heist { return Heist{Seed: seed, Grave: seed%2 == 0} }
	first, again := heists(t, 1, 6, run), heists(t, 1, 6, run)
	for i := range first {
		if first[i].Trace != again[i].Trace || i > 0 && first[i].Trace == first[i-1].Trace {
			t.Errorf("seed %d: traces %016x and %016x", first[i].Seed, first[i].Trace, again[i].Trace)
		}
	}
}

// [SIM-23] Oracles find a heist that succeeds: a gang with more than a third of the stake, witnesses that forget what
// they voted for, and nodes that take any signature.
func TestHeistIsFound(t *testing.T) {
	for _, c := range []struct {
		name   string
		oracle check.Oracle
		heist  Heist
	}{
		{"two certificates", check.Rivals, Heist{Grave: true, Strict: true}},
		{"two histories", check.Chains, Heist{
			Grave: true, Strict: true, Ignore: []check.Oracle{check.Rivals, check.Accused},
		}},
		{"forgotten frames", check.Memory, Heist{
			Flaw: world.Flaw{Forget: func(r machine.Record) bool { return r.Kind == machine.RecordFrame }},
		}},
		{"forged operations", check.Forged, Heist{
			Ignore: []check.Oracle{check.Accused, check.Memory, check.Rivals, check.Chains},
			Flaw:   world.Flaw{Verify: func(p2p.PeerID, p2p.Digest, p2p.Signature) bool { return true }},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var told []check.Oracle
			for first := uint64(1); first <= 60; first += 4 {
				for _, o := range heists(t, first, 4, func(seed uint64) Heist { c.heist.Seed = seed; return c.heist }) {
					for _, v := range o.Faults {
						if v.Oracle == c.oracle {
							t.Logf("seed %d: %v", o.Seed, v)
							return
						}
						told = append(told, v.Oracle)
					}
				}
			}
			t.Errorf("%v said nothing in 60 seeds; others: %v", c.oracle, told)
		})
	}
}
