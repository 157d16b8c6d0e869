package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

// The tests of this package run the program as an operator does, and inject the
// failures that happen to programs. binary is the path of the program, which is built
// once.
var binary string

// binaryVariable passes the path to a test that runs itself again.
const binaryVariable = "TEST_BINARY"

func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	if binary = os.Getenv(binaryVariable); binary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "porchlight-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "porchlight")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if output, err := exec.CommandContext(ctx, "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, output)
		return 1
	}
	return m.Run()
}

// An installation is a data directory and its credentials.
type installation struct {
	dir         string
	credentials map[string]string
	flags       []string
	under       []string // a command line that executes the server
	last        *process // the newest
	token       string   // the newest
	keepToken   bool     // across restarts
}

// install initialises a data directory in dir. A server that runs there at the end of
// the test is killed.
func install(ctx context.Context, t *testing.T, dir string, flags ...string) *installation {
	t.Helper()
	in := &installation{dir: filepath.Join(dir, "data"), flags: flags}
	made, err := exec.CommandContext(ctx, binary, "init", "--data-dir", in.dir, "--json").Output()
	if err == nil {
		err = json.Unmarshal(made, &in.credentials)
	}
	if err != nil {
		t.Fatalf("porchlight init: %v", err)
	}
	t.Cleanup(func() {
		if in.last == nil {
			return
		}
		in.last.kill()
		if t.Failed() {
			t.Logf("the server ended with %v and printed:\n%s", in.last.ProcessState, in.last.errs.String())
		}
	})
	return in
}

// A process is the program while it runs.
type process struct {
	*exec.Cmd
	out, errs output
	url       string
	admin     string
	ended     chan struct{}
	http      *http.Client
	*client.Client
}

// launch starts the server without waiting.
func (in *installation) launch(ctx context.Context, t *testing.T) *process {
	t.Helper()
	p := &process{ended: make(chan struct{}), out: output{grown: make(chan struct{}, 1)}}
	command := append(slices.Clone(in.under), binary)
	p.Cmd = exec.CommandContext(ctx, command[0], append(command[1:], append([]string{
		"serve", "--data-dir", in.dir, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--json",
		"--access-log", "off", "--min-update-interval", "0", "--rate-limit-plan", "off", "--log-level", "warn",
	}, in.flags...)...)...)
	p.Stdout, p.Stderr = &p.out, &p.errs
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.Wait() // ProcessState has the result
		close(p.ended)
	}()
	in.last = p
	return p
}

// start starts the server and waits until it answers.
func (in *installation) start(ctx context.Context, t *testing.T) *process {
	t.Helper()
	p := in.launch(ctx, t)
	for !p.out.hasLine() {
		select {
		case <-p.out.grown:
		case <-p.ended:
			t.Fatalf("the server exited at its start: %v\n%s", p.ProcessState, p.errs.String())
		}
	}
	var ready struct {
		URL   string `json:"url"`
		Admin string `json:"admin_url"`
	}
	if err := json.Unmarshal([]byte(p.out.String()), &ready); err != nil {
		t.Fatal(err)
	}
	p.url, p.admin = ready.URL, ready.Admin
	p.http = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2 * workers}, Timeout: time.Minute}
	if in.token == "" || !in.keepToken {
		in.token = in.newToken(ctx, t, p)
	}
	var err error
	if p.Client, err = client.New(p.url, client.StaticToken(in.token), p.http); err != nil {
		t.Fatal(err)
	}
	return p
}

func (in *installation) newToken(ctx context.Context, t *testing.T, p *process) string {
	t.Helper()
	c := in.credentials
	tokens, err := client.NewAccountCredentials(p.url, client.App{AccountID: c["account_id"], ClientID: c["client_id"], ClientSecret: c["client_secret"]}, p.http)
	if err != nil {
		t.Fatal(err)
	}
	token, err := tokens.Token(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// kill kills the process as kill -9 does, and waits until it is gone.
func (p *process) kill() {
	_ = p.Process.Kill() // the process may have exited
	<-p.ended
	if p.http != nil {
		p.http.CloseIdleConnections()
	}
}

// killed reports whether the process ended by SIGKILL.
func (p *process) killed() bool {
	status, ok := p.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// stop interrupts the process as an operator does, and waits.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		t.Error("the server did not stop after an interrupt")
		p.kill()
	}
	if code := p.ProcessState.ExitCode(); code != 0 {
		t.Errorf("after an interrupt the server ended with %v\n%s", p.ProcessState, p.errs.String())
	}
	p.http.CloseIdleConnections()
}

// alive reports whether the process still runs.
func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// readyz returns the status and the body of /readyz, or 0 if the server does not
// answer.
func (p *process) readyz(ctx context.Context) (status int, body string) {
	return p.administer(ctx, "/readyz")
}

// metric returns the value of a line of /metrics, or 0.
func (p *process) metric(ctx context.Context, line string) int {
	_, all := p.administer(ctx, "/metrics")
	_, after, _ := strings.Cut(all, "\n"+line+" ")
	value, _, _ := strings.Cut(after, "\n")
	n, _ := strconv.Atoi(value) // 0 for none
	return n
}

// administer fetches a page of the admin listener.
func (p *process) administer(ctx context.Context, path string) (status int, body string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.admin+path, http.NoBody)
	if err != nil {
		return 0, err.Error()
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, strings.TrimSpace(string(text))
}

// An outcome is what a client knows about a change that it requested.
type outcome int

const (
	done    outcome = iota
	refused         // temporarily; nothing was changed
	unknown         // the change may have been applied
	wrong           // an unexpected answer
)

// outcomeOf classifies err for a client that may retry.
func outcomeOf(err error) outcome {
	if err == nil {
		return done
	}
	if _, lost := errors.AsType[*client.TransportError](err); lost {
		if errors.Is(err, syscall.ECONNREFUSED) {
			return refused
		}
		return unknown
	}
	e, ok := errors.AsType[*client.Error](err)
	switch {
	case !ok:
		return wrong
	case e.Status == http.StatusServiceUnavailable && strings.Contains(e.Message, "may or may not"):
		return unknown
	case e.Status == http.StatusServiceUnavailable, e.Status == http.StatusInsufficientStorage:
		return refused
	default:
		return wrong
	}
}

// output stores the output of a process.
type output struct {
	mu    sync.Mutex // guards text
	text  bytes.Buffer
	grown chan struct{} // gets an element when there is more output; nil: unused
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(b)
	select {
	case o.grown <- struct{}{}:
	default:
	}
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func (o *output) hasLine() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Contains(o.text.Bytes(), '\n')
}

// words maps statuses as set by Zoom's names to those read by native names.
var words = []struct {
	put  string
	read api.Status
}{
	{"Busy", api.Busy},
	{"Do_Not_Disturb", api.DoNotDisturb},
	{"In_A_Zoom_Meeting", api.InMeeting},
	{"Presenting", api.Presenting},
	{"On_A_Call", api.OnCall},
	{"Out_of_Office", api.OutOfOffice},
}
