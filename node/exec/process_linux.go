package exec

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// addressSpaceSpare is what the child may map beyond what it had mapped when it
// started and the job's memory: the compiler's, the collector's, tables.
const addressSpaceSpare = 1 << 30

// filesOpenMax bounds the files that a child holds open.
const filesOpenMax = 256

// childAttributes makes the child the leader of a process group, and has the
// kernel kill it when the thread that started it ends.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// killGroup kills the process group of a child.
func killGroup(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGKILL) }

// rssOf returns the peak resident set of an ended child, in bytes. The kernel
// counts in it the parent's memory from between fork and exec.
func rssOf(state *os.ProcessState) int64 {
	if usage, ok := state.SysUsage().(*syscall.Rusage); ok {
		return usage.Maxrss << 10
	}
	return 0
}

// peakRSS returns the peak resident set of this process, in bytes.
func peakRSS() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, line, _ := bytes.Cut(status, []byte("VmHWM:"))
	var kib int64
	if _, err := fmt.Sscanf(string(line), "%d", &kib); err != nil {
		return 0
	}
	return kib << 10
}

// reserve returns size zero bytes of address space, at least one. The kernel
// gives memory to the pages that are touched.
func reserve(size uint64) ([]byte, error) {
	return unix.Mmap(-1, 0, int(max(size, 1)), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
}

// lowerLimits lowers the limits of this process for good: processor time, open
// files, core files, and address space to what it has now, the job's memory and
// a spare.
func lowerLimits(cpuSeconds, memory uint64) error {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return err
	}
	first, _, _ := bytes.Cut(statm, []byte(" "))
	pages, err := strconv.ParseUint(string(first), 10, 64)
	if err != nil {
		return err
	}
	mapped := pages * uint64(os.Getpagesize())
	for _, limit := range []struct {
		resource int
		value    uint64
	}{
		{unix.RLIMIT_CPU, cpuSeconds},
		{unix.RLIMIT_NOFILE, filesOpenMax},
		{unix.RLIMIT_CORE, 0},
		{unix.RLIMIT_AS, mapped + memory + addressSpaceSpare},
	} {
		if err := lower(limit.resource, limit.value); err != nil {
			return fmt.Errorf("resource %d to %d: %w", limit.resource, limit.value, err)
		}
	}
	return nil
}

// lower sets both limits of a resource, and never raises one.
func lower(resource int, value uint64) error {
	var now unix.Rlimit
	if err := unix.Getrlimit(resource, &now); err != nil {
		return err
	}
	value = min(value, now.Max)
	return unix.Setrlimit(resource, &unix.Rlimit{Cur: value, Max: value})
}
