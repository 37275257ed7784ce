//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// call runs the program and returns its exit code and what it wrote.
func call(ctx context.Context, args ...string) (code int, out, words string) {
	cmd := osexec.CommandContext(ctx, "pinfi", args...)
	var o, w bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &w
	err := cmd.Run()
	if failed, ok := errors.AsType[*osexec.ExitError](err); ok {
		return failed.ExitCode(), o.String(), w.String()
	}
	if err != nil {
		return -1, "", err.Error()
	}
	return 0, o.String(), w.String()
}

// pinfi runs the program and wants an exit code.
func pinfi(t *testing.T, want int, args ...string) string {
	t.Helper()
	code, out, words := call(t.Context(), args...)
	if code != want {
		t.Fatalf("pinfi %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), code, want, out, words)
	}
	return out
}

// crashRounds is how many nodes are killed.
const crashRounds = 5

// TestScriptLongCrashes kills nodes at moments of chance, one after the other, while a job
// runs, and starts them again: the job ends, and the books balance.
func TestScriptLongCrashes(t *testing.T) {
	long(t)
	if runtime.GOOS != "linux" {
		t.Skip("finds processes in /proc")
	}
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("PINFI_SEED"); text != "" {
		if _, err := fmt.Sscan(text, &seed); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("PINFI_E2E=long PINFI_SEED=%d go test ./cmd/pinfi -run TestScriptLongCrashes", seed)
	chance := rand.New(rand.NewPCG(seed, 0))

	dir := filepath.Join(shortDir(t), "net")
	pinfi(t, 0, "devnet", "up", "--dir", dir, "--providers", "4")
	dirs, err := devnetDirs(dir)
	if err != nil {
		t.Fatal(err)
	}
	client, id := dirs[len(dirs)-1], strings.Repeat("c0", 32)
	order := []string{
		"run", "--data", client, "--wasm", render(t, "render.wasm"), "--in", smallScene(t, dir),
		"--out", filepath.Join(dir, "out"), "--tasks", "12", "--id", id, "--json",
	}
	ended := make(chan int, 1)
	begin := func() { go func() { code, _, _ := call(t.Context(), order...); ended <- code }() }
	begin()
	for round := range crashRounds {
		victim := dirs[chance.IntN(len(dirs))]
		await(t, dirs[0], uint64(chance.IntN(12)))
		if err := crash(victim); err != nil {
			t.Fatal(err)
		}
		t.Logf("round %d: %s is dead", round+1, filepath.Base(victim))
		pinfi(t, 0, "devnet", "up", "--dir", dir)
		if victim == client {
			if code := <-ended; code != 0 && code != exitUnavailable {
				t.Fatalf("a client without a node ends with %d, want %d", code, exitUnavailable)
			}
			begin()
		}
	}
	if code := <-ended; code != 0 {
		t.Fatalf("the job ended with %d, want 0: %s", code, pinfi(t, 0, "status", "--data", client, "--json"))
	}
	if err := until(patience, func() error { return balanced(t.Context(), dir) }); err != nil {
		t.Fatal(err)
	}
	pinfi(t, 0, "devnet", "down", "--dir", dir)
	if err := gone(dir); err != nil {
		t.Fatal(err)
	}
}

// await waits until a node has applied some more operations, or for ten seconds,
// whichever comes first.
func await(t *testing.T, dir string, more uint64) {
	t.Helper()
	st, err := statusOf(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	aim := st.Ledger.Applied + more
	_ = until(10*time.Second, func() error { // a network with nothing to do applies nothing
		st, err := statusOf(t.Context(), dir)
		if err == nil && st.Ledger.Applied < aim {
			err = errors.New("not yet")
		}
		return err
	})
}
