package natsstore_test

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"porchlight.dev/porchlight/internal/porttest"
	"porchlight.dev/porchlight/internal/store/enginetest"
	"porchlight.dev/porchlight/internal/store/natsstore"
)

// TestServerBehindLeafNode: a server of another domain stores nothing of the store, so it need not
// sync every write, although it shares the system account and responds.
func TestServerBehindLeafNode(t *testing.T) {
	t.Parallel()
	const n = 3
	dir, ports := enginetest.DirInMemory(t), porttest.Free(t, 2*n+1)
	c := &cluster{}
	for i := range n {
		o := serverOptions(t, filepath.Join(dir, fmt.Sprint("n", i)), always)
		o.ServerName, o.Port = fmt.Sprint("n", i), ports[n+i]
		o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: ports[i]}
		for j := range n {
			o.Routes = append(o.Routes, server.RoutesFromStr(fmt.Sprintf("nats://127.0.0.1:%d", ports[j]))...)
		}
		if i == 0 {
			o.LeafNode.Host, o.LeafNode.Port = "127.0.0.1", ports[2*n]
		}
		c.settings = append(c.settings, o)
	}
	c.run(t)
	running := c.open(t, natsstore.WithInterval(c.options(), 100*time.Millisecond))
	defer closeStore(t, running)
	o := serverOptions(t, filepath.Join(dir, "leaf"), "2m")
	o.ServerName, o.JetStreamDomain = "leaf", "leaf"
	system := &url.URL{Scheme: "nats", User: url.UserPassword(sysUser, sysSecret), Host: fmt.Sprintf("127.0.0.1:%d", ports[2*n])}
	o.LeafNode.Remotes = []*server.RemoteLeafOpts{{URLs: []*url.URL{system}, LocalAccount: "SYS"}}
	leaf, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	go leaf.Start()
	t.Cleanup(func() { leaf.Shutdown(); leaf.WaitForShutdown() })
	waitFor(t, "the leaf node", func() bool { return leaf.NumLeafNodes() == 1 })
	for range 20 {
		s, err := c.tryOpen(t, c.options())
		if err != nil {
			t.Fatal(err)
		}
		closeStore(t, s)
	}
	r, err := natsstore.Examine(t.Context(), c.url(), c.options(), func(*natsstore.Store) {})
	if err != nil || r.Missing != 0 || len(r.Synced) != n || slices.ContainsFunc(r.Synced, func(s natsstore.ServerReport) bool { return !s.SyncAlways }) {
		t.Errorf("%+v, %v; want the servers of the cluster", r, err)
	}
	select {
	case <-running.Failed():
		t.Error("a node that served before has failed:", running.Check(t.Context()))
	case <-time.After(time.Second):
	}
}
