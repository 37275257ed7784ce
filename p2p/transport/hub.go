package transport

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pinfi/pinfi/p2p"
)

// queueMax is the number of messages that may wait for one member.
const queueMax = 8192

// A Hub is a network inside one process: every member reaches every other. It
// loses a message only when 8192 wait for one member.
type Hub struct {
	mu      sync.Mutex
	members []*Member // in the order of joining
}

// NewHub returns a network without members.
func NewHub() *Hub { return &Hub{} }

// Join adds a peer, and tells it and the others of each other. It fails when the
// peer is zero or has joined already, or when the handler has no Deliver.
func (h *Hub) Join(self p2p.PeerID, handler Handler) (*Member, error) {
	complete, err := handler.Complete()
	if err != nil {
		return nil, fmt.Errorf("join hub: %w", err)
	}
	if self.IsZero() {
		return nil, errors.New("join hub: peer id is zero")
	}
	m := &Member{
		hub: h, self: self, handler: complete, wake: make(chan struct{}, 1), done: make(chan struct{}),
		serve: make(map[p2p.Protocol]func(p2p.PeerID, Stream)), streams: make(map[*end]struct{}),
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.find(self) != nil {
		return nil, fmt.Errorf("join hub: peer %v has joined already", self.Short())
	}
	for _, other := range h.members {
		other.push(event{kind: peerUp, from: self})
		m.push(event{kind: peerUp, from: other.self})
	}
	h.members = append(h.members, m)
	m.wait.Go(m.run)
	return m, nil
}

// find returns the member with the id, or nil. h.mu is held.
func (h *Hub) find(id p2p.PeerID) *Member {
	for _, m := range h.members {
		if m.self == id {
			return m
		}
	}
	return nil
}

// lookup returns the member with the id, or nil.
func (h *Hub) lookup(id p2p.PeerID) *Member {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.find(id)
}

// leave takes a member out and tells the others. It reports false when the
// member had left already.
func (h *Hub) leave(m *Member) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.Index(h.members, m)
	if i < 0 {
		return false
	}
	h.members = slices.Delete(h.members, i, i+1)
	for _, other := range h.members {
		other.push(event{kind: peerDown, from: m.self})
	}
	return true
}

// A Member is one peer of a Hub. It is a Transport and a Streams.
type Member struct {
	hub     *Hub
	self    p2p.PeerID
	handler Handler
	wake    chan struct{} // has a token when events wait
	done    chan struct{} // closed by Close
	wait    sync.WaitGroup
	dropped atomic.Uint64

	mu       sync.Mutex
	closed   bool
	events   []event
	messages int // of events
	serve    map[p2p.Protocol]func(p2p.PeerID, Stream)
	streams  map[*end]struct{}
}

// An eventKind says what an event is.
type eventKind uint8

const (
	peerUp eventKind = iota + 1
	peerDown
	arrival
)

// An event waits to be told to a member's handler.
type event struct {
	kind    eventKind
	from    p2p.PeerID
	message Inbound
}

// Self returns the member's id.
func (m *Member) Self() p2p.PeerID { return m.self }

// Dropped returns how many messages to this member were lost because its queue
// was full or its Deliver had no room.
func (m *Member) Dropped() uint64 { return m.dropped.Load() }

// Publish hands a message to every other member that has the topic.
func (m *Member) Publish(ctx context.Context, topic p2p.Topic, message []byte) error {
	if err := m.sendable(ctx, message); err != nil {
		return fmt.Errorf("publish on %s: %w", topic, err)
	}
	if !slices.Contains(m.handler.Topics, topic) {
		return fmt.Errorf("publish on %s: %w", topic, ErrTopic)
	}
	if !m.handler.Validate(topic, message) {
		return fmt.Errorf("publish on %s: %w", topic, ErrRefused)
	}
	m.hub.mu.Lock()
	defer m.hub.mu.Unlock()
	for _, other := range m.hub.members {
		if other != m && slices.Contains(other.handler.Topics, topic) {
			other.push(event{kind: arrival, message: Inbound{From: m.self, Topic: topic, Data: message}})
		}
	}
	return nil
}

// Send hands a message to one member. A member that does not accept the protocol
// never sees it.
func (m *Member) Send(ctx context.Context, to p2p.PeerID, protocol p2p.Protocol, message []byte) error {
	if err := m.sendable(ctx, message); err != nil {
		return fmt.Errorf("send to %v: %w", to.Short(), err)
	}
	other := m.hub.lookup(to)
	if other == nil || other == m {
		return fmt.Errorf("send to %v: %w", to.Short(), ErrUnknownPeer)
	}
	if !slices.Contains(other.handler.Messages, protocol) {
		return nil
	}
	if !other.push(event{kind: arrival, message: Inbound{From: m.self, Protocol: protocol, Data: message}}) {
		return fmt.Errorf("send to %v: %w", to.Short(), ErrBusy)
	}
	return nil
}

// sendable reports why the member may not send the message.
func (m *Member) sendable(ctx context.Context, message []byte) error {
	select {
	case <-m.done:
		return ErrClosed
	default:
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return Check(message)
}

// push queues an event and reports false when it was dropped.
func (m *Member) push(e event) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e.kind == arrival {
		if m.messages >= queueMax {
			m.dropped.Add(1)
			return false
		}
		m.messages++
	}
	m.events = append(m.events, e)
	select {
	case m.wake <- struct{}{}:
	default:
	}
	return true
}

// run tells the handler of events until the member is closed.
func (m *Member) run() {
	for {
		select {
		case <-m.done:
			return
		case <-m.wake:
		}
		m.mu.Lock()
		events := m.events
		m.events, m.messages = nil, 0
		m.mu.Unlock()
		for _, e := range events {
			select {
			case <-m.done:
				return
			default:
				m.tell(e)
			}
		}
	}
}

// tell passes one event to the handler.
func (m *Member) tell(e event) {
	switch e.kind {
	case peerUp:
		m.handler.PeerUp(e.from)
	case peerDown:
		m.handler.PeerDown(e.from)
	case arrival:
		accepted := e.message.Topic == "" || m.handler.Validate(e.message.Topic, e.message.Data)
		if !accepted || !m.handler.Deliver(e.message) {
			m.dropped.Add(1)
		}
	}
}

// HandleStream has serve called for every stream of the protocol.
func (m *Member) HandleStream(protocol p2p.Protocol, serve func(from p2p.PeerID, s Stream)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.serve[protocol] = serve
}

// OpenStream opens a stream to a member. One that does not handle the protocol
// resets it.
func (m *Member) OpenStream(ctx context.Context, to p2p.PeerID, protocol p2p.Protocol) (Stream, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open stream to %v: %w", to.Short(), err)
	}
	other := m.hub.lookup(to)
	if other == nil || other == m {
		return nil, fmt.Errorf("open stream to %v: %w", to.Short(), ErrUnknownPeer)
	}
	near, far := newStream()
	if !m.own(near) {
		return nil, fmt.Errorf("open stream to %v: %w", to.Short(), ErrClosed)
	}
	other.accept(m.self, protocol, far)
	return near, nil
}

// own has Close reset the stream, until the stream ends by itself. It reports
// false when the member is closed.
func (m *Member) own(e *end) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	m.streams[e] = struct{}{}
	e.ended = func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.streams, e)
	}
	return true
}

// accept serves a stream that from opened.
func (m *Member) accept(from p2p.PeerID, protocol p2p.Protocol, far *end) {
	m.mu.Lock()
	defer m.mu.Unlock()
	serve := m.serve[protocol]
	if serve == nil || m.closed {
		_ = far.Reset() // it never fails
		return
	}
	m.streams[far] = struct{}{}
	m.wait.Go(func() {
		defer func() {
			_ = far.Close() // it never fails
			m.mu.Lock()
			defer m.mu.Unlock()
			delete(m.streams, far)
		}()
		serve(from, far)
	})
}

// Close takes the member out of the hub, resets its streams and waits for its
// goroutines.
func (m *Member) Close() error {
	if m.hub.leave(m) {
		m.mu.Lock()
		m.closed = true
		streams := m.streams
		m.streams = make(map[*end]struct{})
		m.mu.Unlock()
		close(m.done)
		for s := range streams { // order-free: every one is reset
			_ = s.Reset() // it never fails
		}
	}
	m.wait.Wait()
	return nil
}
