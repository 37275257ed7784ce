package machine

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
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

// asksMax is how many providers are asked for a quote of a task.
const asksMax = 3

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
	for i := range order.Tasks {
		j.tasks = append(j.tasks, &task{job: j, index: i, of: i, phase: taskWaiting})
	}
	for i := range order.Check {
		j.tasks = append(j.tasks, &task{
			job: j, index: order.Tasks + i, phase: taskWaiting,
			of: uint32(uint64(i) * uint64(order.Tasks) / uint64(order.Check)),
		})
	}
	m.jobs[j.ID] = j
	m.save(m.jobRecord(j))
	m.due.buy = m.now
	m.buy()
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
		for _, p := range m.sortedPurchases() {
			if p.job == j {
				gone = append(gone, Record{Kind: RecordPurchase, Key: opKey(p.lease)})
				delete(m.purchases, p.lease)
			}
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

// buy goes over all jobs: bids, asks, choices, and what their leases need.
func (m *Machine) buy() {
	for _, j := range m.sortedJobs() {
		if j.ended {
			continue
		}
		m.publishBid(j)
		for _, t := range j.tasks {
			switch t.phase {
			case taskWaiting:
				m.look(t)
			case taskAsking:
				m.choose(t)
			case taskOpening, taskHired, taskDone:
			}
		}
	}
	m.tendPurchases()
}

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

func (m *Machine) takeOffer(o market.Offer) {
	if o.Provider == m.cfg.Self || o.Expires > m.now.Add(offerLifeMax).UnixMilli() {
		return
	}
	if !m.cfg.Crypto.Verify(o.Provider, o.SigningDigest(m.network), o.Sig) {
		m.note(Note{Fact: FactRefused, Peer: o.Provider, Text: "offer: its signature does not verify"})
		return
	}
	if _, registered := m.replica.State().Device(o.Provider, o.Class); !registered {
		return // a name costs nothing, a device on the ledger does
	}
	if m.book.Put(m.now.UnixMilli(), o) && len(m.jobs) > 0 {
		soonest(&m.due.buy, m.now)
	}
}

// offerLifeMax is the longest that an offer may live.
const offerLifeMax = 10 * time.Minute

// look asks the best providers for a quote. A task that is run again waits for
// the first run, and goes to somebody else.
func (m *Machine) look(t *task) {
	j := t.job
	if m.now.Before(t.until) {
		soonest(&m.due.buy, t.until)
		return
	}
	avoid := t.avoid
	if t.index >= j.Tasks {
		first := j.tasks[t.of]
		if first.phase != taskDone {
			return // Fetched of the first run looks again
		}
		avoid = append(slices.Clone(avoid), first.by)
	}
	ranked, misses := m.rank(j, avoid)
	if len(ranked) == 0 {
		m.nobody(t, misses)
		return
	}
	t.since = time.Time{}
	t.phase, t.nonce, t.quotes, t.asked = taskAsking, m.cfg.Rand.Uint64(), nil, nil
	for _, c := range ranked[:min(asksMax, len(ranked))] {
		a := m.asking(t)
		t.asked = append(t.asked, c.Offer.Provider)
		m.send(c.Offer.Provider, p2p.Quote, wire.Seal(wire.KindAsk, a.Put))
	}
	t.until = m.now.Add(m.cfg.Timing.Quote)
	soonest(&m.due.buy, t.until)
}

// asking returns the question that a task asks.
func (m *Machine) asking(t *task) market.Ask {
	j := t.job
	return market.Ask{
		Client: m.cfg.Self, Bid: j.ID, Nonce: t.nonce, Class: j.Class, Units: j.Units, Seconds: j.Seconds,
	}
}

// rank returns the offers that could take a task of the job, best first, by the
// price that this node computes from its own replica, and the nearest misses when
// there is none.
func (m *Machine) rank(j *job, avoid []p2p.PeerID) ([]market.Candidate, []market.Miss) {
	m.book.Expire(m.now.UnixMilli())
	need := market.Need{Class: j.Class, Region: j.Region, Units: j.Units, Seconds: j.Seconds, Max: j.Max}
	ranked, misses := market.Rank(m.book, need, m.leases.Pricer(m.replica.State(), need), j.ID)
	ranked = slices.DeleteFunc(ranked, func(c market.Candidate) bool { return slices.Contains(avoid, c.Offer.Provider) })
	return ranked, misses
}

// dearPatience is how many times Retry a job waits for a cheaper provider when it
// has no lease that could end and lower the price.
const dearPatience = 5

// nobody lets a task wait for offers, and fails its job when none comes in time.
func (m *Machine) nobody(t *task, misses []market.Miss) {
	if t.since.IsZero() {
		t.since = m.now
	}
	if len(t.avoid) > 0 && m.now.Sub(t.since) >= m.cfg.Timing.Patience {
		t.avoid = nil // those that failed it may be back, and there is nobody else
	}
	dear := len(misses) > 0 && misses[0].Reason == market.MissPrice
	if dear && m.settled(t.job) && m.now.Sub(t.since) >= dearPatience*m.cfg.Timing.Retry {
		m.endJob(t.job, CauseBudget, fmt.Sprintf("budget: task %d is too dear: %s", t.index, t.missText(misses)))
		return
	}
	if m.now.Sub(t.since) >= m.cfg.Timing.Search {
		m.endJob(t.job, CauseNobody, fmt.Sprintf("no provider for task %d: %s", t.index, t.missText(misses)))
		return
	}
	t.until = m.now.Add(m.cfg.Timing.Retry)
	soonest(&m.due.buy, t.until)
}

// missText says which offers came nearest to what a task needs, and what would
// match.
func (t *task) missText(misses []market.Miss) string {
	if len(misses) == 0 {
		return fmt.Sprintf("%d providers are left out, because they failed it or ran the task that it checks", len(t.avoid)+1)
	}
	var words []string
	for _, miss := range misses {
		switch miss.Reason {
		case market.MissClass:
			words = append(words, fmt.Sprintf("nobody offers class %s", t.job.Class))
		case market.MissPrice:
			words = append(words, fmt.Sprintf("%s asks %d atoms, at most %v are allowed",
				miss.Offer.Provider.Short(), miss.Have, t.job.Max))
		case market.MissUnpriced, market.MissUnits, market.MissRegion, market.MissSeveral:
			words = append(words, fmt.Sprintf("%s: %v, it has %d mCU free in region %s, the task needs %d in %s",
				miss.Offer.Provider.Short(), miss.Reason, miss.Have, miss.Offer.Region, t.job.Units, t.job.Region))
		}
	}
	return strings.Join(words, "; ")
}

// quoted takes a quote that was asked for. The first answer of a provider counts.
func (m *Machine) quoted(from p2p.PeerID, q market.Quote) {
	j := m.jobs[q.Bid]
	if j == nil || q.Provider != from || q.Client != m.cfg.Self {
		return
	}
	i := slices.IndexFunc(j.tasks, func(t *task) bool { return t.phase == taskAsking && t.nonce == q.Nonce })
	if i < 0 || !slices.Contains(j.tasks[i].asked, from) {
		return
	}
	t := j.tasks[i]
	t.asked = slices.DeleteFunc(t.asked, func(id p2p.PeerID) bool { return id == from })
	asked := market.Question{Ask: m.asking(t), Provider: from, Now: m.now.UnixMilli()}
	if no := market.CheckQuote(m.leases, m.replica.State(), &q, asked, m.cfg.Crypto.Verify); no != 0 {
		m.note(Note{Fact: FactRefused, Peer: from, Job: j.ID, Text: "quote: " + no.String()})
	} else {
		t.quotes = append(t.quotes, q)
	}
	if len(t.asked) == 0 {
		t.until = m.now
		m.choose(t)
	}
}

// choose takes the cheapest quote, by provider where two are equal in price. A
// provider that is about to take another lease of this node is passed over, since
// that lease will move its price.
func (m *Machine) choose(t *task) {
	if m.now.Before(t.until) {
		soonest(&m.due.buy, t.until)
		return
	}
	busy := m.opening()
	slices.SortFunc(t.quotes, func(a, b market.Quote) int {
		return cmp.Or(cmp.Compare(a.Charge, b.Charge), p2p.PeerID(m.lot(t, a)).Compare(p2p.PeerID(m.lot(t, b))))
	})
	for _, q := range t.quotes {
		moved := q.D0 != m.leases.Position(q.Provider, q.Class)
		if busy[q.Provider] || moved || q.Expires < m.now.UnixMilli() {
			continue
		}
		if m.escrowed(t.job)+q.Charge > t.job.Max {
			m.overBudget(t, q)
			return
		}
		m.openLease(t, q)
		return
	}
	t.phase, t.until = taskWaiting, m.now.Add(m.cfg.Timing.Quote)
	soonest(&m.due.buy, t.until)
}

// lot decides between providers of one price, differently for each task, so that
// the tasks of a job spread.
func (m *Machine) lot(t *task, q market.Quote) p2p.Digest {
	return p2p.Sum("pinfi/lot/1", t.job.ID[:], []byte{byte(t.index >> 8), byte(t.index)}, q.Provider[:])
}

// overBudget lets a task wait for refunds, and fails its job when none can come.
func (m *Machine) overBudget(t *task, q market.Quote) {
	t.phase, t.until = taskWaiting, m.now.Add(m.cfg.Timing.Retry)
	soonest(&m.due.buy, t.until)
	opening := slices.ContainsFunc(t.job.tasks, func(t *task) bool { return t.phase == taskOpening })
	if t.poor.IsZero() {
		t.poor = m.now
	}
	// A provider that never closes its lease must not hold the job with it.
	hopeless := m.now.Sub(t.poor) >= m.cfg.Timing.Search && !m.serving(t.job)
	if !opening && (m.settled(t.job) || hopeless) {
		m.endJob(t.job, CauseBudget, fmt.Sprintf("budget: task %d costs up to %v atoms, and %v of the %v allowed are spent",
			t.index, q.Charge, m.escrowed(t.job), t.job.Max))
	}
}

// serving reports whether a task of the job is with a provider.
func (m *Machine) serving(j *job) bool {
	return slices.ContainsFunc(j.tasks, func(t *task) bool { return t.phase == taskHired })
}

// opening returns the providers that have a lease of this node to accept.
func (m *Machine) opening() map[p2p.PeerID]bool {
	busy := make(map[p2p.PeerID]bool)
	for _, j := range m.jobs { // order-free: a set
		for _, t := range j.tasks {
			if t.phase == taskOpening && !j.ended { // what an ended job has queued is not signed
				busy[t.by] = true
			}
		}
	}
	for id, p := range m.purchases { // order-free: a set
		l, ok := m.leases.Lease(id)
		if !p.closed && !p.orphan && (!ok || l.State == market.StateOpen) {
			busy[p.provider] = true
		}
	}
	return busy
}

// escrowed returns what the job's leases hold or have paid, those included whose
// turn to be signed has not come.
func (m *Machine) escrowed(j *job) ledger.Amount {
	var sum ledger.Amount
	for _, t := range j.tasks {
		if t.phase == taskOpening {
			sum += t.charge
		}
	}
	for _, p := range m.purchases { // order-free: a sum
		if p.job == j {
			sum += m.committed(p)
		}
	}
	return sum
}

// openLease signs a LeaseOpen for the quote when its turn comes. The purchase is
// saved with it: an escrow that nobody remembers would be lost.
func (m *Machine) openLease(t *task, q market.Quote) {
	t.phase, t.by, t.charge, t.poor = taskOpening, q.Provider, q.Charge, time.Time{}
	m.note(Note{Fact: FactQuoted, Job: t.job.ID, Task: t.index, Peer: q.Provider, Amount: q.Charge})
	terms := t.terms()
	m.want(0, intent{
		kind: ledger.KindLeaseOpen,
		key:  p2p.Sum("open", t.job.ID[:], fmt.Appendf(nil, "%d", t.nonce)),
		body: func() ([]byte, bool) {
			open := market.LeaseOpen{
				Provider: q.Provider, Class: q.Class, Units: q.Units, Seconds: q.Seconds, Escrow: q.Charge,
				Terms: terms.Digest(),
			}
			return open.Encode(), t.phase == taskOpening && !t.job.ended
		},
		made: func(id ledger.OpID) []Record {
			p := &purchase{lease: id, job: t.job, task: t, provider: q.Provider, escrow: q.Charge}
			m.purchases[id] = p
			t.phase, t.lease = taskHired, id
			m.note(Note{Fact: FactHired, Job: t.job.ID, Task: t.index, Peer: q.Provider, Lease: id, Amount: q.Charge})
			return []Record{m.purchaseRecord(p), m.jobRecord(t.job)}
		},
		void: func(r ledger.Result) {
			m.endJob(t.job, CauseLedger, fmt.Sprintf("task %d: the lease would be refused: %v", t.index, r))
		},
	})
}

// terms returns what the task's provider must run.
func (t *task) terms() market.Terms {
	j := t.job
	return market.Terms{
		Module: j.Module, Input: j.Input, InputName: j.InputName, Task: t.of, Tasks: j.Tasks,
		MemoryPages: j.MemoryPages, Seconds: j.Seconds,
	}
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
	m.save(m.jobRecord(t.job))
	if t.fails >= triesMax || t.moves >= movesMax {
		m.endJob(t.job, CauseProviders, fmt.Sprintf("task %d: it left %d providers, %d of which failed it, the last one so: %s",
			t.index, t.moves, t.fails, why))
	}
	soonest(&m.due.buy, m.now)
}

// finish ends a task whose output is here, and its job with the last one.
func (m *Machine) finish(t *task, r market.Report) {
	t.phase, t.result = taskDone, r
	j := t.job
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
	m.save(m.jobRecord(j))
	soonest(&m.due.buy, m.now)
}

func (m *Machine) endJob(j *job, cause Cause, failure string) {
	if j.ended {
		return
	}
	j.ended, j.cause, j.failure = true, cause, failure
	m.save(m.jobRecord(j))
	m.note(Note{Fact: FactJobDone, Job: j.ID, Text: failure})
	soonest(&m.due.buy, m.now)
}
