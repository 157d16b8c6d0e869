package cli_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"porchlight.dev/porchlight/internal/cli"
	"porchlight.dev/porchlight/internal/server"
	"porchlight.dev/porchlight/internal/store/enginetest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"porchlight": func() {
		ctx, stop := cli.UntilSignal()
		code := cli.Run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr)
		stop()
		os.Exit(code) //nolint:forbidigo // this is the main of the command in scripts
	}})
}

// TestScripts runs testdata/*.txtar. Beside testscript's own commands there are:
//
//	background COMMAND ARGS…   runs "porchlight COMMAND ARGS… --json" in process,
//	                           waits for its line, and keeps it as if it were stdout
//	live COMMAND ARGS…         likewise without --json
//	expect PATTERN             waits for a line of the last one that matches, and keeps it
//	                           as background does
//	stop                       interrupts the last one and waits for it
//	take VARIABLE KEY          sets a variable to a member of the JSON in stdout
//	members FILE               writes the names of the members of the JSON in FILE, and
//	                           of the first item of each list, to the file members
//	killed DIR BACKUP FILE     kills a "porchlight backup --data-dir DIR FILE" when half of
//	                           BACKUP, which it gets from a server of ours, has come
//	newer DIR                  makes the store under DIR of a format to come
//
// $NATS is the address of a NATS server with one replica, and the files nats-user
// and nats-system hold what it asks for.
func TestScripts(t *testing.T) {
	nats := enginetest.StartNATS(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Values[lastProgram{}] = new(*program)
			env.Setenv("NATS", nats.Host)
			return errors.Join(
				os.WriteFile(filepath.Join(env.WorkDir, "nats-user"), []byte(nats.User), 0o600),
				os.WriteFile(filepath.Join(env.WorkDir, "nats-system"), []byte(nats.System), 0o600),
			)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"background": background,
			"live":       live,
			"expect":     expect,
			"stop":       stop,
			"take":       take,
			"killed":     killed,
			"newer":      newer,
			"members":    members,
		},
	})
}

// A program is one that runs in the background.
type program struct {
	cancel context.CancelCauseFunc
	ended  chan int
	out    *bufio.Reader
	once   sync.Once
}

func (p *program) stop() int {
	p.once.Do(func() { go func() { _, _ = io.Copy(io.Discard, p.out) }() })
	p.cancel(server.ErrInterrupted)
	code := <-p.ended
	p.ended <- code
	return code
}

// TestDemoStoppedEarly: a demo that is interrupted before it is ready says so in
// one line, whether it has to make its account first or not.
func TestDemoStoppedEarly(t *testing.T) {
	dir := t.TempDir()
	demo := func(ctx context.Context, stdout io.Writer) (int, string) {
		var stderr strings.Builder
		args := []string{"demo", "--data-dir", dir, "--listen", "127.0.0.1:0", "--quiet-users", "--json"}
		code := cli.Run(ctx, args, func(string) string { return "" }, strings.NewReader(""), stdout, &stderr)
		return code, stderr.String()
	}
	early := func(what string) {
		t.Helper()
		ctx, stop := context.WithCancelCause(t.Context())
		stop(server.ErrInterrupted)
		code, stderr := demo(ctx, io.Discard)
		if code != 1 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "stopped before its users were ready") {
			t.Errorf("%s: code %d\n%s", what, code, stderr)
		}
	}
	early("a new directory")
	ctx, stop := context.WithCancelCause(t.Context())
	defer stop(nil)
	ready := writerFunc(func(p []byte) (int, error) {
		stop(server.ErrInterrupted)
		return len(p), nil
	})
	if code, stderr := demo(ctx, ready); code != 0 {
		t.Fatalf("stopped when it was ready: code %d\n%s", code, stderr)
	}
	early("a directory with an account")
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func background(ts *testscript.TestScript, _ bool, args []string) {
	line := start(ts, append(args, "--json"))
	var told struct {
		URL string `json:"url"`
	}
	ts.Check(json.Unmarshal([]byte(line), &told))
	if told.URL != "" {
		ts.Setenv("PORCHLIGHT_URL", told.URL)
	}
}

func live(ts *testscript.TestScript, _ bool, args []string) { start(ts, args) }

// start runs a command and keeps its first line.
func start(ts *testscript.TestScript, args []string) (line string) {
	ctx, cancel := context.WithCancelCause(context.Background())
	out, in := io.Pipe()
	p := &program{cancel: cancel, ended: make(chan int, 1), out: bufio.NewReader(out)}
	var stderr strings.Builder
	dir := ts.Getenv("WORK")
	for i, arg := range args {
		if i > 0 && args[i-1] == "--data-dir" && !filepath.IsAbs(arg) {
			args[i] = filepath.Join(dir, arg)
		}
	}
	go func() {
		code := cli.Run(ctx, args, ts.Getenv, strings.NewReader(""), in, &stderr)
		_ = in.Close()
		p.ended <- code
	}()
	ts.Defer(func() { p.stop() })
	line, err := p.out.ReadString('\n')
	if err != nil {
		p.stop()
		ts.Fatalf("porchlight %s: it ended without a line: %v\n%s", args[0], err, stderr.String())
	}
	ts.Check(os.WriteFile(ts.MkAbs("background.json"), []byte(line), 0o600))
	*last(ts) = p
	return line
}

func expect(ts *testscript.TestScript, _ bool, args []string) {
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	for {
		line, err := (*last(ts)).out.ReadString('\n')
		if err != nil {
			ts.Fatalf("it ended without a line that matches %q: %v", args[0], err)
		}
		if pattern.MatchString(line) {
			ts.Check(os.WriteFile(ts.MkAbs("background.json"), []byte(line), 0o600))
			return
		}
	}
}

// lastProgram is the key of the last program that a script started.
type lastProgram struct{}

func last(ts *testscript.TestScript) **program {
	p, _ := ts.Value(lastProgram{}).(**program)
	return p
}

func stop(ts *testscript.TestScript, _ bool, _ []string) {
	if code := (*last(ts)).stop(); code != 0 {
		ts.Fatalf("it ended with code %d", code)
	}
}

func take(ts *testscript.TestScript, _ bool, args []string) {
	from := "stdout"
	if len(args) == 3 {
		from = args[2]
	}
	var members map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(from)), &members))
	text, ok := members[args[1]].(string)
	if !ok {
		ts.Fatalf("there is no text %q in %v", args[1], members)
	}
	ts.Setenv(args[0], text)
}

func members(ts *testscript.TestScript, _ bool, args []string) {
	var object map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &object))
	var names []string
	for name, value := range object {
		names = append(names, name)
		if items, ok := value.([]any); ok {
			first, _ := items[0].(map[string]any)
			for member := range first {
				names = append(names, fmt.Sprintf("%s[%d].%s", name, len(items), member))
			}
		}
	}
	slices.Sort(names)
	ts.Check(os.WriteFile(ts.MkAbs("members"), []byte(strings.Join(names, "\n")+"\n"), 0o600))
}

func newer(ts *testscript.TestScript, _ bool, args []string) {
	found, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), "store", "marker.porchlight-format.*"))
	if err == nil && len(found) != 1 {
		err = errors.New("there is not one format marker")
	}
	ts.Check(err)
	at := strings.LastIndex(found[0], ".")
	ts.Check(os.Rename(found[0], found[0][:at]+".99"))
}
