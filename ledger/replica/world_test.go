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

// fakeSign is a signature that fakeVerify accepts: cheap, and different for every
// key and digest.
func fakeSign(key p2p.PeerID, d p2p.Digest) p2p.Signature {
	var sig p2p.Signature
	copy(sig[:], key[:])
	copy(sig[32:], d[:])
	return sig
}

func fakeVerify(key p2p.PeerID, d p2p.Digest, sig p2p.Signature) bool { return sig == fakeSign(key, d) }

// AddOp adds an operation as the machine does: screened, verified, added.
func (r *Replica) AddOp(op *ledger.Op) (Outcome, ledger.Result) {
	item, out, res := r.Screen(op)
	switch {
	case item == nil:
		return out, res
	case !fakeVerify(op.Account, p2p.Digest(item.ID), op.Sig):
		return Refused, ledger.BadSignature
	default:
		return r.AddItem(item)
	}
}

// takeFrame adds a frame as the machine does: screened, verified, added.
func takeFrame(r *Replica, f *Frame) Outcome {
	signed, out := r.ScreenFrame(f)
	switch {
	case out != 0:
		return out
	case !fakeVerify(signed.Key, signed.Digest, signed.Sig):
		return Refused
	default:
		return r.AddFrame(f)
	}
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

// signed signs a frame as its witness.
func signed(g *ledger.Genesis, f *Frame) *Frame {
	slices.SortFunc(f.Votes, ledger.OpID.Compare)
	f.Votes = slices.Compact(f.Votes)
	f.Sig = fakeSign(g.Witnesses[f.Witness].Account, f.SigningDigest())
	return f
}

// frame returns a signed frame; prev is nil for the first.
func frame(g *ledger.Genesis, witness uint16, prev *Frame, votes ...ledger.OpID) *Frame {
	f := &Frame{Chain: ledger.ChainOf(testNetwork), Witness: witness, Seq: 1, Votes: votes}
	if prev != nil {
		f.Seq, f.Prev, f.Slot = prev.Seq+1, prev.ID(), prev.Slot
	}
	return signed(g, f)
}

// add adds an operation or a frame, as a peer does.
func add(t rapid.TB, r *Replica, x any) {
	t.Helper()
	switch x := x.(type) {
	case *ledger.Op:
		r.AddOp(x)
	case *Frame:
		takeFrame(r, x)
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
	frames   []*Frame
	hostile  []uint16
	sides    map[uint16][2]*Frame // the ends of a hostile witness's forked chain
	told     map[string]bool      // votes by witness, side and operation
	heads    map[ledger.Account][]*ledger.Op
}

// newWorld returns a world; hostile witnesses come last in the genesis.
func newWorld(t *rapid.T, hostileShare float64) *world {
	n := rapid.IntRange(1, 6).Draw(t, "witnesses")
	stakes := make([]ledger.Amount, n)
	var total, bad ledger.Amount
	for i := range stakes {
		stakes[i] = ledger.Amount(rapid.IntRange(1, 10).Draw(t, "stake"))
		total += stakes[i]
	}
	w := &world{
		t: t, g: newGenesis(stakes...), rng: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)),
		sides: map[uint16][2]*Frame{}, told: map[string]bool{}, heads: map[ledger.Account][]*ledger.Op{},
	}
	for i := n - 1; i >= 0 && float64(bad+stakes[i]) < hostileShare*float64(total); i-- {
		bad += stakes[i]
		w.hostile = append(w.hostile, uint16(i))
	}
	for i := range n - len(w.hostile) {
		w.replicas = append(w.replicas, newReplica(t, w.g, i))
	}
	w.replicas = append(w.replicas, newReplica(t, w.g, -1))
	return w
}

// step does one random thing.
func (w *world) step() {
	switch w.rng.IntN(8) {
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

// vote lets an honest witness vote, and often keeps others from hearing it.
func (w *world) vote() {
	r := w.replicas[w.rng.IntN(len(w.replicas))]
	votes := r.Votable(MaxVotes)
	if len(votes) == 0 {
		return
	}
	f := signed(w.g, r.NextFrame(0, votes))
	if out := r.AddFrame(f); out != Added {
		w.t.Fatalf("own frame %v", out)
	}
	w.frames = append(w.frames, f)
}

// lie lets a hostile witness vote for anything, on either side of a forked chain.
func (w *world) lie() {
	if len(w.hostile) == 0 || len(w.ops) == 0 {
		return
	}
	liar := w.hostile[w.rng.IntN(len(w.hostile))]
	var votes []ledger.OpID
	for range 1 + w.rng.IntN(5) {
		votes = append(votes, w.ops[w.rng.IntN(len(w.ops))].ID())
	}
	sides := w.sides[liar]
	side := w.rng.IntN(2)
	f := frame(w.g, liar, sides[side], votes...)
	news := false
	for _, id := range f.Votes {
		key := string(append([]byte{byte(liar), byte(side)}, id[:]...))
		news = news || !w.told[key]
		w.told[key] = true
	}
	if !news {
		return // nobody would take it
	}
	sides[side] = f
	w.sides[liar] = sides
	w.frames = append(w.frames, f)
}

// gossip delivers something, old or new, to somebody.
func (w *world) gossip() {
	r := w.replicas[w.rng.IntN(len(w.replicas))]
	if len(w.frames) > 0 && w.rng.IntN(2) == 0 {
		takeFrame(r, w.frames[w.rng.IntN(len(w.frames))])
	} else if len(w.ops) > 0 {
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
	for _, op := range w.ops {
		if slices.Contains(r.Missing(len(w.ops)), op.ID()) {
			r.AddOp(op)
		}
	}
	if n := len(r.Missing(1000)); n > 0 || r.Parked() {
		w.t.Fatalf("%d operations missing, parked %v, after everything was delivered", n, r.Parked())
	}
}

// check fails when a replica breaks what must hold at every moment.
func (w *world) check(r *Replica) {
	if err := r.State().Audit(); err != nil {
		w.t.Fatal(err)
	}
	for key, p := range r.places { // order-free: each by itself
		n := 0
		for _, e := range p.rivals {
			if e.certified {
				n++
			}
			if e.applied && (!e.certified || p.certified > 1) {
				w.t.Fatalf("%v applied, certified %v, rivals certified %d", e.id.Short(), e.certified, p.certified)
			}
		}
		if n != p.certified {
			w.t.Fatalf("place %v counts %d certified, has %d", key, p.certified, n)
		}
	}
	w.checkLists(r)
}

// checkLists compares the lists that a replica keeps with what a full scan finds.
func (w *world) checkLists(r *Replica) {
	votable, waiting, pending := 0, 0, 0
	for key, p := range r.places { // order-free: counts
		head, _ := r.state.Head(key.account, key.lane)
		may := false
		for _, e := range p.rivals {
			switch {
			case key.seq <= head && e.stake == 0:
				w.t.Fatalf("%v is kept without a vote, its place taken", e.id.Short())
			case !e.certified && key.seq > head:
				pending++
			case e.certified && p.certified == 1 && key.seq == head+1:
				waiting++
			}
			may = may || r.state.MayVoteItem(e.item) == ledger.OK
		}
		if may && p.certified == 0 && !p.locked {
			votable++
		}
	}
	accounts, unvoted := 0, 0
	for _, n := range r.accounts { // order-free: a sum
		accounts += n
	}
	for _, e := range r.pending { // order-free: a count
		if e.stake == 0 {
			unvoted++
		}
	}
	if unvoted != r.unvoted {
		w.t.Fatalf("%d pending without a vote, scan finds %d", r.unvoted, unvoted)
	}
	if waiting != r.Waiting() || pending != r.PendingLen() || accounts != pending {
		w.t.Fatalf("%d waiting, %d pending, %d by account; scan finds %d and %d",
			r.Waiting(), r.PendingLen(), accounts, waiting, pending)
	}
	if got := len(r.Votable(1000)); r.voting && r.unknown == 0 && got != votable {
		w.t.Fatalf("%d votable, scan finds %d", got, votable)
	}
}
