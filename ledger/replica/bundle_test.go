package replica

import (
	"bytes"
	"slices"
	"testing"

	"github.com/pinfi/pinfi/ledger"
)

// chainOf returns transfers of one account in a row, each of 1 atom.
func chainOf(c byte, n int) []*ledger.Op {
	var ops []*ledger.Op
	var prev ledger.OpID
	for i := range n {
		op := transfer(who(c), uint64(i+1), prev, who('z'), 1)
		prev = op.ID()
		ops = append(ops, op)
	}
	return ops
}

// votesFor returns a signed frame that votes for a bundle but for some places.
func votesFor(g *ledger.Genesis, witness uint16, prev *Frame, b *Bundle, rejects ...uint16) *Frame {
	f := draft(witness, prev)
	f.Bundles = []BundleVote{{ID: b.ID(), Rejects: rejects}}
	return signed(g, f)
}

// [LED-102] A bundle has one encoding; anything else is refused.
func FuzzDecodeBundle(f *testing.F) {
	for n := 1; n < 4; n++ {
		f.Add((&Bundle{Ops: chainOf('a', n)}).Encode())
	}
	f.Add([]byte{0, 0})
	f.Add([]byte{0xff, 0xff, 0, 0, 0, 1, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := DecodeBundle(b)
		if err != nil {
			return
		}
		if !bytes.Equal(x.Encode(), b) {
			t.Fatalf("%x encodes to %x", b, x.Encode())
		}
		g := newGenesis(1, 1, 1)
		r := newReplica(t, g, 0)
		addBundle(r, x)
		r.NextFrame(0)
	})
}

// [LED-103] A vote for a bundle counts for all its operations but those it leaves out,
// each witness once however it votes.
func TestBundleVotes(t *testing.T) {
	g := newGenesis(1, 1, 1, 1)
	b := &Bundle{Ops: append(chainOf('a', 3), chainOf('b', 2)...)}
	applied := func(r *Replica) string {
		out := ""
		for _, op := range b.Ops {
			out += map[bool]string{true: "+", false: "-"}[r.IsApplied(op.ID())]
		}
		return out
	}
	first := votesFor(g, 0, nil, b)
	for _, tt := range []struct {
		name   string
		frames []*Frame
		want   string
	}{
		{"two of four", []*Frame{first, votesFor(g, 1, nil, b)}, "-----"},
		{"three of four", []*Frame{first, votesFor(g, 1, nil, b), votesFor(g, 2, nil, b)}, "+++++"},
		{"one leaves out the last of each", []*Frame{first, votesFor(g, 1, nil, b, 2, 4), votesFor(g, 2, nil, b)}, "++-+-"},
		{"who leaves out the first, and not what follows, votes for all", []*Frame{
			first, votesFor(g, 1, nil, b, 0), votesFor(g, 2, nil, b),
		}, "+++++"},
		{"the rest one by one", []*Frame{
			first, votesFor(g, 1, nil, b, 2, 4), frame(g, 1, votesFor(g, 1, nil, b, 2, 4), b.Ops[2].ID()),
			votesFor(g, 2, nil, b),
		}, "++++-"},
		{"one vote in two ways is one", []*Frame{
			first, frame(g, 0, first, b.Ops[0].ID()), votesFor(g, 1, nil, b),
		}, "-----"},
		{"places past the end", []*Frame{first, votesFor(g, 1, nil, b, 5, 511), votesFor(g, 2, nil, b)}, "+++++"},
	} {
		for late := range 2 { // the bundle comes first, or last
			r := newReplica(t, g, -1)
			if late == 0 {
				addBundle(r, b)
			}
			for _, f := range tt.frames {
				if out := r.AddFrame(f); out != Added {
					t.Fatalf("%s: frame %v", tt.name, out)
				}
			}
			if late == 1 {
				if got := r.Withholding(); len(got) == 0 || got[0] != 0 {
					t.Errorf("%s: withheld by %v", tt.name, got)
				}
				if got := r.Absent(9); !slices.Equal(got, []BundleID{b.ID()}) {
					t.Errorf("%s: absent %v", tt.name, got)
				}
				addBundle(r, b)
			}
			if got := applied(r); got != tt.want || len(r.Absent(9)) > 0 {
				t.Errorf("%s, the bundle late %d: %s applied, want %s", tt.name, late, got, tt.want)
			}
			if kept := r.TakeKept(); len(kept) != 1 || kept[0] != b.ID() || !r.Kept(b.Ops[1].ID()) {
				t.Errorf("%s: %d bundles to keep", tt.name, len(kept))
			}
		}
	}
}

// [LED-104] A witness votes for a bundle where most of it may be voted for, leaves out
// the rest, and never votes for an operation before those it follows.
func TestBundleBallot(t *testing.T) {
	g := newGenesis(1, 1, 1)
	r := newReplica(t, g, 0)
	poor := transfer(who('b'), 1, ledger.OpID{}, who('c'), 5000)
	b := &Bundle{Ops: append(chainOf('a', 3), poor, transfer(who('b'), 2, poor.ID(), who('c'), 1))}
	lone := transfer(who('c'), 1, ledger.OpID{}, who('z'), 1)
	addBundle(r, b)
	r.AddOp(lone)
	f := next(t, r, 1)
	if len(f.Bundles) != 1 || f.Bundles[0].ID != b.ID() || !slices.Equal(f.Bundles[0].Rejects, []uint16{3, 4}) ||
		!slices.Equal(f.Votes, []ledger.OpID{lone.ID()}) {
		t.Fatalf("votes %v and %+v", f.Votes, f.Bundles)
	}
	junk := &Bundle{Ops: []*ledger.Op{
		transfer(who('d'), 1, ledger.OpID{}, who('z'), 1), transfer(who('d'), 2, ledger.OpID{7}, who('z'), 1),
		transfer(who('d'), 3, ledger.OpID{8}, who('z'), 1),
	}}
	addBundle(r, junk)
	if f := next(t, r, 1); len(f.Bundles) != 0 || !slices.Equal(f.Votes, []ledger.OpID{junk.Ops[0].ID()}) {
		t.Errorf("a bundle of which a third is good: votes %v and %+v", f.Votes, f.Bundles)
	}
}

// [LED-105] What strangers bundle is refused whole where a part is malformed, kept by
// parts where there is no room, and costs no memory where it mixes what is there.
func TestBundleRefused(t *testing.T) {
	g := newGenesis(1, 1, 1)
	r := newReplica(t, g, -1)
	alien := *chainOf('a', 1)[0]
	alien.Chain++
	ops := chainOf('a', 4)
	for name, b := range map[string]*Bundle{
		"empty": {}, "alien": {Ops: []*ledger.Op{ops[0], &alien}}, "twice": {Ops: []*ledger.Op{ops[0], ops[0]}},
		"too many": {Ops: make([]*ledger.Op, MaxBundleOps+1)},
	} {
		if items, out := r.ScreenBundle(b); out != Refused || items != nil {
			t.Errorf("%s: %v", name, out)
		}
	}
	if len(r.entries)+len(r.bundles) > 0 {
		t.Error("something was kept")
	}
	poor := &Bundle{Ops: []*ledger.Op{ops[0], transfer(who('x'), 1, ledger.OpID{}, who('z'), 1)}}
	if out := addBundle(r, poor); out != Refused || len(r.entries) != 1 || len(r.bundles) != 0 {
		t.Errorf("a bundle with an operation of nobody: %v, %d operations", out, len(r.entries))
	}
	whole := &Bundle{Ops: ops}
	if out := addBundle(r, whole); out != Added || len(r.bundles) != 1 || addBundle(r, whole) != Known {
		t.Errorf("a good bundle: %v, %d bundles", out, len(r.bundles))
	}
	mixed := &Bundle{Ops: []*ledger.Op{ops[1], ops[0], ops[2]}}
	addBundle(r, mixed)
	if len(r.bundles) != 1 {
		t.Error("a mix of what is there is kept")
	}
	r.AddFrame(votesFor(g, 0, nil, mixed)) // a witness means it
	if out := addBundle(r, mixed); out != Added || len(r.bundles) != 2 || len(r.Absent(1)) != 0 {
		t.Errorf("a mix that was voted for: %v, %d bundles", out, len(r.bundles))
	}
}

// [LED-103] [LED-105] Who holds the operations of a bundle before the bundle, as their
// author does, holds the bundle too, and has no need to ask for it when it is voted for.
func TestBundleOfHeld(t *testing.T) {
	g := newGenesis(1, 1, 1)
	r := newReplica(t, g, -1)
	ops := chainOf('a', 3)
	for _, op := range ops {
		r.AddOp(op)
	}
	b := &Bundle{Ops: ops}
	addBundle(r, b)
	for i := range 3 {
		r.AddFrame(votesFor(g, uint16(i), nil, b))
		if absent := r.Absent(1); len(absent) > 0 {
			t.Fatalf("after %d votes it asks for %v", i+1, absent[0].Short())
		}
	}
	if r.State().Applied() != 3 {
		t.Errorf("%d operations are applied, want 3", r.State().Applied())
	}
	addBundle(r, &Bundle{Ops: []*ledger.Op{ops[0], ops[1]}})
	if len(r.bundles) != 1 {
		t.Error("a mix of what is there is kept")
	}
}

// [LED-106] An operation is final once witnesses with more than two thirds of the stake
// have told that they hold its certificate; a fork takes no part.
func TestFinal(t *testing.T) {
	g := newGenesis(1, 1, 1, 1)
	op := transfer(who('a'), 1, ledger.OpID{}, who('b'), 5)
	r := newReplica(t, g, -1)
	witnesses := make([]*Replica, 4)
	var frames []*Frame
	for i := range witnesses {
		witnesses[i] = newReplica(t, g, i)
		witnesses[i].AddOp(op)
		frames = append(frames, next(t, witnesses[i], 1))
	}
	r.AddOp(op)
	for _, f := range frames {
		r.AddFrame(f)
	}
	if !r.Certified(op.ID()) || r.Final(op.ID()) {
		t.Fatal("certified and not final is what it should be")
	}
	for i, w := range witnesses[:3] {
		for _, f := range frames {
			w.AddFrame(f)
		}
		if !w.HasNews() || w.HasVotes() {
			t.Fatal("a witness that heard the others has news and nothing to vote for")
		}
		said := next(t, w, 2)
		if len(said.Seen) != 3 || said.votes() {
			t.Fatalf("frame %+v", said)
		}
		if w.HasNews() || w.NextFrame(2) != nil {
			t.Fatal("what was told is told again")
		}
		r.AddFrame(said)
		if got := r.Final(op.ID()); got != (i == 2) {
			t.Errorf("%d of 4 witnesses told: final %v", i+1, got)
		}
	}
	forked := newReplica(t, g, -1) // the same, but for a fork
	forked.AddOp(op)
	for _, l := range r.log {
		forked.AddFrame(l.frame)
	}
	r.AddFrame(frame(g, 2, frames[2], ledger.OpID{9})) // witness 2 forks
	if r.Final(op.ID()) {
		t.Error("the word of a witness that forks counts")
	}
	for w := range uint16(2) { // two who are not among the three that told
		forked.AddFrame(frame(g, 3, []*Frame{frames[3], nil}[w], ledger.OpID{8, byte(w)}))
	}
	if got := r.votePlaces(r.entries[op.ID()]); got[2] != 0 || got[1] == 0 {
		t.Errorf("votes in frames %v; the one of witness 2 counts", got)
	}
	if got := forked.votePlaces(forked.entries[op.ID()]); got[3] != 0 {
		t.Errorf("votes in frames %v; the one of witness 3 counts", got)
	}
}

// A bundle's operation waits where the one before it finds no room in the frame.
func TestBallotKeepsOrder(t *testing.T) {
	g := newGenesis(1, 1, 1)
	for i := range MaxVotes {
		g.Alloc = append(g.Alloc, ledger.Alloc{Account: ledger.Account{'m', byte(i), 1}, Amount: 100})
	}
	r := newReplica(t, g, 0)
	chain := chainOf('a', 2)
	b := &Bundle{Ops: []*ledger.Op{transfer(who('b'), 1, ledger.OpID{}, who('z'), 1), chain[1]}}
	addBundle(r, b)
	r.NextFrame(0) // finds nothing to do in the lane of a, whose first operation is not there
	for i := range MaxVotes {
		r.AddOp(transfer(ledger.Account{'m', byte(i), 1}, 1, ledger.OpID{}, who('z'), 1))
	}
	r.AddOp(chain[0])
	f := next(t, r, 1)
	if len(f.Votes) != MaxVotes || len(f.Bundles) != 1 || !slices.Equal(f.Bundles[0].Rejects, []uint16{1}) {
		t.Fatalf("%d votes, bundles %+v", len(f.Votes), f.Bundles)
	}
	if f := next(t, r, 1); !slices.Contains(f.Votes, chain[0].ID()) || !slices.Contains(f.Votes, chain[1].ID()) {
		t.Errorf("then votes for %v", f.Votes)
	}
}

// [LED-113] A witness that comes upon a fork of its own chain says nothing more.
func TestOwnFork(t *testing.T) {
	g := newGenesis(1, 1, 1)
	r := newReplica(t, g, 0)
	r.AddOp(transfer(who('a'), 1, ledger.OpID{}, who('z'), 1))
	next(t, r, 1)
	r.AddOp(transfer(who('b'), 1, ledger.OpID{}, who('z'), 1))
	r.AddFrame(frame(g, 1, nil, ledger.OpID{2}))
	if !r.HasVotes() || !r.HasNews() {
		t.Fatal("nothing to say at first")
	}
	if out := r.AddFrame(frame(g, 0, nil, ledger.OpID{1})); out != Equivocation {
		t.Fatalf("a frame of a forgotten life: %v", out)
	}
	if r.HasVotes() || r.HasNews() || r.NextFrame(9) != nil {
		t.Error("it goes on")
	}
}

// [LED-107] A frame waits for all that it says it has seen, names frames with votes
// only, and a witness speaks so often in a slot and no more.
func TestSeen(t *testing.T) {
	g := newGenesis(1, 1, 1)
	r := newReplica(t, g, -1)
	other := frame(g, 1, nil, ledger.OpID{1})
	seen := func(prev *Frame, o *Frame) *Frame {
		f := draft(0, prev)
		f.Seen = []Seen{{o.Witness, o.Seq, o.ID()}}
		return signed(g, f)
	}
	first := seen(nil, other)
	if out := r.AddFrame(first); out != Parked {
		t.Fatalf("a frame that rests on another: %v", out)
	}
	if heads := r.Heads(); heads[1] != 0 || !r.Parked() || r.Ready(first) {
		t.Errorf("heads %v", heads)
	}
	r.AddFrame(other)
	if r.Parked() || r.Heads()[0] != 1 || len(r.TakeLinked()) != 2 {
		t.Error("the frame still waits")
	}
	if out := r.AddFrame(seen(first, other)); out != Refused {
		t.Errorf("the same news twice: %v", out)
	}
	if out := r.AddFrame(seen(nil, frame(g, 0, nil, ledger.OpID{1}))); out != Refused {
		t.Errorf("a witness that has seen itself: %v", out)
	}
	idle := draft(2, nil)
	idle.Seen = []Seen{{1, 1, other.ID()}}
	r.AddFrame(signed(g, idle))
	if out := r.AddFrame(seen(first, idle)); out != Refused {
		t.Errorf("news of a frame without votes: %v", out)
	}
	last := first
	for i := range int(r.perSlot().frames) {
		f := frame(g, 0, last, ledger.OpID{3, byte(i), byte(i >> 8)})
		want := Added
		if i == int(r.perSlot().frames)-1 {
			want = Refused
		}
		if out := r.AddFrame(f); out != want {
			t.Fatalf("frame %d of a slot: %v, want %v", i+2, out, want)
		}
		last = f
	}
}

// [LED-108] A witness that votes for what nothing it had seen allows is named, by a
// replica that looks before it is allowed; who voted by the rules never is.
func TestInvalidVote(t *testing.T) {
	g := newGenesis(1, 1, 1, 1)
	good := chainOf('a', 2)
	gift := transfer(who('b'), 1, ledger.OpID{}, who('c'), 900)
	rests := transfer(who('c'), 1, ledger.OpID{}, who('d'), 1500, ledger.Claim{From: who('b'), Upto: 1})
	over := transfer(who('d'), 1, ledger.OpID{}, who('a'), 5000)
	for name, tt := range map[string]struct {
		votes []ledger.OpID
		bad   int
	}{
		"in a row":              {[]ledger.OpID{good[0].ID(), good[1].ID()}, 0},
		"without what is first": {[]ledger.OpID{good[1].ID()}, 1},
		"more than there is":    {[]ledger.OpID{over.ID(), good[0].ID()}, 1},
		"a claim too early":     {[]ledger.OpID{gift.ID(), rests.ID()}, 1},
	} {
		r := newReplica(t, g, -1)
		r.AddFrame(frame(g, 0, nil, tt.votes...))
		if r.EvidenceLen() > 0 {
			t.Errorf("%s: judged while operations are missing", name)
		}
		for _, op := range []*ledger.Op{good[0], good[1], gift, rests, over} {
			r.AddOp(op)
		}
		caught := r.TakeCaught()
		if len(caught) != tt.bad || r.EvidenceLen() != tt.bad || tt.bad == 1 && caught[0].Offence != InvalidVote {
			t.Errorf("%s: caught %v, want %d", name, caught, tt.bad)
		}
	}
}

// [LED-108] What a witness votes for in a bundle is judged for each witness, though
// the bundle is looked at no more than once where nothing in it is amiss.
func TestInvalidVoteInBundle(t *testing.T) {
	g := newGenesis(1, 1, 1, 1)
	good := chainOf('a', 1)[0]
	over := transfer(who('d'), 1, ledger.OpID{}, who('a'), 5000)
	r := newReplica(t, g, -1)
	b := &Bundle{Ops: []*ledger.Op{good, over}}
	addBundle(r, b)
	vote := func(w uint16, rejects ...uint16) {
		f := draft(w, nil)
		f.Bundles = []BundleVote{{b.ID(), rejects}}
		r.AddFrame(signed(g, f))
	}
	vote(0, 1)
	if r.EvidenceLen() > 0 {
		t.Errorf("a witness that leaves out what is wrong: %v", r.Evidence())
	}
	vote(1)
	vote(2, 0)
	if r.EvidenceLen() != 2 {
		t.Errorf("two witnesses that vote for what is wrong: %v", r.Evidence())
	}
}

// An operation of a bundle that one before it follows, and has asked for, is found: it
// is not asked for any more.
func TestBundleBackwards(t *testing.T) {
	g := newGenesis(1)
	r := newReplica(t, g, -1)
	ops := chainOf('a', 3)
	add(t, r, frame(g, 0, nil, ops[2].ID()))
	slices.Reverse(ops)
	if out := addBundle(r, &Bundle{Ops: ops}); out != Added {
		t.Fatalf("the bundle is %v", out)
	}
	if n := len(r.missing) + len(r.Missing(9)); n > 0 || !r.IsApplied(ops[0].ID()) {
		t.Errorf("%d missing, the last applied %v, want none and true", n, r.IsApplied(ops[0].ID()))
	}
}
