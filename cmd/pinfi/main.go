// Command pinfi is a peer-to-peer market for computing power: one program for
// those who sell it, those who buy it, and those who study the market.
//
// It is wiring and words: flags become the structs of package node, and what a
// node answers over its local API becomes text or JSON. Every decision is made in
// node/machine. Start with run, in this file.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/pinfi/pinfi/node/exec"
)

// An environment is the world as a command sees it. Tests make their own.
type environment struct {
	stdin  io.Reader
	stdout io.Writer // results: what another program reads
	stderr io.Writer // words: progress and errors
	getenv func(string) string
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == childCommand { // before anything else: a job must start fast
		os.Exit(exec.ChildMain(context.Background(), os.Stdin, os.Stdout, os.Stderr))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	env := environment{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv}
	err := run(ctx, env, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "pinfi:", err)
	}
	os.Exit(codeOf(err))
}

// childCommand is the hidden command that runs one job in a process of its own.
const childCommand = "exec-wasm"

// run carries out one command line.
func run(ctx context.Context, env environment, args []string) error {
	root := rootCommand(env)
	root.SetArgs(args)
	root.SetIn(env.stdin)
	root.SetOut(env.stdout)
	root.SetErr(env.stderr)
	return root.ExecuteContext(ctx)
}
