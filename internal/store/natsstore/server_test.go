package natsstore_test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"

	"porchlight.dev/porchlight/internal/store/natsstore"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// A cluster is servers in this process.
type cluster struct {
	servers  []*server.Server
	settings []*server.Options
	stores   atomic.Int64
}

const (
	user, password     = "porchlight", "secret"
	sysUser, sysSecret = "system", "topsecret"
)

// serverConfig is of one server that syncs every write, with a user of the system
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
	return o
}

// startServers runs n servers, as a cluster if there are several.
func startServers(tb testing.TB, n int) *cluster {
	tb.Helper()
	c := &cluster{}
	dir := tb.TempDir()
	for i := range n {
		o := serverOptions(tb, filepath.Join(dir, fmt.Sprint("n", i)), always)
		o.ServerName = fmt.Sprint("n", i)
		if n > 1 {
			o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: server.RANDOM_PORT}
			if i > 0 {
				o.Routes = server.RoutesFromStr("nats://" + c.servers[0].ClusterAddr().String())
			}
		}
		c.start(tb, o)
	}
	tb.Cleanup(c.stop)
	if n > 1 {
		waitFor(tb, "a leader of the cluster", func() bool {
			for _, s := range c.servers {
				if s.JetStreamIsLeader() {
					return len(s.JetStreamClusterPeers()) == n
				}
			}
			return false
		})
	}
	return c
}

func (c *cluster) start(tb testing.TB, o *server.Options) {
	tb.Helper()
	s, err := server.NewServer(o)
	if err != nil {
		tb.Fatal(err)
	}
	go s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		tb.Fatal("a NATS server did not start")
	}
	c.servers = append(c.servers, s)
	c.settings = append(c.settings, o)
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

// options are those of a store on the cluster.
func (c *cluster) options() natsstore.Options {
	return natsstore.Options{Replicas: min(3, len(c.servers)), System: c.urlOf(sysUser, sysSecret)}
}

func (c *cluster) open(tb testing.TB, o natsstore.Options) *natsstore.Store {
	tb.Helper()
	s, err := natsstore.Open(tb.Context(), c.url(), o)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

const patience = 20 * time.Second

func waitFor(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			tb.Fatalf("%s did not come within %v", what, patience)
		}
		time.Sleep(time.Millisecond)
	}
}
