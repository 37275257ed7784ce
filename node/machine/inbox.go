package machine

import (
	"fmt"
	"slices"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/p2p"
)

// What others send for the ledger comes through here. It is screened, waits in the
// inbox, leaves for its signature to be verified by a worker, comes back, and is added
// in the order in which it came, so much in a step that the step stays short.

const (
	// batchMax bounds the signatures of one Verify: two full bundles, some 11 ms of a
	// worker's time. Twice as many cost an eighth less each.
	batchMax = 1024
	// batchesMax bounds the Verify effects that have no answer yet.
	batchesMax = 2
	// futureMax is how far ahead of this node's clock a frame's slot may begin.
	futureMax = time.Minute
	// addMax bounds what a step adds, in operations and votes.
	addMax = 64
)

// A letter is an operation, a bundle of them or a frame that waits to be verified and
// added.
type letter struct {
	from   p2p.PeerID          // who sent it; zero: gossip
	key    p2p.Signed          // what it is known by
	signed []p2p.Signed        // what must hold of it
	items  []*ledger.Item      // the operation, or those of the bundle that are not held
	bundle *replica.Bundle     // the bundle; nil: none
	frame  *replica.Frame      // the frame; nil: none
	charge *replica.Accusation // the accusation; nil: none
	ok     bool                // all signatures are right; set once they are verified
}

// room says how much room it takes: a signature each, and one at least.
func (a *letter) room() int { return max(1, len(a.signed)) }

// weight says how much work it is to add.
func (a *letter) weight() int {
	n := 1 + len(a.items)
	if a.frame != nil {
		n += len(a.frame.Votes) + len(a.frame.Bundles)
	}
	return n
}

// An inbox holds letters until they are added: first those that are verified, then
// those that are with a worker, then those that wait.
type inbox struct {
	queue   []letter
	load    int      // room that queue takes
	ready   int      // of queue, verified
	flying  []flight // what follows in queue, in order
	last    uint64   // id of the last Verify
	held    map[p2p.Signed]bool
	sources map[p2p.PeerID]*source
}

// A flight is a number of letters that are with a worker, or back before their turn.
type flight struct {
	id         uint64
	n          int // letters
	signatures int
	back       bool
}

// A source is a peer of which something is in the inbox, or the gossip of all.
type source struct {
	held int  // room that it takes in the inbox
	news bool // it brought frames or bundles that were new
	more bool // it brought anything that was new
}

func newInbox() inbox {
	return inbox{held: make(map[p2p.Signed]bool), sources: make(map[p2p.PeerID]*source)}
}

// put keeps a letter unless it is there already or finds no room. A source may hold
// as much as is free, so that one alone takes half of the room and none shuts out the
// others. What finds no room is dropped: what is there has waited longer, an author
// repeats its operation, and sync brings the frames and what they vote for.
//
// A letter that differs in nothing but its signature is another one: a wrong
// signature must not keep out the right one.
func (b *inbox) put(a letter, limit int) bool {
	if b.held[a.key] {
		return true
	}
	s := b.sources[a.from]
	if s == nil {
		s = &source{}
	}
	n := a.room()
	if s.held+n > limit-b.load {
		return false
	}
	b.sources[a.from] = s
	s.held += n
	b.load += n
	b.held[a.key] = true
	b.queue = append(b.queue, a)
	return true
}

// next returns the next batch to be verified, if a worker may take one.
func (b *inbox) next() (Verify, bool) {
	at := b.ready
	for i := range b.flying {
		at += b.flying[i].n
	}
	if at == len(b.queue) || len(b.flying) >= batchesMax {
		return Verify{}, false
	}
	b.last++
	fx := Verify{ID: b.last}
	n := 0
	for _, a := range b.queue[at:] {
		if n > 0 && len(fx.Batch)+len(a.signed) > batchMax {
			break
		}
		fx.Batch = append(fx.Batch, a.signed...)
		n++
	}
	b.flying = append(b.flying, flight{id: b.last, n: n, signatures: len(fx.Batch)})
	return fx, true
}

// verified takes a worker's answer. One to a question of a former life, or a second
// one, counts for nothing.
func (b *inbox) verified(ev Verified) {
	at := b.ready
	for i := range b.flying {
		f := &b.flying[i]
		if f.id == ev.ID && !f.back {
			if len(ev.OK) != f.signatures {
				panic(fmt.Sprintf("machine: %d answers to a batch of %d signatures", len(ev.OK), f.signatures))
			}
			f.back = true
			ok := ev.OK
			for k := range f.n {
				a := &b.queue[at+k]
				a.ok = !slices.Contains(ok[:len(a.signed)], false)
				ok = ok[len(a.signed):]
			}
		}
		at += f.n
	}
	for len(b.flying) > 0 && b.flying[0].back {
		b.ready += b.flying[0].n
		b.flying = b.flying[1:]
	}
}

// take removes the first letter, which must be ready. It returns its source, and
// whether nothing more of it is there.
func (b *inbox) take() (a letter, s *source, last bool) {
	a = b.queue[0]
	b.queue[0] = letter{}
	b.queue = b.queue[1:]
	b.ready--
	delete(b.held, a.key)
	b.load -= a.room()
	s = b.sources[a.from]
	if s.held -= a.room(); s.held == 0 {
		delete(b.sources, a.from)
	}
	return a, s, s.held == 0
}

// takeOp takes an operation that others have sent.
func (m *Machine) takeOp(from p2p.PeerID, op *ledger.Op) {
	it, out, r := m.replica.Screen(op)
	if it == nil {
		m.opTaken(op, out, r)
		return
	}
	signed := p2p.Signed{Key: op.Account, Digest: p2p.Digest(it.ID), Sig: op.Sig}
	m.arrived(letter{from: from, items: []*ledger.Item{it}, key: signed, signed: []p2p.Signed{signed}})
}

// takeBundle takes operations that others have sent together. What is held of it needs
// no second look at its signature.
func (m *Machine) takeBundle(from p2p.PeerID, b *replica.Bundle) {
	items, out := m.replica.ScreenBundle(b)
	if out != 0 {
		m.bundleTaken(from, out)
		return
	}
	a := letter{from: from, bundle: b, items: items}
	sigs := make([]byte, 0, 64*len(items))
	for i, it := range items {
		if it != nil {
			a.signed = append(a.signed, p2p.Signed{Key: it.Op.Account, Digest: p2p.Digest(it.ID), Sig: it.Op.Sig})
		}
		sigs = append(sigs, b.Ops[i].Sig[:]...)
	}
	id := b.ID()
	a.key = p2p.Signed{Key: p2p.PeerID(id), Digest: p2p.Sum("pinfi/letter/1", sigs)}
	m.arrived(a)
}

// bundleTaken notes what became of a bundle.
func (m *Machine) bundleTaken(from p2p.PeerID, out replica.Outcome) {
	if out == replica.Refused {
		m.note(Note{Fact: FactRefused, Peer: from, Text: "bundle: one of its operations is malformed, or there is no room"})
	}
}

// takeFrame takes a witness frame that others have sent. A frame of a witness's former
// life that this very witness lacks cannot exist, since it saves before it sends.
func (m *Machine) takeFrame(from p2p.PeerID, f *replica.Frame) {
	// A witness may make so many frames in a slot, and slots are numbers that it picks.
	if f.Slot > m.cfg.Genesis.SlotAt(m.now.Add(futureMax)) {
		m.note(Note{Fact: FactRefused, Peer: from, Text: "frame: of a slot that is far from now"})
		return
	}
	signed, out := m.replica.ScreenFrame(f)
	if out != 0 {
		m.frameTaken(out)
		return
	}
	m.arrived(letter{from: from, frame: f, key: signed, signed: []p2p.Signed{signed}})
}

// arrived puts what was screened into the inbox.
func (m *Machine) arrived(a letter) {
	if !m.inbox.put(a, m.cfg.Limits.Inbox) {
		m.note(Note{Fact: FactRefused, Peer: a.from, Text: "inbox: no room before its signature is verified"})
	}
}

// verify has the next batches verified.
func (m *Machine) verify() {
	for {
		fx, ok := m.inbox.next()
		if !ok {
			return
		}
		m.do(fx)
	}
}

// admit adds what is verified, as much as a step may, and goes on with a tick.
func (m *Machine) admit() {
	for room := addMax; m.inbox.ready > 0 && room > 0; {
		a, s, last := m.inbox.take()
		room -= a.weight()
		more, news := m.add(&a)
		s.more, s.news = s.more || more, s.news || news
		if last && !a.from.IsZero() {
			m.drained(a.from, s)
		}
	}
	if m.inbox.ready > 0 {
		m.due.inbox = m.now
	}
}

// add adds what was verified, and reports whether that brought anything, and whether it
// brought what makes other frames worth asking for.
func (m *Machine) add(a *letter) (more, news bool) {
	switch {
	case a.frame != nil:
		out := replica.Refused
		if a.ok {
			out = m.replica.AddFrame(a.frame)
		}
		m.frameTaken(out)
		news = out == replica.Added || out == replica.Parked
		return news || out == replica.Equivocation, news
	case a.charge != nil:
		m.accusationTaken(a)
		return false, false
	case a.bundle != nil:
		out := replica.Refused
		if a.ok {
			out = m.replica.AddBundle(a.bundle, a.items)
		}
		m.bundleTaken(a.from, out)
		return out == replica.Added || out == replica.Equivocation, out == replica.Added
	default:
		out, r := replica.Refused, ledger.BadSignature
		if a.ok {
			out, r = m.replica.AddItem(a.items[0])
		}
		m.opTaken(a.items[0].Op, out, r)
		return out == replica.Added || out == replica.Equivocation, false
	}
}

// drained asks a peer for more once all that it sent is added, if that brought anything.
// Were it asked whatever it sends, a peer that answers with junk would never be left
// alone: the next Sync asks, and somebody else.
func (m *Machine) drained(from p2p.PeerID, s *source) {
	if s.news {
		m.sendHeads(from)
	}
	if s.more {
		m.sendWant(from)
	}
}

// opTaken notes what became of an operation.
func (m *Machine) opTaken(op *ledger.Op, out replica.Outcome, r ledger.Result) {
	if out == replica.Refused {
		m.note(Note{Fact: FactRefused, Peer: op.Account, Text: "operation: " + r.String()})
	}
}

// frameTaken notes what became of a frame.
func (m *Machine) frameTaken(out replica.Outcome) {
	switch out {
	case replica.Refused:
		m.note(Note{Fact: FactRefused, Text: "frame: it is not what a witness of this network signs"})
	case replica.Parked:
		soonest(&m.due.sync, m.now.Add(m.cfg.Timing.Frame))
	case replica.Added, replica.Known, replica.Equivocation:
	}
}
