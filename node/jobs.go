package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/node/blob"
	"github.com/pinfi/pinfi/node/exec"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/transport"
)

// Bounds of the files of a job. docs/spec/jobs.md repeats them.
const (
	ModuleMax = 64 << 20 // bytes of a module
	InputMax  = 1 << 30  // bytes of an input
	OutputMax = 1 << 30  // bytes of all output files of a task
	LogMax    = 1 << 20  // bytes of a task's log that are kept
)

const (
	// streamTimeout bounds the wait for the next bytes of a file.
	streamTimeout = 30 * time.Second
	// loadTimeout bounds the time in which all files of a job, or of its output,
	// come: a peer that sends a byte now and then must not hold a job for ever. What
	// has come is kept, and the next attempt goes on from there. machine.Timing.Load
	// waits as long.
	loadTimeout = 10 * time.Minute
)

func (n *Node) openRunner() (*exec.Runner, error) {
	cfg := exec.Config{
		Store:    n.blobs,
		CacheDir: filepath.Join(n.cfg.Dir, "cache"),
		WorkDir:  filepath.Join(n.cfg.Dir, "work"),
	}
	if len(n.cfg.Child) > 0 {
		cfg.Executable, cfg.ChildArgs = n.cfg.Child[0], n.cfg.Child[1:]
	}
	return exec.New(cfg)
}

// runJob starts a job beside the loop, unless it runs already.
func (n *Node) runJob(ctx context.Context, fx machine.RunJob) {
	if n.jobs[fx.Lease] != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	n.jobs[fx.Lease] = cancel
	n.work(func() {
		defer cancel()
		done := n.execute(ctx, fx)
		n.tellUnlessDone(context.WithoutCancel(ctx), done)
	})
}

// stopJob kills a job. Its JobDone follows.
func (n *Node) stopJob(fx machine.StopJob) {
	if cancel := n.jobs[fx.Lease]; cancel != nil {
		cancel()
	}
}

// execute brings a job's files here from its client and runs it to its end.
func (n *Node) execute(ctx context.Context, fx machine.RunJob) machine.JobDone {
	fail := func(err error) machine.JobDone {
		n.cfg.Log.Warn("job not run", "lease", fx.Lease.Short(), "error", err)
		return machine.JobDone{Lease: fx.Lease, Failed: true, Text: clip(err.Error())}
	}
	t := fx.Terms
	module, inputs, err := n.load(ctx, fx.Client, &t)
	if err != nil {
		return fail(err)
	}
	res, err := n.runner.Run(ctx, exec.Job{
		ID: fx.Lease.Short(), Module: module, Inputs: inputs, Task: t.Task, Tasks: t.Tasks,
		MemoryPages: t.MemoryPages, Timeout: time.Duration(t.Seconds) * time.Second,
		OutputLimit: OutputMax, LogLimit: LogMax,
		Started: func() { n.tell(machine.JobStarted{Lease: fx.Lease}) },
	})
	if err != nil && ctx.Err() == nil {
		return fail(err)
	}
	return n.ended(fx.Lease, res, ctx.Err())
}

// load brings a job's module and input here from its client, and returns where they
// are.
func (n *Node) load(
	ctx context.Context, client p2p.PeerID, t *market.Terms,
) (module string, inputs map[string]string, err error) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	if err := n.fetchBlob(ctx, client, t.Module, ModuleMax); err != nil {
		return "", nil, fmt.Errorf("module: %w", err)
	}
	if module, err = n.blobs.Path(ctx, t.Module); err != nil {
		return "", nil, fmt.Errorf("module: %w", err)
	}
	if t.Input.IsZero() {
		return module, nil, nil
	}
	if err := n.fetchBlob(ctx, client, t.Input, InputMax); err != nil {
		return "", nil, fmt.Errorf("input: %w", err)
	}
	input, err := n.blobs.Path(ctx, t.Input)
	if err != nil {
		return "", nil, fmt.Errorf("input: %w", err)
	}
	return module, map[string]string{t.InputName: input}, nil
}

// ended turns a result into the event that tells it.
func (n *Node) ended(lease ledger.OpID, res exec.Result, stopped error) machine.JobDone {
	log, err := n.blobs.PutBytes(res.Log)
	if err != nil {
		return machine.JobDone{Lease: lease, Failed: true, Text: clip("log: " + err.Error())}
	}
	done := machine.JobDone{
		Lease: lease, Exit: res.Exit, Source: market.ExitSource(res.Source), Output: res.Output, Log: log,
		Text: clip(res.Text),
	}
	if stopped != nil {
		done.Exit, done.Source, done.Text = exec.ExitTime, market.ExitTime, "stopped before its end"
	}
	return done
}

// clip shortens a text to what a report holds.
func clip(s string) string { return s[:min(len(s), market.MaxText)] }

// fetchBlob brings a file here from a peer, unless it is here.
func (n *Node) fetchBlob(ctx context.Context, from p2p.PeerID, d p2p.Digest, limit int64) error {
	if n.blobs.Has(d) {
		return nil
	}
	s, err := n.openBlob(ctx, from)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := blob.Fetch(s, d, limit, n.blobs); err != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	return nil
}

// openBlob opens a stream to a peer's files. It breaks when ctx is done, and when
// no byte comes for streamTimeout.
func (n *Node) openBlob(ctx context.Context, from p2p.PeerID) (io.ReadWriteCloser, error) {
	opening, cancel := context.WithTimeout(ctx, streamTimeout)
	defer cancel()
	s, err := n.net.OpenStream(opening, from, n.network.Protocol(p2p.Blob))
	if err != nil {
		return nil, fmt.Errorf("files of %s: %w", from.Short(), err)
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Reset() }) // it fails when the stream has ended, and may
	return &bounded{patient{s}, stop}, nil
}

// A bounded stream is reset when the context that it was opened with is done.
type bounded struct {
	patient
	stop func() bool
}

// Close ends the stream, and the watch over its context.
func (b *bounded) Close() error {
	b.stop()
	return b.patient.Close()
}

// serveBlob answers a peer that asks for a file.
func (n *Node) serveBlob(from p2p.PeerID, s transport.Stream) {
	if err := blob.Serve(patient{s}, n.blobs); err != nil {
		n.cfg.Log.Debug("file not served", "peer", from.Short(), "error", err)
	}
}

// patient gives every read and write of a stream its own deadline.
type patient struct{ transport.Stream }

func (p patient) Read(b []byte) (int, error) {
	if err := p.SetDeadline(time.Now().Add(streamTimeout)); err != nil {
		return 0, err
	}
	return p.Stream.Read(b)
}

func (p patient) Write(b []byte) (int, error) {
	if err := p.SetDeadline(time.Now().Add(streamTimeout)); err != nil {
		return 0, err
	}
	return p.Stream.Write(b)
}

// fetch brings the output and the log of a task here from its provider.
func (n *Node) fetch(ctx context.Context, fx machine.Fetch) {
	loop := ctx
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	open := func(ctx context.Context) (io.ReadWriteCloser, error) { return n.openBlob(ctx, fx.Provider) }
	_, err := blob.FetchTree(ctx, open, fx.Output, blob.Limits{Bytes: OutputMax, Files: blob.FilesMax}, n.blobs)
	if err == nil {
		err = n.fetchBlob(ctx, fx.Provider, fx.Log, LogMax)
	}
	done := machine.Fetched{Lease: fx.Lease, OK: err == nil}
	if err != nil {
		done.Text = err.Error()
	}
	n.tellUnlessDone(loop, done)
}
