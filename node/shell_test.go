package node

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/store"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/node/exec"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/transport"
	"github.com/pinfi/pinfi/p2p/wire"
)

// A spy is a transport that remembers what was sent over it, and can refuse or
// replace streams.
type spy struct {
	Network
	open func(to p2p.PeerID) (transport.Stream, error) // nil: as the transport does

	mu   sync.Mutex
	sent []wire.Kind
}

func (s *spy) see(data []byte) {
	kind, _, _ := wire.Open(data)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, kind)
}

func (s *spy) has(kind wire.Kind) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.sent, kind)
}

func (s *spy) Publish(ctx context.Context, topic p2p.Topic, data []byte) error {
	s.see(data)
	return s.Network.Publish(ctx, topic, data)
}

func (s *spy) Send(ctx context.Context, to p2p.PeerID, protocol p2p.Protocol, data []byte) error {
	s.see(data)
	return s.Network.Send(ctx, to, protocol, data)
}

func (s *spy) OpenStream(ctx context.Context, to p2p.PeerID, protocol p2p.Protocol) (transport.Stream, error) {
	if s.open != nil {
		return s.open(to)
	}
	return s.Network.OpenStream(ctx, to, protocol)
}

// newNode returns a node that is not running, over a transport that is spied on.
func newNode(t *testing.T, hub *transport.Hub, cfg Config) (*Node, *spy) {
	t.Helper()
	s := &spy{}
	if cfg.Genesis == nil {
		cfg.Genesis = testGenesis(1)
	}
	if cfg.Identity == nil {
		cfg.Identity = testIdentity(100)
	}
	cfg.Dir = t.TempDir()
	cfg.Join = func(h transport.Handler) (Network, error) {
		joined, err := hub.Join(cfg.Identity.PeerID(), h)
		s.Network = joined
		return s, err
	}
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return n, s
}

// run runs a node and returns how it ended.
func run(t *testing.T, n *Node) (stop func(), ended <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	return cancel, done
}

// wantEnd waits for the end of a node.
func wantEnd(t *testing.T, ended <-chan error) error {
	t.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(time.Minute):
		t.Fatal("the node does not stop")
		return nil
	}
}

// testJob returns an order of one task.
func testJob(name string) machine.Job {
	return machine.Job{
		ID: p2p.SumContent([]byte(name)), Class: "cpu.small", Region: Region, Units: 1000, Seconds: 60,
		Max: 10 * ledger.Token, Module: p2p.SumContent([]byte("module")), Tasks: 1, MemoryPages: 64,
	}
}

// [NOD-1] A node that cannot save stops, says so, and does nothing that comes after
// the Save in its step.
func TestSaveFails(t *testing.T) {
	n, net := newNode(t, transport.NewHub(), Config{})
	_, ended := run(t, n)
	if err := n.Ask(t.Context(), func(*machine.Machine) {}); err != nil {
		t.Fatal(err)
	}
	if err := n.store.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	submitted := make(chan error, 1)
	go func() { submitted <- n.Submit(ctx, testJob("a")) }()
	err := wantEnd(t, ended)
	if !errors.Is(err, store.ErrClosed) || !strings.Contains(err.Error(), "cannot save must stop") {
		t.Errorf("the node ends with %v", err)
	}
	cancel()
	if err := <-submitted; err == nil {
		t.Error("an order that is not on disk was taken")
	}
	if net.has(wire.KindBid) {
		t.Error("a bid was published for a job that is not on disk")
	}
}

// [NOD-2] A node that is told to stop kills its jobs, leaves nothing running, and
// ends without an error. TestMain looks for goroutines.
func TestStopWithJobs(t *testing.T) {
	hub, g := transport.NewHub(), testGenesis(1)
	provider, _ := newNode(t, hub, Config{
		Genesis: g, Identity: testIdentity(1), Sell: &machine.Sell{Class: "cpu.small", Region: Region, Units: 2000},
	})
	client, _ := newNode(t, hub, Config{Genesis: g})
	stopProvider, providerEnded := run(t, provider)
	stopClient, clientEnded := run(t, client)
	j := testJob("spin")
	module, _, err := client.Blobs().PutFile(t.Context(), filepath.Join("exec", "testdata", "spin.wasm"), ModuleMax)
	if err != nil {
		t.Fatal(err)
	}
	j.Module = module
	if err := client.Submit(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	waitFor(t, provider, "the job to run", func(m *machine.Machine) bool {
		return m.Sales() == 1 && len(provider.jobs) == 1
	})
	for _, c := range []struct {
		stop  func()
		ended <-chan error
	}{{stopProvider, providerEnded}, {stopClient, clientEnded}} {
		c.stop()
		if err := wantEnd(t, c.ended); err != nil {
			t.Errorf("a node that was told to stop ends with %v", err)
		}
	}
}

// [NOD-3] A node drops and counts the messages for which there is no room; what its
// own workers say waits until there is.
func TestQueues(t *testing.T) {
	n, _ := newNode(t, transport.NewHub(), Config{})
	in := transport.Inbound{From: testIdentity(5).PeerID(), Protocol: "x", Data: []byte("x")}
	deliver := n.handler().Deliver
	for i := range inboxSize + 10 {
		if took := deliver(in); took != (i < inboxSize) {
			t.Fatalf("message %d is taken: %v", i, took)
		}
	}
	if got := n.Counts().Dropped; got != 10 {
		t.Errorf("%d messages are counted as dropped, want 10", got)
	}
	for range innerSize {
		n.tell(machine.Tick{})
	}
	lease := ledger.OpID{1}
	n.runJob(t.Context(), machine.RunJob{Lease: lease, Client: testIdentity(9).PeerID(), Terms: market.Terms{Tasks: 1}})
	n.runJob(t.Context(), machine.RunJob{Lease: lease}) // it runs already
	var ends []machine.JobDone
	for range innerSize + 1 {
		if done, ok := (<-n.inner).(machine.JobDone); ok {
			ends = append(ends, done)
		}
	}
	n.workers.Wait()
	if len(ends) != 1 || len(n.inner) != 0 || !ends[0].Failed || !strings.HasPrefix(ends[0].Text, "module: ") {
		t.Errorf("the job ends with %+v, and %d events more", ends, len(n.inner))
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

// [NOD-4] A job whose module cannot be brought here fails its lease, by fault of the
// provider; the client is served by another one and pays only that.
func TestModuleOutOfReach(t *testing.T) {
	hub, g := transport.NewHub(), testGenesis(3)
	var providers []*Node
	for i := range 2 {
		n, s := newNode(t, hub, Config{
			Genesis: g, Identity: testIdentity(byte(i + 1)),
			Sell: &machine.Sell{Class: "cpu.small", Region: Region, Units: 2000, Reserve: ledger.Amount(i) * 3 * ledger.Token},
		})
		if i == 0 { // the cheaper one
			s.open = func(p2p.PeerID) (transport.Stream, error) { return nil, transport.ErrUnknownPeer }
		}
		providers = append(providers, n)
	}
	witness, _ := newNode(t, hub, Config{Genesis: g, Identity: testIdentity(3)})
	client, _ := newNode(t, hub, Config{Genesis: g})
	for _, n := range append(providers, witness, client) {
		stop, ended := run(t, n)
		defer func() {
			stop()
			if err := wantEnd(t, ended); err != nil {
				t.Error(err)
			}
		}()
	}
	waitFor(t, client, "two offers", func(m *machine.Machine) bool { return m.Book().Len() == 2 })
	module, _, err := client.Blobs().PutFile(t.Context(), filepath.Join("exec", "testdata", "hello.wasm"), ModuleMax)
	if err != nil {
		t.Fatal(err)
	}
	j := testJob("a")
	j.Module = module
	if err := client.Submit(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	var v machine.JobView
	waitFor(t, client, "the job", func(m *machine.Machine) bool { v, _ = m.Job(j.ID); return v.Settled })
	if v.Failure != "" || v.Tasks[0].Provider != providers[1].Self() || len(v.Leases) != 2 {
		t.Fatalf("job failed with %q, %d leases, the last with %v", v.Failure, len(v.Leases), v.Tasks[0].Provider.Short())
	}
	for _, v := range v.Leases {
		l := v.Lease
		if l.Provider == providers[0].Self() && (l.Refund != l.Escrow || l.Reason != market.EndProviderFault) {
			t.Errorf("the lease with the first provider ended for %v and cost %v", l.Reason, l.Escrow-l.Refund)
		}
	}
}

// [NOD-5] A node keeps at most 8 transcripts of its proofs, the latest ones.
func TestTranscriptsKept(t *testing.T) {
	g := testGenesis(1)
	p, err := newProver(&g.Proofs)
	if err != nil {
		t.Fatal(err)
	}
	p.params.MaxRounds = 1
	var last machine.Proved
	for slot := range ledger.Slot(12) {
		fx := machine.Prove{Storm: slot, Seed: p2p.Sum("seed"), Deadline: time.Now().Add(time.Minute)}
		last = p.prove(t.Context(), fx).(machine.Proved)
	}
	if len(p.kept) != 8 || last.Rounds != 1 {
		t.Errorf("%d transcripts are kept, the last of %d rounds", len(p.kept), last.Rounds)
	}
	if ev := p.open(machine.Open{Storm: 3}); ev != nil {
		t.Errorf("the fourth of twelve storms can be opened: %T", ev)
	}
	if _, ok := p.open(machine.Open{Storm: 4}).(machine.Opened); !ok {
		t.Error("the fifth of twelve storms cannot be opened")
	}
	if ev := p.open(machine.Open{Storm: 4}); ev != nil {
		t.Error("a storm can be opened twice")
	}
	late := machine.Prove{Storm: 99, Deadline: time.Now().Add(-time.Second)}
	if ev := p.prove(t.Context(), late); ev != nil {
		t.Errorf("a storm that is over is proved: %T", ev)
	}
}

// A pipeStream is one end of a pipe between two peers.
type pipeStream struct{ net.Conn }

func (p pipeStream) CloseWrite() error { return p.Close() }
func (p pipeStream) Reset() error      { return p.Close() }

// [NOD-6] A peer that asks for a file and then neither asks nor reads is let go after
// 30 s.
func TestServeBlobTimeout(t *testing.T) {
	n, _ := newNode(t, transport.NewHub(), Config{})
	big, err := n.Blobs().PutBytes(make([]byte, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	for name, ask := range map[string]bool{"asks nothing": false, "reads nothing": true} {
		synctest.Test(t, func(t *testing.T) {
			here, there := net.Pipe()
			start, done := time.Now(), make(chan struct{})
			go func() {
				n.serveBlob(testIdentity(9).PeerID(), pipeStream{here})
				close(done)
			}()
			if ask {
				if _, err := there.Write(append(big[:], make([]byte, 8)...)); err != nil {
					t.Fatal(err)
				}
			}
			<-done
			if took := time.Since(start); took != streamTimeout {
				t.Errorf("a peer that %s is let go after %v", name, took)
			}
		})
	}
}

// [NOD-7] What a job needs comes within 10 minutes or not at all, and a job that is
// stopped stops waiting for it: a peer that sends a byte now and then holds nobody.
func TestFetchEnds(t *testing.T) {
	for _, c := range []struct {
		name  string
		stop  time.Duration // after which the job is stopped; 0: never
		want  time.Duration
		cause error
	}{
		{"for ever", 0, loadTimeout, context.DeadlineExceeded},
		{"until it is stopped", 75 * time.Second, 75 * time.Second, context.Canceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, s := newNode(t, transport.NewHub(), Config{})
			defer n.Close()
			synctest.Test(t, func(t *testing.T) {
				var peer sync.WaitGroup
				defer peer.Wait()
				s.open = func(p2p.PeerID) (transport.Stream, error) {
					here, there := net.Pipe()
					peer.Go(func() { drip(there) })
					return pipeStream{here}, nil
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if c.stop > 0 {
					time.AfterFunc(c.stop, cancel)
				}
				start := time.Now()
				terms := market.Terms{Module: p2p.Sum("m"), Tasks: 1}
				_, _, err := n.load(ctx, testIdentity(9).PeerID(), &terms)
				if took := time.Since(start); took != c.want || !errors.Is(err, c.cause) {
					t.Errorf("it takes %v and ends with %v, want %v and %v", took, err, c.want, c.cause)
				}
			})
		})
	}
}

// drip takes a question for a file and sends a byte of it every 20 s.
func drip(w net.Conn) {
	defer w.Close()
	if _, err := io.ReadFull(w, make([]byte, 40)); err != nil {
		return
	}
	answer := append([]byte{1, 0, 0, 0, 0, 0, 1, 0, 0}, make([]byte, 1<<16)...) // 64 KiB follow
	for _, b := range answer {
		if _, err := w.Write([]byte{b}); err != nil {
			return
		}
		time.Sleep(20 * time.Second) // in virtual time
	}
}

// [NOD-8] A transport that takes no message is no fault: it is counted, and the
// machine repeats what matters.
func TestUnsent(t *testing.T) {
	hub := transport.NewHub()
	n, _ := newNode(t, hub, Config{})
	lost := machine.Send{To: testIdentity(7).PeerID(), Protocol: "x", Data: []byte{1}}
	if err := n.carryOut(t.Context(), lost); err != nil {
		t.Error(err)
	}
	if got := n.Counts().Unsent; got != 1 {
		t.Errorf("%d messages are counted as not sent, want 1", got)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

// [NOD-9] A job that is killed ends as one that was stopped, whatever its process
// left.
func TestStoppedJob(t *testing.T) {
	n, _ := newNode(t, transport.NewHub(), Config{})
	done := n.ended(ledger.OpID{1}, exec.Result{Exit: 3, Source: exec.SourceJob}, context.Canceled)
	if done.Exit != exec.ExitTime || done.Source != market.ExitTime || done.Text == "" {
		t.Errorf("a killed job ends with %+v", done)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}
