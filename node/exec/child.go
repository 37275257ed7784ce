package exec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/experimental/sysfs"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
)

// An order is what the parent tells the child, as JSON on its standard input.
type order struct {
	Module     string // path
	Cache      string // folder
	In, Out    string // folders
	Name       string // the job's argument 0
	Task       uint32
	Tasks      uint32
	Pages      uint32 // of memory, 64 KiB each
	Bytes      int64  // that the job may write to Out
	Files      int64  // that the job may make in Out
	CPUSeconds uint64 // after which the kernel kills the child
}

// A turn is what the child tells the parent, one JSON object a line, on its
// standard output. The standard error is the job's log.
type turn struct {
	Kind    turnKind
	Code    uint32 `json:",omitempty"` // of exited
	Text    string `json:",omitempty"` // what went wrong, for a person
	PeakRSS int64  `json:",omitempty"` // bytes
}

// turnKind says what a turn is about.
type turnKind string

const (
	turnStarted turnKind = "started" // the module is compiled, the job begins
	turnExited  turnKind = "exited"  // the job ended by itself
	turnTrapped turnKind = "trapped" // the job did what WebAssembly forbids
	turnMemory  turnKind = "memory"  // the same after more memory was refused
	turnModule  turnKind = "module"  // the module cannot run
	turnFailed  turnKind = "failed"  // the child cannot do its work
)

// textMax bounds the text of a turn, in bytes.
const textMax = 2048

// ChildMain is the whole life of a child process: it reads an order from stdin,
// runs the job, tells on stdout how it went, and returns the exit code of the
// process, 0 when stdout says it all. The job's own output goes to stderr. The
// process must not do anything else: ChildMain lowers its limits for good.
func ChildMain(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) int {
	runtime.GOMAXPROCS(2) // one for the job, one for the collector and the compiler
	tell := func(t turn) error {
		t.Text = t.Text[:min(len(t.Text), textMax)]
		return json.NewEncoder(stdout).Encode(t)
	}
	var o order
	if err := json.NewDecoder(stdin).Decode(&o); err != nil {
		fmt.Fprintf(stderr, "exec-wasm: read the order: %v; this command is run by a node, not by hand\n", err)
		return 64
	}
	last, err := o.carryOut(ctx, tell, stderr)
	if err != nil {
		last = turn{Kind: turnFailed, Text: err.Error()}
		if errors.Is(err, ErrModule) {
			last.Kind = turnModule
		}
	}
	last.PeakRSS = peakRSS()
	if err := tell(last); err != nil {
		fmt.Fprintln(stderr, "exec-wasm:", err)
		return 74
	}
	return 0
}

// carryOut runs the job and returns how it ended.
func (o *order) carryOut(ctx context.Context, tell func(turn) error, log io.Writer) (turn, error) {
	memory := &memoryLimit{bytes: uint64(o.Pages) * pageSize}
	if err := lowerLimits(o.CPUSeconds, memory.bytes); err != nil {
		return turn{}, fmt.Errorf("limit the process: %w", err)
	}
	b, err := os.ReadFile(o.Module)
	if err != nil {
		return turn{}, fmt.Errorf("read module: %w", err)
	}
	c, free, err := compileCached(ctx, o.Cache, b)
	if err != nil {
		return turn{}, err
	}
	defer func() { _ = free() }() // the process ends
	if want := c.module.ExportedMemories()["memory"].Min(); want > o.Pages {
		return turn{Kind: turnMemory, Text: fmt.Sprintf(
			"the module wants %d pages of 64 KiB to begin with, the job has %d", want, o.Pages)}, nil
	}
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, c.runtime); err != nil {
		return turn{}, fmt.Errorf("prepare WASI: %w", err)
	}
	out := &quota{bytes: o.Bytes, files: o.Files}
	cfg, err := o.moduleConfig(out, log)
	if err != nil {
		return turn{}, err
	}
	if err := tell(turn{Kind: turnStarted}); err != nil {
		return turn{}, err
	}
	ctx = experimental.WithMemoryAllocator(ctx, memory)
	_, err = c.runtime.InstantiateModule(ctx, c.module, cfg)
	last := ending(err, memory.refused, log)
	if out.hit {
		last.Text = strings.TrimPrefix(last.Text+"; ", "; ") +
			fmt.Sprintf("a write was refused: the output limit is %d bytes and %d files", o.Bytes, o.Files)
	}
	return last, nil
}

// compileCached compiles a module with the compiler and its cache on disk. A
// cache that cannot be used, because it is damaged or the disk is full, costs
// time and not the job.
func compileCached(ctx context.Context, dir string, b []byte) (compiled, func() error, error) {
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err == nil {
		c, free, err := compile(ctx, wazero.NewRuntimeConfig().WithCompilationCache(cache), b)
		if err == nil {
			return c, free, nil
		}
	}
	return compile(ctx, wazero.NewRuntimeConfig(), b)
}

// moduleConfig returns what the job may see: the two folders, its number, and
// the fixed clock and the repeatable randomness that wazero gives by default.
func (o *order) moduleConfig(out *quota, log io.Writer) (wazero.ModuleConfig, error) {
	in, err := os.OpenRoot(o.In)
	if err != nil {
		return nil, fmt.Errorf("open inputs: %w", err)
	}
	outRoot, err := os.OpenRoot(o.Out)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open outputs: %w", err), in.Close())
	}
	// wazero has the method on the type and not in the interface yet.
	mounts := wazero.NewFSConfig().(sysfs.FSConfig).WithSysFSMount(&rootFS{root: in}, "/in")
	mounts = mounts.(sysfs.FSConfig).WithSysFSMount(&rootFS{root: outRoot, quota: out}, "/out")
	return wazero.NewModuleConfig().
		WithName("").
		WithArgs(o.Name).
		WithEnv("PINFI_TASK", strconv.FormatUint(uint64(o.Task), 10)).
		WithEnv("PINFI_TASKS", strconv.FormatUint(uint64(o.Tasks), 10)).
		WithStdout(log).
		WithStderr(log).
		WithFSConfig(mounts), nil
}

// ending turns what a job's start function returned into a turn. The stack of a
// trap goes to the log.
func ending(err error, refused bool, log io.Writer) turn {
	if err == nil {
		return turn{Kind: turnExited}
	}
	if exit, ok := errors.AsType[*sys.ExitError](err); ok {
		return turn{Kind: turnExited, Code: exit.ExitCode()}
	}
	fmt.Fprintln(log, err)
	text, _, _ := strings.Cut(err.Error(), "\n")
	if _, after, ok := strings.Cut(text, "wasm error: "); ok {
		text = after
	}
	if refused {
		return turn{Kind: turnMemory, Text: "more memory than the job has was asked for and refused; then: " + text}
	}
	return turn{Kind: turnTrapped, Text: text}
}
