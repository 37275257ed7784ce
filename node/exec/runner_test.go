package exec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pinfi/pinfi/node/blob"
)

// TestMain is a child process when it is started as one.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "exec-wasm" {
		os.Exit(ChildMain(context.Background(), os.Stdin, os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m)
}

// cacheDir is shared by the tests of a run, as a node's is by its jobs.
var cacheDir = sync.OnceValues(func() (string, error) {
	return filepath.Join(os.TempDir(), fmt.Sprintf("pinfi-exec-test-%d", os.Getuid())), nil
})

func newRunner(t testing.TB) *Runner {
	t.Helper()
	dir := t.TempDir()
	store, err := blob.Open(filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	cache, _ := cacheDir()
	r, err := New(Config{Store: store, CacheDir: cache, WorkDir: filepath.Join(dir, "work")})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// newJob returns a job of a module in testdata with limits that suit a test.
func newJob(module string) Job {
	return Job{
		ID: module, Module: filepath.Join("testdata", module+".wasm"), Task: 1, Tasks: 3, MemoryPages: 256,
		Timeout: 30 * time.Second, OutputLimit: 1 << 20, LogLimit: 1 << 16,
	}
}

// run runs a job and checks that nothing of it is left.
func run(t testing.TB, r *Runner, job Job) (Result, error) {
	t.Helper()
	result, err := r.Run(t.Context(), job)
	wantClean(t, r)
	return result, err
}

func wantClean(t testing.TB, r *Runner) {
	t.Helper()
	left, err := os.ReadDir(r.cfg.WorkDir)
	if err != nil || len(left) > 0 {
		t.Errorf("left in the work folder: %v, %v", left, err)
	}
	if pids := children(t, os.Getpid()); len(pids) > 0 {
		t.Errorf("processes still running: %v", pids)
	}
}

// children returns the processes that a process has started and that are there.
func children(t testing.TB, parent int) []int {
	t.Helper()
	if runtime.GOOS != "linux" {
		return nil
	}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // gone in the meantime
		}
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if fields[1] == strconv.Itoa(parent) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			pids = append(pids, pid)
		}
	}
	return pids
}

func want(t testing.TB, got Result, err error, exit uint32, source Source, text string) {
	t.Helper()
	if err != nil || got.Exit != exit || got.Source != source || !strings.Contains(got.Text, text) {
		t.Errorf("got exit %d by %v, text %q, error %v, log:\n%s\nwant exit %d by %v, text %q",
			got.Exit, got.Source, got.Text, err, got.Log, exit, source, text)
	}
}

// wantOutput checks one output file.
func wantOutput(t testing.TB, r *Runner, got Result, name, text string) {
	t.Helper()
	out := t.TempDir()
	if _, err := blob.Unpack(t.Context(), r.cfg.Store, got.Output, out); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(out, name)); err != nil || string(b) != text {
		t.Errorf("output %s holds %q, %v, want %q", name, b, err, text)
	}
}

// [JOB-10] A job's standard output and error are its log, what it wrote below
// /out is its output, and its exit code is the result's.
func TestHello(t *testing.T) {
	r, started := newRunner(t), 0
	job := newJob("hello")
	job.Started = func() { started++ }
	got, err := run(t, r, job)
	want(t, got, err, 0, SourceJob, "")
	if text := "hello from a job\nand hello from its errors\n"; string(got.Log) != text {
		t.Errorf("log %q, want %q", got.Log, text)
	}
	wantOutput(t, r, got, "hello.txt", "hello\n")
	if started != 1 || got.Wall <= 0 || got.CPU <= 0 {
		t.Errorf("started %d times, wall %v, CPU %v", started, got.Wall, got.CPU)
	}
	if runtime.GOOS == "linux" && (got.MaxRSS < 1<<20 || got.MaxRSS > 1<<30) {
		t.Errorf("peak memory %d bytes", got.MaxRSS)
	}
	again, err := run(t, r, job)
	want(t, again, err, 0, SourceJob, "")
	if again.Output != got.Output {
		t.Errorf("the same job gave %v, then %v", got.Output, again.Output)
	}
}

// [JOB-11] A job that fails has its own exit code, and its output is kept.
func TestOwnExit(t *testing.T) {
	r := newRunner(t)
	got, err := run(t, r, newJob("exit7"))
	want(t, got, err, 7, SourceJob, "")
	wantOutput(t, r, got, "partial", "as far as it came")
}

// [JOB-12] A trap ends a job with the code 134; the log has the stack.
func TestTrap(t *testing.T) {
	got, err := run(t, newRunner(t), newJob("trap"))
	want(t, got, err, ExitTrap, SourceTrap, "unreachable")
	if log := string(got.Log); !strings.HasPrefix(log, "about to trap\n") || !strings.Contains(log, "stack trace") {
		t.Errorf("log %q, want the job's words and the stack", log)
	}
}

// [JOB-13] A job whose time is over is killed, and its code is 124.
func TestTime(t *testing.T) {
	job := newJob("spin")
	job.Timeout = 100 * time.Millisecond
	before := time.Now()
	got, err := run(t, newRunner(t), job)
	want(t, got, err, ExitTime, SourceTime, "100ms")
	if took := time.Since(before); got.Wall < job.Timeout || took > 10*time.Second {
		t.Errorf("ran for %v, Run took %v, timeout %v", got.Wall, took, job.Timeout)
	}
	if string(got.Log) != "spinning\n" {
		t.Errorf("log %q: what was said before the end is lost", got.Log)
	}
}

// [JOB-14] A cancelled job is killed at once, with all of its processes.
func TestCancel(t *testing.T) {
	r := newRunner(t)
	ctx, cancel := context.WithCancel(t.Context())
	job := newJob("spin")
	running := 0
	job.Started = func() {
		defer cancel()
		for _, pid := range children(t, os.Getpid()) {
			running++
			if env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); err != nil || len(env) > 0 {
				t.Errorf("the child's environment is %q, %v, want none", env, err)
			}
		}
	}
	before := time.Now()
	got, err := r.Run(ctx, job)
	if !errors.Is(err, context.Canceled) || got.Source != 0 || time.Since(before) > 10*time.Second {
		t.Errorf("Run = %v, %v after %v, want Canceled", got.Source, err, time.Since(before))
	}
	if runtime.GOOS == "linux" && running != 1 {
		t.Errorf("%d child processes while the job ran, want 1", running)
	}
	wantClean(t, r)
	if _, err := r.Run(ctx, job); !errors.Is(err, context.Canceled) {
		t.Errorf("Run with a cancelled context: %v, want Canceled", err)
	}
	wantClean(t, r)
}

// [JOB-15] A job that cannot do without more memory than it has ends with the
// code 137; one that ends well when it is refused has its own code.
func TestMemory(t *testing.T) {
	r := newRunner(t)
	got, err := run(t, r, newJob("eat"))
	want(t, got, err, ExitMemory, SourceMemory, "more memory than the job has")
	if !strings.HasPrefix(string(got.Log), "had 15 MiB\n") {
		t.Errorf("log %q, want that the job had 15 of its 16 MiB", got.Log)
	}
	if got.MaxRSS > 200<<20 {
		t.Errorf("the process took %d MiB for a job of 16", got.MaxRSS>>20)
	}
	polite := newJob("eat")
	polite.Inputs = map[string]string{"polite": "testdata/eat.c"}
	got, err = run(t, r, polite)
	want(t, got, err, 3, SourceJob, "")
	small := newJob("hello")
	small.MemoryPages = 1
	got, err = run(t, r, small)
	want(t, got, err, ExitMemory, SourceMemory, "wants 2 pages")
}

func TestMemoryLimit(t *testing.T) {
	m := &memoryLimit{bytes: 2 * pageSize}
	for _, pages := range []uint64{0, 1, 2} {
		if b := m.Reallocate(pages * pageSize); uint64(len(b)) != pages*pageSize || m.refused {
			t.Errorf("%d of 2 pages: %d bytes, refused %v", pages, len(b), m.refused)
		}
	}
	if b := m.Reallocate(3 * pageSize); b != nil || !m.refused {
		t.Errorf("3 of 2 pages: %d bytes, refused %v", len(b), m.refused)
	}
}

// [JOB-16] A job whose process needs more memory than the job's and a spare is
// stopped, whatever the memory is for. This one grows a table for ever.
func TestTableBomb(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the address space is limited on Linux only")
	}
	module := filepath.Join(t.TempDir(), "bomb.wasm")
	if err := os.WriteFile(module, tableBomb(), 0o600); err != nil {
		t.Fatal(err)
	}
	job := newJob("bomb")
	job.Module = module
	got, err := run(t, newRunner(t), job)
	want(t, got, err, ExitMemory, SourceMemory, "no more memory")
}

// [JOB-17] A job reads nothing but /in and writes nothing but below /out: not by
// "..", not by an absolute path, not through links, which it cannot make.
func TestEscape(t *testing.T) {
	r := newRunner(t)
	secret := filepath.Join(r.cfg.WorkDir, "secret")
	input := filepath.Join(t.TempDir(), "data")
	for path, text := range map[string]string{secret: "key", input: "input"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	job := newJob("escape")
	job.Inputs = map[string]string{"data": input}
	got, err := r.Run(t.Context(), job)
	want(t, got, err, 0, SourceJob, "")
	if len(got.Files.Files) > 0 || !strings.Contains(string(got.Log), "0 escapes") || t.Failed() {
		t.Errorf("output %v, log:\n%s", got.Files, got.Log)
	}
	for path, text := range map[string]string{secret: "key", input: "input"} {
		if b, err := os.ReadFile(path); err != nil || string(b) != text {
			t.Errorf("%s holds %q, %v", path, b, err)
		}
	}
	if err := os.Remove(secret); err != nil {
		t.Fatal(err)
	}
	wantClean(t, r)
}

// TestLinksInOutput puts a link into the folder of a running job, as no job can,
// and checks that what it points to is not taken for output.
func TestLinksInOutput(t *testing.T) {
	r := newRunner(t)
	job := newJob("hello")
	job.Started = func() {
		dirs, _ := filepath.Glob(filepath.Join(r.cfg.WorkDir, jobPrefix+"*", "out"))
		if len(dirs) != 1 || os.Symlink("/etc/passwd", filepath.Join(dirs[0], "link")) != nil {
			t.Errorf("no link made in %v", dirs)
		}
	}
	if _, err := run(t, r, job); !errors.Is(err, blob.ErrIrregular) {
		t.Errorf("Run: %v, want ErrIrregular", err)
	}
}

// [JOB-18] Inputs appear below /in under their names, in the order of names.
func TestInputs(t *testing.T) {
	r, dir := newRunner(t), t.TempDir()
	job := newJob("cat")
	job.Inputs = map[string]string{}
	for _, name := range []string{"c", "a", "b"} {
		path := filepath.Join(dir, "file of "+name)
		if err := os.WriteFile(path, []byte("text "+name+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		job.Inputs[name] = path
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(job.Inputs["a"], link); err == nil {
		job.Inputs["d"] = link // an input may be a link of the host's
	}
	got, err := run(t, r, job)
	want(t, got, err, 0, SourceJob, "")
	if log := string(got.Log); log != "a: text a\nb: text b\nc: text c\nd: text a\n" {
		t.Errorf("log %q", log)
	}
	wantOutput(t, r, got, "b", "text b\n")
	job.Inputs = map[string]string{"missing": filepath.Join(dir, "missing")}
	if _, err := run(t, r, job); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "input missing") {
		t.Errorf("Run with a missing input: %v, want ErrNotExist", err)
	}
	job.Inputs = map[string]string{"folder": dir}
	if _, err := run(t, r, job); !errors.Is(err, blob.ErrIrregular) {
		t.Errorf("Run with a folder as input: %v, want ErrIrregular", err)
	}
}

// [JOB-19] What a job writes is bounded in bytes and in files: holes count, and
// what was in removed files counts.
func TestOutputLimit(t *testing.T) {
	r := newRunner(t)
	got, err := run(t, r, newJob("big"))
	want(t, got, err, 9, SourceJob, "output limit is 1048576 bytes")
	wantLog := "half: 524288\nhole: -1\ngrown: -1\nmore in a removed file: 524288\nagain: -1\nfiles: 4094\n"
	if string(got.Log) != wantLog {
		t.Errorf("log %q, want %q", got.Log, wantLog)
	}
	if got.Files.Size() > 1<<20 {
		t.Errorf("output of %d bytes", got.Files.Size())
	}
}

// [JOB-20] A log over its limit keeps its beginning and says how much is lost.
func TestLogLimit(t *testing.T) {
	job := newJob("hello")
	job.LogLimit = 5
	got, err := run(t, newRunner(t), job)
	want(t, got, err, 0, SourceJob, "")
	if log := string(got.Log); log != "hello\n[38 more bytes are over the log limit of 5 bytes]\n" {
		t.Errorf("log %q", log)
	}
}

// [JOB-21] A job sees nothing that differs between two runs of it or two places:
// no time, no randomness, no environment but PINFI_TASK and PINFI_TASKS.
func TestSameEverywhere(t *testing.T) {
	t.Setenv("PINFI_SECRET", "key")
	one, err := run(t, newRunner(t), newJob("env"))
	want(t, one, err, 0, SourceJob, "")
	two, err := run(t, newRunner(t), newJob("env"))
	want(t, two, err, 0, SourceJob, "")
	if !bytes.Equal(one.Log, two.Log) || one.Output != two.Output {
		t.Errorf("one run says\n%sanother\n%s", one.Log, two.Log)
	}
	const golden = "argument job.wasm\nenvironment PINFI_TASK=1\nenvironment PINFI_TASKS=3\n"
	log, ok := strings.CutPrefix(string(one.Log), golden)
	if !ok || !strings.HasPrefix(log, "time 1640995200.") || !strings.Contains(log, "\n. .. a b c d e f") {
		t.Errorf("log\n%s", one.Log)
	}
}

func TestNewSweeps(t *testing.T) {
	r := newRunner(t)
	for _, name := range []string{jobPrefix + "old/out", "other"} {
		if err := os.MkdirAll(filepath.Join(r.cfg.WorkDir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := New(r.cfg); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(r.cfg.WorkDir)
	if err != nil || len(left) != 1 || left[0].Name() != "other" {
		t.Errorf("after New: %v, %v, want what it did not create only", left, err)
	}
}

func TestDamagedCache(t *testing.T) {
	r := newRunner(t)
	r.cfg.CacheDir = t.TempDir()
	for range 2 {
		got, err := run(t, r, newJob("hello"))
		want(t, got, err, 0, SourceJob, "")
		err = filepath.WalkDir(r.cfg.CacheDir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			return os.WriteFile(path, []byte("WAZEVO damaged"), 0o600)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestBadJobs(t *testing.T) {
	r := newRunner(t)
	for name, spoil := range map[string]func(*Job){
		"no module":              func(j *Job) { j.Module = "" },
		"task 3 of 3":            func(j *Job) { j.Task = 3 },
		"memory of 0 pages":      func(j *Job) { j.MemoryPages = 0 },
		"memory of 65537 pages":  func(j *Job) { j.MemoryPages = 1<<16 + 1 },
		"want a positive one":    func(j *Job) { j.Timeout = 0 },
		"negative limits":        func(j *Job) { j.LogLimit = -1 },
		`input name "../x"`:      func(j *Job) { j.Inputs = map[string]string{"../x": "y"} },
		`input name "a/b"`:       func(j *Job) { j.Inputs = map[string]string{"a/b": "y"} },
		"no such file":           func(j *Job) { j.Module = "missing.wasm" },
		"the runtime of the job": func(*Job) { r.cfg.ChildArgs = []string{"-test.run=^$", "-no-such-flag"} },
	} {
		job := newJob("hello")
		r.cfg.ChildArgs = []string{"exec-wasm"}
		spoil(&job)
		if _, err := run(t, r, job); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("Run: %v, want an error that says %q", err, name)
		}
	}
	if _, err := New(Config{}); err == nil || !strings.Contains(err.Error(), "no Store") {
		t.Errorf("New without a store: %v", err)
	}
	r.cfg.Executable = "/nonexistent"
	if _, err := run(t, r, newJob("hello")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Run without an executable: %v, want ErrNotExist", err)
	}
}

// TestParentDies starts a process that runs a job, kills it, and waits for the
// job's process to be gone.
func TestParentDies(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("children outlive a killed parent by their time here")
	}
	if dir := os.Getenv("PINFI_TEST_PARENT"); dir != "" {
		r := newRunner(t)
		job := newJob("spin")
		job.Started = func() {
			pid := []byte(strconv.Itoa(children(t, os.Getpid())[0]))
			if os.WriteFile(filepath.Join(dir, "new"), pid, 0o600) == nil {
				_ = os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "pid")) // its absence is seen
			}
		}
		_, _ = r.Run(t.Context(), job) // never returns: this process is killed
		return
	}
	dir := t.TempDir()
	parent := startTest(t, "TestParentDies", "PINFI_TEST_PARENT="+dir)
	var pid string
	waitFor(t, "the job's process", func() bool {
		b, err := os.ReadFile(filepath.Join(dir, "pid"))
		pid = string(b)
		return err == nil
	})
	if _, err := os.Stat("/proc/" + pid); err != nil {
		t.Fatal("the job's process does not run:", err)
	}
	if err := parent.Kill(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the end of the job's process", func() bool { return !alive(pid) })
}

// alive reports whether a process runs: one that has ended and was not waited
// for does not.
func alive(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	return err == nil && !bytes.Contains(stat, []byte(") Z "))
}

func TestAtOnce(t *testing.T) {
	r := newRunner(t)
	var group sync.WaitGroup
	for i := range uint32(6) {
		group.Go(func() {
			job := newJob("env")
			job.Task, job.Tasks = i, 6
			got, err := r.Run(t.Context(), job)
			want(t, got, err, 0, SourceJob, "")
			if !strings.Contains(string(got.Log), fmt.Sprintf("PINFI_TASK=%d\n", i)) {
				t.Errorf("task %d has the log\n%s", i, got.Log)
			}
		})
	}
	group.Wait()
	wantClean(t, r)
}

// BenchmarkHello runs a small job from start to finish, with the module compiled
// before: wall is the child's part from its first word on, cpu all of the child's.
func BenchmarkHello(b *testing.B) {
	r := newRunner(b)
	job := newJob("hello")
	var wall, cpu time.Duration
	for b.Loop() {
		result, err := r.Run(b.Context(), job)
		if err != nil {
			b.Fatal(err)
		}
		wall += result.Wall
		cpu += result.CPU
	}
	b.ReportMetric(float64(wall.Microseconds())/float64(b.N), "wall-us/op")
	b.ReportMetric(float64(cpu.Microseconds())/float64(b.N), "cpu-us/op")
}
