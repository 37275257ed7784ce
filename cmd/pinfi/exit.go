package main

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"github.com/pinfi/pinfi/ledger/store"
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
	switch {
	case errors.Is(err, exec.ErrModule), errors.Is(err, lp2p.ErrAddress):
		return exitData
	case errors.Is(err, store.ErrCorrupt), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EIO):
		return exitDisk
	case errors.Is(err, store.ErrInUse), errors.Is(err, lp2p.ErrListen):
		return exitUnavailable
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return exitNoInput
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return exitLater
	default:
		return exitBug
	}
}
