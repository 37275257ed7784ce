//go:build unix

package main

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/crypto"
	libhost "github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/lp2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// A stranger is a libp2p peer that keeps no rule of ours.
type stranger struct {
	t      *testing.T
	host   libhost.Host
	net    p2p.Network
	self   p2p.PeerID
	chance *rand.Rand

	streams map[protocol.ID]int // on which something was written

	mu    sync.Mutex
	heard map[p2p.Topic][][]byte // what honest peers have gossiped
}

// newStranger connects with the nodes of the given folders and listens to all
// their gossip.
func newStranger(t *testing.T, dirs ...string) (*stranger, map[p2p.Topic]*pubsub.Topic) {
	t.Helper()
	return newStrangerAs(t, nil, dirs...)
}

// newStrangerAs is newStranger with the key of somebody; nil is nobody's.
func newStrangerAs(t *testing.T, id *p2p.Identity, dirs ...string) (*stranger, map[p2p.Topic]*pubsub.Topic) {
	t.Helper()
	options := []libp2p.Option{
		libp2p.NoListenAddrs, libp2p.PrometheusRegisterer(prometheus.NewRegistry()), libp2p.DisableMetrics(),
	}
	if id != nil {
		seed := id.Seed()
		key, err := crypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(seed[:]))
		if err != nil {
			t.Fatal(err)
		}
		options = append(options, libp2p.Identity(key))
	}
	h, err := libp2p.New(options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() }) // it may be closed
	s := &stranger{
		t: t, host: h, chance: rand.New(rand.NewPCG(1, 2)), heard: map[p2p.Topic][][]byte{},
		streams: map[protocol.ID]int{},
	}
	if s.self, err = lp2p.PeerIDOf(h.ID()); err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		st, err := statusOf(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		s.net = p2p.Network(st.Network.Digest)
		info, err := peer.AddrInfoFromString(st.Listen[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Connect(t.Context(), *info); err != nil {
			t.Fatalf("the stranger connects: %v", err)
		}
	}
	ps, err := pubsub.NewGossipSub(t.Context(), h, pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign),
		pubsub.WithFloodPublish(true), pubsub.WithMessageIdFn(func(m *pb.Message) string {
			sum := sha256.Sum256(m.Data)
			return string(sum[:])
		}))
	if err != nil {
		t.Fatal(err)
	}
	topics := map[p2p.Topic]*pubsub.Topic{}
	for _, name := range []p2p.Topic{
		s.net.Topic(p2p.Ops), s.net.Topic(p2p.Frames), s.net.Topic(p2p.Beats), s.net.Offers(localClass, "local"),
	} {
		topic, err := ps.Join(string(name))
		if err != nil {
			t.Fatal(err)
		}
		sub, err := topic.Subscribe()
		if err != nil {
			t.Fatal(err)
		}
		topics[name] = topic
		go s.listen(t.Context(), name, sub)
	}
	return s, topics
}

func (s *stranger) listen(ctx context.Context, name p2p.Topic, sub *pubsub.Subscription) {
	for {
		m, err := sub.Next(ctx)
		if err != nil {
			return
		}
		if m.ReceivedFrom == s.host.ID() {
			continue
		}
		s.mu.Lock()
		if len(s.heard[name]) < 16 {
			s.heard[name] = append(s.heard[name], m.Data)
		}
		s.mu.Unlock()
	}
}

func (s *stranger) recorded() map[p2p.Topic][][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[p2p.Topic][][]byte{}
	for name, list := range s.heard {
		out[name] = append([][]byte(nil), list...)
	}
	return out
}

func (s *stranger) noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(s.chance.Uint32())
	}
	return b
}

func framed(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(message))), message...)
}

// insults returns byte strings that no honest peer writes to a stream: some are no
// message, some too large, some well-formed and not the stranger's to send.
func (s *stranger) insults(lease ledger.OpID, ops [][]byte) map[string][]byte {
	seal := func(k wire.Kind, put func(*wire.Writer)) []byte { return framed(wire.Seal(k, put)) }
	out := map[string][]byte{
		"noise":         s.noise(4096),
		"zeros":         make([]byte, 64),
		"four gigabyte": {0xff, 0xff, 0xff, 0xff, wire.Version, byte(wire.KindItems)},
		"over limit":    framed(append([]byte{wire.Version, byte(wire.KindAsk)}, make([]byte, 4096)...)),
		"unknown kind":  framed([]byte{wire.Version, 99, 1, 2, 3}),
		"other version": framed([]byte{wire.Version + 1, byte(wire.KindAsk), 1}),
		"short":         framed([]byte{wire.Version, byte(wire.KindAsk), 1}),
		"half":          framed(wire.Seal(wire.KindAsk, (&market.Ask{Client: s.self}).Put))[:20],
		"foreign start": seal(wire.KindStart, (&market.Start{Lease: lease, Terms: market.Terms{
			Module: p2p.Digest{1}, Tasks: 1, MemoryPages: 1, Seconds: 1,
		}}).Put),
		"foreign report": seal(wire.KindReport, (&market.Report{
			Lease: lease, Phase: market.PhaseFailed, Source: market.ExitProvider, Text: "it is over",
		}).Put),
		"foreign voucher": seal(wire.KindPay, (&market.Voucher{Lease: lease, Used: 1 << 20, Final: true}).Put),
		"another's ask": seal(wire.KindAsk, (&market.Ask{
			Client: p2p.PeerID{1}, Class: localClass, Units: 1, Seconds: 1,
		}).Put),
		"great heads": seal(wire.KindHeads, func(w *wire.Writer) {
			w.Count(2)
			w.U32(1 << 31)
			w.U32(1 << 31)
		}),
		"no heads": seal(wire.KindHeads, func(w *wire.Writer) { w.Count(0) }),
		"unknown wants": seal(wire.KindWant, func(w *wire.Writer) {
			w.Count(1)
			w.Fixed(s.noise(32))
		}),
		"broken items": seal(wire.KindItems, func(w *wire.Writer) {
			w.Count(1)
			w.Blob(s.noise(200))
			w.Count(0)
		}),
		"a reveal of nothing": seal(wire.KindReveal, func(w *wire.Writer) { w.Fixed(s.noise(300)) }),
	}
	if len(ops) > 0 {
		out["operations again"] = seal(wire.KindItems, func(w *wire.Writer) {
			w.Count(len(ops))
			for _, op := range ops {
				w.Blob(op[2:]) // after version and kind
			}
			w.Count(0)
		})
		out["gossip on a stream"] = framed(ops[0])
	}
	return out
}

// harass writes each insult on a stream of each protocol to each connected peer.
func (s *stranger) harass(lease ledger.OpID) {
	ops := s.recorded()[s.net.Topic(p2p.Ops)]
	for _, p := range s.host.Network().Peers() {
		for _, name := range []string{p2p.Quote, p2p.Lease, p2p.Proof, p2p.Sync, p2p.Blob, "peers", "other"} {
			for _, b := range s.insults(lease, ops) {
				s.write(p, protocol.ID(s.net.Protocol(name)), b)
			}
		}
	}
}

// write writes bytes twice on a stream of their own and leaves. The peer may break
// the stream at any point.
func (s *stranger) write(p peer.ID, name protocol.ID, b []byte) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Second)
	defer cancel()
	stream, err := s.host.NewStream(ctx, p, name)
	if err != nil {
		return // refused, as it may be
	}
	s.streams[name]++
	_ = stream.SetDeadline(time.Now().Add(5 * time.Second))
	for range 2 {
		if _, err := stream.Write(b); err != nil {
			break
		}
	}
	_ = stream.Close()
}

// gossip publishes noise, what may not be gossiped, and everything that was heard:
// as it was, and with one bit changed.
func (s *stranger) gossip(topics map[p2p.Topic]*pubsub.Topic) {
	heard := s.recorded()
	for name, topic := range topics {
		all := [][]byte{
			s.noise(300), wire.Seal(wire.KindAsk, (&market.Ask{Client: s.self}).Put),
			append([]byte{wire.Version, byte(wire.KindOp)}, s.noise(4000)...),
		}
		for other, list := range heard {
			for _, b := range list {
				changed := append([]byte(nil), b...)
				changed[len(changed)-1-s.chance.IntN(40)] ^= 1
				all = append(all, changed)
				if other != name {
					all = append(all, b)
				}
			}
		}
		all = append(all, heard[name]...)
		for _, b := range all {
			_ = topic.Publish(s.t.Context(), b) // it refuses what it has seen
		}
	}
}

// TestStranger sends garbage, oversized and replayed messages over every stream
// protocol and topic while a job runs.
// [CLI-23] What a stranger sends is refused and counted; the job and the books do not notice.
func TestStranger(t *testing.T) {
	dir := filepath.Join(shortDir(t), "net")
	pinfi(t, 0, "devnet", "up", "--dir", dir, "--providers", "2")
	client, provider := filepath.Join(dir, clientName), filepath.Join(dir, providerName(0))
	s, topics := newStranger(t, provider, client)

	id := strings.Repeat("5a", 32)
	out := filepath.Join(dir, "out")
	type end struct {
		code int
		text string
	}
	ended := make(chan end, 1)
	go func() {
		code, _, words := call(t.Context(), "run", "--data", client, "--wasm", render(t, "render.wasm"), "--in",
			smallScene(t, dir), "--out", out, "--tasks", "3", "--id", id, "--json")
		ended <- end{code, words}
	}()
	if err := until(patience, func() error { _, err := serving(t.Context(), dir, id); return err }); err != nil {
		t.Fatalf("wait for the job to start: %v", err)
	}
	lease := leaseOf(t, client, id)
	var last end
	rounds := 0
	for done := false; !done || rounds < 2; rounds++ {
		s.harass(lease)
		s.gossip(topics)
		select {
		case last = <-ended:
			done = true
		default:
		}
	}
	if last.code != 0 {
		t.Fatalf("the job of an undisturbed client ends with 0, this one with %d:\n%s", last.code, last.text)
	}
	for _, node := range []string{provider, client} {
		err := until(patience, func() error {
			st, err := statusOf(t.Context(), node)
			if err == nil && st.Counts.Refused < 50 {
				err = fmt.Errorf("%s has refused %d messages, want 50 or more", filepath.Base(node), st.Counts.Refused)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	if err := until(patience, func() error { return balanced(t.Context(), dir) }); err != nil {
		t.Error(err)
	}
	pinfi(t, 0, "run", "--data", client, "--wasm", render(t, "..", "..", "testdata", "hello.wasm"), "--out", out)
	for _, name := range []string{p2p.Quote, p2p.Lease, p2p.Proof, p2p.Sync, p2p.Blob} {
		if n := s.streams[protocol.ID(s.net.Protocol(name))]; n < 20 {
			t.Errorf("%d streams of protocol %s were open to the stranger, the test wants 20", n, name)
		}
	}
	for _, node := range []string{provider, client} {
		st, err := statusOf(t.Context(), node)
		t.Logf("%d rounds; %s: %+v %v", rounds, filepath.Base(node), st.Counts, err)
	}
	for name, list := range s.recorded() {
		t.Logf("heard %d of %s", len(list), name)
	}
}

// leaseOf returns the first lease of a job.
func leaseOf(t *testing.T, client, id string) ledger.OpID {
	t.Helper()
	v, err := answer(t.Context(), client, id)
	if err != nil {
		t.Fatal(err)
	}
	text, err := field("leases.0.id").in(v)
	if err != nil {
		t.Fatal(err)
	}
	var lease ledger.OpID
	b, _ := json.Marshal(text)
	if err := json.Unmarshal(b, &lease); err != nil {
		t.Fatal(err)
	}
	return lease
}

// render returns the path of a file of the default job.
func render(t *testing.T, path ...string) string {
	t.Helper()
	base, err := filepath.Abs(filepath.Join("..", "..", "node", "exec", "jobs", "render"))
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(append([]string{base}, path...)...)
}

// smallScene writes a scene that takes a few seconds to draw.
func smallScene(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(render(t, "scene.txt"))
	if err != nil {
		t.Fatal(err)
	}
	const large, small = "image  640 480  5 8", "image  480 360  4 8"
	if !strings.Contains(string(b), large) {
		t.Fatalf("the scene has no %q", large)
	}
	path := filepath.Join(dir, "scene.txt")
	if err := os.WriteFile(path, []byte(strings.Replace(string(b), large, small, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
