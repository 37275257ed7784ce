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

// A sale is a lease that this node serves.
type sale struct {
	lease   ledger.OpID
	client  p2p.PeerID
	terms   market.Terms
	phase   salePhase
	report  market.Report  // what the client is told, latest
	voucher market.Voucher // best voucher; Used 0: none yet
	reason  market.EndReason

	took    time.Time // when this life took it up
	began   time.Time // when the process started; zero: not in this life
	paidAt  time.Time // when the best voucher came, or the process started
	due     time.Time // when to report again
	stopped bool      // the process was asked to stop at the end of its term
}

// A salePhase is where a sale stands. Phases are saved, and so append-only.
type salePhase uint8

const (
	// saleRunning: the terms are known, the job is run. Left when the job ends.
	saleRunning salePhase = iota + 1
	// saleDone: the job has ended, the last voucher is awaited. Left when it comes,
	// or when Grace has passed without one.
	saleDone
	// saleClosing: LeaseClose is on its way. Left, and the sale forgotten, when it
	// is applied.
	saleClosing
)

// register makes this node's device known on the ledger, once.
func (m *Machine) register() {
	s := m.cfg.Sell
	m.want(0, intent{
		kind: ledger.KindDeviceRegister,
		key:  p2p.Sum("register", []byte(s.Class)),
		body: func() ([]byte, bool) {
			d, known := m.replica.State().Device(m.cfg.Self, s.Class)
			return ledger.DeviceRegister{Class: s.Class, Declared: s.Units}.Encode(), !known || d.Retired()
		},
	})
}

// offer gossips what is for sale.
func (m *Machine) offer() {
	s := m.cfg.Sell
	if s == nil {
		return
	}
	m.due.offer = m.now.Add(m.cfg.Timing.Offer)
	device, ok := m.replica.State().Device(m.cfg.Self, s.Class)
	if !ok || device.Retired() {
		return // until DeviceRegister is applied
	}
	m.offered = m.now
	capacity := min(m.capacity(), device.Declared)
	o := market.Offer{
		Provider: m.cfg.Self, Class: s.Class, Region: s.Region,
		Seq:      uint64(m.now.UnixMilli()),
		Declared: device.Declared, Free: capacity - min(capacity, m.taken()),
		Reserve: s.Reserve, Expires: m.now.Add(4 * m.cfg.Timing.Offer).UnixMilli(),
	}
	o.Sig = m.cfg.Crypto.Sign(o.SigningDigest(m.network))
	m.do(Publish{
		Topic: m.network.Offers(string(s.Class), s.Region),
		Data:  wire.Seal(wire.KindOffer, o.Put),
	})
}

// capacity returns what this node's device may sell in all, in mCU.
func (m *Machine) capacity() uint64 {
	return m.leases.Capacity(m.replica.State(), m.cfg.Self, m.cfg.Sell.Class)
}

// leaseLane returns the lane on which a lease is accepted and closed, and false
// while the ledger does not know the lease. It is that of the lease's class: a node
// may have sold another one in a former life.
func (m *Machine) leaseLane(id ledger.OpID) (ledger.Lane, bool) {
	l, ok := m.leases.Lease(id)
	if !ok {
		return 0, false
	}
	return m.cfg.Genesis.Market.Lane(l.Class)
}

// taken returns the capacity that is promised: leases on the ledger, and sales
// whose LeaseAccept is still on its way, in mCU.
func (m *Machine) taken() uint64 {
	n := m.leases.Demand(m.cfg.Self, m.cfg.Sell.Class)
	for id := range m.sales { // order-free: a sum
		if l, ok := m.leases.Lease(id); ok && l.State == market.StateOpen {
			n += l.Units
		}
	}
	return n
}

// takeBid answers a bid with a fresh offer, so that a client that has just come
// need not wait for the next refresh. One offer answers all bids of a Quote time.
func (m *Machine) takeBid(b market.Bid) {
	s := m.cfg.Sell
	if s == nil || b.Class != s.Class || b.Region != s.Region || b.Expires < m.now.UnixMilli() {
		return
	}
	next := m.offered.Add(m.cfg.Timing.Quote)
	if !next.Before(m.due.offer) {
		return // it is on its way
	}
	if !m.cfg.Crypto.Verify(b.Client, b.SigningDigest(m.network), b.Sig) {
		m.note(Note{Fact: FactRefused, Peer: b.Client, Text: "bid: its signature does not verify"})
		return
	}
	if next.Before(m.now) {
		next = m.now
	}
	soonest(&m.due.offer, next)
}

// ask answers a client with a signed quote. It reserves nothing.
func (m *Machine) ask(from p2p.PeerID, a market.Ask) {
	s := m.cfg.Sell
	if s == nil || a.Client != from || len(m.sales) >= m.cfg.Limits.Sales {
		return
	}
	if a.Units < m.least() || m.taken()+a.Units > min(s.Units, m.capacity()) {
		return
	}
	seller := market.Seller{Provider: m.cfg.Self, Class: s.Class, Units: s.Units, Reserve: s.Reserve}
	q, no := market.MakeQuote(m.leases, m.replica.State(), seller, a, m.now.Add(quoteLife).UnixMilli())
	if no != 0 {
		m.note(Note{Fact: FactRefused, Peer: from, Text: "ask: " + no.String()})
		return
	}
	q.Sig = m.cfg.Crypto.Sign(q.SigningDigest(m.network))
	m.send(from, p2p.Quote, wire.Seal(wire.KindQuoted, q.Put))
}

// quoteLife is how long a quote stands.
const quoteLife = 10 * time.Second

// start takes the terms of a lease that names this node. It may come before the
// lease does; the client repeats it until there is a report.
func (m *Machine) start(from p2p.PeerID, st market.Start) {
	l, ok := m.leases.Lease(st.Lease)
	if !ok || l.Provider != m.cfg.Self || l.Client != from {
		return
	}
	if s := m.sales[st.Lease]; s != nil {
		m.sendReport(s)
		return
	}
	if l.State == market.StateClosed {
		r := market.Report{Lease: st.Lease, Phase: market.PhaseFailed, Text: "the lease is closed"}
		m.send(from, p2p.Lease, wire.Seal(wire.KindReport, r.Put))
		return
	}
	s := &sale{lease: st.Lease, client: from, terms: st.Terms, phase: saleRunning}
	s.report = market.Report{Lease: st.Lease, Phase: market.PhaseAccepted}
	s.took = m.now
	fits := m.fits(&l)
	m.sales[st.Lease] = s
	switch {
	case st.Terms.Digest() != l.Terms || st.Terms.Seconds != l.Seconds:
		m.endSale(s, market.EndPolicy, "the terms are not those of the lease")
		return
	case uint64(st.Terms.MemoryPages) > memoryMax*l.Units/1000:
		m.endSale(s, market.EndPolicy, fmt.Sprintf("the terms want %d pages of memory, %d mCU have %d",
			st.Terms.MemoryPages, l.Units, memoryMax*l.Units/1000))
		return
	case !fits:
		m.decline(s, ledger.NoCapacity)
		return
	}
	m.saveSale(s)
	m.note(Note{Fact: FactSold, Peer: from, Lease: st.Lease, Amount: l.Escrow})
	m.accept(s)
	if s.phase != saleRunning {
		return // declined: the report is sent, and nothing is run
	}
	m.do(RunJob{Lease: s.lease, Client: s.client, Terms: s.terms})
	m.sendReport(s)
}

// memoryMax is how much memory a lease has for each CU, in pages of 64 KiB: 2 GiB.
const memoryMax = 32_768

// leastUnits is the least capacity of a lease that a provider sells, in mCU. A job
// runs on a core whatever its units are, so that fewer would be nearly free.
const leastUnits = 500

// least returns the least capacity that this provider sells at once, in mCU.
func (m *Machine) least() uint64 { return min(leastUnits, m.cfg.Sell.Units) }

// fits reports whether a lease that no sale serves yet can be served beside those
// that are: a job starts before its LeaseAccept is certain.
func (m *Machine) fits(l *market.Lease) bool {
	sell := m.cfg.Sell
	if sell == nil || len(m.sales) >= m.cfg.Limits.Sales || l.Units < m.least() {
		return false
	}
	if l.State == market.StateAccepted { // it counts already
		return true
	}
	return m.taken()+l.Units <= min(sell.Units, m.capacity())
}

// accept signs LeaseAccept when its turn in the lane comes, even when the job has
// ended by then: without it there is nothing to be paid from. When the price has
// moved above the escrow meanwhile, the lease is closed with a full refund.
func (m *Machine) accept(s *sale) {
	lane, ok := m.leaseLane(s.lease)
	if !ok {
		return // resumeSale comes when the ledger knows the lease
	}
	m.want(lane, intent{
		kind: ledger.KindLeaseAccept,
		key:  p2p.Sum("accept", s.lease[:]),
		body: func() ([]byte, bool) {
			l, ok := m.leases.Lease(s.lease)
			if !ok || l.State != market.StateOpen || s.phase == saleClosing && s.voucher.Used == 0 {
				return nil, false
			}
			a, r := m.acceptance(&l)
			if r != ledger.OK {
				m.decline(s, r)
				return nil, false
			}
			return a.Encode(), true
		},
		void: func(r ledger.Result) { m.decline(s, r) },
	})
}

// acceptance returns what a LeaseAccept says now, or why there can be none.
func (m *Machine) acceptance(l *market.Lease) (market.LeaseAccept, ledger.Result) {
	sell := m.cfg.Sell
	if sell == nil || sell.Class != l.Class {
		return market.LeaseAccept{}, ledger.NoCapacity
	}
	d0 := m.leases.Position(m.cfg.Self, l.Class)
	charge, ok := m.leases.Charge(m.cfg.Self, l.Class, l.Units, l.Seconds, sell.Reserve)
	if !ok || charge > l.Escrow {
		return market.LeaseAccept{}, ledger.BadPrice
	}
	if m.leases.Demand(m.cfg.Self, l.Class)+l.Units > m.capacity() {
		return market.LeaseAccept{}, ledger.NoCapacity
	}
	return market.LeaseAccept{Lease: l.ID, D0: d0, D1: d0 + l.Units, Reserve: sell.Reserve, Charge: charge}, ledger.OK
}

func (m *Machine) decline(s *sale, r ledger.Result) {
	m.do(StopJob{Lease: s.lease})
	m.endSale(s, market.EndDeclined, "declined: "+r.String())
}

// jobStarted starts the meter: nothing is charged before.
func (m *Machine) jobStarted(id ledger.OpID) {
	s := m.sales[id]
	if s == nil || s.phase != saleRunning || !s.began.IsZero() {
		return
	}
	s.began, s.paidAt = m.now, m.now
	s.report.Phase = market.PhaseRunning
	m.sendReport(s)
}

// used returns the seconds since the process started, rounded up, at least 1 and
// at most the term. A former life's seconds count only as far as they were paid.
func (m *Machine) used(s *sale) uint64 {
	if s.began.IsZero() {
		return s.voucher.Used
	}
	d := m.now.Sub(s.began)
	secs := max(1, uint64((d+time.Second-1)/time.Second))
	return max(min(secs, uint64(s.terms.Seconds)), s.voucher.Used)
}

func (m *Machine) jobDone(ev JobDone) {
	s := m.sales[ev.Lease]
	if s == nil || s.phase != saleRunning {
		return
	}
	if ev.Failed {
		m.endSale(s, market.EndProviderFault, ev.Text)
		return
	}
	s.phase = saleDone
	s.paidAt = m.now
	s.reason = endReason(ev, s.stopped)
	s.report = market.Report{
		Lease: s.lease, Phase: market.PhaseDone, Used: m.used(s), Exit: ev.Exit, Source: ev.Source,
		Output: ev.Output, Log: ev.Log, Text: clip(ev.Text),
	}
	m.saveSale(s)
	m.note(Note{Fact: FactServed, Peer: s.client, Lease: s.lease, Text: ev.Source.String()})
	m.sendReport(s)
	m.tryClose(s)
}

func endReason(ev JobDone, stopped bool) market.EndReason {
	switch {
	case stopped:
		return market.EndBudgetExhausted
	case ev.Source == market.ExitMemory:
		return market.EndOOM
	default:
		return market.EndJobExit
	}
}

// endSale ends a sale that did not run to its end.
func (m *Machine) endSale(s *sale, reason market.EndReason, text string) {
	if s.phase == saleClosing {
		return
	}
	s.phase, s.reason = saleClosing, reason
	s.report = market.Report{
		Lease: s.lease, Phase: market.PhaseFailed, Used: s.voucher.Used, Source: market.ExitProvider,
		Text: clip(text),
	}
	m.saveSale(s)
	m.sendReport(s)
	m.closeLease(s)
}

// clip shortens a text to what a report holds.
func clip(text string) string { return text[:min(len(text), market.MaxText)] }

// sendReport tells the client how the job stands. The provider owns the retry: it
// reports until the lease is closed.
func (m *Machine) sendReport(s *sale) {
	if s.phase == saleRunning {
		s.report.Used = m.used(s)
	}
	m.tell(s)
	s.due = m.now.Add(m.cfg.Timing.Voucher)
	soonest(&m.due.sell, s.due)
}

// tell sends what the client may know: what an output is called is told when it is
// paid, and never when it is not, even as the lease is closed.
func (m *Machine) tell(s *sale) {
	r := s.report
	if r.Phase == market.PhaseDone && m.owed(s) {
		r = market.Report{Lease: s.lease, Phase: market.PhaseRunning, Used: r.Used}
	}
	m.send(s.client, p2p.Lease, wire.Seal(wire.KindReport, r.Put))
}

// owed reports whether the client has still to pay for more of an ended job than
// one interval, which is what each of the two may lose to the other.
func (m *Machine) owed(s *sale) bool {
	interval := uint64((m.cfg.Timing.Voucher + time.Second - 1) / time.Second)
	return !s.voucher.Final && s.report.Used > s.voucher.Used+interval
}

// sell goes over all sales that are due: reports are repeated, unpaid jobs are
// stopped, silent clients are not waited for.
func (m *Machine) sell() {
	for _, id := range slices.SortedFunc(maps.Keys(m.sales), ledger.OpID.Compare) {
		s := m.sales[id]
		if m.now.Before(s.due) {
			soonest(&m.due.sell, s.due)
			continue
		}
		running := s.phase == saleRunning && !s.began.IsZero() && !s.stopped
		over := m.now.Sub(s.began) > time.Duration(s.terms.Seconds)*time.Second+m.cfg.Timing.Retry
		switch {
		case s.phase == saleRunning && s.began.IsZero() && m.now.Sub(s.took) > m.cfg.Timing.Load:
			m.do(StopJob{Lease: s.lease})
			m.endSale(s, market.EndImagePull, "the module or the input did not come in time")
			continue
		case running && over:
			s.stopped = true
			m.do(StopJob{Lease: s.lease})
		case running && m.now.Sub(s.paidAt) > m.cfg.Timing.Grace:
			// What was written so far is not the output, and must not pass for it.
			m.do(StopJob{Lease: s.lease})
			m.endSale(s, market.EndBudgetExhausted, "stopped: the client does not pay")
			continue
		}
		m.tryClose(s)
		m.sendReport(s)
	}
}

// wakeSales goes on with the sales of a former life: a job that ran is run again
// from its start, since jobs are deterministic and its process died with the node.
func (m *Machine) wakeSales() {
	for _, id := range slices.SortedFunc(maps.Keys(m.sales), ledger.OpID.Compare) {
		s := m.sales[id]
		s.paidAt, s.took = m.now, m.now
		m.resumeSale(s)
		if s.phase == saleRunning {
			m.do(RunJob{Lease: s.lease, Client: s.client, Terms: s.terms})
		}
		m.sendReport(s)
	}
}

// resumeSale queues the operations that a sale of a former life still owes. The
// ledger may not know the lease yet when a life begins: what is queued then finds
// no lease, and is queued again when the LeaseOpen is applied.
func (m *Machine) resumeSale(s *sale) {
	l, ok := m.leases.Lease(s.lease)
	if ok && l.State == market.StateOpen {
		m.accept(s)
	}
	if s.phase == saleClosing {
		m.closeLease(s)
	}
}
