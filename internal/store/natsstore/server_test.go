package natsstore_test

import (
	"flag"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"porchlight.dev/porchlight/internal/porttest"
	"porchlight.dev/porchlight/internal/store/enginetest"
	"porchlight.dev/porchlight/internal/store/natsstore"
)

func TestMain(m *testing.M) {
	if config := os.Getenv(serverEnv); config != "" {
		if err := runServer(config); err != nil {
			panic(err)
		}
		return
	}
	// These tests mostly wait.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	enginetest.Main(m)
}

// A cluster is one or more servers in this process.
type cluster struct {
	servers  []*server.Server
	settings []*server.Options
	stores   atomic.Int64
}

const (
	user, password     = "porchlight", "secret"
	sysUser, sysSecret = "system", "topsecret"
)

// serverConfig configures a server that syncs every write, with a user of the system
// account.
const serverConfig = `
listen: "127.0.0.1:-1"
jetstream: {store_dir: %q, sync_interval: %s}
accounts: {
  PORCHLIGHT: {jetstream: enabled, users: [{user: porchlight, password: secret}]}
  SYS: {users: [{user: system, password: topsecret}]}
}
system_account: SYS
`

const always = "always"

func serverOptions(tb testing.TB, dir, sync string) *server.Options {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "nats.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, serverConfig, dir, sync), 0o600); err != nil {
		tb.Fatal(err)
	}
	o, err := server.ProcessConfigFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	o.NoLog, o.NoSigs = true, true
	o.AuthTimeout = waitLimit.Seconds()
	return o
}

// startServers runs n servers, as a cluster if there are several.
func startServers(tb testing.TB, n int) *cluster {
	tb.Helper()
	return startServersIn(tb, enginetest.DirInMemory(tb), n, always)
}

func startServersIn(tb testing.TB, dir string, n int, sync string) *cluster {
	tb.Helper()
	c := &cluster{}
	ports := porttest.Free(tb, 2*n) // of routes, and of clients: a server that restarts needs its port again
	var routes []string
	for _, port := range ports[:n] {
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", port))
	}
	for i := range n {
		o := serverOptions(tb, filepath.Join(dir, fmt.Sprint("n", i)), sync)
		o.ServerName, o.Port = fmt.Sprint("n", i), ports[n+i]
		if n > 1 {
			o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: ports[i]}
			o.Routes = server.RoutesFromStr(strings.Join(routes, ","))
		}
		c.settings = append(c.settings, o)
	}
	c.run(tb)
	return c
}

// run runs servers with the cluster's settings until the test ends.
func (c *cluster) run(tb testing.TB) {
	tb.Helper()
	for _, o := range c.settings {
		s, err := server.NewServer(o)
		if err != nil {
			tb.Fatal(err)
		}
		c.servers = append(c.servers, s)
	}
	for _, s := range c.servers {
		go s.Start()
	}
	tb.Cleanup(c.stop)
	for _, s := range c.servers {
		if !s.ReadyForConnections(waitLimit) {
			tb.Fatal("a NATS server did not start")
		}
	}
	c.awaitLeader(tb)
}

// awaitLeader waits until a cluster can create streams, and its leader has heard from every server:
// until then it takes a server for one that is down.
func (c *cluster) awaitLeader(tb testing.TB) {
	tb.Helper()
	if len(c.servers) == 1 {
		return
	}
	waitFor(tb, "a leader of the cluster", func() bool {
		for _, s := range c.servers {
			if s.JetStreamIsLeader() {
				return len(s.JetStreamClusterPeers()) == len(c.servers) && hasHeardAll(s)
			}
		}
		return false
	})
}

func hasHeardAll(leader *server.Server) bool {
	info, err := leader.Jsz(nil)
	return err == nil && info.Meta != nil && !slices.ContainsFunc(info.Meta.Replicas, func(r *server.PeerInfo) bool { return r.Offline })
}

func (c *cluster) stop() {
	for _, s := range c.servers {
		s.Shutdown()
	}
	for _, s := range c.servers {
		s.WaitForShutdown()
	}
}

func (c *cluster) url() string { return c.urlOf(user, password) }

func (c *cluster) urlOf(user, password string) string {
	var urls []string
	for _, s := range c.servers {
		u := url.URL{Scheme: "nats", User: url.UserPassword(user, password), Host: s.Addr().String()}
		urls = append(urls, u.String())
	}
	return strings.Join(urls, ",")
}

// options are those of a store on the cluster, with timeouts for slow machines.
func (c *cluster) options() natsstore.Options {
	o := natsstore.Options{Replicas: min(3, len(c.servers)), SystemURL: c.urlOf(sysUser, sysSecret), Timeout: storeTimeout}
	return natsstore.WithOpenTimeout(o, 2*waitLimit)
}

func (c *cluster) open(tb testing.TB, o natsstore.Options) *natsstore.Store {
	tb.Helper()
	s, err := c.tryOpen(tb, o)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func (c *cluster) tryOpen(tb testing.TB, o natsstore.Options) (*natsstore.Store, error) {
	tb.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(tb.Output(), nil))
	}
	return natsstore.Open(tb.Context(), c.url(), o)
}

// waitLimit is how long tests wait for what must happen, and storeTimeout is the timeout
// of stores that must not give up while the machine stalls.
const (
	waitLimit    = time.Minute
	storeTimeout = 20 * time.Second
)

func waitFor(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for end := time.Now().Add(waitLimit); !ok(); {
		if time.Now().After(end) {
			tb.Fatalf("timed out waiting for %s after %v", what, waitLimit)
		}
		time.Sleep(time.Millisecond)
	}
}
