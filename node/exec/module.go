package exec

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// ErrModule says that a module cannot be run, here or anywhere: it is not
// WebAssembly, not valid, or does not keep to the job contract.
var ErrModule = errors.New("module cannot run")

// ModuleMax is the size of the largest module that CheckModule accepts, in bytes.
const ModuleMax = 64 << 20

// moduleHead is how every WebAssembly module begins: the magic and version 1.
const moduleHead = "\x00asm\x01\x00\x00\x00"

// wasi is the one module that jobs may import from.
const wasi = wasi_snapshot_preview1.ModuleName

// CheckModule reports whether b is a module that a Runner can run: valid
// WebAssembly that imports functions of WASI preview 1 only and exports its
// memory and the function _start. It runs none of it. Errors wrap ErrModule and
// say what was found, where, and what would be right.
func CheckModule(b []byte) error {
	ctx := context.Background() // nothing here waits
	_, closeRuntime, err := compile(ctx, wazero.NewRuntimeConfigInterpreter(), b)
	if err != nil {
		return err
	}
	return closeRuntime()
}

// A compiled module and the runtime that it may be run in.
type compiled struct {
	runtime wazero.Runtime
	module  wazero.CompiledModule
}

// compile compiles the module b and holds it to the job contract. It returns the
// function that frees the runtime, too.
func compile(ctx context.Context, cfg wazero.RuntimeConfig, b []byte) (compiled, func() error, error) {
	if err := checkHead(b); err != nil {
		return compiled{}, nil, err
	}
	if len(b) > ModuleMax {
		return compiled{}, nil, fmt.Errorf("%w: has %d bytes, at most %d are accepted", ErrModule, len(b), ModuleMax)
	}
	c := compiled{runtime: wazero.NewRuntimeWithConfig(ctx, cfg)}
	free := func() error { return c.runtime.Close(ctx) }
	var err error
	if c.module, err = c.runtime.CompileModule(ctx, b); err != nil {
		err = fmt.Errorf("%w: not valid WebAssembly: %w", ErrModule, err)
	} else if err = checkExports(c.module); err == nil {
		err = checkImports(ctx, c, b)
	}
	if err != nil {
		return compiled{}, nil, errors.Join(err, free())
	}
	return c, free, nil
}

// ReadModule returns the bytes of the module at path, checked. A file that
// cannot be read wraps the error of the file system and not ErrModule.
func ReadModule(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, ModuleMax+1))
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", path, err)
	}
	if err := CheckModule(b); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

// checkHead refuses bytes that do not begin as a module does, and guesses what
// they are.
func checkHead(b []byte) error {
	if bytes.HasPrefix(b, []byte(moduleHead)) {
		return nil
	}
	head := b[:min(len(b), len(moduleHead))]
	guess := ""
	switch {
	case len(b) == 0:
		return fmt.Errorf("%w: the file is empty, want a WebAssembly module (--target=wasm32-wasi)", ErrModule)
	case bytes.HasPrefix(b, []byte("\x7fELF")):
		guess = "; it is a Linux executable, build it with --target=wasm32-wasi"
	case bytes.HasPrefix(b, []byte("#!")):
		guess = "; it is a script, only compiled modules run"
	case bytes.HasPrefix(b, []byte("(module")):
		guess = "; it is WebAssembly text, translate it with wat2wasm"
	case bytes.HasPrefix(b, []byte("\x00asm\x0d\x00\x01\x00")):
		guess = "; it is a component, build a core module for WASI preview 1"
	case bytes.HasPrefix(b, []byte(moduleHead[:4])):
		guess = "; it is WebAssembly of another version"
	}
	return fmt.Errorf("%w: %d bytes that begin with % x (%q) at offset 0, a WebAssembly module begins with % x%s",
		ErrModule, len(b), head, head, moduleHead, guess)
}

// checkExports refuses a module that no command is: without _start or memory.
func checkExports(module wazero.CompiledModule) error {
	start, ok := module.ExportedFunctions()["_start"]
	if !ok {
		return fmt.Errorf("%w: exports no function _start; build it as a command with a main function, not as a library",
			ErrModule)
	}
	if len(start.ParamTypes()) > 0 || len(start.ResultTypes()) > 0 {
		return fmt.Errorf("%w: its _start has %d parameters and %d results, want none", ErrModule,
			len(start.ParamTypes()), len(start.ResultTypes()))
	}
	if _, ok := module.ExportedMemories()["memory"]; !ok {
		return fmt.Errorf("%w: exports no memory named %q; WASI reads arguments there", ErrModule, "memory")
	}
	return nil
}

// checkImports refuses imports that WASI preview 1 does not have. Functions are
// compared with their types; a table, a memory or a global is never WASI's.
func checkImports(ctx context.Context, c compiled, b []byte) error {
	host, err := wasi_snapshot_preview1.NewBuilder(c.runtime).Compile(ctx)
	if err != nil {
		return fmt.Errorf("check module: %w", err)
	}
	known := host.ExportedFunctions()
	for _, f := range c.module.ImportedFunctions() {
		from, name, _ := f.Import()
		want, ok := known[name]
		if from != wasi || !ok {
			return fmt.Errorf("%w: imports the function %s.%s; jobs have the functions of %s only",
				ErrModule, from, name, wasi)
		}
		if !slices.Equal(f.ParamTypes(), want.ParamTypes()) || !slices.Equal(f.ResultTypes(), want.ResultTypes()) {
			return fmt.Errorf("%w: imports %s.%s as %s, it is %s", ErrModule, from, name, signature(f), signature(want))
		}
	}
	if kind := foreignImport(b); kind != "" {
		return fmt.Errorf("%w: imports a %s; jobs may import functions of %s only", ErrModule, kind, wasi)
	}
	return nil
}

// signature writes the type of a function.
func signature(f api.FunctionDefinition) string {
	names := func(types []api.ValueType) []string {
		list := make([]string, len(types))
		for i, t := range types {
			list[i] = api.ValueTypeName(t)
		}
		return list
	}
	return fmt.Sprintf("%v -> %v", names(f.ParamTypes()), names(f.ResultTypes()))
}

// importSection is the number of the section that lists imports.
const importSection = 2

// foreignImport returns the kind of the first import that is not a function, or
// "" when there is none. The module is valid, so that no length is checked again;
// the compiler does not tell of imported tables and globals.
func foreignImport(b []byte) string {
	number := func() uint64 {
		v, n := binary.Uvarint(b)
		b = b[max(n, 0):]
		return v
	}
	b = b[len(moduleHead):]
	for len(b) > 0 && b[0] != importSection {
		b = b[1:]
		size := number()
		b = b[size:]
	}
	if len(b) == 0 {
		return ""
	}
	b = b[1:]
	_ = number() // size of the section
	for range number() {
		for range 2 { // the module and the name
			size := number()
			b = b[size:]
		}
		kind := b[0]
		b = b[1:]
		if kind != 0 {
			return importKind(kind)
		}
		_ = number() // type of the function
	}
	return ""
}

// importKind names the kind of an import as the WebAssembly specification
// numbers it (core specification 2.0, section 5.5.5).
func importKind(kind byte) string {
	switch kind {
	case 1:
		return "table"
	case 2:
		return "memory"
	case 3:
		return "global"
	default:
		return fmt.Sprintf("thing of kind %d", kind)
	}
}
