package lp2p

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/pinfi/pinfi/p2p"
)

// The ways in which an address is wrong. Their messages say what would be right.
var (
	ErrListen  = errors.New("cannot listen")
	ErrAddress = errors.New("address cannot be understood")
)

// idPrefix begins every libp2p id of an Ed25519 key: an identity multihash of 36
// bytes, which are a protocol buffer of key type 1 with 32 bytes of key.
const idPrefix = "\x00\x24\x08\x01\x12\x20"

// AddrID returns the id as libp2p and multiaddrs write it.
func AddrID(id p2p.PeerID) peer.ID { return peer.ID(idPrefix + string(id[:])) }

// PeerIDOf returns the id of a libp2p peer. It fails when the peer's key is not
// an Ed25519 key: such a peer is not of any pinfi network.
func PeerIDOf(id peer.ID) (p2p.PeerID, error) {
	if len(id) != len(idPrefix)+len(p2p.PeerID{}) || id[:len(idPrefix)] != idPrefix {
		return p2p.PeerID{}, fmt.Errorf("peer %v: its key is not an ed25519 key", id)
	}
	return p2p.PeerID([]byte(id[len(idPrefix):])), nil
}

// parsePeer reads the address of a peer.
func parsePeer(s string) (peer.AddrInfo, error) {
	info, err := peer.AddrInfoFromString(s)
	if err == nil {
		_, err = PeerIDOf(info.ID)
	}
	if err == nil && len(info.Addrs) == 0 {
		err = errors.New("it names a peer and no place")
	}
	if err != nil {
		return peer.AddrInfo{}, fmt.Errorf("peer %q: %w (want the likes of /ip4/192.0.2.1/tcp/%s/p2p/12D3KooW…): %w",
			s, ErrAddress, Port, err)
	}
	return *info, nil
}

// A listenAddr is an address to listen on.
type listenAddr struct {
	addr ma.Multiaddr
}

// parseListen reads an address to listen on: TCP, or QUIC in a public network.
func parseListen(s string, private bool) (listenAddr, error) {
	wrong := func(err error) (listenAddr, error) {
		const likes = "/ip4/0.0.0.0/tcp/" + Port + " or /ip4/0.0.0.0/udp/" + Port + "/quic-v1"
		return listenAddr{}, fmt.Errorf("listen address %q: %w (want the likes of %s): %w", s, ErrAddress, likes, err)
	}
	addr, err := ma.NewMultiaddr(s)
	if err != nil {
		return wrong(err)
	}
	names := ""
	for _, c := range addr {
		names += "/" + c.Protocol().Name
	}
	switch names {
	case "/ip4/tcp", "/ip6/tcp":
		return listenAddr{addr}, nil
	case "/ip4/udp/quic-v1", "/ip6/udp/quic-v1":
		if private {
			return wrong(errors.New("a private network has no quic, use tcp"))
		}
		return listenAddr{addr}, nil
	default:
		return wrong(errors.New("it is neither tcp nor quic"))
	}
}

// listen listens on the address. libp2p's TCP sockets share their port with any
// other process of the user that asks, so two nodes would both believe to own
// it: a plain socket, opened first and closed again, finds out.
func (a listenAddr) listen(n network.Network) error {
	err := a.probe()
	if err == nil {
		err = n.Listen(a.addr)
	}
	if err != nil {
		return fmt.Errorf("%w on %v: %w: choose another port with --listen, or port 0 for any free one",
			ErrListen, a.addr, err)
	}
	return nil
}

// probe reports why a TCP address cannot be listened on.
func (a listenAddr) probe() error {
	kind, where, err := manet.DialArgs(a.addr)
	if err != nil || kind != "tcp4" && kind != "tcp6" {
		return nil // QUIC does not share its port: Listen itself fails
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), kind, where)
	if err != nil {
		return err
	}
	return l.Close()
}
