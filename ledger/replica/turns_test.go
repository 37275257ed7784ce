package replica

import (
	"slices"
	"testing"

	"github.com/pinfi/pinfi/p2p"
)

// [LED-115] What it costs to say what is missing grows with what is returned, not with
// what is missing.
func TestTurnsWork(t *testing.T) {
	const all = 20_000
	var q turns[int]
	looks := 0
	gone := map[int]bool{}
	want := func(id int) bool { looks++; return !gone[id] }
	for i := range all {
		q.add(i, i, want)
	}
	if looks > 0 {
		t.Fatalf("%d looks to add what is wanted", looks)
	}
	for i := range 100 {
		if got := q.take(4, want, always); !slices.Equal(got, []int{4 * i, 4*i + 1, 4*i + 2, 4*i + 3}) {
			t.Fatalf("call %d: %v", i, got)
		}
	}
	if looks > 400 {
		t.Errorf("%d looks for 400 ids", looks)
	}
	for i := range all - 1 {
		gone[i] = true
	}
	looks = 0
	for range 10 {
		if got := q.take(4, want, always); !slices.Equal(got, []int{all - 1}) {
			t.Fatalf("the one that is left: %v", got)
		}
	}
	if looks > all+100 {
		t.Errorf("%d looks at %d ids, most no longer wanted", looks, all)
	}
	none := func(int) bool { return false }
	for i := range all {
		q.add(all+i, i, want)
	}
	looks = 0
	if got := q.take(4, want, none); got != nil || looks > 2*turnsLook {
		t.Errorf("%v, after %d looks at what is not due", got, looks)
	}
}

// [LED-115] What is found is forgotten, though nobody asks.
func TestTurnsForget(t *testing.T) {
	g := newGenesis(1)
	r := newReplica(t, g, -1)
	ops := chainOf('a', 2000)
	var last *Frame
	for _, op := range ops {
		f := draft(0, last)
		f.Slot++
		f.Votes = append(f.Votes, op.ID())
		last = signed(g, f)
		r.AddFrame(last)
		r.AddOp(op)
	}
	if n := len(r.asking.ids) - r.asking.head; n > 2*turnsSlack || len(r.Missing(9)) > 0 {
		t.Errorf("%d operations that were missing are kept in mind", n)
	}
}

// [LED-115] Frames that are not asked for do not hide those that are.
func TestLackingInTurn(t *testing.T) {
	g := newGenesis(1, 1, 1)
	r, err := New(Config{Network: testNetwork, Genesis: g, Limits: Limits{Parked: 2 * turnsLook}})
	if err != nil {
		t.Fatal(err)
	}
	other := frame(g, 1, nil, madeUp(1))
	r.AddFrame(other)
	for i := range 2*turnsLook - 1 { // of places that heads ask for
		f := draft(0, nil)
		f.Seq, f.Prev = 2, p2p.Digest{7, byte(i), byte(i >> 8)}
		f.Votes = append(f.Votes, madeUp(i))
		r.AddFrame(signed(g, f))
	}
	f := draft(0, nil)
	f.Seen = []Seen{{1, 1, p2p.Digest{9}}}
	r.AddFrame(signed(g, f))
	var got []p2p.Digest
	for range 3 {
		got = append(got, r.Lacking(1)...)
	}
	if len(got) == 0 || got[0] != (p2p.Digest{9}) {
		t.Errorf("asks for %v", got)
	}
}
