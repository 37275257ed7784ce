//go:build unix && !linux

package main

import "syscall"

// processAttributes keeps an interrupt at the terminal from a node that this
// program stops itself, and lets a detached one outlive the terminal.
func processAttributes(detach bool) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: !detach, Setsid: detach}
}
