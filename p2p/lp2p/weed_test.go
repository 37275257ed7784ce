package lp2p

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/transport"
)

// A relay hands datagrams to a port and back until it is cut.
type relay struct {
	near *net.UDPConn // where one client sends to
	far  *net.UDPConn
	from atomic.Pointer[net.UDPAddr]
	cut  atomic.Bool
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	near, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	target, err := net.ResolveUDPAddr("udp4", to)
	if err != nil {
		t.Fatal(err)
	}
	far, err := net.DialUDP("udp4", nil, target)
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{near: near, far: far}
	done := make(chan struct{}, 2)
	go func() { r.inward(); done <- struct{}{} }()
	go func() { r.outward(); done <- struct{}{} }()
	t.Cleanup(func() {
		if err := errors.Join(near.Close(), far.Close()); err != nil {
			t.Error(err)
		}
		<-done
		<-done
	})
	return r
}

func (r *relay) inward() {
	b := make([]byte, 1<<16)
	for {
		n, from, err := r.near.ReadFromUDP(b)
		if err != nil {
			return
		}
		r.from.Store(from)
		if !r.cut.Load() {
			_, _ = r.far.Write(b[:n]) // datagrams may be lost
		}
	}
}

func (r *relay) outward() {
	b := make([]byte, 1<<16)
	for {
		n, err := r.far.Read(b)
		if err != nil {
			return
		}
		if from := r.from.Load(); from != nil && !r.cut.Load() {
			_, _ = r.near.WriteToUDP(b[:n], from) // datagrams may be lost
		}
	}
}

// [WIR-24] A peer that vanished without a word and came back is reached over its new
// connection: the old one is closed when it does not answer.
func TestPeerComesBack(t *testing.T) {
	quiet := func(seed byte, listen []string, deliver func(transport.Inbound) bool) *Host {
		t.Helper()
		h, err := New(t.Context(), Config{
			Identity: p2p.IdentityFromSeed([32]byte{seed}), Listen: listen,
			Handler: transport.Handler{Messages: []p2p.Protocol{door}, Deliver: deliver},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { closeNow(t, h) })
		return h
	}
	nothing := func(transport.Inbound) bool { return true }
	h := quiet(1, []string{"/ip4/127.0.0.1/udp/0/quic-v1"}, nothing)
	addr := h.Addrs()[0]
	port := strings.Split(addr, "/")[4]
	r := newRelay(t, "127.0.0.1:"+port)
	old := quiet(2, []string{}, nothing)
	through := strings.Replace(addr, "/"+port+"/", fmt.Sprintf("/%d/", r.near.LocalAddr().(*net.UDPAddr).Port), 1)
	if err := old.Connect(t.Context(), through); err != nil {
		t.Fatal(err)
	}
	until(t, "the first connection", func() bool { return len(h.Peers()) == 1 })
	if err := h.Send(t.Context(), old.Self(), door, message("to the old one")); err != nil {
		t.Fatal(err)
	}
	r.cut.Store(true)

	var got atomic.Int64
	again := quiet(2, []string{}, func(transport.Inbound) bool { got.Add(1); return true })
	if err := again.Connect(t.Context(), addr); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	conns := func() int { return len(h.host.Network().ConnsToPeer(again.host.ID())) }
	until(t, "the dead connection to be closed", func() bool { return conns() == 1 })
	if took := time.Since(began); took > 3*askTime {
		t.Errorf("the dead connection was closed after %v, want at most %v", took, 3*askTime)
	}
	until(t, "a message over the new connection", func() bool {
		if err := h.Send(t.Context(), again.Self(), door, message("to the new one")); err != nil {
			t.Fatal(err)
		}
		return got.Load() > 0
	})
}
