package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/node/api"
	"github.com/pinfi/pinfi/node/exec/jobs"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/transport"
)

// The demo's network.
const (
	demoProviders = 4
	demoTimeout   = 4 * time.Minute
	demoTasks     = 8
)

// demoRules make a storm a second, so that nobody waits for three of them.
func demoRules() localRules {
	return localRules{name: "demo", slot: 500 * time.Millisecond, epoch: 3 * time.Second, stormPer: 2}
}

// A demo is a whole network on this machine, one job on it, and its books.
type demo struct {
	env       environment
	job       jobOptions
	inProcess bool
	json      bool
	keep      bool

	began   time.Time
	folder  string
	render  bool // the default job: its tiles become a picture
	members []*member
	client  *member
	result  demoResult
}

// demoResult is what the demo found out, as --json prints it.
type demoResult struct {
	OK            bool          `json:"ok"`
	Nodes         int           `json:"nodes"`
	Jobs          int           `json:"jobs"`
	Tasks         int           `json:"tasks"`
	Checked       int           `json:"tasks_checked"`
	ProvidersUsed int           `json:"providers_used"`
	Leases        []api.Lease   `json:"leases"`
	Paid          ledger.Amount `json:"paid"`
	Burned        ledger.Amount `json:"burned"`
	Served        ledger.Amount `json:"served"`
	Stakers       ledger.Amount `json:"stakers"`
	Refunded      ledger.Amount `json:"refunded"`
	SupplyOK      bool          `json:"supply_ok"`
	RootsEqual    bool          `json:"roots_equal"`
	Root          p2p.Digest    `json:"root"`
	Operations    uint64        `json:"operations"`
	ProofsPassed  uint32        `json:"proofs_passed"`
	Exit          int           `json:"exit"`
	ExitSource    string        `json:"exit_source"`
	Seconds       float64       `json:"seconds"`
	Output        string        `json:"output"`
	Folder        string        `json:"folder"`
	Error         string        `json:"error,omitempty"`
}

func demoCommand(env environment) *cobra.Command {
	d := &demo{env: env}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a whole network on this machine: a job, its proofs, its payment, its books",
		Long: "demo starts four providers and a client, each a process of its own, waits until every provider has\n" +
			"proven its capacity, runs a job over them, pays for it, and compares the books of all five.\n" +
			"Without --wasm the job draws a picture.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return d.run(cmd.Context()) },
	}
	d.job.bind(cmd)
	cmd.Flags().BoolVar(&d.inProcess, "in-process", false, "run all nodes in this process, over memory instead of libp2p")
	cmd.Flags().BoolVar(&d.json, "json", false, "print one JSON object on standard output")
	cmd.Flags().BoolVar(&d.keep, "keep", false, "leave the nodes' folders")
	return cmd
}

// run carries the demo out and says how it ended, whatever happens.
func (d *demo) run(ctx context.Context) error {
	d.began = time.Now()
	err := d.carryOut(ctx)
	d.result.Seconds = time.Since(d.began).Seconds()
	d.result.OK = err == nil
	if err != nil {
		d.result.Error = err.Error()
		if d.result.ExitSource == "" {
			d.result.Exit, d.result.ExitSource = codeOf(err), "pinfi"
		}
	}
	if d.json {
		return errors.Join(err, json.NewEncoder(d.env.stdout).Encode(d.result))
	}
	if err == nil {
		d.receipt()
	}
	return err
}

// carryOut makes the demo's folder, plays, and takes everything down. The folders
// of the nodes stay when they are to be kept, and when a network that was up has
// failed: their words tell why.
func (d *demo) carryOut(ctx context.Context) error {
	playing, cancel := context.WithTimeout(ctx, demoTimeout)
	defer cancel()
	module, input, err := d.prepare()
	if err == nil {
		err = d.play(playing, module, input)
		err = errors.Join(err, d.stop())
		if input != nil {
			err = errors.Join(err, input.Close())
		}
	}
	if d.keep || err != nil && len(d.members) > 0 && ctx.Err() == nil {
		return err
	}
	return errors.Join(err, d.tidy(err == nil))
}

// tidy removes the demo's folder, all but the output when there is one to look at.
func (d *demo) tidy(output bool) error {
	if d.folder == "" || !output || filepath.Dir(d.job.out) != d.folder {
		return os.RemoveAll(d.folder)
	}
	entries, err := os.ReadDir(d.folder)
	errs := []error{err}
	for _, e := range entries {
		if path := filepath.Join(d.folder, e.Name()); path != d.job.out {
			errs = append(errs, os.RemoveAll(path))
		}
	}
	return errors.Join(errs...)
}

// prepare makes the folder and reads the job's files, the default ones when the
// user named none.
func (d *demo) prepare() (module []byte, input *os.File, err error) {
	d.folder, err = os.MkdirTemp("", "pinfi-demo-")
	if err != nil {
		return nil, nil, err
	}
	d.result.Folder = d.folder
	if d.render = d.job.wasm == ""; d.render {
		if d.job.in == "" {
			d.job.in = filepath.Join(d.folder, "scene.txt")
			if err := os.WriteFile(d.job.in, jobs.Scene, 0o600); err != nil {
				return nil, nil, err
			}
		}
		d.job.wasm = filepath.Join(d.folder, "render.wasm")
		if err := os.WriteFile(d.job.wasm, jobs.Render, 0o600); err != nil {
			return nil, nil, err
		}
		if d.job.tasks == 1 {
			d.job.tasks = demoTasks
		}
		d.job.check = max(d.job.check, 1)
	}
	if d.job.out == "" {
		d.job.out = filepath.Join(d.folder, "out")
	}
	return d.job.read()
}

// play is the demo from the first node to the balanced books.
func (d *demo) play(ctx context.Context, module []byte, input *os.File) error {
	if err := d.start(ctx); err != nil {
		return err
	}
	if err := d.awaitProofs(ctx); err != nil {
		return err
	}
	d.say("job         %d tasks, %d of them run twice on different providers", d.job.tasks, d.job.check)
	id, err := d.job.order(ctx, d.client.client, module, input)
	if err != nil {
		return err
	}
	follow, stop := context.WithCancel(ctx)
	defer stop()
	job, err := d.client.client.WaitJob(follow, id, d.tell)
	if err != nil {
		return fmt.Errorf("wait for the job: %w", err)
	}
	if err := d.deliver(ctx, &job); err != nil {
		return err
	}
	if err := d.balance(ctx, id); err != nil {
		return err
	}
	return jobError(&job)
}

// start makes the network's genesis and starts its nodes.
func (d *demo) start(ctx context.Context) error {
	l := &launcher{env: d.env, inProcess: d.inProcess, hub: transport.NewHub()}
	dirs, err := layNetwork(d.folder, demoRules(), demoProviders)
	if err != nil {
		return err
	}
	for i, dir := range dirs {
		sell := newSell()
		if i == demoProviders {
			sell = nil
		}
		m, err := l.start(ctx, filepath.Base(dir), dir, sell)
		if err != nil {
			return err
		}
		d.members = append(d.members, m)
	}
	d.client = d.members[demoProviders]
	d.result.Nodes = len(d.members)
	how := "processes over libp2p on loopback"
	if d.inProcess {
		how = "nodes in this process"
	}
	d.say("network     %d %s: %d providers, 1 client", len(d.members), how, demoProviders)
	return nil
}

// awaitProofs waits until every provider's device is admitted.
func (d *demo) awaitProofs(ctx context.Context) error {
	said := map[p2p.PeerID]uint32{}
	return d.poll(ctx, "the providers to prove their capacity", func() (bool, error) {
		all, err := d.client.client.Devices(ctx)
		if err != nil {
			return false, err
		}
		ready := 0
		for _, dev := range all {
			if dev.Passed > said[dev.Owner] {
				said[dev.Owner] = dev.Passed
				d.say("proof       %s passed storm %d: %d mCU proven", dev.Owner.Short(), dev.Passed, dev.Proven)
			}
			if dev.Passed >= admission {
				ready++
			}
		}
		return ready == demoProviders, nil
	})
}

// tell prints what happens to the job, line by line.
func (d *demo) tell(e api.Event) {
	switch e.Fact {
	case "hired":
		d.say("lease       task %d to %s, at most %s tokens", e.Task, e.Peer.Short(), tokens(e.Amount))
	case "started":
		d.say("started     task %d on %s", e.Task, e.Peer.Short())
	case "finished":
		d.say("finished    task %d by %s", e.Task, e.Peer.Short())
	case "abandoned":
		d.say("moved       task %d away from %s: %s", e.Task, e.Peer.Short(), e.Text)
	case "matched":
		d.say("checked     task %d again by %s: the same bytes", e.Task, e.Peer.Short())
	case "mismatch":
		d.say("MISMATCH    task %d again by %s: other bytes", e.Task, e.Peer.Short())
	case "closed":
		d.say("settled     task %d with %s: %s tokens", e.Task, e.Peer.Short(), tokens(e.Amount))
	}
}

// deliver writes what the tasks wrote, and of the default job a picture.
func (d *demo) deliver(ctx context.Context, job *api.Job) error {
	d.result.Jobs, d.result.Tasks, d.result.Checked = 1, int(job.Order.Tasks), int(job.Order.Check)
	d.result.Exit, d.result.ExitSource = outcome(job)
	used := map[p2p.PeerID]bool{}
	for _, run := range job.Runs {
		if run.Done {
			used[run.Provider] = true
		}
	}
	d.result.ProvidersUsed = len(used)
	if job.State == api.JobFailed {
		return nil // play says so once the books are compared
	}
	if err := collect(ctx, d.client.client, job, d.job.out); err != nil {
		return err
	}
	d.result.Output = d.job.out
	if !d.render || d.result.Exit != 0 {
		return nil
	}
	d.result.Output = filepath.Join(d.job.out, "render.png")
	return assemble(d.job.out, job.Order.Tasks, d.result.Output)
}

// balance waits until the job is settled and all ledgers agree, and adds the books
// up.
func (d *demo) balance(ctx context.Context, id p2p.Digest) error {
	err := d.poll(ctx, "the leases to close", func() (bool, error) {
		job, err := d.client.client.Job(ctx, id)
		if err != nil || !job.Settled {
			return false, err
		}
		r := &d.result
		r.Leases = job.Leases
		for _, l := range job.Leases {
			r.Paid += l.Paid.Total
			r.Burned += l.Paid.Burn
			r.Served += l.Paid.Serve
			r.Stakers += l.Paid.Stakers
			r.Refunded += l.Refund
			if again, err := l.Recomputed(); err != nil || again != l.Charge {
				return false, exit(exitPolicy, fmt.Errorf("lease %s: charged %v, the curve says %v (%w)",
					l.ID.Short(), l.Charge, again, err))
			}
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	return d.poll(ctx, "all ledgers to be equal", func() (bool, error) { return d.compare(ctx) })
}

// compare reports whether the nodes' ledgers are equal and conserve the supply.
func (d *demo) compare(ctx context.Context) (bool, error) {
	r := &d.result
	r.SupplyOK, r.RootsEqual = true, true
	for i, m := range d.members {
		l, err := m.client.Ledger(ctx, p2p.PeerID{})
		if err != nil {
			return false, fmt.Errorf("%s: %w", m.name, err)
		}
		if i == 0 {
			r.Root, r.Operations = l.Root, l.Applied
		}
		r.RootsEqual = r.RootsEqual && l.Root == r.Root
		r.SupplyOK = r.SupplyOK && l.SupplyOK
	}
	if !r.SupplyOK {
		return false, exit(exitBug, errors.New("the supply has changed"))
	}
	all, err := d.client.client.Devices(ctx)
	if err != nil {
		return false, err
	}
	r.ProofsPassed = 0
	for _, dev := range all {
		r.ProofsPassed += dev.Passed
	}
	return r.RootsEqual, nil
}

// poll calls done until it says true, fails, or the demo's time is over.
func (d *demo) poll(ctx context.Context, what string, done func() (bool, error)) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := done()
		if ok && err == nil {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return exit(exitLater, fmt.Errorf("wait for %s: %w (the nodes' words are in %s)", what, ctx.Err(), d.folder))
		case <-tick.C:
		}
	}
}

// stop takes the nodes down.
func (d *demo) stop() error {
	errs := make([]error, len(d.members))
	for _, m := range d.members {
		if m.stop != nil {
			m.stop()
		}
	}
	for i, m := range d.members {
		if errs[i] = m.end(); errs[i] != nil {
			errs[i] = fmt.Errorf("%s: %w", m.name, errs[i])
		}
	}
	return errors.Join(errs...)
}

// say prints a line of progress.
func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.env.stderr, "%6.1fs  %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}
