// Package lp2p carries pinfi's messages over libp2p: gossipsub for Publish, one
// stream per peer and protocol for Send, plain libp2p streams for bulk bytes. It
// decides nothing about the market or the ledger, and it trusts no byte.
//
// New starts a Host; Close ends it. A Host is a transport.Transport and a
// transport.Streams. RouteLogs, called once before the first New, brings
// libp2p's own log lines into the program's log.
//
// The invariant: every protocol is registered before the first address is
// listened on, and what one stranger can make the host hold is bounded: one
// stream per message protocol, one message under way on it, a rate of bytes, and
// the resource manager's share of connections, streams and memory. Peer scoring
// is basic: a peer that forwards nine messages that this host's rules refuse is
// ignored for some minutes; meshes are not scored by delivery.
package lp2p

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/record"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
	quic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/transport"
)

// A Host is one peer on a real network. It is a transport.Transport and a
// transport.Streams.
type Host struct {
	cfg     Config
	self    p2p.PeerID
	host    host.Host
	topics  map[p2p.Topic]*pubsub.Topic // fixed once New returns
	mdns    mdns.Service                // nil without
	tasks   tasks
	stats   counters
	life    context.Context // ends when Close begins; the loops' own
	endLife context.CancelFunc
	fresh   chan peer.ID       // peers to be visited
	leads   chan peer.AddrInfo // peers heard of

	out   outboxes
	in    feeds
	kept  kept
	known records
}

// New starts a host: it registers every topic and protocol, then listens, then
// connects to the peers of the configuration, which it goes on doing whenever
// one is lost. ctx bounds the start only. Errors wrap ErrListen when an address
// cannot be listened on, ErrAddress when one cannot be understood.
func New(ctx context.Context, cfg Config) (*Host, error) {
	cfg = cfg.withDefaults()
	listen, peers, err := cfg.validate()
	if err != nil {
		return nil, fmt.Errorf("start peer: %w", err)
	}
	if cfg.Handler, err = cfg.Handler.Complete(); err != nil {
		return nil, fmt.Errorf("start peer: %w", err)
	}
	lib, err := newLibHost(cfg)
	if err != nil {
		return nil, fmt.Errorf("start peer: %w", err)
	}
	h := &Host{
		cfg: cfg, self: cfg.Identity.PeerID(), host: lib, topics: make(map[p2p.Topic]*pubsub.Topic),
		fresh: make(chan peer.ID, leadQueue), leads: make(chan peer.AddrInfo, leadQueue),
	}
	h.life, h.endLife = context.WithCancel(context.WithoutCancel(ctx))
	h.out.boxes = make(map[route]*outbox)
	h.in.peers = make(map[peer.ID]*feed)
	h.kept.lost = make(map[peer.ID]chan struct{})
	h.known.of = make(map[peer.ID]*record.Envelope)
	if err := h.start(listen, peers); err != nil {
		return nil, errors.Join(fmt.Errorf("start peer: %w", err), h.Close())
	}
	return h, nil
}

// newLibHost returns a libp2p host that does not listen yet.
func newLibHost(cfg Config) (host.Host, error) {
	seed := cfg.Identity.Seed()
	key, err := crypto.UnmarshalEd25519PrivateKey(slices.Concat(seed[:], publicKey(cfg.Identity)))
	if err != nil {
		return nil, fmt.Errorf("take identity: %w", err)
	}
	manager, err := cfg.Limits.manager(cfg.Registry != nil)
	if err != nil {
		return nil, err
	}
	conns, err := cfg.Limits.connections()
	if err != nil {
		return nil, errors.Join(err, manager.Close())
	}
	options := []libp2p.Option{
		libp2p.Identity(key),
		libp2p.NoListenAddrs,
		libp2p.DisableRelay(),
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.ResourceManager(manager),
		libp2p.ConnectionManager(conns),
		libp2p.UserAgent("pinfi"),
	}
	if cfg.PSK == nil {
		options = append(options, libp2p.Transport(quic.NewTransport))
	} else {
		options = append(options, libp2p.PrivateNetwork(cfg.PSK))
	}
	if cfg.Registry == nil {
		// The event bus registers its metrics even when they are disabled, with
		// the global registry unless there is another one.
		nowhere := prometheus.NewRegistry()
		options = append(options, libp2p.PrometheusRegisterer(nowhere), libp2p.DisableMetrics())
	} else {
		options = append(options, libp2p.PrometheusRegisterer(cfg.Registry))
	}
	return libp2p.New(options...)
}

func publicKey(id *p2p.Identity) []byte {
	key := id.PeerID()
	return key[:]
}

// start brings the host to life, in the order that matters: protocols, then
// addresses, then peers. A protocol that is registered after the first
// connection is not announced to that peer, and gossip never starts with it.
func (h *Host) start(listen []listenAddr, peers []peer.AddrInfo) error {
	if h.cfg.Registry != nil {
		if err := h.stats.register(h.cfg.Registry); err != nil {
			return err
		}
	}
	if err := h.watch(); err != nil {
		return err
	}
	if err := h.startGossip(); err != nil {
		return err
	}
	for _, p := range h.cfg.Handler.Messages {
		h.host.SetStreamHandler(protocol.ID(p), h.task(func(s network.Stream) { h.receive(p, s) }))
	}
	for _, p := range h.cfg.Handler.Streams {
		h.host.SetStreamHandler(protocol.ID(p), func(s network.Stream) {
			_ = s.Reset() // HandleStream has not been called yet
		})
	}
	h.startScouts()
	for _, a := range listen {
		if err := a.listen(h.host.Network()); err != nil {
			return err
		}
	}
	h.keepPeers(peers)
	h.startMDNS()
	return nil
}

// task makes a stream handler that Close waits for.
func (h *Host) task(serve func(network.Stream)) network.StreamHandler {
	return func(s network.Stream) {
		if !h.tasks.enter() {
			_ = s.Reset() // the host is closing
			return
		}
		defer h.tasks.leave()
		serve(s)
	}
}

// Self returns the host's peer id.
func (h *Host) Self() p2p.PeerID { return h.self }

// Addrs returns the addresses at which others reach the host, as Connect takes
// them, sorted. Addresses of this machine's loopback are among them.
func (h *Host) Addrs() []string {
	addrs, err := h.host.Network().InterfaceListenAddresses()
	if err != nil {
		addrs = nil // no interface can be read: what the host observed remains
	}
	var out []string
	for _, a := range append(addrs, h.host.Addrs()...) {
		out = append(out, a.String()+"/p2p/"+h.host.ID().String())
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Private reports whether the host is in a private network, where QUIC is off.
func (h *Host) Private() bool { return h.cfg.PSK != nil }

// Stats returns what the host has counted since it started.
func (h *Host) Stats() Stats { return h.stats.read() }

// A PeerInfo is a peer that the host is connected with.
type PeerInfo struct {
	ID    p2p.PeerID
	Addrs []string      // the far ends of the connections
	RTT   time.Duration // moving average; zero before the first measurement
}

// Peers returns the connected peers in the order of their ids.
func (h *Host) Peers() []PeerInfo {
	var out []PeerInfo
	for _, id := range h.host.Network().Peers() {
		self, err := PeerIDOf(id)
		if err != nil {
			continue // not one of ours
		}
		info := PeerInfo{ID: self, RTT: h.host.Peerstore().LatencyEWMA(id)}
		for _, c := range h.host.Network().ConnsToPeer(id) {
			info.Addrs = append(info.Addrs, c.RemoteMultiaddr().String()+"/p2p/"+id.String())
		}
		slices.Sort(info.Addrs)
		out = append(out, info)
	}
	slices.SortFunc(out, func(a, b PeerInfo) int { return a.ID.Compare(b.ID) })
	return out
}

// Connect connects to the peer at a multiaddr that ends in /p2p/ and its id. The
// error wraps ErrAddress when addr cannot be understood.
func (h *Host) Connect(ctx context.Context, addr string) error {
	info, err := parsePeer(addr)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if err := h.host.Connect(ctx, info); err != nil {
		return fmt.Errorf("connect to %s: %w", addr, err)
	}
	return nil
}

// OpenStream opens a stream to a peer, dialling it if there is no connection.
func (h *Host) OpenStream(ctx context.Context, to p2p.PeerID, p p2p.Protocol) (transport.Stream, error) {
	if !h.tasks.enter() {
		return nil, fmt.Errorf("open stream to %v: %w", to.Short(), transport.ErrClosed)
	}
	defer h.tasks.leave()
	if !h.reachable(to) {
		return nil, fmt.Errorf("open stream to %v: %w", to.Short(), transport.ErrUnknownPeer)
	}
	s, err := h.host.NewStream(ctx, AddrID(to), protocol.ID(p))
	if err != nil {
		return nil, fmt.Errorf("open stream to %v: %w", to.Short(), err)
	}
	return s, nil
}

// HandleStream has serve called for every stream of the protocol. Name the
// protocol in Handler.Streams too, so that it is announced from the start.
func (h *Host) HandleStream(p p2p.Protocol, serve func(from p2p.PeerID, s transport.Stream)) {
	h.host.SetStreamHandler(protocol.ID(p), h.task(func(s network.Stream) {
		from, err := PeerIDOf(s.Conn().RemotePeer())
		if err != nil {
			h.stats.refused.Add(1)
			_ = s.Reset() // not one of ours
			return
		}
		serve(from, s)
		_ = s.Close() // it may be closed or broken already
	}))
}

// reachable reports whether there is a connection to the peer or an address.
func (h *Host) reachable(id p2p.PeerID) bool {
	if id == h.self || id.IsZero() {
		return false
	}
	to := AddrID(id)
	return h.host.Network().Connectedness(to) == network.Connected || len(h.host.Peerstore().Addrs(to)) > 0
}

// Close leaves the network and waits for every goroutine of the host.
func (h *Host) Close() error {
	if !h.tasks.close() {
		h.tasks.wait.Wait()
		return nil
	}
	h.endLife()
	var errs []error
	if h.mdns != nil {
		errs = append(errs, h.mdns.Close())
	}
	errs = append(errs, h.host.Close())
	h.tasks.wait.Wait()
	h.stats.unregister()
	return errors.Join(errs...)
}

// startMDNS announces the host on the local network and looks for others of the
// same pinfi network there. A machine without multicast goes without.
func (h *Host) startMDNS() {
	if !h.cfg.MDNS {
		return
	}
	service := mdns.NewMdnsService(h.host, "_pinfi-"+h.cfg.Network.String()+"._udp", (*found)(h))
	if err := service.Start(); err != nil {
		h.cfg.Log.Warn("no discovery on the local network", "error", strings.TrimSpace(err.Error()))
		return
	}
	h.mdns = service
}

// tasks counts the goroutines that Close waits for.
type tasks struct {
	mu     sync.Mutex
	closed bool
	wait   sync.WaitGroup
}

// enter counts the calling goroutine until leave. It reports false when the host
// is closing and the caller should end.
func (t *tasks) enter() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.wait.Add(1)
	return true
}

func (t *tasks) leave() { t.wait.Done() }

// start runs f in a goroutine and reports false when the host is closing.
func (t *tasks) start(f func()) bool {
	if !t.enter() {
		return false
	}
	go func() {
		defer t.leave()
		f()
	}()
	return true
}

// close keeps new goroutines from starting. It reports false when it was called
// before.
func (t *tasks) close() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.closed
	t.closed = true
	return !was
}
