package server_test

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/membership"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/server"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
)

// A sharedStore is a store that several nodes may serve. While it is cut, no documents are
// written.
type sharedStore struct {
	store.Store
	cut atomic.Bool
}

func (*sharedStore) Shared() bool { return true }

func (s *sharedStore) Write(ctx context.Context, account presence.AccountID, docs ...store.Doc) error {
	if s.cut.Load() {
		return store.ErrUnavailable
	}
	return s.Store.Write(ctx, account, docs...)
}

// initStore makes a store, and opens it for several servers.
func initStore(t *testing.T, cfg config.Config) (server.Credentials, store.Store) {
	t.Helper()
	made, err := server.Init(t.Context(), cfg, testFounding)
	if err != nil {
		t.Fatal(err)
	}
	st, err := pebblestore.Open(filepath.Join(cfg.DataDir, "store"), pebblestore.Options{MustExist: true})
	if err != nil {
		t.Fatal(err)
	}
	return made, st
}

// TestIsolatedNode: a node whose beats are not acknowledged sends its clients away and is not
// ready; it serves again by itself, as another run, when they are.
func TestIsolatedNode(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	made, st := initStore(t, cfg)
	shared := &sharedStore{Store: st}
	r := run(t, cfg, server.Options{
		Store: shared, NodeTimes: membership.Times{Interval: 20 * time.Millisecond, IsolatedAfter: 20 * time.Second, DeadAfter: 40 * time.Second},
	}, made)
	socket := r.open(t, made.AccessToken, "")
	socket.read(t, "hello")
	socket.ask(t, api.ClientFrame{Type: api.FrameSignIn, ID: "1", ClientType: "desktop"}, api.FrameDone)
	shared.cut.Store(true)
	if code, err := socket.waitForClose(); code != api.CloseIsolated {
		t.Fatalf("closed with %d, %v", code, err)
	}
	status, body := r.get(t, r.AdminURL()+"/readyz")
	if status != http.StatusServiceUnavailable || !strings.Contains(body, "this node is isolated") {
		t.Errorf("%d %s", status, body)
	}
	if value := r.metric(t, "porchlight_node_isolated_seconds"); value == "" || value == "0" {
		t.Errorf("porchlight_node_isolated_seconds %s", value)
	}
	shared.cut.Store(false)
	eventually(t, "ready again", func() bool {
		status, _ = r.get(t, r.AdminURL()+"/readyz")
		return status == http.StatusOK
	})
	r.open(t, made.AccessToken, "").read(t, "hello")
	// The session ends with the run that was given up: its client does not come back.
	eventually(t, "offline", func() bool {
		p, err := r.client.Presence(t.Context(), made.OwnerID)
		if err != nil {
			t.Fatal(err)
		}
		return p.Status == api.Offline
	})
	// The run that was given up is there until it is declared dead.
	if live := r.metric(t, `porchlight_nodes{state="live"}`); live != "1" && live != "2" {
		t.Errorf("%s live nodes", live)
	}
}
