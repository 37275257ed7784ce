package machine

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// restore folds the records of a former life into a new machine. What it cannot
// read is an error: a node that has lost a promise must not go on.
func (m *Machine) restore(saved Snapshot) error {
	past, err := m.readPast(saved)
	if err != nil {
		return err
	}
	if err := m.rememberFrames(&past); err != nil {
		return err
	}
	for _, op := range inLaneOrder(past.ops) {
		if err := m.rememberOp(op); err != nil {
			return err
		}
	}
	for _, kind := range [...]RecordKind{RecordJob, RecordTask, RecordPurchase, RecordSale, RecordPay, RecordPaid} {
		for _, rec := range saved {
			if err := m.remember(rec, kind); err != nil {
				return rec.wrap(err)
			}
		}
	}
	for _, a := range m.replica.TakeApplied() {
		m.logApplied(a)
	}
	m.replica.TakeKept()
	m.replica.TakeLinked()
	for _, ev := range past.evidence {
		m.replica.Accuse(ev)
	}
	m.replica.TakeCaught()
	m.restoreLanes()
	m.restoreTasks()
	m.restoreWallet()
	return nil
}

// restoreTasks lets tasks wait again that were asking or opening: what was asked,
// and what was to be signed, died with the former life.
func (m *Machine) restoreTasks() {
	for _, j := range m.jobs { // order-free: each task on its own
		for _, t := range j.tasks {
			if t.phase == taskAsking || t.phase == taskOpening {
				t.phase = taskWaiting
			}
		}
	}
}

// wrap says in which record an error is.
func (rec Record) wrap(err error) error {
	return fmt.Errorf("record %d/%x: %w", rec.Kind, rec.Key, err)
}

// A past is what a former life saved of the ledger, its signatures verified.
type past struct {
	ops      map[ledger.OpID]*ledger.Op
	bundles  map[replica.BundleID]*replica.Bundle
	outlines []*replica.Outline
	frames   []*replica.Frame // by witness, in order of their numbers
	// What proofs of offences prove, of which the replica may not find out by itself.
	evidence []replica.Evidence
	network  p2p.Network
	genesis  *ledger.Genesis
}

// readPast reads the operations, bundles and frames of a snapshot and verifies them,
// many at once: a disk may have been changed, and the replica verifies nothing.
func (m *Machine) readPast(saved Snapshot) (past, error) {
	p := past{
		ops: make(map[ledger.OpID]*ledger.Op), bundles: make(map[replica.BundleID]*replica.Bundle),
		network: m.network, genesis: &m.cfg.Genesis.Ledger,
	}
	batch := make([]p2p.Signed, 0, 2*batchMax)
	of := make([]int, 0, 2*batchMax) // records of the batch
	for i, rec := range saved {
		signed, err := p.read(rec)
		if err != nil {
			return past{}, rec.wrap(err)
		}
		for _, s := range signed {
			batch, of = append(batch, s), append(of, i)
		}
		if len(batch) < batchMax && i < len(saved)-1 {
			continue
		}
		if k := slices.Index(m.cfg.Crypto.VerifyBatch(batch), false); k >= 0 {
			return past{}, saved[of[k]].wrap(fmt.Errorf("signature of %v: it does not verify", batch[k].Key))
		}
		batch, of = batch[:0], of[:0]
	}
	return p, p.fill()
}

// fill makes bundles of the outlines.
func (p *past) fill() error {
	if len(p.outlines) == 0 {
		return nil
	}
	all := make(map[ledger.OpID]*ledger.Op)
	for _, b := range p.bundles { // order-free: the operations of all
		for _, op := range b.Ops {
			all[op.ID()] = op
		}
	}
	for _, o := range p.outlines {
		for i, op := range o.Ops {
			if op != nil {
				all[o.IDs[i]] = op
			}
		}
	}
	for _, o := range p.outlines {
		b, err := o.Fill(func(id ledger.OpID) *ledger.Op { return all[id] })
		if err != nil {
			return err
		}
		p.bundles[o.ID()] = b
	}
	return nil
}

// read adds what a record holds of the ledger, and returns who must have signed what.
func (p *past) read(rec Record) ([]p2p.Signed, error) {
	witnesses := p.genesis.Witnesses
	switch rec.Kind {
	case RecordOp:
		op, err := ledger.DecodeOp(rec.Value)
		if err != nil {
			return nil, err
		}
		p.ops[op.ID()] = op
		return []p2p.Signed{signedBy(op)}, nil
	case RecordBundle:
		b, err := replica.DecodeBundle(rec.Value)
		if err != nil {
			return nil, err
		}
		p.bundles[b.ID()] = b
		return signedByAll(b.Ops), nil
	case RecordOutline:
		o, err := replica.DecodeOutline(rec.Value)
		if err != nil {
			return nil, err
		}
		p.outlines = append(p.outlines, o)
		return signedByAll(o.Ops), nil
	case RecordFrame:
		f, err := replica.DecodeFrame(rec.Value)
		if err != nil {
			return nil, err
		}
		if int(f.Witness) >= len(witnesses) {
			return nil, fmt.Errorf("frame of witness %d: the genesis has %d", f.Witness, len(witnesses))
		}
		p.frames = append(p.frames, f)
		return []p2p.Signed{{Key: witnesses[f.Witness].Account, Digest: f.ID(), Sig: f.Sig}}, nil
	case RecordSale, RecordJob, RecordPurchase, RecordTask, RecordPay, RecordPaid:
		return nil, nil
	case RecordEvidence:
		pr, err := replica.DecodeAccusation(rec.Value)
		if err != nil {
			return nil, err
		}
		ev, signed, err := pr.Evidence(p.network, p.genesis)
		if err != nil {
			return nil, err
		}
		p.evidence = append(p.evidence, ev)
		return signed, nil
	default: // remember refuses it
		return nil, nil
	}
}

// signedBy returns what must hold of an operation.
func signedBy(op *ledger.Op) p2p.Signed {
	return p2p.Signed{Key: op.Account, Digest: op.SigningDigest(), Sig: op.Sig}
}

// signedByAll is signedBy for those of the operations that are there.
func signedByAll(ops []*ledger.Op) []p2p.Signed {
	signed := make([]p2p.Signed, 0, len(ops))
	for _, op := range ops {
		if op != nil {
			signed = append(signed, signedBy(op))
		}
	}
	return signed
}

// rememberFrames adds the frames, and then what they vote for. The replica may refuse
// another witness's frame, which peers send again when it matters, with what it rests on.
// An own frame is a promise.
func (m *Machine) rememberFrames(p *past) error {
	for _, f := range p.frames {
		if out := m.replica.Recall(f); out == replica.Refused && int(f.Witness) == m.witness {
			return fmt.Errorf("own frame %d, of witness %d: %v", f.Seq, f.Witness, out)
		}
	}
	for _, f := range p.frames {
		if _, held := m.replica.Frame(f.ID()); !held && int(f.Witness) == m.witness {
			return fmt.Errorf("own frame %d, of witness %d: it rests on frames that are not here", f.Seq, f.Witness)
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(p.bundles), replica.BundleID.Compare) {
		if items, out := m.replica.ScreenBundle(p.bundles[id]); out == 0 {
			m.replica.AddBundle(p.bundles[id], items)
		}
	}
	return m.rememberVoted(p)
}

// rememberVoted adds the operations that frames vote for by themselves: they come before
// those that nobody has voted for.
func (m *Machine) rememberVoted(p *past) error {
	for _, f := range p.frames {
		for _, id := range f.Votes {
			op := p.ops[id]
			if op == nil {
				continue
			}
			delete(p.ops, id)
			if err := m.rememberOp(op); err != nil {
				return err
			}
		}
	}
	return nil
}

// rememberOp adds an operation. The replica may have no room for another's; an own
// one is a promise.
func (m *Machine) rememberOp(op *ledger.Op) error {
	own := op.Account == m.cfg.Self
	out, res := m.replica.AddOp(op)
	if out == replica.Refused && (own || res != ledger.Full && res != ledger.Stale && res != ledger.Equivocation) {
		return fmt.Errorf("operation %v of %v: %v", op.ID(), op.Account, res)
	}
	if own {
		m.lane(op.Lane).saved(op)
	}
	return nil
}

// inLaneOrder returns operations in the order of their places in their lanes.
func inLaneOrder(ops map[ledger.OpID]*ledger.Op) []*ledger.Op {
	return slices.SortedFunc(maps.Values(ops), func(a, b *ledger.Op) int {
		return cmp.Or(a.Account.Compare(b.Account), cmp.Compare(a.Lane, b.Lane), cmp.Compare(a.Seq, b.Seq),
			a.ID().Compare(b.ID()))
	})
}

// remember takes the record if it is of a kind. What others need comes before them.
func (m *Machine) remember(rec Record, kind RecordKind) error {
	if rec.Kind < RecordFrame || rec.Kind > RecordOutline {
		return fmt.Errorf("kind %d is unknown to this version", rec.Kind)
	}
	if rec.Kind != kind {
		return nil
	}
	r := wire.NewReader(rec.Value)
	switch kind {
	case RecordJob:
		return m.rememberJob(r)
	case RecordTask:
		return m.rememberTask(r)
	case RecordPurchase:
		return m.rememberPurchase(r)
	case RecordSale:
		s := takeSale(r)
		m.sales[s.lease] = s
		return r.Close()
	case RecordPay:
		return m.rememberPay(rec.Key, r)
	case RecordPaid:
		return m.rememberPaid(rec.Key, r)
	case RecordFrame, RecordOp, RecordBundle, RecordOutline, RecordEvidence: // are there already
		return nil
	default:
		return nil
	}
}

// saved remembers an operation that was signed on the lane.
func (q *lane) saved(op *ledger.Op) { q.flying = append(q.flying, op) }

// restoreLanes forgets the operations that are applied, or whose place another one
// has. The others go out again as they are: another one for the same place would be a
// fork.
func (m *Machine) restoreLanes() {
	for l, q := range m.lanes { // order-free: each lane on its own
		head, _ := m.replica.State().Head(m.cfg.Self, l)
		q.flying = slices.DeleteFunc(q.flying, func(op *ledger.Op) bool { return op.Seq <= head })
		slices.SortFunc(q.flying, func(a, b *ledger.Op) int { return cmp.Compare(a.Seq, b.Seq) })
	}
}

// reconcile brings sales and purchases up to what the ledger says, since a crash
// may have come between the two.
func (m *Machine) reconcile() {
	for _, id := range slices.SortedFunc(maps.Keys(m.sales), ledger.OpID.Compare) {
		if l, ok := m.leases.Lease(id); ok && l.State == market.StateClosed {
			delete(m.sales, id)
			m.save(Record{Kind: RecordSale, Key: opKey(id)})
		}
	}
	for _, p := range inOrder(m.purchases) {
		l, ok := m.leases.Lease(p.lease)
		if ok && p.opened == 0 {
			m.leaseOpened(p.lease)
		}
		if ok && l.State == market.StateClosed {
			m.purchaseClosed(p.lease)
		}
	}
	m.releaseLost()
}

// releaseLost frees the tasks whose lease has ended before their output was here:
// what the provider reported, and where the output was, died with the former life.
func (m *Machine) releaseLost() {
	for _, j := range m.sortedJobs() {
		for _, t := range j.tasks {
			if p := m.purchases[t.lease]; !j.ended && t.phase == taskHired && (p == nil || p.closed || p.orphan) {
				m.release(t, false, "the lease ended before its output was here")
			}
		}
	}
}
