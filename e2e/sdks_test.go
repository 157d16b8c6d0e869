package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/leveltest"
)

// root is the path of the repository.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// environment has the variables that the demo prints for pasting.
func (d *demo) environment() []string {
	return []string{
		"PORCHLIGHT_URL=" + d.URL, "PORCHLIGHT_TOKEN=" + d.AccessToken, "PORCHLIGHT_ACCOUNT_ID=" + d.AccountID,
		"PORCHLIGHT_CLIENT_ID=" + d.ClientID, "PORCHLIGHT_CLIENT_SECRET=" + d.ClientSecret,
	}
}

// TestJavaScriptSDK packs the package, installs it into an empty directory, compiles a program
// with strict types there, and runs it.
func TestJavaScriptSDK(t *testing.T) {
	d := startDemo(t)
	dir := t.TempDir()
	output, err := run(t, nil, "npm", "pack", "--json", "--no-update-notifier", "--loglevel=error", "--pack-destination", dir, "../sdk/javascript")
	var packed []struct {
		Filename string
		Files    []struct{ Path string }
	}
	if err != nil || json.Unmarshal([]byte(output), &packed) != nil || len(packed) != 1 {
		t.Fatalf("npm pack: %v\n%s", err, output)
	}
	files := make([]string, 0, len(packed[0].Files))
	for _, file := range packed[0].Files {
		files = append(files, file.Path)
	}
	slices.Sort(files)
	if got := strings.Join(files, " "); got != "README.md backoff.js client.js credentials.js index.d.ts index.js lost.js package.json watch.js" {
		t.Errorf("the package has %s", got)
	}
	writeFile(t, filepath.Join(dir, "package.json"), `{"type":"module"}`)
	writeFile(t, filepath.Join(dir, "program.ts"), read(t, "e2e/sdk/program.ts"))
	archive := filepath.Join(dir, filepath.Base(packed[0].Filename))
	if output, err := run(t, nil, "npm", "install", "--no-update-notifier", "--prefix", dir, "--offline", "--no-audit", "--no-fund", "--loglevel=error", archive); err != nil {
		t.Fatalf("npm install: %v\n%s", err, output)
	}
	if output, err := run(t, nil, requireFile(t, "node_modules/.bin/tsc"), "--strict", "--target", "es2022", "--module", "nodenext",
		"--typeRoots", "node_modules/@types", "--types", "node", filepath.Join(dir, "program.ts")); err != nil {
		t.Fatalf("tsc: %v\n%s", err, output)
	}
	if output, err := run(t, d.environment(), "node", filepath.Join(dir, "program.js")); err != nil || output != "done\n" {
		t.Errorf("program.ts: %v\n%s", err, output)
	}
}

// TestPythonSDK checks the types of the package and of a program, and runs the program.
func TestPythonSDK(t *testing.T) {
	d := startDemo(t)
	library := filepath.Join(root(t), "sdk/python/src")
	if output, err := run(t, []string{"MYPYPATH=" + library}, "mypy", "--strict", "--cache-dir", t.TempDir(), library+"/porchlight", "sdk/program.py", "sdk/chaos.py"); err != nil {
		t.Errorf("mypy: %v\n%s", err, output)
	}
	environment := append(d.environment(), "PYTHONPATH="+library, "PYTHONDONTWRITEBYTECODE=1")
	if output, err := run(t, environment, "python3", "-W", "error", "sdk/program.py"); err != nil || output != "done\n" {
		t.Errorf("program.py: %v\n%s", err, output)
	}
}

// TestSDKFailures: what is wrong for good ends a call or a watch of each SDK with an error
// that says so, and a lost request for a token does not.
func TestSDKFailures(t *testing.T) {
	for sdk, program := range map[string][]string{"javascript": {"node", "failures.mjs"}, "python": {"python3", "failures.py"}} {
		t.Run(sdk, func(t *testing.T) {
			untrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
			untrusted.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // the clients break the handshake off
			untrusted.StartTLS()
			t.Cleanup(untrusted.Close)
			failing := httptest.NewServer(failingServer())
			t.Cleanup(failing.Close)
			file := filepath.Join(sdkDirectory(t), program[1])
			writeFile(t, file, read(t, "e2e/sdk/"+program[1]))
			environment := append(sdkEnvironment(t), "URL="+failing.URL, "UNTRUSTED="+untrusted.URL)
			if output, err := run(t, environment, program[0], file); err != nil || output != "done\n" {
				t.Errorf("%s: %v\n%s", program[1], err, output)
			}
		})
	}
}

// failingServer answers 404 with the body that the path of a presence has as its user, loses
// the first request for a token, and refuses streams.
func failingServer() http.Handler {
	var lost atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/users/{body}/presence", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, r.PathValue("body"))
	})
	mux.HandleFunc("POST /oauth/token", func(w http.ResponseWriter, _ *http.Request) {
		if !lost.Swap(true) {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, `{"access_token":"token","expires_in":3600}`)
	})
	mux.HandleFunc("GET /v1/stream", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
	})
	return mux
}

// TestSDKChaos: over a connection with faults, and over a crash of the server, a watch of each
// SDK ends with what the server has, never shows an older version of a user, and misses no
// change: each round waits until the watch shows all that was set. The SDK itself sets a part
// of it over that connection.
func TestSDKChaos(t *testing.T) {
	seeds := leveltest.Count(t, "seeds of faults for each SDK", 1, 10, 40)
	for _, sdk := range []string{"javascript", "python"} {
		for range seeds {
			seed := rand.Uint64()
			t.Run(fmt.Sprintf("%s %d", sdk, seed), func(t *testing.T) { runSDKChaos(t, sdk, rand.New(rand.NewPCG(seed, 0))) })
		}
	}
}

func runSDKChaos(t *testing.T, sdk string, random *rand.Rand) {
	d := startRestartableDemo(t)
	faults := startFaults(t, d.URL, random)
	w := startSDKWatch(t, sdk, faults.url, d.AccessToken)
	for round := range 12 {
		if round == 6 {
			d.kill()
			d.start(t)
		}
		down := round%3 == 2 // what changes now comes when the watch resumes
		if down {
			faults.outage(true)
		}
		for range random.IntN(4) + 1 {
			u := d.Users[random.IntN(6)+10]
			note := fmt.Sprintf("round %d ✓ %d", round, random.Uint32())
			if !down && random.IntN(3) == 0 {
				w.setNote(t, u, note)
			} else {
				d.call(t, "PUT", "/v1/users/"+u.ID+"/note", fmt.Sprintf(`{"text":%q}`, note))
			}
			w.want[u.ID] = note
			if random.IntN(4) == 0 {
				faults.cutAll()
			}
		}
		if down {
			faults.outage(false)
		} else if random.IntN(3) == 0 {
			faults.loseCursor()
		}
		w.await(t, "the notes that were set", func() bool {
			return !slices.ContainsFunc(slices.Collect(maps.Keys(w.want)), func(user string) bool { return w.notes[user] != w.want[user] })
		})
	}
	if want := d.notes(t); !maps.Equal(w.notes, want) {
		t.Errorf("the watch shows\n%v, want\n%v", w.notes, want)
	}
	t.Logf("%s; snapshots: %d, events: %d", faults, w.snapshots, w.events)
	w.stop(t)
}

// notes are the notes that the server shows, by user.
func (d *demo) notes(t *testing.T) map[string]string {
	t.Helper()
	var page struct {
		Presences []struct{ User, Note string }
	}
	if err := json.Unmarshal(d.ask(t, "GET", "/v1/presence", ""), &page); err != nil {
		t.Fatal(err)
	}
	notes := make(map[string]string)
	for _, p := range page.Presences {
		notes[p.User] = p.Note
	}
	return notes
}

// An sdkWatch is a program of an SDK that watches everyone, and what it has printed.
type sdkWatch struct {
	input     io.WriteCloser
	lines     chan string // closed when the program ends
	ended     chan error
	stderr    *buffer
	want      map[string]string // notes
	notes     map[string]string
	revisions map[string]uint64
	written   string
	snapshots int
	events    int
}

func startSDKWatch(t *testing.T, sdk, url, token string) *sdkWatch {
	t.Helper()
	dir := sdkDirectory(t)
	program := map[string][]string{"javascript": {"node", "chaos.mjs"}, "python": {"python3", "chaos.py"}}[sdk]
	writeFile(t, filepath.Join(dir, program[1]), read(t, "e2e/sdk/"+program[1]))
	command := exec.CommandContext(t.Context(), program[0], program[1])
	command.Dir = dir
	command.Env = append(os.Environ(), append(sdkEnvironment(t), "URL="+url, "TOKEN="+token)...)
	w := &sdkWatch{
		lines: make(chan string), ended: make(chan error, 1), stderr: new(buffer),
		want: make(map[string]string), notes: make(map[string]string), revisions: make(map[string]uint64),
	}
	command.Stderr = w.stderr
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if w.input, err = command.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		scanner := bufio.NewScanner(output)
		scanner.Buffer(nil, 1<<20)
		for scanner.Scan() {
			select {
			case w.lines <- scanner.Text():
			case <-t.Context().Done():
			}
		}
		close(w.lines)
		w.ended <- command.Wait()
	}()
	return w
}

// setNote has the program set a note, and waits until it has.
func (w *sdkWatch) setNote(t *testing.T, u user, note string) {
	t.Helper()
	asked, _ := json.Marshal(map[string]string{"user": u.Email, "note": note}) // text only
	if _, err := w.input.Write(append(asked, '\n')); err != nil {
		t.Fatalf("%v\n%s", err, w.stderr)
	}
	w.await(t, "the note to be set", func() bool { return w.written == note })
}

func (w *sdkWatch) stop(t *testing.T) {
	t.Helper()
	_ = w.input.Close() // the program ends at the end of its input
	for range w.lines { // until it has
	}
	if err := <-w.ended; err != nil {
		t.Errorf("the program: %v\n%s", err, w.stderr)
	}
}

// await handles what the program prints until done.
func (w *sdkWatch) await(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(3 * time.Minute)
	for !done() {
		select {
		case line, ok := <-w.lines:
			if !ok {
				t.Fatalf("the program ended: %v\n%s", <-w.ended, w.stderr)
			}
			w.handle(t, line)
		case <-deadline:
			t.Fatalf("waited for %s: want %v, got %v\n%s", what, w.want, w.notes, w.stderr)
		}
	}
}

func (w *sdkWatch) handle(t *testing.T, line string) {
	t.Helper()
	type presence struct {
		User, Note string
		Revision   uint64
	}
	var event struct {
		Type string
		presence
		Presences []presence
	}
	if err := json.Unmarshal([]byte(line), &event); err != nil {
		t.Fatalf("the program printed %q: %v", line, err)
	}
	show := func(p presence) {
		if p.Revision < w.revisions[p.User] {
			t.Errorf("%s went back from %d to %d", p.User, w.revisions[p.User], p.Revision)
		}
		w.notes[p.User], w.revisions[p.User] = p.Note, p.Revision
	}
	switch event.Type {
	case "written":
		w.written = event.Note
	case "snapshot":
		w.snapshots++
		clear(w.notes)
		for _, p := range event.Presences {
			show(p)
		}
	case "presence":
		w.events++
		show(event.presence)
	default:
		t.Errorf("the program printed %s", line)
	}
}

// sdkDirectory is a directory in which programs find the JavaScript SDK.
func sdkDirectory(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	scope := filepath.Join(dir, "node_modules/@porchlight")
	if err := os.MkdirAll(scope, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(root(t), "sdk/javascript"), filepath.Join(scope, "client")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// sdkEnvironment is where programs find the Python SDK.
func sdkEnvironment(t *testing.T) []string {
	t.Helper()
	return []string{"PYTHONPATH=" + filepath.Join(root(t), "sdk/python/src"), "PYTHONDONTWRITEBYTECODE=1"}
}

func writeFile(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
