package main

import (
	"bufio"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// idleFor is how long the nodes are left alone before they are measured.
const idleFor = 20 * time.Second

// BenchmarkIdle measures what a full node takes that has nothing to do: the memory
// and the processor time of each provider of a devnet of four, proofs included.
// Run it with -benchtime 1x.
func BenchmarkIdle(b *testing.B) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		b.Skip("memory is read from /proc, which this system does not have")
	}
	dir := b.TempDir()
	bin := filepath.Join(dir, "pinfi")
	if out, err := osexec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		b.Fatalf("build: %v\n%s", err, out)
	}
	devnet := func(args ...string) {
		b.Helper()
		cmd := osexec.Command(bin, append([]string{"devnet"}, append(args, "--dir", filepath.Join(dir, "net"))...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("devnet %v: %v\n%s", args, err, out)
		}
	}
	for b.Loop() {
		devnet("up")
		pids := nodesIn(b, dir)
		time.Sleep(idleFor)
		var rss, cpu float64
		for _, pid := range pids {
			rss = max(rss, memoryOf(b, pid))
			cpu = max(cpu, cpuOf(b, pid))
		}
		devnet("down", "--purge")
		b.ReportMetric(rss, "MB/node")
		b.ReportMetric(100*cpu/idleFor.Seconds(), "%core/node")
		b.ReportMetric(0, "ns/op")
	}
}

// nodesIn returns the processes of the providers whose folders are below dir.
func nodesIn(b *testing.B, dir string) []string {
	b.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		b.Fatal(err)
	}
	var pids []string
	for _, path := range all {
		line, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(line), "provide\x00") && strings.Contains(string(line), dir) {
			pids = append(pids, filepath.Base(filepath.Dir(path)))
		}
	}
	if len(pids) != 4 {
		b.Fatalf("%d providers run below %s, want 4", len(pids), dir)
	}
	return pids
}

// memoryOf returns the resident memory of a process in megabytes of 10^6 bytes.
func memoryOf(b *testing.B, pid string) float64 {
	b.Helper()
	f, err := os.Open(filepath.Join("/proc", pid, "status"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) == 3 && fields[0] == "VmRSS:" {
			kib, err := strconv.ParseFloat(fields[1], 64)
			if err != nil {
				b.Fatal(err)
			}
			return kib * 1024 / 1e6
		}
	}
	b.Fatalf("process %s has no VmRSS", pid)
	return 0
}

// cpuOf returns the processor time of a process in seconds. The fields are those of
// proc(5); a tick is a hundredth of a second.
func cpuOf(b *testing.B, pid string) float64 {
	b.Helper()
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, err1 := strconv.ParseFloat(fields[11], 64)
	system, err2 := strconv.ParseFloat(fields[12], 64)
	if err1 != nil || err2 != nil {
		b.Fatalf("process %s: its stat is %q", pid, stat)
	}
	return (user + system) / 100
}
