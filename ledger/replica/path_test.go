package replica

import (
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/pinfi/pinfi/ledger"
)

// walkPrecedes is precedes by a walk back.
func walkPrecedes(r *Replica, a, b *link) bool {
	for b != nil && b != a {
		b = r.frames[b.frame.Prev]
	}
	return a == b
}

// walkNew is newOnPath by a walk back to the first frame.
func walkNew(r *Replica, f *Frame) bool {
	votes, bundles, seen := slices.Clone(f.Votes), slices.Clone(f.Bundles), slices.Clone(f.Seen)
	for l := r.frames[f.Prev]; l != nil; l = r.frames[l.frame.Prev] {
		votes = slices.DeleteFunc(votes, func(id ledger.OpID) bool { return slices.Contains(l.frame.Votes, id) })
		bundles = slices.DeleteFunc(bundles, func(v BundleVote) bool {
			return slices.ContainsFunc(l.frame.Bundles, func(o BundleVote) bool { return o.ID == v.ID })
		})
		seen = slices.DeleteFunc(seen, func(s Seen) bool {
			return slices.ContainsFunc(l.frame.Seen, func(o Seen) bool {
				return walkPrecedes(r, r.frames[s.ID], r.frames[o.ID])
			})
		})
	}
	return len(votes)+len(bundles)+len(seen) > 0
}

// walkLeaves returns the frames with votes of a witness after which no frame has votes.
func walkLeaves(r *Replica, w int) (out []*link) {
	told := map[*link]bool{}
	for _, place := range slices.Backward(r.witnesses[w].chain) {
		for _, l := range place {
			if l.frame.votes() && !told[l] {
				out = append(out, l)
			}
			if up := r.frames[l.frame.Prev]; up != nil && (l.frame.votes() || told[l]) {
				told[up] = true
			}
		}
	}
	slices.SortFunc(out, compareLinks)
	return out
}

// A tree is frames of one witness that fork, with what they have seen of another that
// forks.
type tree struct {
	g     *ledger.Genesis
	rng   *rand.Rand
	other []*Frame
	all   []*Frame
}

// grow returns a frame that follows some frame of the tree, most often a late one.
func (tr *tree) grow() *Frame {
	var prev *Frame
	if n := len(tr.all); n > 0 && tr.rng.IntN(40) > 0 {
		prev = tr.all[n-1-min(tr.rng.IntN(3)*tr.rng.IntN(n), n-1)]
	}
	f := draft(0, prev)
	f.Slot += ledger.Slot(tr.rng.IntN(2))
	for range tr.rng.IntN(3) {
		f.Votes = append(f.Votes, madeUp(tr.rng.IntN(60)))
	}
	if tr.rng.IntN(3) == 0 {
		id := BundleID(madeUp(100 + tr.rng.IntN(20)))
		f.Bundles = append(f.Bundles, BundleVote{ID: id, Rejects: []uint16{1, 2, 3}[:tr.rng.IntN(4)]})
	}
	if o := tr.other[tr.rng.IntN(len(tr.other))]; tr.rng.IntN(2) == 0 {
		f.Seen = append(f.Seen, Seen{o.Witness, o.Seq, o.ID()})
	}
	return signed(tr.g, f)
}

// newTree returns a tree without frames; the other witness's are in the replica.
func newTree(g *ledger.Genesis, seed uint64, r *Replica) *tree {
	tr := &tree{g: g, rng: rand.New(rand.NewPCG(seed, 3))}
	for i := range 12 {
		var prev *Frame
		if i > 0 {
			prev = tr.other[tr.rng.IntN(i)]
		}
		f := frame(g, 1, prev, madeUp(1000+i))
		if out := r.AddFrame(f); out == Added || out == Equivocation {
			tr.other = append(tr.other, f)
		} else {
			tr.other = append(tr.other, tr.other[0])
		}
	}
	return tr
}

// [LED-28] Whether a frame says more than those before it in its chain is found without a
// walk back, whatever forks, and is what the walk finds.
func TestPath(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := newGenesis(1, 1, 1)
		r := newReplica(t, g, -1)
		tr := newTree(g, rapid.Uint64().Draw(t, "seed"), r)
		refused := 0
		for range 250 {
			f := tr.grow()
			if !r.wellFormed(f) || r.frames[f.ID()] != nil || len(r.lacks(f)) > 0 {
				continue
			}
			if want, got := walkNew(r, f), r.newOnPath(f); got != want || r.tellsMore(f) != want {
				t.Fatalf("frame %d: new %v, tells more %v, a walk finds %v", f.Seq, got, r.tellsMore(f), want)
			}
			if out := r.AddFrame(f); out == Added || out == Equivocation {
				tr.all = append(tr.all, f)
			} else {
				refused++
			}
			if got, want := r.witnesses[0].leaves, walkLeaves(r, 0); !slices.Equal(got, want) {
				t.Fatalf("%d leaves, a walk finds %d", len(got), len(want))
			}
		}
		for range 200 {
			a, b := r.log[tr.rng.IntN(len(r.log))], r.log[tr.rng.IntN(len(r.log))]
			if r.precedes(a, b) != walkPrecedes(r, a, b) {
				t.Fatalf("%d before %d: %v", a.frame.Seq, b.frame.Seq, r.precedes(a, b))
			}
		}
		if len(tr.all) < 20 || refused == 0 {
			t.Skipf("%d frames, %d refused", len(tr.all), refused)
		}
	})
}

// [LED-117] A frame that follows a long chain with a fork is not compared with all of it.
func TestLongFork(t *testing.T) {
	const long = 20_000
	for _, early := range []bool{true, false} {
		g := newGenesis(1, 1, 1)
		r := newReplica(t, g, -1)
		news := frame(g, 1, nil, madeUp(1))
		r.AddFrame(news)
		if early {
			r.AddFrame(frame(g, 0, nil, madeUp(-1)))
		}
		var last *Frame
		for i := range long {
			f := draft(0, last)
			f.Slot, f.Votes = ledger.Slot(i), []ledger.OpID{madeUp(i)}
			if i >= 9000 { // no new vote; but what it has seen
				news = frame(g, 1, news, madeUp(i))
				news.Slot = ledger.Slot(i)
				r.AddFrame(signed(g, news))
				f.Votes, f.Seen = []ledger.OpID{madeUp(i - 9000)}, []Seen{{1, news.Seq, news.ID()}}
			}
			last = signed(g, f)
			if out := r.AddFrame(last); out != Added && out != Equivocation {
				t.Fatalf("frame %d: %v", last.Seq, out)
			}
		}
		if !early {
			f := draft(0, nil)
			f.Seq, f.Prev, f.Slot, f.Votes = last.Seq, last.Prev, last.Slot, []ledger.OpID{madeUp(-1)}
			r.AddFrame(signed(g, f))
		}
		wantShort(t, r, r.frames[last.ID()])
	}
}

// wantShort fails when what is before a frame is looked at in many steps.
func wantShort(t *testing.T, r *Replica, tip *link) {
	t.Helper()
	for seq := uint32(1); seq < tip.frame.Seq; seq += 997 {
		hops := 0
		for l := tip; l.frame.Seq > seq; hops++ {
			if l.jump.frame.Seq >= seq {
				l = l.jump
			} else {
				l = l.up
			}
		}
		if hops > 40 {
			t.Errorf("%d steps from place %d back to %d", hops, tip.frame.Seq, seq)
		}
	}
	steps := 0
	for l := tip; l != nil && l.seen == nil; l = l.up {
		steps++
	}
	w := &r.witnesses[tip.frame.Witness]
	if len(w.forks) == 0 || steps >= seenEvery || len(w.leaves) != 2 || len(w.again) > 0 {
		t.Errorf("forks %v, %d frames are compared, %d leaves, %d votes again", w.forks, steps, len(w.leaves), len(w.again))
	}
}

// [LED-117] A witness that forks at every place is kept at so many, so that others soon have
// told of all its sides and vote again; more only where others rest on them.
func TestForkedEverywhere(t *testing.T) {
	g := newGenesis(1, 1, 1, 1)
	r, o := newReplica(t, g, 0), newReplica(t, g, 1)
	var last *Frame
	for i := range 3 * maxForked {
		side := frame(g, 3, last, madeUp(2*i))
		last = frame(g, 3, last, madeUp(2*i+1))
		side.Slot, last.Slot = ledger.Slot(i), ledger.Slot(i)
		for _, f := range []*Frame{signed(g, last), signed(g, side)} {
			r.AddFrame(f)
		}
	}
	if n := len(r.witnesses[3].forks); n != maxForked || len(r.witnesses[3].leaves) > maxForked+1 {
		t.Errorf("%d forks, %d sides", n, len(r.witnesses[3].leaves))
	}
	add(t, r, transfer(who('a'), 1, ledger.OpID{}, who('z'), 1))
	frames := 0
	for f := next(t, r, 300); f != nil && !f.votes(); f = next(t, r, ledger.Slot(300+frames/8)) {
		frames++
	}
	if frames > maxForked/2+1 || len(votesOf(t, r)) > 0 {
		t.Errorf("%d frames before it votes", frames)
	}
	for range 3 {
		swap(1, r, o)
	}
	if o.Heads()[0] != r.Heads()[0] {
		t.Errorf("what rests on the sides is not taken: %v, want %v", o.Heads(), r.Heads())
	}
	extra := signed(g, &Frame{
		Chain: last.Chain, Witness: 3, Seq: last.Seq, Prev: last.Prev, Slot: last.Slot, Votes: []ledger.OpID{madeUp(9999)},
	})
	rests := draft(2, nil)
	rests.Seen = []Seen{{3, extra.Seq, extra.ID()}}
	if out := r.AddFrame(extra); out != Refused {
		t.Errorf("one more fork: %v", out)
	}
	r.AddFrame(signed(g, rests))
	if out := r.AddFrame(extra); out != Equivocation || r.Heads()[2] != 1 {
		t.Errorf("one that another rests on: %v, heads %v", out, r.Heads())
	}
}
