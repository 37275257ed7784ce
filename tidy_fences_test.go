package pinfi_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/build"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// checkTopLevel holds the top level to what the design fixes.
func checkTopLevel(t *tree) (found faults) {
	ignored, _ := fs.ReadFile(t.files, ".gitignore")
	entries, err := fs.ReadDir(t.files, ".")
	if err != nil {
		found.add(".", "cannot be listed: %v", err)
		return found
	}
	for _, entry := range entries {
		name := entry.Name()
		out := slices.ContainsFunc(strings.Fields(string(ignored)), func(pattern string) bool {
			match, _ := path.Match(strings.Trim(pattern, "/"), name)
			return match
		})
		if name != ".git" && !out && !slices.Contains(strings.Fields(topLevel), name) {
			found.add(name, "the top level is fixed; put it into one of its packages, or docs")
		}
	}
	return found
}

// ours returns a package's path in the module, if it is one of ours.
func ours(what string) (string, bool) {
	if what == module {
		return ".", true
	}
	return strings.CutPrefix(what, module+"/")
}

func knows(dir, what string) bool {
	for _, pattern := range strings.Fields(rooms[dir].knows) {
		below, all := strings.CutSuffix(pattern, "/...")
		switch {
		case pattern == what, pattern == "pure" && isPure(what):
			return true
		case all && (what == below || strings.HasPrefix(what, below+"/")):
			return true
		}
	}
	return false
}

// checkRooms demands a room for every package, and that no room lets a PURE
// package reach IO by any chain of our own imports.
func checkRooms(t *tree) (found faults) {
	next := map[string]map[string]bool{}
	for _, s := range t.code(func(dir string) bool { return dir != "." }) {
		if _, ok := rooms[s.dir]; !ok && next[s.dir] == nil {
			found.add(s.dir, "has no room; say in ARCHITECTURE.md and in rooms of tidy_test.go "+
				"whether it is PURE or IO and whom it may know")
		}
		if next[s.dir] == nil {
			next[s.dir] = map[string]bool{}
		}
		for what := range s.imports() {
			if to, ok := ours(what); ok {
				next[s.dir][to] = true
			}
		}
	}
	for _, dir := range sortedKeys(next) {
		if chain := reachesIO(next, []string{dir}); isPure(dir) && chain != nil {
			found.add(dir, "is PURE and reaches IO by %s; hand what it needs in through Config, "+
				"or return an effect", strings.Join(chain, " -> "))
		}
	}
	return found
}

func reachesIO(next map[string]map[string]bool, chain []string) []string {
	for _, to := range sortedKeys(next[chain[len(chain)-1]]) {
		longer := append(slices.Clone(chain), to)
		if !isPure(to) {
			return longer
		}
		if slices.Contains(chain, to) {
			continue
		}
		if found := reachesIO(next, longer); found != nil {
			return found
		}
	}
	return nil
}

// checkImports holds every direct import of every file that is not a test, under
// any build tags, to the rooms, to what PURE allows and to ADR 0001.
func checkImports(t *tree) (found faults) {
	users := map[string][]string{}
	for _, row := range dependencies(t) {
		users[row.module] = row.users
	}
	for _, s := range t.code(func(dir string) bool { return rooms[dir].kind != "" }) {
		for _, what := range sortedKeys(s.imports()) {
			if why := refuseImport(users, s.dir, what); why != "" {
				found.add(s.path, "imports %s: %s", what, why)
			}
		}
	}
	return found
}

func refuseImport(users map[string][]string, dir, what string) string {
	if to, ok := ours(what); ok {
		if knows(dir, to) {
			return ""
		}
		return fmt.Sprintf("%s may know only %q, because %s; move the code to the room that may know both, "+
			"or hand a function in", dir, rooms[dir].knows, rooms[dir].why)
	}
	if !strings.Contains(strings.Split(what, "/")[0], ".") {
		if isPure(dir) && !slices.Contains(pureStd, what) {
			return fmt.Sprintf("%s is PURE: it decides and never acts, so of the standard library it may import only %s; "+
				"return an effect, or take the value as a parameter", dir, strings.Join(pureStd, " "))
		}
		return ""
	}
	under := func(m string) bool { return what == m || strings.HasPrefix(what, m+"/") }
	if isPure(dir) && !slices.ContainsFunc(pureThirdParty, under) {
		return fmt.Sprintf("%s is PURE, where only %s are let in; keep the library in an IO package and hand a function in",
			dir, strings.Join(pureThirdParty, " and "))
	}
	best := ""
	for m := range users {
		if under(m) && len(m) > len(best) {
			best = m
		}
	}
	if best == "" {
		return "it has no line in " + dependencyFile + "; do without, or decide it there first"
	}
	if !slices.ContainsFunc(users[best], func(user string) bool { return user == "all" || user == dir }) {
		return fmt.Sprintf("%s gives it to %s only; call that room instead", dependencyFile, strings.Join(users[best], ", "))
	}
	return ""
}

// checkSignatures keeps other people's types out of what PURE packages export.
func checkSignatures(t *tree) (found faults) {
	for _, s := range t.code(isPure) {
		foreign := map[string]bool{}
		for what, name := range s.imports() {
			foreign[name] = strings.Contains(what, ".") && !strings.HasPrefix(what, module+"/")
		}
		look := func(node ast.Node) {
			ast.Inspect(node, func(n ast.Node) bool {
				if sel, ok := n.(*ast.SelectorExpr); ok {
					if x, ok := sel.X.(*ast.Ident); ok && foreign[x.Name] {
						found.add(t.at(n.Pos()), "exports %s.%s, a type of another module; "+
							"say it with a type of our own", x.Name, sel.Sel.Name)
					}
				}
				field, ok := n.(*ast.Field)
				return !ok || len(field.Names) == 0 || field.Names[0].IsExported()
			})
		}
		for _, decl := range s.ast.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				if decl.Name.IsExported() {
					for _, fields := range []*ast.FieldList{decl.Type.Params, decl.Type.Results} {
						for i := 0; fields != nil && i < len(fields.List); i++ {
							look(fields.List[i].Type)
						}
					}
				}
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					if spec, ok := spec.(*ast.TypeSpec); ok && spec.Name.IsExported() {
						look(spec.Type)
					}
				}
			}
		}
	}
	return found
}

// acting are the names of the packages that PURE may import which act after all.
var acting = map[string]struct {
	banned, allowed []string
	fix             string
}{
	"time": {
		banned: strings.Fields("Now Since Until Sleep After AfterFunc Tick NewTimer NewTicker LoadLocation Local"),
		fix:    "a PURE package is told the time; take now as a parameter",
	},
	"math/rand/v2": {
		allowed: strings.Fields("Rand Source PCG ChaCha8 Zipf New NewPCG NewChaCha8 NewZipf"),
		fix:     "chance comes from a *rand.Rand that is handed in",
	},
	"fmt": {
		banned: strings.Fields("Print Printf Println Scan Scanf Scanln"),
		fix:    "a PURE package does not talk to the terminal; return a value, or note a fact",
	},
}

// checkDeterminism refuses the clock, global chance, goroutines and channels in
// PURE packages: a run is a pure function of its seed and its events.
func checkDeterminism(t *tree) (found faults) {
	for _, s := range t.code(isPure) {
		called := map[string]string{}
		for what, name := range s.imports() {
			called[name] = what
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			fix := ""
			switch n := n.(type) {
			case *ast.GoStmt:
				fix = "starts a goroutine; ask for the work with an effect"
			case *ast.ChanType, *ast.SelectStmt:
				fix = "uses a channel; call a function, and let the shell do the waiting"
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok {
					rule := acting[called[x.Name]]
					if slices.Contains(rule.banned, n.Sel.Name) || rule.allowed != nil && !slices.Contains(rule.allowed, n.Sel.Name) {
						fix = "uses " + x.Name + "." + n.Sel.Name + "; " + rule.fix
					}
				}
			}
			if fix != "" {
				found.add(t.at(n.Pos()), "%s", fix)
			}
			return true
		})
	}
	return found
}

// checkMapOrder refuses ranges over maps in PURE packages: their order is chance.
func checkMapOrder(t *tree) (found faults) {
	exports, err := exportData(t)
	if err != nil {
		found.add(".", "go list: %v", err)
		return found
	}
	for _, dir := range sortedKeys(t.pkgs) {
		if !isPure(dir) {
			continue
		}
		var files []*ast.File
		for _, s := range t.pkgs[dir] {
			match, err := build.Default.MatchFile(dir, path.Base(s.path))
			if !s.test && (match || err != nil) {
				files = append(files, s.ast)
			}
		}
		info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
		conf := types.Config{Importer: exports, Error: func(error) {}} // what does not compile, the compiler reports
		_, _ = conf.Check(module+"/"+dir, t.fset, files, info)
		for _, file := range files {
			found = append(found, mapRanges(t, file, info)...)
		}
	}
	return found
}

func mapRanges(t *tree, file *ast.File, info *types.Info) (found faults) {
	freed := map[int]bool{}
	for _, group := range file.Comments {
		for _, c := range group.List {
			if _, why, ok := strings.Cut(c.Text, "order-free:"); ok && strings.TrimSpace(why) != "" {
				freed[t.fset.Position(c.Pos()).Line] = true
			}
		}
	}
	sorted := map[ast.Node]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		name := ""
		switch n := n.(type) {
		case *ast.RangeStmt:
			if typ := info.TypeOf(n.X); typ != nil {
				if _, ok := typ.Underlying().(*types.Map); ok {
					name = "a map"
				}
			}
		case *ast.CallExpr:
			switch called := types.ExprString(n.Fun); called {
			case "slices.Sorted", "slices.SortedFunc", "slices.SortedStableFunc":
				sorted[n.Args[0]] = true
			case "maps.Keys", "maps.Values", "maps.All":
				if !sorted[n] {
					name = called
				}
			}
		}
		if name != "" && !freed[t.fset.Position(n.Pos()).Line] {
			found.add(t.at(n.Pos()), "takes %s in the order of chance; range over slices.Sorted(maps.Keys(m)), "+
				"or say why no result depends on it on the line: // order-free: ...", name)
		}
		return true
	})
	return found
}

// exportData returns an importer of what the PURE packages import. Only their
// few dependencies are compiled for it, not those of the module.
func exportData(t *tree) (types.Importer, error) {
	found := map[string]string{}
	if t.real {
		args := []string{"list", "-e", "-export", "-deps", "-json=ImportPath,Export"}
		for _, dir := range sortedKeys(t.pkgs) {
			if isPure(dir) {
				args = append(args, "./"+dir)
			}
		}
		out, err := exec.Command("go", args...).Output()
		if err != nil {
			return nil, err
		}
		for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
			var listed struct{ ImportPath, Export string }
			if err := decoder.Decode(&listed); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, err
			}
			found[listed.ImportPath] = listed.Export
		}
	}
	return importer.ForCompiler(t.fset, "gc", func(what string) (io.ReadCloser, error) {
		if found[what] == "" {
			return nil, fmt.Errorf("no export data of %s", what)
		}
		return os.Open(found[what])
	}), nil
}

// checkFloats refuses floats where money is counted.
func checkFloats(t *tree) (found faults) {
	money := func(dir string) bool {
		top, _, _ := strings.Cut(dir, "/")
		return top == "ledger" || top == "market"
	}
	for _, s := range t.code(money) {
		ast.Inspect(s.ast, func(n ast.Node) bool {
			word := ""
			switch n := n.(type) {
			case *ast.Ident:
				if n.Name == "float32" || n.Name == "float64" || n.Name == "complex128" {
					word = n.Name
				}
			case *ast.BasicLit:
				if n.Kind == token.FLOAT {
					word = n.Value
				}
			case *ast.SelectorExpr:
				if slices.Contains([]string{"ParseFloat", "SetFloat64", "Float64", "Float32", "NewFloat", "Float"}, n.Sel.Name) {
					word = n.Sel.Name
				}
			}
			if word != "" {
				found.add(t.at(n.Pos()), "uses the float %s where money is counted; "+
					"use integers and name the rounding (MulDivFloor, MulDivCeil, math/big)", word)
			}
			return true
		})
	}
	return found
}

const (
	fileMax     = 500
	testFileMax = 800
	funcMax     = 60
	mainMax     = 100
	columnMax   = 120
)

// tag is a field's tag at the end of its line, which cannot be broken.
var tag = regexp.MustCompile("`[^`]*`$")

// checkSizes holds files, functions and lines to what a reader can take in.
// Generated files are free; a table that is too long is a line in excused.
func checkSizes(t *tree) (found faults) {
	for _, dir := range sortedKeys(t.pkgs) {
		for _, s := range t.pkgs[dir] {
			if s.made {
				continue
			}
			limit := fileMax
			if s.test {
				limit = testFileMax
			} else if s.path == "cmd/pinfi/main.go" {
				limit = mainMax
			}
			lines := strings.Split(s.text, "\n")
			if n := len(lines) - 1; n > limit {
				found.add(s.path, "has %d lines, at most %d are allowed; split it by noun", n, limit)
			}
			for i, line := range lines {
				n := utf8.RuneCountInString(tag.ReplaceAllString(line, ""))
				if n > columnMax && strings.Contains(strings.TrimSpace(line), " ") {
					found.add(fmt.Sprintf("%s:%d", s.path, i+1), "has %d columns; "+
						"break the line before %d", n, columnMax)
				}
			}
			if !s.test {
				found = append(found, longFunctions(t, s, lines)...)
			}
		}
	}
	return found
}

func longFunctions(t *tree, s *source, lines []string) (found faults) {
	for _, decl := range s.ast.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		n := 0
		first, last := t.fset.Position(fn.Body.Lbrace).Line, t.fset.Position(fn.Body.Rbrace).Line
		for _, line := range lines[min(first, last-1) : last-1] {
			if !strings.HasPrefix(strings.TrimSpace(line), "//") {
				n++
			}
		}
		if n > funcMax {
			found.add(t.at(fn.Pos()), "%s has %d lines, at most %d are allowed; leave the decisions in it "+
				"and move the steps out", fn.Name.Name, n, funcMax)
		}
	}
	return found
}

// checkPackageComments demands exactly one package comment in each package.
func checkPackageComments(t *tree) (found faults) {
	for _, dir := range sortedKeys(t.pkgs) {
		var where []string
		code := 0
		for _, s := range t.pkgs[dir] {
			if s.test {
				continue
			}
			code++
			if s.ast.Doc == nil {
				continue
			}
			where = append(where, s.path)
			doc, name := s.ast.Doc.Text(), s.ast.Name.Name
			if name != "main" && !strings.HasPrefix(doc, "Package "+name+" ") {
				found.add(s.path, "the package comment must begin with %q", "Package "+name)
			}
		}
		if code > 0 && len(where) != 1 {
			found.add(dir, "has %d package comments %v; write exactly one: what it is, what it is not, "+
				"the calls one needs, the invariant it keeps", len(where), where)
		}
	}
	return found
}

var emptyNames = strings.Fields("util utils common helper helpers types core base misc shared lib stuff tools")

// checkNames refuses package names that say nothing.
func checkNames(t *tree) (found faults) {
	for _, dir := range sortedKeys(t.pkgs) {
		for _, s := range t.pkgs[dir] {
			if slices.Contains(emptyNames, strings.TrimSuffix(s.ast.Name.Name, "_test")) {
				found.add(s.path, "the package name %q says nothing; name the noun that it holds", s.ast.Name.Name)
			}
		}
	}
	return found
}

const nolintMax = 10

var (
	remark   = regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b`)
	numbered = regexp.MustCompile(`\bTODO\(#?\d+\)`)
	silenced = regexp.MustCompile(`^//nolint:[a-z,]+ // \S`)
)

// checkRemarks wants an issue behind everything left to do, and a reason for every silenced
// linter, of which there are few.
func checkRemarks(t *tree) (found faults) {
	nolints := 0
	for _, dir := range sortedKeys(t.pkgs) {
		for _, s := range t.pkgs[dir] {
			for _, group := range s.ast.Comments {
				for _, c := range group.List {
					if remark.MatchString(c.Text) && !numbered.MatchString(c.Text) {
						found.add(t.at(c.Pos()), "do it, or open an issue and write TODO(number)")
					}
					if !strings.HasPrefix(c.Text, "//nolint") {
						continue
					}
					if nolints++; !silenced.MatchString(c.Text) {
						found.add(t.at(c.Pos()), "name the linter and the reason: //nolint:name // reason")
					}
					if nolints > nolintMax {
						found.add(t.at(c.Pos()), "is nolint number %d, the whole module has %d; mend the code",
							nolints, nolintMax)
					}
				}
			}
		}
	}
	return found
}

// A dependency is a row of the table in ADR 0001.
type dependency struct {
	module string
	users  []string // our packages, "all", or "tests"
}

const dependencyFile = "docs/adr/0001-dependencies.md"

var dependencyRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^|]+) \\| [^|]*\\w[^|]* \\|$")

func dependencies(t *tree) (rows []dependency) {
	text, _ := fs.ReadFile(t.files, dependencyFile)
	for _, match := range dependencyRow.FindAllStringSubmatch(string(text), -1) {
		users := strings.Split(strings.ReplaceAll(strings.ReplaceAll(match[2], "`", ""), " ", ""), ",")
		rows = append(rows, dependency{match[1], users})
	}
	return rows
}

var (
	requireLine = regexp.MustCompile(`(?m)^(?:require\s+|\t)([^\s()]+) v\S+( // indirect)?$`)
	replaceLine = regexp.MustCompile(`(?m)^(replace|exclude|retract)\b`)
)

// checkModules holds go.mod to ADR 0001, both ways.
func checkModules(t *tree) (found faults) {
	text, err := fs.ReadFile(t.files, "go.mod")
	if err != nil {
		found.add("go.mod", "%v", err)
		return found
	}
	if line := replaceLine.Find(text); line != nil {
		found.add("go.mod", "has a %s; pin a version that works as it is", line)
	}
	direct := map[string]bool{}
	for _, match := range requireLine.FindAllStringSubmatch(string(text), -1) {
		if match[2] == "" {
			direct[match[1]] = true
		}
	}
	for _, row := range dependencies(t) {
		if !direct[row.module] {
			found.add(dependencyFile, "decides for %s, which go.mod does not require; "+
				"delete the row, or say why we refused it in the text", row.module)
		}
		delete(direct, row.module)
	}
	for _, extra := range sortedKeys(direct) {
		found.add("go.mod", "requires %s, which %s does not decide for; do without, or add a row with "+
			"module, rooms that use it, and reason", extra, dependencyFile)
	}
	return found
}

var (
	specID  = regexp.MustCompile(`\[([A-Z]{2,8}-[0-9]+)\]`)
	specRow = regexp.MustCompile(`(?m)^(?:[-*] )?(?:\*\*)?\[([A-Z]{2,8}-[0-9]+)\]`)
)

// checkSpec demands a test for every requirement of docs/spec, a requirement for
// every id that a test quotes, and a row for every page in the index.
func checkSpec(t *tree) (found faults) {
	where := map[string]string{}
	index, _ := fs.ReadFile(t.files, "docs/spec/README.md")
	for _, name := range t.other {
		if ok, _ := path.Match("docs/spec/*.md", name); !ok {
			continue
		}
		if page := path.Base(name); page != "README.md" && !strings.Contains(string(index), "("+page+")") {
			found.add(name, "is not in docs/spec/README.md; add a row with a link, its ids and what it is about")
		}
		text, _ := fs.ReadFile(t.files, name)
		for _, match := range specRow.FindAllStringSubmatch(string(text), -1) {
			if where[match[1]] != "" {
				found.add(name, "[%s] stands in %s already; ids are never given twice", match[1], where[match[1]])
			}
			where[match[1]] = name
		}
	}
	quoted := map[string]bool{}
	for _, dir := range sortedKeys(t.pkgs) {
		for _, s := range t.pkgs[dir] {
			if !s.test || dir == "." {
				continue
			}
			for _, match := range specID.FindAllStringSubmatch(s.text, -1) {
				if quoted[match[1]] = true; where[match[1]] == "" {
					found.add(s.path, "quotes [%s], which docs/spec does not have; write the sentence there", match[1])
				}
			}
		}
	}
	for _, id := range sortedKeys(where) {
		if !quoted[id] {
			found.add(where[id], "[%s] is covered by no test; write one and quote [%s] beside it, "+
				"or delete the sentence", id, id)
		}
	}
	return found
}

var link = regexp.MustCompile(`\]\(([^)\s#]+)(?:#[^)\s]*)?\)`)

// checkMarkdown wants one title in each document, and links that lead somewhere.
func checkMarkdown(t *tree) (found faults) {
	for _, name := range t.other {
		if path.Ext(name) != ".md" {
			continue
		}
		text, _ := fs.ReadFile(t.files, name)
		titles, fenced := 0, false
		for i, line := range strings.Split(string(text), "\n") {
			if strings.HasPrefix(line, "```") {
				fenced = !fenced
			}
			if fenced {
				continue
			}
			if strings.HasPrefix(line, "# ") {
				titles++
			}
			for _, match := range link.FindAllStringSubmatch(line, -1) {
				target := path.Join(path.Dir(name), match[1])
				if _, err := fs.Stat(t.files, target); err != nil && !strings.Contains(match[1], ":") {
					found.add(fmt.Sprintf("%s:%d", name, i+1), "links to %s, which is not there; "+
						"mend the link", match[1])
				}
			}
		}
		if titles != 1 {
			found.add(name, "has %d titles (lines that begin with one #); give it exactly one", titles)
		}
	}
	return found
}

var (
	decisionName = regexp.MustCompile(`^docs/adr/\d{4}-[a-z0-9-]+\.md$`)
	status       = regexp.MustCompile(`(?m)^Status: (proposed|accepted|refused|superseded by \[?\d{4})`)
)

// checkDecisions wants a number and a status on every decision.
func checkDecisions(t *tree) (found faults) {
	for _, name := range t.other {
		if path.Dir(name) != "docs/adr" {
			continue
		}
		text, _ := fs.ReadFile(t.files, name)
		if !decisionName.MatchString(name) {
			found.add(name, "name a decision NNNN-words.md")
		}
		if !status.Match(text) {
			found.add(name, "has no status; write a line Status: proposed, accepted, refused or superseded by NNNN")
		}
	}
	return found
}

const (
	pictureFile = "ARCHITECTURE.md"
	pictureMax  = 400
	pictureHead = "```imports\n"
	pictureFoot = "```\n"
)

// checkPicture compares the import picture of ARCHITECTURE.md with the imports
// themselves. With -update it rewrites the picture.
func checkPicture(t *tree) (found faults) {
	const advice = "run go test . -run TestFences -update"
	whole, err := fs.ReadFile(t.files, pictureFile)
	if err != nil {
		found.add(pictureFile, "%v", err)
		return found
	}
	if n := strings.Count(string(whole), "\n"); n > pictureMax {
		found.add(pictureFile, "has %d lines, at most %d are allowed; it is a map, not a book", n, pictureMax)
	}
	before, rest, opened := strings.Cut(string(whole), pictureHead)
	drawn, after, closed := strings.Cut(rest, pictureFoot)
	if !opened || !closed {
		found.add(pictureFile, "has no block that begins with ```imports; write an empty one and "+advice)
		return found
	}
	truth, err := picture(t)
	if err != nil {
		found.add(pictureFile, "go list: %v", err)
		return found
	}
	if *update && t.real {
		whole := before + pictureHead + truth + pictureFoot + after
		if err := os.WriteFile(pictureFile, []byte(whole), 0o644); err != nil {
			found.add(pictureFile, "%v", err)
		}
		return found
	}
	for line := range strings.Lines(truth) {
		if !strings.Contains("\n"+drawn, "\n"+line) {
			found.add(pictureFile, "the picture lacks %q; "+advice, line)
		}
	}
	for line := range strings.Lines(drawn) {
		if !strings.Contains("\n"+truth, "\n"+line) {
			found.add(pictureFile, "the picture has %q, which is not so; "+advice, line)
		}
	}
	return found
}

// picture writes one line "from -> to, to" for each package, as go list has it.
func picture(t *tree) (string, error) {
	imports := map[string][]string{}
	if t.real {
		out, err := exec.Command("go", "list", "-e", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "./...").Output()
		if err != nil {
			return "", err
		}
		for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
			all := strings.Fields(line)
			if dir, ok := ours(all[0]); ok && dir != "." {
				imports[dir] = all[1:]
			}
		}
	} else {
		for _, s := range t.code(func(dir string) bool { return dir != "." }) {
			imports[s.dir] = append(imports[s.dir], sortedKeys(s.imports())...)
		}
	}
	var lines strings.Builder
	for _, dir := range sortedKeys(imports) {
		var to []string
		for _, what := range imports[dir] {
			if dir, ok := ours(what); ok {
				to = append(to, dir)
			}
		}
		fmt.Fprintln(&lines, strings.TrimSuffix(dir+" -> "+strings.Join(to, ", "), " -> "))
	}
	return lines.String(), nil
}
