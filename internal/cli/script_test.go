package cli_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"porchlight.dev/porchlight/internal/cli"
	"porchlight.dev/porchlight/internal/server"
	"porchlight.dev/porchlight/internal/store/enginetest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"porchlight": func() {
		ctx, stop := cli.UntilSignal()
		code := cli.Run(ctx, os.Args[1:], cli.ProcessEnv(), os.Stdin, os.Stdout, os.Stderr)
		stop()
		os.Exit(code) //nolint:forbidigo // the main function of the command in scripts
	}})
}

// TestScripts runs testdata/*.txtar. In addition to testscript's own commands there are:
//
//	background COMMAND ARGS…   runs "porchlight COMMAND ARGS… --json" in process, waits
//	                           for its first line and keeps it in background.json; for a
//	                           server, sets $PORCHLIGHT_URL and $ADDRESS
//	live COMMAND ARGS…         likewise without --json
//	begin COMMAND ARGS…        likewise, without waiting
//	expect PATTERN             waits until the last command prints a line that matches,
//	                           and keeps it as background does
//	until PATTERN COMMAND ARGS…
//	                           repeats a command until it succeeds and its output matches
//	stderrline PATTERN         waits until the standard error of the last command matches
//	ended CODE [COMMAND]       waits until the last command, or the last that runs COMMAND,
//	                           exits with this code; its output is kept in background.out
//	[!] interrupt [COMMAND]    interrupts the last command, or the last that runs COMMAND,
//	                           and waits for it; with !, it must fail. Its standard error
//	                           is kept in background.err, as by ended
//	setvar VARIABLE KEY        sets a variable to a member of the JSON in stdout
//	members FILE               writes the names of the members of the JSON in FILE, and
//	                           of the first item of each list, to the file members
//	killbackup DIR BACKUP FILE kills a "porchlight backup --data-dir DIR FILE" when it has
//	                           received half of BACKUP from a fake server
//	certificate CERT KEY HOST [expired]
//	                           writes a self-signed certificate for HOST, and its key
//	makenewer DIR              gives the store under DIR a future format
//	endpoint                   starts an endpoint of webhooks at $ENDPOINT, which accepts
//	                           everything
//	refuse                     makes it answer 500
//	signin LINK                accepts an invitation in a browser, which is signed in
//	decide allow|deny          answers the last "porchlight login" in that browser
//
// What waits does so for a minute, and then fails with what the command wrote to its standard
// error.
//
// Commands of testscript with the same name take precedence: its stop ends a script as
// passed.
//
// $FREE is an address that nothing else listens on or connects from, for a server that is
// stopped and started again.
//
// $NATS is the address of a NATS server with one replica. The files nats-user and
// nats-system contain its credentials.
func TestScripts(t *testing.T) {
	nats := enginetest.StartNATS(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Values[programsKey{}] = new([]*program)
			env.Values[refusingKey{}] = new(atomic.Bool)
			env.Values[browserKey{}] = new(browser)
			env.Setenv("NATS", nats.Host)
			env.Setenv("FREE", freeAddress(t))
			env.Setenv("HOME", filepath.Join(env.WorkDir, "home")) // the default is a directory outside
			return errors.Join(
				os.WriteFile(filepath.Join(env.WorkDir, "nats-user"), []byte(nats.User), 0o600),
				os.WriteFile(filepath.Join(env.WorkDir, "nats-system"), []byte(nats.System), 0o600),
			)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"background": background,
			"live":       live,
			"begin":      begin,
			"expect":     expect,
			"until":      until,
			"stderrline": stderrline,
			"ended":      ended,
			"interrupt":  interrupt,
			"setvar":     setvar,
			"killbackup": killBackup,
			"makenewer":  makenewer,
			"members":    members,

			"certificate": certificate,
			"endpoint":    endpoint,
			"refuse":      refuse,
			"signin":      signIn,
			"decide":      decide,
		},
	})
}

// firstPort is different in each process, as others look for ports at the same time.
var firstPort = rand.Uint32N(10_000) //nolint:gosec // no secret

// askedPorts counts the ports that freeAddress tried, so that it gives none twice.
var askedPorts atomic.Uint32

// freeAddress returns a free address of loopback, with a port below the ephemeral range: no
// other listener or connection gets it by chance before a server listens there.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		address := fmt.Sprint("127.0.0.1:", 10_000+(firstPort+askedPorts.Add(1))%10_000)
		l, err := net.Listen("tcp", address)
		if err == nil {
			l.Close()
			return address
		}
	}
	t.Fatal("no free port")
	return ""
}

// A program is a command that runs in the background.
type program struct {
	command string
	cancel  context.CancelCauseFunc
	ended   chan int
	pipe    *io.PipeReader
	out     *bufio.Reader // of pipe
	err     errorOutput
	once    sync.Once
}

// errorOutput is the standard error of a program. It can be read while the program
// runs.
type errorOutput struct {
	mu    sync.Mutex
	text  strings.Builder
	wrote *sync.Cond
	over  bool
}

func (c *errorOutput) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.wrote.Broadcast()
	return c.text.Write(p)
}

func (c *errorOutput) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

// close marks the end of the output.
func (c *errorOutput) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	c.wrote.Broadcast()
}

// await returns the whole output once it matches, and whether it did.
func (c *errorOutput) await(pattern *regexp.Regexp) (text string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !pattern.MatchString(c.text.String()) {
		if c.over {
			return c.text.String(), false
		}
		c.wrote.Wait()
	}
	return c.text.String(), true
}

// patience is how long a script waits for a program.
const patience = time.Minute

// limit ends the output for its reader when the script has waited long enough, until the
// result is stopped.
func (p *program) limit() *time.Timer {
	return time.AfterFunc(patience, func() { _ = p.pipe.Close() })
}

// unstoppable is the code of a program that does not end.
const unstoppable = -1

func (p *program) stop() int {
	p.once.Do(func() { go func() { _, _ = io.Copy(io.Discard, p.out) }() })
	p.cancel(server.ErrInterrupted)
	select {
	case code := <-p.ended:
		p.ended <- code
		return code
	case <-time.After(patience):
		return unstoppable
	}
}

// TestDemoStoppedEarly: a demo that is interrupted before it is ready reports that in
// one line, whether or not it created its account before.
func TestDemoStoppedEarly(t *testing.T) {
	dir := t.TempDir()
	demo := func(ctx context.Context, stdout io.Writer) (int, string) {
		var stderr strings.Builder
		args := []string{"demo", "--data-dir", dir, "--listen", "127.0.0.1:0", "--quiet-users", "--json"}
		code := cli.Run(ctx, args, cli.Env{Getenv: func(string) string { return "" }}, strings.NewReader(""), stdout, &stderr)
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

// TestInitProgram: the commands that init prints call the program as the user did.
func TestInitProgram(t *testing.T) {
	var stdout, stderr strings.Builder
	dir := filepath.Join(t.TempDir(), "data")
	env := cli.Env{Getenv: func(string) string { return "" }, Program: "./porchlight"}
	if code := cli.Run(t.Context(), []string{"init", "--data-dir", dir}, env, strings.NewReader(""), &stdout, &stderr); code != 0 {
		t.Fatalf("code %d: %s", code, &stderr)
	}
	for _, want := range []string{"serve --data-dir " + dir, "user add ", "session keep "} {
		if !strings.Contains(stdout.String(), "\n  ./porchlight "+want) {
			t.Errorf("no ./porchlight %s in\n%s", want, &stdout)
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func background(ts *testscript.TestScript, _ bool, args []string) {
	line := start(ts, append(args, "--json"))
	var ready struct {
		URL string `json:"url"`
	}
	ts.Check(json.Unmarshal([]byte(line), &ready))
	if ready.URL != "" {
		ts.Setenv("PORCHLIGHT_URL", ready.URL)
		ts.Setenv("ADDRESS", regexp.MustCompile("^https?://").ReplaceAllString(ready.URL, ""))
	}
}

func live(ts *testscript.TestScript, _ bool, args []string) { start(ts, args) }

// start runs a command and returns its first line.
func start(ts *testscript.TestScript, args []string) (line string) {
	p := run(ts, args)
	defer p.limit().Stop()
	line, err := p.out.ReadString('\n')
	if err != nil {
		ts.Fatalf("porchlight %s ended, or a minute passed, without a line: %v\n%s", args[0], err, p.err.String())
	}
	ts.Check(os.WriteFile(ts.MkAbs("background.json"), []byte(line), 0o600))
	return line
}

func begin(ts *testscript.TestScript, _ bool, args []string) { run(ts, args) }

// run starts a command.
func run(ts *testscript.TestScript, args []string) *program {
	ctx, cancel := context.WithCancelCause(context.Background())
	out, in := io.Pipe()
	p := &program{command: args[0], cancel: cancel, ended: make(chan int, 1), pipe: out, out: bufio.NewReader(out)}
	p.err.wrote = sync.NewCond(&p.err.mu)
	dir := ts.Getenv("WORK")
	for i, arg := range args {
		if i > 0 && args[i-1] == "--data-dir" && !filepath.IsAbs(arg) {
			args[i] = filepath.Join(dir, arg)
		}
	}
	go func() {
		code := cli.Run(ctx, args, cli.Env{Getenv: ts.Getenv}, strings.NewReader(""), in, &p.err)
		p.err.close()
		_ = in.Close()
		p.ended <- code
	}()
	ts.Defer(func() { p.stop() })
	all := programs(ts)
	*all = append(*all, p)
	return p
}

func expect(ts *testscript.TestScript, _ bool, args []string) {
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	p := last(ts, nil)
	defer p.limit().Stop()
	for {
		line, err := p.out.ReadString('\n')
		if err != nil {
			ts.Fatalf("the command ended, or a minute passed, without a line that matches %q: %v\n%s", args[0], err, p.err.String())
		}
		if pattern.MatchString(line) {
			ts.Check(os.WriteFile(ts.MkAbs("background.json"), []byte(line), 0o600))
			return
		}
	}
}

// until is for what a server answers only if it was fast enough, such as its health check.
func until(ts *testscript.TestScript, _ bool, args []string) {
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		err := ts.Exec(args[1], args[2:]...)
		if err == nil && pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("for a minute the output did not match %q: %v", args[0], err)
		}
	}
}

func stderrline(ts *testscript.TestScript, _ bool, args []string) {
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	p := last(ts, nil)
	defer time.AfterFunc(patience, p.err.close).Stop()
	if text, ok := p.err.await(pattern); !ok {
		ts.Fatalf("the command ended, or a minute passed, without an error line that matches %q:\n%s", args[0], text)
	}
}

// programsKey is the context key of the programs that a script started.
type programsKey struct{}

func programs(ts *testscript.TestScript) *[]*program {
	all, _ := ts.Value(programsKey{}).(*[]*program)
	return all
}

// last returns the last program, or the last that runs the named command.
func last(ts *testscript.TestScript, command []string) *program {
	for _, p := range slices.Backward(*programs(ts)) {
		if len(command) == 0 || p.command == command[0] {
			return p
		}
	}
	ts.Fatalf("no command was started")
	return nil
}

func interrupt(ts *testscript.TestScript, neg bool, args []string) {
	p := last(ts, args)
	code := p.stop()
	keepStderr(ts, p)
	if code == unstoppable || (code != 0) != neg {
		ts.Fatalf("the command exited with code %d:\n%s", code, p.err.String())
	}
}

func ended(ts *testscript.TestScript, _ bool, args []string) {
	p := last(ts, args[1:])
	defer p.limit().Stop()
	out, err := io.ReadAll(p.out)
	if err != nil {
		ts.Fatalf("the command did not end within a minute: %v\n%s", err, p.err.String())
	}
	code := p.stop() // the program has already ended
	keepStderr(ts, p)
	ts.Check(os.WriteFile(ts.MkAbs("background.out"), out, 0o600))
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("the command exited with code %d:\n%s", code, p.err.String())
	}
}

func keepStderr(ts *testscript.TestScript, p *program) {
	ts.Check(os.WriteFile(ts.MkAbs("background.err"), []byte(p.err.String()), 0o600))
}

func setvar(ts *testscript.TestScript, _ bool, args []string) {
	from := "stdout"
	if len(args) == 3 {
		from = args[2]
	}
	var members map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(from)), &members))
	text, ok := members[args[1]].(string)
	if !ok {
		ts.Fatalf("no string %q in %v", args[1], members)
	}
	ts.Setenv(args[0], text)
}

// refusingKey is the context key of whether the endpoint refuses everything.
type refusingKey struct{}

func endpoint(ts *testscript.TestScript, _ bool, _ []string) {
	refusing, _ := ts.Value(refusingKey{}).(*atomic.Bool)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if refusing.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	ts.Defer(server.Close)
	ts.Setenv("ENDPOINT", server.URL)
}

func refuse(ts *testscript.TestScript, _ bool, _ []string) {
	refusing, _ := ts.Value(refusingKey{}).(*atomic.Bool)
	refusing.Store(true)
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

func makenewer(ts *testscript.TestScript, _ bool, args []string) {
	found, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), "store", "marker.porchlight-format.*"))
	if err == nil && len(found) != 1 {
		err = errors.New("the store does not have exactly one format marker")
	}
	ts.Check(err)
	at := strings.LastIndex(found[0], ".")
	ts.Check(os.Rename(found[0], found[0][:at]+".99"))
}
