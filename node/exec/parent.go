package exec

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// The reasons for which Run kills a child.
var (
	errTime  = errors.New("the job's time is over")
	errStart = fmt.Errorf("%w: compiling it takes too long", ErrModule)
)

// errCrash says that a child died without a word and not by our hand.
var errCrash = errors.New("the child process died")

// pipesMax is how long the pipes of a killed child may take to close.
const pipesMax = 2 * time.Second

// runChild runs the child until it ends or must be killed.
func (r *Runner) runChild(ctx context.Context, job Job, o *order) (Result, error) {
	input, err := json.Marshal(o)
	if err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	starting := time.AfterFunc(r.cfg.StartMax, func() { cancel(errStart) })
	defer starting.Stop()
	heard := &listener{started: func() *time.Timer {
		starting.Stop()
		if job.Started != nil {
			job.Started()
		}
		return time.AfterFunc(job.Timeout, func() { cancel(errTime) })
	}}
	log := &cutLog{limit: job.LogLimit}
	cmd := exec.CommandContext(ctx, r.cfg.Executable, r.cfg.ChildArgs...)
	cmd.Dir = filepath.Dir(o.In)
	cmd.Env = []string{} // not nil, which would be this process's environment
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), heard, log
	cmd.SysProcAttr = childAttributes()
	cmd.Cancel = func() error { return killGroup(cmd.Process) }
	cmd.WaitDelay = pipesMax

	// The kernel kills the child when the thread that started it ends. Keep the
	// thread until the child is gone.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ended := cmd.Run()
	result := Result{Log: log.bytes()}
	heard.close(&result)
	if cmd.ProcessState == nil {
		return result, fmt.Errorf("start the child process: %w", ended)
	}
	result.CPU = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	result.MaxRSS = rssOf(cmd.ProcessState)
	if heard.last.PeakRSS > 0 {
		result.MaxRSS = heard.last.PeakRSS
	}
	if err := result.judge(heard.last, job.Timeout, context.Cause(ctx)); !errors.Is(err, errCrash) {
		return result, err
	}
	return result, result.judgeCrash(heard.timer != nil, log.tail, cmd.ProcessState)
}

// judge fills in how the job ended: by what the child told last, else by why it
// was killed. When neither says, it is errCrash.
func (r *Result) judge(last turn, limit time.Duration, cause error) error {
	r.Text = last.Text
	switch last.Kind {
	case turnExited:
		r.Exit, r.Source = last.Code, SourceJob
		return nil
	case turnTrapped:
		r.Exit, r.Source = ExitTrap, SourceTrap
		return nil
	case turnMemory:
		r.Exit, r.Source = ExitMemory, SourceMemory
		return nil
	case turnModule:
		return fmt.Errorf("%w: %s", ErrModule, strings.TrimPrefix(last.Text, ErrModule.Error()+": "))
	case turnFailed:
		return errors.New(last.Text)
	case turnStarted:
	}
	if errors.Is(cause, errTime) {
		r.Exit, r.Source = ExitTime, SourceTime
		r.Text = fmt.Sprintf("stopped after %v, which is all the time it was given", limit)
		return nil
	}
	if cause != nil {
		return cause
	}
	return errCrash
}

// judgeCrash says what a child died of that nobody here killed. A job can make
// its process need more memory than it may have, and nothing else.
func (r *Result) judgeCrash(started bool, tail []byte, state *os.ProcessState) error {
	status, ok := state.Sys().(syscall.WaitStatus)
	killed := ok && status.Signaled() && status.Signal() == syscall.SIGKILL
	starved := killed || bytes.Contains(tail, []byte("out of memory")) ||
		bytes.Contains(tail, []byte("cannot allocate memory")) || bytes.Contains(tail, []byte("failed to allocate"))
	switch {
	case starved && started:
		r.Exit, r.Source = ExitMemory, SourceMemory
		r.Text = fmt.Sprintf("its process had no more memory: %v", state)
		return nil
	case starved:
		return fmt.Errorf("%w: compiling it needs too much memory: %v", ErrModule, state)
	}
	return fmt.Errorf("the runtime of the job broke, %v: %q", state, tail)
}

// A listener reads the turns of a child. Write is called by one goroutine, which
// has ended before close is called.
type listener struct {
	started func() *time.Timer // called once; returns the timer of the job
	timer   *time.Timer        // nil until started
	begun   time.Time
	last    turn
	line    []byte
}

// turnMax bounds a line of a child, in bytes: text doubles when quoted, or more.
const turnMax = 8 * textMax

// Write takes bytes of the child's standard output.
func (l *listener) Write(p []byte) (int, error) {
	l.line = append(l.line, p...)
	for {
		line, rest, ok := bytes.Cut(l.line, []byte("\n"))
		if !ok {
			break
		}
		var t turn
		if err := json.Unmarshal(line, &t); err != nil {
			return 0, fmt.Errorf("child process says %q: %w", line, err)
		}
		l.line, l.last = rest, t
		if t.Kind == turnStarted && l.timer == nil {
			l.begun = time.Now()
			l.timer = l.started()
		}
	}
	if len(l.line) > turnMax {
		return 0, fmt.Errorf("child process says more than %d bytes in one line", turnMax)
	}
	return len(p), nil
}

// close stops the job's timer and notes how long the job ran.
func (l *listener) close(r *Result) {
	if l.timer != nil {
		l.timer.Stop()
		r.Wall = time.Since(l.begun)
	}
}

// A cutLog keeps the first bytes of a log and counts the rest.
type cutLog struct {
	limit int64
	kept  []byte
	lost  int64
	tail  []byte // the last bytes, where a crashing process says why
}

// tailMax bounds the tail of a log, in bytes.
const tailMax = 1 << 14

// Write takes bytes of the log.
func (c *cutLog) Write(p []byte) (int, error) {
	keep := min(int64(len(p)), c.limit-int64(len(c.kept)))
	c.kept = append(c.kept, p[:keep]...)
	c.lost += int64(len(p)) - keep
	c.tail = append(c.tail, p[max(0, len(p)-tailMax):]...)
	c.tail = c.tail[max(0, len(c.tail)-tailMax):]
	return len(p), nil
}

// bytes returns the log and, when it was cut, a line that says so.
func (c *cutLog) bytes() []byte {
	if c.lost == 0 {
		return c.kept
	}
	return fmt.Appendf(c.kept, "\n[%d more bytes are over the log limit of %d bytes]\n", c.lost, c.limit)
}
