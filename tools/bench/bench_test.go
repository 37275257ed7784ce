package main

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pinfi/pinfi/ledger/store"
)

func TestLocal(t *testing.T) {
	w := newWorkload(1)
	if w.ops() != roundOps {
		t.Fatalf("%d operations, want one round", w.ops())
	}
	b := newBench(&options{}, t.TempDir())
	for _, witnesses := range []int{1, 7} {
		if s, err := b.runPersisted(t.Context(), w, witnesses); err != nil || s.done != roundOps {
			t.Errorf("%d witnesses: %v of %d operations, %v", witnesses, s.done, roundOps, err)
		}
	}
}

// A node that certifies without two thirds, or takes what nobody signed, would
// make every figure worthless.
func TestNodeIsHonest(t *testing.T) {
	w := newWorkload(1)
	w.vote(3)
	const bundles = roundOps / bundleOps
	messages := w.messages(0, 3)
	var saved int
	n, err := newNode(w, 3, func(batch []store.Record) error { saved += len(batch); return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := n.round(messages[:bundles+2]); err != nil || n.applied != 0 || saved != bundles+2 {
		t.Errorf("two of three witnesses: %d applied, %d saved, %v, want none and all", n.applied, saved, err)
	}
	for _, i := range []int{0, bundles} {
		n, err := newNode(w, 3, nil)
		if err != nil {
			t.Fatal(err)
		}
		forged := slices.Clone(messages)
		forged[i].data = slices.Clone(forged[i].data)
		forged[i].data[len(forged[i].data)-1] ^= 1
		if err := n.round(forged); !errors.Is(err, errSignature) {
			t.Errorf("message %d forged: %v, want %v", i, err, errSignature)
		}
	}
}

// Frames that no honest witness makes would measure something else.
func TestFramesAreHonest(t *testing.T) {
	const witnesses, self = 4, 2
	w := newWorkload(2 * roundOps)
	w.vote(witnesses)
	n, err := newNode(w, witnesses, nil)
	if err != nil {
		t.Fatal(err)
	}
	n.replica.SetSelf(self)
	for round, frames := range w.frames[witnesses] {
		messages := w.messages(round, witnesses)
		if err := n.round(messages[:roundOps/bundleOps]); err != nil {
			t.Fatal(err)
		}
		want := frames[self]
		got := n.replica.NextFrame(want.Slot)
		if got == nil || got.ID() != want.ID() {
			t.Errorf("round %d: the witness says %+v, want %+v", round, got, want)
		}
		if err := n.round(messages[roundOps/bundleOps:]); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReport(t *testing.T) {
	r := &report{}
	r.limit.add(100, 100)
	second := func(done float64) sample { return sample{done: done, cpu: time.Second, wall: 2 * time.Second} }
	for _, done := range []float64{50, 70, 60} {
		r.add(figure{name: "memory-4", unit: "op", target: 0.65}, 0, second(done), 100)
		r.add(figure{name: "memory-100", unit: "op", target: 0.5}, 1, second(done), 100)
		r.add(figure{name: "root", unit: "root", target: 20, millis: true}, 2, second(done), 100)
	}
	var out bytes.Buffer
	if err := r.writeTable(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"memory-4 60 op 50 to 70 30 0.600 0.200 at least 0.65 missed",
		"memory-100 60 op 50 to 70 30 0.600 0.200 at least 0.50 met",
		"root 17 ms for a root 14 to 20 33 at most 20 ms met",
		"witnesses 100 witnesses over 4 1.00 at least 0.95 met",
	} {
		if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), want) {
			t.Errorf("the table lacks %q:\n%s", want, &out)
		}
	}
}

func TestChosen(t *testing.T) {
	all := newBench(&options{}, "").figures()
	got, err := chosen(all, "root,memory")
	if err != nil || len(got) != 3 || got[0].name != "root" {
		t.Errorf("chosen %v, %v", got, err)
	}
	if _, err := chosen(all, "memory,rot"); err == nil || !strings.Contains(err.Error(), "crdt-batch") {
		t.Errorf("a name that is none: %v, want the names", err)
	}
}
