package api_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/node"
	"github.com/pinfi/pinfi/node/api"
	"github.com/pinfi/pinfi/node/blob"
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

// token is that of all servers of the tests.
const token = api.Token("00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff")

// shortDir returns a folder of mode 0700 with a path that leaves room for the name
// of a socket.
func shortDir(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "s")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A deaf node never answers.
type deaf struct{ genesis *machine.Genesis }

func (d deaf) Self() p2p.PeerID          { return identity(100).PeerID() }
func (d deaf) Genesis() *machine.Genesis { return d.genesis }

func (d deaf) Ask(ctx context.Context, _ func(*machine.Machine)) error {
	<-ctx.Done()
	return ctx.Err()
}

func (d deaf) Submit(ctx context.Context, _ machine.Job) error { return d.Ask(ctx, nil) }

func (d deaf) Pay(ctx context.Context, _ machine.Pay) error { return d.Ask(ctx, nil) }

// A rig is a running server and a client of it.
type rig struct {
	*api.Client
	t      *testing.T
	cfg    api.Config
	server *api.Server
	stop   func()        // waits until the server has ended; may be called twice
	node   *node.Node    // nil: there is none
	ended  chan struct{} // closed when the node, if there is one, has ended
}

// serve runs a server until the test ends. What cfg leaves out is filled in.
func serve(t *testing.T, cfg api.Config) *rig {
	t.Helper()
	if cfg.Socket == "" {
		cfg.Socket = filepath.Join(shortDir(t), "api.sock")
	}
	cfg.Token = token
	if cfg.Node == nil {
		cfg.Node = deaf{newGenesis(1)}
	}
	if cfg.Files == nil {
		cfg.Files = newStore(t)
	}
	if cfg.Manifest == nil {
		cfg.Manifest = func(ctx context.Context, d p2p.Digest) ([]api.File, error) {
			return manifest(ctx, cfg.Files.(*blob.Store), d)
		}
	}
	if cfg.Hub == nil {
		cfg.Hub = api.NewHub()
	}
	if cfg.Stop == nil {
		cfg.Stop = func() {}
	}
	s, err := api.Listen(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	c, err := api.Dial(cfg.Socket, token)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Run(ctx); err != nil {
			t.Errorf("server: %v", err)
		}
	}()
	r := &rig{Client: c, t: t, cfg: cfg, server: s, stop: func() { cancel(); <-done; c.Close() }}
	t.Cleanup(r.stop)
	return r
}

func newStore(t testing.TB) *blob.Store {
	t.Helper()
	s, err := blob.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func manifest(ctx context.Context, s *blob.Store, d p2p.Digest) ([]api.File, error) {
	m, err := blob.ReadManifest(ctx, s, d)
	if err != nil {
		return nil, err
	}
	files := make([]api.File, len(m.Files))
	for i, f := range m.Files {
		files[i] = api.File(f)
	}
	return files, nil
}

// raw sends a request as anybody could, with the token unless header has another
// Authorization, and returns the answer with its body.
func (r *rig) raw(method, path, body string, header map[string]string) (*http.Response, string) {
	r.t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", r.cfg.Socket)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(r.t.Context(), method, "http://localhost"+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+string(token))
	for k, v := range header {
		if k == "Host" {
			req.Host = v
			continue
		}
		req.Header.Set(k, v)
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	return res, string(b)
}

// wantProblem checks that an error is a Problem with a code and words.
func wantProblem(t *testing.T, err error, code api.Code, words ...string) {
	t.Helper()
	p, ok := errors.AsType[*api.ProblemError](err)
	if !ok || p.Code != code {
		t.Errorf("got error %v, want a problem with code %s", err, code)
		return
	}
	for _, w := range words {
		if !strings.Contains(p.Error(), w) {
			t.Errorf("problem %q does not say %q", p, w)
		}
	}
}

func identity(n byte) *p2p.Identity { return p2p.IdentityFromSeed([32]byte{31: n}) }

// newGenesis returns a network of witnesses 1 to n, and account 100 with money.
func newGenesis(witnesses int) *machine.Genesis {
	g := &machine.Genesis{
		Ledger: ledger.Genesis{
			Name: "test", Start: time.Now().UnixMilli(), SlotMillis: 250, EpochMillis: 3000, MinFee: 1000,
			Alloc: []ledger.Alloc{{Account: identity(100).PeerID(), Amount: 1000 * ledger.Token}},
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
		id := identity(byte(i + 1))
		g.Ledger.Witnesses = append(g.Ledger.Witnesses, ledger.Witness{
			Account: id.PeerID(), Stake: 1000 * ledger.Token, VRF: id.VRFKey(),
		})
	}
	return g
}

// join runs a node over the hub, with an API, until the test ends.
func join(t *testing.T, net *transport.Hub, cfg node.Config) *rig {
	t.Helper()
	notes := api.NewHub()
	cfg.OnNote = notes.Add
	cfg.Join = func(h transport.Handler) (node.Network, error) { return net.Join(cfg.Identity.PeerID(), h) }
	n, err := node.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := n.Run(ctx); err != nil {
			t.Errorf("node: %v", err)
		}
	}()
	end := func() { cancel(); <-done }
	t.Cleanup(end)
	r := serve(t, api.Config{
		Node: n, Files: n.Blobs(), Hub: notes, Stop: cancel, Sell: cfg.Sell, Region: node.Region, Version: "test",
		Counts: func() api.Counts { return api.Counts(n.Counts()) },
	})
	stop := r.stop
	r.node, r.ended = n, done
	r.stop = func() { stop(); end() }
	return r
}

// until calls done now and then until it says true.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for begin := time.Now(); !done(); <-tick.C {
		if time.Since(begin) > 30*time.Second {
			t.Fatalf("waited 30 s for %s", what)
		}
	}
}
