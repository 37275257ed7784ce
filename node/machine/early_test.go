package machine

import (
	"testing"
	"time"

	"github.com/pinfi/pinfi/p2p/wire"
)

// [MCH-94] An offer that comes before its device is registered here is in the book as soon
// as it is; of those that never will be, so many are kept and no more.
func TestEarlyOffer(t *testing.T) {
	s := newMarket(t, never, 1)
	client := s.player("client")
	s.rules = []*rule{{kind: wire.KindOp, to: "client", count: -1}, {kind: wire.KindItems, to: "client", count: -1}}
	s.startAll()
	s.run(2*time.Second, nil)
	if n := client.m.book.Len(); n != 0 || len(client.m.early) != 1 {
		t.Fatalf("%d offers in the book, %d early; want none and one", n, len(client.m.early))
	}
	s.rules = nil
	s.run(3*time.Second, func() bool { return client.m.book.Len() == 1 })
	if n := client.m.book.Len(); n != 1 || len(client.m.early) != 0 {
		t.Errorf("%d offers in the book, %d early, once the device is registered", n, len(client.m.early))
	}
	f := flood{s, client}
	for i := range 2 * earlyMax {
		s.step(client, Gossiped{Data: f.gossip(wire.KindOffer, i)})
	}
	if n := len(client.m.early); n > earlyMax {
		t.Errorf("%d early offers are kept", n)
	}
}
