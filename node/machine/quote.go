package machine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// takeOffer puts an offer into the book.
func (m *Machine) takeOffer(o market.Offer) {
	if o.Provider == m.cfg.Self || o.Expires > m.now.Add(offerLifeMax).UnixMilli() {
		return
	}
	if !m.cfg.Crypto.Verify(o.Provider, o.SigningDigest(m.network), o.Sig) {
		m.note(Note{Fact: FactRefused, Peer: o.Provider, Text: "offer: its signature does not verify"})
		return
	}
	if d, registered := m.replica.State().Device(o.Provider, o.Class); !registered || d.Retired() {
		if _, there := m.early[o.Provider]; there || len(m.early) < earlyMax {
			m.early[o.Provider] = o
		}
		return // a name costs nothing, a device on the ledger does
	}
	if m.book.Put(m.now.UnixMilli(), o) && len(m.jobs) > 0 {
		soonest(&m.due.buy, m.now)
	}
}

// earlyMax bounds the offers that are kept aside because their device is not registered
// here yet: a provider offers as soon as it has seen its own registration applied.
const earlyMax = 256

// registered takes the offer that came before its device was registered.
func (m *Machine) registered(provider p2p.PeerID) {
	if o, ok := m.early[provider]; ok {
		delete(m.early, provider)
		m.takeOffer(o)
	}
}

// offerLifeMax is the longest that an offer may live.
const offerLifeMax = 10 * time.Minute

// look asks the best providers for a quote. A task that is run again waits for
// the first run, and goes to somebody else.
func (m *Machine) look(t *task, offers *ranking) {
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
	best := m.rank(j, avoid, offers)
	if len(best) == 0 {
		m.nobody(t, offers.misses)
		return
	}
	t.since = time.Time{}
	t.phase, t.nonce, t.quotes, t.asked = taskAsking, m.cfg.Rand.Uint64(), nil, nil
	for _, c := range best {
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

// A ranking is the offers that could take a task of a job, best first, or the
// nearest misses when there is none. It is made once in a step for all tasks.
type ranking struct {
	made   bool
	offers []market.Candidate
	misses []market.Miss
}

// rank returns the best offers that are not to be avoided, by the price that this
// node computes from its own replica, as many as are asked.
func (m *Machine) rank(j *job, avoid []p2p.PeerID, all *ranking) []market.Candidate {
	if !all.made {
		m.book.Expire(m.now.UnixMilli())
		need := market.Need{Class: j.Class, Region: j.Region, Units: j.Units, Seconds: j.Seconds, Max: j.Max}
		all.offers, all.misses = market.Rank(m.book, need, m.leases.Pricer(m.replica.State(), need), j.ID)
		all.made = true
	}
	var best []market.Candidate
	for _, c := range all.offers {
		if len(best) == asksMax {
			break
		}
		if !slices.Contains(avoid, c.Offer.Provider) {
			best = append(best, c)
		}
	}
	return best
}

// asksMax is how many providers are asked for a quote of a task.
const asksMax = 3

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
		m.choose(t, m.opening())
	}
}

// choose takes the cheapest quote, by provider where two are equal in price. A
// provider that is about to take another lease of this node is passed over, since
// that lease will move its price.
func (m *Machine) choose(t *task, busy map[p2p.PeerID]bool) {
	if m.now.Before(t.until) {
		soonest(&m.due.buy, t.until)
		return
	}
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
		busy[q.Provider] = true
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
	for id, p := range m.unsettled { // order-free: a set
		l, ok := m.leases.Lease(id)
		if !p.orphan && (!ok || l.State == market.StateOpen) {
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
	for _, p := range j.leases {
		sum += m.committed(p)
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
			m.keepPurchase(p)
			t.phase, t.lease = taskHired, id
			m.note(Note{Fact: FactHired, Job: t.job.ID, Task: t.index, Peer: q.Provider, Lease: id, Amount: q.Charge})
			return []Record{p.record(), t.record()}
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
