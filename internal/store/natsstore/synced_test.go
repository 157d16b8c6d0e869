package natsstore_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"porchlight.dev/porchlight/internal/store/enginetest"
	"porchlight.dev/porchlight/internal/store/natsstore"
)

// TestServersWithoutJetStream: the settings of servers with JetStream are checked even if
// other servers respond first.
func TestServersWithoutJetStream(t *testing.T) {
	t.Parallel()
	servers := startServersIn(t, enginetest.DirInMemory(t), 3, "2m")
	o := serverOptions(t, filepath.Join(enginetest.DirInMemory(t), "none"), always)
	o.ServerName, o.JetStream = "plain", false
	o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: server.RANDOM_PORT}
	o.Routes = servers.settings[0].Routes
	ps, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	go ps.Start()
	plain := &cluster{servers: []*server.Server{ps}, settings: []*server.Options{o}}
	t.Cleanup(plain.stop)
	if !ps.ReadyForConnections(waitLimit) {
		t.Fatal("a NATS server did not start")
	}
	waitFor(t, "the routes", func() bool { return plain.servers[0].NumRoutes() >= 3 })
	options := servers.options()
	options.SystemURL = plain.urlOf(sysUser, sysSecret)
	for range 3 {
		s, err := natsstore.Open(t.Context(), servers.url(), options)
		if err == nil {
			closeAtEnd(t, s)
		}
		if !errors.Is(err, natsstore.ErrSettings) {
			t.Errorf("Open on servers that do not sync every write: %v, want ErrSettings", err)
		}
	}
}
