package replica

import (
	"math/rand/v2"
	"slices"

	"pgregory.net/rapid"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
)

// testNetwork is the network of all tests here.
var testNetwork = p2p.Network{0x1a, 0x2b, 0x3c, 0x4d}

// who returns the account whose first byte is c.
func who(c byte) ledger.Account { return ledger.Account{c} }

// fakeSign is a cheap signature, different for every key and digest.
func fakeSign(key p2p.PeerID, d p2p.Digest) p2p.Signature {
	var sig p2p.Signature
	copy(sig[:], key[:])
	copy(sig[32:], d[:])
	return sig
}

// newGenesis returns a genesis with witnesses of the given stakes, in which a, b, c
// and d own 1000 atoms each.
func newGenesis(stakes ...ledger.Amount) *ledger.Genesis {
	g := &ledger.Genesis{Name: "test", SlotMillis: 500, EpochMillis: 3000, MinFee: 1}
	for _, c := range []byte("abcd") {
		g.Alloc = append(g.Alloc, ledger.Alloc{Account: who(c), Amount: 1000})
	}
	for i, s := range stakes {
		g.Witnesses = append(g.Witnesses, ledger.Witness{Account: ledger.Account{'w', byte(i)}, Stake: s})
	}
	return g
}

// newReplica returns a replica; self is -1 for one that does not vote.
func newReplica(t rapid.TB, g *ledger.Genesis, self int) *Replica {
	t.Helper()
	r, err := New(Config{Network: testNetwork, Genesis: g})
	if err != nil {
		t.Fatal(err)
	}
	if self >= 0 {
		r.SetSelf(uint16(self))
	}
	return r
}

// transfer returns a signed transfer with a fee of 1.
func transfer(account ledger.Account, seq uint64, prev ledger.OpID, to ledger.Account, a ledger.Amount,
	claims ...ledger.Claim,
) *ledger.Op {
	op := &ledger.Op{
		Chain: ledger.ChainOf(testNetwork), Kind: ledger.KindTransfer, Account: account, Seq: seq, Prev: prev,
		Fee: 1, Claims: claims, Body: ledger.Transfer{To: to, Amount: a}.Encode(),
	}
	op.Sig = fakeSign(account, op.SigningDigest())
	return op
}

// signed sorts a frame's lists and signs it as its witness.
func signed(g *ledger.Genesis, f *Frame) *Frame {
	f.sort()
	f.Votes = slices.Compact(f.Votes)
	f.Sig = fakeSign(g.Witnesses[f.Witness].Account, f.SigningDigest())
	return f
}

// draft returns an unsigned frame; prev is nil for the first.
func draft(witness uint16, prev *Frame) *Frame {
	f := &Frame{Chain: ledger.ChainOf(testNetwork), Witness: witness, Seq: 1}
	if prev != nil {
		f.Seq, f.Prev, f.Slot = prev.Seq+1, prev.ID(), prev.Slot
	}
	return f
}

// frame returns a signed frame with votes one by one; prev is nil for the first.
func frame(g *ledger.Genesis, witness uint16, prev *Frame, votes ...ledger.OpID) *Frame {
	f := draft(witness, prev)
	f.Votes = votes
	return signed(g, f)
}

// next returns the next signed frame of a replica's own witness, which is added; nil
// when there is nothing to tell.
func next(t rapid.TB, r *Replica, slot ledger.Slot) *Frame {
	t.Helper()
	f := r.NextFrame(slot)
	if f == nil {
		return nil
	}
	signed(r.cfg.Genesis, f)
	if back, err := DecodeFrame(f.Encode()); err != nil || back.ID() != f.ID() {
		t.Fatalf("own frame does not decode: %v", err)
	}
	if out := r.AddFrame(f); out != Added {
		t.Fatalf("own frame %v", out)
	}
	return f
}

// lanesOf returns all lanes that a replica holds, in no order.
func lanesOf(r *Replica) (out []*lane) {
	for _, own := range r.owners { // order-free: no order is promised
		out = append(out, own.lanes...)
	}
	return out
}

// addBundle adds a bundle, as a peer does.
func addBundle(r *Replica, b *Bundle) Outcome {
	items, out := r.ScreenBundle(b)
	if out != 0 {
		return out
	}
	return r.AddBundle(b, items)
}

// add adds an operation or a frame, as a peer does.
func add(t rapid.TB, r *Replica, x any) {
	t.Helper()
	switch x := x.(type) {
	case *ledger.Op:
		r.AddOp(x)
	case *Frame:
		r.AddFrame(x)
	case *Bundle:
		addBundle(r, x)
	default:
		t.Fatalf("add %T", x)
	}
}

// A world is replicas that gossip over a network which loses, repeats and
// reorders, some of whose witnesses are hostile.
type world struct {
	t        *rapid.T
	g        *ledger.Genesis
	rng      *rand.Rand
	replicas []*Replica // honest witnesses, then one that only watches
	ops      []*ledger.Op
	bundles  []*Bundle
	frames   []*Frame
	clock    ledger.Slot
	hostile  []uint16
	sides    map[uint16][2]*Frame // the ends of a hostile witness's forked chain
	heads    map[ledger.Account][]*ledger.Op
	all      *Replica // holds all frames up to written
	written  int
}

// newWorld returns a world; hostile witnesses come last in the genesis.
func newWorld(t *rapid.T, hostileShare float64, f flaws) *world {
	n := rapid.IntRange(1, 6).Draw(t, "witnesses")
	stakes := make([]ledger.Amount, n)
	var total, bad ledger.Amount
	for i := range stakes {
		stakes[i] = ledger.Amount(rapid.IntRange(1, 10).Draw(t, "stake"))
		total += stakes[i]
	}
	w := &world{
		t: t, g: newGenesis(stakes...), rng: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)),
		sides: map[uint16][2]*Frame{}, heads: map[ledger.Account][]*ledger.Op{},
	}
	for i := n - 1; i >= 0 && float64(bad+stakes[i]) < hostileShare*float64(total); i-- {
		bad += stakes[i]
		w.hostile = append(w.hostile, uint16(i))
	}
	for i := range n - len(w.hostile) {
		w.replicas = append(w.replicas, newReplica(t, w.g, i))
	}
	w.replicas = append(w.replicas, newReplica(t, w.g, -1))
	for _, r := range w.replicas {
		r.flaws = f
	}
	return w
}

// step does one random thing.
func (w *world) step() {
	w.clock++
	switch w.rng.IntN(9) {
	case 8:
		w.pack()
	case 0:
		w.submit()
	case 1, 2:
		w.vote()
	case 3:
		w.lie()
	default:
		w.gossip()
	}
}

// submit makes a new operation, which is sometimes the rival of an old one.
func (w *world) submit() {
	account := who("abcd"[w.rng.IntN(4)])
	mine := w.heads[account]
	seq, prev := uint64(1), ledger.OpID{}
	if at := len(mine); at > 0 {
		if w.rng.IntN(4) == 0 {
			at = w.rng.IntN(at) // a fork
		}
		if at > 0 {
			seq, prev = mine[at-1].Seq+1, mine[at-1].ID()
		}
	}
	var claims []ledger.Claim
	from := who("abcd"[w.rng.IntN(4)])
	if n := len(w.heads[from]); n > 0 && w.rng.IntN(2) == 0 {
		claims = []ledger.Claim{{From: from, Upto: uint64(w.rng.IntN(n) + 1)}}
	}
	op := transfer(account, seq, prev, who("abcd"[w.rng.IntN(4)]), ledger.Amount(1+w.rng.IntN(600)), claims...)
	if int(seq) > len(mine) {
		w.heads[account] = append(mine, op)
	}
	w.ops = append(w.ops, op)
}

// pack makes a bundle of operations, new ones more often than not.
func (w *world) pack() {
	for range 1 + w.rng.IntN(3) {
		w.submit()
	}
	b := &Bundle{}
	for range 1 + w.rng.IntN(4) {
		op := w.ops[len(w.ops)-1-w.rng.IntN(min(6, len(w.ops)))]
		if !slices.Contains(b.Ops, op) {
			b.Ops = append(b.Ops, op)
		}
	}
	slices.SortStableFunc(b.Ops, func(x, y *ledger.Op) int { return int(x.Seq) - int(y.Seq) })
	w.bundles = append(w.bundles, b)
}

// vote lets an honest witness speak, and often keeps others from hearing it.
func (w *world) vote() {
	r := w.replicas[w.rng.IntN(len(w.replicas))]
	if !r.voting {
		return
	}
	if f := next(w.t, r, w.clock/8); f != nil {
		w.frames = append(w.frames, f)
	}
}

// lie lets a hostile witness vote for anything, on either side of a forked chain, and
// say that it has seen anything.
func (w *world) lie() {
	if len(w.hostile) == 0 || len(w.ops) == 0 {
		return
	}
	liar := w.hostile[w.rng.IntN(len(w.hostile))]
	sides := w.sides[liar]
	side := w.rng.IntN(2)
	f := draft(liar, sides[side])
	f.Slot = max(f.Slot, w.clock/8)
	for range w.rng.IntN(5) {
		f.Votes = append(f.Votes, w.ops[w.rng.IntN(len(w.ops))].ID())
	}
	if len(w.bundles) > 0 && w.rng.IntN(2) == 0 {
		b := w.bundles[w.rng.IntN(len(w.bundles))]
		v := BundleVote{ID: b.ID()}
		for i := range len(b.Ops) + 1 {
			if w.rng.IntN(3) == 0 {
				v.Rejects = append(v.Rejects, uint16(i))
			}
		}
		f.Bundles = append(f.Bundles, v)
	}
	if len(w.frames) > 0 && w.rng.IntN(2) == 0 {
		if o := w.frames[w.rng.IntN(len(w.frames))]; o.Witness != liar && o.votes() {
			f.Seen = append(f.Seen, Seen{o.Witness, o.Seq, o.ID()})
		}
	}
	signed(w.g, f)
	if !w.scribe().takes(f) {
		return // nobody would take it
	}
	sides[side] = f
	w.sides[liar] = sides
	w.frames = append(w.frames, f)
}

// A scribe says which frames of a liar others take.
type scribe struct{ r *Replica }

// scribe returns a replica that holds all frames.
func (w *world) scribe() scribe {
	if w.all == nil {
		w.all = newReplica(w.t, w.g, -1)
	}
	for ; w.written < len(w.frames); w.written++ {
		if out := w.all.AddFrame(w.frames[w.written]); out != Added && out != Equivocation {
			w.t.Fatalf("frame %d of witness %d: %v", w.frames[w.written].Seq, w.frames[w.written].Witness, out)
		}
	}
	return scribe{w.all}
}

// takes reports whether a frame says something new in its chain.
func (s scribe) takes(f *Frame) bool {
	return s.r.wellFormed(f) && s.r.frames[f.ID()] == nil && s.r.follows(&link{frame: f}) && s.r.tellsMore(f)
}

// gossip delivers something, old or new, to somebody.
func (w *world) gossip() {
	r := w.replicas[w.rng.IntN(len(w.replicas))]
	switch n := w.rng.IntN(5); {
	case n < 3 && len(w.frames) > 0:
		r.AddFrame(w.frames[w.rng.IntN(len(w.frames))])
	case n == 3 && len(w.bundles) > 0:
		addBundle(r, w.bundles[w.rng.IntN(len(w.bundles))])
	case len(w.ops) > 0:
		r.AddOp(w.ops[w.rng.IntN(len(w.ops))])
	}
}

// deliverAll gives a replica everything, in an order of its own and some of it
// twice, and what it asks for after that.
func (w *world) deliverAll(r *Replica) {
	var all []any
	for _, op := range w.ops {
		all = append(all, op)
	}
	for _, b := range w.bundles {
		all = append(all, b)
	}
	for _, f := range w.frames {
		all = append(all, f)
		if w.rng.IntN(3) == 0 {
			all = append(all, f)
		}
	}
	w.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, x := range all {
		add(w.t, r, x)
	}
	// What came too early to be kept, and is voted for; each may show that another is.
	for n := -1; n != len(r.entries); {
		n = len(r.entries)
		for _, b := range w.bundles {
			if slices.Contains(r.Absent(len(w.bundles)), b.ID()) {
				addBundle(r, b)
			}
		}
		for _, op := range w.ops {
			if slices.Contains(r.Missing(len(w.ops)), op.ID()) {
				r.AddOp(op)
				n = -1
			}
		}
	}
	if n := len(r.Missing(1000)) + len(r.Absent(1000)); n > 0 || r.Parked() {
		w.t.Fatalf("%d operations and bundles missing, parked %v, after everything was delivered", n, r.Parked())
	}
}

// check fails when a replica breaks what must hold at every moment.
func (w *world) check(r *Replica) {
	if err := r.State().Audit(); err != nil {
		w.t.Fatal(err)
	}
	for _, l := range lanesOf(r) {
		for _, p := range l.places {
			n := 0
			for _, e := range p.rivals {
				if e.certified {
					n++
				}
				if e.applied && (!e.certified || p.certified > 1) {
					w.t.Fatalf("%v applied, certified %v, rivals certified %d", e.id.Short(), e.certified, p.certified)
				}
				if r.votersOf(e) != r.pollOf(e) {
					w.t.Fatalf("%v: voters %v, a look at its bundles finds %v", e.id.Short(), r.votersOf(e), r.pollOf(e))
				}
				if r.backed(e) && !e.certified {
					w.t.Fatalf("%v has a quorum and is not certified", e.id.Short())
				}
			}
			if n != p.certified {
				w.t.Fatalf("place %d counts %d certified, has %d", p.seq, p.certified, n)
			}
		}
	}
	w.checkLists(r)
}

// checkLists compares the lists that a replica keeps with what a full scan finds.
func (w *world) checkLists(r *Replica) {
	waiting, pending, unvoted, owned := 0, 0, 0, 0
	votable := false
	for _, l := range lanesOf(r) {
		head, _ := r.state.Head(l.key.account, l.key.lane)
		if l.head != head {
			w.t.Fatalf("lane %d of %v is at %d, in the state at %d", l.key.lane, l.key.account.Short(), l.head, head)
		}
		for _, p := range l.places {
			seq := p.seq
			may := false
			for _, e := range p.rivals {
				switch {
				case seq <= head && r.free(e):
					w.t.Fatalf("%v is kept without a vote, its place taken", e.id.Short())
				case !e.certified && seq > head:
					pending++
					if !e.backed {
						unvoted++
					}
				case e.certified && p.certified == 1 && seq == head+1:
					waiting++
				}
				may = may || seq == head+1 && r.state.MayVoteItem(e.item) == ledger.OK
			}
			votable = votable || may && p.certified == 0 && p.mine == nil
		}
	}
	for _, o := range r.owners { // order-free: a sum
		owned += o.pending
	}
	if waiting != r.Waiting() || pending != r.PendingLen() || owned != pending || unvoted != r.unvoted {
		w.t.Fatalf("%d waiting, %d pending, %d by account, %d without a vote; scan finds %d, %d, %d",
			r.Waiting(), r.PendingLen(), owned, r.unvoted, waiting, pending, unvoted)
	}
	if r.voting && r.unknown == 0 && votable && !r.HasVotes() {
		w.t.Fatal("nothing votable, scan finds something")
	}
}
