package lp2p

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/transport"
	"github.com/pinfi/pinfi/p2p/wire"
)

const (
	patience              = 30 * time.Second
	room     p2p.Topic    = "/pinfi/test/room/1"
	door     p2p.Protocol = "/pinfi/test/door/1"
	back     p2p.Protocol = "/pinfi/test/back/1"
)

// A target is a host under attack, with what it was delivered.
type target struct {
	*Host
	mu      sync.Mutex
	changed *sync.Cond
	got     []transport.Inbound
}

// newTarget starts a host on the loopback.
func newTarget(t *testing.T, id uint32, limits Limits) *target {
	t.Helper()
	h := &target{}
	h.changed = sync.NewCond(&h.mu)
	var seed [32]byte
	binary.BigEndian.PutUint32(seed[:], id)
	var err error
	h.Host, err = New(t.Context(), Config{
		Identity: p2p.IdentityFromSeed(seed), Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Limits: limits,
		Handler: transport.Handler{
			Topics: []p2p.Topic{room}, Messages: []p2p.Protocol{door}, Streams: []p2p.Protocol{back},
			Deliver: func(in transport.Inbound) bool {
				h.mu.Lock()
				defer h.mu.Unlock()
				h.got = append(h.got, in)
				h.changed.Broadcast()
				return true
			},
		},
	})
	if err != nil {
		t.Fatalf("start host: %v", err)
	}
	t.Cleanup(func() { closeNow(t, h.Host) })
	return h
}

func closeNow(t testing.TB, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// count returns how often the text was delivered.
func (h *target) count(text string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, in := range h.got {
		if _, r, err := wire.Open(in.Data); err == nil && r.Text(255) == text {
			n++
		}
	}
	return n
}

// until waits for a condition that nothing announces.
func until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(patience)
	defer late.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-late.C:
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// healthy checks that the host still takes a message from an honest peer.
func (h *target) healthy(t *testing.T, id uint32) {
	t.Helper()
	friend := newTarget(t, id, Limits{})
	if err := friend.Connect(t.Context(), h.Addrs()[0]); err != nil {
		t.Fatalf("an honest peer connects: %v", err)
	}
	text := fmt.Sprintf("honest %d", id)
	if err := friend.Send(t.Context(), h.Self(), door, message(text)); err != nil {
		t.Fatalf("an honest peer sends: %v", err)
	}
	until(t, "an honest message", func() bool { return h.count(text) == 1 })
}

func message(text string) []byte {
	return wire.Seal(wire.KindBid, func(w *wire.Writer) { w.Text(text) })
}

// frame returns the message as it travels on a stream.
func frame(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(message))), message...)
}

// newRaw returns a libp2p host that keeps no rule of ours, connected with h.
func newRaw(t *testing.T, h *target) host.Host {
	t.Helper()
	raw, err := libp2p.New(libp2p.NoListenAddrs, libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.PrometheusRegisterer(prometheus.NewRegistry()), libp2p.DisableMetrics())
	if err != nil {
		t.Fatalf("start attacker: %v", err)
	}
	t.Cleanup(func() { closeNow(t, raw) })
	info, err := peer.AddrInfoFromString(h.Addrs()[0])
	if err != nil {
		t.Fatalf("address: %v", err)
	}
	if err := raw.Connect(t.Context(), *info); err != nil {
		t.Fatalf("attacker connects: %v", err)
	}
	return raw
}

// open opens a message stream from the attacker.
func open(t *testing.T, raw host.Host, h *target) network.Stream {
	t.Helper()
	s, err := raw.NewStream(t.Context(), AddrID(h.Self()), protocol.ID(door))
	if err != nil {
		t.Fatalf("attacker opens a stream: %v", err)
	}
	if err := s.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatalf("set deadline: %v", err)
	}
	return s
}

// broken waits until the host breaks the stream: from then on writing fails.
func broken(t *testing.T, s network.Stream) {
	t.Helper()
	until(t, "the host to break the stream", func() bool {
		_, err := s.Write([]byte{0})
		return err != nil
	})
}

// [WIR-13] Bytes that are no message end their stream and are counted.
func TestGarbageOnStreams(t *testing.T) {
	h := newTarget(t, 1, Limits{})
	raw := newRaw(t, h)
	noise := make([]byte, 64<<10)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	tooLong := append([]byte{wire.Version, byte(wire.KindBid)}, make([]byte, wire.KindBid.Limit()-1)...)
	for name, b := range map[string][]byte{
		"noise":         noise,
		"zeros":         make([]byte, 64),
		"gigabytes":     {0xff, 0xff, 0xff, 0xff, wire.Version, byte(wire.KindItems)},
		"over limit":    frame(tooLong),
		"unknown kind":  frame([]byte{wire.Version, 99, 1, 2, 3}),
		"version":       frame([]byte{wire.Version + 1, byte(wire.KindBid), 1, 2, 3}),
		"no kind":       frame([]byte{wire.Version}),
		"empty message": frame(nil),
		"no body":       {0, 0, 0, 0, wire.Version, byte(wire.KindBid)},
		"no whole head": {0, 0, 0, 1, wire.Version, byte(wire.KindBid)},
	} {
		before := h.Stats()
		s := open(t, raw, h)
		_, _ = s.Write(b)               // the host may break it before all is written
		_, _ = s.Write(make([]byte, 8)) // so that no header is short
		until(t, name+" to be counted", func() bool { return h.Stats().Refused == before.Refused+1 })
		broken(t, s)
		if after := h.Stats(); after.Received != before.Received {
			t.Errorf("%s: delivered %d messages", name, after.Received-before.Received)
		}
	}
	h.healthy(t, 2)
}

// [WIR-14] A message that is begun must be finished in time.
func TestHalfOpenStream(t *testing.T) {
	h := newTarget(t, 1, Limits{Patience: 100 * time.Millisecond})
	raw := newRaw(t, h)
	for name, b := range map[string][]byte{
		"half a header":  {0, 0, 1},
		"a header alone": frame(message("a message that never begins"))[:6],
		"half a message": frame(message("a message that never ends"))[:12],
	} {
		before := h.Stats().Refused
		s := open(t, raw, h)
		if _, err := s.Write(b); err != nil {
			t.Fatalf("write: %v", err)
		}
		until(t, name+" to be counted", func() bool { return h.Stats().Refused == before+1 })
		broken(t, s)
		s = open(t, raw, h)
		if _, err := s.Write(b); err != nil {
			t.Fatalf("write: %v", err)
		}
		if err := s.CloseWrite(); err != nil {
			t.Fatalf("close: %v", err)
		}
		until(t, name+", ended, to be counted", func() bool { return h.Stats().Refused == before+2 })
	}
	h.healthy(t, 2)
}

// [WIR-12] One peer has one stream for each message protocol: the newest.
func TestStreamFlood(t *testing.T) {
	const flood, share = 400, 24
	h := newTarget(t, 1, Limits{StreamsPerPeer: share, Patience: time.Hour})
	h.HandleStream(back, func(_ p2p.PeerID, s transport.Stream) {
		_, _ = io.Copy(io.Discard, s) // until it breaks
	})
	raw := newRaw(t, h)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	most := 0
	var streams []network.Stream
	for i := range flood {
		p := protocol.ID(door)
		if i%2 == 1 {
			p = protocol.ID(back)
		}
		s, err := raw.NewStream(t.Context(), AddrID(h.Self()), p)
		if err != nil {
			continue // refused, as it should be
		}
		// A message of 256 KiB is announced and begun.
		_, _ = s.Write([]byte{0, 4, 0, 0, wire.Version, byte(wire.KindItems), 1, 2, 3}) // it may be broken already
		streams = append(streams, s)
		most = max(most, h.inbound(raw.ID(), p))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if most > share {
		t.Errorf("%d streams of one peer were open, %d may be", most, share)
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 32<<20 {
		t.Errorf("%d streams cost %d MiB of memory", flood, grown>>20)
	}
	until(t, "one message stream to be left", func() bool { return h.inbound(raw.ID(), protocol.ID(door)) == 1 })
	h.healthy(t, 2)
	for _, s := range streams {
		_ = s.Reset() // most are broken already
	}
}

// inbound counts the streams of a protocol that a peer has open to us.
func (h *target) inbound(p peer.ID, spoken protocol.ID) int {
	n := 0
	for _, c := range h.host.Network().ConnsToPeer(p) {
		for _, s := range c.GetStreams() {
			if s.Stat().Direction == network.DirInbound && s.Protocol() == spoken {
				n++
			}
		}
	}
	return n
}

// [WIR-15] Whoever sends faster than its rate is read at its rate.
func TestMessageFlood(t *testing.T) {
	const rate = 200
	h := newTarget(t, 1, Limits{Rate: rate})
	raw := newRaw(t, h)
	s := open(t, raw, h)
	began := time.Now()
	var wait sync.WaitGroup
	defer wait.Wait()
	wait.Go(func() {
		for i := range 20 * rate {
			if _, err := s.Write(frame(message(fmt.Sprint(i)))); err != nil {
				return // the test is over
			}
		}
	})
	until(t, "more than the burst", func() bool { return h.Stats().Received > 2*rate+rate/4 })
	got, lasted := h.Stats().Received, time.Since(began)
	if most := 2*rate + uint64(lasted.Seconds()*rate) + 2; got > most {
		t.Errorf("took %d messages in %v, at most %d may come", got, lasted, most)
	}
	h.healthy(t, 2)
	_ = s.Reset() // ends the flood
}

// gossiper makes the attacker gossip without any rules.
func gossiper(t *testing.T, raw host.Host) *pubsub.Topic {
	t.Helper()
	ps, err := pubsub.NewGossipSub(t.Context(), raw, pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign),
		pubsub.WithMessageIdFn(messageID), pubsub.WithFloodPublish(true))
	if err != nil {
		t.Fatalf("attacker gossips: %v", err)
	}
	topic, err := ps.Join(string(room))
	if err != nil {
		t.Fatalf("attacker joins: %v", err)
	}
	until(t, "the attacker to see a subscriber", func() bool { return len(topic.ListPeers()) > 0 })
	return topic
}

func publish(t *testing.T, topic *pubsub.Topic, b []byte) {
	t.Helper()
	if err := topic.Publish(t.Context(), b); err != nil {
		t.Fatalf("attacker publishes: %v", err)
	}
}

// [WIR-16] A peer that gossips refused messages is soon ignored.
func TestGarbageInGossip(t *testing.T) {
	h := newTarget(t, 1, Limits{})
	topic := gossiper(t, newRaw(t, h))
	publish(t, topic, message("before"))
	until(t, "a message before the garbage", func() bool { return h.count("before") == 1 })
	for i := range 9 {
		publish(t, topic, []byte{wire.Version, 99, byte(i)})
		until(t, "garbage to be counted", func() bool { return h.Stats().Refused == uint64(i+1) })
	}
	publish(t, topic, message("after"))

	friend := gossiper(t, newRaw(t, h)) // the one connection that comes after it
	publish(t, friend, message("honest"))
	until(t, "an honest message", func() bool { return h.count("honest") == 1 })
	if h.count("after") != 0 {
		t.Error("the attacker is still heard")
	}
}

// [WIR-10] The same message on the same topic is delivered once, whoever repeats it.
func TestReplay(t *testing.T) {
	h := newTarget(t, 1, Limits{})
	rawA, rawB := newRaw(t, h), newRaw(t, h)
	a, b := gossiper(t, rawA), gossiper(t, rawB)
	publish(t, a, message("again"))
	until(t, "the message", func() bool { return h.count("again") == 1 })
	publish(t, b, message("again"))
	publish(t, b, message("last"))
	until(t, "the last message", func() bool { return h.count("last") == 1 })
	if n := h.count("again"); n != 1 {
		t.Errorf("delivered %d times, want once", n)
	}
	// On a stream a repeated message arrives again, and says who repeats it.
	for _, raw := range []host.Host{rawA, rawB} {
		s := open(t, raw, h)
		for range 2 {
			if _, err := s.Write(frame(message("direct"))); err != nil {
				t.Fatalf("write: %v", err)
			}
		}
	}
	until(t, "every repetition", func() bool { return h.count("direct") == 4 })
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, in := range h.got {
		if in.Protocol == door && AddrID(in.From) != rawA.ID() && AddrID(in.From) != rawB.ID() {
			t.Errorf("a message comes from %v, who did not send it", in.From)
		}
	}
}

// [WIR-11] A message that is refused on one topic can still be sent on another.
func TestSuppression(t *testing.T) {
	first := messageIDOf("/pinfi/test/room/1", "message")
	if first == messageIDOf("/pinfi/test/other/1", "message") {
		t.Error("a message has one name on two topics")
	}
	if first != messageIDOf("/pinfi/test/room/1", "message") || first == messageIDOf("/pinfi/test/room/1", "massage") {
		t.Error("names do not follow messages")
	}
}
