package cli

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"porchlight.dev/porchlight/docs"
)

// TestReference: docs/cli.md and the manual pages are those that "go generate" writes,
// and have every command with every flag.
func TestReference(t *testing.T) {
	parser, err := newParser(new(commands), io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	page, err := docs.Served.ReadFile("cli.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(page) != markdownReference(parser.Model.Node) {
		t.Error("docs/cli.md is out of date: run go generate")
	}
	pages := manualPages(parser.Model.Node)
	written, err := filepath.Glob("../../man/*.1")
	if err != nil || len(written) != len(pages) {
		t.Errorf("man has %d pages, want %d (%v)", len(written), len(pages), err)
	}
	var all strings.Builder
	for name, want := range pages {
		all.WriteString(want)
		if got, err := os.ReadFile(filepath.Join("../../man", name)); string(got) != want {
			t.Errorf("man/%s is out of date: run go generate (%v)", name, err)
		}
		if strings.Contains(want, "\n\n") {
			t.Errorf("man/%s has an empty line, which some formatters show", name)
		}
	}
	for _, command := range parser.Model.Leaves(true) {
		for _, want := range []string{string(page), all.String()} {
			if !strings.Contains(want, command.FullPath()) && !strings.Contains(want, roff(command.FullPath())) {
				t.Errorf("%s is missing", command.FullPath())
			}
		}
		for _, flag := range command.Flags {
			if !flag.Hidden && flag.Name != "help" && (!strings.Contains(string(page), "--"+flag.Name) || !strings.Contains(all.String(), roff("--"+flag.Name))) {
				t.Errorf("%s: --%s is missing", command.FullPath(), flag.Name)
			}
		}
	}
}

// TestRoff: nothing in a text is taken for a request or an escape of the formatter.
func TestRoff(t *testing.T) {
	for text, want := range map[string]string{
		`.SH x`: `\&.SH x`, `'tis`: `\(aqtis`, `a\b`: `a\eb`, `--json`: `\-\-json`, `~/x`: `\(ti/x`,
	} {
		if got := roff(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}
