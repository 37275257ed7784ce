// Package world hosts node machines in virtual time: the same brain that package
// node drives over libp2p, with a queue of events in the place of the network, the
// disk, the clock and the processes.
//
// It is not a model of the protocol: every decision is taken by node/machine. It
// decides only what the rest of the world does, and asks simulations/weather for
// chance. The calls you need are New, Submit and RunUntil; simulations/check looks
// at the machines from outside. The invariant: a run is a pure function of its
// Config, event by event, which Trace witnesses; what happens at one time happens
// in the order of the nodes, never in that of a map or of a goroutine.
package world

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/simulations/weather"
)

// A Config says what a world is made of. It is a function of a seed as a rule.
type Config struct {
	Seed    uint64
	Genesis *machine.Genesis
	Weather *weather.Weather
	Nodes   []Node
	Rounds  uint32 // rounds of each proof; 0: 2

	Log   func(at time.Duration, node int, line string)         // every step in words; nil: none
	Watch func(at time.Duration, node int, fx []machine.Effect) // effects that were carried out; nil: nobody
}

// A Node is one machine of a world and its host. Its key is KeyOf(seed, index).
type Node struct {
	Sell   *machine.Sell // nil: it sells nothing
	Timing machine.Timing
	Limits machine.Limits
	Flaw   Flaw
	Agent  Agent // who is there instead of a machine; nil: a machine is
}

// A Flaw is what is wrong with a node or its host, on purpose: a planted bug that
// oracles must find, or a scripted enemy that honest nodes must survive. The zero
// Flaw is none.
type Flaw struct {
	// Forget names records that never reach the disk.
	Forget func(machine.Record) bool
	// SaveLast makes the host carry out the Saves of a step after everything else.
	SaveLast bool
	// Deaf names events that the machine does not get to see.
	Deaf func(at time.Duration, ev machine.Event) bool
	// Twist replaces the effects of a step before they are carried out.
	Twist func(at time.Duration, fx []machine.Effect) []machine.Effect
	// Spoil makes the outputs of jobs that run here wrong.
	Spoil bool
	// Verify replaces the verification of signatures.
	Verify func(p2p.PeerID, p2p.Digest, p2p.Signature) bool
}

// World is a network in virtual time. It is not safe for concurrent use; worlds
// share nothing that changes.
type World struct {
	cfg   Config
	now   int64 // nanoseconds since the start of the genesis
	hosts []*host
	index map[p2p.PeerID]int
	queue queue
	spare []*item
	count uint64 // items pushed by the world itself
	trace fold

	steps  uint64
	events uint64
	err    error
}

// A host is what surrounds one machine.
type host struct {
	index int32
	id    p2p.PeerID
	cfg   machine.Config
	start time.Time // what its clock shows at virtual time 0

	agent Agent            // nil: a machine is here
	m     *machine.Machine // nil while the node is down
	life  uint32
	fresh bool              // the machine has not seen an event yet
	wake  int64             // when its next tick is queued; -1: none is
	spins int               // ticks in a row at one and the same time
	dying *weather.Outage   // the crash that is to strike, once its moment comes
	disk  map[string][]byte // survives crashes, as do held outputs
	held  map[p2p.Digest]bool

	count uint64   // items pushed
	links []uint64 // messages sent, by destination
	seen  []bool   // peers that the machine was told are up
	jobs  map[ledger.OpID]*process
	made  []transcript
}

// spinsMax is how many ticks in a row a machine may ask for without letting time
// pass.
const spinsMax = 10_000

// firstUp is the longest time until a node starts.
const firstUp = 300 * time.Millisecond

// New returns a world in which no time has passed. Its nodes start within the
// first 300 ms.
func New(cfg Config) (*World, error) {
	if cfg.Genesis == nil || cfg.Weather == nil || len(cfg.Nodes) == 0 {
		return nil, errors.New("world: Genesis, Weather and Nodes must be set")
	}
	if err := cfg.Genesis.Validate(); err != nil {
		return nil, fmt.Errorf("world: genesis: %w", err)
	}
	cfg.Rounds = min(cmp.Or(cfg.Rounds, 2), cfg.Genesis.Proofs.MaxRounds)
	w := &World{cfg: cfg, index: make(map[p2p.PeerID]int, len(cfg.Nodes))}
	start := time.UnixMilli(cfg.Genesis.Ledger.Start).UTC()
	for i, n := range cfg.Nodes {
		key := KeyOf(cfg.Seed, i)
		crypto := key.Crypto()
		if n.Flaw.Verify != nil {
			crypto.Verify, crypto.VerifyBatch = n.Flaw.Verify, p2p.VerifyEach(n.Flaw.Verify)
		}
		w.index[key.ID] = i
		w.hosts = append(w.hosts, &host{
			index: int32(i), id: key.ID, agent: n.Agent, wake: -1, start: start.Add(cfg.Weather.Skew(i)),
			cfg: machine.Config{
				Self: key.ID, Genesis: cfg.Genesis, Crypto: crypto,
				Sell: n.Sell, Timing: n.Timing, Limits: n.Limits,
			},
			disk:  make(map[string][]byte),
			held:  make(map[p2p.Digest]bool),
			links: make([]uint64, len(cfg.Nodes)),
			seen:  make([]bool, len(cfg.Nodes)),
		})
	}
	w.schedule()
	return w, nil
}

// schedule puts everything that the weather has in store into the queue.
func (w *World) schedule() {
	for _, h := range w.hosts {
		if h.agent != nil {
			w.firstPulse(h)
			continue
		}
		at := weather.Between(w.draw(weather.StreamNotice, h, 0), 0, firstUp)
		w.push(&item{at: int64(at), node: h.index, from: worldly, act: actRestart})
	}
	plan := w.cfg.Weather.Plan()
	for i := range plan.Outages {
		o := &plan.Outages[i]
		if o.Node < len(w.hosts) && w.hosts[o.Node].agent == nil {
			w.push(&item{at: int64(o.At), node: int32(o.Node), from: worldly, act: actCrash, aux: o})
			w.push(&item{at: int64(o.Until), node: int32(o.Node), from: worldly, act: actRestart})
		}
	}
	for i := range plan.Partitions {
		for _, at := range [...]time.Duration{plan.Partitions[i].From, plan.Partitions[i].Until} {
			w.survey(int64(at))
		}
	}
}

// Submit hands a user's order to a node at a time. An order that finds the node
// down, or that the node does not survive, is handed over again after a second:
// users are patient, and the order's id makes it count once.
func (w *World) Submit(at time.Duration, node int, job machine.Job) {
	ev := machine.Submit{Job: job}
	w.push(&item{at: int64(at), node: int32(node), from: worldly, act: actOrder, sum: eventSum(ev), ev: ev})
}

// RunUntil lets time pass. It returns an error when a machine cannot be started
// from what it saved, or asks for ticks without end.
func (w *World) RunUntil(until time.Duration) error {
	for w.err == nil && len(w.queue) > 0 && w.queue[0].at <= int64(until) {
		it := w.queue.pop()
		w.now = it.at
		w.events++
		w.happen(w.hosts[it.node], it)
		if it.act == actDeliver {
			*it = item{}
			w.spare = append(w.spare, it)
		}
	}
	if w.err == nil {
		w.now = max(w.now, int64(until))
	}
	return w.err
}

// Now returns the virtual time that has passed.
func (w *World) Now() time.Duration { return time.Duration(w.now) }

// Machine returns a node's machine, or nil while the node is down. It may be
// looked at, not changed.
func (w *World) Machine(node int) *machine.Machine { return w.hosts[node].m }

// Len returns the number of nodes.
func (w *World) Len() int { return len(w.hosts) }

// PeerID returns who a node is.
func (w *World) PeerID(node int) p2p.PeerID { return w.hosts[node].id }

// Trace returns a digest of every step so far: time, node, event and effects with
// their content. Two runs with one trace did the same.
func (w *World) Trace() uint64 { return uint64(w.trace) }

// Steps returns the number of machine steps so far, Events that of queue items,
// which besides steps are messages to nodes that are down, ticks that were
// superseded and the like.
func (w *World) Steps() uint64 { return w.steps }

// Events returns the number of queue items that have happened.
func (w *World) Events() uint64 { return w.events }

// push queues an item that the world causes; host.push those of a node.
func (w *World) push(it *item) {
	it.from = worldly
	it.count = w.count
	w.count++
	w.queue.push(it)
}

func (w *World) pushFrom(h *host, it *item) {
	it.from = h.index
	it.count = h.count
	h.count++
	w.queue.push(it)
}

// item returns an empty item.
func (w *World) item() *item {
	if n := len(w.spare); n > 0 {
		it := w.spare[n-1]
		w.spare = w.spare[:n-1]
		return it
	}
	return &item{}
}

// later returns the time after a delay.
func (w *World) later(d time.Duration) int64 { return w.now + int64(max(0, d)) }

// draw returns chance keyed by a node and one more number.
func (w *World) draw(s weather.Stream, h *host, n uint64) uint64 {
	return weather.Draw(w.cfg.Seed, s, uint64(h.index), n)
}

// happen carries out one item.
func (w *World) happen(h *host, it *item) {
	switch it.act {
	case actDeliver:
		switch {
		case h.m != nil:
			w.step(h, it.ev, it.sum)
		case h.agent != nil:
			w.heard(h, it.ev, it.sum)
		}
	case actPulse:
		w.pulse(h)
	case actOrder:
		if h.m != nil {
			w.step(h, it.ev, it.sum)
		}
		if h.m == nil { // it was down, or died of it: the user tries again
			w.push(&item{at: w.later(time.Second), node: it.node, act: actOrder, sum: it.sum, ev: it.ev})
		}
	case actAnswer:
		if h.m == nil || it.life != h.life {
			return
		}
		if ev := it.answer(); ev != nil {
			w.step(h, ev, eventSum(ev))
		}
	case actTick:
		w.tick(h, it)
	case actSurvey:
		w.look(h)
	case actCrash:
		h.dying = it.aux
	case actRestart:
		w.restart(h)
	}
}

// tick steps a machine whose deadline has passed. A tick that was superseded by an
// earlier one is dropped, one whose deadline has moved back is queued again.
func (w *World) tick(h *host, it *item) {
	if h.m == nil || it.life != h.life || it.at != h.wake {
		return
	}
	h.wake = -1
	if d := h.m.Deadline(); !h.fresh && (d.IsZero() || d.After(w.time(h))) {
		w.arm(h)
		return
	}
	w.step(h, machine.Tick{}, sumTick)
}

// time returns the time as a node's clock shows it.
func (w *World) time(h *host) time.Time { return h.start.Add(time.Duration(w.now)) }

// step lets a machine take an event, and carries out what it wants.
func (w *World) step(h *host, ev machine.Event, sum uint64) {
	flaw := &w.cfg.Nodes[h.index].Flaw
	if flaw.Deaf != nil && flaw.Deaf(w.Now(), ev) {
		w.arm(h)
		return
	}
	h.fresh = false
	w.steps++
	fx := h.m.Step(w.time(h), ev)
	w.trace.word(uint64(w.now))
	w.trace.word(uint64(h.index))
	w.trace.word(sum)
	if w.cfg.Log != nil {
		w.cfg.Log(w.Now(), int(h.index), describe(ev))
	}
	if flaw.Twist != nil {
		fx = flaw.Twist(w.Now(), fx)
	}
	if flaw.SaveLast {
		fx = slices.Clone(fx)
		slices.SortStableFunc(fx, func(a, b machine.Effect) int { return cmp.Compare(saveRank(a), saveRank(b)) })
	}
	done, dies := len(fx), false
	if h.dying != nil {
		done, dies = crashPoint(h.dying.Moment, fx, w.draw(weather.StreamCrash, h, uint64(h.life)))
	}
	for _, f := range fx[:done] {
		w.carryOut(h, f)
	}
	if w.cfg.Watch != nil {
		w.cfg.Watch(w.Now(), int(h.index), fx[:done])
	}
	if dies {
		w.crash(h)
		return
	}
	w.arm(h)
}

func saveRank(fx machine.Effect) int {
	if _, ok := fx.(machine.Save); ok {
		return 1
	}
	return 0
}

// crashPoint returns how many effects of a step are carried out, and whether the
// crash strikes now. A crash that waits for a Save does not strike in a step
// without one.
func crashPoint(m weather.Moment, fx []machine.Effect, draw uint64) (done int, dies bool) {
	save := slices.IndexFunc(fx, func(f machine.Effect) bool { return saveRank(f) > 0 })
	switch {
	case m == weather.Midway:
		return int(weather.Below(draw, uint64(len(fx))+1)), true
	case save < 0:
		return len(fx), false
	case m == weather.AfterSave:
		return save + 1, true
	default:
		return save, true
	}
}

// arm queues a tick for the machine's deadline, unless an earlier one is queued.
func (w *World) arm(h *host) {
	if h.m == nil {
		return
	}
	d := h.m.Deadline()
	if d.IsZero() && !h.fresh {
		return
	}
	at := max(w.now, int64(d.Sub(h.start)))
	if h.fresh {
		at = w.now
	}
	if at > w.now {
		h.spins = 0
	} else if h.spins++; h.spins > spinsMax {
		w.err = fmt.Errorf("world: node %d asks for ticks without end at %v", h.index, w.Now())
	}
	if h.wake >= 0 && h.wake <= at {
		return
	}
	h.wake = at
	it := w.item()
	it.at, it.node, it.life, it.act = at, h.index, h.life, actTick
	w.pushFrom(h, it)
}

// crash ends a life. What was not saved is gone, and peers notice in a while.
func (w *World) crash(h *host) {
	h.m, h.dying, h.wake = nil, nil, -1
	h.life++
	h.jobs, h.made = nil, nil
	clear(h.seen)
	w.trace.word(sumCrash)
	w.trace.word(uint64(h.index))
	if w.cfg.Log != nil {
		w.cfg.Log(w.Now(), int(h.index), "crash")
	}
	w.survey(w.now)
}

// restart starts a node, from what its disk holds.
func (w *World) restart(h *host) {
	if h.dying != nil { // no step offered the moment it waited for
		w.crash(h)
	}
	if h.m != nil {
		return
	}
	cfg := h.cfg
	cfg.Rand = rand.New(rand.NewPCG(
		w.draw(weather.StreamLife, h, 2*uint64(h.life)), w.draw(weather.StreamLife, h, 2*uint64(h.life)+1)))
	m, err := machine.New(cfg, h.snapshot())
	if err != nil {
		w.err = fmt.Errorf("world: node %d, life %d, at %v: %w", h.index, h.life, w.Now(), err)
		return
	}
	h.m, h.fresh = m, true
	h.jobs = make(map[ledger.OpID]*process)
	w.trace.word(sumRestart)
	w.trace.word(uint64(h.index))
	if w.cfg.Log != nil {
		w.cfg.Log(w.Now(), int(h.index), fmt.Sprintf("start of life %d", h.life))
	}
	w.survey(w.now)
	w.arm(h)
}

// save writes a batch to the node's disk, all or none.
func (h *host) save(batch []machine.Record, forget func(machine.Record) bool) {
	for _, r := range batch {
		if forget != nil && forget(r) {
			continue
		}
		key := string([]byte{byte(r.Kind)}) + string(r.Key)
		if r.Value == nil {
			delete(h.disk, key)
			continue
		}
		h.disk[key] = bytes.Clone(r.Value)
	}
}

// snapshot returns what the disk holds, by kind and key.
func (h *host) snapshot() machine.Snapshot {
	saved := make(machine.Snapshot, 0, len(h.disk))
	for _, key := range slices.Sorted(maps.Keys(h.disk)) {
		saved = append(saved, machine.Record{
			Kind: machine.RecordKind(key[0]), Key: []byte(key[1:]), Value: bytes.Clone(h.disk[key]),
		})
	}
	return saved
}
