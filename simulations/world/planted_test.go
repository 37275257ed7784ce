package world_test

import (
	"slices"
	"testing"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
	"github.com/pinfi/pinfi/simulations"
	"github.com/pinfi/pinfi/simulations/check"
	"github.com/pinfi/pinfi/simulations/weather"
	"github.com/pinfi/pinfi/simulations/world"
)

// everyProvider gives all providers one flaw.
func everyProvider(f world.Flaw) map[int]world.Flaw {
	flaws := make(map[int]world.Flaw)
	for i := range simulations.Providers {
		flaws[i] = f
	}
	return flaws
}

// A planted bug, and the oracle that must find it.
type planted struct {
	name   string
	oracle check.Oracle
	seeds  int // within how many seeds
	storm  func(seed uint64) simulations.Storm
}

var plantedBugs = []planted{
	{"witnesses forget their frames in a crash", check.Memory, 100, func(seed uint64) simulations.Storm {
		return simulations.Storm{Seed: seed, Flaws: everyProvider(world.Flaw{
			Forget: func(r machine.Record) bool { return r.Kind == machine.RecordFrame },
		})}
	}},
	{"nodes forget their operations in a crash", check.Memory, 100, func(seed uint64) simulations.Storm {
		return simulations.Storm{Seed: seed, Climate: crashes(), Flaws: everyProvider(world.Flaw{
			Forget: func(r machine.Record) bool { return r.Kind == machine.RecordOp },
		})}
	}},
	{"effects start before the Save is durable", check.Memory, 100, func(seed uint64) simulations.Storm {
		return simulations.Storm{Seed: seed, Climate: crashes(), Flaws: everyProvider(world.Flaw{SaveLast: true})}
	}},
	{"witnesses that forget are accused", check.Accused, 100, func(seed uint64) simulations.Storm {
		return simulations.Storm{Seed: seed, Flaws: everyProvider(world.Flaw{
			Forget: func(r machine.Record) bool { return r.Kind == machine.RecordFrame },
		})}
	}},
	{"a node hears no frames after the storm", check.Agreement, 20, func(seed uint64) simulations.Storm {
		deaf := func(at time.Duration, ev machine.Event) bool {
			return at > 15*time.Second && carries(ev, wire.KindFrame, wire.KindItems)
		}
		return simulations.Storm{Seed: seed, Bound: 40 * time.Second, Flaws: map[int]world.Flaw{2: {Deaf: deaf}}}
	}},
	{"vouchers never arrive", check.Earned, 100, func(seed uint64) simulations.Storm {
		deaf := func(_ time.Duration, ev machine.Event) bool { return carries(ev, wire.KindPay) }
		return simulations.Storm{Seed: seed, Bound: 60 * time.Second, Flaws: everyProvider(world.Flaw{Deaf: deaf})}
	}},
	{"a provider's outputs are wrong", check.Outputs, 20, func(seed uint64) simulations.Storm {
		return simulations.Storm{Seed: seed, Bound: 40 * time.Second, Flaws: map[int]world.Flaw{1: {Spoil: true}}}
	}},
	{"nodes take any voucher, and a provider invents one", check.Promised, 20, func(seed uint64) simulations.Storm {
		flaws := everyProvider(world.Flaw{Verify: anything})
		flaws[1] = world.Flaw{Verify: anything, Twist: inventVouchers(seed, 1)}
		flaws[simulations.Client] = world.Flaw{Verify: anything}
		return simulations.Storm{Seed: seed, Flaws: flaws, Outlaw: []int{1}}
	}},
}

// crashes is a climate in which every node crashes again and again.
func crashes() weather.Climate {
	c := weather.Rough()
	c.Outages, c.Together, c.DownMax = 30, weather.Certain, time.Second
	return c
}

// losses is a climate in which up to two thirds of the messages are lost, half of
// the rest come late or twice, and the network is nearly always in parts.
func losses() weather.Climate {
	c := weather.Rough()
	c.DropMax, c.DuplicateMax, c.SlowMax, c.FaultMax = 660_000, 500_000, 500_000, 300_000
	c.Partitions, c.Outages = 12, 8
	return c
}

// [SIM-16] What holds in an ordinary storm holds in harsher ones.
func TestHarsherClimates(t *testing.T) {
	for name, climate := range map[string]weather.Climate{"crashes": crashes(), "losses": losses()} {
		t.Run(name, func(t *testing.T) {
			for _, o := range each(t, 1, 60, func(seed uint64) simulations.Storm {
				return simulations.Storm{Seed: seed, Climate: climate}
			}) {
				if len(o.Faults) > 0 {
					t.Errorf("seed %d: %v", o.Seed, o.Faults)
				}
			}
		})
	}
}

// anything accepts every signature.
func anything(p2p.PeerID, p2p.Digest, p2p.Signature) bool { return true }

// carries reports whether an event is a message of one of the kinds.
func carries(ev machine.Event, kinds ...wire.Kind) bool {
	var data []byte
	switch ev := ev.(type) {
	case machine.Gossiped:
		data = ev.Data
	case machine.Received:
		data = ev.Data
	default:
		return false
	}
	kind, _, err := wire.Open(data)
	return err == nil && slices.Contains(kinds, kind)
}

// inventVouchers rewrites the LeaseCloses that a provider publishes: they claim a
// minute that nobody promised. The provider signs them with its own key.
func inventVouchers(seed uint64, node int) func(time.Duration, []machine.Effect) []machine.Effect {
	sign := world.KeyOf(seed, node).Crypto().Sign
	return func(_ time.Duration, fx []machine.Effect) []machine.Effect {
		fx = slices.Clone(fx)
		for i, f := range fx {
			p, ok := f.(machine.Publish)
			if !ok || !carries(machine.Gossiped{Data: p.Data}, wire.KindOp) {
				continue
			}
			_, r, _ := wire.Open(p.Data)
			op, err := ledger.DecodeOp(r.Fixed(r.Rest()))
			if err != nil || op.Kind != ledger.KindLeaseClose {
				continue
			}
			body := slices.Clone(op.Body)
			body[len(ledger.OpID{})+7] = 60 // the last byte of Used
			op.Body = body
			op.Sig = sign(op.SigningDigest())
			p.Data = wire.Seal(wire.KindOp, func(w *wire.Writer) { w.Fixed(op.Encode()) })
			fx[i] = p
		}
		return fx
	}
}

// [SIM-8] Oracles find planted bugs: a lost Save, effects before their Save, a deaf
// node, lost pay, wrong outputs, invented vouchers that nobody refuses.
func TestPlantedBugIsFound(t *testing.T) {
	for _, bug := range plantedBugs {
		t.Run(bug.name, func(t *testing.T) {
			var told []check.Oracle
			for first := uint64(1); first <= uint64(bug.seeds); first += 4 {
				for _, o := range each(t, first, 4, bug.storm) {
					for _, v := range o.Faults {
						if v.Oracle == bug.oracle {
							t.Logf("seed %d: %v", o.Seed, v)
							return
						}
						told = append(told, v.Oracle)
					}
				}
			}
			t.Errorf("%v said nothing in %d seeds; others: %v", bug.oracle, bug.seeds, told)
		})
	}
}

// [SIM-9] A provider that invents a voucher is refused: nobody pays for a second
// that its client did not promise, and everybody else's jobs end well.
func TestInventedVoucherIsRefused(t *testing.T) {
	outcomes := each(t, 1, 12, func(seed uint64) simulations.Storm {
		return simulations.Storm{
			Seed: seed, Bound: 60 * time.Second, Outlaw: []int{1},
			Flaws: map[int]world.Flaw{1: {Twist: inventVouchers(seed, 1)}},
		}
	})
	for _, o := range outcomes {
		for _, v := range o.Faults {
			if v.Oracle < check.Finished {
				t.Errorf("seed %d: %v", o.Seed, v)
			}
		}
	}
}
