package lp2p

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/transport"
	"github.com/pinfi/pinfi/p2p/wire"
)

// The queues of gossip. At gossipsub's own 32 it loses messages silently.
const (
	peerQueue     = 1024 // packets that wait for one peer
	validateQueue = 4096 // messages that wait for validation
	topicQueue    = 4096 // messages that wait for one topic's Deliver
)

// packetMax is the size of the largest gossip packet: the largest message, and
// room for what travels with it.
const packetMax = wire.MaxMessage + 64<<10

// announceMax is how many topics a peer may announce in one packet.
const announceMax = 1024

// startGossip joins the topics of the handler.
func (h *Host) startGossip() error {
	names := make([]string, 0, len(h.cfg.Handler.Topics))
	for _, t := range h.cfg.Handler.Topics {
		names = append(names, string(t))
	}
	filter := pubsub.WrapLimitSubscriptionFilter(pubsub.NewAllowlistSubscriptionFilter(names...), announceMax)
	gossip, err := pubsub.NewGossipSub(h.life, h.host,
		pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign),
		pubsub.WithMessageIdFn(messageID),
		pubsub.WithMaxMessageSize(packetMax),
		pubsub.WithPeerOutboundQueueSize(peerQueue),
		pubsub.WithValidateQueueSize(validateQueue),
		pubsub.WithFloodPublish(true),
		pubsub.WithSubscriptionFilter(filter),
		pubsub.WithPeerScore(scoring(names)),
		pubsub.WithRawTracer(gossipTracer{&h.stats}),
		pubsub.WithLogger(slog.New(demoted{h.cfg.Log.Handler()}).With("part", "gossip")),
		pubsub.WithRPCLogger(slog.New(slog.DiscardHandler)),
	)
	if err != nil {
		return fmt.Errorf("start gossip: %w", err)
	}
	for _, t := range h.cfg.Handler.Topics {
		if err := h.join(gossip, t); err != nil {
			return fmt.Errorf("join topic %s: %w", t, err)
		}
	}
	return nil
}

// messageID names a gossiped message by its topic and its bytes. The topic is in
// it because a message that is refused on one topic is remembered: without the
// topic, anybody could suppress a message by first sending it where it is out of
// place.
func messageID(m *pb.Message) string {
	id := p2p.Sum("pinfi/gossip/1", []byte(m.GetTopic()), m.GetData())
	return string(id[:])
}

// scoring has gossipsub ignore a peer after nine invalid messages at once, and
// after breaking the rules of meshes. Both are forgotten by half each minute.
func scoring(topics []string) (*pubsub.PeerScoreParams, *pubsub.PeerScoreThresholds) {
	params := &pubsub.PeerScoreParams{
		SkipAtomicValidation: true, Topics: make(map[string]*pubsub.TopicScoreParams),
		BehaviourPenaltyWeight: -1, BehaviourPenaltyThreshold: 6, BehaviourPenaltyDecay: 0.5,
		DecayInterval: time.Minute, DecayToZero: 0.1, RetainScore: 10 * time.Minute,
	}
	for _, t := range topics {
		params.Topics[t] = &pubsub.TopicScoreParams{
			SkipAtomicValidation: true, TopicWeight: 1,
			InvalidMessageDeliveriesWeight: -1, InvalidMessageDeliveriesDecay: 0.5,
			TimeInMeshQuantum: time.Second, // unused, but gossipsub 0.17 divides by it
		}
	}
	return params, &pubsub.PeerScoreThresholds{
		SkipAtomicValidation: true, GossipThreshold: -20, PublishThreshold: -50, GraylistThreshold: -80,
	}
}

// join subscribes to a topic and delivers its messages.
func (h *Host) join(gossip *pubsub.PubSub, t p2p.Topic) error {
	validate := func(_ context.Context, from peer.ID, m *pubsub.Message) bool {
		if _, err := PeerIDOf(from); err != nil {
			return false
		}
		return transport.Check(m.Data) == nil && h.cfg.Handler.Validate(t, m.Data)
	}
	if err := gossip.RegisterTopicValidator(string(t), validate, pubsub.WithValidatorInline(true)); err != nil {
		return err
	}
	topic, err := gossip.Join(string(t))
	if err != nil {
		return err
	}
	sub, err := topic.Subscribe(pubsub.WithBufferSize(topicQueue))
	if err != nil {
		return err
	}
	h.topics[t] = topic
	h.tasks.start(func() {
		for {
			m, err := sub.Next(h.life)
			if err != nil {
				return // the host is closing
			}
			h.arrived(t, m)
		}
	})
	return nil
}

// arrived delivers a gossiped message that is not our own.
func (h *Host) arrived(t p2p.Topic, m *pubsub.Message) {
	if m.ReceivedFrom == h.host.ID() {
		return
	}
	from, err := PeerIDOf(m.ReceivedFrom)
	if err != nil {
		return // refused by the validator already
	}
	h.deliver(transport.Inbound{From: from, Topic: t, Data: m.Data})
}

// deliver hands a message to the handler and counts it.
func (h *Host) deliver(in transport.Inbound) {
	if h.cfg.Handler.Deliver(in) {
		h.stats.received.Add(1)
		return
	}
	h.stats.dropped.Add(1)
}

// Publish gossips a message to the topic's peers.
func (h *Host) Publish(ctx context.Context, topic p2p.Topic, message []byte) error {
	if !h.tasks.enter() {
		return fmt.Errorf("publish on %s: %w", topic, transport.ErrClosed)
	}
	defer h.tasks.leave()
	if err := transport.Check(message); err != nil {
		return fmt.Errorf("publish on %s: %w", topic, err)
	}
	t := h.topics[topic]
	if t == nil {
		return fmt.Errorf("publish on %s: %w", topic, transport.ErrTopic)
	}
	if err := t.Publish(ctx, message); err != nil {
		if _, refused := errors.AsType[pubsub.ValidationError](err); refused {
			err = transport.ErrRefused
		}
		return fmt.Errorf("publish on %s: %w", topic, err)
	}
	h.stats.published.Add(1)
	return nil
}
