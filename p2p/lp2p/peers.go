package lp2p

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
)

// How the host looks after its peers.
const (
	dialTime    = 10 * time.Second // for one attempt to connect
	askTime     = 5 * time.Second  // for a ping or a question about peers
	backoffMin  = 250 * time.Millisecond
	backoffMax  = 30 * time.Second
	steadyAfter = 30 * time.Second // a connection that lasted so long was a good one
	roundMin    = 1 * time.Second  // before the first round of visits to all peers
	roundMax    = 30 * time.Second // between later rounds; the time doubles up to it
	scouts      = 4                // goroutines that dial, ping and ask
	leadQueue   = 64               // peers heard of that wait for a scout
)

// kept are the peers of the configuration, to be connected with at all times.
type kept struct {
	mu   sync.Mutex
	lost map[peer.ID]chan struct{} // has a token when the peer was lost
}

// watch tells the handler of peers that come and go, until the host closes.
func (h *Host) watch() error {
	sub, err := h.host.EventBus().Subscribe([]any{
		new(event.EvtPeerIdentificationCompleted),
		new(event.EvtPeerProtocolsUpdated),
		new(event.EvtPeerConnectednessChanged),
	}, eventbus.BufSize(256))
	if err != nil {
		return fmt.Errorf("watch peers: %w", err)
	}
	h.tasks.start(func() {
		defer func() { _ = sub.Close() }() // it never fails
		up := make(map[peer.ID]bool)
		for {
			select {
			case <-h.life.Done():
				return
			case e := <-sub.Out():
				h.witness(e, up)
			}
		}
	})
	return nil
}

// witness brings up, the set of peers the handler knows to be up, to date.
func (h *Host) witness(e any, up map[peer.ID]bool) {
	switch e := e.(type) {
	case event.EvtPeerIdentificationCompleted:
		h.weed(e.Conn)
		h.greet(e.Peer, up)
		if up[e.Peer] {
			h.known.put(e.Peer, e.SignedPeerRecord)
		}
	case event.EvtPeerProtocolsUpdated:
		h.greet(e.Peer, up)
	case event.EvtPeerConnectednessChanged:
		if e.Connectedness != network.NotConnected {
			return // it is greeted when it has said what it speaks
		}
		h.in.forget(e.Peer)
		h.known.put(e.Peer, nil)
		h.kept.mu.Lock()
		lost := h.kept.lost[e.Peer]
		h.kept.mu.Unlock()
		select {
		case lost <- struct{}{}: // nil, and never ready, for a peer that is not kept
		default:
		}
		if !up[e.Peer] {
			return
		}
		delete(up, e.Peer)
		if id, err := PeerIDOf(e.Peer); err == nil {
			h.cfg.Handler.PeerDown(id)
		}
	}
}

// greet reports a peer that has come up, if it is of our network.
func (h *Host) greet(p peer.ID, up map[peer.ID]bool) {
	id, err := PeerIDOf(p)
	if err != nil || up[p] || h.host.Network().Connectedness(p) != network.Connected || !h.kin(p) {
		return
	}
	up[p] = true
	h.cfg.Handler.PeerUp(id)
	select {
	case h.fresh <- p:
	default: // the next round comes by
	}
}

// weed closes the older connections of a peer that has a newer one, where they no
// longer answer. A peer that was killed and came back leaves one behind, over QUIC
// for half a minute, and whatever is sent on it is lost.
func (h *Host) weed(newer network.Conn) {
	for _, c := range h.host.Network().ConnsToPeer(newer.RemotePeer()) {
		if c.ID() == newer.ID() || c.Stat().Opened.After(newer.Stat().Opened) {
			continue
		}
		h.tasks.start(func() {
			if err := h.probe(c); err != nil && h.life.Err() == nil {
				h.cfg.Log.Debug("connection is dead", "peer", c.RemotePeer().String(), "error", err)
				_ = c.Close() // nobody is there to hear it
			}
		})
	}
}

// greeting is the first word on every libp2p stream, which is answered with itself.
const greeting = "\x13/multistream/1.0.0\n"

// probe reports whether a connection still answers.
func (h *Host) probe(c network.Conn) error {
	ctx, cancel := context.WithTimeout(h.life, askTime)
	defer cancel()
	s, err := c.NewStream(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = s.Reset() }() // it has served its purpose
	if err := s.SetDeadline(time.Now().Add(askTime)); err != nil {
		return err
	}
	if _, err := io.WriteString(s, greeting); err != nil {
		return err
	}
	_, err = io.ReadFull(s, make([]byte, len(greeting)))
	return err
}

// kin reports whether a peer is of our network: it answers who else is.
func (h *Host) kin(p peer.ID) bool {
	spoken, err := h.host.Peerstore().SupportsProtocols(p, h.askProtocol())
	return err == nil && len(spoken) > 0
}

// askProtocol is the protocol on which hosts tell each other of more hosts.
func (h *Host) askProtocol() protocol.ID { return protocol.ID(h.cfg.Network.Protocol("peers")) }

// keepPeers connects with the peers of the configuration and reconnects whenever
// one is lost.
func (h *Host) keepPeers(peers []peer.AddrInfo) {
	seed := binary.BigEndian.Uint64(h.self[:])
	for i, info := range peers {
		if info.ID == h.host.ID() || h.kept.has(info.ID) {
			continue
		}
		lost := make(chan struct{}, 1)
		h.kept.mu.Lock()
		h.kept.lost[info.ID] = lost
		h.kept.mu.Unlock()
		h.host.ConnManager().Protect(info.ID, "kept")
		chance := rand.New(rand.NewPCG(seed, uint64(i)))
		h.tasks.start(func() { h.keep(info, lost, chance) })
	}
}

func (k *kept) has(p peer.ID) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lost[p] != nil
}

// keep stays connected with one peer. Attempts come at growing distances, each
// up to a half longer by chance, so that a restarted peer is not stormed.
func (h *Host) keep(info peer.AddrInfo, lost <-chan struct{}, chance *rand.Rand) {
	wait := backoffMin
	for {
		began := time.Now()
		if err := h.dial(info); err != nil {
			h.cfg.Log.Debug("peer out of reach", "peer", info.ID.String(), "error", err)
		} else {
			select {
			case <-h.life.Done():
				return
			case <-lost:
			}
		}
		if time.Since(began) > steadyAfter+dialTime {
			wait = backoffMin
		}
		if !h.rest(wait + time.Duration(chance.Int64N(int64(wait)/2))) {
			return
		}
		wait = min(2*wait, backoffMax)
	}
}

// dial connects with a peer at once, however recently that failed.
func (h *Host) dial(info peer.AddrInfo) error {
	if s, ok := h.host.Network().(*swarm.Swarm); ok {
		s.Backoff().Clear(info.ID)
	}
	ctx, cancel := context.WithTimeout(h.life, dialTime)
	defer cancel()
	return h.host.Connect(ctx, info)
}

// found takes what discovery on the local network finds.
type found Host

var _ mdns.Notifee = (*found)(nil)

// HandlePeerFound has a scout connect with the peer. libp2p calls it.
func (f *found) HandlePeerFound(info peer.AddrInfo) { (*Host)(f).lead(info) }

// lead has a scout connect with a peer, when there is a scout to spare.
func (h *Host) lead(info peer.AddrInfo) {
	select {
	case h.leads <- info:
	default: // it will be heard of again
	}
}

// startScouts starts the goroutines that follow leads, measure peers and ask
// them for more.
func (h *Host) startScouts() {
	h.host.SetStreamHandler(h.askProtocol(), h.task(h.tellPeers))
	for range scouts {
		h.tasks.start(func() {
			for {
				select {
				case <-h.life.Done():
					return
				case info := <-h.leads:
					h.follow(info)
				case p := <-h.fresh:
					h.visit(p)
				}
			}
		})
	}
	h.tasks.start(h.rounds)
}

// rounds has the scouts visit all peers: soon and often at first, because peers
// that start together hear of each other only at a second question.
func (h *Host) rounds() {
	for wait := roundMin; h.rest(wait); wait = min(2*wait, roundMax) {
		for _, p := range h.host.Network().Peers() {
			select {
			case h.fresh <- p:
			case <-h.life.Done():
				return
			}
		}
	}
}

// follow connects with a peer that the host has heard of, if it looks for more.
func (h *Host) follow(info peer.AddrInfo) {
	if _, err := PeerIDOf(info.ID); err != nil || info.ID == h.host.ID() {
		return
	}
	peers := h.host.Network().Peers()
	if len(peers) >= h.cfg.Seek || slices.Contains(peers, info.ID) {
		return
	}
	ctx, cancel := context.WithTimeout(h.life, dialTime)
	defer cancel()
	if err := h.host.Connect(ctx, info); err != nil {
		h.cfg.Log.Debug("lead out of reach", "peer", info.ID.String(), "error", err)
	}
}

// visit measures the distance to a peer, which Peers shows, and asks it for more
// peers while there are too few.
func (h *Host) visit(p peer.ID) {
	ctx, cancel := context.WithTimeout(h.life, askTime)
	defer cancel()
	<-ping.Ping(ctx, h.host, p) // the peer store keeps the result; without one, nothing is shown
	if len(h.host.Network().Peers()) >= h.cfg.Seek || !h.kin(p) {
		return
	}
	records, err := h.askPeers(ctx, p)
	if err != nil {
		h.cfg.Log.Debug("peer tells of no others", "peer", p.String(), "error", err)
	}
	for _, info := range records {
		h.lead(info)
	}
}
