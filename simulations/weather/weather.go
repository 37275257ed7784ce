// Package weather decides what becomes of messages and nodes in a simulated
// network: which message is lost, doubled or late, when the network is cut in
// parts, when a node crashes and how long it stays down.
//
// It carries nothing and knows no protocol; simulations/world asks it. The calls
// you need are New, which draws a Plan from a seed, and Weather.Fate, which says
// what becomes of one message. The invariant: every answer is a pure function of
// the seed and of the arguments, never of the order of the questions, so that
// one node more or less leaves the weather of the others as it was.
package weather

import (
	"cmp"
	"slices"
	"time"
)

// A Climate bounds the storms that a seed can draw. All times count from the
// start of the run.
type Climate struct {
	Storm        time.Duration // how long the storm lasts; calm follows
	DropMax      Chance        // largest chance that a message is lost
	DuplicateMax Chance        // largest chance that a message is delivered twice
	SlowMax      Chance        // largest chance that a message is a straggler
	DelayMax     time.Duration // longest delay of a straggler
	Partitions   int           // most partitions
	CutMax       time.Duration // longest partition
	Outages      int           // most crashes
	DownMax      time.Duration // longest time that a crashed node stays down
	Together     Chance        // chance that two nodes may be down at once
	SkewMax      time.Duration // most that a clock is fast or slow, in the calm as well
	FaultMax     Chance        // largest chance that a host cannot run a job
}

// Rough is the climate of the ordinary test storm: 15 seconds in which up to a
// quarter of the messages is lost, up to a fifth is doubled and stragglers take up
// to three seconds.
func Rough() Climate {
	return Climate{
		Storm:        15 * time.Second,
		DropMax:      250_000,
		DuplicateMax: 200_000,
		SlowMax:      150_000,
		DelayMax:     3 * time.Second,
		Partitions:   3,
		CutMax:       5 * time.Second,
		Outages:      2,
		DownMax:      5 * time.Second,
		Together:     150_000,
		SkewMax:      120 * time.Millisecond,
		FaultMax:     100_000,
	}
}

// A Link says how bad one direction between two nodes is.
type Link struct {
	Drop      Chance
	Duplicate Chance
	Slow      Chance
	Least     time.Duration // shortest delay
	Most      time.Duration // longest delay of a message that is no straggler
	Straggler time.Duration // longest delay of a straggler
}

// Calm is the link after the storm: nothing is lost, and delays stay below 20 ms.
func Calm() Link {
	return Link{Least: time.Millisecond, Most: 20 * time.Millisecond, Straggler: 20 * time.Millisecond}
}

// A Partition is a time in which messages from one side to the other are lost.
type Partition struct {
	From, Until time.Duration
	Side        []bool // by node: true on one side, false on the other
	OneWay      bool   // only messages from the true side to the false side are lost
}

// cuts reports whether the partition swallows a message sent now.
func (p *Partition) cuts(now time.Duration, from, to int) bool {
	if now < p.From || now >= p.Until || p.Side[from] == p.Side[to] {
		return false
	}
	return !p.OneWay || p.Side[from]
}

// A Moment says at which point of a step a crash strikes.
type Moment uint8

// The moments of a crash.
const (
	BeforeSave Moment = iota + 1 // just before the first Save of a step: the whole batch is lost
	AfterSave                    // just after the first Save: it is durable, nothing after it happens
	Midway                       // after a drawn number of the step's effects
)

// An Outage is a crash of a node and the time at which it starts again.
type Outage struct {
	Node      int
	At, Until time.Duration // the crash strikes at the first step at or after At that offers the Moment
	Moment    Moment
}

// A Plan is what a seed has in store: one storm, and calm ever after.
type Plan struct {
	Calm       time.Duration // when the storm ends
	Link       Link          // every link during the storm
	Partitions []Partition
	Outages    []Outage        // by time
	Skews      []time.Duration // by node: how far its clock is fast; nil: all are right
	Fault      Chance          // during the storm: that a host cannot run a job
}

// Weather answers what becomes of each message.
type Weather struct {
	seed uint64
	plan Plan
	calm Link
}

// New returns the weather that a seed draws for a number of nodes within the
// climate. Every outage and every partition ends before the calm.
func New(seed uint64, nodes int, c Climate) *Weather {
	draw := func(n uint64) uint64 { return Draw(seed, StreamPlan, 0, n) }
	plan := Plan{
		Calm: c.Storm,
		Link: Link{
			Drop:      Chance(Below(draw(0), uint64(c.DropMax)+1)),
			Duplicate: Chance(Below(draw(1), uint64(c.DuplicateMax)+1)),
			Slow:      Chance(Below(draw(2), uint64(c.SlowMax)+1)),
			Least:     time.Millisecond,
			Most:      Between(draw(3), 10*time.Millisecond, 100*time.Millisecond),
			Straggler: Between(draw(4), c.DelayMax/8, c.DelayMax),
		},
		Partitions: partitions(seed, nodes, c, int(Below(draw(5), uint64(c.Partitions)+1))),
		Outages:    outages(seed, nodes, c, int(Below(draw(6), uint64(c.Outages)+1))),
		Fault:      Chance(Below(draw(7), uint64(c.FaultMax)+1)),
	}
	for node := range nodes {
		plan.Skews = append(plan.Skews, Between(Draw(seed, StreamClock, uint64(node), 0), 0, 2*c.SkewMax)-c.SkewMax)
	}
	return &Weather{seed: seed, plan: plan, calm: Calm()}
}

// Fixed returns weather with a plan of the caller's. The Side of every partition
// must have an entry for every node.
func Fixed(seed uint64, plan Plan) *Weather {
	return &Weather{seed: seed, plan: plan, calm: Calm()}
}

// Skew returns how far a node's clock is fast.
func (w *Weather) Skew(node int) time.Duration {
	if node >= len(w.plan.Skews) {
		return 0
	}
	return w.plan.Skews[node]
}

// JobFails reports whether a host cannot run a job that it starts now; job names
// the job.
func (w *Weather) JobFails(now time.Duration, node int, job uint64) bool {
	return now < w.plan.Calm && w.plan.Fault.Hits(Draw(w.seed, StreamFault, uint64(node), job))
}

// Plan returns what is in store.
func (w *Weather) Plan() Plan { return w.plan }

// partitions draws count cuts within the storm.
func partitions(seed uint64, nodes int, c Climate, count int) []Partition {
	cuts := make([]Partition, 0, count)
	for i := range count {
		draw := func(n uint64) uint64 { return Draw(seed, StreamPartition, uint64(i), n) }
		p := Partition{
			From:   Between(draw(0), 0, c.Storm*3/4),
			OneWay: Chance(300_000).Hits(draw(1)),
			Side:   make([]bool, nodes),
		}
		p.Until = min(c.Storm, p.From+Between(draw(2), c.CutMax/20, c.CutMax))
		if Chance(400_000).Hits(draw(3)) {
			p.Side[Below(draw(4), uint64(nodes))] = true // one node alone
		} else {
			for node := range p.Side {
				p.Side[node] = Chance(500_000).Hits(draw(5 + uint64(node)))
			}
		}
		cuts = append(cuts, p)
	}
	return cuts
}

// outages draws up to count crashes. Two of them overlap, or strike one node at
// once, only when the seed allows nodes to be down together.
func outages(seed uint64, nodes int, c Climate, count int) []Outage {
	together := c.Together.Hits(Draw(seed, StreamOutage, 0, 0))
	var drawn []Outage
	for i := range count {
		draw := func(n uint64) uint64 { return Draw(seed, StreamOutage, uint64(i)+1, n) }
		o := Outage{
			Node:   int(Below(draw(0), uint64(nodes))),
			At:     Between(draw(1), c.Storm/20, c.Storm*4/5),
			Moment: Moment(1 + Below(draw(3), uint64(Midway))),
		}
		o.Until = min(c.Storm, o.At+Between(draw(2), c.DownMax/50, c.DownMax))
		clash := func(other Outage) bool {
			overlap := o.At <= other.Until && other.At <= o.Until
			return overlap && (!together || other.Node == o.Node)
		}
		if !slices.ContainsFunc(drawn, clash) {
			drawn = append(drawn, o)
		}
	}
	slices.SortFunc(drawn, func(a, b Outage) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Node, b.Node))
	})
	return drawn
}

// Fate says what becomes of a message: how many copies arrive, at most two, and
// how long each travels.
type Fate struct {
	Copies int
	Delay  [2]time.Duration
}

// Fate returns what becomes of the nth message from one node to another, sent
// now.
func (w *Weather) Fate(now time.Duration, from, to int, n uint64) Fate {
	if w.Cut(now, from, to) {
		return Fate{}
	}
	link := &w.plan.Link
	if now >= w.plan.Calm {
		link = &w.calm
	}
	entity := uint64(from)<<32 | uint64(to)
	if link.Drop.Hits(Draw(w.seed, StreamDrop, entity, n)) {
		return Fate{}
	}
	fate := Fate{Copies: 1}
	fate.Delay[0] = link.delay(Draw(w.seed, StreamDelay, entity, 2*n))
	if link.Duplicate.Hits(Draw(w.seed, StreamDuplicate, entity, n)) {
		fate.Copies = 2
		fate.Delay[1] = link.delay(Draw(w.seed, StreamDelay, entity, 2*n+1))
	}
	return fate
}

// delay maps one draw to a travel time: its low half picks stragglers, a fresh
// mix of it the time.
func (l *Link) delay(draw uint64) time.Duration {
	if l.Slow.Hits(draw << 32) {
		return Between(mix(draw), l.Most, l.Straggler)
	}
	return Between(mix(draw), l.Least, l.Most)
}

// Cut reports whether a partition swallows a message sent now from one node to
// another.
func (w *Weather) Cut(now time.Duration, from, to int) bool {
	for i := range w.plan.Partitions {
		if w.plan.Partitions[i].cuts(now, from, to) {
			return true
		}
	}
	return false
}
