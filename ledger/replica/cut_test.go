package replica

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
)

// A cut is what a set of witnesses agrees on at the end of an epoch: everything that
// can be reached from one frame of each.
func cut(t rapid.TB, w *world, r *Replica, ends []*link) *Replica {
	t.Helper()
	reached := map[p2p.Digest]bool{}
	for todo := ends; len(todo) > 0; {
		l := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if reached[l.id] {
			continue
		}
		reached[l.id] = true
		if prev := r.frames[l.frame.Prev]; prev != nil {
			todo = append(todo, prev)
		}
		for _, s := range l.frame.Seen {
			todo = append(todo, r.frames[s.ID])
		}
	}
	out := newReplica(t, w.g, -1)
	for _, l := range r.log {
		if reached[l.id] {
			out.AddFrame(l.frame)
		}
	}
	for _, b := range w.bundles {
		addBundle(out, b)
	}
	for range 2 {
		for _, op := range w.ops {
			out.AddOp(op)
		}
		for _, b := range w.bundles {
			addBundle(out, b)
		}
	}
	return out
}

// quorumEnds returns a frame of each of some witnesses with more than two thirds of the
// stake: the last of an honest one, any of a hostile one.
func (w *world) quorumEnds(r *Replica) (ends []*link) {
	var stake ledger.Amount
	for _, i := range w.rng.Perm(len(r.witnesses)) {
		chain := r.witnesses[i].chain
		if r.quorum(stake) {
			break
		}
		stake += w.g.Witnesses[i].Stake
		if len(chain) == 0 {
			continue
		}
		place := chain[len(chain)-1]
		if isHostile(w, w.g.Witnesses[i].Account) {
			place = chain[w.rng.IntN(len(chain))]
		}
		ends = append(ends, place[w.rng.IntN(len(place))])
	}
	return ends
}

// [LED-110] With less than a third of the stake hostile, what is final is certified in
// every cut that witnesses with more than two thirds of the stake can make, whatever
// the hostile ones among them leave out; no cut certifies two rivals, and all that one
// certifies applies.
func TestFinalIsInEveryCut(t *testing.T) {
	finals := 0
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt, 1.0/3, flaws{})
		for range rapid.IntRange(50, 300).Draw(rt, "steps") {
			w.step()
		}
		for _, r := range w.replicas { // at one and the same moment
			var final []ledger.OpID
			for _, op := range w.ops {
				if r.Final(op.ID()) {
					final = append(final, op.ID())
				}
			}
			finals += len(final)
			whole := newReplica(rt, w.g, -1)
			w.deliverAll(whole)
			for range 3 {
				c := cut(rt, w, whole, w.quorumEnds(whole))
				for _, id := range final {
					if !c.IsApplied(id) {
						rt.Fatalf("%s is final and not in a cut", id.Short())
					}
				}
				if c.halted > 0 || c.Waiting() > 0 {
					rt.Fatalf("a cut has %d places with two certificates, %d operations wait", c.halted, c.Waiting())
				}
			}
		}
	})
	if finals == 0 {
		t.Error("nothing was final: the test shows nothing")
	}
}

// [LED-111] With less than a third of the stake hostile, what is certified stays so:
// nothing that was applied is ever taken back.
func TestCertifiedStays(t *testing.T) {
	certified := 0
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt, 1.0/3, flaws{})
		was := make([]map[ledger.OpID]bool, len(w.replicas))
		for i := range was {
			was[i] = map[ledger.OpID]bool{}
		}
		for range rapid.IntRange(20, 200).Draw(rt, "steps") {
			w.step()
			for i, r := range w.replicas {
				for _, a := range r.TakeApplied() {
					if a.Result != ledger.OK {
						rt.Fatalf("%v of %s", a.Result, a.Op.ID().Short())
					}
				}
				for _, op := range w.ops {
					id := op.ID()
					if was[i][id] && !r.Certified(id) {
						rt.Fatalf("%s is no longer certified", id.Short())
					}
					was[i][id] = r.Certified(id)
				}
			}
		}
		for i := range was {
			for _, yes := range was[i] { // order-free: a count
				if yes {
					certified++
				}
			}
		}
	})
	if certified == 0 {
		t.Error("nothing was certified: the test shows nothing")
	}
}
