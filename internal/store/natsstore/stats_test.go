package natsstore_test

import (
	"testing"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// TestStats: a store counts what it commits, what another node was quicker with, and its
// connections, and knows its streams.
func TestStats(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	s, p := openThroughProxy(t, servers, storeTimeout)
	defer closeStore(t, s)
	other := closeAtEnd(t, servers.open(t, servers.options()))
	u := store.User{Account: "acme", ID: "ada"}
	change := func(*presence.State) {}
	opened := s.Stats().Commits.Count // opening the store writes too
	update(t, s, u, change)
	update(t, s, u, change)
	update(t, other, u, change)
	last := update(t, s, u, change) // on a cached record, which is stale
	got := s.Stats()
	if got.Updates != 3 || got.Commits.Count != opened+3 || got.Commits.Sum == 0 || got.Conflicts != 1 || got.Last != last.At || got.Queued != 0 {
		t.Errorf("writes: %+v", got)
	}
	if got.CacheHits != 2 || got.CacheMisses != 1 || got.Cached != 1 {
		t.Errorf("cache: %+v", got)
	}
	if !got.Connected || got.Reconnects != 0 {
		t.Errorf("connection: %+v", got)
	}
	p.cut()
	waitFor(t, "a new connection", func() bool { return s.Stats().Reconnects == 1 && s.Stats().Connected })
	update(t, s, u, change)
	if err := s.VerifyOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	got = s.Stats()
	if got.State.Bytes == 0 || got.State.Messages == 0 || got.State.Replicas != 1 || got.State.Current != 1 || got.History.Replicas != 1 ||
		got.DiskBytes != got.State.Bytes+got.History.Bytes {
		t.Errorf("streams: %+v, %d bytes", got, got.DiskBytes)
	}
}

// TestReadForUpdate: an update after a read for it asks nobody for the record, and is right also
// if another node has changed it meanwhile.
func TestReadForUpdate(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	s := closeAtEnd(t, servers.open(t, servers.options()))
	other := closeAtEnd(t, servers.open(t, servers.options()))
	u := store.User{Account: "acme", ID: "ada"}
	note := func(text string) func(*presence.State) {
		return func(s *presence.State) { s.Note.Text += text }
	}
	read := func(fresh store.Freshness) {
		t.Helper()
		if records, _, err := s.Read(t.Context(), []store.User{u}, fresh); err != nil || len(records) != 1 {
			t.Fatalf("%d records, %v", len(records), err)
		}
	}
	update(t, other, u, note("a"))
	read(store.Freshness{})
	if n := s.Stats().Cached; n != 0 {
		t.Errorf("%d records are cached after an ordinary read", n)
	}
	read(store.Freshness{ForUpdate: true})
	update(t, s, u, note("b"))
	if got := s.Stats(); got.CacheHits != 1 || got.CacheMisses != 0 || got.Conflicts != 0 {
		t.Errorf("after a read for an update: %+v", got)
	}
	read(store.Freshness{ForUpdate: true})
	update(t, other, u, note("c"))
	if last := update(t, s, u, note("d")); last.State.Note.Text != "abcd" || s.Stats().Conflicts != 1 {
		t.Errorf("note %q, %+v", last.State.Note.Text, s.Stats())
	}
}
