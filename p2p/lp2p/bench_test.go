package lp2p_test

import (
	"io"
	"testing"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/lp2p"
	"github.com/pinfi/pinfi/p2p/transport"
)

// benchProtocol carries the bytes of the benchmark.
const benchProtocol = "/pinfi/test/bench/1"

// BenchmarkStream copies 64 MiB over one stream between two hosts of this
// process, over ours and over libp2p as it is.
func BenchmarkStream(b *testing.B) {
	for _, kind := range []struct {
		name string
		open func(testing.TB, string) io.ReadWriteCloser
	}{{"raw", openRaw}, {"ours", openOurs}} {
		for _, link := range []struct{ name, listen string }{{"tcp", overTCP}, {"quic", overQUIC}} {
			b.Run(kind.name+"/"+link.name, func(b *testing.B) {
				copyBytes(b, kind.open(b, link.listen))
			})
		}
	}
}

// copyBytes writes to a stream whose far side acknowledges each 64 MiB with a
// byte.
func copyBytes(b *testing.B, s io.ReadWriteCloser) {
	chunk := make([]byte, 256<<10)
	b.SetBytes(benchBytes)
	for b.Loop() {
		for range benchBytes / len(chunk) {
			if _, err := s.Write(chunk); err != nil {
				b.Fatalf("write: %v", err)
			}
		}
		if _, err := io.ReadFull(s, chunk[:1]); err != nil {
			b.Fatalf("read: %v", err)
		}
	}
	_ = s.Close() // the far side is done
}

const benchBytes = 64 << 20

// sink is the far side.
func sink(s io.ReadWriter) {
	for {
		n, err := io.CopyBuffer(io.Discard, io.LimitReader(s, benchBytes), make([]byte, 256<<10))
		if err != nil || n < benchBytes {
			return
		}
		if _, err := s.Write([]byte{1}); err != nil {
			return
		}
	}
}

func openRaw(t testing.TB, listen string) io.ReadWriteCloser {
	t.Helper()
	hosts := make([]host.Host, 2)
	for i := range hosts {
		h, err := libp2p.New(libp2p.ListenAddrStrings(listen), libp2p.PrometheusRegisterer(prometheus.NewRegistry()),
			libp2p.DisableMetrics())
		if err != nil {
			t.Fatalf("start host: %v", err)
		}
		t.Cleanup(func() { _ = h.Close() }) // the benchmark is over
		hosts[i] = h
	}
	hosts[1].SetStreamHandler(benchProtocol, func(s network.Stream) { sink(s) })
	if err := hosts[0].Connect(t.Context(), peer.AddrInfo{ID: hosts[1].ID(), Addrs: hosts[1].Addrs()}); err != nil {
		t.Fatalf("connect: %v", err)
	}
	s, err := hosts[0].NewStream(t.Context(), hosts[1].ID(), benchProtocol)
	if err != nil {
		t.Fatalf("open stream: %v", err)
	}
	return s
}

func openOurs(t testing.TB, listen string) io.ReadWriteCloser {
	t.Helper()
	n := hostNetwork{listen: listen}
	handler := transport.Handler{
		Streams: []p2p.Protocol{benchProtocol},
		Deliver: func(transport.Inbound) bool { return true },
	}
	a := n.Join(t, handler).(*lp2p.Host)
	b := n.Join(t, handler).(*lp2p.Host)
	t.Cleanup(func() {
		_, _ = a.Close(), b.Close() // the benchmark is over
	})
	b.HandleStream(benchProtocol, func(_ p2p.PeerID, s transport.Stream) { sink(s) })
	s, err := a.OpenStream(t.Context(), b.Self(), benchProtocol)
	if err != nil {
		t.Fatalf("open stream: %v", err)
	}
	return s
}

// BenchmarkSend sends direct messages of 256 bytes and waits for the last.
func BenchmarkSend(b *testing.B) {
	n := hostNetwork{listen: overTCP, limits: lp2p.Limits{Rate: 1 << 30}}
	got := make(chan struct{}, 1<<16)
	const proto = p2p.Protocol("/pinfi/test/send/1")
	handler := transport.Handler{
		Messages: []p2p.Protocol{proto},
		Deliver: func(transport.Inbound) bool {
			got <- struct{}{}
			return true
		},
	}
	from, to := n.Join(b, handler), n.Join(b, handler)
	defer func() { _, _ = from.Close(), to.Close() }() // the benchmark is over
	message := append([]byte{1, 4}, make([]byte, 254)...)
	b.SetBytes(int64(len(message)))
	for b.Loop() {
		if err := from.Send(b.Context(), to.Self(), proto, message); err != nil {
			b.Fatalf("send: %v", err)
		}
		<-got
	}
}
