package e2e_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/porttest"
)

// TestDocumentation pastes every command of README, some pages and the guides into a new
// terminal, in order, as a reader would: a shell without variables of ours, with an empty home
// directory, in a directory that looks like a clone, in which the client libraries are
// installed. Blocks of ```sh are run, and so are the programs in blocks of ```javascript,
// ```python and ```go. Other blocks, such as ```text, are not. A command that fails ends the
// page.
//
// Comments after a block say more about it:
//
//	<!-- prints: TEXT -->     the output must contain this
//	<!-- never: TEXT -->      the output must not contain this
//	<!-- until: TEXT -->      the program does not end by itself: it is stopped when it has
//	                          printed this
//	<!-- terminal: server --> the block runs in a second terminal, until Ctrl-C or the
//	                          next such block
//	<!-- logs: TEXT -->       the second terminal must show this
//	<!-- paste: PATTERN -->   the reader pastes the lines that the commands before have
//	                          printed and that match, as they are told to
//
// A block of ```output after it has lines that must be in the output, in this order; an
// ellipsis stands for any text.
//
// Only this differs from what a reader types: `porchlight` is in the PATH, `go run
// ./cmd/porchlight` and `make build` use the same binary, which is built already, `npm ci`
// does nothing because `make test-tools` ran it, the ports are free ones, /var/lib and
// /backups are directories of the test, and nobody becomes another user.
func TestDocumentation(t *testing.T) {
	guides, err := filepath.Glob("../docs/guides/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append([]string{"../README.md", "../docs/getting-started.md", "../docs/sdks.md", "../docs/streaming.md", "../docs/operations.md"}, guides...) {
		page = strings.TrimPrefix(page, "../")
		if blocks := shellBlocks(t, page); len(blocks) > 0 {
			t.Run(page, func(t *testing.T) { pasteAll(t, blocks) })
		}
	}
}

// pasteAll runs the blocks in one shell and checks what they print.
func pasteAll(t *testing.T, blocks []block) {
	dir := t.TempDir()
	free := porttest.Free(t, 2)
	at := ports{strconv.Itoa(free[0]), strconv.Itoa(free[1])}
	script := filepath.Join(dir, "script")
	text := []string{terminalFunctions}
	for i, b := range blocks {
		text = append(text, fmt.Sprintf("printf '\\n%s%d\\n'", blockMark, i), b.script(at))
	}
	text = append(text, "close_terminal\nprintf '\\n"+blockMark+"end\\n'")
	if err := os.WriteFile(script, []byte(strings.Join(text, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	printed := runScript(t, dir, script, blocks, at)
	outputs := strings.Split(printed, "\n"+blockMark)[1:]
	for i, b := range blocks {
		if i >= len(outputs)-1 { // without the mark after it
			t.Fatalf("the command ended the page:\n%s\nprinted\n%s", b.commands, outputs[len(outputs)-1])
		}
		b.check(t, outputs[i], at.api)
	}
	if metrics, err := os.ReadFile(filepath.Join(dir, "metrics")); err == nil {
		checkNoLimitReached(t, string(metrics))
	}
}

// ports are those of the page's server.
type ports struct{ api, admin string }

const blockMark = "==== block "

// terminalFunctions open and close the second terminal, and paste from it.
const terminalFunctions = `set -e -m -o pipefail
readonly page=${PWD%/*}
exec </dev/null >"$page/output" 2>&1
await() { # PATTERN FILE...: until a line matches
	for attempt in $(seq 600); do
		if grep -qE "$@"; then return; fi
		kill -0 "$terminal" || break
		sleep 0.1
	done
	cat "$page/terminal"
	return 1
}
close_terminal() {
	if [ -z "$terminal" ]; then return; fi
	metrics=$(grep -oE 'http://[^ ]+/metrics' "$page/terminal" || true) # the demo names them
	if [ -n "$metrics" ]; then curl -sS "$metrics" >"$page/metrics"; fi
	kill -INT "$terminal"
	wait "$terminal"
	terminal=
}
paste_lines() {
	if [ -n "$terminal" ]; then await "$1" "$page/terminal" "$page/output"; fi
	grep -hE "$1" "$page/terminal" "$page/output" >"$page/pasted"
	. "$page/pasted"
}
run_until() { # TEXT COMMAND...: stops the command when it has printed the text
	text=$1
	shift
	: >"$page/program" # what the program before printed must not count
	"$@" >>"$page/program" 2>&1 &
	program=$!
	for attempt in $(seq 600); do
		if grep -qF -- "$text" "$page/program" || ! kill -0 "$program" 2>/dev/null; then break; fi
		sleep 0.1
	done
	kill "$program" || true
	wait "$program" || true
	cat "$page/program"
}
: >"$page/terminal"
terminal=
`

// script is what the shell runs for the block.
func (b *block) script(at ports) string {
	if b.language != "sh" || b.until != "" {
		return b.runProgram(at)
	}
	commands := strings.NewReplacer(
		"npm ci --prefix e2e --ignore-scripts\n", "",
		"go run ./cmd/porchlight", binary,
		"make build", "cp "+binary+" porchlight",
		"127.0.0.1:8080", "127.0.0.1:"+at.api,
		"127.0.0.1:8081", "127.0.0.1:"+at.admin,
		`{"client_type":"desktop"}`, `{"client_type":"desktop","lease_seconds":3600}`, // which outlives the page
		"/var/lib/", `"$page"/lib/`,
		"/backups/", `"$page"/backups/`,
		"sudo -u porchlight ", "",
	).Replace(b.commands)
	if b.terminal {
		// exec, so that the signal reaches the server and not a shell.
		commands = "close_terminal\n(\nexec " + commands + ") >\"$page/terminal\" 2>&1 &\nterminal=$!\n" +
			"await 'is (ready|running)' \"$page/terminal\"\n"
	}
	for _, text := range b.logs {
		commands += "await '" + regexp.QuoteMeta(text) + "' \"$page/terminal\"\n"
	}
	for _, pattern := range b.paste {
		commands += "paste_lines '" + pattern + "'\n"
	}
	return commands
}

// runProgram is what the shell runs for a program. repository is the path of the Go module.
func (b *block) runProgram(at ports) string {
	const stop = "END_OF_PROGRAM"
	file := map[string]string{"sh": "program.sh", "javascript": "program.mjs", "python": "program.py", "go": "program.go"}[b.language]
	command := map[string]string{"sh": "bash program.sh", "javascript": "node program.mjs", "python": "python3 program.py", "go": "./program"}[b.language]
	text := "cat >" + file + " <<'" + stop + "'\n"
	if b.language == "sh" {
		text += "exec " // so that the signal reaches the command and not a shell
	}
	text += strings.ReplaceAll(b.commands, "127.0.0.1:8080", "127.0.0.1:"+at.api) + stop + "\n"
	if b.language == "go" {
		text += "go build -C \"$repository\" -ldflags \"-s -w\" -o \"$PWD/program\" \"$PWD/program.go\"\n"
	}
	if b.until != "" {
		command = "run_until '" + b.until + "' " + command
	}
	return text + command + "\n"
}

func (b *block) check(t *testing.T, output, port string) {
	t.Helper()
	for _, want := range b.prints {
		if !strings.Contains(output, want) {
			t.Errorf("%s\nprinted\n%s\nwithout %s", b.commands, output, want)
		}
	}
	rest := strings.Join(strings.Fields(output), " ")
	for line := range strings.Lines(strings.ReplaceAll(b.output, "127.0.0.1:8080", "127.0.0.1:"+port)) {
		for part := range strings.SplitSeq(line, "…") {
			part = strings.Join(strings.Fields(part), " ")
			_, after, found := strings.Cut(rest, part)
			if !found {
				t.Errorf("%s\nprinted\n%s\nwithout, in this place, %s", b.commands, output, part)
			}
			rest = after
		}
	}
	for _, never := range b.never {
		if strings.Contains(output, never) {
			t.Errorf("%s\nprinted\n%s\nwith %s", b.commands, output, never)
		}
	}
}

// runScript runs the script in a directory that has of a clone what the pages use, and
// returns what was printed.
func runScript(t *testing.T, dir, script string, blocks []block, at ports) string {
	t.Helper()
	e2e, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	home, programs := filepath.Join(dir, "home"), filepath.Join(dir, "bin")
	for _, err := range []error{
		os.Rename(sdkDirectory(t), filepath.Join(dir, "clone")), os.Symlink(e2e, filepath.Join(dir, "clone", "e2e")),
		os.Mkdir(home, 0o700), os.Mkdir(programs, 0o700), os.Symlink(binary, filepath.Join(programs, "porchlight")),
		os.Mkdir(filepath.Join(dir, "lib"), 0o700), os.Mkdir(filepath.Join(dir, "backups"), 0o700),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "bash", script)
	command.Dir = filepath.Join(dir, "clone")
	command.Env = append(cleanEnv(t), append(sdkEnvironment(t),
		"PATH="+programs+":"+os.Getenv("PATH"), "HOME="+home, "TMPDIR="+dir, "repository="+filepath.Dir(e2e),
		"PORCHLIGHT_LISTEN=127.0.0.1:"+at.api, "PORCHLIGHT_ADMIN_LISTEN=127.0.0.1:"+at.admin,
	)...)
	if slices.ContainsFunc(blocks, func(b block) bool { return strings.Contains(b.commands, "porchlight demo") }) {
		command.Env = append(command.Env, storeEnv(t)...)
	}
	_, failure := command.CombinedOutput()
	printed, err := os.ReadFile(filepath.Join(dir, "output"))
	if err != nil {
		t.Fatal(failure, err)
	}
	if failure != nil {
		t.Errorf("the page's commands: %v", failure)
	}
	return string(printed)
}

// A block is a sequence of commands of a page, and what its comments say.
type block struct {
	language      string
	commands      string
	prints, never []string
	output        string // what the page shows of the output
	terminal      bool
	logs, paste   []string
	until         string
}

var programFence = regexp.MustCompile("\n```(sh|javascript|python|go)\n")

var blockNote = regexp.MustCompile(`^<!-- (prints|never|until|terminal|logs|paste): (.*) -->$`)

func shellBlocks(t *testing.T, page string) []block {
	t.Helper()
	var blocks []block
	text := read(t, page)
	for {
		begin := programFence.FindStringSubmatchIndex(text)
		if begin == nil {
			return blocks
		}
		commands, after, found := strings.Cut(text[begin[1]:], "\n```\n")
		if !found {
			t.Fatalf("%s: a block is not closed", page)
		}
		b := block{language: text[begin[2]:begin[3]], commands: commands + "\n"}
		for {
			line, next, _ := strings.Cut(after, "\n")
			note := blockNote.FindStringSubmatch(line)
			if note == nil {
				break
			}
			b.note(note[1], note[2])
			after = next
		}
		if shown, ok := strings.CutPrefix(after, "\n```output\n"); ok {
			b.output, after, _ = strings.Cut(shown, "\n```\n")
		}
		blocks = append(blocks, b)
		text = "\n" + after
	}
}

func (b *block) note(kind, text string) {
	switch kind {
	case "prints":
		b.prints = append(b.prints, text)
	case "never":
		b.never = append(b.never, text)
	case "terminal":
		b.terminal = true
	case "logs":
		b.logs = append(b.logs, text)
	case "until":
		b.until = text
		b.prints = append(b.prints, text)
	case "paste":
		b.paste = append(b.paste, text)
	}
}
