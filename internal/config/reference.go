package config

import (
	"fmt"
	"strings"
)

// A Setting describes a field for the reference.
type Setting struct {
	Name         string   `json:"name"`
	Group        string   `json:"group"`
	Flag         string   `json:"flag"`
	Env          string   `json:"env"`
	Help         string   `json:"help"`
	Default      string   `json:"-"`
	DefaultValue any      `json:"default"`
	Values       []string `json:"values,omitempty"`
}

// Settings describes every setting of the server, in order.
func Settings() []Setting { return describe(fields(new(Config))) }

func describe(all []Field) []Setting {
	described := make([]Setting, 0, len(all))
	for _, f := range all {
		f.reset()
		described = append(described, Setting{f.Name, f.Group, "--" + f.Name, f.Env(), f.Help, f.Default, f.typed(), f.Enum})
	}
	return described
}

// Reference is the documentation of every setting, in Markdown.
func Reference() string {
	var b strings.Builder
	b.WriteString(`# Settings

<!-- Written by "porchlight config doc": change the tags in internal/config/config.go instead. -->

A setting comes from its flag, else from its environment variable, else from the
YAML file that --config (PORCHLIGHT_CONFIG) names. Otherwise it has its default. The
file uses the names below: ` + "`listen: 127.0.0.1:8080`" + `. Write durations as 90s, 15m, 36h
or 30d, sizes as 64MiB, and lists with commas or as a YAML sequence.
"porchlight config check" reports every error, and "porchlight config print" prints
the effective settings and where each comes from.
`)
	group := ""
	for _, s := range Settings() {
		if s.Group != group {
			group = s.Group
			fmt.Fprintf(&b, "\n## %s\n", group)
		}
		s.describe(&b)
	}
	b.WriteString("\n## Connection\n\nThese settings are for the commands that use the API. They come from flags and\nenvironment variables only, not from the file.\n")
	for _, s := range ConnectionSettings() {
		s.describe(&b)
	}
	return b.String()
}

func (s *Setting) describe(b *strings.Builder) {
	fmt.Fprintf(b, "\n### %s\n\n%s\n\nFlag `%s`, variable `%s`", s.Name, s.Help, s.Flag, s.Env)
	if s.Values != nil {
		fmt.Fprintf(b, ", one of `%s`", strings.Join(s.Values, "`, `"))
	}
	if s.Default != "" {
		fmt.Fprintf(b, ", default `%s`", s.Default)
	}
	b.WriteString(".\n")
}

// redacted stands for a secret that is set.
const redacted = "(set, not shown)"

// Print returns the settings as a YAML file, without secrets, and says in comments where
// each comes from.
func (c Config) Print(from Origins) string {
	var b strings.Builder
	group := ""
	for _, f := range fields(&c) {
		if f.Group != group {
			if group != "" {
				b.WriteString("\n")
			}
			group = f.Group
			fmt.Fprintf(&b, "# %s\n", group)
		}
		fmt.Fprintf(&b, "%s: %s  # %s\n", f.Name, yamlText(f.shown()), from.describe(&f))
	}
	return b.String()
}

// A Value is the effective value of a setting, and where it comes from.
type Value struct {
	Value  any    `json:"value"`
	Source string `json:"source"`         // default, flag, environment or file
	From   string `json:"from,omitempty"` // the flag, variable, or file and line
}

// Values returns the settings by name, without secrets.
func (c Config) Values(from Origins) map[string]Value { return valuesOf(&c, from) }

func valuesOf(settings any, from Origins) map[string]Value {
	all := make(map[string]Value)
	for _, f := range fields(settings) {
		source, place := from.source(&f)
		all[f.Name] = Value{f.typed(), source, place}
	}
	return all
}

// source returns the kind of source of a field and, unless it is the default, the flag,
// the variable, or the file.
func (from Origins) source(f *Field) (kind, place string) {
	switch origin := from[f.Name]; {
	case origin == "":
		return "default", ""
	case strings.HasPrefix(origin, "--"):
		return "flag", origin
	case origin == f.Env():
		return "environment", origin
	default:
		return "file", strings.TrimPrefix(origin, "the file ")
	}
}

func (from Origins) describe(f *Field) string {
	kind, place := from.source(f)
	if kind == "environment" {
		kind = "environment variable"
	}
	return strings.TrimSpace(kind + " " + place)
}

// typed returns the value with its type in JSON. Durations and sizes are texts, as in the
// settings file.
func (f *Field) typed() any {
	switch value := f.value.Interface().(type) {
	case bool, int:
		return value
	}
	if f.List {
		return append([]string{}, items(f.text())...)
	}
	return f.shown()
}

func (f *Field) shown() string {
	if f.Secret && !f.value.IsZero() {
		return redacted
	}
	return f.text()
}

// yamlText quotes a text that YAML would not read back unchanged.
func yamlText(text string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-"
	if text == "" || strings.Trim(text, plain) != "" || strings.HasPrefix(text, "-") {
		return "'" + strings.ReplaceAll(text, "'", "''") + "'"
	}
	return text
}
