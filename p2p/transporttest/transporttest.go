// Package transporttest holds every network to one contract: the one that
// package transport promises. It is a test suite, not a network.
//
// A driver's test calls Run with a function that opens an empty network of the
// driver. Each test joins its own peers, waits for conditions and never sleeps,
// and closes what it opened. The invariant: a driver that passes can take the
// place of any other under a node.
package transporttest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/transport"
	"github.com/pinfi/pinfi/p2p/wire"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// A Peer is what a driver gives a node.
type Peer interface {
	transport.Transport
	transport.Streams
}

// A Network makes peers that reach each other.
type Network interface {
	// Join adds a peer with the handler and an identity of its own, and
	// connects it with every peer that joined before.
	Join(t testing.TB, handler transport.Handler) Peer
}

// The topic and the protocols of the tests.
const (
	topic     p2p.Topic    = "/pinfi/test/room/1"
	elsewhere p2p.Topic    = "/pinfi/test/elsewhere/1"
	direct    p2p.Protocol = "/pinfi/test/direct/1"
	other     p2p.Protocol = "/pinfi/test/other/1"
	bulk      p2p.Protocol = "/pinfi/test/bulk/1"
)

// Run holds the networks that open returns to the contract.
func Run(t *testing.T, open func(t testing.TB) Network) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, Network)
	}{
		{"Gossip", testGossip},
		{"GossipRefused", testGossipRefused},
		{"Direct", testDirect},
		{"DirectOrder", testDirectOrder},
		{"ForeignProtocol", testForeignProtocol},
		{"UnknownPeer", testUnknownPeer},
		{"Oversize", testOversize},
		{"FullHandler", testFullHandler},
		{"Concurrent", testConcurrent},
		{"UpDown", testUpDown},
		{"Stream", testStream},
		{"StreamDeadline", testStreamDeadline},
		{"StreamEnd", testStreamEnd},
		{"StreamReset", testStreamReset},
		{"StreamForeign", testStreamForeign},
		{"Close", testClose},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

// A station is a peer with a log of what its handler was told.
type station struct {
	Peer
	mu      sync.Mutex
	changed *sync.Cond
	got     []transport.Inbound
	ups     []p2p.PeerID // every PeerUp
	downs   []p2p.PeerID // every PeerDown
	full    bool         // Deliver has no room
	lost    int          // messages that Deliver had no room for
}

// join adds a station to the network. It is closed when the test ends.
func join(t testing.TB, n Network) *station {
	t.Helper()
	s := &station{}
	s.changed = sync.NewCond(&s.mu)
	s.Peer = n.Join(t, transport.Handler{
		Topics: []p2p.Topic{topic}, Messages: []p2p.Protocol{direct}, Streams: []p2p.Protocol{bulk},
		Deliver: func(in transport.Inbound) bool {
			room := false
			s.note(func() {
				if room = !s.full; room {
					s.got = append(s.got, in)
				} else {
					s.lost++
				}
			})
			return room
		},
		Validate: func(_ p2p.Topic, b []byte) bool { return body(b) != "refuse me" },
		PeerUp:   func(id p2p.PeerID) { s.note(func() { s.ups = append(s.ups, id) }) },
		PeerDown: func(id p2p.PeerID) { s.note(func() { s.downs = append(s.downs, id) }) },
	})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// joinAll adds n stations and waits until each has been told of every other.
func joinAll(t testing.TB, n Network, count int) []*station {
	t.Helper()
	all := make([]*station, count)
	for i := range all {
		all[i] = join(t, n)
	}
	for i, s := range all {
		s.wait(t, fmt.Sprintf("station %d to see %d peers", i, count-1), func() bool {
			return len(s.ups)-len(s.downs) == count-1
		})
	}
	return all
}

// note changes the station's log.
func (s *station) note(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	s.changed.Broadcast()
}

// wait waits until the station's log fulfils the condition.
func (s *station) wait(t testing.TB, what string, condition func() bool) {
	t.Helper()
	if !s.waitFor(patience, condition) {
		t.Fatalf("waited %v for %s", patience, what)
	}
}

// waitFor waits for the condition and reports false when it did not come true.
func (s *station) waitFor(d time.Duration, condition func() bool) bool {
	late := false
	timer := time.AfterFunc(d, func() { s.note(func() { late = true }) })
	defer timer.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for !condition() {
		if late {
			return false
		}
		s.changed.Wait()
	}
	return true
}

// count returns how often the body came on the topic or the protocol. s.mu is held.
func (s *station) count(what string, on any) int {
	n := 0
	for _, in := range s.got {
		if body(in.Data) == what && (on == in.Topic || on == in.Protocol) {
			n++
		}
	}
	return n
}

// message returns a well-formed message with a text in it.
func message(text string) []byte {
	return wire.Seal(wire.KindBid, func(w *wire.Writer) { w.Text(text) })
}

// body returns the text that message put into b.
func body(b []byte) string {
	_, r, err := wire.Open(b)
	if err != nil {
		return ""
	}
	return r.Text(255)
}

// publishUntil publishes fresh messages until every other station has one:
// gossip may lose the first ones, before peers know of each other's topics.
func publishUntil(t testing.TB, from *station, others []*station) {
	t.Helper()
	missing := append([]*station(nil), others...)
	for i := 0; len(missing) > 0; i++ {
		text := fmt.Sprintf("hello %d of %v", i, from.Self().Short())
		if err := from.Publish(t.Context(), topic, message(text)); err != nil {
			t.Fatalf("publish: %v", err)
		}
		var rest []*station
		for _, s := range missing {
			if !s.waitFor(time.Second, func() bool { return s.count(text, topic) > 0 }) {
				rest = append(rest, s)
			}
		}
		if missing = rest; i == int(patience/time.Second) {
			t.Fatalf("%d peers have heard nothing of %d messages", len(missing), i)
		}
	}
}

// Gossip reaches everybody but the publisher.
func testGossip(t *testing.T, n Network) {
	all := joinAll(t, n, 4)
	for i, from := range all {
		others := append(append([]*station(nil), all[:i]...), all[i+1:]...)
		publishUntil(t, from, others)
	}
	for i, s := range all {
		s.mu.Lock()
		for _, in := range s.got {
			if in.From == s.Self() || in.From.IsZero() || in.Protocol != "" {
				t.Errorf("station %d got %q from %v on %q", i, body(in.Data), in.From.Short(), in.Protocol)
			}
		}
		s.mu.Unlock()
	}
}

// What a peer's own rules refuse, or what stands on a foreign topic, is not sent.
func testGossipRefused(t *testing.T, n Network) {
	all := joinAll(t, n, 2)
	if err := all[0].Publish(t.Context(), topic, message("refuse me")); !errors.Is(err, transport.ErrRefused) {
		t.Errorf("publish of a refused message: %v, want ErrRefused", err)
	}
	if err := all[0].Publish(t.Context(), elsewhere, message("hello")); !errors.Is(err, transport.ErrTopic) {
		t.Errorf("publish on a foreign topic: %v, want ErrTopic", err)
	}
	if err := all[0].Publish(t.Context(), topic, []byte("garbage")); !errors.Is(err, wire.ErrValue) {
		t.Errorf("publish of garbage: %v, want wire.ErrValue", err)
	}
	publishUntil(t, all[0], all[1:])
}

// A direct message arrives with the sender that the connection proves.
func testDirect(t *testing.T, n Network) {
	all := joinAll(t, n, 3)
	for i, from := range all {
		to := all[(i+1)%len(all)]
		text := fmt.Sprintf("from %d", i)
		send(t, from, to, text)
		to.wait(t, text, func() bool { return to.count(text, direct) == 1 })
	}
	for i, s := range all {
		want := all[(i+2)%len(all)].Self()
		s.mu.Lock()
		for _, in := range s.got {
			if in.From != want || in.Topic != "" {
				t.Errorf("station %d got %q from %v on %q, want from %v", i, body(in.Data), in.From, in.Topic, want)
			}
		}
		s.mu.Unlock()
	}
}

func send(t testing.TB, from, to *station, text string) {
	t.Helper()
	if err := from.Send(t.Context(), to.Self(), direct, message(text)); err != nil {
		t.Fatalf("send %q: %v", text, err)
	}
}

// Direct messages of one protocol to one peer stay in order.
func testDirectOrder(t *testing.T, n Network) {
	const messages = 100
	all := joinAll(t, n, 2)
	for i := range messages {
		send(t, all[0], all[1], fmt.Sprint(i))
	}
	all[1].wait(t, "all messages", func() bool { return len(all[1].got) == messages })
	for i, in := range all[1].got {
		if body(in.Data) != fmt.Sprint(i) {
			t.Fatalf("message %d says %q", i, body(in.Data))
		}
	}
}

// A message on a protocol that the receiver does not accept harms nobody.
func testForeignProtocol(t *testing.T, n Network) {
	all := joinAll(t, n, 2)
	if err := all[0].Send(t.Context(), all[1].Self(), other, message("nobody listens")); err != nil {
		t.Errorf("send on a foreign protocol: %v", err)
	}
	send(t, all[0], all[1], "after")
	all[1].wait(t, "the message after", func() bool { return all[1].count("after", direct) == 1 })
	if len(all[1].got) != 1 {
		t.Errorf("got %d messages, want 1", len(all[1].got))
	}
}

// Nothing can be sent to strangers, to nobody, or to oneself.
func testUnknownPeer(t *testing.T, n Network) {
	all := joinAll(t, n, 2)
	stranger := p2p.IdentityFromSeed([32]byte{0xfe, 0xed}).PeerID()
	for _, to := range []p2p.PeerID{stranger, {}, all[0].Self()} {
		if err := all[0].Send(t.Context(), to, direct, message("hello")); !errors.Is(err, transport.ErrUnknownPeer) {
			t.Errorf("send to %v: %v, want ErrUnknownPeer", to.Short(), err)
		}
		if _, err := all[0].OpenStream(t.Context(), to, bulk); !errors.Is(err, transport.ErrUnknownPeer) {
			t.Errorf("open stream to %v: %v, want ErrUnknownPeer", to.Short(), err)
		}
	}
}

// A message over its kind's limit does not leave; one at the limit arrives.
func testOversize(t *testing.T, n Network) {
	all := joinAll(t, n, 2)
	for _, k := range []wire.Kind{wire.KindBid, wire.KindHeads, wire.KindItems} {
		fits := append([]byte{wire.Version, byte(k)}, make([]byte, k.Limit()-2)...)
		if err := all[0].Send(t.Context(), all[1].Self(), direct, append(fits, 0)); !errors.Is(err, wire.ErrLimit) {
			t.Errorf("send of a %v of %d bytes: %v, want wire.ErrLimit", k, len(fits)+1, err)
		}
		if err := all[0].Publish(t.Context(), topic, append(fits, 0)); !errors.Is(err, wire.ErrLimit) {
			t.Errorf("publish of a %v of %d bytes: %v, want wire.ErrLimit", k, len(fits)+1, err)
		}
		if err := all[0].Send(t.Context(), all[1].Self(), direct, fits); err != nil {
			t.Fatalf("send of a %v of %d bytes: %v", k, len(fits), err)
		}
		all[1].wait(t, fmt.Sprintf("a %v of %d bytes", k, len(fits)), func() bool {
			return len(all[1].got) > 0 && len(all[1].got[len(all[1].got)-1].Data) == len(fits)
		})
	}
}

// A handler without room loses messages and nothing else.
func testFullHandler(t *testing.T, n Network) {
	all := joinAll(t, n, 2)
	all[1].note(func() { all[1].full = true })
	for i := range 10 {
		send(t, all[0], all[1], fmt.Sprintf("lost %d", i))
	}
	all[1].wait(t, "ten lost messages", func() bool { return all[1].lost == 10 })
	all[1].note(func() { all[1].full = false })
	send(t, all[0], all[1], "after")
	all[1].wait(t, "the message after", func() bool { return all[1].count("after", direct) == 1 })
}

// Many goroutines may send and publish at once.
func testConcurrent(t *testing.T, n Network) {
	const workers, messages = 8, 25
	all := joinAll(t, n, 3)
	var wait sync.WaitGroup
	for w := range workers {
		wait.Go(func() {
			for i := range messages {
				insist(t, all[w%3], all[(w+1)%3], fmt.Sprintf("%d of worker %d", i, w))
			}
		})
	}
	wait.Wait()
	for w := range workers {
		to := all[(w+1)%3]
		for i := range messages {
			text := fmt.Sprintf("%d of worker %d", i, w)
			to.wait(t, text, func() bool { return to.count(text, direct) == 1 })
		}
	}
}

// insist publishes a message, and sends it as often as the queue is full.
func insist(t testing.TB, from, to *station, text string) {
	if err := from.Publish(t.Context(), topic, message(text)); err != nil {
		t.Errorf("publish %q: %v", text, err)
	}
	err := transport.ErrBusy
	for errors.Is(err, transport.ErrBusy) {
		err = from.Send(t.Context(), to.Self(), direct, message(text))
	}
	if err != nil {
		t.Errorf("send %q: %v", text, err)
	}
}

// Peers are told of those who come and go.
func testUpDown(t *testing.T, n Network) {
	all := joinAll(t, n, 2)
	third := join(t, n)
	for i, s := range all {
		s.wait(t, fmt.Sprintf("station %d to see the third", i), func() bool {
			return len(s.ups) == 2 && s.ups[1] == third.Self()
		})
	}
	third.wait(t, "the third to see both", func() bool { return len(third.ups) == 2 })
	if err := third.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	for i, s := range all {
		s.wait(t, fmt.Sprintf("station %d to lose the third", i), func() bool {
			return len(s.downs) == 1 && s.downs[0] == third.Self()
		})
	}
}

// After Close nothing is sent, nothing is told, and no goroutine is left.
func testClose(t *testing.T, n Network) {
	ignore := goleak.IgnoreCurrent()
	a, b := join(t, n), join(t, n)
	for _, s := range []*station{a, b} {
		s.wait(t, "the other", func() bool { return len(s.ups) == 1 })
		s.HandleStream(bulk, func(_ p2p.PeerID, in transport.Stream) {
			_, _ = in.Read(make([]byte, 1)) // until Close breaks the stream
		})
	}
	open, err := a.OpenStream(t.Context(), b.Self(), bulk)
	if err != nil {
		t.Fatalf("open stream: %v", err)
	}
	send(t, a, b, "hello")
	b.wait(t, "hello", func() bool { return b.count("hello", direct) == 1 })
	for range 2 {
		if err := a.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if _, err := open.Read(make([]byte, 1)); err == nil {
		t.Error("a stream can be read after Close")
	}
	if err := a.Send(t.Context(), b.Self(), direct, message("late")); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("send after Close: %v, want ErrClosed", err)
	}
	if err := a.Publish(t.Context(), topic, message("late")); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("publish after Close: %v, want ErrClosed", err)
	}
	if _, err := a.OpenStream(t.Context(), b.Self(), bulk); err == nil {
		t.Error("a stream can be opened after Close")
	}
	if err := b.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	goleak.VerifyNone(t, ignore)
}

// within returns a context that ends when a test has waited long enough.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
