package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Sources are where settings come from, in increasing precedence: the base, the
// file, the environment, the flags.
type Sources struct {
	Base   Config
	File   string              // "" means none
	Getenv func(string) string // nil means none
	Flags  Config
	Given  func(name string) bool // whether the flag is on the command line
}

// A Problem is one error in the settings.
type Problem struct {
	Setting string `json:"setting,omitempty"`
	Where   string `json:"where,omitempty"` // a file and line, a variable or a flag
	Text    string `json:"problem"`         // what is wrong and what to do
}

// String formats the problem on one line. A flag or variable stands in place of the
// setting's name.
func (p Problem) String() string {
	if p.Where == "" {
		return p.Text
	}
	rest, named := strings.CutPrefix(p.Text, p.Setting)
	if named && (p.Where == "--"+p.Setting || p.Where == (&Field{Name: p.Setting}).Env()) {
		return p.Where + rest
	}
	return p.Where + ": " + p.Text
}

// Problems are all errors in the settings. It is never empty.
type Problems []Problem

// Error lists the problems, one a line.
func (all Problems) Error() string {
	var b strings.Builder
	b.WriteString("invalid configuration:")
	for _, p := range all {
		b.WriteString("\n  - " + p.String())
	}
	return b.String()
}

// A loader reads all sources once.
type loader struct {
	config   Config
	fields   []Field
	origin   Origins
	invalid  map[string]bool // settings that could not be parsed, which Check need not report
	problems Problems
}

// Load reads the settings and checks them. If the error is not nil it is a Problems,
// and the result has the settings that could be read.
func Load(from Sources) (Config, error) {
	c, _, err := LoadOrigins(from)
	return c, err
}

// LoadOrigins is Load, and says where each setting comes from.
func LoadOrigins(from Sources) (Config, Origins, error) {
	l := &loader{config: from.Base, origin: make(Origins), invalid: make(map[string]bool)}
	l.fields = fields(&l.config)
	if from.File != "" && !l.file(from.File) {
		l.invalid["data-dir"] = true // it is probably in the file
	}
	if from.Getenv != nil {
		l.environment(from.Getenv)
	}
	if from.Given != nil {
		l.flags(&from.Flags, from.Given)
	}
	fillQuotas(&l.config)
	for _, p := range l.config.Check() {
		if !l.invalid[p.Setting] {
			p.Where = cmp.Or(l.origin[p.Setting], p.Where)
			l.problems = append(l.problems, p)
		}
	}
	if len(l.problems) > 0 {
		return l.config, l.origin, l.problems
	}
	return l.config, l.origin, nil
}

func (l *loader) add(setting, where, text string) {
	l.problems = append(l.problems, Problem{Setting: setting, Where: where, Text: text})
}

// set sets one field from one source.
func (l *loader) set(f *Field, text, where string) {
	l.origin[f.Name] = where
	delete(l.invalid, f.Name)
	if err := f.set(text); err != nil {
		l.invalid[f.Name] = true
		l.add(f.Name, where, f.Name+": "+err.Error())
	}
}

func (l *loader) environment(getenv func(string) string) {
	for i := range l.fields {
		f := &l.fields[i]
		if text := getenv(f.Env()); text != "" {
			l.set(f, text, f.Env())
		}
	}
}

func (l *loader) flags(flags *Config, given func(string) bool) {
	for i, from := range fields(flags) {
		if given(from.Name) {
			l.fields[i].value.Set(from.value)
			l.origin[from.Name] = "--" + from.Name
			delete(l.invalid, from.Name)
		}
	}
}

// file reads the settings of a file. It reports whether it could.
func (l *loader) file(name string) bool {
	data, err := os.ReadFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.add("", name, "the settings file does not exist: correct --config, or omit it")
		return false
	case err != nil:
		l.add("", name, "cannot read the settings file: "+reason(err))
		return false
	}
	return l.parse(name, data)
}

// parse reads the settings of a file.
func (l *loader) parse(name string, data []byte) bool {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		l.add("", name, "invalid YAML: "+strings.TrimSpace(err.Error()))
		return false
	}
	for i, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType || doc.Body.Type() == ast.NullType {
			continue
		}
		entries, ok := mapping(doc.Body)
		if !ok || i > 0 {
			l.add("", sourceLine(name, doc.Body), "the file must contain \"setting: value\" lines and nothing else")
			return false
		}
		l.entries(name, entries)
	}
	return true
}

func (l *loader) entries(name string, entries []*ast.MappingValueNode) {
	seen := make(map[string]bool)
	for _, entry := range entries {
		key, where := entry.Key.GetToken().Value, sourceLine(name, entry.Key)
		i := slices.IndexFunc(l.fields, func(f Field) bool { return f.Name == key })
		text, ok := scalar(entry.Value)
		if i >= 0 && l.fields[i].List && !ok {
			text, ok = list(entry.Value)
		}
		switch {
		case i < 0:
			l.add(key, where, fmt.Sprintf("unknown setting %q%s", key, nearest(key, l.fields)))
		case seen[key]:
			l.add(key, where, key+" is set twice: remove one")
		case !ok:
			l.add(key, where, key+": the value must be a scalar")
			l.invalid[key] = true
		default:
			l.set(&l.fields[i], text, where)
		}
		seen[key] = true
	}
}

// nearest suggests the most similar setting.
func nearest(key string, all []Field) string {
	if f := nearestField(key, all); f != nil {
		return fmt.Sprintf("; did you mean %q?", f.Name)
	}
	return "; \"porchlight config doc\" lists them"
}

// nearestField returns the field whose name is most similar to key, nil if none is.
func nearestField(key string, all []Field) *Field {
	var best *Field
	shortest := 4
	for i := range all {
		if d := distance(strings.ReplaceAll(strings.ToLower(key), "_", "-"), all[i].Name); d < shortest {
			best, shortest = &all[i], d
		}
	}
	return best
}

// distance is the Levenshtein distance.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

func mapping(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	default:
		return nil, false
	}
}

// scalar returns the text of a scalar value, without quotes.
func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.NullNode:
		return "", true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case ast.ScalarNode:
		return n.GetToken().Value, true
	default:
		return "", false
	}
}

// list returns the scalars of a sequence, separated by commas.
func list(n ast.Node) (string, bool) {
	sequence, ok := n.(*ast.SequenceNode)
	if !ok {
		return "", false
	}
	values := make([]string, len(sequence.Values))
	for i, value := range sequence.Values {
		if values[i], ok = scalar(value); !ok {
			return "", false
		}
	}
	return strings.Join(values, ","), true
}

// sourceLine formats the file and line of a node.
func sourceLine(name string, n ast.Node) string {
	return fmt.Sprintf("%s:%d", name, n.GetToken().Position.Line)
}

// reason is the error of the operating system, without the call and the path.
func reason(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}
