package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/node/exec"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/transport"
	"github.com/pinfi/pinfi/proofs"
)

// TestMain lets the test binary be the child process that runs a job.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "exec-wasm" {
		os.Exit(exec.ChildMain(context.Background(), os.Stdin, os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m)
}

// testIdentity returns the n-th identity of the test network.
func testIdentity(n byte) *p2p.Identity { return p2p.IdentityFromSeed([32]byte{31: n}) }

// testGenesis returns a network of witnesses 1 to n, and account 100 with money.
func testGenesis(witnesses int) *machine.Genesis {
	g := &machine.Genesis{
		Ledger: ledger.Genesis{
			Name: "test", Start: time.Now().UnixMilli(), SlotMillis: 250, EpochMillis: 3000, MinFee: 1000,
			Alloc: []ledger.Alloc{{Account: testIdentity(100).PeerID(), Amount: 1000 * ledger.Token}},
		},
		Market: market.Params{
			Quarters: 3, BetaBps: 2000, SigmaBps: 9000, FloorPPM: 50_000, Window: 600,
			Classes: []market.ClassParams{
				{Name: "cpu.small", P0: 2 * ledger.Token, Demand: 4000, Capacity: 16_000, Probation: 4000},
			},
		},
		Proofs: proofs.Params{
			M: 64, N: 64, K: 256, MaxRounds: 64, Samples: 8, Window: 1, Delta: 3, Sample: 1, StormPer: 2,
			Admission: 3, Reference: 1,
		},
	}
	for i := range witnesses {
		id := testIdentity(byte(i + 1))
		g.Ledger.Witnesses = append(g.Ledger.Witnesses, ledger.Witness{
			Account: id.PeerID(), Stake: 1000 * ledger.Token, VRF: id.VRFKey(),
		})
	}
	return g
}

// startNode runs a node over the hub until the test ends.
func startNode(t *testing.T, hub *transport.Hub, cfg Config) (*Node, func()) {
	t.Helper()
	cfg.Join = func(h transport.Handler) (Network, error) { return hub.Join(cfg.Identity.PeerID(), h) }
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("node stopped: %v", err)
		}
	}
	t.Cleanup(stop)
	return n, stop
}

// waitFor asks the machine until cond holds.
func waitFor(t *testing.T, n *Node, what string, cond func(*machine.Machine) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok := false
		if err := n.Ask(ctx, func(m *machine.Machine) { ok = cond(m) }); err != nil {
			t.Fatalf("wait for %s: %v", what, err)
		}
		if ok {
			return
		}
		<-tick.C
	}
}

// TestJobFromBidToRefund runs a job in tasks over four providers, checks one task on
// a second provider, and balances every book.
func TestJobFromBidToRefund(t *testing.T) {
	hub, g := transport.NewHub(), testGenesis(4)
	all := make([]*Node, 0, 5)
	for i := range 4 {
		n, _ := startNode(t, hub, Config{
			Genesis: g, Identity: testIdentity(byte(i + 1)), Dir: t.TempDir(),
			Sell: &machine.Sell{Class: "cpu.small", Region: Region, Units: 2000},
		})
		all = append(all, n)
	}
	client, _ := startNode(t, hub, Config{
		Genesis: g, Identity: testIdentity(100), Dir: t.TempDir(),
		OnNote: func(n machine.Note) {
			if n.Fact != machine.FactApplied {
				t.Logf("%v %+v", n.Fact, n)
			}
		},
	})
	all = append(all, client)
	module, _, err := client.Blobs().PutFile(t.Context(), filepath.Join("exec", "testdata", "cat.wasm"), ModuleMax)
	if err != nil {
		t.Fatal(err)
	}
	input, err := client.Blobs().PutBytes([]byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	job := machine.Job{
		ID: p2p.SumContent([]byte("job")), Class: "cpu.small", Region: Region, Units: 1000, Seconds: 60,
		Max: 10 * ledger.Token, Module: module, Input: input, InputName: "in.txt", Tasks: 6, Check: 1, MemoryPages: 64,
	}
	if err := client.Submit(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	var view machine.JobView
	waitFor(t, client, "the job", func(m *machine.Machine) bool {
		view, _ = m.Job(job.ID)
		return view.Done && view.Settled
	})
	if view.Failure != "" {
		t.Fatalf("job failed: %s", view.Failure)
	}
	served := map[p2p.PeerID]bool{}
	for _, task := range view.Tasks {
		served[task.Provider] = true
	}
	if len(served) != 4 {
		t.Errorf("%d providers served, want 4", len(served))
	}
	for i, n := range all {
		waitFor(t, n, fmt.Sprintf("node %d to balance", i), func(m *machine.Machine) bool {
			s := m.Replica().State()
			return s.Conserved() && s.Supply().Escrowed == 0 && s.Supply().Pots > 0
		})
	}
}

// lost is a network that could not be opened.
type lost struct{ Network }

// A transport that cannot be opened is the error of New, also when it comes as a
// nil pointer in an interface, and the folder is free again.
func TestJoinFails(t *testing.T) {
	dir, broken := t.TempDir(), errors.New("no network here")
	cfg := Config{
		Genesis: testGenesis(1), Identity: testIdentity(1), Dir: dir,
		Join: func(transport.Handler) (Network, error) { return (*lost)(nil), broken },
	}
	for range 2 {
		if _, err := New(cfg); !errors.Is(err, broken) {
			t.Fatalf("New: %v, want %v", err, broken)
		}
	}
}

// A node that is told to stop takes no more events: the job that it kills then has
// not ended, and a later life runs it again.
func TestStopTakesNoEvents(t *testing.T) {
	hub := transport.NewHub()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 12 {
		id := testIdentity(1)
		n, err := New(Config{
			Genesis: testGenesis(1), Identity: id, Dir: t.TempDir(),
			Join: func(h transport.Handler) (Network, error) { return hub.Join(id.PeerID(), h) },
		})
		if err != nil {
			t.Fatal(err)
		}
		n.tell(machine.JobDone{Lease: ledger.OpID{1}, Exit: exec.ExitTime})
		if err := n.Run(ctx); err != nil {
			t.Fatalf("Run: %v", err)
		}
		if took := n.Counts().Steps; took != 0 {
			t.Fatalf("a stopped node took %d events, want none", took)
		}
	}
}
