// Package transport names what the rooms of pinfi ask of a network, and holds
// the one network that needs no sockets. It is not libp2p: p2p/lp2p is.
//
// A node needs three things. Handler says which topics and protocols it speaks
// and where messages go; Transport gossips and sends; Streams moves bulk bytes.
// NewHub makes a network inside one process, for tests and demonstrations.
//
// The invariant: a transport promises nothing about arrival. It may lose, repeat
// and reorder messages, and it never blocks the caller for long; what it does
// deliver is a well-formed message of at most its kind's limit, and the sender
// of a direct message is who the connection proved it to be. p2p/transporttest
// holds every Transport to this.
package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// A Transport carries messages. Both ways of sending may lose what they are
// given, without a word: whoever needs an answer repeats the question. All
// methods may be called by many goroutines at once.
type Transport interface {
	// Self returns the peer that sends.
	Self() p2p.PeerID

	// Publish gossips a message to the peers of a topic. It is not delivered
	// to the publisher. The topic must stand in the Handler (else ErrTopic) and
	// the message must pass Check and the Handler's Validate (else ErrRefused).
	// The message must not be changed afterwards.
	Publish(ctx context.Context, topic p2p.Topic, message []byte) error

	// Send queues a message to one peer and returns at once. Messages of one
	// protocol to one peer stay in order. It fails with ErrUnknownPeer when
	// there is no connection and no address, with ErrBusy when the peer's
	// queue is full, and with a wire error when the message fails Check.
	// The message must not be changed afterwards.
	Send(ctx context.Context, to p2p.PeerID, protocol p2p.Protocol, message []byte) error

	// Close leaves the network. No function of the Handler runs after it
	// returns, so it must not be called from one.
	Close() error
}

// Streams opens and accepts streams of bytes, for what is too large or too live
// to be a message.
type Streams interface {
	// OpenStream opens a stream to a peer that handles the protocol. It fails
	// with ErrUnknownPeer as Send does. ctx bounds the opening only. A peer that
	// does not handle the protocol may show only at the first read.
	OpenStream(ctx context.Context, to p2p.PeerID, protocol p2p.Protocol) (Stream, error)

	// HandleStream has serve called, in a goroutine of its own, for every
	// stream that a peer opens. The stream is closed when serve returns; serve
	// must return soon after its stream fails, because Close waits for it.
	HandleStream(protocol p2p.Protocol, serve func(from p2p.PeerID, s Stream))
}

// A Stream is a connection of bytes in both directions. Read returns io.EOF
// once the other side has closed its half and all is read.
type Stream interface {
	io.ReadWriteCloser

	// CloseWrite ends our half; the other side reads io.EOF.
	CloseWrite() error

	// Reset breaks both halves at once: pending and later calls fail on both
	// sides, and bytes under way may be lost.
	Reset() error

	// SetDeadline bounds every later and pending Read and Write. They fail with
	// an error that reports Timeout. The zero time means no bound.
	SetDeadline(t time.Time) error
}

// An Inbound is a message that arrived. Exactly one of Topic and Protocol is set.
type Inbound struct {
	// From sent it. The connection proves the sender of a direct message. Gossip
	// comes from whichever peer passed it on: what it says must sign itself.
	From     p2p.PeerID
	Topic    p2p.Topic
	Protocol p2p.Protocol
	// Data is a message that wire.Open accepts. It must not be changed.
	Data []byte
}

// A Handler is what a peer does with a network. Its functions are called from
// many goroutines, must not block, and must not call Close.
type Handler struct {
	// Topics are gossiped and received.
	Topics []p2p.Topic

	// Messages are the protocols on which direct messages are accepted. Any
	// protocol may be sent on.
	Messages []p2p.Protocol

	// Streams are the protocols that HandleStream will serve. Naming them here
	// announces them to peers that connect before HandleStream is called.
	Streams []p2p.Protocol

	// Deliver takes a message. False means that there was no room: the message
	// is counted as dropped and forgotten. Required.
	Deliver func(Inbound) bool

	// Validate reports whether a gossiped message deserves to be passed on. It
	// sees well-formed messages only and must depend on nothing but the topic
	// and the bytes: a refused message is not looked at again, and a peer that
	// passes on many is shunned. Nil accepts all.
	Validate func(p2p.Topic, []byte) bool

	// PeerUp and PeerDown tell of peers of this network that come within reach
	// and leave it. For one peer they alternate, PeerUp first. Nil is not told.
	PeerUp, PeerDown func(p2p.PeerID)
}

// The ways in which a transport refuses a call.
var (
	ErrUnknownPeer = errors.New("peer is unknown: there is no connection and no address")
	ErrBusy        = errors.New("too many messages wait for the peer")
	ErrTopic       = errors.New("topic is not one that this peer speaks on")
	ErrRefused     = errors.New("message is refused by this peer's own rules")
	ErrClosed      = errors.New("transport is closed")
)

// Check reports why a message may not travel: its version, its kind, or more
// bytes than its kind may have. The error wraps one of package wire.
func Check(message []byte) error {
	if _, _, err := wire.Open(message); err != nil {
		return fmt.Errorf("check outgoing message: %w", err)
	}
	return nil
}

// Complete returns the handler with its optional functions filled in, or an
// error when it has no Deliver. Drivers call it once.
func (h Handler) Complete() (Handler, error) {
	if h.Deliver == nil {
		return Handler{}, errors.New("handler has no Deliver")
	}
	if h.Validate == nil {
		h.Validate = func(p2p.Topic, []byte) bool { return true }
	}
	if h.PeerUp == nil {
		h.PeerUp = func(p2p.PeerID) {}
	}
	if h.PeerDown == nil {
		h.PeerDown = func(p2p.PeerID) {}
	}
	return h, nil
}
