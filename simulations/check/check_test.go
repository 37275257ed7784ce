package check

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/proofs"
	"github.com/pinfi/pinfi/simulations/weather"
	"github.com/pinfi/pinfi/simulations/world"
)

const (
	nodesMade = 4 // three providers and a client
	client    = 3
)

func genesis(seed uint64) *machine.Genesis {
	g := &machine.Genesis{
		Ledger: ledger.Genesis{Name: "check", Start: 1_750_000_000_000, SlotMillis: 500, EpochMillis: 3000, MinFee: 1},
		Market: market.Params{
			Quarters: 3, BetaBps: 2000, SigmaBps: 9000, FloorPPM: 50_000, Window: 600,
			Classes: []market.ClassParams{{Name: "cpu", P0: ledger.Token, Demand: 1000, Capacity: 4000, Probation: 4000}},
		},
		Proofs: proofs.Params{
			M: 16, N: 16, K: 64, MaxRounds: 1, Samples: 1, Window: 1, Delta: 4, Sample: 1,
			StormPer: 50, Admission: 3, Reference: 4096,
		},
	}
	for i := range nodesMade {
		key := world.KeyOf(seed, i)
		g.Ledger.Alloc = append(g.Ledger.Alloc, ledger.Alloc{Account: key.ID, Amount: 50 * ledger.Token})
		if i != client {
			g.Ledger.Witnesses = append(g.Ledger.Witnesses,
				ledger.Witness{Account: key.ID, Stake: 10 * ledger.Token, VRF: key.VRF})
		}
	}
	return g
}

// run runs a calm network in which one job of two tasks ends, and returns its
// machines with oracles that have seen all of it.
func run(t *testing.T) (*Checker, []*machine.Machine) {
	t.Helper()
	const seed = 5
	g := genesis(seed)
	job := machine.Job{
		ID: p2p.Digest{1}, Class: "cpu", Region: "lab", Units: 500, Seconds: 10, Max: ledger.Token * 10,
		Module: p2p.Digest{2}, Tasks: 2, Check: 1, MemoryPages: 1,
	}
	cfg := Config{Genesis: g, Orders: map[int][]machine.Job{client: {job}}, Output: world.Output, Patient: true}
	nodes := make([]world.Node, nodesMade)
	for i := range nodes {
		cfg.Nodes = append(cfg.Nodes, world.KeyOf(seed, i).ID)
		if i != client {
			nodes[i].Sell = &machine.Sell{Class: "cpu", Region: "lab", Units: 2000}
		}
	}
	c := New(cfg)
	w, err := world.New(world.Config{
		Seed: seed, Genesis: g, Weather: weather.Fixed(seed, weather.Plan{}), Nodes: nodes, Watch: c.Watch,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Submit(time.Second, client, job)
	machines := make([]*machine.Machine, nodesMade)
	for w.Now() < time.Minute {
		if err := w.RunUntil(w.Now() + 100*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		for i := range machines {
			machines[i] = w.Machine(i)
		}
		if found := c.Storm(w.Now(), machines); len(found) > 0 {
			t.Fatal(found)
		}
		if w.Now() > 5*time.Second && len(c.Calm(w.Now(), machines)) == 0 {
			return c, machines
		}
	}
	t.Fatal(c.Calm(w.Now(), machines))
	return nil, nil
}

// [SIM-13] Every oracle says no when what it watches is not so.
func TestEachOracleCanSayNo(t *testing.T) {
	firstLease := func(c *Checker) market.Lease {
		for _, l := range c.ends { // any will do
			return l
		}
		return market.Lease{}
	}
	for name, c := range map[string]struct {
		oracle Oracle
		spoil  func(c *Checker, nodes []*machine.Machine)
		calm   bool
	}{
		"an atom too few": {oracle: Supply, spoil: func(c *Checker, _ []*machine.Machine) { c.total++ }},
		"another operation in a place": {oracle: Chains, spoil: func(c *Checker, _ []*machine.Machine) {
			clear(c.tops)
			for at := range c.chain {
				c.chain[at] = ledger.OpID{1}
			}
		}},
		"a lease closed by two operations": {oracle: PaidOnce, spoil: func(c *Checker, _ []*machine.Machine) {
			clear(c.tops)
			clear(c.chain)
			for lease := range c.closes {
				c.closes[lease] = ledger.OpID{1}
			}
		}},
		"a lease that paid otherwise elsewhere": {oracle: PaidOnce, spoil: func(c *Checker, _ []*machine.Machine) {
			l := firstLease(c)
			l.Refund++
			c.ends[l.ID] = l
		}},
		"a voucher that nobody sent": {oracle: Promised, spoil: func(c *Checker, _ []*machine.Machine) {
			clear(c.watched.promised)
			clear(c.ends)
		}},
		"two certified rivals": {oracle: Rivals, spoil: func(c *Checker, _ []*machine.Machine) {
			at := place{account: c.cfg.Nodes[client], seq: 1}
			c.watched.made[at] = append(c.watched.made[at], c.chain[place{account: c.cfg.Nodes[client], seq: 2}])
			c.watched.contested = append(c.watched.contested, at)
		}},
		"a node that is down": {oracle: Running, calm: true, spoil: func(_ *Checker, nodes []*machine.Machine) {
			nodes[1] = nil
		}},
		"a job that nobody knows": {oracle: Finished, calm: true, spoil: func(c *Checker, _ []*machine.Machine) {
			c.cfg.Orders[0] = []machine.Job{{ID: p2p.Digest{9}}}
		}},
		"another output": {oracle: Outputs, calm: true, spoil: func(c *Checker, _ []*machine.Machine) {
			c.cfg.Output = func(p2p.Digest, p2p.Digest, uint32, uint32) p2p.Digest { return p2p.Digest{7} }
		}},
	} {
		t.Run(name, func(t *testing.T) {
			checker, nodes := run(t)
			c.spoil(checker, nodes)
			var found []Violation
			if c.calm {
				found = checker.Calm(time.Hour, nodes)
			} else {
				found = checker.Storm(time.Hour, nodes)
			}
			if !slices.ContainsFunc(found, func(v Violation) bool { return v.Oracle == c.oracle }) {
				t.Errorf("%v said nothing; found: %v", c.oracle, found)
			}
		})
	}
}

// The oracle of capacity knows the most that a device may have out.
func TestCapacityIsWatched(t *testing.T) {
	c, nodes := run(t)
	who := seller{c.cfg.Nodes[0], "cpu"}
	if c.most[who] != 2000 {
		t.Errorf("most that provider 0 may have out: %d mCU, want 2000", c.most[who])
	}
	c.capacity(0, nodes[0])
	if len(c.found) != 0 {
		t.Error(c.found)
	}
}

// [SIM-14] A node that signs two operations, two frames or two votes for one place
// is seen at once, unless its script says so.
func TestMemoryWatchesWhatIsPublished(t *testing.T) {
	g := genesis(1)
	ids := []p2p.PeerID{world.KeyOf(1, 0).ID, world.KeyOf(1, 1).ID}
	op := func(fee ledger.Amount) *ledger.Op {
		return &ledger.Op{Kind: ledger.KindBurn, Account: ids[0], Seq: 1, Fee: fee, Body: ledger.Burn{Amount: 1}.Encode()}
	}
	for _, outlaw := range []bool{false, true} {
		c := New(Config{Genesis: g, Nodes: ids, Outlaw: map[p2p.PeerID]bool{ids[0]: outlaw}})
		c.opMade(0, op(1))
		c.opMade(0, op(1))
		if len(c.Found()) != 0 {
			t.Fatal(c.Found())
		}
		c.opMade(0, op(2))
		if got := len(c.Found()) == 1; got == outlaw {
			t.Errorf("outlaw %v: found %v", outlaw, c.Found())
		}
		// The same witness votes for both, the first time before it is known.
		late := New(Config{Genesis: g, Nodes: ids, Outlaw: map[p2p.PeerID]bool{ids[0]: outlaw}})
		late.voted(0, 0, op(1).ID())
		late.opMade(1, op(1))
		late.watched.slots[op(2).ID()] = place{account: ids[0], seq: 1}
		late.voted(0, 0, op(2).ID())
		if got := len(late.Found()) == 1; got == outlaw {
			t.Errorf("two votes, outlaw %v: found %v", outlaw, late.Found())
		}
	}
}

func TestOraclesHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for o := Supply; o <= Running; o++ {
		if name := o.String(); seen[name] || name == "" || name[0] == 'o' && name != "outputs" {
			t.Errorf("oracle %d is called %q", o, name)
		}
		seen[o.String()] = true
	}
	if Oracle(0).String() != "oracle(0)" || Oracle(99).String() != "oracle(99)" {
		t.Error("an oracle that does not exist has a name")
	}
	v := Violation{Oracle: Chains, At: time.Second, Node: 2, Text: "x"}
	if got := v.String(); got != "1s: chains: node 2: x" {
		t.Errorf("violation reads %q", got)
	}
	if v.Node = -1; v.String() != "1s: chains: x" {
		t.Errorf("violation reads %q", v.String())
	}
}

// [SIM-13] The oracles of the ledger alone say no as well.
func TestLedgerOraclesCanSayNo(t *testing.T) {
	c, nodes := run(t)
	if open := c.Ledger(time.Minute, nodes, nil); len(open) > 0 {
		t.Fatalf("at the end of a calm run: %v", open)
	}
	never := &ledger.Op{Kind: ledger.KindBurn, Account: c.cfg.Nodes[client], Seq: 99}
	wants := func(name string, o Oracle, open []Violation) {
		t.Helper()
		if !slices.ContainsFunc(open, func(v Violation) bool { return v.Oracle == o }) {
			t.Errorf("%s: %v says nothing, others %v", name, o, open)
		}
	}
	wants("an operation that nobody has", Finished, c.Ledger(time.Minute, nodes, []*ledger.Op{never}))
	wants("a node that is down", Running, c.Ledger(time.Minute, append(slices.Clone(nodes), nil), nil))
	fresh, err := machine.New(machine.Config{
		Self: c.cfg.Nodes[0], Genesis: c.cfg.Genesis, Crypto: world.KeyOf(5, 0).Crypto(), Rand: rand.New(rand.NewPCG(1, 2)),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	open := c.Ledger(time.Minute, append(slices.Clone(nodes), fresh), nil)
	wants("a node without history", Agreement, open)
	wants("a node without history", Kept, open)
	c.cfg.Owners = c.cfg.Nodes
	clear(c.watched.honest)
	clear(c.tops)
	clear(c.chain)
	wants("an operation that its owner never signed", Forged, c.Storm(time.Minute, nodes))
}
