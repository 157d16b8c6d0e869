package main_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

// What TestKill does, and what it must have done to count.
const (
	killCycles  = 20
	killWorkers = 16
	killUsers   = 64 // each belongs to one worker, so its updates come one after another
	leastAcked  = 1000
	leastLoaded = 0.95 // of the cycles killed with requests under way
	killLimit   = 60 * time.Second
)

// TestKill: kill -9 of the real program under load loses nothing that was
// acknowledged. The client writes what was acknowledged to a journal, and syncs
// that; after each restart every user's record has at least the last acknowledged
// revision, and its status is the last one acknowledged, or the one that was under
// way when the server was killed.
func TestKill(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), killLimit)
	defer cancel()
	k := newKilling(ctx, t)
	loaded := 0
	var slowest time.Duration
	for cycle := range killCycles {
		began := time.Now()
		k.start(ctx, t)
		slowest = max(slowest, time.Since(began))
		if cycle == 0 {
			k.addUsers(ctx, t)
		}
		k.verify(ctx, t, cycle)
		if k.loadAndKill(ctx, t) {
			loaded++
		}
	}
	k.start(ctx, t)
	k.verify(ctx, t, killCycles)
	k.kill(t)
	t.Logf("%d acknowledged, %d in doubt, %d of %d cycles killed under load, slowest start %v",
		k.acked.Load(), k.doubtful, loaded, killCycles, slowest)
	if n := k.acked.Load(); n < leastAcked {
		t.Errorf("INVALID: only %d updates were acknowledged", n)
	}
	if float64(loaded) < leastLoaded*killCycles {
		t.Errorf("INVALID: only %d of %d cycles were killed under load", loaded, killCycles)
	}
}

// words are statuses as they are put in Zoom's words and read in the native ones.
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

// A target is a user, and what is known of it. Its worker owns it.
type target struct {
	id       string
	revision uint64     // the last acknowledged
	status   api.Status // of that
	doubt    api.Status // of an update without an answer; "" for none
}

type killing struct {
	binary, dir string
	credentials map[string]string
	journal     *os.File
	journalMu   sync.Mutex
	targets     []target
	acked       atomic.Int64
	doubtful    int

	server   *exec.Cmd
	http     *http.Client
	client   *client.Client
	underWay atomic.Int64
}

func newKilling(ctx context.Context, t *testing.T) *killing {
	t.Helper()
	dir := t.TempDir()
	k := &killing{binary: filepath.Join(dir, "porchlight"), dir: filepath.Join(dir, "data"), targets: make([]target, killUsers)}
	build := exec.CommandContext(ctx, "go", "build", "-o", k.binary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	made, err := exec.CommandContext(ctx, k.binary, "init", "--data-dir", k.dir, "--json").Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(made, &k.credentials); err != nil {
		t.Fatal(err)
	}
	if k.journal, err = os.Create(filepath.Join(dir, "journal")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = k.journal.Close()
		if k.server != nil {
			_ = k.server.Process.Kill()
			_ = k.server.Wait()
		}
	})
	return k
}

// start starts the server, and gets a token when it answers.
func (k *killing) start(ctx context.Context, t *testing.T) {
	t.Helper()
	k.server = exec.CommandContext(ctx, k.binary, "serve", "--data-dir", k.dir, "--listen", "127.0.0.1:0", "--admin-listen", "off",
		"--access-log", "off", "--min-update-interval", "0", "--rate-limit-plan", "off", "--json")
	k.server.Stderr = os.Stderr
	k.server.Env = append(os.Environ(), "PORCHLIGHT_LOG_LEVEL=error")
	out, err := k.server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := k.server.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatalf("the server ended without a line: %v", err)
	}
	var told struct {
		URL string `json:"url"`
	}
	if err := json.Unmarshal(line, &told); err != nil {
		t.Fatal(err)
	}
	k.http = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: killWorkers}, Timeout: 10 * time.Second}
	c := k.credentials
	tokens, err := client.NewAccountCredentials(told.URL, c["account_id"], c["client_id"], c["client_secret"], k.http)
	if err != nil {
		t.Fatal(err)
	}
	if k.client, err = client.New(told.URL, tokens, k.http); err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.Token(ctx); err != nil {
		t.Fatal(err)
	}
}

func (k *killing) addUsers(ctx context.Context, t *testing.T) {
	t.Helper()
	lease := 3600
	for i := range k.targets {
		u, err := k.client.CreateUser(ctx, api.CreateUser{Email: fmt.Sprintf("user%d@example.com", i)})
		if err == nil {
			_, err = k.client.SignIn(ctx, u.ID, api.SignIn{ClientType: "desktop", LeaseSeconds: &lease})
		}
		if err != nil {
			t.Fatal(err)
		}
		k.targets[i] = target{id: u.ID, status: api.Available}
	}
}

// loadAndKill updates users until the server is killed, and reports whether that
// cut off requests: some update is in doubt then.
func (k *killing) loadAndKill(ctx context.Context, t *testing.T) (loaded bool) {
	t.Helper()
	var workers sync.WaitGroup
	for w := range killWorkers {
		workers.Go(func() { k.work(ctx, t, w) })
	}
	at := time.Now().Add(time.Duration(50+rand.IntN(200)) * time.Millisecond)
	for ctx.Err() == nil && (time.Now().Before(at) || k.underWay.Load() < killWorkers/4) {
		time.Sleep(100 * time.Microsecond)
	}
	k.kill(t)
	workers.Wait()
	return slices.ContainsFunc(k.targets, func(u target) bool { return u.doubt != "" })
}

func (k *killing) kill(t *testing.T) {
	t.Helper()
	if err := k.server.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = k.server.Wait() // killed, as it should be
	k.server = nil
	k.http.CloseIdleConnections()
}

// work updates this worker's users in turn until a request fails.
func (k *killing) work(ctx context.Context, t *testing.T, worker int) {
	for n := 0; ctx.Err() == nil; n++ {
		u := &k.targets[worker+n*killWorkers%killUsers]
		word := words[rand.IntN(len(words))]
		k.underWay.Add(1)
		revision, err := k.client.SetZoomStatus(ctx, u.id, word.put, 0)
		k.underWay.Add(-1)
		if _, lost := errors.AsType[*client.TransportError](err); lost {
			u.doubt = word.read
			return
		}
		if err != nil || revision <= u.revision {
			t.Errorf("revision %d after %d: %v", revision, u.revision, err)
			return
		}
		if err := k.note(u.id, word.read, revision); err != nil {
			t.Error(err)
			return
		}
		u.revision, u.status = revision, word.read
		k.acked.Add(1)
	}
}

// note writes one acknowledged update to the journal, durably.
func (k *killing) note(user string, status api.Status, revision uint64) error {
	k.journalMu.Lock()
	defer k.journalMu.Unlock()
	if _, err := fmt.Fprintf(k.journal, "%s %d %s\n", user, revision, status); err != nil {
		return err
	}
	return k.journal.Sync()
}

// verify compares every user's record with the journal.
func (k *killing) verify(ctx context.Context, t *testing.T, cycle int) {
	t.Helper()
	noted := k.readJournal(t)
	for i := range k.targets {
		u := &k.targets[i]
		x, err := k.client.Explain(ctx, u.id)
		if err != nil {
			t.Fatal(err)
		}
		last, inJournal := noted[u.id]
		switch {
		case inJournal && last.revision != u.revision:
			t.Fatalf("the journal has revision %d of %s, memory %d", last.revision, u.id, u.revision)
		case x.Revision < u.revision:
			t.Errorf("after cycle %d, %s has revision %d: LOST %d, which was acknowledged", cycle, u.id, x.Revision, u.revision)
		case x.Status == u.status:
		case u.doubt == "" || x.Status != u.doubt:
			t.Errorf("after cycle %d, %s is %s: %s was acknowledged, %q was in doubt", cycle, u.id, x.Status, u.status, u.doubt)
		case x.Revision == u.revision:
			t.Errorf("after cycle %d, %s is %s with the revision of %s", cycle, u.id, x.Status, u.status)
		}
		if u.doubt != "" {
			k.doubtful++
		}
		u.status, u.doubt = x.Status, ""
	}
}

// readJournal gives each user's last acknowledged update.
func (k *killing) readJournal(t *testing.T) map[string]target {
	t.Helper()
	file, err := os.Open(k.journal.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	last := make(map[string]target)
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var u target
		if _, err := fmt.Sscan(lines.Text(), &u.id, &u.revision, &u.status); err != nil {
			t.Fatalf("the journal has the line %q: %v", lines.Text(), err)
		}
		last[u.id] = u
	}
	return last
}
