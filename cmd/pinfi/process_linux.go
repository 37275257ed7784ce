package main

import "syscall"

// processAttributes keeps an interrupt at the terminal from a node that this
// program stops itself, and ends the node when this program is killed. A detached
// node outlives both.
func processAttributes(detach bool) *syscall.SysProcAttr {
	if detach {
		return &syscall.SysProcAttr{Setsid: true}
	}
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
