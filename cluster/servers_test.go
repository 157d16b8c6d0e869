package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"porchlight.dev/porchlight/internal/porttest"
	"porchlight.dev/porchlight/internal/store/enginetest"
)

// waitLimit bounds what tests wait for. It is no expectation: an election takes up to ten
// seconds, and the machine may be busy.
const waitLimit = 2 * time.Minute

type natsServer = server.Server

// servers are NATS servers in this process, as a cluster.
type servers struct {
	all         []*natsServer
	credentials string // the file of the store's user
	stores      atomic.Int64
	dials       atomic.Int64
	users       atomic.Int64 // whose addresses were used
}

const routesTemplate = `
listen: "127.0.0.1:-1"
server_name: n%d
jetstream: {store_dir: %q, sync_interval: always}
cluster: {name: test, listen: "127.0.0.1:%d", no_advertise: true, routes: [%s]}
accounts: {
  PORCHLIGHT: {jetstream: enabled, users: [{user: porchlight, password: secret}]}
  SYS: {users: [{user: system, password: topsecret}]}
}
system_account: SYS
`

// startServers runs n NATS servers until the test ends. They do not tell clients of each
// other, so that a node reaches them only through its proxy.
func startServers(tb testing.TB, n int) *servers {
	tb.Helper()
	dir, ports := enginetest.DirInMemory(tb), porttest.Free(tb, n)
	routes := ""
	for _, port := range ports {
		routes += fmt.Sprintf("\"nats://127.0.0.1:%d\",", port)
	}
	s := &servers{credentials: filepath.Join(tb.TempDir(), "credentials")}
	if err := os.WriteFile(s.credentials, []byte("porchlight:secret\n"), 0o600); err != nil {
		tb.Fatal(err)
	}
	for i, port := range ports {
		s.all = append(s.all, newServer(tb, fmt.Sprintf(routesTemplate, i, filepath.Join(dir, fmt.Sprint("n", i)), port, routes)))
	}
	tb.Cleanup(s.stop)
	for _, one := range s.all {
		go one.Start()
	}
	for _, one := range s.all {
		if !one.ReadyForConnections(waitLimit) {
			tb.Fatal("a NATS server did not start")
		}
	}
	eventually(tb, "the NATS servers are one cluster", func() bool {
		for _, one := range s.all {
			if one.JetStreamIsLeader() {
				return len(one.JetStreamClusterPeers()) == n
			}
		}
		return false
	})
	return s
}

func newServer(tb testing.TB, config string) *server.Server {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "nats.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		tb.Fatal(err)
	}
	o, err := server.ProcessConfigFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	o.NoLog, o.NoSigs, o.AuthTimeout = true, true, waitLimit.Seconds()
	s, err := server.NewServer(o)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func (s *servers) stop() {
	for _, one := range s.all {
		one.Shutdown()
	}
	for _, one := range s.all {
		one.WaitForShutdown()
	}
}

// next is the address of a server that runs, another one each time.
func (s *servers) next() string {
	for range s.all {
		one := s.all[int(s.dials.Add(1))%len(s.all)]
		if one.Running() {
			return one.Addr().String()
		}
	}
	return ""
}

// eventually waits until ok returns true.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for end := time.Now().Add(waitLimit); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatalf("not true after %v: %s", waitLimit, what)
		}
	}
}
