package replica

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/pinfi/pinfi/ledger"
)

// wantSame fails unless two replicas agree on everything.
func wantSame(t rapid.TB, a, b *Replica) {
	t.Helper()
	if a.State().Root() != b.State().Root() {
		t.Fatalf("roots differ: %+v, %+v", a.State().Supply(), b.State().Supply())
	}
	if !slices.Equal(a.Heads(), b.Heads()) || !slices.Equal(a.Tips(), b.Tips()) {
		t.Fatalf("frames differ: %v %v, %v %v", a.Heads(), a.Tips(), b.Heads(), b.Tips())
	}
	guilty := func(r *Replica) (out []string) {
		for _, e := range r.Evidence() {
			if e.Offence != OpFork && e.Offence != InvalidVote { // these depend on what a replica held when it looked
				out = append(out, fmt.Sprint(e.Offence, e.Account.Short(), e.Owner.Short(), e.Lane, e.Seq))
			}
		}
		return out
	}
	if x, y := guilty(a), guilty(b); !slices.Equal(x, y) {
		t.Fatalf("evidence differs:\n%v\n%v", x, y)
	}
}

// An ending is how a world ended.
type ending struct {
	halted     int // places with two certificates
	unfit      int // operations that are certified and cannot be applied
	certified  int
	accusedBad int // hostile witnesses with evidence against them
}

// run runs a world.
func run(rt *rapid.T, hostileShare float64, f flaws) (end ending) {
	w := newWorld(rt, hostileShare, f)
	for range rapid.IntRange(20, 300).Draw(rt, "steps") {
		w.step()
		for _, r := range w.replicas {
			w.check(r)
		}
	}
	fresh := newReplica(rt, w.g, -1)
	fresh.flaws = f
	for _, r := range append(w.replicas, fresh) {
		w.deliverAll(r)
		w.check(r)
		wantSame(rt, r, w.replicas[0])
		wantReported(rt, r)
	}
	for _, r := range append(w.replicas, fresh) {
		for _, e := range r.Evidence() {
			if e.Offence != OpFork && e.Offence != DoubleCertificate && !isHostile(w, e.Account) {
				rt.Fatalf("an honest witness is accused: %v", e)
			}
		}
	}
	for _, e := range fresh.Evidence() {
		if e.Offence == DoubleCertificate {
			end.halted++
			end.accusedBad += wantGuilty(rt, w, fresh, e)
		}
	}
	for _, e := range fresh.entries { // order-free: counts
		if e.certified {
			end.certified++
		}
		if e.certified && !e.applied {
			end.unfit++
		}
	}
	return end
}

// wantGuilty fails unless evidence names witnesses with a third of the stake who voted
// for both rivals of a place with two certificates, and returns how many there are.
func wantGuilty(t rapid.TB, w *world, r *Replica, double Evidence) int {
	t.Helper()
	var stake ledger.Amount
	n := 0
	for _, e := range r.Evidence() {
		if e.Offence == VoteConflict && e.Owner == double.Account && e.Lane == double.Lane && e.Seq == double.Seq {
			at, _ := w.g.WitnessOf(e.Account)
			stake += w.g.Witnesses[at].Stake
			n++
		}
	}
	rivals := r.owners[double.Account].lane(double.Lane).place(double.Seq).rivals
	direct := 0
	for _, e := range rivals {
		if e.certified && r.backed(e) {
			direct++
		}
	}
	if direct > 1 && 3*stake <= r.stake {
		t.Fatalf("two certificates for place %d of %s, evidence against %d of %d stake",
			double.Seq, double.Account.Short(), stake, r.stake)
	}
	return n
}

// isHostile reports whether the account is a hostile witness's.
func isHostile(w *world, account ledger.Account) bool {
	return slices.ContainsFunc(w.hostile, func(i uint16) bool { return w.g.Witnesses[i].Account == account })
}

// wantReported fails unless TakeApplied told of exactly the applied operations.
func wantReported(t rapid.TB, r *Replica) {
	t.Helper()
	told := map[ledger.OpID]int{}
	for _, a := range r.TakeApplied() {
		switch a.Result {
		case ledger.OK:
			told[a.Op.ID()]++
		case ledger.Reverted:
			told[a.Op.ID()]--
		case ledger.Equivocation:
		default:
			t.Fatalf("applied with %v", a.Result)
		}
	}
	n := 0
	for id, count := range told { // order-free: each by itself
		if count != 0 && count != 1 || (count == 1) != r.IsApplied(id) {
			t.Fatalf("%s told %d times, applied %v", id.Short(), count, r.IsApplied(id))
		}
		n += count
	}
	if uint64(n) != r.State().Applied() {
		t.Fatalf("told of %d operations, %d applied", n, r.State().Applied())
	}
}

// [LED-12] Replicas with the same operations and frames have the same state, in any order.
// [LED-13] With less than a third of the stake hostile no two rivals are both certified.
// [LED-100] With less than a third of the stake hostile every certified operation can be applied.
func TestHonestMajority(t *testing.T) {
	certified := 0
	rapid.Check(t, func(rt *rapid.T) {
		end := run(rt, 1.0/3, flaws{})
		if end.halted > 0 || end.unfit > 0 {
			rt.Fatalf("%d places with two certificates, %d certified operations that do not apply", end.halted, end.unfit)
		}
		certified += end.certified
	})
	if certified == 0 {
		t.Error("nothing was certified: the test shows nothing")
	}
}

// [LED-14] With more hostile stake replicas still agree, money is conserved, and only the guilty are named.
func TestHostileMajority(t *testing.T) {
	halted, accused := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		end := run(rt, 1.1, flaws{})
		halted, accused = halted+end.halted, accused+end.accusedBad
	})
	if halted == 0 || accused == 0 {
		t.Errorf("%d places with two certificates, %d accused: the test shows nothing", halted, accused)
	}
}

// [LED-101] The rules are needed: with votes for single operations one is certified that
// can never be applied, and with a quorum of half the stake rivals are both certified.
func TestNegativeControls(t *testing.T) {
	for _, tt := range []struct {
		name    string
		flaws   flaws
		applied int
		unfit   int
	}{
		{"votes for a lane", flaws{}, 2, 0},
		{"votes for single operations", flaws{perOp: true}, 0, 1},
	} {
		g := newGenesis(1, 1, 1, 1)
		r := newReplica(t, g, -1)
		r.flaws = tt.flaws
		first := transfer(who('a'), 1, ledger.OpID{}, who('b'), 5)
		second := transfer(who('a'), 2, first.ID(), who('b'), 5)
		add(t, r, first)
		add(t, r, second)
		for w := range uint16(2) {
			add(t, r, frame(g, w, nil, first.ID(), second.ID()))
		}
		add(t, r, frame(g, 2, nil, second.ID())) // a hostile witness leaves out the first
		applied, unfit := 0, 0
		for _, e := range r.entries { // order-free: counts
			if e.applied {
				applied++
			} else if e.certified {
				unfit++
			}
		}
		if applied != tt.applied || unfit != tt.unfit {
			t.Errorf("%s: %d applied, %d certified that cannot be; want %d, %d", tt.name, applied, unfit, tt.applied, tt.unfit)
		}
	}
	for half, want := range map[bool]int{false: 0, true: 2} {
		g := newGenesis(4, 4, 3)
		r := newReplica(t, g, -1)
		r.flaws.half = half
		left := transfer(who('a'), 1, ledger.OpID{}, who('b'), 900)
		right := transfer(who('a'), 1, ledger.OpID{}, who('c'), 900)
		for _, x := range []any{
			left, right, frame(g, 0, nil, left.ID()), frame(g, 1, nil, right.ID()),
			frame(g, 2, nil, left.ID(), right.ID()), // hostile, with less than a third
		} {
			add(t, r, x)
		}
		if got := r.owners[who('a')].lane(0).place(1).certified; got != want {
			t.Errorf("quorum of half %v: %d rivals certified, want %d", half, got, want)
		}
	}
}

// [LED-15] Two certified rivals halt their lane, and what rested on the first is taken back.
func TestDoubleCertificate(t *testing.T) {
	g := newGenesis(1, 1, 1)
	first := transfer(who('a'), 1, ledger.OpID{}, who('b'), 500)
	rival := transfer(who('a'), 1, ledger.OpID{}, who('c'), 500)
	next := transfer(who('b'), 1, ledger.OpID{}, who('c'), 1400, ledger.Claim{From: who('a'), Upto: 1})
	other := transfer(who('d'), 1, ledger.OpID{}, who('c'), 5)
	r := newReplica(t, g, -1)
	for _, op := range []*ledger.Op{first, next, other} {
		r.AddOp(op)
	}
	last := make([]*Frame, 3)
	for i := range last {
		last[i] = frame(g, uint16(i), nil, first.ID(), next.ID(), other.ID())
		r.AddFrame(last[i])
	}
	if n := len(r.TakeApplied()); n != 3 {
		t.Fatalf("%d applied, want 3", n)
	}
	for i := range last {
		r.AddFrame(frame(g, uint16(i), last[i], rival.ID()))
	}
	if got := r.Missing(5); !slices.Equal(got, []ledger.OpID{rival.ID()}) || !r.Certified(rival.ID()) {
		t.Fatalf("missing %v", got)
	}
	if out, _ := r.AddOp(rival); out != Equivocation {
		t.Fatalf("rival: %v", out)
	}
	var told []string
	for _, a := range r.TakeApplied() {
		told = append(told, fmt.Sprintf("%v by %c to %v", a.Op.Kind, a.Op.Account[0], a.Result))
	}
	slices.Sort(told)
	want := []string{
		"transfer by a to equivocation", "transfer by a to equivocation", "transfer by a to reverted",
		"transfer by b to reverted",
	}
	if !slices.Equal(told, want) {
		t.Fatalf("told %q", told)
	}
	fresh := newReplica(t, g, -1)
	fresh.AddOp(other)
	for i := range last {
		fresh.AddFrame(frame(g, uint16(i), nil, other.ID()))
	}
	if r.State().Root() != fresh.State().Root() {
		t.Fatal("the halted lane changed something")
	}
}

// [LED-16] Certificates need more than two thirds of the stake, each witness counted once.
func TestCertificate(t *testing.T) {
	for _, tt := range []struct {
		stakes []ledger.Amount
		votes  []int
		want   bool
	}{
		{[]ledger.Amount{1, 1, 1}, []int{0, 1}, false},
		{[]ledger.Amount{1, 1, 1}, []int{0, 1, 2}, true},
		{[]ledger.Amount{1, 1, 1}, []int{0, 1, 0, 1}, false},
		{[]ledger.Amount{1, 1, 1, 1}, []int{0, 1, 3}, true},
		{[]ledger.Amount{1, 2}, []int{1}, false},
		{[]ledger.Amount{1, 3}, []int{1}, true},
		{[]ledger.Amount{1}, []int{0}, true},
		{[]ledger.Amount{ledger.MaxSupply / 3, ledger.MaxSupply / 2}, []int{1}, false},
	} {
		g := newGenesis(tt.stakes...)
		g.Alloc = nil
		r := newReplica(t, g, -1)
		op := &ledger.Op{
			Chain: r.State().Chain(), Kind: ledger.KindDeviceRegister, Account: who('a'), Seq: 1,
			Body: ledger.DeviceRegister{Class: "gpu", Declared: 1}.Encode(),
		}
		op.Sig = fakeSign(op.Account, op.SigningDigest())
		if out, res := r.AddOp(op); out != Added || res != ledger.OK {
			t.Fatal(out, res)
		}
		last := map[int]*Frame{}
		for _, v := range tt.votes {
			last[v] = frame(g, uint16(v), last[v], op.ID())
			r.AddFrame(last[v])
		}
		if r.Certified(op.ID()) != tt.want || r.IsApplied(op.ID()) != tt.want {
			t.Errorf("stakes %v, votes %v: certified %v, want %v", tt.stakes, tt.votes, r.Certified(op.ID()), tt.want)
		}
	}
}

// votesOf returns what the next frame of a replica would vote for, one by one.
func votesOf(t testing.TB, r *Replica) []ledger.OpID {
	t.Helper()
	f := r.NextFrame(0)
	if has := r.HasVotes(); has != (f != nil && f.votes()) {
		t.Fatalf("has votes %v, next frame %+v", has, f)
	}
	if f == nil {
		return nil
	}
	return f.Votes
}

// [LED-17] A witness votes once a slot, also after a restart from its saved frames.
func TestNextFrame(t *testing.T) {
	g := newGenesis(1, 1, 1, 1)
	first := transfer(who('a'), 1, ledger.OpID{}, who('b'), 500)
	rival := transfer(who('a'), 1, ledger.OpID{}, who('c'), 500)
	second := transfer(who('a'), 2, first.ID(), who('c'), 5)
	poor := transfer(who('b'), 1, ledger.OpID{}, who('c'), 1400, ledger.Claim{From: who('a'), Upto: 1})
	r := newReplica(t, g, 0)
	for _, op := range []*ledger.Op{poor, first, rival} {
		r.AddOp(op)
	}
	if got := votesOf(t, r); !slices.Equal(got, []ledger.OpID{first.ID()}) {
		t.Fatalf("votes %v", got)
	}
	own := next(t, r, 7)
	if got := votesOf(t, r); len(got) != 0 {
		t.Fatalf("votes again: %v", got)
	}
	r.AddOp(second)
	f := r.NextFrame(3)
	if f.Seq != 2 || f.Prev != own.ID() || f.Slot != 7 || !slices.Equal(f.Votes, []ledger.OpID{second.ID()}) {
		t.Fatalf("next frame %+v, want the operation that follows the one that was voted for", f)
	}
	again := newReplica(t, g, 0)
	again.AddFrame(own)
	again.AddOp(rival)
	if got := votesOf(t, again); len(got) != 0 {
		t.Fatalf("votes while the own vote's operation is missing: %v", got)
	}
	again.AddOp(first)
	if got := votesOf(t, again); len(got) != 0 {
		t.Fatalf("votes after a restart: %v", got)
	}
	for w := range 3 {
		again.AddFrame(frame(g, uint16(w+1), nil, first.ID()))
	}
	again.AddOp(poor)
	again.AddOp(second)
	if got := votesOf(t, again); !again.IsApplied(first.ID()) || len(got) != 2 {
		t.Fatalf("votes %v, want what waited for the first", got)
	}
}

// [LED-18] Frames chain: a gap parks them, a fork is evidence, and a third side is refused.
func TestFrames(t *testing.T) {
	g := newGenesis(1, 1, 1)
	r := newReplica(t, g, -1)
	id := func(n byte) ledger.OpID { return ledger.OpID{0xf0, n} }
	one := frame(g, 0, nil, id(1))
	two := frame(g, 0, one, id(2))
	three := frame(g, 0, two, id(3))
	late := frame(g, 0, three, id(4))
	late.Slot = 9
	signed(g, late)
	early := frame(g, 0, late, id(5))
	early.Slot = 8
	signed(g, early)
	alien, nobody := *one, *one
	alien.Chain++
	nobody.Witness = 3
	orphan := frame(g, 0, nil, id(1))
	orphan.Seq = 2
	skip := frame(g, 0, one, id(2))
	skip.Seq = 3
	fork := frame(g, 0, one, ledger.OpID{1})
	for i, step := range []struct {
		f    *Frame
		want Outcome
		head uint32
	}{
		{three, Parked, 0},
		{three, Known, 0},
		{two, Parked, 0},
		{one, Added, 3},
		{two, Known, 3},
		{late, Added, 4},
		{signed(g, early), Refused, 4},
		{signed(g, orphan), Refused, 4},
		{signed(g, skip), Refused, 4},
		{fork, Equivocation, 4},
		{frame(g, 0, one, ledger.OpID{2}), Refused, 4},
		{frame(g, 0, frame(g, 0, nil, id(7)), id(8)), Parked, 4},
	} {
		if got := r.AddFrame(step.f); got != step.want || r.Heads()[0] != step.head {
			t.Errorf("step %d: %v, head %d, want %v, %d", i, got, r.Heads()[0], step.want, step.head)
		}
	}
	for name, f := range map[string]*Frame{"alien": signed(g, &alien), "nobody": &nobody} {
		if got := r.AddFrame(f); got != Refused {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := r.FramesAfter([]uint32{1, 0, 0}, 9); len(got) != 4 || got[0].Seq != 2 || got[3].Seq != 2 {
		t.Errorf("frames after 1: %v", got)
	}
	if r.FramesAfter([]uint32{9}, 9) != nil || len(r.FramesAfter(make([]uint32, 3), 2)) != 2 ||
		r.FramesAfter([]uint32{99, 0, 0}, 9) != nil {
		t.Error("frames after: bounds")
	}
	if ev := r.Evidence(); len(ev) != 1 || ev[0].Offence != FrameFork || ev[0].Seq != 2 {
		t.Errorf("evidence %v", ev)
	}
}

// [LED-28] A frame votes for something that none of the frames before it votes for, whatever a fork of it says.
func TestFramesTellMore(t *testing.T) {
	g := newGenesis(1, 1)
	x, y, z := ledger.OpID{1}, ledger.OpID{2}, ledger.OpID{3}
	one := frame(g, 0, nil, x)
	left := frame(g, 0, one, x, y)
	right := frame(g, 0, one, y)
	end := frame(g, 0, right, z)
	for name, f := range map[string]*Frame{
		"no votes": frame(g, 0, nil), "no votes later": frame(g, 0, left), "a vote again": frame(g, 0, left, x),
		"votes again": frame(g, 0, left, x, y), "votes again on a side": frame(g, 0, end, y, z),
		"votes again as a fork": frame(g, 0, one, x),
	} {
		for _, chain := range [][]*Frame{{one, left}, {one, left, right, end}, {one, right, left, end}} {
			r := newReplica(t, g, -1)
			for i, c := range chain {
				if out := r.AddFrame(c); out == Refused || out == Parked {
					t.Fatalf("frame %d: %v", i, out)
				}
			}
			if out := r.AddFrame(f); out != Refused && (name != "votes again on a side" || len(chain) > 2) {
				t.Errorf("%s, after %d frames: %v", name, len(chain), out)
			}
		}
	}
	early := newReplica(t, g, -1) // the frame that repeats nothing may come last, or first
	for i, f := range []*Frame{one, right, end, left} {
		if out := early.AddFrame(f); out == Refused {
			t.Errorf("frame %d: %v", i, out)
		}
	}
	if other := frame(g, 1, nil, x); early.AddFrame(other) != Added {
		t.Error("another witness's vote for the same is refused")
	}
	deep := newReplica(t, g, -1) // a fork that votes as the chain did after the place where it leaves it
	for i, f := range []*Frame{one, left, frame(g, 0, left, z), right, end} {
		if out := deep.AddFrame(f); out != Added && out != Equivocation {
			t.Errorf("deep frame %d: %v", i, out)
		}
	}
}

// [LED-30] Replicas with equal heads and different tips come to hold both sides of a fork, wherever it is.
func TestTipsAndResend(t *testing.T) {
	g := newGenesis(1, 1)
	id := func(n byte) ledger.OpID { return ledger.OpID{0xf0, n} }
	one := frame(g, 0, nil, id(1))
	left, right := frame(g, 0, one, id(2)), frame(g, 0, one, id(3))
	left2, right2 := frame(g, 0, left, id(4)), frame(g, 0, right, id(5))
	long := frame(g, 0, right2, id(6))
	for name, sides := range map[string][2][]*Frame{
		"the last frame":   {{one, left}, {one, right}},
		"two frames":       {{one, left, left2}, {one, right, right2}},
		"a side that died": {{one, left, left2, right, right2, long}, {one, right, right2, long}},
		"the first frame":  {{one}, {frame(g, 0, nil, id(9))}},
	} {
		a, b := newReplica(t, g, -1), newReplica(t, g, -1)
		for i, r := range []*Replica{a, b} {
			for _, f := range sides[i] {
				r.AddFrame(f)
			}
		}
		if slices.Equal(a.Tips(), b.Tips()) {
			t.Errorf("%s: equal tips at first", name)
		}
		for range 10 {
			give(a, b)
			give(b, a)
		}
		wantSame(t, a, b)
		if a.Parked() || b.Parked() || a.EvidenceLen() == 0 {
			t.Errorf("%s: parked %v, %v, evidence %d", name, a.Parked(), b.Parked(), a.EvidenceLen())
		}
	}
}

// give sends one replica what the other seems to lack, two frames at a time, as a
// node does.
func give(from, to *Replica) {
	heads, tips := to.Heads(), to.Tips()
	for i, head := range from.Heads() {
		if heads[i] == head && tips[i] != from.Tips()[i] {
			heads[i] = from.Resend(uint16(i))
		}
	}
	for _, f := range from.FramesAfter(heads, 4) {
		to.AddFrame(f)
	}
	for _, id := range to.Lacking(4) {
		if f, ok := from.Frame(id); ok {
			to.AddFrame(f)
		}
	}
}

// [LED-19] What strangers send is bounded, and refused with a code.
func TestLimits(t *testing.T) {
	g := newGenesis(1, 1, 1)
	r, err := New(Config{
		Network: testNetwork, Genesis: g,
		Limits: Limits{Pending: 4, PerAccount: 2, Ahead: 3, Parked: 1, Unknown: 2},
	})
	if err != nil {
		t.Fatal(err)
	}
	op := func(c byte, seq uint64, a ledger.Amount) *ledger.Op {
		prev := ledger.OpID{}
		if seq > 1 {
			prev = ledger.OpID{1}
		}
		return transfer(who(c), seq, prev, who('z'), a)
	}
	alien := op('c', 1, 1)
	alien.Chain++
	for i, step := range []struct {
		op   *ledger.Op
		want Outcome
		res  ledger.Result
	}{
		{op('a', 1, 1), Added, ledger.OK},
		{op('a', 1, 1), Known, ledger.OK},
		{op('a', 1, 5000), Equivocation, ledger.InsufficientBalance},
		{op('a', 1, 3), Refused, ledger.Full},
		{op('b', 4, 3), Refused, ledger.Full},
		{op('b', 3, 3), Added, ledger.BadSeq},
		{alien, Refused, ledger.BadChain},
		{op('c', 1, 1), Added, ledger.OK},
		{op('d', 1, 1), Added, ledger.OK},
	} {
		if out, res := r.AddOp(step.op); out != step.want || res != step.res {
			t.Errorf("step %d: %v, %v, want %v, %v", i, out, res, step.want, step.res)
		}
	}
	if n := len(slices.Collect(r.Pending())); n != 4 || r.PendingLen() != 4 {
		t.Errorf("%d pending", n)
	}
	wanted := op('a', 1, 3)
	votes := frame(g, 0, nil, wanted.ID(), ledger.OpID{1})
	if out := r.AddFrame(votes); out != Added {
		t.Errorf("votes: %v", out)
	}
	if out := r.AddFrame(frame(g, 0, votes, ledger.OpID{2})); out != Refused {
		t.Errorf("votes for too much unknown: %v", out)
	}
	if out, _ := r.AddOp(wanted); out != Equivocation {
		t.Errorf("an operation with a vote: %v", out)
	}
	if out := r.AddFrame(frame(g, 0, votes, ledger.OpID{2})); out != Added {
		t.Errorf("votes after the unknown came: %v", out)
	}
	lost := frame(g, 1, nil, ledger.OpID{9})
	next := frame(g, 1, lost, ledger.OpID{8})
	if a, b := r.AddFrame(next), r.AddFrame(frame(g, 1, next, ledger.OpID{7})); a != Parked || b != Refused {
		t.Errorf("parked: %v, %v", a, b)
	}
	for w := range 3 {
		r.AddFrame(frame(g, uint16(w), nil, op('c', 1, 1).ID()))
	}
	if _, res := r.AddOp(op('c', 1, 2)); res != ledger.OK && res != ledger.Stale {
		t.Errorf("a rival too late: %v", res)
	}
}

// [LED-29] Every operation that is missing is asked for in turn.
func TestMissingInTurn(t *testing.T) {
	g := newGenesis(1)
	r := newReplica(t, g, -1)
	var ids []ledger.OpID
	for i := range byte(5) {
		ids = append(ids, ledger.OpID{i + 1})
	}
	if got := r.Missing(2); got != nil {
		t.Errorf("nothing is missing: %v", got)
	}
	r.AddFrame(frame(g, 0, nil, ids...))
	for i, want := range [][]int{{0, 1}, {2, 3}, {4, 0}, {1, 2}, {3, 4}, {0, 1}} {
		if got := r.Missing(2); !slices.Equal(got, []ledger.OpID{ids[want[0]], ids[want[1]]}) {
			t.Errorf("call %d: %v, want the operations %v", i, got, want)
		}
	}
	if got := r.Missing(9); len(got) != 5 || got[0] != ids[2] || got[4] != ids[1] || r.Missing(0) != nil {
		t.Errorf("all: %v", got)
	}
}

func TestNewRefuses(t *testing.T) {
	g := newGenesis(1)
	for _, cfg := range []Config{{}, {Genesis: newGenesis()}} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v: no error", cfg)
		}
	}
	for name, f := range map[string]func(){
		"self out of range": func() { newReplica(t, g, 1) },
		"self too late":     func() { r := newReplica(t, g, -1); r.AddFrame(frame(g, 0, nil, ledger.OpID{1})); r.SetSelf(0) },
		"frame of nobody":   func() { newReplica(t, g, -1).NextFrame(0) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}

// TestWords checks that the enumerations have names.
func TestWords(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range []fmt.Stringer{
		Added, Known, Parked, Refused, Equivocation, Outcome(9), OpFork, FrameFork,
		VoteConflict, DoubleCertificate, InvalidVote, Offence(9),
	} {
		if seen[s.String()] || s.String() == "" {
			t.Errorf("name %q", s)
		}
		seen[s.String()] = true
	}
}

// BenchmarkCertify measures an operation from its arrival to its application: it
// and the frames of four witnesses, 256 operations a frame.
func BenchmarkCertify(b *testing.B) {
	g := newGenesis(1, 1, 1, 1)
	for i := range 256 {
		g.Alloc = append(g.Alloc, ledger.Alloc{Account: ledger.Account{1, byte(i)}, Amount: ledger.MaxSupply / 1000})
	}
	r := newReplica(b, g, 0)
	prev := make([]ledger.OpID, 256)
	last := make([]*Frame, 4)
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += 256 {
		for i := range prev {
			op := transfer(ledger.Account{1, byte(i)}, uint64(n/256)+1, prev[i], who('z'), 1)
			prev[i] = op.ID()
			r.AddOp(op)
		}
		if got := len(votesOf(b, r)); got != 256 {
			b.Fatal(got)
		}
		for w := range last {
			f := frame(g, uint16(w), last[w], slices.Clone(prev)...)
			f.Slot = ledger.Slot(n / 256)
			last[w] = signed(g, f)
			r.AddFrame(last[w])
		}
		if got := len(r.TakeApplied()); got != 256 {
			b.Fatal(got)
		}
	}
}

// BenchmarkHasVotes measures a call that finds nothing new among 1000 operations.
func BenchmarkHasVotes(b *testing.B) {
	g := newGenesis(1)
	for i := range 1000 {
		g.Alloc = append(g.Alloc, ledger.Alloc{Account: ledger.Account{2, byte(i), byte(i >> 8)}, Amount: 1})
	}
	r := newReplica(b, g, 0)
	for i := range 1000 {
		r.AddOp(transfer(ledger.Account{2, byte(i), byte(i >> 8)}, 1, ledger.OpID{}, who('z'), 1))
	}
	b.ResetTimer()
	for range b.N {
		if r.HasVotes() {
			b.Fatal("votable")
		}
	}
}
