package exec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pinfi/pinfi/node/blob"
	"github.com/pinfi/pinfi/p2p"
)

// A Config says where a Runner works. All paths become absolute in New.
type Config struct {
	// Store takes the outputs of jobs. Required.
	Store *blob.Store
	// CacheDir keeps compiled modules, so that a module starts in milliseconds the
	// second time. Required; created. Nothing removes what is old.
	CacheDir string
	// WorkDir holds the folders of running jobs. Required; created. It belongs to
	// one Runner: New removes what a killed one left in it.
	WorkDir string
	// Executable is the program whose command ChildArgs calls ChildMain. Default:
	// the program that runs now.
	Executable string
	// ChildArgs are the arguments that make Executable a child. Default: exec-wasm.
	ChildArgs []string
	// StartMax is how long compiling may take. Default: 60 s. Too small refuses
	// large modules on slow machines.
	StartMax time.Duration
}

// jobPrefix begins the names of the folders of jobs in WorkDir.
const jobPrefix = "job-"

// A Job is one task of a module with its input.
type Job struct {
	ID          string            // for errors and for nothing else
	Name        string            // argument 0 of the module; default job.wasm
	Module      string            // path of the module
	Inputs      map[string]string // name in /in -> path of a file; names have no slash
	Task, Tasks uint32            // PINFI_TASK of PINFI_TASKS; Task < Tasks
	MemoryPages uint32            // of 64 KiB; 1 to 65536
	Timeout     time.Duration     // from Started on; positive
	OutputLimit int64             // bytes that the job may write to /out
	LogLimit    int64             // bytes of log that are kept
	Started     func()            // called when the job begins; may be nil, must not block
}

// A Source says what decided the exit code of a job. The numbers are those of
// market.ExitSource.
type Source uint8

// The sources of an exit code.
const (
	SourceJob    Source = 1 // the job itself
	SourceTime   Source = 2 // its time was over: ExitTime
	SourceTrap   Source = 3 // it did what WebAssembly forbids: ExitTrap
	SourceMemory Source = 4 // it wanted more memory than it has: ExitMemory
)

// The exit codes that do not come from the job.
const (
	ExitTime   = 124
	ExitTrap   = 134
	ExitMemory = 137
)

// String returns the word that JSON output has for the source.
func (s Source) String() string {
	switch s {
	case SourceJob:
		return "job"
	case SourceTime:
		return "time"
	case SourceTrap:
		return "trap"
	case SourceMemory:
		return "memory"
	default:
		return fmt.Sprintf("source(%d)", uint8(s))
	}
}

// A Result says how a job ended. It is filled as far as the job came, in an
// error's company too.
type Result struct {
	Exit   uint32
	Source Source
	Text   string        // why, for a person; often empty
	Output p2p.Digest    // manifest of /out, whatever the exit code is
	Files  blob.Manifest // the manifest
	Log    []byte        // standard output and error, interleaved as written, cut at LogLimit
	Wall   time.Duration // from Started to the end
	CPU    time.Duration // of the child, compiling included
	MaxRSS int64         // bytes, of the child; 0 where it is not known
}

// A Runner runs jobs. Run may be called from any number of goroutines; how many
// jobs run at once is the caller's business.
type Runner struct{ cfg Config }

// New returns a Runner. It creates the folders of the configuration.
func New(cfg Config) (*Runner, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("job runner: %w", err)
	}
	for _, dir := range []string{cfg.CacheDir, cfg.WorkDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("job runner: %w", err)
		}
	}
	left, err := filepath.Glob(filepath.Join(cfg.WorkDir, jobPrefix+"*"))
	if err != nil {
		return nil, fmt.Errorf("job runner: %w", err)
	}
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil {
			return nil, fmt.Errorf("job runner: remove what an earlier run left: %w", err)
		}
	}
	return &Runner{cfg: cfg}, nil
}

// withDefaults returns a copy that is complete, or all that is wrong.
func (c Config) withDefaults() (Config, error) {
	var errs []error
	if c.Store == nil {
		errs = append(errs, errors.New("no Store"))
	}
	if c.Executable == "" {
		path, err := os.Executable()
		c.Executable = path
		errs = append(errs, err)
	}
	if len(c.ChildArgs) == 0 {
		c.ChildArgs = []string{"exec-wasm"}
	}
	if c.StartMax <= 0 {
		c.StartMax = time.Minute
	}
	for _, path := range []*string{&c.CacheDir, &c.WorkDir, &c.Executable} {
		if *path == "" {
			errs = append(errs, errors.New("CacheDir and WorkDir must be set"))
			continue
		}
		absolute, err := filepath.Abs(*path)
		*path = absolute
		errs = append(errs, err)
	}
	return c, errors.Join(errs...)
}

// Run runs a job and returns when nothing of it runs any more. A job that fails
// is a Result; an error means that there is none to speak of: ErrModule when the
// module cannot run, the context's error when it was cancelled, the system's when
// a file cannot be read or a process not started.
func (r *Runner) Run(ctx context.Context, job Job) (Result, error) {
	job, err := job.withDefaults()
	if err != nil {
		return Result{}, fmt.Errorf("job %s: %w", job.ID, err)
	}
	dir, err := os.MkdirTemp(r.cfg.WorkDir, jobPrefix+"*")
	if err != nil {
		return Result{}, fmt.Errorf("job %s: %w", job.ID, err)
	}
	result, err := r.runIn(ctx, job, dir)
	if removed := os.RemoveAll(dir); removed != nil {
		err = errors.Join(err, fmt.Errorf("clean up: %w", removed))
	}
	if err != nil {
		err = fmt.Errorf("job %s: %w", job.ID, err)
	}
	return result, err
}

// withDefaults returns a copy that is complete, or all that is wrong.
func (j Job) withDefaults() (Job, error) {
	var errs []error
	wrong := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	if j.Name == "" {
		j.Name = "job.wasm"
	}
	wrong(j.Module == "", "no module")
	wrong(j.Task >= j.Tasks, "task %d of %d: tasks count from 0", j.Task, j.Tasks)
	wrong(j.MemoryPages == 0 || j.MemoryPages > 1<<16, "memory of %d pages, want 1 to 65536", j.MemoryPages)
	wrong(j.Timeout <= 0, "time of %v, want a positive one", j.Timeout)
	wrong(j.OutputLimit < 0 || j.LogLimit < 0, "negative limits: output %d, log %d", j.OutputLimit, j.LogLimit)
	for name := range j.Inputs {
		bad := strings.Contains(name, "/") || blob.CheckPath(name) != nil
		wrong(bad, "input name %q: want a file name without a folder", name)
	}
	return j, errors.Join(errs...)
}

// runIn runs a job in its empty folder.
func (r *Runner) runIn(ctx context.Context, job Job, dir string) (Result, error) {
	o, err := r.prepare(job, dir)
	if err != nil {
		return Result{}, err
	}
	result, err := r.runChild(ctx, job, o)
	if err != nil {
		return result, err
	}
	limits := blob.Limits{Bytes: o.Bytes, Files: int(o.Files)}
	result.Output, result.Files, err = blob.PackDir(ctx, r.cfg.Store, o.Out, limits)
	if err != nil {
		return result, fmt.Errorf("keep the output: %w", err)
	}
	return result, nil
}

// prepare lays out the folder of a job and returns the child's order.
func (r *Runner) prepare(job Job, dir string) (*order, error) {
	module, err := filepath.Abs(job.Module)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(module); err != nil {
		return nil, fmt.Errorf("module: %w", err)
	}
	o := &order{
		Module: module, Cache: r.cfg.CacheDir, In: filepath.Join(dir, "in"), Out: filepath.Join(dir, "out"),
		Name: job.Name, Task: job.Task, Tasks: job.Tasks, Pages: job.MemoryPages,
		Bytes: job.OutputLimit, Files: blob.FilesMax,
		CPUSeconds: uint64((job.Timeout+r.cfg.StartMax)/time.Second)*2 + 5, // two threads; only if the parent hangs
	}
	for _, sub := range []string{o.In, o.Out} {
		if err := os.Mkdir(sub, 0o700); err != nil {
			return nil, err
		}
	}
	for name, path := range job.Inputs {
		if err := place(path, filepath.Join(o.In, name)); err != nil {
			return nil, fmt.Errorf("input %s: %w", name, err)
		}
	}
	return o, nil
}

// place makes the regular file at from appear at to: as a link where both are on
// one disk, else as a copy. Jobs cannot write to it.
func place(from, to string) error {
	from, err := filepath.EvalSymlinks(from)
	if err != nil {
		return err
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return &fs.PathError{Op: "open", Path: from, Err: blob.ErrIrregular}
	}
	if os.Link(from, to) == nil {
		return nil
	}
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o400)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close())
}
