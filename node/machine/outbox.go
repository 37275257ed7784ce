package machine

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// An intent is an operation that this node wants to make. Its body is built when
// its turn in the lane comes, since what it says may depend on what was applied
// before it.
type intent struct {
	kind ledger.Kind
	key  p2p.Digest                    // two intents of one key are one
	body func() (b []byte, ok bool)    // ok false: no longer wanted
	made func(id ledger.OpID) []Record // called once it is signed; what it returns is saved with it; may be nil
	void func(r ledger.Result)         // called when the ledger would refuse it; may be nil
	// follows says that the body does not depend on what is under way in the lane, so
	// that the operation may be signed before that is applied.
	follows bool
}

// A lane holds the intents of one of the node's lanes. Where one may follow what is
// under way, several operations are.
type lane struct {
	queue  []intent
	flying []*ledger.Op   // signed, saved, not yet applied, in their order
	before []*ledger.Item // the same, as far as they are prepared
	resend time.Time
}

// flyingMax bounds the operations of a lane that are under way. Others keep 256 past
// the last that they have applied, and may be some rounds behind their author.
const flyingMax = 48

// want queues an intent on a lane.
func (m *Machine) want(l ledger.Lane, in intent) {
	q := m.lane(l)
	if slices.ContainsFunc(q.queue, func(other intent) bool { return other.key == in.key }) {
		return
	}
	q.queue = append(q.queue, in)
	m.pump(l, q)
}

func (m *Machine) lane(l ledger.Lane) *lane {
	q := m.lanes[l]
	if q == nil {
		q = &lane{}
		m.lanes[l] = q
	}
	return q
}

// pump signs the next operations of the lane while none is under way, or while they may
// follow those that are.
func (m *Machine) pump(l ledger.Lane, q *lane) {
	for m.life && len(q.queue) > 0 && (len(q.flying) == 0 || q.queue[0].follows && len(q.flying) < flyingMax) {
		in := q.queue[0]
		q.queue = q.queue[1:]
		body, ok := in.body()
		if !ok {
			continue
		}
		op := m.build(l, q, in.kind, body)
		r := m.mayMake(op, q)
		if r != ledger.OK && len(q.flying) > 0 {
			q.queue = slices.Insert(q.queue, 0, in)
			return // it waits for what is under way
		}
		if r != ledger.OK {
			m.note(Note{Fact: FactDropped, Text: in.kind.String() + ": " + r.String()})
			if in.void != nil {
				in.void(r)
			}
			continue
		}
		m.make(q, op, in)
	}
}

// make signs an operation and sends it off. It is saved after all that it rests on: a
// replica that lacks that has no room for what is so far ahead in the lane.
func (m *Machine) make(q *lane, op *ledger.Op, in intent) {
	m.saveForeign()
	op.Sig = m.cfg.Crypto.Sign(op.SigningDigest())
	q.flying = append(q.flying, op)
	batch := []Record{{Kind: RecordOp, Key: opKey(op.ID()), Value: op.Encode()}}
	if in.made != nil {
		batch = append(batch, in.made(op.ID())...)
	}
	m.save(batch...)
	if out, r := m.replica.AddOp(op); out == replica.Refused {
		panic("machine: the replica refuses an own operation that the state accepts: " + r.String())
	}
	m.made = append(m.made, op)
	q.resend = m.now.Add(m.cfg.Timing.Retry)
	soonest(&m.due.outbox, q.resend)
}

// mayMake says whether the operation applies once those under way in its lane have,
// and witnesses may vote for it. One that they may not would block its lane.
func (m *Machine) mayMake(op *ledger.Op, q *lane) ledger.Result {
	st := m.replica.State()
	it, r := st.Prepare(op)
	if r != ledger.OK {
		return r
	}
	if len(q.flying) == 0 {
		return st.MayVoteItem(it)
	}
	for len(q.before) < len(q.flying) {
		last, r := st.Prepare(q.flying[len(q.before)])
		if r != ledger.OK {
			return r
		}
		q.before = append(q.before, last)
	}
	return st.CheckAfter(it, q.before)
}

// build returns an unsigned operation that comes next in a lane, after those under way.
// The first claims what others have credited to this node when the lane alone cannot
// pay.
func (m *Machine) build(l ledger.Lane, q *lane, kind ledger.Kind, body []byte) *ledger.Op {
	st := m.replica.State()
	seq, prev := st.Head(m.cfg.Self, l)
	if n := len(q.flying); n > 0 {
		seq, prev = q.flying[n-1].Seq, q.flying[n-1].ID()
	}
	op := &ledger.Op{
		Chain: ledger.ChainOf(m.network), Kind: kind, Lane: l, Account: m.cfg.Self,
		Seq: seq + 1, Prev: prev, Body: body,
	}
	if kind.PaysFee() {
		op.Fee = m.cfg.Genesis.Ledger.MinFee
	}
	if l == 0 && len(q.flying) == 0 && st.Check(op) == ledger.InsufficientBalance {
		op.Claims = m.claims()
	}
	return op
}

// claims returns claims of the largest credits to this node, as many as an operation
// holds: a stranger's dust must not stand before them.
func (m *Machine) claims() []ledger.Claim {
	type source struct {
		claim ledger.Claim
		sum   ledger.Amount
	}
	var all []source
	for _, c := range m.replica.State().Unclaimed(m.cfg.Self) { // by source
		n := len(all)
		if n == 0 || all[n-1].claim.From != c.From || all[n-1].claim.Lane != c.Lane {
			all = append(all, source{claim: ledger.Claim{From: c.From, Lane: c.Lane}})
			n++
		}
		all[n-1].claim.Upto = c.Seq
		all[n-1].sum += c.Amount
	}
	slices.SortStableFunc(all, func(a, b source) int { return cmp.Compare(b.sum, a.sum) })
	out := make([]ledger.Claim, 0, ledger.MaxClaims)
	for _, s := range all[:min(len(all), ledger.MaxClaims)] {
		out = append(out, s.claim)
	}
	slices.SortFunc(out, func(a, b ledger.Claim) int {
		return cmp.Or(a.From.Compare(b.From), cmp.Compare(a.Lane, b.Lane))
	})
	return out
}

// publish gossips the operations that the step made: one by itself, more as bundles.
func (m *Machine) publish() {
	topic := m.network.Topic(p2p.Ops)
	for len(m.made) > 0 {
		b := &replica.Bundle{}
		for size := 0; len(m.made) > 0 && len(b.Ops) < replica.MaxBundleOps; m.made = m.made[1:] {
			if size += m.made[0].Size() + 4; size > replica.MaxBundle-2 {
				break
			}
			b.Ops = append(b.Ops, m.made[0])
		}
		if len(b.Ops) == 1 {
			m.do(Publish{Topic: topic, Data: sealOp(b.Ops[0])})
			continue
		}
		items, out := m.replica.ScreenBundle(b)
		if out == 0 {
			m.replica.AddBundle(b, items)
		}
		m.do(Publish{Topic: topic, Data: wire.Seal(wire.KindBundle, func(w *wire.Writer) { w.Fixed(b.Encode()) })})
	}
}

// resendsMax bounds the witnesses to which an operation is repeated at once.
const resendsMax = 8

// resendOps repeats the operations under way: their author owns the retry, until it is
// applied. It goes to witnesses themselves, a few at random where there are many:
// gossip drops what it has carried before, and whoever came late never gets it.
func (m *Machine) resendOps(q *lane) {
	witnesses := m.cfg.Genesis.Ledger.Witnesses
	from := 0
	if len(witnesses) > resendsMax {
		from = m.cfg.Rand.IntN(len(witnesses))
	}
	for i := range min(resendsMax, len(witnesses)) {
		if to := witnesses[(from+i)%len(witnesses)].Account; m.peers[to] {
			var all items
			for _, op := range q.flying {
				all.addOp(op)
			}
			m.sendItems(to, &all)
		}
	}
	q.resend = m.now.Add(m.cfg.Timing.Retry)
	soonest(&m.due.outbox, q.resend)
}

// landed takes an own operation that was applied off those under way, and reports
// whether it was the first of them. Another one can only be of a life that was
// forgotten, and then all that are under way rest on what can never apply.
func (m *Machine) landed(op *ledger.Op) bool {
	q := m.lane(op.Lane)
	if len(q.flying) == 0 || op.Seq < q.flying[0].Seq {
		return false
	}
	if q.flying[0].ID() == op.ID() {
		q.flying, q.before = q.flying[1:], q.before[min(1, len(q.before)):]
		return true
	}
	gone := q.flying
	q.flying, q.before = nil, nil
	for _, made := range gone {
		m.lost(made.ID())
	}
	return false
}

// reverted puts an own operation that was taken back under way again: this node has
// signed it for its place, and another one there would be a rival.
func (m *Machine) reverted(op *ledger.Op) {
	if op.Account != m.cfg.Self {
		return
	}
	q := m.lane(op.Lane)
	q.flying = append(q.flying, op)
	slices.SortFunc(q.flying, func(a, b *ledger.Op) int { return cmp.Compare(a.Seq, b.Seq) })
	q.resend = m.now
	soonest(&m.due.outbox, q.resend)
}

// lost forgets an own operation whose place in its lane one of a forgotten life has:
// it can never apply, and a node could not start from both. What it was for is begun
// again.
func (m *Machine) lost(id ledger.OpID) {
	m.save(Record{Kind: RecordOp, Key: opKey(id)})
	m.paymentLost(id)
	if p := m.purchases[id]; p != nil {
		m.forgetPurchase(p)
		m.save(Record{Kind: RecordPurchase, Key: opKey(id)})
		if p.serves() {
			m.release(p.task, false, "its lease had the place of an operation of a life that was forgotten")
		}
	}
	if m.cfg.Sell != nil {
		m.register()
	}
	for _, id := range slices.SortedFunc(maps.Keys(m.sales), ledger.OpID.Compare) {
		m.resumeSale(m.sales[id])
	}
}

// outbox goes over all lanes: what is under way is repeated when it is time, what
// waits is signed when its lane is free.
func (m *Machine) outbox() {
	for _, l := range slices.Sorted(maps.Keys(m.lanes)) {
		q := m.lanes[l]
		m.pump(l, q)
		if len(q.flying) == 0 {
			continue
		}
		if !m.now.Before(q.resend) {
			m.resendOps(q)
		}
		soonest(&m.due.outbox, q.resend)
	}
}

func sealOp(op *ledger.Op) []byte {
	return wire.Seal(wire.KindOp, func(w *wire.Writer) { w.Fixed(op.Encode()) })
}
