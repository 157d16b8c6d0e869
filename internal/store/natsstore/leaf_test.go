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

// startLeaf runs a server in a domain of its own, which does not sync every write, as a leaf node
// of a cluster. They share the system account.
func startLeaf(t *testing.T, port int) {
	t.Helper()
	o := serverOptions(t, filepath.Join(enginetest.DirInMemory(t), "leaf"), "2m")
	o.ServerName, o.JetStreamDomain = "leaf", "leaf"
	system := &url.URL{Scheme: "nats", User: url.UserPassword(sysUser, sysSecret), Host: fmt.Sprintf("127.0.0.1:%d", port)}
	o.LeafNode.Remotes = []*server.RemoteLeafOpts{{URLs: []*url.URL{system}, LocalAccount: "SYS"}}
	leaf, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	go leaf.Start()
	t.Cleanup(func() { leaf.Shutdown(); leaf.WaitForShutdown() })
	waitFor(t, "the leaf node", func() bool { return leaf.NumLeafNodes() == 1 })
}

// TestServerBehindLeafNode: a server of another domain stores nothing of the store, so it need not
// sync every write, although it responds. The same holds just after a server of the store crashed.
func TestServerBehindLeafNode(t *testing.T) {
	t.Parallel()
	port := porttest.Free(t, 1)[0]
	c, split, _ := startSplittable(t, func(i int, o *server.Options) {
		if i == 1 {
			o.LeafNode.Host, o.LeafNode.Port = "127.0.0.1", port
		}
	})
	running := c.open(t, natsstore.WithInterval(c.options(), 100*time.Millisecond))
	defer closeStore(t, running)
	startLeaf(t, port)
	for range 20 {
		closeStore(t, c.open(t, c.options()))
	}
	r, err := natsstore.Examine(t.Context(), c.url(), c.options(), func(*natsstore.Store) {})
	if err != nil || r.Missing != 0 || len(r.Synced) != len(c.servers) || slices.ContainsFunc(r.Synced, func(s natsstore.ServerReport) bool { return !s.SyncAlways }) {
		t.Errorf("%+v, %v; want the servers of the cluster", r, err)
	}
	select {
	case <-running.Failed():
		t.Error("a node that served before has failed:", running.Check(t.Context()))
	case <-time.After(time.Second):
	}
	split()
	openAt(t, c, 1)
}
