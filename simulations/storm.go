// Package simulations runs whole networks of real node machines in virtual time
// and says whether what must be true of them was.
//
// It is not the engine: world hosts the machines, weather makes the storms, check
// holds the oracles. The call you need is Storm.Run: one seed, one small network,
// faults first and calm afterwards. The invariant: an Outcome is a pure function of
// the Storm, on any machine and however many run at once.
package simulations

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/proofs"
	"github.com/pinfi/pinfi/simulations/check"
	"github.com/pinfi/pinfi/simulations/weather"
	"github.com/pinfi/pinfi/simulations/world"
)

// A Storm is one run: four providers, which are the witnesses too, and a client
// whose jobs come in the midst of faults. Every zero field means its default.
type Storm struct {
	Seed    uint64
	Climate weather.Climate // weather.Rough()
	Length  time.Duration   // at least so long does a run take; 30 s
	Bound   time.Duration   // when a run that has not settled is given up; 120 s
	Flaws   map[int]world.Flaw
	Outlaw  []int          // nodes of whom the oracles expect nothing
	Ignore  []check.Oracle // oracles that are not listened to
	Log     func(at time.Duration, node int, line string)
}

// Providers is the number of providers of a Storm. Client is the index of the node
// that comes after them.
const (
	Providers = 4
	Client    = Providers
)

// An Outcome tells how a run went.
type Outcome struct {
	Seed    uint64
	Trace   uint64        // digest of all that happened
	Settled time.Duration // virtual time at which nothing was left to do
	Steps   uint64        // machine steps
	Events  uint64        // items of the queue
	Jobs    int
	Leases  int               // leases that were opened
	Passed  int               // storms that a device passed, as the client saw it
	Paid    int               // operations that honest owners of a Heist signed
	Proofs  int               // evidence that a node of a Heist holds in the end
	Halted  int               // places with two certificates, of a Heist
	Faults  []check.Violation // what oracles said; nil: all is well

	repeat string // the command that repeats the run
}

// Err returns what went wrong, with the command that repeats the run, or nil.
func (o *Outcome) Err() error {
	if len(o.Faults) == 0 {
		return nil
	}
	return fmt.Errorf("seed %d, trace %016x: %d violations, the first: %v\nrepeat: %s",
		o.Seed, o.Trace, len(o.Faults), o.Faults[0], cmp.Or(o.repeat, Repeat(o.Seed)))
}

// Repeat returns the command that runs one seed again and prints every step.
func Repeat(seed uint64) string {
	return fmt.Sprintf("go test ./simulations/world -run TestSeeds -count=1 -v -args -seed=%d -seeds=1", seed)
}

const (
	watchEvery = 250 * time.Millisecond // between two looks of the oracles
	pollEvery  = 50 * time.Millisecond  // the same, while the end is awaited
)

// Run runs the storm to its end. The error is of the run itself; what oracles say
// stands in the Outcome.
func (s Storm) Run() (Outcome, error) {
	s = s.withDefaults()
	g := s.genesis()
	orders := s.orders()
	oracles := s.oracles(g, orders)
	w, err := world.New(world.Config{
		Seed: s.Seed, Genesis: g, Weather: weather.New(s.Seed, Providers+1, s.Climate),
		Nodes: s.nodes(), Log: s.Log, Watch: oracles.Watch,
	})
	if err != nil {
		return Outcome{}, err
	}
	for _, o := range orders {
		w.Submit(o.at, Client, o.job)
	}
	nodes := make([]*machine.Machine, w.Len())
	look := func() {
		for i := range nodes {
			nodes[i] = w.Machine(i)
		}
	}
	var open []check.Violation
	for w.Now() < s.Bound {
		pace := watchEvery
		if w.Now() >= s.Length {
			pace = pollEvery
		}
		if err := w.RunUntil(w.Now() + pace); err != nil {
			return Outcome{}, err
		}
		look()
		if found := oracles.Storm(w.Now(), nodes); len(found) > 0 {
			break
		}
		if w.Now() < s.Length {
			continue
		}
		if open = oracles.Calm(w.Now(), nodes); len(open) == 0 {
			break
		}
	}
	return s.outcome(w, oracles, open, len(orders)), nil
}

func (s Storm) outcome(w *world.World, oracles *check.Checker, open []check.Violation, jobs int) Outcome {
	return Outcome{
		Seed: s.Seed, Trace: w.Trace(), Settled: w.Now(), Steps: w.Steps(), Events: w.Events(), Jobs: jobs,
		Leases: oracles.Facts(machine.FactHired), Passed: oracles.Facts(machine.FactPassed),
		Faults: append(oracles.Found(), open...),
	}
}

func (s Storm) withDefaults() Storm {
	if s.Climate == (weather.Climate{}) {
		s.Climate = weather.Rough()
	}
	if s.Length == 0 {
		s.Length = 30 * time.Second
	}
	if s.Bound == 0 {
		s.Bound = 2 * time.Minute
	}
	return s
}

// class is the one class of device of a Storm.
const class ledger.Class = "cpu.small"

// genesis returns the network of a storm. Proof parameters are the smallest there
// are: what is tested is what nodes do with proofs, not the arithmetic in them.
func (s Storm) genesis() *machine.Genesis {
	g := &machine.Genesis{
		Ledger: ledger.Genesis{
			Name: "storm", Start: 1_750_000_000_000, SlotMillis: 500, EpochMillis: 3000, MinFee: 1000,
		},
		Market: market.Params{
			Quarters: 3, BetaBps: 2000, SigmaBps: 9000, FloorPPM: 50_000, Window: 600,
			Classes: []market.ClassParams{{
				Name: class, P0: ledger.Token, Demand: 5_000, Capacity: 16_000, Probation: 4_000,
			}},
		},
		Proofs: proofs.Params{
			M: 16, N: 16, K: 64, MaxRounds: 2, Samples: 2, Window: 1, Delta: 4, Sample: 1, StormPer: 6,
			Admission: 3, Reference: 4096,
		},
	}
	for i := range Providers {
		key := world.KeyOf(s.Seed, i)
		g.Ledger.Alloc = append(g.Ledger.Alloc, ledger.Alloc{Account: key.ID, Amount: 10 * ledger.Token})
		g.Ledger.Witnesses = append(g.Ledger.Witnesses,
			ledger.Witness{Account: key.ID, Stake: 1000 * ledger.Token, VRF: key.VRF})
	}
	client := world.KeyOf(s.Seed, Client)
	g.Ledger.Alloc = append(g.Ledger.Alloc, ledger.Alloc{Account: client.ID, Amount: 1000 * ledger.Token})
	return g
}

// patient reports whether the providers of the seed wait for their pay until the
// storm is over. Then all who deliver are paid; the others may give up a client
// that is cut off, and lose what it had not paid yet.
func (s Storm) patient() bool { return weather.Chance(500_000).Hits(s.draw(3, 0)) }

func (s Storm) grace() time.Duration {
	if s.patient() {
		return s.Climate.Storm + time.Second
	}
	return 5 * time.Second
}

// region is where everybody in a Storm is.
const region = "lab"

// nodes returns the providers and the client. They wait less long than real nodes
// do, so that a run of half a minute sees every timeout.
func (s Storm) nodes() []world.Node {
	nodes := make([]world.Node, Providers+1)
	for i := range nodes {
		nodes[i] = world.Node{
			Timing: machine.Timing{
				Retry: 500 * time.Millisecond, Offer: 4 * time.Second, Sync: time.Second,
				Quote: 300 * time.Millisecond, Patience: 4 * time.Second, Grace: s.grace(),
			},
			Flaw: s.Flaws[i],
		}
		if i < Providers {
			reserve := ledger.Amount(weather.Below(s.draw(1, uint64(i)), uint64(ledger.Token)))
			nodes[i].Sell = &machine.Sell{Class: class, Region: region, Units: 8_000, Reserve: reserve}
		}
	}
	return nodes
}

// An order is a job and when it is submitted.
type order struct {
	at  time.Duration
	job machine.Job
}

func (s Storm) draw(entity, n uint64) uint64 {
	return weather.Draw(s.Seed, weather.StreamScript, entity, n)
}

// orders draws one to three jobs of one to six tasks, up to two of them checked.
func (s Storm) orders() []order {
	orders := make([]order, 1+weather.Below(s.draw(2, 0), 3))
	for i := range orders {
		draw := func(n, below uint64) uint64 { return weather.Below(s.draw(10+uint64(i), n), below) }
		name := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, s.Seed), uint64(i))
		tasks := 1 + uint32(draw(0, 6))
		orders[i] = order{
			at: time.Duration(draw(1, uint64(s.Climate.Storm*4/5))),
			job: machine.Job{
				ID: p2p.Sum("pinfi/storm-job/1", name), Class: class, Region: region,
				Units: 500 + draw(2, 1500), Seconds: 5 + uint32(draw(3, 25)), Max: 100 * ledger.Token,
				Module: p2p.Sum("pinfi/storm-module/1", name), Input: p2p.Sum("pinfi/storm-input/1", name),
				InputName: "scene", Tasks: tasks, Check: min(tasks, uint32(draw(4, 3))), MemoryPages: 16,
			},
		}
	}
	return orders
}

func (s Storm) oracles(g *machine.Genesis, orders []order) *check.Checker {
	cfg := check.Config{
		Genesis: g, Outlaw: make(map[p2p.PeerID]bool), Orders: make(map[int][]machine.Job), Output: world.Output,
		Ignore: s.Ignore, Patient: s.patient(),
	}
	for i := range Providers + 1 {
		cfg.Nodes = append(cfg.Nodes, world.KeyOf(s.Seed, i).ID)
	}
	for _, i := range s.Outlaw {
		cfg.Outlaw[cfg.Nodes[i]] = true
	}
	for _, o := range orders {
		cfg.Orders[Client] = append(cfg.Orders[Client], o.job)
	}
	return check.New(cfg)
}
