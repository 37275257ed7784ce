//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/pinfi/pinfi/ledger/store"
	"github.com/pinfi/pinfi/node/api"
	"github.com/pinfi/pinfi/node/exec"
	"github.com/pinfi/pinfi/p2p/lp2p"
)

// TestExitCodes holds errors to the table of docs/spec/cli.md.
func TestExitCodes(t *testing.T) {
	problem := func(c api.Code) error { return &api.ProblemError{Problem: api.Problem{Code: c}} }
	ended := func(exit uint32, source string) error {
		return jobError(&api.Job{
			Summary: api.Summary{State: api.JobDone}, Runs: []api.Run{{Done: true, Exit: exit, Source: source}},
		})
	}
	failed := func(cause string) error {
		return jobError(&api.Job{Summary: api.Summary{State: api.JobFailed, Cause: cause}})
	}
	for _, test := range []struct {
		want int
		err  error
	}{
		{0, nil},
		{64, api.ErrTooLong},
		{64, lp2p.ErrAddress},
		{64, problem(api.CodeBadJob)},
		{64, problem(api.CodeIDTaken)},
		{65, exec.ErrModule},
		{65, store.ErrForeign},
		{65, problem(api.CodeTooLarge)},
		{66, fs.ErrNotExist},
		{66, syscall.EISDIR},
		{66, syscall.ENOTDIR},
		{69, store.ErrInUse},
		{69, lp2p.ErrListen},
		{69, api.ErrNoNode},
		{69, problem(api.CodeUnavailable)},
		{69, failed("nobody")},
		{69, failed("providers")},
		{70, errors.New("anything else")},
		{70, problem(api.CodeInternal)},
		{74, store.ErrCorrupt},
		{74, syscall.ENOSPC},
		{74, problem(api.CodeUnreadable)},
		{75, context.Canceled},
		{75, problem(api.CodeNotTaken)},
		{77, api.ErrUnsafe},
		{77, failed("mismatch")},
		{78, failed("budget")},
		{0, ended(0, "job")},
		{7, ended(7, "job")},
		{124, ended(124, "time")},
		{134, ended(134, "trap")},
		{137, ended(137, "memory")},
		{255, ended(255, "job")},
		{255, ended(256, "job")}, // or a shell would see a 0
		{255, ended(1<<32-1, "job")},
		{3, exit(3, exec.ErrModule)}, // what is said outright counts
	} {
		if test.err != nil {
			test.err = fmt.Errorf("wrapped: %w", test.err)
		}
		if got := codeOf(test.err); got != test.want {
			t.Errorf("%v: exit code %d, want %d", test.err, got, test.want)
		}
	}
}
