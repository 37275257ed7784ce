package world

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/simulations/weather"
)

// carryOut does what a machine wants done.
func (w *World) carryOut(h *host, fx machine.Effect) {
	sum := effectSum(fx)
	w.trace.word(sum)
	if w.cfg.Log != nil {
		w.cfg.Log(w.Now(), int(h.index), "  "+describe(fx))
	}
	switch fx := fx.(type) {
	case machine.Publish:
		w.publish(h, fx, sum)
	case machine.Send:
		w.send(h, fx, sum)
	case machine.Save:
		h.save(fx.Batch, w.cfg.Nodes[h.index].Flaw.Forget)
	case machine.RunJob:
		w.runJob(h, fx)
	case machine.StopJob:
		w.stopJob(h, fx)
	case machine.Fetch:
		w.fetch(h, fx)
	case machine.Prove:
		w.prove(h, fx)
	case machine.Open:
		w.open(h, fx)
	case machine.Check:
		w.check(h, fx)
	case machine.Verify:
		w.verify(h, fx)
	case machine.Note: // Watch sees it
	default:
		panic(fmt.Sprintf("world: unknown effect %T", fx))
	}
}

// publish sends a message to every other node. There is no relaying: a copy that
// is lost is lost, which is harsher than gossip.
func (w *World) publish(h *host, p machine.Publish, sum uint64) {
	var ev machine.Event = machine.Gossiped{Data: p.Data}
	for to := range w.hosts {
		if to != int(h.index) {
			w.transmit(h, to, ev, sum)
		}
	}
}

func (w *World) send(h *host, s machine.Send, sum uint64) {
	if to, ok := w.index[s.To]; ok && to != int(h.index) {
		w.transmit(h, to, machine.Received{From: h.id, Data: s.Data}, sum)
	}
}

// transmit queues the copies of a message that arrive. All copies and all
// receivers share its bytes.
func (w *World) transmit(h *host, to int, ev machine.Event, sum uint64) {
	n := h.links[to]
	h.links[to]++
	fate := w.cfg.Weather.Fate(w.Now(), int(h.index), to, n)
	for i := range fate.Copies {
		it := w.item()
		it.at, it.node, it.act = w.later(fate.Delay[i]), int32(to), actDeliver
		it.sum, it.ev = sum, ev
		w.pushFrom(h, it)
	}
}

// answer queues an event for the present life of a node: what f returns after a
// delay.
func (w *World) answer(h *host, after time.Duration, f func() machine.Event) {
	w.pushFrom(h, &item{at: w.later(after), node: h.index, life: h.life, act: actAnswer, answer: f})
}

// reach reports whether two nodes are up and can talk both ways.
func (w *World) reach(a, b *host) bool {
	return a.up() && b.up() &&
		!w.cfg.Weather.Cut(w.Now(), int(a.index), int(b.index)) &&
		!w.cfg.Weather.Cut(w.Now(), int(b.index), int(a.index))
}

// noticeMax is the longest time until a node notices that a peer came or went.
const noticeMax = 2 * time.Second

// survey lets every node look who is in reach, each a while after the given time.
func (w *World) survey(at int64) {
	for _, peer := range w.hosts {
		wait := weather.Between(w.draw(weather.StreamNotice, peer, w.count+1), time.Millisecond, noticeMax)
		w.push(&item{at: at + int64(wait), node: peer.index, act: actSurvey})
	}
}

// look tells a machine which peers have come into reach and which have gone.
func (w *World) look(h *host) {
	for i, peer := range w.hosts {
		if h.m == nil {
			return // the last step was its last
		}
		up := i != int(h.index) && w.reach(h, peer)
		if up == h.seen[i] {
			continue
		}
		h.seen[i] = up
		var ev machine.Event = machine.PeerDown{Peer: peer.id}
		if up {
			ev = machine.PeerUp{Peer: peer.id}
		}
		w.step(h, ev, eventSum(ev))
	}
}

// Output returns the manifest of what a task of a module writes for an input.
func Output(module, input p2p.Digest, task, tasks uint32) p2p.Digest {
	which := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, task), tasks)
	return p2p.Sum("pinfi/world-output/1", module[:], input[:], which)
}
