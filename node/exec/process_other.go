//go:build !linux

package exec

import (
	"os"
	"syscall"
)

// childAttributes returns nothing: the child is killed by its process, and it
// never starts another one. A parent that is killed leaves it to the job's time.
func childAttributes() *syscall.SysProcAttr { return nil }

// killGroup kills the child.
func killGroup(p *os.Process) error { return p.Kill() }

// rssOf returns 0: not known here.
func rssOf(*os.ProcessState) int64 { return 0 }

// peakRSS returns 0: not known here.
func peakRSS() int64 { return 0 }

// reserve returns size zero bytes.
func reserve(size uint64) ([]byte, error) { return make([]byte, size), nil }

// lowerLimits does nothing here: the parent's timer and the memory limit hold.
func lowerLimits(_, _ uint64) error { return nil }
