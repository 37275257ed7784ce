package replica

import (
	"slices"
	"testing"

	"github.com/pinfi/pinfi/ledger"
)

// accused returns the witnesses that a replica has found to vote for what is not allowed.
func accused(r *Replica) (out []uint16) {
	for _, ev := range r.Evidence() {
		if w, ok := r.cfg.Genesis.WitnessOf(ev.Account); ok && ev.Offence == InvalidVote {
			out = append(out, w)
		}
	}
	slices.Sort(out)
	return out
}

// wantAccused fails when others are accused.
func wantAccused(t *testing.T, r *Replica, when string, want ...uint16) {
	t.Helper()
	if got := accused(r); !slices.Equal(got, want) {
		t.Errorf("%s: accused %v, want %v", when, got, want)
	}
}

// over is more than its account has.
func over(c byte) *ledger.Op { return transfer(who(c), 1, ledger.OpID{}, who('z'), 5000) }

// pass lets a replica judge so many times more.
func pass(r *Replica, n int) {
	for range n {
		r.AddOp(register(ledger.Account{'r', byte(len(r.entries)), byte(len(r.entries) >> 8)}))
	}
}

// [LED-118] Votes for operations and bundles that do not exist keep nobody from being
// judged: not others, and not who made them up.
func TestMadeUpHidesNobody(t *testing.T) {
	g := newGenesis(1, 1, 1, 1)
	r := newReplica(t, g, -1)
	first := draft(3, nil)
	for i := range MaxVotes {
		first.Votes = append(first.Votes, madeUp(i))
	}
	first.Bundles = []BundleVote{{ID: BundleID(madeUp(-1))}}
	r.AddFrame(signed(g, first))
	bad, worse := over('a'), over('b')
	r.AddOp(bad)
	r.AddFrame(frame(g, 2, nil, bad.ID()))
	wantAccused(t, r, "another", 2)
	second := frame(g, 3, first, worse.ID(), madeUp(-2))
	r.AddFrame(second)
	wantAccused(t, r, "its operation is not here", 2)
	r.AddOp(worse)
	pass(r, 2*MaxVotes/unsureShare)
	wantAccused(t, r, "who made them up", 2, 3)
	b := &Bundle{Ops: []*ledger.Op{over('c'), junk('d', 2)}}
	f := draft(1, nil)
	f.Bundles = []BundleVote{{ID: b.ID(), Rejects: []uint16{1}}}
	r.AddFrame(signed(g, f))
	addBundle(r, b)
	pass(r, 2*MaxVotes/unsureShare)
	wantAccused(t, r, "by a bundle that comes late", 1, 2, 3)
}

// A rightVote is a vote of witness 2 that is right by what it holds and this replica does
// not yet.
type rightVote struct {
	frames []*Frame
	ops    []*ledger.Op // that are here
	vote   []*ledger.Op // that it votes for after all frames
	late   []any        // what comes at last
	here   []*Bundle    // besides ops
}

// rightVotes returns votes that look wrong.
func rightVotes(g *ledger.Genesis) map[string]rightVote {
	x := transfer(who('a'), 1, ledger.OpID{}, who('b'), 900)
	x2 := transfer(who('a'), 2, x.ID(), who('z'), 1)
	y := transfer(who('b'), 1, ledger.OpID{}, who('z'), 1500, ledger.Claim{From: who('a'), Upto: 1})
	both := &Bundle{Ops: []*ledger.Op{x, junk('d', 5)}}
	one := &Bundle{Ops: []*ledger.Op{x}}
	some := []*Frame{frame(g, 0, nil, x.ID()), frame(g, 1, nil, x.ID())}
	in := func(a, b, c *Bundle) []*Frame {
		return []*Frame{votesFor(g, 0, nil, a), votesFor(g, 1, nil, b), votesFor(g, 3, nil, c)}
	}
	of := func(op *ledger.Op) []*Frame {
		return []*Frame{frame(g, 0, nil, op.ID()), frame(g, 1, nil, op.ID()), frame(g, 3, nil, op.ID())}
	}
	other := &Bundle{Ops: []*ledger.Op{x, transfer(who('d'), 1, ledger.OpID{}, who('z'), 1)}}
	mine := votesFor(g, 2, nil, one)
	after := []*ledger.Op{y}
	return map[string]rightVote{
		"an operation with a quorum": {of(x), after, after, []any{x}, nil},
		"one before a certified one": {of(x2), []*ledger.Op{x2, y}, after, []any{x}, nil},
		"a bundle with a quorum":     {in(one, one, one), []*ledger.Op{x, y}, after, []any{one}, nil},
		"what a bundle adds":         {append(some, votesFor(g, 3, nil, both)), []*ledger.Op{x, y}, after, []any{both}, nil},
		"what a bundle adds to what is not here": {
			append(some, votesFor(g, 3, nil, both)), after, after, []any{both}, nil,
		},
		"a quorum of two bundles": {in(one, one, both), []*ledger.Op{x, y}, after, []any{one, both}, nil},
		"what a bundle adds to two that are here": {
			in(one, other, both), []*ledger.Op{x, y}, after, []any{both}, []*Bundle{one, other},
		},
		"its own vote for what is first":  {nil, []*ledger.Op{x2}, []*ledger.Op{x, x2}, []any{x}, nil},
		"its own vote in a bundle":        {[]*Frame{mine}, []*ledger.Op{x, x2}, []*ledger.Op{x2}, []any{one}, nil},
		"its own vote, and what is in it": {[]*Frame{mine}, []*ledger.Op{x2}, []*ledger.Op{x2}, []any{one}, nil},
	}
}

// speak returns the vote, in a frame that has seen all the others.
func (c *rightVote) speak(g *ledger.Genesis) *Frame {
	f := draft(2, nil)
	for _, o := range c.frames {
		if o.Witness == 2 {
			f = draft(2, o)
		} else {
			f.Seen = append(f.Seen, Seen{o.Witness, o.Seq, o.ID()})
		}
	}
	for _, op := range c.vote {
		f.Votes = append(f.Votes, op.ID())
	}
	return signed(g, f)
}

// [LED-118] A witness that went by what is not here yet is not accused.
func TestRightVotesWait(t *testing.T) {
	g := newGenesis(1, 1, 1, 1)
	for name, c := range rightVotes(g) {
		for turn := range 3 {
			r := newReplica(t, g, -1)
			var all []any
			for _, f := range c.frames {
				all = append(all, f)
			}
			for _, op := range c.ops {
				all = append(all, op)
			}
			for _, b := range c.here {
				all = append(all, b)
			}
			all = append(all, c.speak(g))
			for i := range all {
				add(t, r, all[(i+turn)%len(all)])
			}
			if r.Parked() || slices.Contains(accused(r), 2) {
				t.Errorf("%s, turn %d: parked %v, accused %v", name, turn, r.Parked(), accused(r))
			}
			for _, x := range c.late {
				add(t, r, x)
			}
			pass(r, 3)
			if slices.Contains(accused(r), 2) || r.witnesses[2].charged > 0 {
				t.Errorf("%s, turn %d, at last: accused %v, %d wait", name, turn, accused(r), r.witnesses[2].charged)
			}
		}
	}
}

// [LED-118] What waits to be judged is judged when what it waits for comes.
func TestChargesCome(t *testing.T) {
	g := newGenesis(1, 1, 1, 1)
	x := transfer(who('a'), 1, ledger.OpID{}, who('b'), 5000)
	x2 := transfer(who('a'), 2, x.ID(), who('z'), 1)
	y := transfer(who('c'), 1, ledger.OpID{}, who('z'), 5000)
	other := &Bundle{Ops: []*ledger.Op{junk('d', 5)}}
	one := &Bundle{Ops: []*ledger.Op{x}}
	mine := votesFor(g, 2, nil, other)
	good := chainOf('d', 2)
	for name, c := range map[string]rightVote{
		"a row that does not fit": {nil, []*ledger.Op{x2}, []*ledger.Op{x, x2}, []any{x}, nil},
		"a certificate": {
			[]*Frame{votesFor(g, 0, nil, one), votesFor(g, 1, nil, one), votesFor(g, 3, nil, one)},
			[]*ledger.Op{y},
			[]*ledger.Op{y},
			[]any{one},
			nil,
		},
		"a bundle without it": {[]*Frame{mine}, good, good[1:], []any{other}, nil},
	} {
		r := newReplica(t, g, -1)
		for _, f := range c.frames {
			r.AddFrame(f)
		}
		for _, op := range c.ops {
			r.AddOp(op)
		}
		r.AddFrame(c.speak(g))
		wantAccused(t, r, name+", too early")
		for _, x := range c.late {
			add(t, r, x)
		}
		if got := accused(r); len(got) == 0 {
			t.Errorf("%s: nobody is accused", name)
		}
		for w := range r.witnesses {
			if r.witnesses[w].charged > 0 || len(r.restOn) > 0 || len(r.charges) > 0 {
				t.Errorf("%s: %d votes still wait", name, r.witnesses[w].charged)
			}
		}
	}
}

// [LED-118] Who votes for much that does not exist costs others little work: they look at
// what is missing now and then only, and keep so many votes in mind.
func TestDoubtWork(t *testing.T) {
	g := newGenesis(1, 1, 1, 1)
	g.Alloc = append(g.Alloc, ledger.Alloc{Account: who('y'), Amount: 1000})
	r := newReplica(t, g, -1)
	var last *Frame
	for i := range 60 {
		f := draft(3, last)
		f.Slot = ledger.Slot(i)
		for j := range MaxVotes {
			f.Votes = append(f.Votes, madeUp(i*MaxVotes+j))
		}
		last = signed(g, f)
		r.AddFrame(last)
	}
	looks, before := 0, r.lookAgain
	var prev *Frame
	for i := range 500 {
		bad := transfer(ledger.Account{'k', byte(i), byte(i >> 8)}, 1, ledger.OpID{}, who('z'), 1)
		f := frame(g, 2, prev, bad.ID())
		f.Slot = ledger.Slot(i)
		prev = signed(g, f)
		r.AddFrame(prev)
		r.AddOp(bad)
		if r.lookAgain != before {
			looks, before = looks+1, r.lookAgain
		}
	}
	if most := 2 + 1000*unsureShare/len(r.missing); looks == 0 || looks > most {
		t.Errorf("%d looks at all %d that are missing, want at most %d", looks, len(r.missing), most)
	}
	pass(r, 3*len(r.missing)/unsureShare)
	if got := len(accused(r)); got < 400 {
		t.Errorf("%d of 500 votes are named", got)
	}
}

// [LED-118] So many votes of one witness wait to be judged, and each is taken off when it is.
func TestChargesBounded(t *testing.T) {
	g := newGenesis(1, 1, 1, 1)
	r := newReplica(t, g, -1)
	bad, hidden := over('a'), over('b')
	r.AddFrame(frame(g, 2, nil, bad.ID()))
	for w := range uint16(4) {
		if w != 2 {
			r.AddFrame(frame(g, w, nil, hidden.ID()))
		}
	}
	r.AddOp(bad)
	if n := len(r.charges); n != 1 {
		t.Fatalf("%d votes wait", n)
	}
	for range 2 * unjudgedMax {
		r.charge(&r.charges, r.charges[0].l, r.charges[0].e)
	}
	if n := len(r.charges); n != unjudgedMax {
		t.Errorf("%d votes wait, want %d", n, unjudgedMax)
	}
	r.AddOp(hidden)
	pass(r, unjudgedMax/judgeMax)
	if n := len(r.charges); n > 0 || r.witnesses[2].charged > 0 || !slices.Contains(accused(r), 2) {
		t.Errorf("%d votes wait, accused %v", n, accused(r))
	}
}

// [LED-118] What is on its way to a certificate, as something always is, keeps nobody from
// judging older votes, though somebody votes for a bundle that does not exist.
func TestUnsureOfWhatWasKnown(t *testing.T) {
	g := newGenesis(1, 1, 1, 1)
	r := newReplica(t, g, -1)
	made := draft(3, nil)
	made.Bundles = []BundleVote{{ID: BundleID(madeUp(1))}}
	r.AddFrame(signed(g, made))
	ops := chainOf('a', 40)
	last, slot := make([]*Frame, 4), ledger.Slot(0)
	vote := func(w uint16, votes ...*ledger.Op) {
		f := draft(w, last[w])
		for _, op := range votes {
			f.Votes = append(f.Votes, op.ID())
		}
		if w == 2 && len(votes) > 1 {
			f.Seen = []Seen{{0, last[0].Seq, last[0].ID()}, {3, 1, made.ID()}}
		}
		f.Slot, last[w] = slot, f
		if out := r.AddFrame(signed(g, f)); out != Added {
			t.Fatal(out)
		}
	}
	r.AddOp(ops[0])
	vote(0, ops[0])
	vote(1, ops[0]) // with what witness 3 may have voted for it has a quorum
	bad := over('b')
	r.AddOp(bad)
	vote(2, bad)
	wantAccused(t, r, "something is on its way")
	for i, op := range ops[1:] {
		slot = ledger.Slot(i)
		r.AddOp(op)
		vote(0, op)
		if i < 38 {
			vote(1, op)
		}
		vote(2, ops[i])
	}
	wantAccused(t, r, "there always was", 2)
	// Witness 2 may have got what 3 voted for, and have gone by it.
	rests := transfer(who('c'), 1, ledger.OpID{}, who('z'), 999, ledger.Claim{From: who('a'), Upto: 40})
	r.AddOp(rests)
	vote(2, ops[39], rests)
	pass(r, 20)
	wantAccused(t, r, "it may have known", 2)
	bad = over('d')
	r.AddOp(bad)
	vote(1, bad)
	pass(r, 20)
	wantAccused(t, r, "after a vote that waits", 1, 2)
	if len(r.charges) != 1 {
		t.Errorf("%d votes wait, want 1", len(r.charges))
	}
}
