package main

import (
	"context"
	"path/filepath"
	"strconv"
)

// A figure is one thing to measure.
type figure struct {
	name   string
	unit   string // what is counted
	run    func(context.Context) (sample, error)
	target float64 // least ratio to the limit L; 0 for none
	millis bool    // show milliseconds for one instead of a rate; target is the most of them
}

// A relation compares the medians of two figures of one report.
type relation struct {
	name   string
	what   string // in words
	over   string // figure
	under  string // figure
	target float64
	wall   bool // compare rates by wall time
}

// relations are the targets that are not ratios to L. The baseline mostly waits,
// so it is compared by the clock on the wall.
func relations() []relation {
	return []relation{
		{"witnesses", "100 witnesses over 4", "memory-100", "memory-4", 0.95, false},
		{"crdt", "gossip over go-ds-crdt in batches, wall", "gossip-4", "crdt-batch", 5, true},
	}
}

// A bench makes what the figures need once, when the first of them runs.
type bench struct {
	o     *options
	dir   string
	work  *workload
	roots *rootCase
	made  int // folders
}

func newBench(o *options, dir string) *bench { return &bench{o: o, dir: dir} }

// figures returns all figures in the order in which they run.
func (b *bench) figures() []figure {
	with := func(witnesses int, run func(context.Context, *workload, int) (sample, error)) func(context.Context) (sample, error) {
		return func(ctx context.Context) (sample, error) {
			if b.work == nil {
				b.work = newWorkload(b.o.ops)
			}
			return run(ctx, b.work, witnesses)
		}
	}
	crdt := func(puts, batch int) func(context.Context) (sample, error) {
		return func(ctx context.Context) (sample, error) { return runCRDT(ctx, puts, batch) }
	}
	const few, most = 4, 100
	return []figure{
		{name: "memory-4", unit: "op", run: with(few, runMemory), target: 0.92},
		{name: "memory-100", unit: "op", run: with(most, runMemory), target: 0.92},
		{name: "persisted-4", unit: "op", run: with(few, b.runPersisted), target: 0.70},
		{name: "persisted-100", unit: "op", run: with(most, b.runPersisted), target: 0.70},
		{name: "gossip-4", unit: "op", run: with(few, b.runGossip), target: 0.55},
		{name: "root", unit: "million accounts", run: b.runRoot, target: 200, millis: true},
		{name: "crdt-batch", unit: "key", run: crdt(b.o.puts, 1000)},
		{name: "crdt-single", unit: "key", run: crdt(b.o.puts/100, 1)},
	}
}

// folder names a new folder for a store.
func (b *bench) folder() string {
	b.made++
	return filepath.Join(b.dir, strconv.Itoa(b.made))
}
