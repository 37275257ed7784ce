package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/node/api"
)

// A buyer runs one job for a user.
type buyer struct {
	env  environment
	host hostOptions
	job  jobOptions
	json bool
}

func runCommand(env environment) *cobra.Command {
	b := &buyer{env: env}
	cmd := &cobra.Command{
		Use:   "run --wasm FILE [--in FILE] --out DIR",
		Short: "Run a job on other people's machines and pay for it",
		Long: "run hands a WASM module and an input to providers, waits for the output, pays by the\n" +
			"second, and exits with the job's own code. It uses the node whose folder --data names: the\n" +
			"one that runs there, or a light node of its own for as long as the job takes.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return b.run(cmd.Context()) },
	}
	b.host.bind(cmd, env)
	b.job.bind(cmd)
	cmd.Flags().StringVar(&b.job.id, "id", "", "id of the job, 64 hexadecimal digits (default: a random one); "+
		"a job that the node has is not ordered again but waited for")
	cmd.Flags().BoolVar(&b.json, "json", false, "print one JSON object on standard output")
	return cmd
}

func (b *buyer) run(ctx context.Context) error {
	module, input, err := b.job.read()
	if err != nil {
		return err
	}
	if input != nil {
		defer input.Close() //nolint:errcheck // it was only read
	}
	if b.job.out == "" {
		return exit(exitUsage, errors.New("--out DIR is missing: where shall the output go?"))
	}
	c, done, err := b.connect(ctx)
	if err != nil {
		return err
	}
	return errors.Join(b.buy(ctx, c, module, input), done())
}

// connect returns a client of the node that runs in the folder, or of one that it
// starts there; done ends what it started.
func (b *buyer) connect(ctx context.Context) (c *api.Client, done func() error, err error) {
	if c, err := runningNode(ctx, b.host.dir); err == nil {
		return c, func() error { c.Close(); return nil }, nil
	}
	if _, err := os.Stat(filepath.Join(b.host.dir, genesisName)); err != nil && b.host.genesis == "" {
		return nil, nil, exit(exitNoInput, fmt.Errorf("no network: %s has no %s. Name a folder with --data or a genesis "+
			"with --genesis, or make a network on this machine: pinfi devnet up", b.host.dir, genesisName))
	}
	if b.host.listen == nil {
		b.host.listen = []string{} // whoever only buys need not listen
	}
	live, stop := context.WithCancel(context.WithoutCancel(ctx))
	h, err := openHost(live, b.host, logger(b.env, slog.LevelWarn, b.host.verbose), stop)
	if err != nil {
		stop()
		return nil, nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- h.run(live) }()
	if c, err = dialNode(b.host.dir); err != nil {
		stop()
		return nil, nil, errors.Join(err, <-ended)
	}
	return c, func() error { c.Close(); stop(); return <-ended }, nil
}

// runningNode returns a client of the node that runs in a folder.
func runningNode(ctx context.Context, dir string) (*api.Client, error) {
	c, err := dialNode(dir)
	if err != nil {
		return nil, err
	}
	if _, err := c.Status(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// settleTimeout is how long run waits for leases to close once the output is here.
// They close without it, too.
const settleTimeout = 15 * time.Second

func (b *buyer) buy(ctx context.Context, c *api.Client, module []byte, input *os.File) error {
	id, err := b.job.order(ctx, c, module, input)
	if err != nil {
		return err
	}
	fmt.Fprintf(b.env.stderr, "job %v\n", id)
	job, err := c.WaitJob(ctx, id, b.tell)
	if err != nil {
		code := exitUnavailable
		if ctx.Err() != nil {
			code, err = exitLater, context.Cause(ctx)
		}
		return exit(code, fmt.Errorf("wait for job: %w; it is not lost: repeat the command with --id %v", err, id))
	}
	// Of a job that has failed, too, what is paid for is worth having.
	if err := errors.Join(collect(ctx, c, &job, b.job.out), b.logs(ctx, c, &job)); err != nil {
		return err
	}
	if job, err = b.settled(ctx, c, job); err != nil {
		return err
	}
	return errors.Join(jobError(&job), b.print(&job))
}

// logs prints what the tasks wrote to their standard output and error, one task
// after the other. With --json they are words, and go where words go.
func (b *buyer) logs(ctx context.Context, c *api.Client, job *api.Job) error {
	out := b.env.stdout
	if b.json {
		out = b.env.stderr
	}
	for _, run := range job.Runs {
		if run.Check || run.Log.IsZero() {
			continue
		}
		if _, err := c.GetBlob(ctx, out, run.Log); err != nil {
			return fmt.Errorf("log of task %d: %w", run.Task, err)
		}
	}
	return nil
}

// settled waits until the job's leases are closed, or settleTimeout has passed.
func (b *buyer) settled(ctx context.Context, c *api.Client, job api.Job) (api.Job, error) {
	wait, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	after, err := c.WaitSettled(wait, job.ID, b.tell)
	if wait.Err() != nil && ctx.Err() == nil {
		return job, nil
	}
	return after, err
}

// tell prints what happens to the job.
func (b *buyer) tell(e api.Event) {
	switch e.Fact {
	case "hired":
		fmt.Fprintf(b.env.stderr, "task %d: leased from %s for at most %s tokens\n",
			e.Task, e.Peer.Short(), tokens(e.Amount))
	case "started", "finished", "matched", "mismatch":
		fmt.Fprintf(b.env.stderr, "task %d: %s (%s)\n", e.Task, e.Fact, e.Peer.Short())
	case "abandoned":
		fmt.Fprintf(b.env.stderr, "task %d: leaves %s: %s\n", e.Task, e.Peer.Short(), e.Text)
	case "closed":
		fmt.Fprintf(b.env.stderr, "task %d: paid %s tokens to the lease with %s\n",
			e.Task, tokens(e.Amount), e.Peer.Short())
	}
}

// runResult is what run prints with --json.
type runResult struct {
	Job        *api.Job      `json:"job"`
	Exit       int           `json:"exit"`
	ExitSource string        `json:"exit_source"`
	Paid       ledger.Amount `json:"paid"`
	Burned     ledger.Amount `json:"burned"`
	Settled    bool          `json:"settled"`
	Output     string        `json:"output"`
}

func (b *buyer) print(job *api.Job) error {
	code, source := outcome(job)
	if job.State == api.JobFailed {
		source = "pinfi"
		code = codeOf(jobError(job))
	}
	if !b.json {
		where := ""
		if job.State == api.JobDone {
			where = "; output in " + b.job.out
		}
		fmt.Fprintf(b.env.stderr, "paid %s tokens, %s of them burned%s\n", tokens(job.Paid), tokens(job.Burned), where)
		return nil
	}
	return json.NewEncoder(b.env.stdout).Encode(runResult{
		Job: job, Exit: code, ExitSource: source, Paid: job.Paid, Burned: job.Burned, Settled: job.Settled,
		Output: b.job.out,
	})
}
