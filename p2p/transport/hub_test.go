package transport_test

import (
	"encoding/binary"
	"testing"

	"go.uber.org/goleak"

	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/transport"
	"github.com/pinfi/pinfi/p2p/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A hubNetwork makes members of one hub.
type hubNetwork struct {
	hub  *transport.Hub
	next uint32
}

func (n *hubNetwork) Join(t testing.TB, handler transport.Handler) transporttest.Peer {
	t.Helper()
	n.next++
	var seed [32]byte
	binary.BigEndian.PutUint32(seed[:], n.next)
	m, err := n.hub.Join(p2p.IdentityFromSeed(seed).PeerID(), handler)
	if err != nil {
		t.Fatalf("join: %v", err)
	}
	return m
}

// [WIR-21] A direct message is delivered with the sender that the connection
// proves. [WIR-22] Direct messages of one protocol to one peer are delivered in
// the order of sending.
func TestHub(t *testing.T) {
	transporttest.Run(t, func(testing.TB) transporttest.Network {
		return &hubNetwork{hub: transport.NewHub()}
	})
}
