package natsstore_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// TestOlderDataOfTheServers: servers that were rolled back would assign positions twice.
// A state stream older than its history is refused. A rollback of both streams cannot be
// detected, and requires NewEpoch.
func TestOlderDataOfTheServers(t *testing.T) {
	t.Parallel()
	for name, streams := range map[string]string{"the state stream": "porchlight-state", "both streams": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			servers := startServers(t, 1)
			cursor := rollBack(t, servers, streams)
			o := servers.options()
			if streams != "" {
				for _, o.NewEpoch = range []bool{false, true} {
					if s, err := natsstore.Open(t.Context(), servers.url(), o); !errors.Is(err, natsstore.ErrLost) {
						t.Errorf("Open: %v, want ErrLost", err)
						if err == nil {
							closeAtEnd(t, s)
						}
					}
				}
				return
			}
			o.NewEpoch = true
			s := closeAtEnd(t, servers.open(t, o))
			if _, err := cursor.Position(s.Epoch()); !errors.Is(err, store.ErrEpoch) {
				t.Errorf("a cursor from before the loss: %v, want ErrEpoch", err)
			}
			at := update(t, s, userNamed("v"), noEdit).At
			if got := follow(t, s, 0, 2); got[1].At != at {
				t.Errorf("the feed went on at %d, want %d", got[1].At, at)
			}
			again := closeAtEnd(t, servers.open(t, servers.options()))
			if again.Epoch() != s.Epoch() {
				t.Errorf("epoch %s on the next node, want %s", again.Epoch(), s.Epoch())
			}
		})
	}
}

// rollBack rolls back a stream, or all data of the servers, by two updates, while no
// store is open. It returns a cursor from after them.
func rollBack(t *testing.T, servers *cluster, stream string) store.Cursor {
	t.Helper()
	s := servers.open(t, servers.options())
	update(t, s, userNamed("u"), noEdit)
	a := servers.admin(t)
	waitFor(t, "the history", func() bool { return a.messages("porchlight-history") == 1 })
	dir := filepath.Join(servers.settings[0].StoreDir, "jetstream", "PORCHLIGHT", "streams", stream)
	servers.stopServer(0)
	if err := os.CopyFS(dir+"-old", os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+"-old", filepath.Join(servers.settings[0].StoreDir, "old")); err != nil {
		t.Fatal(err)
	}
	servers.startServer(t, 0)
	for range 2 {
		waitFor(t, "an update", func() bool {
			_, err := s.Update(t.Context(), userNamed("u"), storetest.UpdateFunc(store.By{}, edit(noEdit)))
			return err == nil
		})
	}
	a = servers.admin(t)
	waitFor(t, "the history", func() bool { return a.messages("porchlight-history") >= 3 })
	_, cursor, err := s.Read(t.Context(), []store.User{userNamed("u")}, store.Freshness{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	servers.stopServer(0)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(servers.settings[0].StoreDir, "old"), dir); err != nil {
		t.Fatal(err)
	}
	servers.startServer(t, 0)
	return cursor
}
