package replica

import (
	"fmt"
	"slices"
	"testing"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
)

// The tests here are attacks that have worked once.

// madeUp returns the id of an operation that nobody has.
func madeUp(n int) ledger.OpID { return ledger.OpID(p2p.Sum("madeup", []byte(fmt.Sprint(n)))) }

// swap gives each replica all that the other holds, n times.
func swap(n int, rs ...*Replica) {
	for range n {
		for _, from := range rs {
			for _, to := range rs {
				if from == to {
					continue
				}
				for _, l := range from.log {
					to.AddFrame(l.frame)
				}
				for _, e := range from.entries { // order-free: all
					if e.item != nil {
						to.AddOp(e.item.Op)
					}
				}
			}
		}
	}
}

// paying signs an operation with another fee.
func paying(op *ledger.Op, fee ledger.Amount) *ledger.Op {
	op.Fee = fee
	op.Sig = fakeSign(op.Account, op.SigningDigest())
	return op
}

// A later operation of a bundle outbids an earlier one, which the bundle then still names.
func TestGhost(t *testing.T) {
	g := newGenesis(1, 1, 1)
	r := newPool(t, g, 1)
	x := transfer(who('a'), 1, ledger.OpID{}, who('z'), 1)
	y := paying(transfer(who('b'), 1, ledger.OpID{}, who('z'), 1), 9)
	b := &Bundle{Ops: []*ledger.Op{x, y}}
	addBundle(r, b)
	r.AddOp(x) // its author repeats it: Screen knows it not
	for w := range uint16(3) {
		r.AddFrame(votesFor(g, w, nil, b))
	}
	head, _ := r.State().Head(who('a'), 0)
	if head == 1 && !r.IsApplied(x.ID()) {
		t.Error("x is applied to the state and IsApplied denies it")
	}
}

// A ghost of a bundle is applied in a lane that is no longer the lane: what follows waits for ever.
func TestGhostDiverges(t *testing.T) {
	g := newGenesis(1, 1, 1)
	small, large := newPool(t, g, 1), newPool(t, g, 100)
	x := transfer(who('a'), 1, ledger.OpID{}, who('z'), 1)
	y := paying(transfer(who('b'), 1, ledger.OpID{}, who('z'), 1), 9)
	x2 := transfer(who('a'), 2, x.ID(), who('z'), 1)
	b := &Bundle{Ops: []*ledger.Op{x, y}}
	for _, r := range []*Replica{small, large} {
		addBundle(r, b)
		var last [3]*Frame
		for w := range uint16(3) {
			last[w] = frame(g, w, nil, x2.ID())
			r.AddFrame(last[w])
		}
		r.AddOp(x2)
		for w := range uint16(3) {
			r.AddFrame(votesFor(g, w, last[w], b))
		}
		for range 3 {
			for _, op := range []*ledger.Op{x, y, x2} {
				r.AddOp(op)
			}
			addBundle(r, b)
		}
	}
	if small.State().Root() != large.State().Root() {
		hs, _ := small.State().Head(who('a'), 0)
		hl, _ := large.State().Head(who('a'), 0)
		t.Errorf("same operations and frames, other states: head of a is %d and %d", hs, hl)
	}
}

// An operation that was in two bundles that are dissolved is not certified by a third.
func TestExactLeft(t *testing.T) {
	g := newGenesis(1, 1, 1)
	small, large := newPool(t, g, 3), newPool(t, g, 100)
	e := paying(transfer(who('a'), 1, ledger.OpID{}, who('z'), 1), 9)
	b1, b2 := &Bundle{Ops: []*ledger.Op{e, junk('b', 2)}}, &Bundle{Ops: []*ledger.Op{e, junk('b', 3)}}
	b3 := &Bundle{Ops: []*ledger.Op{e, paying(transfer(who('c'), 1, ledger.OpID{}, who('z'), 1), 9)}}
	for _, r := range []*Replica{small, large} {
		addBundle(r, b1)
		addBundle(r, b2)
		for c := range byte(2) {
			r.AddOp(register(ledger.Account{'r', c}))
		}
		for w := range uint16(3) {
			r.AddFrame(votesFor(g, w, nil, b3))
		}
		addBundle(r, b3)
	}
	if small.IsApplied(e.ID()) != large.IsApplied(e.ID()) {
		t.Error("applied on one of two with the same frames and operations")
	}
}

// One frame that rests on what does not exist turns everybody's heads back for ever.
func TestOrphanHeads(t *testing.T) {
	g := newGenesis(1, 1, 1, 1)
	p, r := newReplica(t, g, -1), newReplica(t, g, -1)
	var last *Frame
	for i := range 300 {
		last = draft(0, last)
		last.Slot = ledger.Slot(i / 8)
		last.Votes = []ledger.OpID{madeUp(i)}
		signed(g, last)
		p.AddFrame(last)
		r.AddFrame(last)
	}
	news := frame(g, 1, nil, madeUp(7))
	p.AddFrame(news)
	orphan := draft(3, nil)
	orphan.Seen = []Seen{{0, 1, p2p.Digest{66}}, {1, 1, p2p.Digest{66}}}
	r.AddFrame(signed(g, orphan))
	for range 50 {
		for _, f := range p.FramesAfter(r.Heads(), 256) {
			r.AddFrame(f)
		}
	}
	if r.frames[news.ID()] == nil {
		t.Error("after 50 rounds of sync the frame of witness 1 is not here")
	}
}

// Forks of made-up votes use up Limits.Unknown differently on two honest witnesses.
func TestUnknownSplit(t *testing.T) {
	g := newGenesis(1, 1, 1, 1)
	mk := func(self int) *Replica {
		r, err := New(Config{Network: testNetwork, Genesis: g, Limits: Limits{Unknown: 4}})
		if err != nil {
			t.Fatal(err)
		}
		r.SetSelf(uint16(self))
		return r
	}
	a, b := mk(0), mk(1)
	one := frame(g, 3, nil, madeUp(1), madeUp(2), madeUp(3))
	two := frame(g, 3, nil, madeUp(4), madeUp(5), madeUp(6))
	for _, f := range []*Frame{one, two} {
		a.AddFrame(f)
	}
	for _, f := range []*Frame{two, one} {
		b.AddFrame(f)
	}
	op := transfer(who('a'), 1, ledger.OpID{}, who('z'), 1)
	add(t, a, op)
	add(t, b, op)
	next(t, a, 1)
	next(t, b, 1)
	swap(5, a, b)
	if a.Heads()[1] == 0 || b.Heads()[0] == 0 {
		t.Errorf("honest witnesses do not hear each other: %v %v", a.Heads(), b.Heads())
	}
}

// The third side of a fork is not pinned when the frames between it and the one that is
// named find no room among the parked.
func TestThirdSide(t *testing.T) {
	for _, orphans := range []bool{true, false} {
		g := newGenesis(1, 1, 1, 1)
		a, b := newReplica(t, g, 0), newReplica(t, g, 1)
		var s [3]*Frame
		for i := range s {
			s[i] = frame(g, 3, nil, madeUp(i))
		}
		a.AddFrame(s[0])
		a.AddFrame(s[1])
		b.AddFrame(s[0])
		b.AddFrame(s[2])
		n := 1
		if !orphans {
			n = 300
		}
		last := s[1]
		for i := range n {
			last = draft(3, last)
			last.Slot = ledger.Slot(i / 8)
			last.Votes = []ledger.OpID{madeUp(100 + i)}
			a.AddFrame(signed(g, last))
		}
		if orphans {
			for i := range 256 {
				o := draft(3, nil)
				o.Seq, o.Prev, o.Votes = 9, p2p.Digest{1, byte(i)}, []ledger.OpID{madeUp(1)}
				b.AddFrame(signed(g, o))
			}
		}
		op := transfer(who('a'), 1, ledger.OpID{}, who('z'), 1)
		add(t, a, op)
		next(t, a, 1)
		swap(320, a, b)
		if b.Heads()[0] == 0 {
			t.Errorf("orphans %v: an honest witness's frame stays parked: heads %v", orphans, b.Heads())
		}
	}
}

// A second vote for a bundle counts from the place of the first, so that what nobody
// has seen is final.
func TestFinalAfterSecondVote(t *testing.T) {
	g := newGenesis(1, 1, 1, 1)
	x := transfer(who('a'), 1, ledger.OpID{}, who('z'), 1)
	y := transfer(who('b'), 1, ledger.OpID{}, who('z'), 1)
	z := transfer(who('c'), 1, ledger.OpID{}, who('z'), 1)
	b := &Bundle{Ops: []*ledger.Op{x, y}}
	h1 := votesFor(g, 3, nil, b, 1)
	h2 := draft(3, h1)
	h2.Bundles, h2.Votes = []BundleVote{{ID: b.ID()}}, []ledger.OpID{z.ID()}
	signed(g, h2)
	v0, v1 := votesFor(g, 0, nil, b), votesFor(g, 1, nil, b)
	seen := func(w uint16, prev *Frame, fs ...*Frame) *Frame {
		f := draft(w, prev)
		for _, o := range fs {
			f.Seen = append(f.Seen, Seen{o.Witness, o.Seq, o.ID()})
		}
		return signed(g, f)
	}
	cut := []*Frame{h1, v0, v1, seen(0, v0, v1, h1), seen(1, v1, v0, h1), seen(2, nil, v0, v1, h1)}
	full, part := newReplica(t, g, -1), newReplica(t, g, -1)
	for _, r := range []*Replica{full, part} {
		addBundle(r, b)
		add(t, r, z)
		for _, f := range cut {
			if out := r.AddFrame(f); out != Added {
				t.Fatal(out)
			}
		}
	}
	full.AddFrame(h2)
	if full.Final(y.ID()) && !part.Certified(y.ID()) {
		t.Error("final, and not certified in a cut of witnesses 0, 1 and 2")
	}
}

// [LED-114] A hostile witness votes for one of two rivals, and for what follows the other,
// never for the other. Both are certified, and it is named, whatever came first.
func TestVoteForWhatFollows(t *testing.T) {
	g := newGenesis(3, 3, 4)
	x := transfer(who('a'), 1, ledger.OpID{}, who('b'), 900)
	y := transfer(who('a'), 1, ledger.OpID{}, who('c'), 900)
	y2 := transfer(who('a'), 2, y.ID(), who('c'), 5)
	first := frame(g, 2, nil, x.ID())
	all := []any{
		x, y, y2, frame(g, 0, nil, x.ID()), frame(g, 1, nil, y.ID(), y2.ID()), first, frame(g, 2, first, y2.ID()),
	}
	for turn := range all {
		r := newReplica(t, g, -1)
		for i := range 2 * len(all) {
			add(t, r, all[(turn+i)%len(all)])
		}
		named := map[Offence]ledger.Account{}
		for _, ev := range r.Evidence() {
			named[ev.Offence] = ev.Account
		}
		if named[DoubleCertificate] != who('a') || named[InvalidVote] != g.Witnesses[2].Account {
			t.Errorf("turn %d: evidence %v", turn, r.Evidence())
		}
	}
}

// An honest witness counts a third side, has two others to tell of first, and is accused.
func TestHonestAccused(t *testing.T) {
	g := newGenesis(1, 1, 1, 1) // 0 and 1 and 2 honest, 3 hostile
	x := transfer(who('a'), 1, ledger.OpID{}, who('b'), 900)
	y := transfer(who('b'), 1, ledger.OpID{}, who('z'), 1500, ledger.Claim{From: who('a'), Upto: 1})
	p := transfer(who('c'), 1, ledger.OpID{}, who('z'), 1)
	q := transfer(who('d'), 1, ledger.OpID{}, who('z'), 1)
	// The side that votes for x comes last in the order in which sides are told.
	s1, s2 := frame(g, 3, nil, p.ID()), frame(g, 3, nil, q.ID())
	var s3 *Frame
	for slot := range ledger.Slot(100) {
		s3 = draft(3, nil)
		s3.Slot, s3.Votes = slot, []ledger.OpID{x.ID()}
		signed(g, s3)
		a, b, c := s1.ID(), s2.ID(), s3.ID()
		if slices.Compare(c[:], a[:]) < 0 && slices.Compare(c[:], b[:]) < 0 {
			break
		}
	}
	zero, one, two := newReplica(t, g, 0), newReplica(t, g, 1), newReplica(t, g, 2)
	add(t, zero, x)
	add(t, one, x)
	f0 := next(t, zero, 1) // votes for x
	f1 := next(t, one, 1)  // so does this
	add(t, zero, s3)
	f0b := next(t, zero, 1) // no vote: has seen s3
	for _, op := range []*ledger.Op{y, p, q} {
		add(t, one, op)
	}
	for _, f := range []*Frame{f0, s1, s2, f0b, s3} {
		one.AddFrame(f)
	}
	f1b := next(t, one, 1)
	for _, op := range []*ledger.Op{x, y, p, q} {
		add(t, two, op)
	}
	for _, f := range []*Frame{f0, f1, s1, s2, f1b} {
		two.AddFrame(f)
	}
	for _, ev := range two.Evidence() {
		if at, _ := g.WitnessOf(ev.Account); at != 3 {
			t.Errorf("honest witness %d is accused of %v", at, ev.Offence)
		}
	}
}
