package api_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/node"
	"github.com/pinfi/pinfi/node/api"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/transport"
)

// put stores a module of the job runtime's tests.
func (r *rig) put(module string) p2p.Digest {
	r.t.Helper()
	f, err := os.Open(filepath.Join("..", "exec", "testdata", module+".wasm"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	b, err := r.PutBlob(r.t.Context(), f)
	if err != nil {
		r.t.Fatal(err)
	}
	return b.Digest
}

// newMarket runs n providers and a client over one hub.
func newMarket(t *testing.T, n int) (client *rig, providers []*rig) {
	t.Helper()
	net, g := transport.NewHub(), newGenesis(n)
	for i := range n {
		providers = append(providers, join(t, net, node.Config{
			Genesis: g, Identity: identity(byte(i + 1)), Dir: t.TempDir(),
			Sell: &machine.Sell{Class: "cpu.small", Region: node.Region, Units: 2000, Reserve: 7},
		}))
	}
	return join(t, net, node.Config{Genesis: g, Identity: identity(100), Dir: t.TempDir()}), providers
}

// [API-18] A job is ordered, watched, and its output fetched over the API alone, and
// what the API shows of its leases is enough to compute every charge again and to
// balance what was set aside to the atom.
func TestJob(t *testing.T) {
	c, providers := newMarket(t, 3)
	module := c.put("cat")
	input, err := c.PutBlob(t.Context(), strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	ticket, err := c.SubmitJob(t.Context(), api.Order{
		Units: 1000, Seconds: 60, Max: 10 * ledger.Token, Module: module, Input: input.Digest, InputName: "in.txt",
		Tasks: 3, Check: 1, Pages: 64,
	})
	if err != nil || ticket.Known || ticket.ID.IsZero() {
		t.Fatalf("%+v, %v", ticket, err)
	}
	facts := map[string]int{}
	done, err := c.WaitJob(t.Context(), ticket.ID, func(e api.Event) { facts[e.Fact]++ })
	if err != nil || done.State != api.JobDone {
		t.Fatalf("%+v, %v", done, err)
	}
	if facts["hired"] < 4 || facts["finished"] != 4 || facts["matched"] != 1 || facts["job done"] != 1 {
		t.Errorf("facts %v, want 4 hired, 4 finished, 1 matched, 1 job done", facts)
	}
	j, err := c.WaitSettled(t.Context(), ticket.ID, nil)
	if err != nil || !j.Settled || j.Ended != 4 || j.Tasks != 4 || j.Order.Class != "cpu.small" ||
		j.Order.Region != node.Region {
		t.Fatalf("%+v, %v", j, err)
	}
	wantRuns(t, c, &j)
	wantLeases(t, &j)
	all, err := c.Jobs(t.Context())
	if err != nil || len(all) != 1 || all[0] != j.Summary {
		t.Errorf("jobs %+v, %v, want %+v", all, err, j.Summary)
	}
	wantBooks(t, c, providers, &j)
}

// wantRuns checks the runs of the cat job and what they wrote.
func wantRuns(t *testing.T, c *rig, j *api.Job) {
	t.Helper()
	for i, run := range j.Runs {
		if int(run.Index) != i || !run.Done || run.Source != "job" || run.Exit != 0 || run.Check != (i == 3) {
			t.Errorf("run %d: %+v", i, run)
		}
		dir := t.TempDir()
		out, err := c.SaveOutput(t.Context(), run.Output, dir)
		if err != nil || len(out.Files) == 0 {
			t.Errorf("output of run %d: %+v, %v", i, out, err)
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, out.Files[0].Path))
		if err != nil || !strings.Contains(string(b), "hello") {
			t.Errorf("output of run %d: %q, %v", i, b, err)
		}
		if _, err := c.GetBlob(t.Context(), io.Discard, run.Log); err != nil {
			t.Errorf("log of run %d: %v", i, err)
		}
	}
	if j.Runs[3].Provider == j.Runs[j.Runs[3].Task].Provider {
		t.Error("a task was checked by the provider that ran it")
	}
}

// wantLeases checks the arithmetic of the leases.
func wantLeases(t *testing.T, j *api.Job) {
	t.Helper()
	var escrow, paid, burned, refund ledger.Amount
	for _, l := range j.Leases {
		again, err := l.Recomputed()
		if err != nil || again != l.Charge {
			t.Errorf("lease %s: charged %v, computed again %v, %v", l.ID.Short(), l.Charge, again, err)
		}
		if l.State != "closed" || l.Reason == "" || l.Paid.Total != l.Paid.Burn+l.Paid.Serve+l.Paid.Stakers ||
			l.Escrow != l.Paid.Total+l.Refund {
			t.Errorf("lease %+v", l)
		}
		if l.Curve == nil || l.Charge == 0 || l.Curve.Reserve != 7 || l.D1 != l.D0+1000 || l.Paid.Total == 0 {
			t.Errorf("lease %+v with curve %+v", l, l.Curve)
		}
		escrow, paid, burned, refund = escrow+l.Escrow, paid+l.Paid.Total, burned+l.Paid.Burn, refund+l.Refund
	}
	if len(j.Leases) < 4 || escrow != j.Escrow || paid != j.Paid || burned != j.Burned || refund != j.Refund ||
		escrow != paid+refund {
		t.Errorf("%d leases add up to %v %v %v %v, the job says %+v", len(j.Leases), escrow, paid, burned, refund, j.Summary)
	}
}

// wantBooks checks status, ledger and devices of all nodes once their ledgers agree.
func wantBooks(t *testing.T, c *rig, providers []*rig, j *api.Job) {
	t.Helper()
	self := identity(100).PeerID()
	until(t, "equal roots", func() bool {
		roots := map[p2p.Digest]bool{}
		for _, r := range append(slices.Clone(providers), c) {
			l, err := r.Ledger(t.Context(), p2p.PeerID{})
			if err != nil || !l.SupplyOK || l.Account != nil {
				t.Fatalf("%+v, %v", l, err)
			}
			roots[l.Root] = true
		}
		return len(roots) == 1
	})
	l, err := c.Ledger(t.Context(), self)
	if err != nil || l.Account == nil || l.Account.ID != self || l.Account.Balance+j.Paid > 1000*ledger.Token {
		t.Fatalf("%+v, %v", l, err)
	}
	if s := l.Supply; s.Total != 4000*ledger.Token || s.Escrowed != 0 || s.Burned < j.Burned ||
		s.Bonded != 3000*ledger.Token {
		t.Errorf("supply %+v", s)
	}
	until(t, "all offers", func() bool { // one that came before its device was certified here comes again
		st, err := c.Status(t.Context())
		return err != nil || st.Offers == len(providers)
	})
	st, err := c.Status(t.Context())
	if err != nil || st.Role != api.RoleLight || st.Self != self || st.Reached != 3 ||
		st.Balance != l.Account.Balance || st.Offers != 3 || st.Jobs != 1 || st.Version != "test" ||
		len(st.Devices) != 0 || st.Counts.Steps == 0 || st.Slot == 0 {
		t.Errorf("client %+v, %v", st, err)
	}
	if n := st.Network; n.Name != "test" || n.Digest.IsZero() || n.BetaBps != 2000 || n.SigmaBps != 9000 ||
		!slices.Equal(n.Classes, []ledger.Class{"cpu.small"}) {
		t.Errorf("network %+v", n)
	}
	if st, err = providers[0].Status(t.Context()); err != nil || st.Role != api.RoleFull || len(st.Devices) != 1 ||
		st.Devices[0].Declared != 2000 || st.Bond != 1000*ledger.Token {
		t.Errorf("provider %+v, %v", st, err)
	}
	devices, err := c.Devices(t.Context())
	if err != nil || len(devices) != 3 {
		t.Fatalf("%+v, %v", devices, err)
	}
	for _, d := range devices {
		// The price at D = 4000 of R = 16000: 2 tokens times (1/4)^(3/4), rounded up.
		if d.Class != "cpu.small" || d.Declared != 2000 || d.Reserve != 7 || d.Position != 4000 || d.Price != "707106782" {
			t.Errorf("device %+v", d)
		}
	}
}

// [API-19] The id of an order is its idempotency key: the same order again is the
// same job, another order with the id is refused. When an order is answered the
// job is on disk.
func TestOrderOnce(t *testing.T) {
	net, g, dir := transport.NewHub(), newGenesis(1), t.TempDir()
	r := join(t, net, node.Config{Genesis: g, Identity: identity(100), Dir: dir})
	o := api.Order{
		ID: p2p.Digest{1}, Units: 1000, Seconds: 60, Max: ledger.Token, Module: r.put("hello"), Tasks: 2,
	}
	for _, known := range []bool{false, true, true} {
		if got, err := r.SubmitJob(t.Context(), o); err != nil || got.ID != o.ID || got.Known != known {
			t.Errorf("%+v, %v, want known %v", got, err, known)
		}
	}
	next := o
	next.ID = p2p.Digest{2}
	slow := serve(t, api.Config{Node: &sluggish{Node: r.node}, Files: r.cfg.Files, Region: node.Region})
	if _, err := slow.SubmitJob(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if _, err := slow.Job(t.Context(), next.ID); err != nil {
		t.Errorf("right after the answer: %v", err)
	}
	next.ID = p2p.Digest{4}
	full := serve(t, api.Config{
		Node: &sluggish{r.node, true}, Files: r.cfg.Files, Limits: api.Limits{Answer: 100 * time.Millisecond},
	})
	_, err := full.SubmitJob(t.Context(), next)
	wantProblem(t, err, api.CodeNotTaken, "too many jobs")
	other := o
	other.Max++
	_, err = r.SubmitJob(t.Context(), other)
	wantProblem(t, err, api.CodeIDTaken, "another id")
	_, err = r.Job(t.Context(), p2p.Digest{3})
	wantProblem(t, err, api.CodeUnknownJob, "GET /v1/jobs")
	before, err := r.Job(t.Context(), o.ID)
	if err != nil || before.State != api.JobRunning || before.Order.Pages != 1024 || before.Order.Class != "cpu.small" {
		t.Fatalf("%+v, %v", before, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if last, err := r.WaitJob(ctx, o.ID, nil); !errors.Is(err, context.DeadlineExceeded) || last.ID != o.ID {
		t.Errorf("waited for nobody: %+v, %v", last, err)
	}
	r.stop()
	r = join(t, net, node.Config{Genesis: g, Identity: identity(100), Dir: dir})
	if after, err := r.Job(t.Context(), o.ID); err != nil || after.Order != before.Order {
		t.Errorf("after a restart: %+v, %v", after, err)
	}
}

// A sluggish node takes jobs late, or never.
type sluggish struct {
	*node.Node
	never bool
}

func (s *sluggish) Submit(_ context.Context, j machine.Job) error {
	if !s.never {
		time.AfterFunc(50*time.Millisecond, func() { _ = s.Node.Submit(context.Background(), j) })
	}
	return nil
}

// [API-20] An order that the node cannot meet is refused before anything is spent:
// files that are not there, a class that is not traded, figures out of bounds.
func TestOrderRefused(t *testing.T) {
	r := join(t, transport.NewHub(), node.Config{Genesis: newGenesis(1), Identity: identity(100), Dir: t.TempDir()})
	good := api.Order{Units: 1000, Seconds: 1, Max: 1, Module: r.put("hello")}
	for name, c := range map[string]struct {
		change func(*api.Order)
		code   api.Code
		words  string
	}{
		"module":  {func(o *api.Order) { o.Module = p2p.Digest{1} }, api.CodeUnknownBlob, "PUT /v1/blobs"},
		"input":   {func(o *api.Order) { o.Input, o.InputName = p2p.Digest{1}, "a" }, api.CodeUnknownBlob, "input"},
		"class":   {func(o *api.Order) { o.Class = "gpu.huge" }, api.CodeBadJob, "cpu.small"},
		"seconds": {func(o *api.Order) { o.Seconds = 1 << 30 }, api.CodeBadJob, "seconds"},
		"tasks":   {func(o *api.Order) { o.Tasks = 1 << 20 }, api.CodeBadJob, "tasks"},
		"check":   {func(o *api.Order) { o.Check = 2 }, api.CodeBadJob, "check"},
		"memory":  {func(o *api.Order) { o.Pages = 1 << 17 }, api.CodeBadJob, "memory"},
	} {
		o := good
		c.change(&o)
		_, err := r.SubmitJob(t.Context(), o)
		if wantProblem(t, err, c.code, c.words); t.Failed() {
			t.Fatal(name)
		}
	}
	if all, err := r.Jobs(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("jobs after refusals: %+v, %v", all, err)
	}
}

// [API-21] Amounts travel as decimal strings of atoms, and a list without members
// as an empty list.
func TestForms(t *testing.T) {
	r := join(t, transport.NewHub(), node.Config{Genesis: newGenesis(1), Identity: identity(100), Dir: t.TempDir()})
	for path, want := range map[string][]string{
		"/v1/status":  {`"balance":"1000000000000"`, `"peers":[]`, `"listen":[]`, `"devices":[]`, `"total":"2000000000000"`},
		"/v1/ledger":  {`"supply_ok":true`, `"burned":"0"`},
		"/v1/jobs":    {`{"jobs":[]}`},
		"/v1/devices": {`{"devices":[]}`},
	} {
		res, body := r.raw("GET", path, "", nil)
		for _, w := range want {
			if !strings.Contains(body, w) || strings.Contains(body, "$schema") || res.Header.Get("Link") != "" {
				t.Errorf("%s: %s, want %s and no $schema", path, body, w)
			}
		}
	}
}

// [API-22] A request that the node does not answer within Limits.Answer is a 503
// that says so. POST /v1/stop asks the node's process to end.
func TestUnavailable(t *testing.T) {
	r := serve(t, api.Config{Limits: api.Limits{Answer: 50 * time.Millisecond}})
	_, err := r.Status(t.Context())
	wantProblem(t, err, api.CodeUnavailable, "does not answer")
	n := join(t, transport.NewHub(), node.Config{Genesis: newGenesis(1), Identity: identity(100), Dir: t.TempDir()})
	if err := n.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-n.ended
}
