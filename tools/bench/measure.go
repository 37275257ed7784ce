package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// A sample is one run: how much was done, and what it took.
type sample struct {
	done float64
	cpu  time.Duration // user and system, of the whole process
	wall time.Duration
}

// perCPU returns what was done in a second of processor time.
func (s sample) perCPU() float64 { return s.done / s.cpu.Seconds() }

// perWall returns what was done in a second.
func (s sample) perWall() float64 { return s.done / s.wall.Seconds() }

// timed runs f, which says how much it did, on a heap that was just collected.
func timed(f func() (float64, error)) (sample, error) {
	runtime.GC()
	cpu, begun := cpuTime(), time.Now()
	done, err := f()
	return sample{done: done, cpu: cpuTime() - cpu, wall: time.Since(begun)}, err
}

// cpuTime returns the processor time that the process has taken.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(fmt.Sprintf("bench: the system does not tell processor time: %v", err))
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// measureAll runs every figure once a round, each between two measurements of L.
func measureAll(ctx context.Context, figures []figure, rounds int, progress io.Writer) (*report, error) {
	l := newLimit()
	r := &report{}
	before := l.measure()
	for round := range rounds {
		for i, f := range figures {
			s, err := f.run(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f.name, err)
			}
			after := l.measure()
			mean := (before.perCPU() + after.perCPU()) / 2
			r.add(f, i, s, mean)
			r.limit.add(after.perCPU(), after.perWall())
			before = after
			fmt.Fprintf(progress, "round %d of %d: %-13s %10.1f per CPU second, %10.1f per second, L %.0f\n",
				round+1, rounds, f.name, s.perCPU(), s.perWall(), mean)
		}
	}
	return r, nil
}

// A series holds the values of one figure.
type series struct{ perCPU, perWall []float64 }

func (s *series) add(perCPU, perWall float64) {
	s.perCPU, s.perWall = append(s.perCPU, perCPU), append(s.perWall, perWall)
}

// median returns the middle value, of an even number the mean of the two.
func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
