package world

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/simulations/weather"
)

// [SIM-2] The queue hands items out by time, node, source and count, in whatever
// order they were pushed.
func TestQueueOrdersByContent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		var want []*item
		for i := range rapid.IntRange(0, 60).Draw(t, "items") {
			it := &item{
				at:   rapid.Int64Range(0, 5).Draw(t, "at"),
				node: rapid.Int32Range(0, 3).Draw(t, "node"), from: rapid.Int32Range(-1, 3).Draw(t, "from"),
				count: uint64(i),
			}
			want = append(want, it)
		}
		pushed := rapid.Permutation(want).Draw(t, "pushed")
		for _, it := range pushed {
			q.push(it)
		}
		slices.SortFunc(want, func(a, b *item) int {
			if a.before(b) {
				return -1
			}
			return 1
		})
		for i, it := range want {
			if got := q.pop(); got != it {
				t.Fatalf("item %d: got %+v, want %+v", i, got, it)
			}
		}
		if len(q) != 0 {
			t.Fatalf("%d items are left", len(q))
		}
	})
}

// [SIM-10] The stand-ins for signatures bind the signer and the digest, those for
// random outputs the key and the question.
func TestCheapCryptoBinds(t *testing.T) {
	a, b := KeyOf(1, 0), KeyOf(1, 1)
	crypto := a.Crypto()
	d, other := p2p.Sum("test", []byte("x")), p2p.Sum("test", []byte("y"))
	sig := crypto.Sign(d)
	bent := sig
	bent[5] ^= 1
	for name, c := range map[string]struct {
		ok, want bool
	}{
		"own":           {crypto.Verify(a.ID, d, sig), true},
		"another key":   {crypto.Verify(b.ID, d, sig), false},
		"another thing": {crypto.Verify(a.ID, other, sig), false},
		"a bit bent":    {crypto.Verify(a.ID, d, bent), false},
		"none":          {crypto.Verify(a.ID, d, p2p.Signature{}), false},
	} {
		if c.ok != c.want {
			t.Errorf("%s signature: verifies %v, want %v", name, c.ok, c.want)
		}
	}
	proof := crypto.ProveVRF(d)
	out, ok := crypto.VerifyVRF(a.VRF, d, proof)
	if !ok || out == (p2p.VRFOutput{}) {
		t.Error("an own random output does not verify")
	}
	if _, ok := crypto.VerifyVRF(b.VRF, d, proof); ok {
		t.Error("a random output verifies under another key")
	}
	if _, ok := crypto.VerifyVRF(a.VRF, other, proof); ok {
		t.Error("a random output verifies for another question")
	}
	if KeyOf(1, 0) != a || KeyOf(2, 0) == a || a.ID == b.ID {
		t.Error("keys do not depend on seed and index alone")
	}
}

// [SIM-11] The disk keeps the last value of each key, forgets what is deleted, and
// hands its records out by kind and key.
func TestDisk(t *testing.T) {
	h := &host{disk: make(map[string][]byte)}
	rec := func(kind machine.RecordKind, key, value string) machine.Record {
		r := machine.Record{Kind: kind, Key: []byte(key)}
		if value != "" {
			r.Value = []byte(value)
		}
		return r
	}
	h.save([]machine.Record{rec(2, "b", "1"), rec(1, "z", "2"), rec(2, "a", "3")}, nil)
	h.save([]machine.Record{rec(2, "b", "4"), rec(1, "y", "5"), rec(1, "y", "")}, nil)
	h.save([]machine.Record{rec(1, "lost", "6")}, func(r machine.Record) bool { return string(r.Key) == "lost" })
	want := machine.Snapshot{rec(1, "z", "2"), rec(2, "a", "3"), rec(2, "b", "4")}
	got := h.snapshot()
	if !slices.EqualFunc(got, want, func(a, b machine.Record) bool {
		return a.Kind == b.Kind && bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value)
	}) {
		t.Errorf("snapshot %q, want %q", got, want)
	}
}

// [SIM-12] A crash strikes before a Save, after it, or midway; in a step without a
// Save only the last.
func TestCrashPoint(t *testing.T) {
	note, save := machine.Note{}, machine.Save{}
	with, without := []machine.Effect{note, save, note}, []machine.Effect{note, note}
	for _, c := range []struct {
		moment weather.Moment
		fx     []machine.Effect
		done   int
		dies   bool
	}{
		{weather.BeforeSave, with, 1, true},
		{weather.AfterSave, with, 2, true},
		{weather.BeforeSave, without, 2, false},
		{weather.AfterSave, without, 2, false},
		{weather.Midway, without, 1, true},
		{weather.Midway, nil, 0, true},
	} {
		if done, dies := crashPoint(c.moment, c.fx, 1<<63); done != c.done || dies != c.dies {
			t.Errorf("moment %d, %d effects: %d done, dies %v, want %d and %v", c.moment, len(c.fx), done, dies, c.done, c.dies)
		}
	}
}

// The plain product of the world is the product.
func TestMultiply(t *testing.T) {
	c := make([]int32, 4)
	multiply(c, []int8{1, 2, 3, -4, 5, -128}, []int8{1, 0, -1, 127, -128, -128}, 2, 2, 3)
	if want := []int32{-2, -513, 124, 15236}; !slices.Equal(c, want) {
		t.Errorf("product %v, want %v", c, want)
	}
}

// A trace folds all of a message in: one bit more or less gives another digest.
func TestFoldSeesEveryBit(t *testing.T) {
	data := bytes.Repeat([]byte{7}, 37)
	seen := map[uint64]bool{content(data, 0): true, content(data, 1): true, content(data[:36], 0): true}
	if len(seen) != 3 {
		t.Fatal("salt or length does not count")
	}
	for i := range len(data) * 8 {
		bent := bytes.Clone(data)
		bent[i/8] ^= 1 << (i % 8)
		if sum := content(bent, 0); seen[sum] {
			t.Fatalf("bit %d does not count", i)
		} else {
			seen[sum] = true
		}
	}
}

// Two effects that differ only in kind have two digests.
func TestEffectSumsTellKindsApart(t *testing.T) {
	id := ledger.OpID{1}
	seen := map[uint64]int{}
	for i, fx := range []machine.Effect{
		machine.Publish{},
		machine.Send{},
		machine.Save{},
		machine.RunJob{Lease: id},
		machine.StopJob{Lease: id},
		machine.Fetch{Lease: id},
		machine.Prove{},
		machine.Open{},
		machine.Check{},
		machine.Note{},
	} {
		sum := effectSum(fx)
		if other, ok := seen[sum]; ok {
			t.Errorf("effects %d and %d have one digest", other, i)
		}
		seen[sum] = i
	}
}

// A world refuses what it cannot host.
func TestNewRefuses(t *testing.T) {
	for name, cfg := range map[string]Config{
		"nothing":    {},
		"no nodes":   {Genesis: &machine.Genesis{}, Weather: weather.Fixed(1, weather.Plan{})},
		"no genesis": {Weather: weather.Fixed(1, weather.Plan{}), Nodes: make([]Node, 1)},
		"no weather": {Genesis: &machine.Genesis{}, Nodes: make([]Node, 1)},
		"bad genesis": {
			Genesis: &machine.Genesis{}, Weather: weather.Fixed(1, weather.Plan{Calm: time.Second}), Nodes: make([]Node, 1),
		},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
