package e2e_test

import (
	"bufio"
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
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/store/enginetest"
)

// binary is the built command.
var binary string

func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m)) //nolint:forbidigo // as go test itself does
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "porchlight-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "porchlight")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "../cmd/porchlight")
	if output, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, output)
		return 1
	}
	return m.Run()
}

// A user is a user of the demo.
type user struct {
	ID          string `json:"id"`
	Email       string `json:"email"`
	AccessToken string `json:"access_token"`
	SignedIn    bool   `json:"signed_in"`
}

// A demo is a running "porchlight demo" and the line that it printed.
type demo struct {
	URL           string `json:"url"`
	AdminURL      string `json:"admin_url"`
	AccountID     string `json:"account_id"`
	ClientID      string `json:"client_id"`
	ClientSecret  string `json:"client_secret"`
	AccessToken   string `json:"access_token"`
	WebhookSecret string `json:"webhook_secret"`
	Users         []user `json:"users"`
}

// startDemo runs "porchlight demo" until the test ends.
func startDemo(t *testing.T, args ...string) *demo {
	t.Helper()
	d := new(demo)
	start(t, d, storeEnv(t), append([]string{"demo", "--json", "--quiet-users", "--listen", "127.0.0.1:0"}, args...)...)
	if !strings.HasPrefix(d.URL, "http://127.0.0.1:") {
		t.Fatalf("the demo serves on %q, want loopback", d.URL)
	}
	t.Cleanup(func() { d.checkNoLimitReached(t) })
	return d
}

// checkNoLimitReached checks that ordinary use reaches none of the default limits.
func (d *demo) checkNoLimitReached(t *testing.T) {
	t.Helper()
	resp, err := http.Get(d.AdminURL + "/metrics")
	if err != nil {
		t.Error(err)
		return
	}
	defer resp.Body.Close()
	metrics, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	checkNoLimitReached(t, string(metrics))
}

func checkNoLimitReached(t *testing.T, metrics string) {
	t.Helper()
	counters := 0
	for line := range strings.Lines(metrics) {
		if !strings.HasPrefix(line, "porchlight_limit_refused_total{") {
			continue
		}
		counters++
		if !strings.HasSuffix(line, " 0\n") {
			t.Errorf("the test reached a limit: %s", line)
		}
	}
	if counters == 0 {
		t.Error("the metrics have no limit counters")
	}
}

// storeEnv returns the environment that selects the store of a test's servers: none for
// their data directory, or a NATS server that runs until the test ends.
func storeEnv(t *testing.T) []string {
	t.Helper()
	if !enginetest.OnNATS() {
		return nil
	}
	n := enginetest.StartNATS(t)
	return []string{
		"PORCHLIGHT_STORE=nats://" + n.Host,
		"PORCHLIGHT_STORE_CREDENTIALS=" + writeSecretFile(t, n.User),
		"PORCHLIGHT_STORE_SYSTEM_CREDENTIALS=" + writeSecretFile(t, n.System),
		"PORCHLIGHT_STORE_REPLICAS=1",
	}
}

// writeSecretFile writes a secret to its own file.
func writeSecretFile(t *testing.T, secret string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// start runs the binary until the test ends, and decodes its first line into ready. The
// binary must stop when interrupted, with exit status 0.
func start(t *testing.T, ready any, env []string, args ...string) {
	t.Helper()
	command := exec.Command(binary, args...)
	command.Env = append(os.Environ(), append(env, "TMPDIR="+t.TempDir())...)
	stderr := new(buffer)
	command.Stderr = stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stdout)
	ended := make(chan error, 1)
	line := make(chan []byte, 1)
	go func() {
		first, _ := lines.ReadBytes('\n') // an incomplete line appears in the message
		line <- first
		_, _ = io.Copy(io.Discard, lines) // until the process ends
		ended <- command.Wait()
	}()
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGINT) // the process may have exited
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("porchlight %s: %v\n%s", args[0], err, stderr)
			}
		case <-time.After(2 * time.Minute):
			_ = command.Process.Kill()
			t.Errorf("porchlight %s did not stop within two minutes of an interrupt\n%s", args[0], stderr)
		}
	})
	select {
	case first := <-line:
		if err := json.Unmarshal(first, ready); err != nil {
			t.Fatalf("porchlight %s printed %q: %v\n%s", args[0], first, err, stderr)
		}
	case <-time.After(2 * time.Minute):
		t.Fatalf("porchlight %s printed nothing within two minutes\n%s", args[0], stderr)
	}
}

// buffer is a bytes.Buffer that can be read while the process writes.
type buffer struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.String()
}

// signedIn returns the n-th user whom the demo keeps signed in. Tests use different
// ones, because a user can be updated once a minute.
func (d *demo) signedIn(t *testing.T, n int) user {
	t.Helper()
	for _, u := range d.Users {
		if !u.SignedIn {
			continue
		}
		if n == 0 {
			return u
		}
		n--
	}
	t.Fatalf("the demo has no such signed-in user")
	return user{}
}

func (d *demo) signedOut(t *testing.T) user {
	t.Helper()
	for _, u := range d.Users {
		if !u.SignedIn {
			return u
		}
	}
	t.Fatalf("the demo has no signed-out user")
	return user{}
}

// status reads the status of u by Zoom's API.
func (d *demo) status(t *testing.T, u user) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.URL+"/v2/users/"+u.ID+"/presence_status", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+d.AccessToken)
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var body struct {
		Status string `json:"status"`
	}
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil {
		t.Fatalf("GET presence_status: %s: %v", response.Status, err)
	}
	return body.Status
}

// run executes a third-party tool for at most five minutes.
func run(t *testing.T, env []string, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, name, args...)
	command.Env = append(os.Environ(), env...)
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = 30 * time.Second
	output, err := command.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("%s is not installed: run `make test-tools`", name)
	}
	return string(output), err
}

// requireFile fails the test if a file that npm installs is missing.
func requireFile(t *testing.T, file string) string {
	t.Helper()
	if _, err := os.Stat(file); err != nil {
		t.Fatalf("%v: run `make test-tools`", err)
	}
	return file
}
