package world

import (
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/simulations/weather"
)

// worldly is the source of events that no node caused.
const worldly = -1

// An action says what an item of the queue is for.
type action uint8

const (
	actDeliver action = iota + 1 // a message arrives
	actOrder                     // a user's order arrives
	actAnswer                    // an effect has run its course; only the life that asked gets the answer
	actTick                      // the machine's deadline
	actSurvey                    // the node looks which peers are in reach
	actCrash                     // the node is to crash at its next chance
	actRestart                   // the node starts
	actPulse                     // an agent acts of itself
)

// An item is something that will happen to a node. Items are ordered by what they
// are, (at, node, from, count), never by when they were pushed relative to items
// of other sources.
type item struct {
	at    int64  // nanoseconds since the start of the run
	count uint64 // how many items the source had pushed before
	node  int32  // whom it happens to
	from  int32  // who caused it, or worldly
	life  uint32 // actAnswer, actTick: which life of the node it is meant for
	act   action
	sum   uint64        // actDeliver, actOrder: digest of the event
	ev    machine.Event // actDeliver, actOrder

	answer func() machine.Event // actAnswer: what the machine gets; nil: nothing
	aux    *weather.Outage      // actCrash
}

func (a *item) before(b *item) bool {
	switch {
	case a.at != b.at:
		return a.at < b.at
	case a.node != b.node:
		return a.node < b.node
	case a.from != b.from:
		return a.from < b.from
	default:
		return a.count < b.count
	}
}

// A queue is a heap of items with four children to a node, which is shallower
// than a binary one and touches fewer cache lines.
type queue []*item

func (q *queue) push(it *item) {
	h := append(*q, it)
	i := len(h) - 1
	for i > 0 {
		parent := (i - 1) / 4
		if !it.before(h[parent]) {
			break
		}
		h[i] = h[parent]
		i = parent
	}
	h[i] = it
	*q = h
}

func (q *queue) pop() *item {
	h := *q
	top := h[0]
	n := len(h) - 1
	last := h[n]
	h[n] = nil
	*q = h[:n]
	if n > 0 {
		h[:n].sink(last)
	}
	return top
}

// sink puts it at the root and moves it down to its place.
func (q queue) sink(it *item) {
	i := 0
	for {
		first := 4*i + 1
		if first >= len(q) {
			break
		}
		least := first
		for child := first + 1; child < min(first+4, len(q)); child++ {
			if q[child].before(q[least]) {
				least = child
			}
		}
		if !q[least].before(it) {
			break
		}
		q[i] = q[least]
		i = least
	}
	q[i] = it
}
