package exec

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// [JOB-22] A module is checked before it is paid for and before it is run: what
// is not a WASI command is refused with what was found and what would be right.
func TestCheckModule(t *testing.T) {
	const (
		intType  = "\x02\x60\x00\x00\x60\x01\x7f\x00"
		wasiName = "\x16wasi_snapshot_preview1"
	)
	imports := func(body string) []byte {
		return module(section{1, intType}, section{2, "\x01" + body}, funcSection, memorySection,
			section{7, "\x02\x06memory\x02\x00\x06_start\x00\x01"}, emptyCode)
	}
	for name, c := range map[string]struct {
		b    []byte
		want []string // nil: the module is good
	}{
		"smallest":  {module(typeSection, funcSection, memorySection, exportSection, emptyCode), nil},
		"proc_exit": {imports(wasiName + "\x09proc_exit\x00\x01"), nil},
		"empty":     {nil, []string{"empty", "--target=wasm32-wasi"}},
		"executable": {
			[]byte("\x7fELF\x02\x01\x01\x00\x00"),
			[]string{"9 bytes", "7f 45 4c 46", "offset 0", "00 61 73 6d", "Linux executable"},
		},
		"script":    {[]byte("#!/bin/sh\n"), []string{"10 bytes", "script"}},
		"text":      {[]byte("(module)"), []string{"wat2wasm"}},
		"component": {[]byte("\x00asm\x0d\x00\x01\x00"), []string{"component"}},
		"version 2": {[]byte("\x00asm\x02\x00\x00\x00"), []string{"another version"}},
		"short":     {[]byte("\x00as"), []string{"3 bytes"}},
		"cut":       {module(typeSection)[:10], []string{"not valid WebAssembly"}},
		"no _start": {module(), []string{"no function _start", "main"}},
		"_start with parameters": {
			module(section{1, "\x01\x60\x01\x7f\x00"}, funcSection, memorySection, exportSection, emptyCode),
			[]string{"1 parameters"},
		},
		"no memory": {
			module(typeSection, funcSection, section{7, "\x01\x06_start\x00\x00"}, emptyCode),
			[]string{`memory named "memory"`},
		},
		"foreign function": {imports("\x03env\x03foo\x00\x00"), []string{"env.foo", "wasi_snapshot_preview1"}},
		"known name":       {imports("\x03env\x09proc_exit\x00\x01"), []string{"env.proc_exit"}},
		"unknown function": {imports(wasiName + "\x03foo\x00\x00"), []string{"wasi_snapshot_preview1.foo"}},
		"wrong type":       {imports(wasiName + "\x09proc_exit\x00\x00"), []string{"proc_exit", "[i32] -> []"}},
		"global": {
			imported("\x01g\x03\x7f\x00", memorySection),
			[]string{"imports a global"},
		},
		"table": {
			imported("\x01t\x01\x70\x00\x01", memorySection),
			[]string{"imports a table"},
		},
		"memory": {
			imported("\x01m\x02\x00\x01"),
			[]string{"imports a memory"},
		},
	} {
		err := CheckModule(c.b)
		if c.want == nil && err != nil || c.want != nil && !errors.Is(err, ErrModule) {
			t.Errorf("%s: %v, want ErrModule: %v", name, err, c.want != nil)
			continue
		}
		for _, text := range c.want {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v, want it to say %q", name, err, text)
			}
		}
	}
}

func TestCheckTestdata(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.wasm")
	if err != nil || len(paths) < 9 {
		t.Fatalf("%d modules in testdata, %v", len(paths), err)
	}
	for _, path := range paths {
		if _, err := ReadModule(path); err != nil {
			t.Error(err)
		}
	}
	_, err = ReadModule("testdata/hello.c")
	if !errors.Is(err, ErrModule) || !strings.Contains(err.Error(), "hello.c") {
		t.Errorf("ReadModule of a C source: %v, want ErrModule that names it", err)
	}
	_, err = ReadModule("testdata/missing.wasm")
	if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrModule) {
		t.Errorf("ReadModule of no file: %v, want ErrNotExist and not ErrModule", err)
	}
}

// [JOB-23] A provider that is handed a module that cannot run says so, runs
// nothing of it, and has no exit code for it.
func TestRunRefusesModules(t *testing.T) {
	r := newRunner(t)
	for name, b := range map[string][]byte{"not a module": []byte("hello"), "no function _start": module()} {
		job := newJob("bad")
		job.Module = filepath.Join(t.TempDir(), "bad.wasm")
		job.Started = func() { t.Error("it was started") }
		if err := os.WriteFile(job.Module, b, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := run(t, r, job)
		if !errors.Is(err, ErrModule) || got.Source != 0 {
			t.Errorf("%s: Run = %v, %v, want ErrModule", name, got.Source, err)
		}
	}
}

func FuzzCheckModule(f *testing.F) {
	f.Add(module(typeSection, funcSection, memorySection, exportSection, emptyCode))
	f.Add(tableBomb())
	f.Add(imported("\x01g\x03\x7f\x00", memorySection))
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := CheckModule(b); err != nil && !errors.Is(err, ErrModule) {
			t.Fatalf("CheckModule: %v, want ErrModule", err)
		}
	})
}
