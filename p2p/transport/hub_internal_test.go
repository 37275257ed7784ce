package transport

import (
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

func TestJoinRefuses(t *testing.T) {
	deliver := func(Inbound) bool { return true }
	hub := NewHub()
	m, err := hub.Join(p2p.PeerID{1}, Handler{Deliver: deliver})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close() }() // it never fails
	for name, join := range map[string]func() (*Member, error){
		"twice":      func() (*Member, error) { return hub.Join(p2p.PeerID{1}, Handler{Deliver: deliver}) },
		"nobody":     func() (*Member, error) { return hub.Join(p2p.PeerID{}, Handler{Deliver: deliver}) },
		"no deliver": func() (*Member, error) { return hub.Join(p2p.PeerID{2}, Handler{}) },
	} {
		if _, err := join(); err == nil {
			t.Errorf("%s: joined", name)
		}
	}
}

// A member that does not keep up loses messages, which are counted, and nothing
// grows without bound; it is still told of every peer.
func TestSlowMember(t *testing.T) {
	hub := NewHub()
	release, ups := make(chan struct{}), make(chan p2p.PeerID, 1)
	blocked := make(chan struct{})
	var once sync.Once
	slow, err := hub.Join(p2p.PeerID{1}, Handler{
		Messages: []p2p.Protocol{"p"},
		Deliver: func(Inbound) bool {
			once.Do(func() { close(blocked) })
			<-release
			return true
		},
		PeerUp: func(id p2p.PeerID) { ups <- id },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = slow.Close() }() // it never fails
	fast, err := hub.Join(p2p.PeerID{2}, Handler{Deliver: func(Inbound) bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = fast.Close() }() // it never fails
	<-ups
	message := wire.Seal(wire.KindBid, func(w *wire.Writer) { w.U8(1) })
	send := func() error { return fast.Send(t.Context(), slow.Self(), "p", message) }
	if err := send(); err != nil {
		t.Fatal(err)
	}
	<-blocked
	for i := range queueMax {
		if err := send(); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	if err := send(); !errors.Is(err, ErrBusy) {
		t.Errorf("one message too many: %v, want ErrBusy", err)
	}
	if n := slow.Dropped(); n != 1 {
		t.Errorf("%d dropped, want 1", n)
	}
	third, err := hub.Join(p2p.PeerID{3}, Handler{Deliver: func(Inbound) bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = third.Close() }() // it never fails
	close(release)
	if up := <-ups; up != third.Self() {
		t.Errorf("up came %v", up)
	}
}

// A writer waits while its reader is behind, and what was written before a close
// can be read after it.
func TestStreamFlow(t *testing.T) {
	near, far := newStream()
	if _, err := near.Write(make([]byte, pipeSize)); err != nil {
		t.Fatal(err)
	}
	if err := near.SetDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := near.Write(make([]byte, 3)); err == nil || n != 0 {
		t.Errorf("wrote %d bytes, %v, to a reader who is behind", n, err)
	}
	if err := near.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := near.Close(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(far); err != nil || len(b) != pipeSize {
		t.Errorf("read %d bytes, %v after a close", len(b), err)
	}
	if _, err := far.Write([]byte{1}); err == nil {
		t.Error("wrote to a closed stream")
	}
	if _, err := near.Read(make([]byte, 1)); err == nil {
		t.Error("read from a closed stream")
	}
}
