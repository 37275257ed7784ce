package exec

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// startTest starts this test program on one test, with more in its environment,
// and waits for it at the end of the calling test.
func startTest(t *testing.T, name string, env ...string) *os.Process {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+name+"$")
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it is dead when the test went well
		_ = cmd.Wait()
	})
	return cmd.Process
}

// waitFor waits until what is so, at most twenty seconds.
func waitFor(t *testing.T, what string, so func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal("waited in vain for ", what)
		}
	}
}

// A section is one section of a WebAssembly module: its number and its bytes.
type section struct {
	id   byte
	body string
}

// module writes a WebAssembly module. Sections are shorter than 128 bytes.
func module(sections ...section) []byte {
	b := []byte(moduleHead)
	for _, s := range sections {
		b = append(b, s.id, byte(len(s.body)))
		b = append(b, s.body...)
	}
	return b
}

// The sections of a small command: type 0 is () -> (), function 0 has it, one page
// of memory, both exported.
var (
	typeSection   = section{1, "\x01\x60\x00\x00"}
	funcSection   = section{3, "\x01\x00"}
	memorySection = section{5, "\x01\x00\x01"}
	exportSection = section{7, "\x02\x06memory\x02\x00\x06_start\x00\x00"}
	emptyCode     = section{10, "\x01\x02\x00\x0b"}
)

// imported is a command that imports one thing from env.
func imported(thing string, memory ...section) []byte {
	sections := append([]section{typeSection, {2, "\x01\x03env" + thing}, funcSection}, memory...)
	return module(append(sections, exportSection, emptyCode)...)
}

// tableBomb is a command that grows a table for ever:
// (loop (drop (table.grow (ref.null func) (i32.const 1<<20))) (br 0)).
func tableBomb() []byte {
	code := "\x00\x03\x40\xd0\x70\x41\x80\x80\xc0\x00\xfc\x0f\x00\x1a\x0c\x00\x0b\x0b"
	return module(typeSection, funcSection, section{4, "\x01\x70\x00\x01"}, memorySection, exportSection,
		section{10, "\x01" + string(byte(len(code))) + code})
}
