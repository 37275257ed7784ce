package lp2p

import (
	"fmt"
	"sync/atomic"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/prometheus/client_golang/prometheus"
)

// Stats are numbers of messages since the host started.
type Stats struct {
	Published uint64 // gossiped by us
	Sent      uint64 // direct, written to a stream
	Received  uint64 // gossip and direct, taken by Deliver
	Refused   uint64 // broken, over a limit, refused by Validate, or from a foreign kind of key
	Dropped   uint64 // well-formed, and Deliver or a queue before it had no room
	Lost      uint64 // direct or gossip, queued by us and never written
}

// counters are the Stats as they grow.
type counters struct {
	published, sent, received, refused, dropped, lost atomic.Uint64

	registry   *prometheus.Registry // nil without
	collectors []prometheus.Collector
}

func (c *counters) read() Stats {
	return Stats{
		Published: c.published.Load(), Sent: c.sent.Load(), Received: c.received.Load(),
		Refused: c.refused.Load(), Dropped: c.dropped.Load(), Lost: c.lost.Load(),
	}
}

// register has the registry show the counters.
func (c *counters) register(r *prometheus.Registry) error {
	c.registry = r
	for _, m := range []struct {
		name, help string
		count      *atomic.Uint64
	}{
		{"published", "Messages gossiped by this node.", &c.published},
		{"sent", "Direct messages written to a stream.", &c.sent},
		{"received", "Messages that arrived and were taken.", &c.received},
		{"refused", "Messages that arrived broken, too large, or against the rules.", &c.refused},
		{"dropped", "Messages that arrived while there was no room for them.", &c.dropped},
		{"lost", "Messages of this node that could not be sent.", &c.lost},
	} {
		collector := prometheus.NewCounterFunc(
			prometheus.CounterOpts{Name: "pinfi_p2p_messages_" + m.name + "_total", Help: m.help},
			func() float64 { return float64(m.count.Load()) })
		if err := r.Register(collector); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
		c.collectors = append(c.collectors, collector)
	}
	return nil
}

// unregister takes the counters out of the registry.
func (c *counters) unregister() {
	for _, collector := range c.collectors {
		c.registry.Unregister(collector)
	}
}

// A gossipTracer counts what gossipsub does to messages behind our back. Its
// functions run inside gossipsub's loop.
type gossipTracer struct{ c *counters }

var _ pubsub.RawTracer = gossipTracer{}

// RejectMessage counts a message that validation refused or had no room for.
func (t gossipTracer) RejectMessage(_ *pubsub.Message, reason string) {
	switch reason {
	case pubsub.RejectValidationQueueFull, pubsub.RejectValidationThrottled:
		t.c.dropped.Add(1)
	default:
		t.c.refused.Add(1)
	}
}

// UndeliverableMessage counts a message that the subscription had no room for.
func (t gossipTracer) UndeliverableMessage(*pubsub.Message) { t.c.dropped.Add(1) }

// DropRPC counts messages to a peer whose queue is full.
func (t gossipTracer) DropRPC(rpc *pubsub.RPC, _ peer.ID) {
	t.c.lost.Add(uint64(len(rpc.GetPublish())))
}

// What follows is of no interest.

// OnNewOutboundStream does nothing.
func (gossipTracer) OnNewOutboundStream(peer.ID, protocol.ID) {}

// OnClosedOutboundStream does nothing.
func (gossipTracer) OnClosedOutboundStream(peer.ID) {}

// Join does nothing.
func (gossipTracer) Join(string) {}

// Leave does nothing.
func (gossipTracer) Leave(string) {}

// Graft does nothing.
func (gossipTracer) Graft(peer.ID, string) {}

// Prune does nothing.
func (gossipTracer) Prune(peer.ID, string) {}

// ValidateMessage does nothing.
func (gossipTracer) ValidateMessage(*pubsub.Message) {}

// DeliverMessage does nothing.
func (gossipTracer) DeliverMessage(*pubsub.Message) {}

// DuplicateMessage does nothing.
func (gossipTracer) DuplicateMessage(*pubsub.Message) {}

// ThrottlePeer does nothing.
func (gossipTracer) ThrottlePeer(peer.ID) {}

// RecvRPC does nothing.
func (gossipTracer) RecvRPC(*pubsub.RPC) {}

// SendRPC does nothing.
func (gossipTracer) SendRPC(*pubsub.RPC, peer.ID) {}
