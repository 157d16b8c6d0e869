package e2e_test

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestFreshClone starts the demo in a clone of the last commit with the command of the
// README and an empty home directory, and runs the first printed commands there.
func TestFreshClone(t *testing.T) {
	clone := filepath.Join(t.TempDir(), "porchlight")
	if output, err := run(t, nil, "git", "clone", "--quiet", "--shared", "..", clone); err != nil {
		t.Fatalf("git clone: %v\n%s", err, output)
	}
	const start = "go run ./cmd/porchlight demo"
	if !strings.Contains(read(t, "README.md"), "\n"+start+"\n") {
		t.Fatalf("the README does not show %q", start)
	}
	env := cleanEnv(t)
	printed := startPrinting(t, clone, append(env, storeEnv(t)...), strings.Fields(start)...)
	_, rest, _ := strings.Cut(printed, "\n  export ")
	export, _, _ := strings.Cut(rest, "\n")
	runPrinted(t, clone, env, "export "+export, "go run ./cmd/porchlight status get", false)
}

// TestHelp runs every command with --help and an empty home directory.
func TestHelp(t *testing.T) {
	env := cleanEnv(t)
	var visit func(path ...string) int
	visit = func(path ...string) int {
		name := strings.Join(append([]string{binary}, path...), " ")
		output, err := run(t, env, binary, append(path, "--help")...)
		if err != nil || !strings.HasPrefix(output, "Usage: porchlight") {
			t.Errorf("%s --help: %v\n%s", name, err, output)
		}
		_, commands, group := strings.Cut(output, "\nCommands:\n")
		if !group {
			if !strings.Contains(output, "Example:") {
				t.Errorf("%s --help has no example:\n%s", name, output)
			}
			return 1
		}
		n := 0
		for line := range strings.Lines(commands) {
			if words := strings.Fields(line); strings.HasPrefix(line, "  ") && !strings.HasPrefix(line, "   ") {
				sub := words[0]
				if len(path) > 0 && sub == path[0] { // the help shows the whole path
					sub = words[len(path)]
				}
				n += visit(append(path[:len(path):len(path)], sub)...)
			}
		}
		return n
	}
	if n := visit(); n < 40 {
		t.Errorf("%d commands, want at least 40", n)
	}
}

// TestEveryGuideIsTested: a guide has commands that TestDocumentation runs, or a test of
// its own, and programs in every language of the client libraries.
func TestEveryGuideIsTested(t *testing.T) {
	others := map[string]string{
		"csharp.md":    "TestCSharpGuide",
		"workflow.md":  "TestWorkflowGuide",
		"proxy.md":     "TestProxies",
		"jetstream.md": "the tests of natsstore",
	}
	oneTool := map[string]bool{"csharp.md": true, "curl.md": true, "jetstream.md": true, "openapi.md": true, "postman.md": true, "proxy.md": true}
	guides, err := filepath.Glob("../docs/guides/*.md")
	if err != nil || len(guides) == 0 {
		t.Fatal(err)
	}
	for _, guide := range guides {
		name := filepath.Base(guide)
		if others[name] == "" && len(shellBlocks(t, "docs/guides/"+name)) == 0 {
			t.Errorf("no test runs docs/guides/%s: mark its commands with sh", name)
		}
		for _, language := range []string{"javascript", "python", "go"} {
			if !oneTool[name] && !strings.Contains(read(t, "docs/guides/"+name), "\n```"+language+"\n") {
				t.Errorf("docs/guides/%s has no program in %s", name, language)
			}
		}
	}
}
