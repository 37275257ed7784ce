package machine

import (
	"maps"
	"slices"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// A purchase is a lease that this node pays.
type purchase struct {
	lease    ledger.OpID
	job      *job
	task     *task
	provider p2p.PeerID
	escrow   ledger.Amount
	opened   int64  // unix milliseconds at which the lease was seen applied; 0: not yet
	paid     uint64 // seconds of the last voucher
	final    bool   // no further second will be paid
	orphan   bool   // the task went to another provider
	closed   bool   // LeaseClose is applied
	former   bool   // of a former life, and not heard of in this one

	heard    time.Time // when the provider last said something
	started  time.Time // when the process was first heard to run; zero: not in this life
	fetching bool
	missed   int // fetches of its output that failed
	due      time.Time
}

// missesMax is how often an output may fail to come before its provider is given up.
const missesMax = 5

// keepPurchase takes note of a purchase.
func (m *Machine) keepPurchase(p *purchase) {
	m.purchases[p.lease] = p
	p.job.leases = append(p.job.leases, p)
	if !p.closed {
		m.unsettled[p.lease] = p
	}
}

// forgetPurchase forgets a lease that cannot be.
func (m *Machine) forgetPurchase(p *purchase) {
	delete(m.purchases, p.lease)
	delete(m.unsettled, p.lease)
	p.job.leases = slices.DeleteFunc(p.job.leases, func(q *purchase) bool { return q == p })
}

// inOrder returns purchases in the order of their leases.
func inOrder(purchases map[ledger.OpID]*purchase) []*purchase {
	return slices.SortedFunc(maps.Values(purchases), func(a, b *purchase) int { return a.lease.Compare(b.lease) })
}

// committed returns what a purchase holds in escrow, or has cost.
func (m *Machine) committed(p *purchase) ledger.Amount {
	if l, ok := m.leases.Lease(p.lease); ok && l.State == market.StateClosed {
		return l.Escrow - l.Refund
	}
	return p.escrow
}

// settled reports whether every lease of a job is closed.
func (m *Machine) settled(j *job) bool {
	return !slices.ContainsFunc(j.leases, func(p *purchase) bool { return !p.closed })
}

// leaseOpened hands the terms over as soon as the lease is certain.
func (m *Machine) leaseOpened(id ledger.OpID) {
	p := m.purchases[id]
	if p == nil || p.opened != 0 {
		return
	}
	p.opened, p.heard = m.now.UnixMilli(), m.now
	m.save(p.record())
	m.sendStart(p)
}

// sendStart hands the terms to the provider. The client owns the retry, until
// there is a report.
func (m *Machine) sendStart(p *purchase) {
	st := market.Start{Lease: p.lease, Terms: p.task.terms()}
	m.send(p.provider, p2p.Lease, wire.Seal(wire.KindStart, st.Put))
	p.due = m.now.Add(m.cfg.Timing.Retry)
	soonest(&m.due.buy, p.due)
}

// serves reports whether the purchase is the one that its task waits for.
func (p *purchase) serves() bool {
	return !p.orphan && p.task.phase == taskHired && p.task.lease == p.lease
}

// tendPurchases repeats what needs repeating, and gives up providers that have
// been silent for too long.
func (m *Machine) tendPurchases() {
	for _, p := range inOrder(m.unsettled) {
		if p.opened == 0 {
			continue
		}
		if p.heard.IsZero() { // first look in this life
			p.heard = m.now
		}
		switch {
		case !p.serves():
			m.remind(p)
		case p.job.ended:
			m.abandon(p, "the job has ended")
		case m.now.Sub(p.heard) >= m.cfg.Timing.Patience:
			m.abandon(p, "no word from the provider")
			m.release(p.task, true, "no word from the provider")
		case m.overdue(p):
			m.abandon(p, "the job does not come to its end")
			m.release(p.task, true, "the job does not come to its end")
		case !m.now.Before(p.due):
			m.sendStart(p)
		}
		soonest(&m.due.buy, p.due)
	}
}

// overdue reports whether a provider has talked for longer than any honest one
// could: a job that runs again after a crash has ended in twice its time.
func (m *Machine) overdue(p *purchase) bool {
	if p.started.IsZero() {
		return m.now.Sub(time.UnixMilli(p.opened)) >= m.cfg.Timing.Load
	}
	return !p.fetching && m.now.Sub(p.started) >= 2*time.Duration(p.job.Seconds)*time.Second+m.cfg.Timing.Patience
}

// remind repeats the last voucher of a lease that nobody needs any longer, so
// that its provider closes it. Done is done, and its voucher may have been lost.
func (m *Machine) remind(p *purchase) {
	if !m.now.Before(p.due) {
		m.pay(p, p.paid, true)
		p.due = m.now.Add(2 * m.cfg.Timing.Retry)
	}
}

// abandon ends what this node wants from a lease. Its provider is told whenever
// it speaks up, and closes the lease with what was paid so far.
func (m *Machine) abandon(p *purchase, why string) {
	p.orphan = true
	if p.job.ended && p.task.phase == taskHired {
		m.note(Note{Fact: FactAbandoned, Job: p.job.ID, Task: p.task.index, Peer: p.provider, Lease: p.lease, Text: why})
	}
	m.pay(p, p.paid, true)
	p.due = m.now.Add(2 * m.cfg.Timing.Retry)
}

// report takes a provider's word on how a job stands.
func (m *Machine) report(from p2p.PeerID, r market.Report) {
	p := m.purchases[r.Lease]
	if p == nil || p.provider != from || p.closed {
		return
	}
	p.heard = m.now
	if !p.serves() {
		p.due = m.now.Add(2 * m.cfg.Timing.Retry)
		m.pay(p, p.paid, true)
		return
	}
	blame := !p.former // else it was this node that fell silent
	p.former = false
	p.due = m.now.Add(m.cfg.Timing.Patience) // it has the terms; the next word is its own
	switch r.Phase {
	case market.PhaseAccepted:
	case market.PhaseRunning:
		if p.started.IsZero() {
			p.started = m.now
			m.note(Note{Fact: FactStarted, Job: p.job.ID, Task: p.task.index, Peer: from, Lease: p.lease})
		}
		m.pay(p, r.Used, false)
	case market.PhaseDone:
		if !p.fetching { // else what is being fetched is the output, whatever is said meanwhile
			p.fetching, p.task.result = true, r
			m.do(Fetch{Lease: p.lease, Provider: from, Output: r.Output, Log: r.Log})
		}
	case market.PhaseFailed:
		m.abandon(p, r.Text)
		m.release(p.task, blame, r.Text)
	}
}

// fetched pays for an output that is here, and gives up a provider that does not
// hand it over.
func (m *Machine) fetched(ev Fetched) {
	p := m.purchases[ev.Lease]
	if p == nil || !p.fetching {
		return
	}
	p.fetching = false
	if !p.serves() {
		return
	}
	if !ev.OK {
		m.note(Note{Fact: FactRefused, Peer: p.provider, Lease: p.lease, Text: "output: " + ev.Text})
		if p.missed++; p.missed == missesMax || p.closed {
			m.abandon(p, "it does not hand the output over: "+ev.Text)
			m.release(p.task, true, "it does not hand the output over: "+ev.Text)
		}
		return // else the next report asks again
	}
	m.finish(p.task, p.task.result)
	m.pay(p, p.task.result.Used, true)
}

// pay signs a voucher for all seconds so far: as many as the provider says, but
// no more than have passed here since the lease was certain, and one interval.
// The promise is saved before it is sent.
func (m *Machine) pay(p *purchase, used uint64, final bool) {
	since := time.Duration(m.now.UnixMilli()-p.opened)*time.Millisecond + m.cfg.Timing.Voucher
	limit := min(uint64((since+time.Second-1)/time.Second), uint64(p.job.Seconds))
	used = max(p.paid, min(used, limit))
	final = final || p.final
	if used != p.paid || final != p.final {
		p.paid, p.final = used, final
		m.save(p.record())
	}
	if p.paid == 0 && !p.final {
		return
	}
	v := market.Voucher{Lease: p.lease, Used: p.paid, Final: p.final}
	v.Sig = m.cfg.Crypto.Sign(v.SigningDigest(m.network))
	m.send(p.provider, p2p.Lease, wire.Seal(wire.KindPay, v.Put))
}

// purchaseClosed settles a purchase. A task whose lease was closed under it goes
// to another provider, unless its output is on the way.
func (m *Machine) purchaseClosed(id ledger.OpID) {
	p := m.purchases[id]
	if p == nil || p.closed {
		return
	}
	p.closed = true
	delete(m.unsettled, id)
	m.save(p.record())
	l, _ := m.leases.Lease(id)
	m.note(Note{
		Fact: FactClosed, Job: p.job.ID, Task: p.task.index, Peer: p.provider, Lease: id, Amount: l.Escrow - l.Refund,
	})
	if p.serves() && !p.fetching {
		p.orphan = true
		m.release(p.task, !p.former, "the provider closed the lease: "+l.Reason.String())
	}
}
