package replica

import (
	"math/rand/v2"
	"testing"

	"github.com/pinfi/pinfi/ledger"
)

// [LED-116] A hostile witness that votes for one bundle in ever other orders, or for ever
// other operations of keys that own nothing, has so many votes a slot and no more.
func TestVotesPerSlot(t *testing.T) {
	g := newGenesis(1, 1, 1)
	rng := rand.New(rand.NewPCG(1, 2))
	ids := make([]ledger.OpID, 64)
	for i := range ids {
		ids[i] = madeUp(i)
	}
	for name, fill := range map[string]func(f *Frame, i int){
		"orders of a bundle": func(f *Frame, _ int) {
			for range MaxBundles {
				rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
				f.Bundles = append(f.Bundles, BundleVote{ID: bundleID(ids)})
			}
		},
		"operations": func(f *Frame, i int) {
			for j := range MaxVotes {
				f.Votes = append(f.Votes, madeUp(i*MaxVotes+j))
			}
		},
	} {
		r := newReplica(t, g, -1)
		most, got := r.perSlot(), load{}
		var last *Frame
		for i := range int(most.frames) {
			f := draft(0, last)
			f.Slot = 7
			fill(f, i)
			if r.AddFrame(signed(g, f)) != Added {
				break
			}
			got, last = got.plus(loadOf(f)), f
		}
		over := got.bundles > most.bundles || got.votes > most.votes
		if over || got.bundles < most.bundles-MaxBundles && got.votes < most.votes-MaxVotes {
			t.Errorf("%s: %+v in a slot, want at most %+v and about as many", name, got, most)
		}
		f := draft(0, last)
		f.Slot++
		fill(f, 1000)
		if out := r.AddFrame(signed(g, f)); out != Added {
			t.Errorf("%s: the first frame of the next slot: %v", name, out)
		}
	}
}

// [LED-116] A witness keeps to what it may say in a slot, and says the rest in the next.
func TestNextFramePerSlot(t *testing.T) {
	g := newGenesis(1, 1, 1)
	g.SlotMillis = 1
	single := newReplica(t, g, 0)
	for _, c := range []byte("abcd") {
		for _, op := range chainOf(c, 200) {
			single.AddOp(op)
		}
	}
	packed := newReplica(t, g, 0)
	for _, c := range []byte("abcd") {
		for i, ops := 0, chainOf(c, 80); i < len(ops); i += 2 {
			addBundle(packed, &Bundle{Ops: ops[i : i+2]})
		}
	}
	for name, tt := range map[string]struct {
		r    *Replica
		want load
	}{
		"singles": {single, load{votes: single.perSlot().votes}},
		"bundles": {packed, load{bundles: packed.perSlot().bundles, votes: 320 - 2*packed.perSlot().bundles}},
	} {
		r := tt.r
		var got [3]load
		for slot := range got {
			for f := next(t, r, ledger.Slot(slot)); f != nil; f = next(t, r, ledger.Slot(slot)) {
				got[slot] = got[slot].plus(loadOf(f))
			}
			got[slot].frames = 0
		}
		if all := got[0].plus(got[1]); got[0] != tt.want || all.votes+2*all.bundles < 320 || got[2] != (load{}) {
			t.Errorf("%s: %+v, want %+v at first, and all", name, got, tt.want)
		}
		if r.HasVotes() {
			t.Errorf("%s: votes left", name)
		}
	}
}
