//go:build !unix

package main

import "syscall"

// processAttributes has nothing to set on this system.
func processAttributes(bool) *syscall.SysProcAttr { return nil }
