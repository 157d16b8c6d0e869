package server_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.uber.org/goleak"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/server"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
)

// ownProcessEnv is set when a test runs in its own process.
const ownProcessEnv = "TEST_ALONE"

func TestMain(m *testing.M) {
	if os.Getenv(ownProcessEnv) != "" {
		os.Exit(m.Run()) //nolint:forbidigo // as go test itself does
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/letsencrypt/pebble/v2/va.VAImpl.processTasks")) // a CA for tests cannot be stopped
}

// runInOwnProcess runs the test again in its own process and reports whether it did: a
// failed store keeps its goroutines until its process ends.
func runInOwnProcess(t *testing.T) bool {
	t.Helper()
	if os.Getenv(ownProcessEnv) != "" {
		return false
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), ownProcessEnv+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return true
}

// A running is a server with an administrator's credentials and client.
type running struct {
	*server.Server
	made   server.Credentials
	client *client.Client
	http   *http.Client
	config config.Config
	log    *lockedBuffer
	stop   context.CancelCauseFunc
	ended  chan error // gets the result of Run
}

// fastPathEnv turns the fast path off in the tests that do not set it: "off".
const fastPathEnv = "TEST_FAST_PATH"

// settings returns the settings of a server that listens on free loopback ports and
// stops without a delay.
func settings(t testing.TB) config.Config {
	t.Helper()
	cfg := config.Default()
	cfg.DataDir = filepath.Join(t.TempDir(), "data")
	cfg.Listen, cfg.AdminListen = "127.0.0.1:0", "127.0.0.1:0"
	cfg.AccessLog = "off"
	cfg.MinUpdateInterval = 0
	cfg.DrainDelay = 0
	cfg.MaxQueueDelay = 0 // no test depends on how busy the machine is
	cfg.FastPath = os.Getenv(fastPathEnv) != "off"
	return cfg
}

var testFounding = server.Founding{
	Account: "Test", OwnerEmail: "ada@example.com", OwnerName: "Ada Okafor", AppName: "test", WithToken: true,
}

// start initialises and runs a server until the test ends.
func start(t *testing.T, cfg config.Config, opts server.Options) *running {
	t.Helper()
	made, err := server.Init(t.Context(), cfg, testFounding)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, cfg, opts, made)
}

func run(t testing.TB, cfg config.Config, opts server.Options, made server.Credentials) *running {
	t.Helper()
	r := &running{made: made, config: cfg, log: new(lockedBuffer), ended: make(chan error, 1)}
	if opts.Log == nil {
		opts.Log = server.NewLog(cfg, r.log)
	}
	var err error
	if r.Server, err = server.New(cfg, opts); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancelCause(context.Background())
	r.stop = stop
	go func() { r.ended <- r.Run(ctx) }()
	transport := &http.Transport{}
	r.http = &http.Client{Transport: transport, Timeout: time.Minute}
	if r.client, err = client.New(r.URL(), client.StaticToken(made.AccessToken), r.http); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		stop(server.ErrInterrupted)
		if err := r.wait(t); err != nil && !t.Failed() {
			t.Logf("Run: %v", err)
		}
	})
	return r
}

// wait waits for Run to return, and returns its error.
func (r *running) wait(t testing.TB) error {
	t.Helper()
	select {
	case err := <-r.ended:
		r.ended <- err
		return err
	case <-time.After(time.Minute):
		t.Fatal("the server did not stop")
		return nil
	}
}

// get fetches a page from either listener.
func (r *running) get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// waitLimit is how long a test waits for what must happen. It is far more than the
// contract allows, because the machine may be slow: tests in synctest bubbles measure time.
const waitLimit = time.Minute

// eventually waits until ok returns true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	const limit = 2 * waitLimit // some wait for a node that takes 16 s to be dead
	for end := time.Now().Add(limit); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not true after %v: %s", limit, what)
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestThreeServers: servers in one process share no state.
func TestThreeServers(t *testing.T) {
	servers := make([]*running, 3)
	for i := range servers {
		servers[i] = start(t, settings(t), server.Options{})
	}
	for i, r := range servers {
		if _, err := r.client.CreateUser(t.Context(), api.CreateUser{Email: "grace@example.com"}); err != nil {
			t.Fatalf("server %d: %v", i, err)
		}
		if status, body := r.get(t, r.AdminURL()+"/readyz"); status != http.StatusOK {
			t.Errorf("server %d: /readyz is %d %s", i, status, body)
		}
		_, metrics := r.get(t, r.AdminURL()+"/metrics")
		if want := `porchlight_http_requests_total{class="2xx",method="POST",route="/v1/users"} 1`; !strings.Contains(metrics, want) {
			t.Errorf("server %d: the metrics lack %s", i, want)
		}
	}
	other, err := client.New(servers[0].URL(), client.StaticToken(servers[1].made.AccessToken), servers[0].http)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Me(t.Context()); !client.Is(err, &api.InvalidToken) {
		t.Errorf("with the token of another server: %v", err)
	}
}

// TestAccountCredentials: the client fetches a token, and a new one when the server no
// longer accepts the first.
func TestAccountCredentials(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	tokens, err := client.NewAccountCredentials(r.URL(), client.App{AccountID: r.made.AccountID, ClientID: r.made.ClientID, ClientSecret: r.made.ClientSecret}, r.http)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(r.URL(), tokens, r.http)
	if err != nil {
		t.Fatal(err)
	}
	me, err := c.Me(t.Context())
	if err != nil || me.Account != r.made.AccountID || !me.AccountLevel {
		t.Fatalf("me is %+v, %v", me, err)
	}
	if err := r.client.RevokeToken(t.Context(), me.Token); err != nil {
		t.Fatal(err)
	}
	again, err := c.Me(t.Context())
	if err != nil || again.Token == me.Token {
		t.Errorf("after the token was revoked: %+v, %v", again, err)
	}
	wrong, err := client.NewAccountCredentials(r.URL(), client.App{AccountID: r.made.AccountID, ClientID: r.made.ClientID, ClientSecret: "guess"}, r.http)
	if err != nil {
		t.Fatal(err)
	}
	_, err = wrong.Token(t.Context())
	refused, ok := errors.AsType[*client.Error](err)
	if !ok || refused.Status != http.StatusBadRequest || !strings.Contains(refused.Message, "Invalid client_id or client_secret") {
		t.Errorf("with a wrong secret: %v", err)
	}
	if _, again := client.Retry(err); again {
		t.Error("the error for a wrong secret is retryable")
	}
}

// TestZoomCalls: the client reads and sets the status by Zoom's two requests.
func TestZoomCalls(t *testing.T) {
	cfg := settings(t)
	cfg.MinUpdateInterval = time.Minute
	r := start(t, cfg, server.Options{})
	if _, err := r.client.SignIn(t.Context(), "me", longSignIn("desktop")); err != nil {
		t.Fatal(err)
	}
	revision, err := r.client.SetZoomStatus(t.Context(), "ada@example.com", "Do_Not_Disturb", 60)
	if err != nil || revision == 0 {
		t.Fatalf("revision %d, %v", revision, err)
	}
	shown, err := r.client.ZoomStatus(t.Context(), "ada@example.com")
	if err != nil || shown.Status != "Do_Not_Disturb" {
		t.Errorf("%+v, %v", shown, err)
	}
	_, err = r.client.SetZoomStatus(t.Context(), "ada@example.com", "Away", 0)
	if wait, again := client.Retry(err); !again || wait <= 0 || wait > time.Minute {
		t.Errorf("an update within a minute: %v, RetryAfter %v (%v)", err, wait, again)
	}
	if _, err := r.client.ZoomStatus(t.Context(), "nobody@example.com"); err == nil || !strings.Contains(err.Error(), "User does not exist") {
		t.Errorf("for an unknown user: %v", err)
	}
}

// TestDrain: a request in flight is completed during shutdown. The server is unready
// immediately, and refuses new connections after the delay.
func TestDrain(t *testing.T) {
	cfg := settings(t)
	cfg.DrainDelay = time.Second
	r := start(t, cfg, server.Options{})
	body, write := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.URL()+"/v1/users", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.made.AccessToken)
	req.Header.Set("Content-Type", "application/json")
	answered := make(chan error, 1)
	var status atomic.Int64
	go func() {
		resp, err := r.http.Do(req)
		if err == nil {
			status.Store(int64(resp.StatusCode))
			err = resp.Body.Close()
		}
		answered <- err
	}()
	if _, err := write.Write([]byte(`{"email":`)); err != nil { // the server has received it when Write returns
		t.Fatal(err)
	}

	stopped := time.Now()
	r.stop(nil)
	eventually(t, "/readyz reports 503", func() bool {
		code, _ := r.get(t, r.AdminURL()+"/readyz")
		return code == http.StatusServiceUnavailable
	})
	if _, err := r.client.Me(t.Context()); err != nil && time.Since(stopped) < cfg.DrainDelay {
		t.Errorf("a request during the delay: %v", err)
	}
	eventually(t, "new connections are refused", func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(r.URL(), "http://"))
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	if _, err := write.Write([]byte(`"grace@example.com"}`)); err != nil {
		t.Fatal(err)
	}
	_ = write.Close()
	if err := <-answered; err != nil || status.Load() != http.StatusCreated {
		t.Errorf("the request in flight: %d, %v", status.Load(), err)
	}
	if err := r.wait(t); err != nil {
		t.Errorf("Run: %v", err)
	}

	again := run(t, cfg, server.Options{}, r.made)
	if _, err := again.client.User(t.Context(), "grace@example.com"); err != nil {
		t.Errorf("the user created by the request: %v", err)
	}
	again.stop(server.ErrInterrupted)
}

// TestDrainTimeout: a request that does not complete in time is cancelled.
func TestDrainTimeout(t *testing.T) {
	cfg := settings(t)
	cfg.DrainTimeout = 100 * time.Millisecond
	r := start(t, cfg, server.Options{})
	body, write := io.Pipe()
	defer func() { _ = write.Close() }()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.URL()+"/v1/users", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.made.AccessToken)
	req.Header.Set("Content-Type", "application/json")
	answered := make(chan error, 1)
	go func() {
		resp, err := r.http.Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		answered <- err
	}()
	if _, err := write.Write([]byte(`{"email":`)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	r.stop(nil)
	if err := r.wait(t); err != nil {
		t.Errorf("Run: %v", err)
	}
	if took := time.Since(began); took > waitLimit { // without a timeout it would take for ever
		t.Errorf("shutdown took %v", took)
	}
	_ = write.CloseWithError(io.ErrUnexpectedEOF) // net/http waits for the body before it reports the closed connection
	if err := <-answered; err == nil {
		t.Error("the cancelled request got a response")
	}
}

// TestStoreFails: when the disk fails, no further write is acknowledged, /readyz
// reports 503, and the server stops with the cause.
func TestStoreFails(t *testing.T) {
	if runInOwnProcess(t) {
		return
	}
	cfg := settings(t)
	var broken atomic.Bool
	fs := errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo) {
			return syscall.EIO
		}
		return nil
	}))
	made, err := server.Init(t.Context(), cfg, testFounding)
	if err != nil {
		t.Fatal(err)
	}
	st, err := pebblestore.Open(filepath.Join(cfg.DataDir, "store"), pebblestore.Options{FS: fs, MustExist: true})
	if err != nil {
		t.Fatal(err)
	}
	held := &heldStore{Store: st, report: make(chan struct{})}
	r := run(t, cfg, server.Options{Store: held}, made)
	if status, _ := r.get(t, r.AdminURL()+"/readyz"); status != http.StatusOK {
		t.Fatalf("/readyz is %d before the failure", status)
	}
	broken.Store(true)
	if _, err := r.client.CreateUser(t.Context(), api.CreateUser{Email: "grace@example.com"}); err == nil {
		t.Error("a write was acknowledged although the disk failed")
	}
	eventually(t, "/readyz reports 503", func() bool {
		status, body := r.get(t, r.AdminURL()+"/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "accepts no more writes")
	})
	close(held.report)
	err = r.wait(t)
	if !errors.Is(err, store.ErrFailed) || !strings.Contains(err.Error(), "check the disk under "+cfg.DataDir) {
		t.Errorf("Run returned %v", err)
	}
}

// A heldStore reports its failure only when report is closed, so that a test can
// inspect the server before it stops.
type heldStore struct {
	store.Store
	report chan struct{}
}

func (h *heldStore) Failed() <-chan struct{} { return h.report }

func (h *heldStore) Watch(ctx context.Context, fn func([]store.Record, store.Cursor)) error {
	if err := h.Store.Watch(ctx, fn); !errors.Is(err, store.ErrFailed) {
		return err
	}
	<-h.report
	return store.ErrFailed
}

// Load and Write keep the failure from the consumers, which may take their leases only now.
func (h *heldStore) Load(ctx context.Context, account presence.AccountID, keys ...store.Key) ([]store.Doc, error) {
	docs, err := h.Store.Load(ctx, account, keys...)
	h.holdFailure(account, err)
	return docs, err
}

func (h *heldStore) Write(ctx context.Context, account presence.AccountID, docs ...store.Doc) error {
	err := h.Store.Write(ctx, account, docs...)
	h.holdFailure(account, err)
	return err
}

// holdFailure waits for report if err is a failure in the server's own account.
func (h *heldStore) holdFailure(account presence.AccountID, err error) {
	if account == "" && errors.Is(err, store.ErrFailed) {
		<-h.report
	}
}

func (h *heldStore) Due(ctx context.Context, _ func([]store.User) error) error {
	<-ctx.Done()
	return ctx.Err()
}

func (h *heldStore) Feed(ctx context.Context, _ store.Position, _ func([]store.Entry) error) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestStartErrors: a server that cannot start reports what to do and releases all its
// resources. The scripts of package cli test the same from the command line.
func TestStartErrors(t *testing.T) {
	cfg := settings(t)
	if _, err := server.New(cfg, server.Options{}); !errors.Is(err, server.ErrNotInitialised) {
		t.Errorf("with an empty directory: %v", err)
	}
	r := start(t, cfg, server.Options{})
	if _, err := server.New(cfg, server.Options{}); !errors.Is(err, pebblestore.ErrLocked) {
		t.Errorf("with a directory in use: %v", err)
	}
	other := settings(t)
	made, err := server.Init(t.Context(), other, testFounding)
	if err != nil {
		t.Fatal(err)
	}
	other.Listen = strings.TrimPrefix(r.URL(), "http://")
	if _, err := server.New(other, server.Options{}); err == nil || !strings.Contains(err.Error(), "another program uses this address") {
		t.Errorf("with a port in use: %v", err)
	}
	other.Listen = "127.0.0.1:0"
	other.AdminListen = "0.0.0.0:0"
	if _, err := server.New(other, server.Options{}); err == nil || !strings.Contains(err.Error(), "admin-anywhere") {
		t.Errorf("with a public admin listener: %v", err)
	}
	other.AdminListen = "off"
	again := run(t, other, server.Options{}, made) // the failed servers have released the directory
	if again.AdminURL() != "" {
		t.Errorf("a disabled admin listener has the URL %s", again.AdminURL())
	}
	if _, err := server.Init(t.Context(), settingsAt(other.DataDir), testFounding); !errors.Is(err, pebblestore.ErrLocked) {
		t.Errorf("Init with a directory in use: %v", err)
	}
}

func settingsAt(dir string) config.Config {
	cfg := config.Default()
	cfg.DataDir = dir
	return cfg
}

// TestZeroConfig: the zero value of every field except the data directory is usable.
func TestZeroConfig(t *testing.T) {
	cfg := config.Config{DataDir: filepath.Join(t.TempDir(), "data"), Listen: "127.0.0.1:0"}
	r := start(t, cfg, server.Options{})
	if _, err := r.client.Me(t.Context()); err != nil {
		t.Error(err)
	}
	if r.AdminURL() != "" {
		t.Error("an empty admin-listen opened a listener")
	}
}

// TestAdminHost: the admin listener refuses host names that DNS rebinding could use.
func TestAdminHost(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	for host, want := range map[string]int{"": 200, "localhost": 200, "[::1]:80": 200, "evil.example:8081": 421, "10.0.0.1": 421} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.AdminURL()+"/livez", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := r.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("host %q: %d, want %d", host, resp.StatusCode, want)
		}
	}
}

// A serviceManager is systemd's end of a notification socket.
type serviceManager struct {
	socket string
	states chan string
}

// newServiceManager reads what it is sent as it comes: otherwise keepalives fill the socket
// while the test does something else. Of several keepalives in a row it keeps one.
func newServiceManager(t *testing.T) *serviceManager {
	t.Helper()
	conn, name := listenForStates(t)
	m := &serviceManager{name, make(chan string, 64)}
	go func() {
		var buf [256]byte
		for last := ""; ; {
			n, err := conn.Read(buf[:])
			if err != nil {
				return // the test has ended
			}
			if state := string(buf[:n]); state != "WATCHDOG=1" || state != last {
				last = state
				m.states <- state
			}
		}
	}()
	return m
}

// listenForStates opens a notification socket.
func listenForStates(t *testing.T) (conn *net.UnixConn, name string) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn, name
}

// next is the next state.
func (m *serviceManager) next(t *testing.T) string {
	t.Helper()
	select {
	case state := <-m.states:
		return state
	case <-time.After(time.Minute):
		t.Fatal("systemd was sent nothing more")
		return ""
	}
}

// TestSystemd: the service manager is notified when the server is ready and when it
// stops.
func TestSystemd(t *testing.T) {
	systemd := newServiceManager(t)
	r := start(t, settings(t), server.Options{NotifySocket: systemd.socket, Watchdog: time.Millisecond})
	expectNotification := func(want string) {
		t.Helper()
		for {
			state := systemd.next(t)
			if first, _, _ := strings.Cut(state, "\n"); first == want {
				return
			} else if first != "WATCHDOG=1" {
				t.Fatalf("systemd was sent %q, want %q", state, want)
			}
		}
	}
	expectNotification("READY=1")
	expectNotification("WATCHDOG=1")
	r.Reload()
	expectNotification("RELOADING=1")
	expectNotification("READY=1")
	r.stop(nil)
	expectNotification("STOPPING=1")
}

// TestSystemdDoesNotRead: a service manager that reads nothing does not keep the server from
// stopping.
func TestSystemdDoesNotRead(t *testing.T) {
	t.Parallel()
	conn, name := listenForStates(t)
	r := start(t, settings(t), server.Options{NotifySocket: name})
	if _, err := conn.Read(make([]byte, 256)); err != nil { // that it is ready
		t.Fatal(err)
	}
	fill(t, name)
	r.stop(nil)
	if err := r.wait(t); err != nil {
		t.Error(err)
	}
	if !strings.Contains(r.log.String(), "systemd notification failed") {
		t.Errorf("the socket was not full:\n%s", r.log)
	}
}

// fill sends states until the socket takes no more.
func fill(t *testing.T, socket string) {
	t.Helper()
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for err == nil {
		if err = conn.SetWriteDeadline(time.Now().Add(time.Second)); err == nil {
			_, err = conn.Write([]byte("WATCHDOG=1"))
		}
	}
}

// TestWatchdogInterval: only the process that systemd means feeds the watchdog.
func TestWatchdogInterval(t *testing.T) {
	for _, c := range []struct {
		usec, pid string
		want      time.Duration
	}{
		{"", "", 0},
		{"30000000", "", 30 * time.Second},
		{"30000000", "7", 30 * time.Second},
		{"30000000", "8", 0},
		{"soon", "7", 0},
		{"-1", "7", 0},
	} {
		getenv := func(name string) string {
			return map[string]string{"WATCHDOG_USEC": c.usec, "WATCHDOG_PID": c.pid}[name]
		}
		if got := server.WatchdogInterval(getenv, 7); got != c.want {
			t.Errorf("WATCHDOG_USEC=%s WATCHDOG_PID=%s: %v, want %v", c.usec, c.pid, got, c.want)
		}
	}
}

// TestAnonymousClientLimits: the resources that an anonymous client can hold are
// bounded.
func TestAnonymousClientLimits(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL()+"/v1/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Long", strings.Repeat("x", 32<<10))
	resp, err := r.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("with 32 KiB of headers: %d", resp.StatusCode)
	}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	plain := &http.Client{Transport: &http.Transport{Protocols: protocols}, Timeout: time.Minute}
	defer plain.CloseIdleConnections()
	small, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL()+"/v1/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := plain.Do(small); err == nil {
		_ = resp.Body.Close()
		t.Errorf("the server accepts HTTP/2 without TLS: %s", resp.Proto)
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("GET /v1/me HTTP/1.1\r\nHost: x\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(waitLimit)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("an incomplete request header is kept for longer than %v: %v", waitLimit, err)
	}
}
