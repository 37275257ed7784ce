// Package machine is the one brain of a node: everything a node decides, it
// decides here.
//
// A Machine decides; it never acts. It takes one Event at a time, with the time
// it happened, and returns the Effects it wants carried out, in order. It starts
// no goroutine, reads no clock, opens no socket, and draws no chance of its own
// making, so a run is a pure function of its seed and its events. A Save must be
// durable before any later effect of that step starts. Two hosts drive it: node
// in real time over libp2p, simulations/world in virtual time.
//
// It is composed of plain values: a ledger replica with the contracts of market
// and proofs, a book of offers, and what this node itself has under way as a
// witness, provider, verifier and client. They are called by function and never
// run by themselves.
//
// The calls you need are New, Step and Deadline. The invariant: nothing promised
// to a peer is remembered only in memory, so a machine made from the records that
// a former life saved keeps every promise of that life.
package machine

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/proofs"
)

// A Machine is the protocol state of one node. It is not safe for concurrent use.
type Machine struct {
	cfg     Config
	network p2p.Network
	beacon  p2p.Digest
	witness int // index among the genesis witnesses; -1: none

	replica *replica.Replica
	leases  *market.Contract
	proofs  *proofs.Contract
	book    *market.Book
	early   map[p2p.PeerID]market.Offer // by provider, of devices that are not registered here
	peers   map[p2p.PeerID]bool

	inbox     inbox // what others have sent for the replica
	lanes     map[ledger.Lane]*lane
	beats     beats
	sales     map[ledger.OpID]*sale
	purchases map[ledger.OpID]*purchase
	unsettled map[ledger.OpID]*purchase // those of them that are not closed
	jobs      map[p2p.Digest]*job
	wallet    wallet
	log       []*ledger.Op // applied, in the order in which this node did
	storms    map[ledger.Slot]*storm
	audits    map[ledger.OpID]*audit
	passed    map[passedKey]uint32 // storms that were noted as passed
	offered   time.Time            // when this node's last offer was made

	due due
	now time.Time
	fx  []Effect
	// batch holds what this Step makes durable before anything else happens; foreign
	// what others have made and this node keeps, frames and applied operations.
	batch, foreign []Record
	made           []*ledger.Op // own operations of this step, not published yet
	life           bool         // false while New restores; nothing is sent then
}

// due holds when each part of the machine wants to act; a zero time is never.
type due struct {
	frame, beat, offer, sync, inbox, outbox, sell, buy, prove time.Time
}

// New returns a Machine that remembers what a former life saved.
func New(cfg Config, saved Snapshot) (*Machine, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg.Timing = cfg.Timing.withDefaults()
	cfg.Limits = cfg.Limits.withDefaults()
	g := cfg.Genesis
	m := &Machine{
		cfg:       cfg,
		network:   g.Network(),
		witness:   slices.IndexFunc(g.Ledger.Witnesses, func(w ledger.Witness) bool { return w.Account == cfg.Self }),
		book:      market.NewBook(market.BookLimits{}),
		early:     make(map[p2p.PeerID]market.Offer),
		peers:     make(map[p2p.PeerID]bool),
		inbox:     newInbox(),
		lanes:     make(map[ledger.Lane]*lane),
		sales:     make(map[ledger.OpID]*sale),
		purchases: make(map[ledger.OpID]*purchase),
		unsettled: make(map[ledger.OpID]*purchase),
		jobs:      make(map[p2p.Digest]*job),
		storms:    make(map[ledger.Slot]*storm),
		audits:    make(map[ledger.OpID]*audit),
		passed:    make(map[passedKey]uint32),
	}
	m.beacon = ledger.GenesisBeacon(m.network)
	m.beats = newBeats()
	m.wallet = newWallet()
	m.leases = market.NewContract(&g.Market, cfg.Crypto.Verify)
	m.proofs = proofs.NewContract(&g.Proofs, m.network, &g.Ledger, cfg.Crypto.VerifyVRF)
	var err error
	m.replica, err = replica.New(replica.Config{
		Network:   m.network,
		Self:      cfg.Self,
		Genesis:   &g.Ledger,
		Contracts: []ledger.Contract{m.leases, m.proofs},
	})
	if err != nil {
		return nil, fmt.Errorf("ledger replica: %w", err)
	}
	if m.witness >= 0 {
		m.replica.SetSelf(uint16(m.witness))
	}
	if err := m.restore(saved); err != nil {
		return nil, err
	}
	m.life = true
	return m, nil
}

// Step folds one event into the state and returns the effects it calls for. The
// slice is the caller's to keep.
func (m *Machine) Step(now time.Time, ev Event) []Effect {
	m.now, m.fx = now, nil
	if m.due.beat.IsZero() {
		m.wake()
	}
	switch ev := ev.(type) {
	case Gossiped:
		m.receive(p2p.PeerID{}, ev.Data)
	case Received:
		m.receive(ev.From, ev.Data)
	case PeerUp:
		m.peerUp(ev.Peer)
	case PeerDown:
		delete(m.peers, ev.Peer)
	case Submit:
		m.submit(ev.Job)
	case Pay:
		m.takePay(ev)
	case JobStarted:
		m.jobStarted(ev.Lease)
	case JobDone:
		m.jobDone(ev)
	case Fetched:
		m.fetched(ev)
	case Proved:
		m.proved(ev)
	case Opened:
		m.opened(ev)
	case Checked:
		m.checked(ev)
	case Verified:
		m.inbox.verified(ev)
		m.admit()
	case Tick:
		m.tick()
	default:
		panic(fmt.Sprintf("machine: unknown event %T", ev))
	}
	m.settle()
	m.verify()
	return m.effects()
}

// effects returns what the step wants done. All that it promises is saved at once
// and first, so that a crash finds the step whole or not at all; what others sent
// is saved last, since they can send it again, unless an own operation or frame rests on it.
func (m *Machine) effects() []Effect {
	m.publish()
	if len(m.batch) > 0 {
		m.fx = slices.Insert(m.fx, 0, Effect(Save{Batch: m.batch}))
		m.batch = nil
	}
	if len(m.foreign) > 0 {
		m.fx = append(m.fx, Save{Batch: m.foreign})
		m.foreign = nil
	}
	return m.fx
}

// wake sets the first deadlines of a life.
func (m *Machine) wake() {
	m.due.sync = m.now
	m.scheduleBeat(m.cfg.Genesis.SlotAt(m.now))
	if m.due.beat.IsZero() {
		m.due.beat = m.now.Add(beatLookahead * time.Duration(m.cfg.Genesis.Ledger.SlotMillis) * time.Millisecond)
	}
	if m.cfg.Sell != nil {
		m.register()
		m.due.offer = m.now
	}
	m.reconcile()
	m.outbox()
	m.wakeSales()
	m.wakeJobs()
}

// Deadline returns when the machine wants a Tick. It is zero before the first
// Step, and may lie in the past.
func (m *Machine) Deadline() time.Time {
	d := &m.due
	var first time.Time
	for _, at := range [...]time.Time{d.frame, d.beat, d.offer, d.sync, d.inbox, d.outbox, d.sell, d.buy, d.prove} {
		if !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

// tick does whatever has become due.
func (m *Machine) tick() {
	run := func(at *time.Time, act func()) {
		if !at.IsZero() && !m.now.Before(*at) {
			*at = time.Time{}
			act()
		}
	}
	run(&m.due.beat, m.beat)
	run(&m.due.frame, m.frame)
	run(&m.due.offer, m.offer)
	run(&m.due.sync, m.sync)
	run(&m.due.inbox, m.admit)
	run(&m.due.outbox, m.outbox)
	run(&m.due.sell, m.sell)
	run(&m.due.buy, m.buy)
	run(&m.due.prove, m.prove)
}

// settle carries what the ledger has newly applied to whoever waits for it, and
// goes on while that applies more.
func (m *Machine) settle() {
	for {
		applied := m.replica.TakeApplied()
		for _, a := range applied {
			m.logApplied(a)
			if a.Result == ledger.Reverted { // its account did nothing wrong
				m.note(Note{Fact: FactReverted, Peer: a.Op.Account, Lease: a.Op.ID(), Text: a.Op.Kind.String()})
				m.reverted(a.Op)
				continue
			}
			if a.Result != ledger.OK {
				m.note(Note{Fact: FactEvidence, Peer: a.Op.Account, Lease: a.Op.ID(), Text: a.Result.String()})
				continue
			}
			m.applied(a.Op)
		}
		if len(applied) == 0 {
			break
		}
		m.due.outbox = time.Time{}
		m.outbox()
	}
	m.feedWallet()
	m.keep()
	m.accuse()
	m.scheduleFrame()
}

// applied tells the parts of the machine that an operation took effect.
func (m *Machine) applied(op *ledger.Op) {
	id := op.ID()
	m.note(Note{Fact: FactApplied, Peer: op.Account, Lease: id, Text: op.Kind.String()})
	record := Record{Kind: RecordOp, Key: opKey(id), Value: op.Encode()}
	switch own := op.Account == m.cfg.Self; {
	case own && !m.landed(op):
		m.save(record) // of a life that was forgotten: peers have brought it back
	case !own && !m.beats.voted[id] && !m.replica.Kept(id):
		m.foreign = append(m.foreign, record)
	}
	delete(m.beats.voted, id)
	delete(m.wallet.byOp, id)
	switch op.Kind {
	case ledger.KindDeviceRegister:
		m.registered(op.Account)
		if op.Account == m.cfg.Self {
			soonest(&m.due.offer, m.now)
		}
	case ledger.KindLeaseOpen:
		if s := m.sales[id]; s != nil {
			m.resumeSale(s)
		}
		m.leaseOpened(id)
	case ledger.KindLeaseClose:
		m.leaseClosed(op)
	case ledger.KindProofCommit:
		m.commitApplied(op)
	case ledger.KindProofVerdict:
		m.verdictApplied(op)
	default:
	}
}

// peerUp keeps a peer in mind. There is always room for witnesses: a crowd of
// strangers must not keep them out.
func (m *Machine) peerUp(id p2p.PeerID) {
	_, witness := m.cfg.Genesis.Ledger.WitnessOf(id)
	if id == m.cfg.Self || len(m.peers) >= m.cfg.Limits.Peers && !witness {
		return
	}
	m.peers[id] = true
	m.sendHeads(id)
	for _, q := range m.lanes { // order-free: each lane on its own
		q.resend = m.now // a newcomer has missed what was gossiped before
	}
	soonest(&m.due.outbox, m.now)
}

// someone returns a random connected peer.
func (m *Machine) someone() (p2p.PeerID, bool) {
	if len(m.peers) == 0 {
		return p2p.PeerID{}, false
	}
	all := slices.SortedFunc(maps.Keys(m.peers), p2p.PeerID.Compare)
	return all[m.cfg.Rand.IntN(len(all))], true
}

func (m *Machine) do(fx Effect) {
	if m.life {
		m.fx = append(m.fx, fx)
	}
}

func (m *Machine) note(n Note) { m.do(n) }

// save adds records to what the step makes durable before anything else.
func (m *Machine) save(records ...Record) {
	if m.life {
		m.batch = append(m.batch, records...)
	}
}

func (m *Machine) send(to p2p.PeerID, protocol string, data []byte) {
	m.do(Send{To: to, Protocol: m.network.Protocol(protocol), Data: data})
}

// soonest moves a deadline forward to at, unless it is sooner already.
func soonest(d *time.Time, at time.Time) {
	if d.IsZero() || at.Before(*d) {
		*d = at
	}
}
