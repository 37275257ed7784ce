package lp2p

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/transport"
	"github.com/pinfi/pinfi/p2p/wire"
)

// A direct message travels as its length, four bytes with the big end first, and
// its bytes. A stream carries any number of them in one direction: the other
// direction stays silent. The sender closes a stream that was quiet for idleOut;
// the receiver resets one that was quiet for idleIn, which is later, so that no
// message is under way when it happens.
const (
	frameHeader = 4
	kindHeader  = 2 // version and kind, the first bytes of a message
	idleOut     = 30 * time.Second
	idleIn      = 90 * time.Second
	rateUnit    = 2 << 10 // bytes of one unit of Limits.Rate
)

// A route is where an outbox sends.
type route struct {
	to       p2p.PeerID
	protocol p2p.Protocol
}

// outboxes are the outboxes in use.
type outboxes struct {
	mu    sync.Mutex
	boxes map[route]*outbox
}

// An outbox carries the messages of one protocol to one peer, in order, over a
// stream that it opens when there is something to say. Its goroutine ends after
// a quiet while or when the peer cannot be reached.
type outbox struct {
	route
	host   *Host
	queue  chan []byte // framed
	stream network.Stream
}

// Send queues a message to one peer.
func (h *Host) Send(ctx context.Context, to p2p.PeerID, p p2p.Protocol, message []byte) error {
	if err := h.send(ctx, route{to, p}, message); err != nil {
		return fmt.Errorf("send to %v: %w", to.Short(), err)
	}
	return nil
}

func (h *Host) send(ctx context.Context, r route, message []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := transport.Check(message); err != nil {
		return err
	}
	if h.life.Err() != nil {
		return transport.ErrClosed
	}
	if !h.reachable(r.to) {
		return transport.ErrUnknownPeer
	}
	framed := make([]byte, 0, frameHeader+len(message))
	framed = binary.BigEndian.AppendUint32(framed, uint32(len(message)))
	framed = append(framed, message...)
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	box := h.out.boxes[r]
	if box == nil {
		box = &outbox{route: r, host: h, queue: make(chan []byte, h.cfg.Limits.Queue)}
		if !h.tasks.start(box.run) {
			return transport.ErrClosed
		}
		h.out.boxes[r] = box
	}
	select {
	case box.queue <- framed:
		return nil
	default:
		return transport.ErrBusy
	}
}

// run sends what is queued until the outbox retires.
func (b *outbox) run() {
	quiet := time.NewTimer(idleOut)
	defer quiet.Stop()
	for {
		select {
		case <-b.host.life.Done():
			b.retire(false)
			return
		case <-quiet.C:
			if b.retire(true) {
				return
			}
		case framed := <-b.queue:
			if err := b.write(framed); err != nil {
				b.host.stats.lost.Add(1)
				b.host.cfg.Log.Debug("lost message", "peer", b.to.Short(), "protocol", string(b.protocol), "error", err)
				b.retire(false)
				return
			}
			b.host.stats.sent.Add(1)
		}
		quiet.Reset(idleOut)
	}
}

// retire takes the outbox out of use: kindly, when nothing waits, or at once,
// when what waits is lost. It reports whether it did.
func (b *outbox) retire(kindly bool) bool {
	b.host.out.mu.Lock()
	if kindly && len(b.queue) > 0 {
		b.host.out.mu.Unlock()
		return false
	}
	delete(b.host.out.boxes, b.route)
	b.host.out.mu.Unlock()
	b.host.stats.lost.Add(uint64(len(b.queue))) // nobody else has the queue now
	if b.stream == nil {
		return true
	}
	if kindly {
		_ = b.stream.Close() // if it is broken, there is nothing to tell
	} else {
		_ = b.stream.Reset() // likewise
	}
	return true
}

// write writes one message. A stream that served before may have died since,
// with the peer's restart say: then a new one is tried once.
func (b *outbox) write(framed []byte) error {
	used := b.stream != nil
	err := b.tryWrite(framed)
	if err != nil && used {
		err = b.tryWrite(framed)
	}
	return err
}

func (b *outbox) tryWrite(framed []byte) error {
	patience := b.host.cfg.Limits.Patience
	if b.stream == nil {
		ctx, cancel := context.WithTimeout(b.host.life, patience)
		defer cancel()
		s, err := b.host.host.NewStream(ctx, AddrID(b.to), protocol.ID(b.protocol))
		if err != nil {
			return err
		}
		b.stream = s
	}
	err := b.stream.SetWriteDeadline(time.Now().Add(patience))
	if err == nil {
		_, err = b.stream.Write(framed)
	}
	if err != nil {
		_ = b.stream.Reset() // it is broken already
		b.stream = nil
	}
	return err
}

// feeds are the peers that have message streams open to us.
type feeds struct {
	mu    sync.Mutex
	peers map[peer.ID]*feed
}

// A feed is what one peer sends us: at most one stream for each protocol, and a
// common rate.
type feed struct {
	streams map[p2p.Protocol]network.Stream
	bucket  bucket
}

// admit makes s the stream of the peer and the protocol. An older one is reset:
// the peer has forgotten it, or wants more than its share.
func (f *feeds) admit(from peer.ID, p p2p.Protocol, s network.Stream, rate int) *feed {
	f.mu.Lock()
	defer f.mu.Unlock()
	one := f.peers[from]
	if one == nil {
		one = &feed{streams: make(map[p2p.Protocol]network.Stream), bucket: newBucket(rate)}
		f.peers[from] = one
	}
	if old := one.streams[p]; old != nil {
		_ = old.Reset() // it may have ended by itself
	}
	one.streams[p] = s
	return one
}

// dismiss forgets the stream, and the peer with its last one when the peer is
// gone or has paid back what it took of its rate.
func (f *feeds) dismiss(from peer.ID, p p2p.Protocol, s network.Stream, gone bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	one := f.peers[from]
	if one == nil || one.streams[p] != s {
		return
	}
	delete(one.streams, p)
	if len(one.streams) == 0 && (gone || one.bucket.full(time.Now())) {
		delete(f.peers, from)
	}
}

// pay takes the cost of a message out of the peer's rate and returns how long
// the peer must wait.
func (f *feeds) pay(one *feed, size int, now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return one.bucket.take(1+size/rateUnit, now)
}

// forget drops the feed of a peer that is gone.
func (f *feeds) forget(from peer.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if one := f.peers[from]; one != nil && len(one.streams) == 0 {
		delete(f.peers, from)
	}
}

// errSilent ends a stream that was quiet for too long.
var errSilent = errors.New("stream is silent")

// receive delivers the messages of one stream until it ends.
func (h *Host) receive(p p2p.Protocol, s network.Stream) {
	id := s.Conn().RemotePeer()
	from, err := PeerIDOf(id)
	if err != nil {
		h.stats.refused.Add(1)
		_ = s.Reset() // not one of ours
		return
	}
	one := h.in.admit(id, p, s, h.cfg.Limits.Rate)
	defer func() {
		h.in.dismiss(id, p, s, h.host.Network().Connectedness(id) != network.Connected)
	}()
	_ = s.CloseWrite() // we have nothing to say; if it is broken, reading will show
	r := bufio.NewReaderSize(s, 1<<12)
	for {
		message, err := h.readMessage(r, s)
		switch {
		case errors.Is(err, io.EOF):
			_ = s.Close() // the peer is done
			return
		case err != nil:
			if !errors.Is(err, errSilent) {
				h.stats.refused.Add(1)
				h.cfg.Log.Debug("broken message", "peer", from.Short(), "protocol", string(p), "error", err)
			}
			_ = s.Reset() // it is of no further use
			return
		}
		h.deliver(transport.Inbound{From: from, Protocol: p, Data: message})
		if !h.rest(h.in.pay(one, len(message), time.Now())) {
			_ = s.Reset() // the host is closing
			return
		}
	}
}

// rest waits and reports false when the host is closing.
func (h *Host) rest(d time.Duration) bool {
	if d <= 0 {
		return h.life.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-h.life.Done():
		return false
	}
}

// readMessage reads one message. It returns io.EOF between messages, and
// reserves memory only after the length has passed the kind's limit.
func (h *Host) readMessage(r *bufio.Reader, s network.Stream) ([]byte, error) {
	if err := s.SetReadDeadline(time.Now().Add(idleIn)); err != nil {
		return nil, err
	}
	if _, err := r.Peek(1); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		return nil, fmt.Errorf("%w: %w", errSilent, err)
	}
	if err := s.SetReadDeadline(time.Now().Add(h.cfg.Limits.Patience)); err != nil {
		return nil, err
	}
	var head [frameHeader + kindHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, noEOF(err)
	}
	size, k := binary.BigEndian.Uint32(head[:frameHeader]), wire.Kind(head[frameHeader+1])
	if size < kindHeader || uint64(size) > uint64(k.Limit()) || head[frameHeader] != wire.Version {
		return nil, fmt.Errorf("%v message of %d bytes, version %d: %w", k, size, head[frameHeader], wire.ErrLimit)
	}
	if err := s.Scope().ReserveMemory(int(size), network.ReservationPriorityMedium); err != nil {
		return nil, err
	}
	defer s.Scope().ReleaseMemory(int(size))
	message := make([]byte, size)
	copy(message, head[frameHeader:])
	if _, err := io.ReadFull(r, message[kindHeader:]); err != nil {
		return nil, noEOF(err)
	}
	return message, nil
}

// noEOF makes an end in the middle of a message an error.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// A bucket holds the units that a peer may still send.
type bucket struct {
	rate float64 // units each second; the bucket holds two seconds' worth
	left float64
	last time.Time
}

func newBucket(rate int) bucket { return bucket{rate: float64(rate), left: 2 * float64(rate)} }

// take takes units out, below zero if need be, and returns how long it takes
// until there is something in the bucket again.
func (b *bucket) take(units int, now time.Time) time.Duration {
	b.fill(now)
	b.left -= float64(units)
	if b.left >= 0 {
		return 0
	}
	return time.Duration(-b.left / b.rate * float64(time.Second))
}

// full reports whether the peer has its whole allowance.
func (b *bucket) full(now time.Time) bool {
	b.fill(now)
	return b.left >= 2*b.rate
}

func (b *bucket) fill(now time.Time) {
	if !b.last.IsZero() {
		b.left = min(2*b.rate, b.left+b.rate*now.Sub(b.last).Seconds())
	}
	b.last = now
}
