package machine

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// A job is a user's order and how it stands.
type job struct {
	Job
	order   uint64 // in which the jobs of this node came
	tasks   []*task
	leases  []*purchase // all that were ever signed for it
	ended   bool
	cause   Cause  // why the job ended without all its output; zero: it did not
	failure string // the same in words
	bidAt   time.Time
}

// A task is one run of a job's module. The tasks from Job.Tasks on run an earlier
// one again, on another provider.
type task struct {
	job    *job
	index  uint32
	of     uint32 // the task whose number the module is given
	phase  taskPhase
	lease  ledger.OpID    // in phase taskHired
	by     p2p.PeerID     // who serves, or served, it
	avoid  []p2p.PeerID   // who failed it lately
	fails  uint32         // how often a provider failed it
	moves  uint32         // how often it left a provider, for whatever reason
	result market.Report  // in phase taskDone
	quotes []market.Quote // in phase taskAsking
	asked  []p2p.PeerID   // in phase taskAsking: who has not answered yet
	charge ledger.Amount  // in phase taskOpening: what the lease will hold
	nonce  uint64
	until  time.Time // taskAsking: when to choose; taskWaiting: when to look again
	since  time.Time // taskWaiting: since when nobody could take it; zero: somebody can
	poor   time.Time // since when the budget does not reach for it; zero: it does
}

// A taskPhase is where a task stands. Phases are saved, and so append-only.
type taskPhase uint8

const (
	// taskWaiting: nobody has it. Left when providers are asked.
	taskWaiting taskPhase = iota + 1
	// taskAsking: quotes are collected. Left when one is taken, or none came.
	taskAsking
	// taskOpening: the LeaseOpen waits for its turn. Left when it is signed.
	taskOpening
	// taskHired: a lease is signed. Left when the output is here, or the provider
	// is given up.
	taskHired
	// taskDone: the output is here. Never left.
	taskDone
)

// triesMax is how often providers may fail a task before its job fails.
const triesMax = 8

// movesMax is how often a task may leave a provider, for whatever reason, before its
// job fails: each lease costs a fee.
const movesMax = 64

// Validate reports what is wrong with the order, and what would be right.
func (j *Job) Validate(p *market.Params) error {
	_, known := p.ClassIndex(j.Class)
	switch {
	case j.ID.IsZero():
		return fmt.Errorf("job: no id")
	case !known:
		return fmt.Errorf("job: class %q is not traded here; these are: %v", j.Class, p.ClassNames())
	case j.Module.IsZero():
		return fmt.Errorf("job: no module")
	case j.Tasks < 1 || j.Tasks > MaxTasks:
		return fmt.Errorf("job: %d tasks, want 1 to %d", j.Tasks, MaxTasks)
	case j.Check > j.Tasks:
		return fmt.Errorf("job: %d tasks to check, it has %d", j.Check, j.Tasks)
	case !market.ValidRegion(j.Region):
		return fmt.Errorf("job: region %q, want 1 to %d of a-z 0-9 . -", j.Region, market.MaxRegion)
	case j.Units < leastUnits || j.Units > market.MaxCapacity:
		return fmt.Errorf("job: %d mCU, want %d to %d", j.Units, leastUnits, uint64(market.MaxCapacity))
	case j.Seconds < 1 || j.Seconds > market.MaxTerm:
		return fmt.Errorf("job: %d seconds, want 1 to %d", j.Seconds, market.MaxTerm)
	case j.MemoryPages < 1 || j.MemoryPages > market.MaxMemoryPages:
		return fmt.Errorf("job: %d pages of memory, want 1 to %d", j.MemoryPages, market.MaxMemoryPages)
	case uint64(j.MemoryPages) > memoryMax*j.Units/1000:
		return fmt.Errorf("job: %d pages of memory, %d mCU have %d", j.MemoryPages, j.Units, memoryMax*j.Units/1000)
	case j.Input.IsZero() && j.InputName != "":
		return fmt.Errorf("job: an input name %q and no input", j.InputName)
	case !j.Input.IsZero() && !market.ValidName(j.InputName):
		return fmt.Errorf("job: input name %q, want a file name of 1 to %d bytes", j.InputName, market.MaxName)
	}
	return nil
}

func (m *Machine) submit(order Job) {
	if m.jobs[order.ID] != nil {
		return // the id is the idempotency key
	}
	if err := order.Validate(&m.cfg.Genesis.Market); err != nil {
		m.note(Note{Fact: FactJobDone, Job: order.ID, Text: err.Error()})
		return
	}
	if len(m.jobs) >= m.cfg.Limits.Jobs && !m.forgetJob() {
		why := fmt.Sprintf("job: %d jobs are under way, at most %d", len(m.jobs), m.cfg.Limits.Jobs)
		m.note(Note{Fact: FactJobDone, Job: order.ID, Text: why})
		return
	}
	j := &job{Job: order, order: m.nextOrder()}
	j.makeTasks()
	m.jobs[j.ID] = j
	m.save(j.record())
	m.due.buy = m.now
	m.buy()
}

// makeTasks makes the tasks of the order, and those that run some of them again,
// evenly spread. Nobody has them yet.
func (j *job) makeTasks() {
	j.tasks = make([]*task, j.Tasks+j.Check)
	for i := range j.tasks {
		t := &task{job: j, index: uint32(i), of: uint32(i), phase: taskWaiting}
		if t.index >= j.Tasks {
			t.of = uint32(uint64(t.index-j.Tasks) * uint64(j.Tasks) / uint64(j.Check))
		}
		j.tasks[i] = t
	}
}

func (m *Machine) nextOrder() uint64 {
	var last uint64
	for _, j := range m.jobs { // order-free: a maximum
		last = max(last, j.order)
	}
	return last + 1
}

// sortedJobs returns the jobs in the order in which they came.
func (m *Machine) sortedJobs() []*job {
	return slices.SortedFunc(maps.Values(m.jobs), func(a, b *job) int { return int(a.order) - int(b.order) })
}

// forgetJob drops the oldest job that has ended and is settled.
func (m *Machine) forgetJob() bool {
	for _, j := range m.sortedJobs() {
		if !j.ended || !m.settled(j) {
			continue
		}
		gone := []Record{{Kind: RecordJob, Key: j.ID[:]}}
		for _, t := range j.tasks {
			gone = append(gone, Record{Kind: RecordTask, Key: t.key()})
		}
		for _, p := range j.leases {
			gone = append(gone, Record{Kind: RecordPurchase, Key: opKey(p.lease)})
			delete(m.purchases, p.lease)
		}
		delete(m.jobs, j.ID)
		m.save(gone...)
		return true
	}
	return false
}

// wakeJobs goes on with the jobs of a former life.
func (m *Machine) wakeJobs() {
	if len(m.jobs) > 0 {
		m.due.buy = m.now
	}
}

// buy goes over the jobs under way: bids, asks, choices, and what their leases need.
func (m *Machine) buy() {
	asking := m.asked()
	busy := m.opening()
	for _, j := range m.sortedJobs() {
		if j.ended {
			continue
		}
		m.publishBid(j)
		var offers ranking
		for _, t := range j.tasks {
			switch {
			case t.phase == taskAsking:
				m.choose(t, busy)
			case t.phase != taskWaiting:
			case asking >= askingMax:
				soonest(&m.due.buy, m.now.Add(m.cfg.Timing.Quote))
			default:
				m.look(t, &offers)
				if t.phase == taskAsking {
					asking++
				}
			}
		}
	}
	m.tendPurchases()
}

// asked returns the number of tasks for which quotes are collected.
func (m *Machine) asked() int {
	n := 0
	for _, j := range m.jobs { // order-free: a count
		for _, t := range j.tasks {
			if t.phase == taskAsking && !j.ended {
				n++
			}
		}
	}
	return n
}

// askingMax bounds the tasks for which quotes are collected at once. A node signs
// one lease after the other, so more would wait, and their quotes grow old.
const askingMax = 32

// publishBid tells the market what the job needs while a task has no provider.
func (m *Machine) publishBid(j *job) {
	open := slices.ContainsFunc(j.tasks, func(t *task) bool { return t.phase == taskWaiting })
	if !open || m.now.Before(j.bidAt) {
		return
	}
	j.bidAt = m.now.Add(10 * m.cfg.Timing.Retry)
	b := market.Bid{
		Client: m.cfg.Self, ID: j.ID, Class: j.Class, Region: j.Region, Units: j.Units, Seconds: j.Seconds,
		Max: j.Max, Tasks: j.Tasks, Expires: j.bidAt.UnixMilli(),
	}
	b.Sig = m.cfg.Crypto.Sign(b.SigningDigest(m.network))
	m.do(Publish{Topic: m.network.Offers(string(j.Class), j.Region), Data: wire.Seal(wire.KindBid, b.Put)})
}

// release takes a task from its provider; another one will be looked for.
func (m *Machine) release(t *task, blame bool, why string) {
	t.moves++
	if blame {
		t.fails++
	}
	if blame && !slices.Contains(t.avoid, t.by) {
		t.avoid = append(t.avoid, t.by)
	}
	m.note(Note{Fact: FactAbandoned, Job: t.job.ID, Task: t.index, Peer: t.by, Lease: t.lease, Text: why})
	t.phase, t.lease, t.until = taskWaiting, ledger.OpID{}, time.Time{}
	m.save(t.record())
	if t.fails >= triesMax || t.moves >= movesMax {
		m.endJob(t.job, CauseProviders, fmt.Sprintf(
			"task %d: it left %d providers, %d of which failed it, the last one so: %s", t.index, t.moves, t.fails, why))
	}
	soonest(&m.due.buy, m.now)
}

// finish ends a task whose output is here, and its job with the last one.
func (m *Machine) finish(t *task, r market.Report) {
	t.phase, t.result = taskDone, r
	j := t.job
	m.save(t.record())
	m.note(Note{Fact: FactFinished, Job: j.ID, Task: t.index, Peer: t.by, Lease: t.lease})
	if t.index >= j.Tasks {
		fact := FactMatched
		if first := j.tasks[t.of].result; first.Output != r.Output || first.Exit != r.Exit {
			fact = FactMismatch
		}
		m.note(Note{Fact: fact, Job: j.ID, Task: t.of, Peer: t.by})
		if fact == FactMismatch {
			m.endJob(j, CauseMismatch, fmt.Sprintf("task %d gave another output when %s ran it again", t.of, t.by.Short()))
			return
		}
	}
	if !slices.ContainsFunc(j.tasks, func(t *task) bool { return t.phase != taskDone }) {
		m.endJob(j, 0, "")
		return
	}
	soonest(&m.due.buy, m.now)
}

func (m *Machine) endJob(j *job, cause Cause, failure string) {
	if j.ended {
		return
	}
	j.ended, j.cause, j.failure = true, cause, failure
	m.save(j.record())
	m.note(Note{Fact: FactJobDone, Job: j.ID, Text: failure})
	soonest(&m.due.buy, m.now)
}
