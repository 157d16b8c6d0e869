package cli

import (
	"io"
	"regexp"
	"strings"
	"testing"

	"porchlight.dev/porchlight/docs"
)

// TestHelp: every command and flag has help, and every command an example that the
// command line accepts.
func TestHelp(t *testing.T) {
	parser, err := newParser(new(commands), io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range parser.Model.Leaves(true) {
		path := command.FullPath()
		if command.Help == "" {
			t.Errorf("%s has no help", path)
		}
		for _, flag := range command.Flags {
			if flag.Help == "" {
				t.Errorf("%s: --%s has no help", path, flag.Name)
			}
		}
		_, examples, ok := strings.Cut(command.Detail, "Example:\n\n")
		if !ok || !strings.Contains(examples, path) {
			t.Errorf("%s has no example", path)
		}
		for line := range strings.SplitSeq(examples, "\n") {
			if args, ok := exampleArgs(line); ok {
				if _, err := parser.Parse(args); err != nil {
					t.Errorf("%s: the example %q: %v", path, line, err)
				}
			}
		}
	}
}

// TestDefaultScopes: docs/scopes.md lists the default scopes of "token create".
func TestDefaultScopes(t *testing.T) {
	var all commands
	parser, err := newParser(&all, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse([]string{"token", "create", "laptop"}); err != nil {
		t.Fatal(err)
	}
	page, err := docs.Served.ReadFile("scopes.md")
	if err != nil {
		t.Fatal(err)
	}
	want := "the default of `porchlight token create`: `" + strings.Join(all.Token.Create.Scope, "`, `") + "` |"
	if !strings.Contains(string(page), want) {
		t.Errorf("docs/scopes.md does not have %s", want)
	}
}

var exampleWord = regexp.MustCompile(`("[^"]*"|\$\([^)]*\)|[^\s"])+`)

// exampleArgs returns the arguments of a command in an example, up to a redirection.
func exampleArgs(line string) (args []string, ok bool) {
	if _, piped, found := strings.Cut(line, "| porchlight "); found {
		line = "porchlight " + piped
	}
	if _, inner, found := strings.Cut(line, "<(porchlight "); found {
		inner, _, _ = strings.Cut(inner, ")")
		line = "porchlight " + inner
	}
	words := exampleWord.FindAllString(line, -1)
	if len(words) == 0 || words[0] != "porchlight" {
		return nil, false
	}
	for _, word := range words[1:] {
		if word == "|" || word == "&&" || word == ">" {
			break
		}
		args = append(args, strings.Trim(word, `"`))
	}
	return args, true
}
