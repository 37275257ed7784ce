// Package pinfi_test holds the fences: tests about the code itself, which no
// linter checks for us. It is not a test of behaviour; each room has its own.
//
// TestFences walks the module and prints every fault with what to do instead.
// TestFencesBite plants each fault in a small made-up module and fails when its
// fence stays silent. A fault that must stand is one line in excused, with its
// reason, and the line is a fault itself as soon as nothing needs it.
package pinfi_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

const module = "github.com/pinfi/pinfi"

var update = flag.Bool("update", false, "rewrite the import picture in ARCHITECTURE.md")

// excused holds "fence path" of each fault that stands, with the reason why.
var excused = map[string]string{}

// topLevel is every name that may stand beside go.mod.
const topLevel = `.ci .gitignore .golangci.yml ARCHITECTURE.md LICENSE LICENSE-APACHE LICENSE-MIT Makefile README.md
	cmd docs go.mod go.sum gpu ledger market node p2p proofs simulations tidy_fences_test.go tidy_test.go tools`

// A kind says what a package may do.
type kind string

const (
	pure  kind = "PURE"  // decides, never acts
	acts  kind = "IO"    // acts, decides little; knows no other IO package unless its room says so
	shell kind = "shell" // where IO packages meet
)

// A room is what one package may know of our others. Names are relative to the
// module; "x/..." is x and all below it; "pure" is every PURE package.
type room struct {
	kind  kind
	knows string
	why   string
}

var rooms = map[string]room{
	"p2p":           {pure, "", "words lie under all rooms and know none"},
	"p2p/wire":      {pure, "p2p", "the codec knows primitives; each package encodes its own types"},
	"p2p/transport": {acts, "p2p p2p/wire", "it names what a network does, and no protocol on top"},
	"p2p/lp2p": {
		acts, "p2p p2p/wire p2p/transport",
		"a network carries bytes and knows nothing of their meaning",
	},
	"p2p/transporttest": {
		acts, "p2p p2p/wire p2p/transport",
		"one contract for every transport, so it knows none of them",
	},
	"gpu":            {pure, "p2p p2p/wire", "devices are words"},
	"gpu/probe":      {acts, "gpu", "finding devices decides nothing"},
	"gpu/kernel":     {acts, "gpu", "a kernel multiplies; what for is the business of proofs"},
	"ledger":         {pure, "p2p p2p/wire", "money has no opinion about markets, proofs or networks"},
	"ledger/replica": {pure, "p2p p2p/wire ledger", "the merge of operations knows only operations"},
	"ledger/checkpoint": {
		pure, "p2p p2p/wire ledger ledger/replica",
		"checkpoints agree on a cut of the ledger, no more",
	},
	"ledger/store": {acts, "p2p p2p/wire ledger", "a store keeps bytes and knows nothing of their meaning"},
	"market": {
		pure, "p2p p2p/wire ledger gpu market/curve",
		"a market is a contract over the ledger; proofs are another one",
	},
	"market/curve": {pure, "p2p p2p/wire ledger", "prices are arithmetic over amounts"},
	"proofs": {
		pure, "p2p p2p/wire ledger gpu proofs/merkle proofs/freivalds",
		"proofs are a contract over the ledger; the market is another one",
	},
	"proofs/merkle":    {pure, "p2p", "the mathematics knows digests only"},
	"proofs/freivalds": {pure, "p2p", "the mathematics knows digests only"},
	"node/machine": {
		pure, "p2p p2p/wire gpu ledger ledger/replica ledger/checkpoint market/... proofs/...",
		"the one brain composes the rooms",
	},
	"node/exec":      {acts, "pure node/blob", "a job reads and leaves content; it meets the network in node only"},
	"node/exec/jobs": {acts, "", "examples are data for any runtime"},
	"node/blob": {
		acts, "pure p2p/transport",
		"content moves over any transport and meets the rest in node only",
	},
	"node/api": {acts, "pure", "the local API gets what it shows from node as functions"},
	"node": {
		shell, "pure p2p/transport p2p/lp2p ledger/store gpu/probe gpu/kernel node/exec node/blob node/api",
		"the shell",
	},
	"simulations":         {acts, "pure simulations/report", "simulations host the machine, never the shell or its IO"},
	"simulations/world":   {pure, "pure", "virtual time"},
	"simulations/weather": {pure, "pure", "links"},
	"simulations/actor":   {pure, "pure", "agents"},
	"simulations/check":   {pure, "pure", "oracles"},
	"simulations/report":  {shell, "pure", "figures are made of what the world did, never of the shell"},
	"simulations/hosttest": {shell, "pure p2p/... ledger/... gpu/... node/... " +
		"simulations/report", "real hosts in virtual time"},
	"cmd/pinfi": {shell, "pure p2p/... ledger/... gpu/... node/... simulations simulations/report", "the command line"},
}

// pureStd is what PURE packages may import of the standard library: what only computes.
var pureStd = strings.Fields(`bytes cmp container/heap crypto/sha256 crypto/sha512 crypto/subtle encoding/binary
	encoding/hex errors fmt hash iter maps math/big math/bits math/rand/v2 slices strconv strings time`)

// pureThirdParty is the same for other people's modules.
var pureThirdParty = []string{"github.com/oasisprotocol/curve25519-voi", "lukechampine.com/blake3"}

// A fault is a place where a fence is broken, and what to do instead.
type fault struct{ at, fix string }

func (f fault) String() string { return f.at + ": " + f.fix }

type faults []fault

func (f *faults) add(at, format string, args ...any) {
	*f = append(*f, fault{at, fmt.Sprintf(format, args...)})
}

// A tree is a module as the fences see it.
type tree struct {
	files fs.FS
	fset  *token.FileSet
	pkgs  map[string][]*source // by folder, "." for the root
	other []string             // paths of all files that are not Go
	real  bool                 // false for a planted one, of which the go command knows nothing
}

type source struct {
	path string // relative to the module
	dir  string
	test bool
	made bool // generated
	text string
	ast  *ast.File
}

// imports returns each import of the file with the name that the file knows it by.
func (s *source) imports() map[string]string {
	names := map[string]string{}
	for _, spec := range s.ast.Imports {
		what, _ := strconv.Unquote(spec.Path.Value)
		name := path.Base(what)
		if len(name) > 1 && name[0] == 'v' && strings.Trim(name[1:], "0123456789") == "" {
			name = path.Base(path.Dir(what))
		}
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[what] = name
	}
	return names
}

// readTree parses every Go file of the module, whatever its build tags, and
// leaves out testdata, hidden folders and modules nested in this one.
func readTree(files fs.FS) (*tree, error) {
	t := &tree{files: files, fset: token.NewFileSet(), pkgs: map[string][]*source{}}
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			_, nested := fs.Stat(files, path.Join(name, "go.mod"))
			hidden := strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata"
			if name != "." && (nested == nil || hidden) {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			t.other = append(t.other, name)
			return nil
		}
		return t.parse(name)
	})
	return t, err
}

func (t *tree) parse(name string) error {
	text, err := fs.ReadFile(t.files, name)
	if err != nil {
		return err
	}
	file, err := parser.ParseFile(t.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	dir := path.Dir(name)
	t.pkgs[dir] = append(t.pkgs[dir], &source{
		path: name, dir: dir, text: string(text), ast: file,
		test: strings.HasSuffix(name, "_test.go"), made: ast.IsGenerated(file),
	})
	return nil
}

// code returns the files that are not tests, of the packages that keep accepts, in order.
func (t *tree) code(keep func(dir string) bool) []*source {
	var code []*source
	for _, dir := range sortedKeys(t.pkgs) {
		for _, s := range t.pkgs[dir] {
			if !s.test && keep(dir) {
				code = append(code, s)
			}
		}
	}
	return code
}

func (t *tree) at(pos token.Pos) string {
	p := t.fset.Position(pos)
	return fmt.Sprintf("%s:%d", p.Filename, p.Line)
}

func isPure(dir string) bool { return rooms[dir].kind == pure }

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// A fence is one rule about the code.
type fence struct {
	name  string
	check func(*tree) faults
}

var fences = []fence{
	{"top-level", checkTopLevel},
	{"rooms", checkRooms},
	{"imports", checkImports},
	{"signatures", checkSignatures},
	{"determinism", checkDeterminism},
	{"map-order", checkMapOrder},
	{"floats", checkFloats},
	{"sizes", checkSizes},
	{"package-comments", checkPackageComments},
	{"names", checkNames},
	{"remarks", checkRemarks},
	{"modules", checkModules},
	{"spec", checkSpec},
	{"markdown", checkMarkdown},
	{"decisions", checkDecisions},
	{"picture", checkPicture},
}

func TestFences(t *testing.T) {
	whole, err := readTree(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	whole.real = true
	needed := map[string]bool{}
	for _, fence := range fences {
		t.Run(fence.name, func(t *testing.T) {
			for _, f := range fence.check(whole) {
				file, _, _ := strings.Cut(f.at, ":")
				key := fence.name + " " + file
				if needed[key] = true; excused[key] == "" {
					t.Error(f)
				}
			}
		})
	}
	for key := range excused {
		if !needed[key] && !t.Failed() {
			t.Errorf("excused[%q] excuses nothing any more: delete the line", key)
		}
	}
}

// A plant is a made-up module and the words with which a fence refuses it; no
// words mean that the fence must accept it.
type plant struct {
	fence string
	files map[string]string
	want  string
}

func TestFencesBite(t *testing.T) {
	bitten := map[string]bool{}
	for _, p := range plants {
		files := fstest.MapFS{}
		for name, text := range p.files {
			files[name] = &fstest.MapFile{Data: []byte(text)}
		}
		small, err := readTree(files)
		if err != nil {
			t.Fatalf("%s: %v", p.fence, err)
		}
		i := slices.IndexFunc(fences, func(f fence) bool { return f.name == p.fence })
		said := fmt.Sprint(fences[i].check(small))
		switch {
		case p.want == "" && said != "[]":
			t.Errorf("%s: refuses %v, which is right: %s", p.fence, p.files, said)
		case !strings.Contains(said, p.want):
			t.Errorf("%s: says %s of %v, want words like %q", p.fence, said, p.files, p.want)
		}
		bitten[p.fence] = bitten[p.fence] || p.want != ""
	}
	for _, fence := range fences {
		if !bitten[fence.name] {
			t.Errorf("fence %s has no planted fault: add one to plants", fence.name)
		}
	}
}

// adr is a table of dependencies for the plants.
const adr = "# Dependencies\n\nStatus: accepted\n\n| module | rooms | why |\n|---|---|---|\n"

// one is a planted module of one file.
func one(name, text string) map[string]string { return map[string]string{name: text} }

var plants = []plant{
	{"top-level", map[string]string{"common/a.go": "package common"}, "the top level is fixed"},
	{"top-level", map[string]string{".gitignore": "/bin/\n", "bin/a": "", "docs/a.md": ""}, ""},
	{"rooms", one("market/pool/a.go", "package pool"), "market/pool: has no room"},
	{"rooms", map[string]string{
		"market/a.go":       `package market; import "github.com/pinfi/pinfi/ledger"`,
		"ledger/a.go":       `package ledger; import "github.com/pinfi/pinfi/ledger/store"`,
		"ledger/store/a.go": `package store`,
	}, "market -> ledger -> ledger/store"},
	{"rooms", one("node/a.go", `package node; import "github.com/pinfi/pinfi/ledger/store"`), ""},
	{"imports", one("ledger/a.go", `package ledger; import "github.com/pinfi/pinfi/market"`), "money has no opinion"},
	{"imports", one("node/exec/a.go", `package exec; import "github.com/pinfi/pinfi/p2p/lp2p"`), "meets the network"},
	{"imports", one("simulations/a.go", `package simulations; import "github.com/pinfi/pinfi/node"`), "never the shell"},
	{"imports", one("ledger/a.go", `package ledger; import "os"`), "decides and never acts"},
	{"imports", one("ledger/a_linux.go", `package ledger; import "context"`), "decides and never acts"},
	{
		"imports", one("proofs/a.go", `package proofs; import "golang.org/x/sync/errgroup"`),
		"only github.com/oasisprotocol",
	},
	{"imports", one("node/a.go", `package node; import "example.org/x"`), "has no line in docs/adr"},
	{"imports", map[string]string{
		"node/a.go":    `package node; import "example.org/x/v2/y"`,
		dependencyFile: adr + "| `example.org/x/v2` | `p2p/lp2p` | it is good |\n",
	}, "gives it to p2p/lp2p only"},
	{"imports", map[string]string{
		"p2p/a.go":      `package p2p; import "lukechampine.com/blake3"`,
		"p2p/lp2p/a.go": `package lp2p; import ("os"; "example.org/x/v2/y"; "github.com/pinfi/pinfi/p2p/transport")`,
		dependencyFile: adr + "| `example.org/x/v2` | `p2p/lp2p` | it is good |\n" +
			"| `lukechampine.com/blake3` | all | hash |\n",
	}, ""},
	{
		"signatures", one("p2p/a.go", `package p2p; import "lukechampine.com/blake3"; func F() *blake3.Hasher`),
		"exports blake3.Hasher",
	},
	{
		"signatures", one("p2p/a.go", `package p2p; import "lukechampine.com/blake3"; type T struct { H blake3.Hasher }`),
		"exports blake3.Hasher",
	},
	{"signatures", one("p2p/a.go", `package p2p; import "lukechampine.com/blake3"; type T struct { h blake3.Hasher }
		func F(time int) { var h blake3.Hasher; _ = h }`), ""},
	{"determinism", one("market/a.go", `package market; import t "time"; var x = t.Now()`), "uses t.Now"},
	{"determinism", one("market/a.go", `package market; import "math/rand/v2"; var x = rand.IntN(3)`), "uses rand.IntN"},
	{"determinism", one("market/a.go", `package market; func f() { go f() }`), "starts a goroutine"},
	{"determinism", one("market/a.go", `package market; type T struct { c chan int }`), "uses a channel"},
	{"determinism", map[string]string{
		"market/a.go": `package market; import ("time"; "math/rand/v2"); func f(now time.Time, r *rand.Rand) int {
			return r.IntN(now.Add(time.Second).Nanosecond()) }`,
		"node/a.go": `package node; import "time"; var x = time.Now()`,
	}, ""},
	{
		"map-order", one("market/a.go", "package market\nfunc f(m map[int]int) {\nfor range m {}\n}"),
		"market/a.go:3: takes a map",
	},
	{
		"map-order", one("market/a.go", "package market\nfunc f(m map[int]int) {\nfor range m {} // order-free:\n}"),
		"takes a map",
	},
	{
		"map-order", one("market/a.go", "package market; import \"maps\"; func f(m map[int]int) {for range maps.Keys(m){}}"),
		"takes maps.Keys",
	},
	{"map-order", one("market/a.go", "package market\nimport (\"maps\";\"slices\")\nfunc f(m map[int]int) {\n"+
		"for range slices.Sorted(maps.Keys(m)) {}\nfor range m {} // order-free: a sum\nfor range []int{} {}\n}"), ""},
	{"map-order", one("node/a.go", "package node\nfunc f(m map[int]int) { for range m {} }"), ""},
	{"floats", one("ledger/a.go", `package ledger; type T struct { f float64 }`), "uses the float float64"},
	{"floats", one("market/curve/a.go", `package curve; const c = 0.5`), "uses the float 0.5"},
	{"floats", map[string]string{
		"ledger/a_test.go": `package ledger; const c = 0.5`, "node/a.go": `package node; const c = 0.5`,
		"market/a.go": `package market; const c = 5`,
	}, ""},
	{"sizes", one("gpu/a.go", "package gpu\n"+strings.Repeat("//\n", 500)), "has 501 lines, at most 500"},
	{"sizes", one("gpu/a_test.go", "package gpu\n"+strings.Repeat("//\n", 800)), "has 801 lines, at most 800"},
	{"sizes", one("cmd/pinfi/main.go", "package main\n"+strings.Repeat("//\n", 100)), "at most 100"},
	{
		"sizes", one("gpu/a.go", "package gpu\nfunc f() {\n"+strings.Repeat("_ = 0\n", 61)+"}\n"),
		"f has 61 lines, at most 60",
	},
	{"sizes", one("gpu/a.go", "package gpu\n// "+strings.Repeat("a ", 60)+"\n"), "gpu/a.go:2: has 123 columns"},
	{"sizes", map[string]string{
		"gpu/a.go":      "package gpu\nfunc f() {\n" + strings.Repeat("_ = 0\n// why\n", 60) + "}\n",
		"gpu/b.go":      "package gpu\n" + strings.Repeat("//\n", 499),
		"gpu/a_test.go": "package gpu\n" + strings.Repeat("//\n", 600),
		"gpu/made.go":   "// Code generated by hand. DO NOT EDIT.\npackage gpu\n" + strings.Repeat("//\n", 600),
	}, ""},
	{"package-comments", one("gpu/a.go", "package gpu"), "has 0 package comments"},
	{"package-comments", one("gpu/a.go", "// Devices.\npackage gpu"), `must begin with "Package gpu"`},
	{
		"package-comments",
		map[string]string{
			"gpu/a.go": "// Package gpu is.\npackage gpu", "gpu/b.go": "// Package gpu is.\npackage gpu",
		},
		"has 2 package comments [gpu/a.go gpu/b.go]",
	},
	{"package-comments", map[string]string{"gpu/a.go": "// Package gpu is.\npackage gpu", "gpu/b.go": "package gpu"}, ""},
	{"sizes", one("gpu/a.go", "package gpu\ntype T struct {\n\tF int `"+strings.Repeat("a:\"b\" ", 30)+"`\n}\n"), ""},
	{"names", one("p2p/util/a.go", "package util"), "says nothing"},
	{"names", one("p2p/a.go", "package p2p"), ""},
	{"remarks", one("p2p/a.go", "package p2p // "+"TODO: later"), "open an issue"},
	{"remarks", one("p2p/a.go", "package p2p //nolint:errcheck"), "name the linter and the reason"},
	{"remarks", one("p2p/a.go", "package p2p\n"+strings.Repeat("//nolint:errcheck // so\n\n", 11)), "is nolint number 11"},
	{"remarks", one("p2p/a.go", "package p2p //nolint:errcheck // nobody is left to tell\n// TODO(#12): more"), ""},
	{"modules", map[string]string{"go.mod": "module m\n\nreplace a => b\n", dependencyFile: adr}, "has a replace"},
	{
		"modules",
		map[string]string{"go.mod": "module m\n\nrequire (\n\texample.org/x v1.0.0\n)\n", dependencyFile: adr},
		"does not decide for",
	},
	{
		"modules",
		map[string]string{"go.mod": "module m\n", dependencyFile: adr + "| `example.org/x` | all | good |\n"},
		"does not require",
	},
	{"modules", map[string]string{
		"go.mod":       "require example.org/x v1.0.0\nrequire (\n\ty.org/z v1.0.0 // indirect\n)\n",
		dependencyFile: adr + "| `example.org/x` | all | good |\n",
	}, ""},
	{"spec", one("docs/spec/ledger.md", "# L\n\n[LED-1] A witness votes once.\n"), "[LED-1] is covered by no test"},
	{"spec", one("ledger/a_test.go", "package ledger // [LED-2]\n"), "which docs/spec does not have"},
	{
		"spec",
		map[string]string{"docs/spec/a.md": "[LED-1] A.\n", "docs/spec/b.md": "[LED-1] B.\n"},
		"ids are never given twice",
	},
	{"spec", one("docs/spec/a.md", "# A\n"), "is not in docs/spec/README.md"},
	{
		"spec",
		map[string]string{
			"docs/spec/README.md": "[a](a.md)\n",
			"docs/spec/a.md":      "[LED-1] As [LED-1] says.\n", "ledger/a_test.go": "package ledger // [LED-1]\n",
		},
		"",
	},
	{"markdown", one("docs/a.md", "text\n"), "has 0 titles"},
	{"markdown", one("docs/a.md", "# A\n# B\n"), "has 2 titles"},
	{"markdown", one("docs/a.md", "# A\n\nsee [b](../b.md#c)\n"), "docs/a.md:3: links to ../b.md"},
	{
		"markdown",
		map[string]string{
			"docs/a.md": "# A\n```\n# comment\n```\n[b](../b.md#c) [c](https://c.org) [d](#a)\n", "b.md": "# B\n",
		},
		"",
	},
	{"decisions", one("docs/adr/0001-x.md", "# X\n"), "has no status"},
	{"decisions", one("docs/adr/x.md", "# X\n\nStatus: accepted\n"), "NNNN-words.md"},
	{"decisions", one("docs/adr/0001-x.md", "# X\n\nStatus: superseded by 0002\n"), ""},
	{"picture", one("ARCHITECTURE.md", "# A\n"), "has no block"},
	{"picture", one("ARCHITECTURE.md", "# A\n"+strings.Repeat("\n", 400)), "it is a map"},
	{"picture", map[string]string{
		"ARCHITECTURE.md": "```imports\np2p\n```\n",
		"p2p/wire/a.go":   `package wire; import "github.com/pinfi/pinfi/p2p"`,
	}, `lacks "p2p/wire -> p2p\n"`},
	{"picture", map[string]string{"ARCHITECTURE.md": "```imports\np2p\n```\n"}, `has "p2p\n", which is not so`},
	{"picture", map[string]string{
		"ARCHITECTURE.md": "```imports\np2p\np2p/wire -> p2p\n```\n", "p2p/a.go": "package p2p",
		"p2p/wire/a.go": `package wire; import ("fmt"; "github.com/pinfi/pinfi/p2p")`,
	}, ""},
}
