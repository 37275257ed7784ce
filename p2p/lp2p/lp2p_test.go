package lp2p_test

import (
	"encoding/binary"
	"testing"

	"go.uber.org/goleak"

	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/lp2p"
	"github.com/pinfi/pinfi/p2p/transport"
	"github.com/pinfi/pinfi/p2p/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A hostNetwork makes hosts on the loopback.
type hostNetwork struct {
	listen string
	psk    []byte
	limits lp2p.Limits
	next   uint32
	hosts  []*lp2p.Host
}

func (n *hostNetwork) Join(t testing.TB, handler transport.Handler) transporttest.Peer {
	t.Helper()
	n.next++
	h, err := lp2p.New(t.Context(), lp2p.Config{
		Identity: identity(n.next), Listen: []string{n.listen}, PSK: n.psk, Limits: n.limits, Handler: handler,
	})
	if err != nil {
		t.Fatalf("start host: %v", err)
	}
	for _, other := range n.hosts {
		// A host of an earlier part of the test may be closed.
		if addrs := other.Addrs(); len(addrs) > 0 {
			if err := h.Connect(t.Context(), addrs[0]); err != nil {
				t.Fatalf("connect: %v", err)
			}
		}
	}
	n.hosts = append(n.hosts, h)
	return h
}

// identity returns the nth identity of the tests.
func identity(n uint32) *p2p.Identity {
	var seed [32]byte
	binary.BigEndian.PutUint32(seed[:], n)
	return p2p.IdentityFromSeed(seed)
}

const (
	overTCP  = "/ip4/127.0.0.1/tcp/0"
	overQUIC = "/ip4/127.0.0.1/udp/0/quic-v1"
)

// [WIR-21] A direct message is delivered with the sender that the connection
// proves. [WIR-22] Direct messages of one protocol to one peer are delivered in
// the order of sending.
func TestTransport(t *testing.T) {
	key := make([]byte, 32)
	for name, n := range map[string]hostNetwork{
		"TCP": {listen: overTCP}, "QUIC": {listen: overQUIC}, "Private": {listen: overTCP, psk: key},
	} {
		t.Run(name, func(t *testing.T) {
			transporttest.Run(t, func(testing.TB) transporttest.Network {
				fresh := n
				return &fresh
			})
		})
	}
}
