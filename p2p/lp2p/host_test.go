package lp2p

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/record"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/transport"
)

func messageIDOf(topic, data string) string {
	return messageID(&pb.Message{Topic: &topic, Data: []byte(data)})
}

// config returns the configuration of the nth host of a test.
func config(n byte) Config {
	return Config{
		Identity: p2p.IdentityFromSeed([32]byte{n, 77}), Listen: []string{"/ip4/127.0.0.1/tcp/0"},
		Handler: transport.Handler{Topics: []p2p.Topic{room}, Deliver: func(transport.Inbound) bool { return true }},
	}
}

// start starts a host and closes it when the test ends.
func start(t *testing.T, cfg Config) *Host {
	t.Helper()
	h, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatalf("start host: %v", err)
	}
	t.Cleanup(func() { closeNow(t, h) })
	return h
}

func connected(h *Host, to p2p.PeerID) bool {
	return slices.ContainsFunc(h.Peers(), func(p PeerInfo) bool { return p.ID == to })
}

func TestPeerIDs(t *testing.T) {
	id := p2p.IdentityFromSeed([32]byte{1})
	seed := id.Seed()
	self := id.PeerID()
	key, err := crypto.UnmarshalEd25519PrivateKey(slices.Concat(seed[:], self[:]))
	if err != nil {
		t.Fatal(err)
	}
	want, err := peer.IDFromPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if got := AddrID(self); got != want {
		t.Errorf("AddrID is %v, libp2p says %v", got, want)
	}
	if got, err := PeerIDOf(want); err != nil || got != self {
		t.Errorf("PeerIDOf is %v, %v, want %v", got, err, self)
	}
	rsa, err := peer.Decode("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []peer.ID{"", rsa, want[:20], want + "x"} {
		if got, err := PeerIDOf(bad); err == nil {
			t.Errorf("PeerIDOf(%q) is %v, want an error", string(bad), got)
		}
	}
}

// [WIR-18] A wrong address is refused with an example of a right one.
func TestBadAddresses(t *testing.T) {
	good := "/p2p/" + AddrID(p2p.IdentityFromSeed([32]byte{9}).PeerID()).String()
	for name, change := range map[string]func(*Config){
		"listen no multiaddr": func(c *Config) { c.Listen = []string{"0.0.0.0:4747"} },
		"listen on sctp":      func(c *Config) { c.Listen = []string{"/ip4/0.0.0.0/sctp/4747"} },
		"listen on plain udp": func(c *Config) { c.Listen = []string{"/ip4/0.0.0.0/udp/4747"} },
		"listen, key and quic": func(c *Config) {
			c.Listen, c.PSK = []string{"/ip4/0.0.0.0/udp/0/quic-v1"}, make([]byte, 32)
		},
		"peer no multiaddr":  func(c *Config) { c.Peers = []string{"example.org:4747"} },
		"peer without id":    func(c *Config) { c.Peers = []string{"/ip4/192.0.2.1/tcp/4747"} },
		"peer without place": func(c *Config) { c.Peers = []string{good} },
		"peer with a foreign key": func(c *Config) {
			c.Peers = []string{"/ip4/192.0.2.1/tcp/4747/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"}
		},
	} {
		cfg := config(1)
		change(&cfg)
		_, err := New(t.Context(), cfg)
		if !errors.Is(err, ErrAddress) || !strings.Contains(err.Error(), "/tcp/4747") {
			t.Errorf("%s: %v, want ErrAddress and an example", name, err)
		}
	}
	h := start(t, config(1))
	if err := h.Connect(t.Context(), "nowhere"); !errors.Is(err, ErrAddress) {
		t.Errorf("connect nowhere: %v, want ErrAddress", err)
	}
}

func TestBadConfig(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no identity":    func(c *Config) { c.Identity = nil },
		"no deliver":     func(c *Config) { c.Handler.Deliver = nil },
		"short key":      func(c *Config) { c.PSK = make([]byte, 16) },
		"negative limit": func(c *Config) { c.Limits.Rate = -1 },
	} {
		cfg := config(1)
		change(&cfg)
		if _, err := New(t.Context(), cfg); err == nil {
			t.Errorf("%s: started", name)
		}
	}
}

// [WIR-19] A port in use is an error that names the address and the way out,
// for TCP, whose sockets libp2p would share, as for QUIC.
func TestPortInUse(t *testing.T) {
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer closeNow(t, tcp)
	first := start(t, config(1))
	cfg := config(2)
	cfg.Listen = []string{"/ip4/127.0.0.1/udp/0/quic-v1"}
	second := start(t, cfg)
	_, port, err := net.SplitHostPort(tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for name, addr := range map[string]string{
		"a stranger's TCP port": "/ip4/127.0.0.1/tcp/" + port,
		"another host's TCP":    strings.Split(first.Addrs()[0], "/p2p/")[0],
		"another host's QUIC":   strings.Split(second.Addrs()[0], "/p2p/")[0],
	} {
		cfg := config(3)
		cfg.Listen = []string{"/ip4/127.0.0.1/tcp/0", addr}
		_, err := New(t.Context(), cfg)
		if !errors.Is(err, ErrListen) || !strings.Contains(err.Error(), addr+": ") ||
			!strings.Contains(err.Error(), "--listen") {
			t.Errorf("%s: %v, want ErrListen with the address and the flag", name, err)
		}
	}
}

// A host connects with its first peers in any order of starting, finds them
// again after they have been away, and sends to them over a new stream then.
func TestReconnect(t *testing.T) {
	away := config(1)
	first, err := New(t.Context(), away)
	if err != nil {
		t.Fatal(err)
	}
	addr := first.Addrs()[0]
	closeNow(t, first)

	cfg := config(2)
	cfg.Peers = []string{addr, addr} // a peer named twice is kept once
	ups, downs := make(chan p2p.PeerID, 16), make(chan p2p.PeerID, 16)
	cfg.Handler.PeerUp = func(id p2p.PeerID) { ups <- id }
	cfg.Handler.PeerDown = func(id p2p.PeerID) { downs <- id }
	h := start(t, cfg)
	got := make(chan transport.Inbound, 1)
	away.Handler.Messages = []p2p.Protocol{door}
	away.Handler.Deliver = func(in transport.Inbound) bool {
		got <- in
		return true
	}
	away.Listen = []string{strings.Split(addr, "/p2p/")[0]}
	for range 2 {
		back, err := New(t.Context(), away)
		if err != nil {
			t.Fatal(err)
		}
		if id := <-ups; id != back.Self() {
			t.Errorf("up came %v, want %v", id, back.Self())
		}
		if err := h.Send(t.Context(), back.Self(), door, message("hello")); err != nil {
			t.Fatal(err)
		}
		if in := <-got; in.From != h.Self() {
			t.Errorf("message from %v, want %v", in.From, h.Self())
		}
		closeNow(t, back)
		if id := <-downs; id != back.Self() {
			t.Errorf("down went %v, want %v", id, back.Self())
		}
	}
}

// Hosts that know one peer in common come to know each other, with addresses
// that each has signed itself.
func TestPeerExchange(t *testing.T) {
	hub := start(t, config(1))
	var hosts []*Host
	for n := byte(2); n < 6; n++ {
		cfg := config(n)
		cfg.Peers = []string{hub.Addrs()[0]}
		hosts = append(hosts, start(t, cfg))
	}
	for _, h := range hosts {
		for _, other := range hosts {
			if h != other {
				until(t, "hosts to find each other", func() bool { return connected(h, other.Self()) })
			}
		}
	}
	foreign := config(9)
	foreign.Network = p2p.Network{1}
	foreign.Peers = []string{hub.Addrs()[0]}
	f := start(t, foreign)
	until(t, "the foreign host to connect", func() bool { return connected(hub, f.Self()) })
	if hub.kin(f.host.ID()) {
		t.Error("a host of another network passes for one of ours")
	}
	until(t, "the distance to a peer", func() bool { return hosts[0].Peers()[0].RTT > 0 })
}

// [WIR-23] An address record is believed only when the peer that it is about has
// signed it.
func TestForgedRecord(t *testing.T) {
	a, b := start(t, config(1)), start(t, config(2))
	if err := b.Connect(t.Context(), a.Addrs()[0]); err != nil {
		t.Fatal(err)
	}
	var envelope *record.Envelope
	until(t, "a record", func() bool {
		envelope = b.known.get(a.host.ID())
		return envelope != nil
	})
	honest, err := envelope.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	told := func(b []byte) (peer.AddrInfo, error) {
		return readRecord(bytes.NewReader(append([]byte{byte(len(b) >> 8), byte(len(b))}, b...)))
	}
	if info, err := told(honest); err != nil || info.ID != a.host.ID() {
		t.Errorf("an honest record reads as %v, %v", info, err)
	}
	lie, err := record.UnmarshalEnvelope(honest)
	if err != nil {
		t.Fatal(err)
	}
	lie.PublicKey = b.host.Peerstore().PubKey(b.host.ID())
	forged, err := lie.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	key := b.host.Peerstore().PrivKey(b.host.ID())
	sealed, err := record.Seal(&peer.PeerRecord{PeerID: a.host.ID(), Addrs: b.host.Addrs(), Seq: 1 << 62}, key)
	if err != nil {
		t.Fatal(err)
	}
	about, err := sealed.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"about another": about, "other key": forged,
		"cut": honest[:len(honest)-1], "empty": nil, "long": make([]byte, recordMax+1),
	} {
		if info, err := told(b); err == nil {
			t.Errorf("%s: a record reads as %v", name, info)
		}
	}
}

// [WIR-20] Without the key of a private network nobody connects.
func TestPrivateNetwork(t *testing.T) {
	cfg := config(1)
	cfg.PSK = bytes.Repeat([]byte{1}, 32)
	inside := start(t, cfg)
	if !inside.Private() {
		t.Error("a host with a key does not say so")
	}
	for _, addr := range inside.Addrs() {
		if strings.Contains(addr, "quic") {
			t.Errorf("a private host listens on %s", addr)
		}
	}
	for name, key := range map[string][]byte{"none": nil, "another": bytes.Repeat([]byte{2}, 32)} {
		cfg := config(2)
		cfg.PSK = key
		outside := start(t, cfg)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := outside.Connect(ctx, inside.Addrs()[0]); err == nil {
			t.Errorf("a host with key %s connects", name)
		}
	}
	cfg = config(3)
	cfg.PSK = bytes.Repeat([]byte{1}, 32)
	friend := start(t, cfg)
	if err := friend.Connect(t.Context(), inside.Addrs()[0]); err != nil {
		t.Errorf("a host with the key: %v", err)
	}
}

// Hosts of one network on one machine find each other without being told.
func TestMDNS(t *testing.T) {
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Skipf("cannot list interfaces: %v", err)
	}
	const want = net.FlagUp | net.FlagMulticast
	if !slices.ContainsFunc(interfaces, func(i net.Interface) bool {
		return i.Flags&want == want && i.Flags&net.FlagLoopback == 0
	}) {
		t.Skip("no interface with multicast")
	}
	var hosts []*Host
	for n := range byte(2) {
		cfg := config(n + 1)
		cfg.Listen = []string{"/ip4/0.0.0.0/tcp/0"}
		cfg.Network = p2p.Network([]byte("a network of the test of discovery"))
		cfg.MDNS = true
		hosts = append(hosts, start(t, cfg))
	}
	until(t, "discovery", func() bool { return connected(hosts[0], hosts[1].Self()) })
}

// Metrics go to the registry that was given and nowhere else.
func TestMetrics(t *testing.T) {
	names := func(g prometheus.Gatherer) []string {
		families, err := g.Gather()
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, f := range families {
			out = append(out, f.GetName())
		}
		return out
	}
	registry := prometheus.NewRegistry()
	cfg := config(1)
	cfg.Registry = registry
	h := start(t, cfg)
	other := start(t, config(2))
	if err := other.Connect(t.Context(), h.Addrs()[0]); err != nil {
		t.Fatal(err)
	}
	got := names(registry)
	for _, want := range []string{
		"pinfi_p2p_messages_dropped_total", "pinfi_p2p_messages_lost_total", "pinfi_p2p_messages_published_total",
		"pinfi_p2p_messages_received_total", "pinfi_p2p_messages_refused_total", "pinfi_p2p_messages_sent_total",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("the registry has no %s", want)
		}
	}
	if !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "libp2p_swarm") }) {
		t.Error("the registry has no metrics of libp2p")
	}
	for _, name := range names(prometheus.DefaultGatherer) {
		if strings.HasPrefix(name, "libp2p") || strings.HasPrefix(name, "pinfi") {
			t.Errorf("the global registry has %s", name)
		}
	}
}

// [WIR-17] A host announces every protocol to the first peer that connects.
func TestAnnouncement(t *testing.T) {
	for n := range byte(20) {
		cfg := config(2 * n)
		cfg.Handler.Messages = []p2p.Protocol{door}
		cfg.Handler.Streams = []p2p.Protocol{back}
		h := start(t, cfg)
		other := start(t, config(2*n+1))
		if err := other.Connect(t.Context(), h.Addrs()[0]); err != nil {
			t.Fatal(err)
		}
		until(t, "identification", func() bool { return connected(other, h.Self()) && other.kin(h.host.ID()) })
		spoken, err := other.host.Peerstore().SupportsProtocols(h.host.ID(), "/pinfi/test/door/1", "/pinfi/test/back/1",
			"/meshsub/1.2.0")
		if err != nil || len(spoken) != 3 {
			t.Fatalf("host %d announces %v, %v", n, spoken, err)
		}
	}
}

// A host that is told to listen nowhere can still dial.
func TestDialOnly(t *testing.T) {
	h := start(t, config(1))
	cfg := config(2)
	cfg.Listen = []string{}
	cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	quiet := start(t, cfg)
	if addrs := quiet.Addrs(); len(addrs) > 0 {
		t.Errorf("listens on %v", addrs)
	}
	if err := quiet.Connect(t.Context(), h.Addrs()[0]); err != nil {
		t.Fatal(err)
	}
	until(t, "the connection", func() bool { return connected(h, quiet.Self()) })
	if h.host.Network().Connectedness(quiet.host.ID()) != network.Connected {
		t.Error("not connected")
	}
}

// What libp2p has to say is not worth a person's attention, unless it is an error.
func TestLogs(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(demoted{slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo})}).With("part", "test")
	log.Info("quiet")
	log.Warn("quiet")
	log.WithGroup("group").Error("loud")
	if got := out.String(); strings.Contains(got, "quiet") || !strings.Contains(got, "loud") {
		t.Errorf("logged %q", got)
	}
}
