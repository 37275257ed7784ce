package machine

import (
	"fmt"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/p2p"
)

// What others send for the ledger comes through here. It is screened, waits in the
// inbox, leaves for its signature to be verified by a worker, comes back, and is added
// in the order in which it came, so much in a step that the step stays short.

const (
	// batchMax bounds the signatures of one Verify: some 6 ms of a worker's time.
	batchMax = 512
	// batchesMax bounds the Verify effects that have no answer yet.
	batchesMax = 2
	// addMax bounds what a step adds, in operations and votes.
	addMax = 64
)

// A letter is an operation or a frame that waits to be verified and added.
type letter struct {
	from   p2p.PeerID     // who sent it; zero: gossip
	signed p2p.Signed     // what must hold of it
	item   *ledger.Item   // the operation; nil: a frame
	frame  *replica.Frame // the frame
	ok     bool           // the signature is right; set once it is verified
}

// weight says how much work it is to add.
func (a *letter) weight() int {
	if a.item != nil {
		return 1
	}
	return 1 + len(a.frame.Votes)
}

// An inbox holds letters until they are added: first those that are verified, then
// those that are with a worker, then those that wait.
type inbox struct {
	queue   []letter
	ready   int      // of queue, verified
	flying  []flight // what follows in queue, in order
	last    uint64   // id of the last Verify
	held    map[p2p.Signed]bool
	sources map[p2p.PeerID]*source
}

// A flight is a number of letters that are with a worker, or back before their turn.
type flight struct {
	id   uint64
	n    int
	back bool
}

// A source is a peer of which something is in the inbox, or the gossip of all.
type source struct {
	held int  // in the inbox
	news bool // it brought frames that were new
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
	if b.held[a.signed] {
		return true
	}
	s := b.sources[a.from]
	if s == nil {
		s = &source{}
	}
	if s.held >= limit-len(b.queue) {
		return false
	}
	b.sources[a.from] = s
	s.held++
	b.held[a.signed] = true
	b.queue = append(b.queue, a)
	return true
}

// next returns the next batch to be verified, if a worker may take one.
func (b *inbox) next() (Verify, bool) {
	at := b.ready
	for i := range b.flying {
		at += b.flying[i].n
	}
	n := min(len(b.queue)-at, batchMax)
	if n == 0 || len(b.flying) >= batchesMax {
		return Verify{}, false
	}
	b.last++
	b.flying = append(b.flying, flight{id: b.last, n: n})
	fx := Verify{ID: b.last, Batch: make([]p2p.Signed, n)}
	for i := range fx.Batch {
		fx.Batch[i] = b.queue[at+i].signed
	}
	return fx, true
}

// verified takes a worker's answer. One to a question of a former life, or a second
// one, counts for nothing.
func (b *inbox) verified(ev Verified) {
	at := b.ready
	for i := range b.flying {
		f := &b.flying[i]
		if f.id == ev.ID && !f.back {
			if len(ev.OK) != f.n {
				panic(fmt.Sprintf("machine: %d answers to a batch of %d signatures", len(ev.OK), f.n))
			}
			f.back = true
			for k, ok := range ev.OK {
				b.queue[at+k].ok = ok
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
	delete(b.held, a.signed)
	s = b.sources[a.from]
	if s.held--; s.held == 0 {
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
	m.arrived(letter{from: from, item: it, signed: p2p.Signed{Key: op.Account, Digest: p2p.Digest(it.ID), Sig: op.Sig}})
}

// takeFrame takes a witness frame that others have sent. A frame of a witness's former
// life that this very witness lacks cannot exist, since it saves before it sends.
func (m *Machine) takeFrame(from p2p.PeerID, f *replica.Frame) {
	signed, out := m.replica.ScreenFrame(f)
	if out != 0 {
		m.frameTaken(f, out)
		return
	}
	m.arrived(letter{from: from, frame: f, signed: signed})
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
		s.news = m.add(&a) || s.news
		if last && !a.from.IsZero() {
			m.drained(a.from, s.news)
		}
	}
	if m.inbox.ready > 0 {
		m.due.inbox = m.now
	}
}

// add adds what was verified, and reports whether a witness's frames go further now.
func (m *Machine) add(a *letter) (news bool) {
	if a.item != nil {
		out, r := replica.Refused, ledger.BadSignature
		if a.ok {
			out, r = m.replica.AddItem(a.item)
		}
		m.opTaken(a.item.Op, out, r)
		return false
	}
	out := replica.Refused
	if a.ok {
		out = m.replica.AddFrame(a.frame)
	}
	m.frameTaken(a.frame, out)
	return out == replica.Added
}

// drained asks a peer for more once all that it sent is added.
func (m *Machine) drained(from p2p.PeerID, news bool) {
	if news {
		m.sendHeads(from)
	}
	m.sendWant(from)
}

// opTaken notes what became of an operation.
func (m *Machine) opTaken(op *ledger.Op, out replica.Outcome, r ledger.Result) {
	switch out {
	case replica.Refused:
		m.note(Note{Fact: FactRefused, Peer: op.Account, Text: "operation: " + r.String()})
	case replica.Equivocation:
		m.note(Note{Fact: FactEvidence, Peer: op.Account, Text: "two operations for one place in a lane"})
	case replica.Added, replica.Known, replica.Parked:
	}
}

// framesMax is how many frames that waited for one are kept with it.
const framesMax = 256

// frameTaken notes what became of a frame, and keeps it if it counts.
func (m *Machine) frameTaken(f *replica.Frame, out replica.Outcome) {
	switch out {
	case replica.Refused:
		m.note(Note{Fact: FactRefused, Text: "frame: it is not what a witness of this network signs"})
	case replica.Equivocation:
		m.note(Note{
			Fact: FactEvidence, Peer: m.cfg.Genesis.Ledger.Witnesses[f.Witness].Account,
			Text: "two frames with one number",
		})
		m.keepFrames(f) // its votes count, and what follows it needs it
	case replica.Parked:
		soonest(&m.due.sync, m.now.Add(m.cfg.Timing.Frame))
	case replica.Added:
		m.keepFrames(f)
	case replica.Known:
	}
}

// keepFrames saves a frame and those that waited for it.
func (m *Machine) keepFrames(f *replica.Frame) {
	for _, f := range m.replica.FramesAfter(f.Witness, f.Seq-1, framesMax) {
		m.foreign = append(m.foreign, Record{Kind: RecordFrame, Key: frameKey(f), Value: f.Encode()})
	}
}
