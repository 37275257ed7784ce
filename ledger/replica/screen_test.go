package replica

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/pinfi/pinfi/ledger"
)

// [LED-63] What a screening lets pass is all that is worth verifying: the rest adds
// nothing. It changes nothing, and looks at no signature.
func TestScreen(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt, 1.0/3, flaws{})
		passed := 0
		for range rapid.IntRange(20, 150).Draw(rt, "steps") {
			w.step()
			for _, op := range w.ops {
				passed += wantScreened(rt, w.replicas[0], op)
			}
			for _, f := range w.frames {
				passed += wantFrameScreened(rt, w.replicas[0], f)
			}
		}
		if len(w.ops) > 5 && passed == 0 {
			rt.Error("nothing passes: the test shows nothing")
		}
	})
}

// wantScreened compares what is screened with what adding does, for operations of
// which adding says no, and returns how many pass.
func wantScreened(t rapid.TB, r *Replica, op *ledger.Op) int {
	forged := *op
	forged.Sig[0]++
	root, entries := r.State().Root(), len(r.entries)
	item, out, res := r.Screen(&forged)
	if r.State().Root() != root || len(r.entries) != entries {
		t.Fatalf("screening %v changes the replica", op.ID().Short())
	}
	if item != nil {
		if e := r.entries[item.ID]; out != 0 || res != ledger.OK || item.ID != op.ID() || e != nil && e.item != nil {
			t.Fatalf("%v passes, with %v and %v", op.ID().Short(), out, res)
		}
		return 1
	}
	prepared, _ := r.state.Prepare(op)
	if got, why := r.AddItem(prepared); got != out || why != res || len(r.entries) != entries {
		t.Fatalf("%v is screened as %v, %v, and added as %v, %v", op.ID().Short(), out, res, got, why)
	}
	return 0
}

// wantFrameScreened is wantScreened for frames.
func wantFrameScreened(t rapid.TB, r *Replica, f *Frame) int {
	forged := *f
	forged.Sig[0]++
	held := len(r.frames)
	signed, out := r.ScreenFrame(&forged)
	if len(r.frames) != held {
		t.Fatal("screening changes the replica")
	}
	if out == 0 {
		if signed.Digest != f.ID() || signed.Sig != forged.Sig || r.frames[f.ID()] != nil {
			t.Fatalf("the frame %v passes as %+v", f.ID().Short(), signed)
		}
		return 1
	}
	if got := r.AddFrame(f); got != out || len(r.frames) != held {
		t.Fatalf("the frame %v is screened as %v and added as %v", f.ID().Short(), out, got)
	}
	return 0
}
