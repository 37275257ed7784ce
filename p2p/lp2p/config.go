package lp2p

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/transport"
)

// Port is where a host listens unless told otherwise, with TCP and with QUIC.
const Port = "4747"

// A Config says how a host lives. Only Identity and Handler.Deliver are required.
type Config struct {
	// Identity is who the host is.
	Identity *p2p.Identity

	// Network is the pinfi network. Discovery finds hosts of the same one only.
	Network p2p.Network

	// Listen are the multiaddrs to listen on. Every one must succeed. Nil means
	// port 4747 of every IPv4 interface, with TCP and, without PSK, with QUIC;
	// empty but not nil means none: the host only dials.
	Listen []string

	// Peers are the first peers to connect with, as multiaddrs that end in
	// /p2p/ and the peer's id. The host reconnects whenever one is lost.
	Peers []string

	// Seek is how many peers the host wants: while it has fewer, it asks those
	// it has for more. Default 32. A peer that is neither connected nor heard
	// of cannot be sent to, so a small network wants everybody.
	Seek int

	// MDNS finds peers on the local network.
	MDNS bool

	// PSK is the 32-byte key of a private network. With it the host speaks only
	// to those who have it, and only over TCP. Nil means a public network.
	PSK []byte

	// Handler is what the host does with the network.
	Handler transport.Handler

	// Log takes what the host has to say. Nil discards it.
	Log *slog.Logger

	// Limits bound what others can make the host hold.
	Limits Limits

	// Registry takes libp2p's metrics and the host's own. Nil keeps none. One
	// Registry can serve one host.
	Registry *prometheus.Registry
}

// Limits bound a host. Zero fields have the defaults.
type Limits struct {
	// Conns is the number of connections; above three quarters of it the least
	// useful are closed. Default 256. Too few, and gossip has gaps.
	Conns int

	// ConnsPerPeer is the number of connections with one peer. Default 8.
	ConnsPerPeer int

	// StreamsPerPeer is the number of streams that one peer may have open to
	// us. Default 64. Fewer than ten starve libp2p's own protocols.
	StreamsPerPeer int

	// Memory is how many bytes of buffers connections and streams may hold.
	// Default 256 MiB. A TCP connection can take 16 MiB of it when it is fast.
	Memory int64

	// Queue is the number of messages that may wait for one peer on one
	// protocol. Default 256.
	Queue int

	// Rate is how many units of 2 KiB one peer may send us in messages each
	// second; each message is at least one. Twice as many may come in a burst.
	// Whoever sends faster is read slower. Default 4096, which is 8 MiB/s.
	Rate int

	// Patience is how long a peer may take to finish a message it has begun,
	// or to take one of ours. Default 10 s.
	Patience time.Duration
}

// withDefaults returns the configuration with its optional fields filled in.
func (c Config) withDefaults() Config {
	if c.Listen == nil {
		c.Listen = []string{"/ip4/0.0.0.0/tcp/" + Port}
		if c.PSK == nil {
			c.Listen = append(c.Listen, "/ip4/0.0.0.0/udp/"+Port+"/quic-v1")
		}
	}
	setDefault(&c.Seek, 32)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Limits = c.Limits.withDefaults()
	return c
}

func (l Limits) withDefaults() Limits {
	setDefault(&l.Conns, 256)
	setDefault(&l.ConnsPerPeer, 8)
	setDefault(&l.StreamsPerPeer, 64)
	setDefault(&l.Memory, 256<<20)
	setDefault(&l.Queue, 256)
	setDefault(&l.Rate, 4096)
	setDefault(&l.Patience, 10*time.Second)
	return l
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// validate returns the parsed addresses, or everything that is wrong.
func (c Config) validate() ([]listenAddr, []peer.AddrInfo, error) {
	var errs []error
	if c.Identity == nil {
		errs = append(errs, errors.New("configuration has no identity"))
	}
	if c.PSK != nil && len(c.PSK) != 32 {
		errs = append(errs, fmt.Errorf("network key has %d bytes, want 32", len(c.PSK)))
	}
	l := c.Limits
	if min(int64(l.Conns), int64(l.ConnsPerPeer), int64(l.StreamsPerPeer), l.Memory, int64(l.Queue),
		int64(l.Rate), int64(l.Patience)) < 0 {
		errs = append(errs, fmt.Errorf("limits %+v: none may be negative", l))
	}
	var listen []listenAddr
	for _, s := range c.Listen {
		a, err := parseListen(s, c.PSK != nil)
		if err != nil {
			errs = append(errs, err)
		}
		listen = append(listen, a)
	}
	var peers []peer.AddrInfo
	for _, s := range c.Peers {
		info, err := parsePeer(s)
		if err != nil {
			errs = append(errs, err)
		}
		peers = append(peers, info)
	}
	return listen, peers, errors.Join(errs...)
}

// manager returns libp2p's resource manager with the limits.
func (l Limits) manager(metrics bool) (network.ResourceManager, error) {
	scaling := rcmgr.DefaultLimits
	libp2p.SetDefaultServiceLimits(&scaling)
	limits := rcmgr.PartialLimitConfig{
		System: rcmgr.ResourceLimits{
			Conns: rcmgr.LimitVal(l.Conns), ConnsInbound: rcmgr.LimitVal(l.Conns), ConnsOutbound: rcmgr.LimitVal(l.Conns),
			Streams: rcmgr.LimitVal(l.Conns * 32), StreamsInbound: rcmgr.LimitVal(l.Conns * 16),
			StreamsOutbound: rcmgr.LimitVal(l.Conns * 32), Memory: rcmgr.LimitVal64(l.Memory),
		},
		PeerDefault: rcmgr.ResourceLimits{
			Conns: rcmgr.LimitVal(l.ConnsPerPeer), ConnsInbound: rcmgr.LimitVal(l.ConnsPerPeer),
			ConnsOutbound: rcmgr.LimitVal(l.ConnsPerPeer), StreamsInbound: rcmgr.LimitVal(l.StreamsPerPeer),
			Memory: rcmgr.LimitVal64(max(l.Memory/4, 1<<20)),
		},
	}.Build(scaling.Scale(l.Memory, math.MaxInt16))
	var options []rcmgr.Option
	if !metrics {
		options = append(options, rcmgr.WithMetricsDisabled())
	}
	manager, err := rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits), options...)
	if err != nil {
		return nil, fmt.Errorf("set limits: %w", err)
	}
	return manager, nil
}

// connections returns libp2p's connection manager with the limits.
func (l Limits) connections() (*connmgr.BasicConnMgr, error) {
	m, err := connmgr.NewConnManager(max(l.Conns*3/4, 1), max(l.Conns, 2))
	if err != nil {
		return nil, fmt.Errorf("set limits: %w", err)
	}
	return m, nil
}
