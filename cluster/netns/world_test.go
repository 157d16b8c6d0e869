package netns_test

import (
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
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/natsstore"
)

// Users of the NATS servers.
const (
	storeUser  = "porchlight:secret"
	systemUser = "system:topsecret"
)

// networks numbers the networks of a run.
var networks atomic.Int64

// A world is three NATS servers and three nodes, each on a host of its own.
type world struct {
	testing.TB
	dir     string
	net     *network
	servers []*natsServer
	nodes   []*node
	env     []string // of nodes and commands
	token   string   // of an app with every scope
}

// A node is a Porchlight process on a host of its own.
type node struct {
	*host
	*process
	name    string
	program string
	env     []string       // of its version
	always  []string       // of all its versions
	client  *client.Client // as the app
	http    *http.Client
}

// newWorld starts servers and nodes.
func newWorld(t testing.TB) *world {
	t.Helper()
	return newWorldWith(t, func(int, *node) {})
}

// newWorldWith starts servers, and nodes that choose has changed before.
func newWorldWith(t testing.TB, choose func(int, *node)) *world {
	t.Helper()
	w := &world{TB: t, dir: filepath.Join(dataDir(os.Getenv(insideVariable)), t.Name()), net: newNetwork(t, &networks)}
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	w.startServers()
	w.env = w.settings()
	w.initialise()
	for i := range 3 {
		n := &node{host: w.net.add(), name: fmt.Sprint("node", i+1), program: program("porchlight")}
		choose(i, n)
		w.nodes = append(w.nodes, n)
		w.startNode(n)
	}
	for _, n := range w.nodes {
		w.awaitReady(n, w.startAgain)
	}
	w.awaitNodes(w.nodes...)
	return w
}

// retry calls do until it succeeds: on a machine that is too busy, the store has no leader at times.
func (w *world) retry(what string, do func() error) {
	w.Helper()
	waitFor(w, what, func() bool {
		err := do()
		if err != nil {
			w.Logf("%s: %v; trying again", what, err)
		}
		return err == nil
	})
}

func (w *world) startServers() {
	for i := range 3 {
		name := fmt.Sprint("nats", i+1)
		w.servers = append(w.servers, &natsServer{host: w.net.add(), name: name, dir: filepath.Join(w.dir, name), config: filepath.Join(w.dir, name+".conf")})
	}
	for _, s := range w.servers {
		s.configure(w, w.servers)
		s.run(w)
		w.Cleanup(func() { s.kill() })
	}
}

// settings are the variables of each node.
func (w *world) settings() []string {
	all := []string{
		"PORCHLIGHT_STORE=" + w.storeURL(), "PORCHLIGHT_ADMIN_ANYWHERE=true", "PORCHLIGHT_ACCESS_LOG=off", "PORCHLIGHT_LOG_LEVEL=info",
		"PORCHLIGHT_RATE_LIMIT_PLAN=off", "PORCHLIGHT_SIGNED_IN_RULE=off", "PORCHLIGHT_WEBHOOK_ALLOW=10.0.0.0/8", "PORCHLIGHT_DRAIN_DELAY=500ms",
		"PORCHLIGHT_STREAM_LIMITS=user=1000,app=100%,account=100%,address=100%",
	}
	for setting, user := range map[string]string{"STORE_CREDENTIALS": storeUser, "STORE_SYSTEM_CREDENTIALS": systemUser} {
		file := filepath.Join(w.dir, setting)
		if err := os.WriteFile(file, []byte(user+"\n"), 0o600); err != nil {
			w.Fatal(err)
		}
		all = append(all, "PORCHLIGHT_"+setting+"="+file)
	}
	return all
}

// storeURL is the setting that names all servers.
func (w *world) storeURL() string {
	var all []string
	for _, s := range w.servers {
		all = append(all, s.address+":4222")
	}
	return "nats://" + strings.Join(all, ",")
}

// initialise makes the store, as soon as the servers are a cluster.
func (w *world) initialise() {
	w.Helper()
	var err error
	w.Cleanup(func() {
		if err != nil {
			w.Errorf("porchlight init: %v", err)
		}
	})
	waitFor(w, "the streams of the store", func() bool {
		err = w.tryInit()
		return err == nil
	})
}

func (w *world) tryInit() error {
	out, err := w.command("init", "--json")
	if err != nil {
		return err
	}
	return os.WriteFile(w.credentialsFile(), out, 0o600)
}

// command runs the command on the store.
func (w *world) command(args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(w.Context(), waitLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program("porchlight"), args...)
	cmd.Env = append(os.Environ(), w.env...)
	out, err := cmd.Output()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%w: %s", err, failed.Stderr)
	}
	return out, err
}

func (w *world) credentialsFile() string { return filepath.Join(w.dir, "credentials.json") }

func (n *node) url() string { return "http://" + n.address + ":8080" }

func (w *world) startNode(n *node) {
	w.Helper()
	env := append(append([]string{"PORCHLIGHT_LISTEN=" + n.address + ":8080", "PORCHLIGHT_ADMIN_LISTEN=" + n.address + ":8081"}, w.env...), append(n.env, n.always...)...)
	args := []string{n.program}
	if strings.HasSuffix(n.program, "porchlight") {
		args = append(args, "serve")
	}
	first := n.process == nil
	n.process = n.host.start(w, filepath.Join(w.dir, n.name+".log"), env, args...)
	if first {
		n.http = newHTTPClient()
		w.Cleanup(func() {
			n.kill()
			if w.Failed() {
				w.Logf("%s printed last:\n%s", n.name, n.tail(40))
			}
		})
	}
}

func newHTTPClient() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DialContext: dialSoon}, Timeout: 6 * time.Second}
}

// awaitNodes waits until nodes are ready, and gives them clients.
func (w *world) awaitNodes(nodes ...*node) {
	w.Helper()
	for _, n := range nodes {
		w.awaitReady(n, w.failEnded)
		if w.token == "" {
			w.token = w.newToken(n)
		}
		var err error
		if n.client, err = client.New(n.url(), client.StaticToken(w.token), n.http); err != nil {
			w.Fatal(err)
		}
	}
}

// awaitReady waits until a node is ready, and calls ended whenever it has ended.
func (w *world) awaitReady(n *node, ended func(*node)) {
	w.Helper()
	waitFor(w, n.name+" to be ready", func() bool {
		if !n.alive() {
			ended(n)
		}
		status, _ := n.admin("/readyz")
		return status == http.StatusOK
	})
}

func (w *world) failEnded(n *node) {
	w.Helper()
	w.Fatalf("%s ended with %v:\n%s", n.name, n.ProcessState, n.tail(20))
}

// startAgain starts a node that has refused to start, as it does while the store has no leader.
func (w *world) startAgain(n *node) {
	w.Helper()
	if n.ProcessState.ExitCode() != 1 {
		w.failEnded(n)
	}
	w.Logf("%s ended; trying again:\n%s", n.name, n.tail(3))
	w.startNode(n)
}

func (w *world) newToken(n *node) string {
	w.Helper()
	text, err := os.ReadFile(w.credentialsFile())
	var app struct {
		Account string `json:"account_id"`
		ID      string `json:"client_id"`
		Secret  string `json:"client_secret"`
	}
	if err == nil {
		err = json.Unmarshal(text, &app)
	}
	if err != nil {
		w.Fatal(err)
	}
	tokens, err := client.NewAccountCredentials(n.url(), client.App{AccountID: app.Account, ClientID: app.ID, ClientSecret: app.Secret}, n.http)
	if err != nil {
		w.Fatal(err)
	}
	var token string
	w.retry("get a token", func() (err error) {
		token, err = tokens.Token(w.Context())
		return err
	})
	return token
}

// admin fetches a page of the admin listener; status 0: there is no answer.
func (n *node) admin(path string) (status int, body string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.address+":8081"+path, http.NoBody)
	if err != nil {
		return 0, err.Error()
	}
	resp, err := n.http.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(text)
}

// stop stops a node as an operator does, and waits.
func (w *world) stop(n *node) {
	w.Helper()
	n.signal(w, syscall.SIGTERM)
	select {
	case <-n.ended:
	case <-time.After(waitLimit):
		w.Errorf("%s did not stop after SIGTERM", n.name)
		n.kill()
	}
	if code := n.ProcessState.ExitCode(); code != 0 {
		w.Errorf("%s stopped with %v:\n%s", n.name, n.ProcessState, n.tail(20))
	}
}

// leader is the server that leads the stream of records, as another one says.
func (w *world) leader() *natsServer {
	w.Helper()
	var leader *natsServer
	waitFor(w, "a leader of the stream", func() bool {
		conn, err := nats.Connect(urls(w.servers, storeUser), nats.Timeout(2*time.Second))
		if err != nil {
			return false
		}
		defer conn.Close()
		js, err := jetstream.New(conn)
		if err != nil {
			return false
		}
		ctx, cancel := context.WithTimeout(w.Context(), 2*time.Second)
		defer cancel()
		stream, err := js.Stream(ctx, "porchlight-state")
		if err != nil || stream.CachedInfo().Cluster == nil {
			return false
		}
		for _, s := range w.servers {
			if s.name == stream.CachedInfo().Cluster.Leader {
				leader = s
				return true
			}
		}
		return false
	})
	return leader
}

func (w *world) serverHosts() (all []*host) {
	for _, s := range w.servers {
		all = append(all, s.host)
	}
	return all
}

// log reads the whole log of changes.
func (w *world) log() (entries []store.Entry) {
	w.Helper()
	st, err := natsstore.Open(w.Context(), urls(w.servers, storeUser), natsstore.Options{MustExist: true, SystemURL: urls(w.servers, systemUser), Timeout: 20 * time.Second})
	if err != nil {
		w.Fatal(err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			w.Error(err)
		}
	}()
	for after := store.Position(0); ; after = entries[len(entries)-1].At {
		more, err := st.Log(w.Context(), after, store.MaxFeedGroup)
		if err != nil {
			w.Fatal(err)
		}
		if len(more) == 0 {
			return entries
		}
		entries = append(entries, more...)
	}
}
