package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/node/api"
	"github.com/pinfi/pinfi/node/exec"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
)

// jobOptions say what to run. Flags fill them.
type jobOptions struct {
	wasm, in, out string
	tasks, check  uint32
	units         uint64
	class         string
	limit         time.Duration
	memoryMiB     uint32
	max           string // atoms
	id            string // 64 hexadecimal digits; empty: a new job
}

// bind defines the flags that say what to run.
func (o *jobOptions) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.wasm, "wasm", "", "WASM module to run (WASI preview 1)")
	flags.StringVar(&o.in, "in", "", "input file, which the module finds in /in under its name")
	flags.StringVar(&o.out, "out", "", "folder for what the tasks write to /out")
	flags.Uint32Var(&o.tasks, "tasks", 1, "number of tasks; the module sees PINFI_TASK of PINFI_TASKS")
	flags.Uint32Var(&o.check, "check", 0, "tasks to run again on another provider and compare")
	flags.DurationVar(&o.limit, "for", time.Minute, "longest time of a task")
	flags.Uint32Var(&o.memoryMiB, "memory", 64, "most memory of a task, in MiB")
	flags.Uint64Var(&o.units, "units", taskUnits, "capacity of a task, in mCU")
	flags.StringVar(&o.class, "class", localClass, "class of device to run on")
	flags.StringVar(&o.max, "max", (10 * ledger.Token).String(), "most that the job may hold in escrow, in atoms")
}

// read checks the files of a job before anything is paid for it.
func (o *jobOptions) read() (module []byte, input *os.File, err error) {
	if o.wasm == "" {
		return nil, nil, exit(exitUsage, errors.New("--wasm FILE is missing: which module shall run?"))
	}
	if o.tasks == 0 || o.check > o.tasks {
		return nil, nil, exit(exitUsage,
			fmt.Errorf("--tasks %d --check %d: want at least 1 task, and no more checks than tasks", o.tasks, o.check))
	}
	if o.limit < time.Second || o.limit > 24*time.Hour {
		return nil, nil, exit(exitUsage, fmt.Errorf("--for %v: want 1s to 24h", o.limit))
	}
	if o.memoryMiB < 1 || o.memoryMiB > memoryMax {
		return nil, nil, exit(exitUsage, fmt.Errorf("--memory %d: want 1 to %d MiB", o.memoryMiB, memoryMax))
	}
	if module, err = exec.ReadModule(o.wasm); err != nil {
		return nil, nil, err
	}
	if err := writable(o.out); err != nil {
		return nil, nil, err
	}
	if o.in == "" {
		return module, nil, nil
	}
	info, err := os.Stat(o.in)
	if err == nil && !info.Mode().IsRegular() {
		return nil, nil, exit(exitNoInput, fmt.Errorf("input %s: want a regular file", o.in))
	}
	if err != nil {
		return nil, nil, exit(exitNoInput, fmt.Errorf("input: %w", err))
	}
	if input, err = os.Open(o.in); err != nil {
		return nil, nil, exit(exitNoInput, fmt.Errorf("input: %w", err))
	}
	return module, input, nil
}

// memoryMax is the most memory that a task can be given, in MiB: what WebAssembly
// can address.
const memoryMax = market.MaxMemoryPages / 16

// writable makes the folder of the output, if one is named, and writes to it: what
// was paid for must not be lost for want of a place.
func writable(dir string) error {
	if dir == "" {
		return nil
	}
	err := os.MkdirAll(dir, 0o777)
	if err == nil {
		var f *os.File
		if f, err = os.CreateTemp(dir, ".pinfi-*"); err == nil {
			err = errors.Join(f.Close(), os.Remove(f.Name()))
		}
	}
	if err != nil {
		return exit(exitDisk, fmt.Errorf("output folder: %w; choose another with --out", err))
	}
	return nil
}

// order hands a node the files and the job, and returns the job's id.
func (o *jobOptions) order(ctx context.Context, c *api.Client, module []byte, input *os.File) (p2p.Digest, error) {
	most, err := ledger.ParseAmount(o.max)
	if err != nil {
		return p2p.Digest{}, exit(exitUsage, fmt.Errorf("--max %q: want a number of atoms: %w", o.max, err))
	}
	order := api.Order{
		Class: ledger.Class(o.class), Units: o.units, Seconds: uint32(o.limit / time.Second), Max: most,
		Tasks: o.tasks, Check: o.check, Pages: o.memoryMiB * 16,
	}
	if o.id != "" {
		if err := order.ID.UnmarshalText([]byte(o.id)); err != nil {
			return p2p.Digest{}, exit(exitUsage, fmt.Errorf("--id: %w", err))
		}
	}
	blob, err := c.PutBlob(ctx, bytes.NewReader(module))
	if err != nil {
		return p2p.Digest{}, fmt.Errorf("hand over the module: %w", err)
	}
	order.Module = blob.Digest
	if input != nil {
		if blob, err = c.PutBlob(ctx, input); err != nil {
			return p2p.Digest{}, fmt.Errorf("hand over the input: %w", err)
		}
		order.Input, order.InputName = blob.Digest, filepath.Base(input.Name())
	}
	ticket, err := c.SubmitJob(ctx, order)
	if err != nil {
		return p2p.Digest{}, err
	}
	return ticket.ID, nil
}

// collect writes the output files of a job below dir: of its only task there, of
// several in a folder each.
func collect(ctx context.Context, c *api.Client, j *api.Job, dir string) error {
	for _, run := range j.Runs {
		if run.Check || !run.Done {
			continue
		}
		to := dir
		if j.Order.Tasks > 1 {
			to = filepath.Join(dir, taskName(run.Task))
		}
		if _, err := c.SaveOutput(ctx, run.Output, to); err != nil {
			return fmt.Errorf("output of task %d: %w", run.Task, err)
		}
	}
	return nil
}

// taskName returns the name of a task's folder.
func taskName(task uint32) string { return fmt.Sprintf("task-%03d", task) }

// outcome returns the exit code and its source that a job ends with: those of the
// first task that did not end well, else 0 by the job itself.
func outcome(j *api.Job) (code int, source string) {
	for _, run := range j.Runs {
		if run.Done && (run.Exit != 0 || run.Source != "job") {
			return int(run.Exit), run.Source
		}
	}
	return 0, "job"
}

// jobError returns the error with which a job's command ends, nil when all is well.
func jobError(j *api.Job) error {
	if j.State == api.JobFailed {
		code := exitUnavailable
		switch j.Cause {
		case machine.CauseBudget.String(), machine.CauseLedger.String():
			code = exitBudget
		case machine.CauseMismatch.String():
			code = exitPolicy
		}
		return exit(code, fmt.Errorf("job: %s", j.Failure))
	}
	code, source := outcome(j)
	if code == 0 {
		return nil
	}
	why := map[string]string{
		"time": ": its time was over; --for gives more", "trap": ": it did what WebAssembly forbids",
		"memory": ": it wanted more memory than it had; --memory gives more",
	}[source]
	return exit(min(code, codeMax), fmt.Errorf("job: exit %d%s", code, why))
}

// codeMax is what a process can exit with at most. A job's higher codes become it.
const codeMax = 255
