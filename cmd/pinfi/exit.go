package main

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"syscall"

	"github.com/pinfi/pinfi/ledger/store"
	"github.com/pinfi/pinfi/node/api"
	"github.com/pinfi/pinfi/node/blob"
	"github.com/pinfi/pinfi/node/exec"
	"github.com/pinfi/pinfi/p2p/lp2p"
)

// The exit codes of the program, as docs/spec/cli.md lists them. A job's own code
// is passed on as it is.
const (
	exitUsage       = 64 // the command line is wrong
	exitData        = 65 // a file holds what it must not
	exitNoInput     = 66 // a file cannot be read
	exitUnavailable = 69 // a node, a peer or a port is not to be had
	exitBug         = 70 // our own mistake
	exitDisk        = 74 // the disk fails, or what it holds is damaged
	exitLater       = 75 // try again later
	exitPolicy      = 77 // a rule or a proof refuses
	exitBudget      = 78 // it would cost more than allowed
)

// An exitError is an error that decides the exit code.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }

func (e *exitError) Unwrap() error { return e.err }

// exit gives an error its exit code. A nil error stays nil.
func exit(code int, err error) error {
	if err == nil {
		return nil
	}
	return &exitError{code: code, err: err}
}

// codeOf returns the exit code of an error.
func codeOf(err error) int {
	if err == nil {
		return 0
	}
	if own, ok := errors.AsType[*exitError](err); ok {
		return own.code
	}
	if p, ok := errors.AsType[*api.ProblemError](err); ok {
		return codeOfProblem(p.Code)
	}
	is := func(targets ...error) bool {
		return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
	}
	switch {
	case is(api.ErrTooLong, lp2p.ErrAddress):
		return exitUsage
	case is(exec.ErrModule, store.ErrForeign):
		return exitData
	case is(store.ErrCorrupt, blob.ErrCorrupt, api.ErrBroken, syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS):
		return exitDisk
	case is(store.ErrInUse, lp2p.ErrListen, api.ErrInUse, api.ErrNoNode):
		return exitUnavailable
	case is(api.ErrUnsafe):
		return exitPolicy
	case is(fs.ErrNotExist, fs.ErrPermission, syscall.ENOTDIR, syscall.EISDIR):
		return exitNoInput
	case is(context.Canceled, context.DeadlineExceeded):
		return exitLater
	default:
		return exitBug
	}
}

// codeOfProblem returns the exit code of what a node answered.
func codeOfProblem(c api.Code) int {
	switch c {
	case api.CodeBadRequest, api.CodeInvalid, api.CodeBadJob, api.CodeBadPayment, api.CodeIDTaken:
		return exitUsage
	case api.CodeTooLarge, api.CodeNotManifest:
		return exitData
	case api.CodeUnreadable:
		return exitDisk
	case api.CodeUnauthorized, api.CodeUnavailable, api.CodeStopping:
		return exitUnavailable
	case api.CodeNotTaken, api.CodeTooMany, api.CodeSlow:
		return exitLater
	case api.CodeInternal, api.CodeForeign, api.CodeNotFound, api.CodeMethod, api.CodeUnknownJob, api.CodeUnknownPay,
		api.CodeUnknownBlob:
	}
	return exitBug
}
