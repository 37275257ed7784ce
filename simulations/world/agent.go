package world

import (
	"time"

	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/simulations/weather"
)

// An Agent stands in the place of a machine: somebody who follows a script of its own.
// It may have several nodes, and it knows what the script knows, but what it says goes
// through the same weather as the words of others. It is no part of what must be up,
// and crashes leave it alone.
//
// Of what it returns only Publish and Send are carried out by a sane script; the
// others would be of a machine that is not there.
type Agent interface {
	// Hear takes a message, Gossiped or Received, that has reached one of its nodes.
	Hear(at time.Duration, node int, ev machine.Event) []machine.Effect
	// Act lets a node do something of itself. Next is when it is to be asked again; a
	// time that is not later means never.
	Act(at time.Duration, node int) (fx []machine.Effect, next time.Duration)
}

// up reports whether somebody is there.
func (h *host) up() bool { return h.m != nil || h.agent != nil }

// pulse lets an agent act of itself.
func (w *World) pulse(h *host) {
	fx, next := h.agent.Act(w.Now(), int(h.index))
	w.say(h, fx)
	if next > w.Now() {
		w.push(&item{at: int64(next), node: h.index, act: actPulse})
	}
}

// heard gives an agent a message.
func (w *World) heard(h *host, ev machine.Event, sum uint64) {
	w.trace.word(sum)
	w.say(h, h.agent.Hear(w.Now(), int(h.index), ev))
}

// say carries out what an agent does. Watch sees it, as it sees what machines do.
func (w *World) say(h *host, fx []machine.Effect) {
	w.trace.word(uint64(w.now))
	w.trace.word(uint64(h.index))
	for _, f := range fx {
		w.carryOut(h, f)
	}
	if w.cfg.Watch != nil && len(fx) > 0 {
		w.cfg.Watch(w.Now(), int(h.index), fx)
	}
}

// firstPulse queues the first act of an agent, at a time at which a machine could start.
func (w *World) firstPulse(h *host) {
	at := weather.Between(w.draw(weather.StreamNotice, h, 0), 0, firstUp)
	w.push(&item{at: int64(at), node: h.index, act: actPulse})
}
