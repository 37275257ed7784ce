package simulations

import (
	"fmt"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/proofs"
	"github.com/pinfi/pinfi/simulations/actor"
	"github.com/pinfi/pinfi/simulations/check"
	"github.com/pinfi/pinfi/simulations/weather"
	"github.com/pinfi/pinfi/simulations/world"
)

// A Heist is one run of the ledger under attack: five to eight witnesses of drawn
// stakes, a crowd of honest owners who pay one another, and a gang of hostile witnesses
// and owners with one mind, all in one storm. Every zero field means its default.
type Heist struct {
	Seed    uint64
	Grave   bool            // the gang has 40 to 60 % of the stake, instead of less than a third
	Strict  bool            // the oracles expect of a grave heist what holds below a third: a negative control
	Climate weather.Climate // burglars' weather: see Night
	Flaw    world.Flaw      // of every honest node
	Ignore  []check.Oracle  // oracles that are not listened to
	Log     func(at time.Duration, node int, line string)
}

// Night is the climate of a Heist: seven seconds, rough, with many crashes.
func Night() weather.Climate {
	c := weather.Rough()
	c.Storm, c.DelayMax, c.CutMax = 7*time.Second, 1500*time.Millisecond, 3*time.Second
	c.Outages, c.DownMax, c.Together = 6, 1500*time.Millisecond, 300_000
	return c
}

// A cast is who plays in a heist.
type cast struct {
	stakes  []ledger.Amount // the honest first
	honest  int             // of them
	watched bool            // there is a node without stake
	victims []ledger.Account
	thieves []ledger.Account
}

const (
	victims    = 4
	thieves    = 5
	heistBound = 40 * time.Second // when a run that has not settled is given up
	lieAfter   = time.Second      // how long the gang goes on after the storm
)

// cast draws stakes until the gang has its share.
func (h Heist) cast() cast {
	for n := uint64(0); ; n++ {
		draw := func(k, below uint64) uint64 {
			return weather.Below(weather.Draw(h.Seed, weather.StreamStake, n, k), below)
		}
		c := cast{stakes: make([]ledger.Amount, 5+draw(0, 4))}
		c.honest = len(c.stakes) - 1 - int(draw(1, 3))
		var total, bad ledger.Amount
		for i := range c.stakes {
			c.stakes[i] = ledger.Amount(1+draw(uint64(2+i), 10)) * ledger.Token
			total += c.stakes[i]
			if i >= c.honest {
				bad += c.stakes[i]
			}
		}
		if fits := 3*bad < total; !h.Grave && !fits || h.Grave && (10*bad < 4*total || 10*bad > 6*total) {
			continue
		}
		c.watched = draw(99, 2) == 0
		for i := range victims {
			c.victims = append(c.victims, h.key(100+i).ID)
		}
		for i := range thieves {
			c.thieves = append(c.thieves, h.key(200+i).ID)
		}
		return c
	}
}

// key returns the key of an account of the heist: nodes by index, victims from 100 on,
// thieves from 200.
func (h Heist) key(i int) actor.Key {
	k := world.KeyOf(h.Seed, i)
	return actor.Key{ID: k.ID, Sign: k.Crypto().Sign}
}

func (h Heist) genesis(c cast) *machine.Genesis {
	g := &machine.Genesis{
		Ledger: ledger.Genesis{
			Name: "heist", Start: 1_750_000_000_000, SlotMillis: 2000, EpochMillis: 20_000, MinFee: 1000,
		},
		Market: market.Params{
			Quarters: 3, BetaBps: 2000, SigmaBps: 9000, FloorPPM: 50_000, Window: 600,
			Classes: []market.ClassParams{{
				Name: class, P0: ledger.Token, Demand: 5_000, Capacity: 16_000, Probation: 4_000,
			}},
		},
		Proofs: proofs.Params{
			M: 16, N: 16, K: 64, MaxRounds: 2, Samples: 2, Window: 1, Delta: 4, Sample: 1, StormPer: 100,
			Admission: 3, Reference: 4096,
		},
	}
	for i, stake := range c.stakes {
		k := world.KeyOf(h.Seed, i)
		g.Ledger.Witnesses = append(g.Ledger.Witnesses, ledger.Witness{Account: k.ID, Stake: stake, VRF: k.VRF})
	}
	for _, list := range [][]ledger.Account{c.victims, c.thieves} {
		for _, account := range list {
			g.Ledger.Alloc = append(g.Ledger.Alloc, ledger.Alloc{Account: account, Amount: 10 * ledger.Token})
		}
	}
	return g
}

// A heist under way.
type heist struct {
	Heist
	cast
	world   *world.World
	oracles *check.Checker
	crowd   *actor.Crowd
	gang    *actor.Gang
	nodes   []*machine.Machine // honest, nil while down
	told    int                // operations of the gang that the oracles know
}

// Run runs the heist to its end. The error is of the run itself; what oracles say
// stands in the Outcome.
func (h Heist) Run() (Outcome, error) {
	if h.Climate == (weather.Climate{}) {
		h.Climate = Night()
	}
	r := &heist{Heist: h, cast: h.cast()}
	if err := r.set(); err != nil {
		return Outcome{}, err
	}
	var open []check.Violation
	for r.world.Now() < heistBound {
		if err := r.world.RunUntil(r.world.Now() + watchEvery); err != nil {
			return Outcome{}, err
		}
		if found := r.look(); len(found) > 0 {
			break
		}
		if r.world.Now() < h.Climate.Storm+2*lieAfter {
			continue
		}
		if open = r.oracles.Ledger(r.world.Now(), r.nodes, r.owed()); len(open) == 0 {
			break
		}
	}
	return Outcome{
		Seed: h.Seed, Trace: r.world.Trace(), Settled: r.world.Now(), Steps: r.world.Steps(), Events: r.world.Events(),
		Paid: len(r.crowd.Made()), Proofs: r.proofs(0), Halted: r.proofs(replica.DoubleCertificate),
		Faults: append(r.oracles.Found(), open...), repeat: h.repeat(),
	}, nil
}

// repeat returns the command that runs the heist again and prints every step.
func (h Heist) repeat() string {
	name := "TestHeist"
	if h.Grave {
		name = "TestGraveHeist"
	}
	return fmt.Sprintf("go test ./simulations -run '^%s$' -count=1 -v -args -heist=%d -heists=1", name, h.Seed)
}

// set puts everybody into their place.
func (r *heist) set() error {
	g := r.genesis(r.cast)
	network := g.Network()
	nodes := make([]world.Node, len(r.stakes)+1)
	if r.watched {
		nodes = append(nodes, world.Node{})
	}
	cfg := check.Config{Genesis: g, Outlaw: make(map[p2p.PeerID]bool), Ignore: r.Ignore}
	gang := actor.GangConfig{
		Seed: r.Seed, Network: network, Genesis: &g.Ledger, Victims: r.victims,
		Sides: 4, Until: r.Climate.Storm + lieAfter,
	}
	if r.watched { // it may hold third sides that no witness rests on: see the ledger's specification
		gang.Sides = 2
	}
	crowd := actor.CrowdConfig{
		Seed: r.Seed, Network: network, Payees: append(r.victims[:victims:victims], r.thieves...), View: r.view,
		Until: r.Climate.Storm,
	}
	for i := range nodes {
		key := r.key(i)
		cfg.Nodes = append(cfg.Nodes, key.ID)
		switch {
		case i < r.honest || i == r.watcher():
			nodes[i] = world.Node{Flaw: r.Flaw, Timing: machine.Timing{
				Retry: 500 * time.Millisecond, Sync: 400 * time.Millisecond, Offer: time.Hour,
			}}
			gang.Honest = append(gang.Honest, key.ID)
		case i < len(r.stakes):
			gang.Members = append(gang.Members, actor.Member{Witness: uint16(i), Node: i, Key: key})
			cfg.Outlaw[key.ID] = true
		}
	}
	for i, account := range r.victims {
		crowd.Owners = append(crowd.Owners, r.key(100+i))
		cfg.Owners = append(cfg.Owners, account)
	}
	for i, account := range r.thieves {
		gang.Owners = append(gang.Owners, r.key(200+i))
		cfg.Owners = append(cfg.Owners, account)
		cfg.Outlaw[account] = true
	}
	if r.Grave && !r.Strict {
		cfg.Ignore = append(cfg.Ignore, check.Chains, check.Rivals, check.Finished, check.Kept)
	}
	r.crowd, r.gang, r.oracles = actor.NewCrowd(crowd), actor.NewGang(gang), check.New(cfg)
	for i := r.honest; i < len(r.stakes); i++ {
		nodes[i].Agent = r.gang
	}
	nodes[r.watcher()-1].Agent = r.crowd
	var err error
	r.world, err = world.New(world.Config{
		Seed: r.Seed, Genesis: g, Weather: weather.New(r.Seed, len(nodes), r.Climate), Nodes: nodes, Log: r.Log,
		Watch: func(at time.Duration, node int, fx []machine.Effect) {
			r.oracles.Watch(at, node, fx)
			r.gang.Overhear(fx)
		},
	})
	r.nodes = make([]*machine.Machine, r.honest)
	if r.watched {
		r.nodes = append(r.nodes, nil)
	}
	return err
}

// watcher is the index of an honest node without stake, which tells nobody what it has
// seen. The crowd's node is before it, the witnesses are before that.
func (r *heist) watcher() int { return len(r.stakes) + 1 }

// view returns the ledger as the node of an honest owner has it.
func (r *heist) view(owner int) *ledger.State {
	m := r.world.Machine(owner % r.honest)
	if m == nil {
		return nil
	}
	return m.Replica().State()
}

// look asks the oracles that hold at any time.
func (r *heist) look() []check.Violation {
	for i := range r.honest {
		r.nodes[i] = r.world.Machine(i)
	}
	if r.watched {
		r.nodes[r.honest] = r.world.Machine(r.watcher())
	}
	for _, op := range r.gang.Made()[r.told:] {
		r.oracles.Made(op)
	}
	r.told = len(r.gang.Made())
	return r.oracles.Storm(r.world.Now(), r.nodes)
}

// owed returns what honest owners have signed.
func (r *heist) owed() []*ledger.Op { return r.crowd.Made() }

// proofs counts what the first node that is up holds against the gang of an offence, or
// of all.
func (r *heist) proofs(offence replica.Offence) int {
	n := 0
	for _, m := range r.nodes {
		if m == nil {
			continue
		}
		for _, ev := range m.Replica().Evidence() {
			if offence == 0 || ev.Offence == offence {
				n++
			}
		}
		break
	}
	return n
}
