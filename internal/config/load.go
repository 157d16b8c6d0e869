package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Sources say where settings come from, each over the one before: the base, the
// file, the environment, the flags.
type Sources struct {
	Base   Config
	File   string              // "": none
	Getenv func(string) string // nil: none
	Flags  Config              // of which those in Given were given
	Given  func(name string) bool
}

// A Problem is one mistake in the settings.
type Problem struct {
	Setting string `json:"setting,omitempty"`
	Where   string `json:"where,omitempty"` // a file and line, a variable or a flag
	Text    string `json:"problem"`         // what is wrong and what to do
}

// String is the problem on one line.
func (p Problem) String() string {
	if p.Where == "" {
		return p.Text
	}
	return p.Where + ": " + p.Text
}

// Problems are all the mistakes in the settings; it is never empty.
type Problems []Problem

// Error lists them, one a line.
func (all Problems) Error() string {
	if len(all) == 1 {
		return "the settings have a mistake:\n  - " + all[0].String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "the settings have %d mistakes:", len(all))
	for _, p := range all {
		b.WriteString("\n  - " + p.String())
	}
	return b.String()
}

// A loading is one reading of all the sources.
type loading struct {
	config   Config
	fields   []Field
	origin   map[string]string // of a setting that is not the default
	broken   map[string]bool   // settings that could not be read: Check says nothing of them
	problems Problems
}

// Load reads the settings and checks them. The error is Problems; the settings
// are then what could be read.
func Load(from Sources) (Config, error) {
	l := &loading{config: from.Base, origin: make(map[string]string), broken: make(map[string]bool)}
	l.fields = fields(&l.config)
	if from.File != "" {
		l.file(from.File)
	}
	if from.Getenv != nil {
		l.environment(from.Getenv)
	}
	if from.Given != nil {
		l.flags(&from.Flags, from.Given)
	}
	fillQuotas(&l.config)
	for _, p := range l.config.Check() {
		if !l.broken[p.Setting] {
			p.Where = l.origin[p.Setting]
			l.problems = append(l.problems, p)
		}
	}
	if len(l.problems) > 0 {
		return l.config, l.problems
	}
	return l.config, nil
}

func (l *loading) add(setting, where, text string) {
	l.problems = append(l.problems, Problem{Setting: setting, Where: where, Text: text})
}

// take sets one field from one source.
func (l *loading) take(f *Field, text, where string) {
	l.origin[f.Name] = where
	delete(l.broken, f.Name)
	if err := f.set(text); err != nil {
		l.broken[f.Name] = true
		l.add(f.Name, where, f.Name+": "+err.Error())
	}
}

func (l *loading) environment(getenv func(string) string) {
	for i := range l.fields {
		f := &l.fields[i]
		if text := getenv(f.Env()); text != "" {
			l.take(f, text, f.Env())
		}
	}
}

func (l *loading) flags(given *Config, set func(string) bool) {
	for i, from := range fields(given) {
		if set(from.Name) {
			l.fields[i].value.Set(from.value)
			l.origin[from.Name] = "--" + from.Name
			delete(l.broken, from.Name)
		}
	}
}

func (l *loading) file(name string) {
	data, err := os.ReadFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.add("", name, "there is no such settings file: correct --config, or leave it out")
		return
	case err != nil:
		l.add("", name, "the settings file cannot be read: "+reason(err))
		return
	}
	l.read(name, data)
}

// read takes the settings of a file.
func (l *loading) read(name string, data []byte) {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		l.add("", name, "this is not YAML: "+strings.TrimSpace(err.Error()))
		return
	}
	for i, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType || doc.Body.Type() == ast.NullType {
			continue
		}
		entries, ok := mapping(doc.Body)
		if !ok || i > 0 {
			l.add("", place(name, doc.Body), "the file must be one list of \"setting: value\" lines")
			return
		}
		l.entries(name, entries)
	}
}

func (l *loading) entries(name string, entries []*ast.MappingValueNode) {
	seen := make(map[string]bool)
	for _, entry := range entries {
		key, where := entry.Key.GetToken().Value, place(name, entry.Key)
		i := slices.IndexFunc(l.fields, func(f Field) bool { return f.Name == key })
		text, ok := scalar(entry.Value)
		if i >= 0 && l.fields[i].List && !ok {
			text, ok = list(entry.Value)
		}
		switch {
		case i < 0:
			l.add(key, where, fmt.Sprintf("there is no setting %q%s", key, l.nearest(key)))
		case seen[key]:
			l.add(key, where, key+" is set twice: leave one out")
		case !ok:
			l.add(key, where, key+": must be a single value")
			l.broken[key] = true
		default:
			l.take(&l.fields[i], text, where)
		}
		seen[key] = true
	}
}

// nearest suggests the setting that was probably meant.
func (l *loading) nearest(key string) string {
	best, least := "", 4
	for _, f := range l.fields {
		if d := distance(strings.ReplaceAll(strings.ToLower(key), "_", "-"), f.Name); d < least {
			best, least = f.Name, d
		}
	}
	if best == "" {
		return "; \"porchlight config doc\" lists them"
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// distance is how many characters must be changed, added or left out.
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

// scalar is the text of a value as it was written, without quotes.
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

// list is the scalars of a sequence, with commas between.
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

func place(name string, n ast.Node) string {
	return fmt.Sprintf("%s:%d", name, n.GetToken().Position.Line)
}

// reason is what the system said, without the call and the path.
func reason(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}
