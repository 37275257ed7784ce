package weather

import (
	"math/bits"
	"time"
)

// A Stream names one use of chance. Draws of two streams have nothing to do with
// each other, so that a new use of chance never shifts the draws of an old one.
type Stream uint64

// The streams. Numbers are append-only: changing one changes every run.
const (
	StreamDrop      Stream = 1  // is a message lost
	StreamDuplicate Stream = 2  // is it delivered twice
	StreamDelay     Stream = 3  // how long it travels
	StreamPlan      Stream = 4  // what the storm looks like
	StreamPartition Stream = 5  // when the network is cut, and where
	StreamOutage    Stream = 6  // when nodes crash, and for how long
	StreamLife      Stream = 7  // the chance handed to a node, by life
	StreamWork      Stream = 8  // how long jobs and fetches take
	StreamCrash     Stream = 9  // after which effect of a step a crash strikes
	StreamNotice    Stream = 10 // how long a node takes to notice that a peer came or went
	StreamScript    Stream = 11 // what users ask for
	StreamClock     Stream = 12 // how far clocks are off
	StreamFault     Stream = 13 // which jobs a host cannot run
	StreamAgent     Stream = 14 // what an agent does
	StreamStake     Stream = 15 // who has how much stake
)

// Draw returns 64 evenly mixed bits that depend on the arguments and on nothing
// else: seed names the run, entity who draws, n how many times it has drawn. The
// mixer is two rounds of the finalizer of SplitMix64 (Steele, Lea, Flood 2014).
func Draw(seed uint64, stream Stream, entity, n uint64) uint64 {
	const golden = 0x9e3779b97f4a7c15
	x := mix(seed + golden*uint64(stream))
	x = mix(x ^ bits.RotateLeft64(entity*golden, 32) ^ n*0xd1b54a32d192ed03)
	return mix(x + golden)
}

func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Below maps a draw to a number from 0 to n-1. It returns 0 for n 0.
func Below(draw, n uint64) uint64 {
	high, _ := bits.Mul64(draw, n)
	return high
}

// Between maps a draw to a time from least to most, both possible. It returns
// least when most is not larger.
func Between(draw uint64, least, most time.Duration) time.Duration {
	if most <= least {
		return least
	}
	return least + time.Duration(Below(draw, uint64(most-least)+1))
}

// A Chance is a probability in parts per million.
type Chance uint32

// Certain is the Chance of what always happens.
const Certain Chance = 1_000_000

// Hits reports whether a draw falls into the chance.
func (c Chance) Hits(draw uint64) bool { return Below(draw, uint64(Certain)) < uint64(c) }
