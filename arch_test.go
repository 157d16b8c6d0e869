package porchlight_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// module is the module path in go.mod.
const module = "porchlight.dev/porchlight"

// imports lists, for every package of the module, the other packages of the module that
// its code may import. Tests may import anything. A package that is not listed fails,
// and so does a row without a package.
var imports = map[string][]string{
	".":           nil,
	"api":         nil,
	"docs":        nil,
	"api/apitest": {"api"},

	// The domain and the store.
	"internal/presence":          nil,
	"internal/store":             {"internal/presence"},
	"internal/store/storetest":   {"internal/presence", "internal/store"},
	"internal/store/backup":      nil,
	"internal/store/pebblestore": {"internal/presence", "internal/store", "internal/store/backup", "internal/store/transfer"},
	"internal/store/natsstore":   {"internal/presence", "internal/store", "internal/store/transfer"},
	"internal/store/transfer":    {"internal/presence", "internal/store"},
	"internal/leveltest":         nil,
	"internal/porttest":          nil,
	"internal/apptest":           {"api", "internal/auth", "internal/directory", "internal/presence", "internal/store"},
	"internal/store/enginetest":  {"internal/store", "internal/store/natsstore", "internal/store/pebblestore"},

	// Input and output meet in the store, and nowhere else.
	"internal/telemetry": {"internal/quota"},

	"internal/publish": {"internal/presence", "internal/store", "internal/telemetry"},
	"internal/view":    {"internal/presence", "internal/store"},
	"internal/tail":    {"internal/document", "internal/membership", "internal/presence", "internal/store"},
	"internal/hub":     {"internal/document", "internal/presence", "internal/store", "internal/telemetry", "internal/view"},
	"internal/watch":   {"internal/document", "internal/presence", "internal/store", "internal/tail"},
	"internal/webhook": {
		"internal/cache", "internal/directory", "internal/document", "internal/egress", "internal/presence", "internal/seal", "internal/store", "internal/tail", "internal/telemetry",
	},
	"internal/egress":  nil,
	"internal/history": {"internal/presence", "internal/store"},
	"internal/erasure": {"internal/document", "internal/presence", "internal/store"},

	"internal/membership": {"internal/document", "internal/presence", "internal/store"},

	"internal/quota":    nil,
	"internal/overload": {"internal/quota"},
	"internal/cache":    nil,

	// Users, and callers.
	"internal/document":  {"internal/store"},
	"internal/seal":      {"internal/document", "internal/presence", "internal/store"},
	"internal/directory": {"internal/cache", "internal/document", "internal/presence", "internal/store"},
	"internal/auth": {
		"internal/cache", "internal/directory", "internal/document", "internal/presence", "internal/quota", "internal/store",
	},

	"internal/usersheet": {"internal/directory", "internal/presence"},
	"internal/audit":     {"internal/document", "internal/presence", "internal/store"},
	"internal/provision": {
		"internal/audit", "internal/auth", "internal/directory", "internal/document", "internal/presence", "internal/publish", "internal/store",
	},

	"internal/signin": {
		"internal/audit", "internal/auth", "internal/directory", "internal/document", "internal/presence", "internal/provision", "internal/quota", "internal/store",
	},
	"internal/signage": {
		"internal/audit", "internal/cache", "internal/directory", "internal/document", "internal/presence", "internal/store", "internal/view",
	},
	"internal/tenant": {
		"internal/audit", "internal/auth", "internal/directory", "internal/document", "internal/erasure", "internal/presence", "internal/provision",
		"internal/store", "internal/webhook",
	},

	// The wire.
	"internal/netconn":   nil,
	"internal/framer":    {"internal/netconn"},
	"internal/form":      nil,
	"internal/wire":      {"internal/audit", "internal/auth", "internal/form", "internal/netconn", "internal/overload", "internal/presence", "internal/quota", "internal/telemetry"},
	"internal/fastpath":  {"internal/auth", "internal/framer", "internal/netconn", "internal/quota", "internal/telemetry", "internal/wire"},
	"internal/zoomapi":   append([]string{"internal/eventsocket", "internal/fastpath", "internal/telemetry", "internal/webhook"}, dialect...),
	"internal/httpapi":   append([]string{"api", "internal/document", "internal/erasure", "internal/history", "internal/hub", "internal/oauthapi", "internal/signage", "internal/signin", "internal/tenant", "internal/ui", "internal/usersheet", "internal/watch", "internal/webhook"}, dialect...),
	"internal/systemapi": append([]string{"api", "internal/httpapi", "internal/membership", "internal/tenant"}, dialect...),
	"internal/streamapi": append([]string{"api", "internal/eventsocket", "internal/httpapi", "internal/hub", "internal/netconn", "internal/watch", "internal/webhook"}, dialect...),
	"internal/oauthapi":  dialect,
	"internal/scim":      {"internal/auth", "internal/directory", "internal/presence", "internal/provision", "internal/quota", "internal/store", "internal/wire"},
	"internal/ui":        {"internal/wire", "sdk/javascript"},
	"internal/manual":    {"docs", "internal/ui", "internal/wire"},

	"internal/eventsocket": {"internal/auth", "internal/quota", "internal/webhook", "internal/wire"},

	// The program.
	"internal/certificate":          nil,
	"internal/certificate/acmetest": nil,
	"internal/tail/tailtest":        nil,
	"internal/config":               nil,
	"internal/backupjob":            {"internal/store/backup"},
	"internal/doctor":               {"api", "internal/certificate"},
	"internal/server": {
		"api", "internal/audit", "internal/provision", "internal/systemapi", "internal/tenant", "internal/auth", "internal/backupjob", "internal/certificate", "internal/config", "internal/directory", "internal/doctor", "internal/egress", "internal/erasure", "internal/eventsocket", "internal/fastpath", "internal/framer", "internal/history", "internal/httpapi", "internal/hub",
		"internal/manual", "internal/membership", "internal/netconn", "internal/oauthapi", "internal/presence", "internal/publish", "internal/overload", "internal/quota", "internal/scim", "internal/seal", "internal/signage", "internal/signin", "internal/store", "internal/store/backup",
		"internal/store/natsstore", "internal/store/pebblestore", "internal/store/transfer", "internal/streamapi", "internal/tail", "internal/telemetry", "internal/ui", "internal/view",
		"internal/watch", "internal/webhook", "internal/wire", "internal/zoomapi",
	},
	"internal/cli":   {"api", "client", "internal/audit", "internal/certificate", "internal/config", "internal/doctor", "internal/server"},
	"client":         {"api"},
	"sdk/javascript": nil,
	"cmd/porchlight": {"internal/cli"},
	"e2e":            nil,
	"cluster":        nil,
	"cluster/check":  nil,
	"cluster/netns":  nil,

	// A server with a clock and levels that tests choose.
	"cluster/netns/node": {"internal/config", "internal/membership", "internal/server"},

	// The load driver seeds stores and measures parts without the wire.
	"bench": {
		"internal/auth", "internal/directory", "internal/presence", "internal/publish",
		"internal/store", "internal/store/pebblestore",
	},
}

// dialect lists what a package that speaks one API may import.
var dialect = []string{
	"internal/audit", "internal/auth", "internal/directory", "internal/form", "internal/presence", "internal/provision", "internal/publish", "internal/quota",
	"internal/store", "internal/view", "internal/wire",
}

// pure lists the packages without side effects, with everything they may import: no
// clock, no I/O, no goroutine, no logger, no context.
var pure = map[string][]string{
	"internal/presence": {
		"bytes", "cmp", "crypto/sha256", "errors", "fmt", "maps", "math", "slices", "strconv", "strings", "time",
		"unicode", "unicode/utf8",
	},
	"cluster/check": {"cmp", "fmt", "maps", "math", "slices", "time", "github.com/anishathalye/porcupine"},
}

// confined lists libraries that only the packages that wrap them may import.
var confined = map[string][]string{
	"github.com/cockroachdb/pebble": {"internal/store/pebblestore", "internal/store/enginetest"},
	"github.com/nats-io":            {"internal/store/natsstore", "internal/store/enginetest", "bench"},
	"github.com/alecthomas/kong":    {"internal/cli", "internal/config"},
	"github.com/yuin/goldmark":      {"internal/manual"},
	"github.com/robfig/cron":        {"internal/config"},
	"github.com/coder/websocket":    {"client", "internal/eventsocket"},
	"go.opentelemetry.io":           {"internal/telemetry"},
}

// vendors lists the packages that may name a vendor in identifiers and strings: the
// vendor's dialect; the composition root and the settings, which select it; and the
// command, which shows it. Other packages use the core's own words. Comments are free.
var vendors = []string{"internal/zoomapi", "internal/server", "internal/config", "internal/cli"}

// vendorWord matches a word of a vendor whose API a dialect speaks.
var vendorWord = regexp.MustCompile(`(?i)zoom|x-zm|zm_|pzr`)

// Names without meaning, and the size limits.
var (
	junkDrawers  = []string{"pkg", "util", "utils", "common", "helpers", "manager", "types", "models", "misc"}
	junkSuffixes = []string{"Impl", "Manager", "Service"}
)

const (
	maxFunctionLines = 100
	maxFileLines     = 800
)

// TestArchitecture checks the module against the rules above.
func TestArchitecture(t *testing.T) {
	packages, err := load(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range check(packages) {
		t.Error(problem)
	}
	for name := range imports {
		if _, ok := packages[name]; !ok {
			t.Errorf("%s: listed in arch_test.go, but there is no such package", name)
		}
	}
}

// TestArchitectureDetects plants one violation of each rule, to show that each rule can
// fail.
func TestArchitectureDetects(t *testing.T) {
	long := "// Package wire is.\npackage wire\n\nfunc f() {" + strings.Repeat("\n", maxFunctionLines) + "}\n"
	for name, c := range map[string]struct{ file, source, want string }{
		"an import against the direction":  {"internal/presence/a.go", "// Package presence is.\npackage presence\nimport _ \"porchlight.dev/porchlight/internal/store\"\n", "must not import internal/store"},
		"publish and hub meet":             {"internal/publish/a.go", "// Package publish is.\npackage publish\nimport _ \"porchlight.dev/porchlight/internal/hub\"\n", "must not import internal/hub"},
		"the hub knows a dialect":          {"internal/hub/a.go", "// Package hub is.\npackage hub\nimport _ \"porchlight.dev/porchlight/api\"\n", "must not import api"},
		"I/O in a pure package":            {"internal/presence/a.go", "// Package presence is.\npackage presence\nimport _ \"net/http\"\n", "is pure and must not import net/http"},
		"the engine outside its backend":   {"internal/server/a.go", "// Package server is.\npackage server\nimport _ \"github.com/cockroachdb/pebble/v2\"\n", "belongs in internal/store/pebblestore, internal/store/enginetest alone"},
		"an unlisted package":              {"internal/novel/a.go", "// Package novel is.\npackage novel\n", "not listed in arch_test.go"},
		"no package comment":               {"internal/wire/a.go", "package wire\n", "has no package comment"},
		"a comment that names another":     {"internal/wire/a.go", "// Package wires is.\npackage wire\n", "must begin with"},
		"a junk drawer":                    {"internal/util/a.go", "// Package util is.\npackage util\n", "says nothing"},
		"a junk drawer by name":            {"internal/wire/a.go", "// Package helpers is.\npackage helpers\n", "says nothing"},
		"a suffix that says nothing":       {"internal/wire/a.go", "// Package wire is.\npackage wire\ntype StoreManager struct{}\n", "StoreManager"},
		"an init function":                 {"internal/wire/a.go", "// Package wire is.\npackage wire\nfunc init() {}\n", "func init"},
		"a variable without a value":       {"internal/wire/a.go", "// Package wire is.\npackage wire\nvar count int\n", "count is a package variable"},
		"a variable with state":            {"internal/wire/a.go", "// Package wire is.\npackage wire\nvar pool = newPool()\nfunc newPool() *int { return nil }\n", "pool is a package variable"},
		"a table that a function makes":    {"internal/wire/a.go", "// Package wire is.\npackage wire\nvar names = table()\nfunc table() map[string]int { return nil }\n", ""},
		"a variable with a lock":           {"internal/wire/a.go", "// Package wire is.\npackage wire\nimport \"sync\"\nvar mu = sync.Mutex{}\n", "mu is a package variable"},
		"a variable that is a pointer":     {"internal/wire/a.go", "// Package wire is.\npackage wire\nvar table = &struct{ n int }{}\n", "table is a package variable"},
		"a table that is written":          {"internal/wire/a.go", "// Package wire is.\npackage wire\nvar table = map[string]int{}\nfunc f() { table[\"a\"] = 1 }\n", "table is a package variable"},
		"a vendor's word in a name":        {"internal/wire/a.go", "// Package wire is.\npackage wire\n\nfunc zoomID() {}\n", "a vendor's word"},
		"a vendor's word in a string":      {"internal/auth/a.go", "// Package auth is.\npackage auth\n\nconst header = \"X-Zm-Trackingid\"\n", "a vendor's word"},
		"a vendor's word, its dialect":     {"internal/zoomapi/a.go", "// Package zoomapi is.\npackage zoomapi\n\nconst room = \"pzr\"\n", ""},
		"a function that is too long":      {"internal/wire/a.go", long, "f has"},
		"a file that is too long":          {"internal/wire/a.go", "// Package wire is.\npackage wire\n" + strings.Repeat("\n", maxFileLines), "has 80"},
		"a local of a table's name: fine":  {"internal/wire/a.go", "// Package wire is.\npackage wire\nvar table = [3]int{}\nfunc f() { table := [3]int{}; table[0] = 1 }\n", ""},
		"errors and checks: fine":          {"internal/wire/a.go", "// Package wire is.\npackage wire\nimport \"errors\"\nvar ErrOff = errors.New(\"off\")\nvar _ I = (*T)(nil)\n", ""},
		"a test may import anything: fine": {"internal/wire/a_test.go", "package wire\nimport _ \"porchlight.dev/porchlight/internal/server\"\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := fstest.MapFS{c.file: {Data: []byte(c.source)}}
			if strings.HasSuffix(c.file, "_test.go") {
				fsys[path.Join(path.Dir(c.file), "doc.go")] = &fstest.MapFile{Data: []byte("// Package wire is.\npackage wire\n")}
			}
			packages, err := load(fsys)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(check(packages), "\n")
			if c.want == "" && got != "" {
				t.Errorf("found a violation where there is none: %s", got)
			}
			if !strings.Contains(got, c.want) {
				t.Errorf("found %q, want a violation with %q", got, c.want)
			}
		})
	}
}

// A pkg is the code of one directory, without tests.
type pkg struct {
	dir   string
	fset  *token.FileSet
	files []*ast.File
}

// load parses every package of the module in fsys, without other modules below it,
// testdata, and folders that the go command ignores.
func load(fsys fs.FS) (map[string]*pkg, error) {
	packages := make(map[string]*pkg)
	err := fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return enter(fsys, name)
		case !strings.HasSuffix(name, ".go"):
			return nil
		}
		dir := path.Dir(name)
		p, ok := packages[dir]
		if !ok {
			p = &pkg{dir: dir, fset: token.NewFileSet()}
			packages[dir] = p
		}
		if strings.HasSuffix(name, "_test.go") {
			return nil
		}
		source, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(p.fset, name, source, parser.ParseComments)
		if err != nil {
			return err
		}
		p.files = append(p.files, file)
		return nil
	})
	return packages, err
}

// enter reports whether a folder may hold packages of this module.
func enter(fsys fs.FS, dir string) error {
	if dir == "." {
		return nil
	}
	base := path.Base(dir)
	if strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata" || base == "node_modules" {
		return fs.SkipDir
	}
	if _, err := fs.Stat(fsys, path.Join(dir, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

// check lists every violation, in order.
func check(packages map[string]*pkg) []string {
	var problems []string
	for _, p := range packages {
		problems = slices.Concat(problems, p.names(), p.comments(), p.directions(), p.declarations(), p.variables(), p.vendorWords(), p.sizes())
	}
	slices.Sort(problems)
	return problems
}

func (p *pkg) at(n ast.Node, format string, args ...any) string {
	at := p.fset.Position(n.Pos())
	return fmt.Sprintf("%s:%d: ", at.Filename, at.Line) + fmt.Sprintf(format, args...)
}

func (p *pkg) names() []string {
	var problems []string
	if _, ok := imports[p.dir]; !ok {
		problems = append(problems, p.dir+": the package is not listed in arch_test.go: give it a row of the table")
	}
	for _, element := range strings.Split(p.dir, "/") {
		if slices.Contains(junkDrawers, element) {
			problems = append(problems, fmt.Sprintf("%s: the folder name %q says nothing", p.dir, element))
		}
	}
	for _, f := range p.files {
		if slices.Contains(junkDrawers, f.Name.Name) {
			problems = append(problems, p.at(f.Name, "the package name %q says nothing", f.Name.Name))
		}
	}
	return problems
}

// comments requires one package comment, which names the package.
func (p *pkg) comments() []string {
	var problems []string
	documented := 0
	for _, f := range p.files {
		if f.Doc == nil {
			continue
		}
		documented++
		begin := "Package " + f.Name.Name + " "
		if f.Name.Name == "main" {
			begin = "Command " + path.Base(p.dir) + " "
		}
		if !strings.HasPrefix(f.Doc.Text(), begin) {
			problems = append(problems, p.at(f.Doc, "the package comment must begin with %q", begin))
		}
	}
	switch {
	case documented == 0:
		problems = append(problems, p.dir+": the package has no package comment")
	case documented > 1:
		problems = append(problems, fmt.Sprintf("%s: the package has %d package comments", p.dir, documented))
	}
	return problems
}

func (p *pkg) directions() []string {
	var problems []string
	for _, f := range p.files {
		for _, spec := range f.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				problems = append(problems, p.at(spec, "%v", err))
				continue
			}
			if problem := p.direction(imported); problem != "" {
				problems = append(problems, p.at(spec, "%s", problem))
			}
		}
	}
	return problems
}

// direction returns the violation of one import, or "".
func (p *pkg) direction(imported string) string {
	for library, homes := range confined {
		if strings.HasPrefix(imported, library) && !slices.Contains(homes, p.dir) {
			return fmt.Sprintf("%s belongs in %s alone", library, strings.Join(homes, ", "))
		}
	}
	ours, isOurs := strings.CutPrefix(imported, module+"/")
	if isOurs {
		if !slices.Contains(imports[p.dir], ours) {
			return fmt.Sprintf("%s must not import %s: see the table in arch_test.go", p.dir, ours)
		}
		return ""
	}
	if allowed, ok := pure[p.dir]; ok && !slices.Contains(allowed, imported) {
		return fmt.Sprintf("%s is pure and must not import %s", p.dir, imported)
	}
	return ""
}

// declarations rejects init functions and exported names without meaning.
func (p *pkg) declarations() []string {
	var problems []string
	for _, f := range p.files {
		for _, declared := range topLevel(f) {
			name := declared.Name
			if name == "init" && isFunction(f, declared) {
				problems = append(problems, p.at(declared, "func init runs behind the reader's back: do it where it is needed"))
			}
			for _, suffix := range junkSuffixes {
				if declared.IsExported() && strings.HasSuffix(name, suffix) {
					problems = append(problems, p.at(declared, "%s: the suffix %s says nothing; name it by its part", name, suffix))
				}
			}
		}
	}
	return problems
}

func topLevel(f *ast.File) []*ast.Ident {
	var names []*ast.Ident
	for _, decl := range f.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			names = append(names, decl.Name)
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					names = append(names, spec.Name)
				case *ast.ValueSpec:
					names = append(names, spec.Names...)
				}
			}
		}
	}
	return names
}

func isFunction(f *ast.File, name *ast.Ident) bool {
	return slices.ContainsFunc(f.Decls, func(decl ast.Decl) bool {
		function, ok := decl.(*ast.FuncDecl)
		return ok && function.Recv == nil && function.Name == name
	})
}

// variables rejects package variables under internal/ that are state. Errors, interface
// checks, embedded files, and tables and texts that nothing writes are allowed.
func (p *pkg) variables() []string {
	if !strings.HasPrefix(p.dir, "internal/") {
		return nil
	}
	written := p.written()
	var problems []string
	for _, f := range p.files {
		for _, decl := range f.Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok || group.Tok != token.VAR {
				continue
			}
			for _, spec := range group.Specs {
				value, ok := spec.(*ast.ValueSpec)
				if !ok || embedded(group, value) {
					continue
				}
				for i, name := range value.Names {
					if name.Name == "_" || (fixed(name.Name, valueOf(value, i)) && !written[name.Name]) {
						continue
					}
					problems = append(problems, p.at(name, "%s is a package variable that may change: make it a field", name.Name))
				}
			}
		}
	}
	return problems
}

func embedded(group *ast.GenDecl, value *ast.ValueSpec) bool {
	for _, doc := range []*ast.CommentGroup{group.Doc, value.Doc} {
		if doc == nil {
			continue
		}
		for _, line := range doc.List {
			if strings.HasPrefix(line.Text, "//go:embed ") {
				return true
			}
		}
	}
	return false
}

// valueOf is the value of the i-th name; names may share one call.
func valueOf(spec *ast.ValueSpec, i int) ast.Expr {
	switch {
	case len(spec.Values) == 1:
		return spec.Values[0]
	case i < len(spec.Values):
		return spec.Values[i]
	default:
		return nil
	}
}

// fixed reports whether a value appears to be created once and to have no state.
func fixed(name string, value ast.Expr) bool {
	switch value := value.(type) {
	case nil:
		return false
	case *ast.UnaryExpr: // a pointer, which is allowed for an error only
		return value.Op != token.AND || strings.HasPrefix(strings.ToLower(name), "err")
	case *ast.CompositeLit:
		from, _ := qualified(value.Type)
		return from != "sync" && from != "atomic"
	case *ast.CallExpr:
		from, called := qualified(value.Fun)
		if slices.Contains([]string{"errors.New", "strings.NewReplacer"}, from+"."+called) {
			return true
		}
		lower := strings.ToLower(called)
		return called != "make" && !strings.HasPrefix(lower, "new") && !strings.HasPrefix(lower, "open")
	default:
		return true
	}
}

// qualified splits pkg.Name; from is "" for a name of the package itself.
func qualified(e ast.Expr) (from, name string) {
	switch e := e.(type) {
	case *ast.Ident:
		return "", e.Name
	case *ast.SelectorExpr:
		if x, ok := e.X.(*ast.Ident); ok {
			from = x.Name
		}
		return from, e.Sel.Name
	case *ast.IndexExpr: // with a type argument
		return qualified(e.X)
	}
	return "", ""
}

// written lists the package variables that code of the package assigns to, in whole or
// in part.
func (p *pkg) written() map[string]bool {
	locals := make(map[*ast.Ident]bool)
	names := make(map[string]bool)
	for _, f := range p.files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				noteLocals(n, locals)
			case *ast.AssignStmt:
				for _, left := range n.Lhs {
					noteWritten(left, locals, names)
				}
			case *ast.IncDecStmt:
				noteWritten(n.X, locals, names)
			case *ast.CallExpr:
				called, _ := n.Fun.(*ast.Ident)
				if called != nil && slices.Contains([]string{"delete", "clear", "copy"}, called.Name) && len(n.Args) > 0 {
					noteWritten(n.Args[0], locals, names)
				}
			}
			return true
		})
	}
	return names
}

// noteLocals marks every use, in a function, of a name that the function declares
// anywhere: coarse, but enough to distinguish a local from a package variable.
func noteLocals(function *ast.FuncDecl, locals map[*ast.Ident]bool) {
	declared := make(map[string]bool)
	ast.Inspect(function, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				for _, left := range n.Lhs {
					declare(left, declared)
				}
			}
		case *ast.RangeStmt:
			if n.Tok == token.DEFINE {
				declare(n.Key, declared)
				declare(n.Value, declared)
			}
		case *ast.ValueSpec:
			for _, name := range n.Names {
				declared[name.Name] = true
			}
		case *ast.Field:
			for _, name := range n.Names {
				declared[name.Name] = true
			}
		}
		return true
	})
	ast.Inspect(function, func(n ast.Node) bool {
		if name, ok := n.(*ast.Ident); ok && declared[name.Name] {
			locals[name] = true
		}
		return true
	})
}

func declare(e ast.Expr, declared map[string]bool) {
	if name, ok := e.(*ast.Ident); ok {
		declared[name.Name] = true
	}
}

// noteWritten finds the variable at the root of an assigned expression, such as v in
// v.f[i].
func noteWritten(place ast.Expr, locals map[*ast.Ident]bool, names map[string]bool) {
	for {
		switch e := place.(type) {
		case *ast.Ident:
			if !locals[e] {
				names[e.Name] = true
			}
			return
		case *ast.SelectorExpr:
			place = e.X
		case *ast.IndexExpr:
			place = e.X
		case *ast.ParenExpr:
			place = e.X
		default:
			return
		}
	}
}

// vendorWords rejects the words of a vendor outside its dialect.
func (p *pkg) vendorWords() []string {
	if !strings.HasPrefix(p.dir, "internal/") || slices.Contains(vendors, p.dir) {
		return nil
	}
	var problems []string
	for _, f := range p.files {
		ast.Inspect(f, func(n ast.Node) bool {
			text := ""
			switch n := n.(type) {
			case *ast.ImportSpec:
				return false
			case *ast.Ident:
				text = n.Name
			case *ast.BasicLit:
				text = n.Value
			}
			if word := vendorWord.FindString(text); word != "" {
				problems = append(problems, p.at(n, "%s is a vendor's word, and belongs in its dialect", word))
			}
			return true
		})
	}
	return problems
}

// sizes rejects long functions and files. Generated files have no limit.
func (p *pkg) sizes() []string {
	var problems []string
	for _, f := range p.files {
		if ast.IsGenerated(f) {
			continue
		}
		file := p.fset.File(f.FileStart)
		if lines := file.LineCount() - 1; lines > maxFileLines {
			problems = append(problems, fmt.Sprintf("%s: has %d lines; split it where a name helps", file.Name(), lines))
		}
		for _, decl := range f.Decls {
			function, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			lines := p.fset.Position(function.End()).Line - p.fset.Position(function.Pos()).Line + 1
			if lines > maxFunctionLines {
				problems = append(problems, p.at(function.Name, "%s has %d lines; split it where a name helps", function.Name.Name, lines))
			}
		}
	}
	return problems
}
