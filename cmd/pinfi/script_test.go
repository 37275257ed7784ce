//go:build unix

package main

import (
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes this test program the program pinfi when it is called so. The
// scripts find it in their PATH, and it finds itself: a node that demo or devnet
// starts, and the child that runs a job, are real processes of it.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"pinfi": main})
}

// TestScript runs the scripts in testdata/script: the program from outside, with
// real processes over real libp2p on the loopback. Each script quotes what it holds
// the program to:
//
//	usage [CLI-1], curve [CLI-16], files [CLI-2] [CLI-3] [CLI-4], genesis [CLI-5] [CLI-6],
//	jobs [CLI-7] [CLI-8] [CLI-9] [CLI-10] [CLI-17], folders [CLI-12] [CLI-14] [CLI-15] [CLI-17],
//	devnet [CLI-11] [CLI-12] [CLI-13], crash-provider [CLI-18], crash-client [CLI-19],
//	demo [CLI-20], readme [CLI-24],
//	wallet [CLI-25] [CLI-26] [CLI-27] [CLI-31] [CLI-32], ledger [CLI-28] [CLI-29] [CLI-30]
func TestScript(t *testing.T) {
	runScripts(t, filepath.Join("testdata", "script"), 4*time.Minute)
}

// TestScriptLong runs the scripts that take minutes. make e2e asks for them:
// interrupt [CLI-21] [CLI-22], away [CLI-18] [CLI-19], demo [CLI-20].
func TestScriptLong(t *testing.T) {
	long(t)
	runScripts(t, filepath.Join("testdata", "long"), 14*time.Minute)
}

// long skips a test that takes minutes, unless it is asked for.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("PINFI_E2E") != "long" {
		t.Skip("takes minutes: PINFI_E2E=long runs it, as make e2e does")
	}
}

// patience is how long a script waits for what must come.
const patience = 90 * time.Second

func runScripts(t *testing.T, dir string, limit time.Duration) {
	modules, err := filepath.Abs(filepath.Join("..", "..", "node", "exec", "testdata"))
	if err != nil {
		t.Fatal(err)
	}
	root := shortDir(t)
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		Deadline:            time.Now().Add(limit),
		WorkdirRoot:         root,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("MODULES", modules)
			env.Setenv("RENDER", filepath.Join(modules, "..", "jobs", "render"))
			env.Setenv("PINFI_DATA", filepath.Join(env.WorkDir, "data"))
			env.Values[jobsKey{}] = map[string]*osexec.Cmd{}
			env.Defer(func() { killBelow(env.WorkDir) })
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": scriptExits, "begin": scriptBegin, "finish": scriptFinish, "signal": scriptSignal,
			"json": scriptJSON, "await": scriptAwait, "books": scriptBooks, "lay": scriptLay, "addr": scriptAddr,
			"crash": scriptCrash, "gone": scriptGone, "damage": scriptDamage, "replace": scriptReplace,
			"picture": scriptPicture, "empty": scriptEmpty, "serving": scriptServing, "same": scriptSame,
			"forge": scriptForge, "payments": scriptPayments, "absent": scriptAbsent,
			"present": scriptPresent, "saying": scriptSaying,
		},
	})
}

// shortDir returns a folder whose name is short enough for the sockets below it.
func shortDir(t *testing.T) string {
	parent := os.TempDir()
	if len(parent) > 20 {
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, "pinfi-e2e-") //nolint:usetesting // its name is short, and it outlives a failed test
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		killBelow(dir)
		if !t.Failed() {
			_ = os.RemoveAll(dir) // else what the nodes said is worth reading
		}
	})
	return dir
}

// jobsKey is where a script keeps its background commands.
type jobsKey struct{}

// must fails the script unless err is nil.
func must(ts *testscript.TestScript, err error) {
	if err != nil {
		ts.Fatalf("%v", err)
	}
}

// usage fails the script unless it has n arguments, or more when n is negative.
func usage(ts *testscript.TestScript, neg bool, args []string, n int, text string) {
	if neg || len(args) < max(n, -n) || n >= 0 && len(args) != n {
		ts.Fatalf("usage: %s", text)
	}
}

// scriptExits runs a command and wants an exit code.
func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, -2, "exits CODE COMMAND...")
	wantExit(ts, args[0], ts.Exec(args[1], args[2:]...))
}

func wantExit(ts *testscript.TestScript, want string, err error) {
	got := "0"
	if failed, ok := errors.AsType[*osexec.ExitError](err); ok {
		got = strconv.Itoa(failed.ExitCode())
		if failed.ExitCode() < 0 {
			got = failed.String() // "signal: killed", say
		}
	} else if err != nil {
		ts.Fatalf("run: %v", err)
	}
	if got != want {
		ts.Fatalf("exit code %s, want %s", got, want)
	}
}

// scriptBegin starts a command in the background. Its words go to the files
// NAME.out and NAME.err.
func scriptBegin(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, -2, "begin NAME COMMAND...")
	path, err := osexec.LookPath(args[1])
	must(ts, err)
	cmd := osexec.Command(path, args[2:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"WORK", "PATH", "HOME", "TMPDIR", "PINFI_DATA"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	out, err := os.Create(ts.MkAbs(args[0] + ".out"))
	must(ts, err)
	defer out.Close()
	words, err := os.Create(ts.MkAbs(args[0] + ".err"))
	must(ts, err)
	defer words.Close()
	cmd.Stdout, cmd.Stderr = out, words
	must(ts, cmd.Start())
	jobs := ts.Value(jobsKey{}).(map[string]*osexec.Cmd)
	jobs[args[0]] = cmd
	ts.Defer(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill() // it may have ended
			_ = cmd.Wait()
		}
	})
}

func background(ts *testscript.TestScript, name string) *osexec.Cmd {
	cmd := ts.Value(jobsKey{}).(map[string]*osexec.Cmd)[name]
	if cmd == nil {
		ts.Fatalf("nothing called %s was begun", name)
	}
	return cmd
}

// scriptFinish waits for a background command and wants an exit code.
func scriptFinish(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 2, "finish CODE NAME")
	cmd := background(ts, args[1])
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() }) // then the exit code is wrong
	err := cmd.Wait()
	late.Stop()
	ts.Logf("[%s.out]\n%s[%s.err]\n%s", args[1], ts.ReadFile(args[1]+".out"), args[1], ts.ReadFile(args[1]+".err"))
	wantExit(ts, args[0], err)
}

// scriptSignal sends INT, TERM or KILL to a background command.
func scriptSignal(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 2, "signal INT|TERM|KILL NAME")
	must(ts, background(ts, args[1]).Process.Signal(signalOf(args[0])))
}

// scriptLay makes the folders of a network without starting it.
func scriptLay(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 2, "lay DIR PROVIDERS")
	n, err := strconv.Atoi(args[1])
	must(ts, err)
	_, err = layNetwork(ts.MkAbs(args[0]), devnetRules(), n)
	must(ts, err)
}

// scriptAddr sets a variable to an address on which a node listens: without the
// node's id, or with it after "peer".
func scriptAddr(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 3, "addr VARIABLE listen|peer DIR")
	for _, a := range strings.Fields(ts.ReadFile(filepath.Join(args[2], addrsName))) {
		if listen, _, ok := strings.Cut(a, "/p2p/"); ok && strings.Contains(a, "/tcp/") {
			if args[1] == "listen" {
				a = listen
			}
			ts.Setenv(args[0], a)
			return
		}
	}
	ts.Fatalf("%s has no TCP address", args[2])
}

// scriptDamage changes bytes in the middle of the largest file that matches.
func scriptDamage(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, "damage PATTERN")
	paths, err := filepath.Glob(ts.MkAbs(args[0]))
	must(ts, err)
	if len(paths) == 0 {
		ts.Fatalf("no file is called %s", args[0])
	}
	size := func(path string) int64 {
		info, err := os.Stat(path)
		must(ts, err)
		return info.Size()
	}
	path := slices.MaxFunc(paths, func(a, b string) int { return int(size(a) - size(b)) })
	b, err := os.ReadFile(path)
	must(ts, err)
	for i := range min(64, len(b)/2) {
		b[len(b)/3+i] ^= 0xff
	}
	must(ts, os.WriteFile(path, b, 0o600))
	ts.Logf("64 of %d bytes of %s are damaged\n", len(b), path)
}

// scriptReplace replaces a text in a file, which must have it.
func scriptReplace(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 3, "replace FILE OLD NEW")
	old := ts.ReadFile(args[0])
	if !strings.Contains(old, args[1]) {
		ts.Fatalf("%s has no %q:\n%s", args[0], args[1], old)
	}
	must(ts, os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Replace(old, args[1], args[2], 1)), 0o600))
}

// scriptEmpty wants a folder that is empty or not there.
func scriptEmpty(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, "empty DIR")
	entries, err := os.ReadDir(ts.MkAbs(args[0]))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		ts.Fatalf("%v", err)
	}
	if len(entries) > 0 {
		ts.Fatalf("%s holds %v, want nothing", args[0], entries)
	}
}

// scriptAbsent wants no file of the name anywhere below a folder.
func scriptAbsent(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 2, "absent NAME DIR")
	must(ts, filepath.WalkDir(ts.MkAbs(args[1]), func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Name() == args[0] {
			err = fmt.Errorf("%s is there", path)
		}
		return err
	}))
}

// scriptPresent waits until a file in the script's folder for temporary files
// matches.
func scriptPresent(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, "present PATTERN")
	must(ts, until(patience, func() error {
		found, err := filepath.Glob(filepath.Join(ts.Getenv("TMPDIR"), args[0]))
		if err == nil && len(found) == 0 {
			err = fmt.Errorf("no file is called %s", args[0])
		}
		return err
	}))
}

// scriptSaying waits until a file has a text.
func scriptSaying(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 2, "saying FILE TEXT")
	must(ts, until(patience, func() error {
		if said := ts.ReadFile(args[0]); !strings.Contains(said, args[1]) {
			return fmt.Errorf("%s does not say %q: %q", args[0], args[1], said)
		}
		return nil
	}))
}

// until polls what until it returns nil, and gives its last error when it is late.
func until(late time.Duration, what func() error) error {
	deadline := time.NewTimer(late)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := what()
		if err == nil {
			return nil
		}
		select {
		case <-deadline.C:
			return fmt.Errorf("not so within %v: %w", late, err)
		case <-tick.C:
		}
	}
}
