package pebblestore

import (
	"fmt"
	"testing"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// TestWatcherBehind: a slow watcher costs memory for each user and not for each update,
// and gets the newest record of each in order.
func TestWatcherBehind(t *testing.T) {
	t.Parallel()
	const targets, updates = 100, 5 * maxPending
	var ws watchers
	var p progress
	w, _ := ws.start(&p)
	newest := make(map[store.User]store.Position)
	for at := store.Position(1); at <= updates; at++ {
		u := store.User{Account: "acme", ID: presence.UserID(fmt.Sprint(at * at % targets))}
		it := &item{user: u, at: at}
		newest[u] = at
		// The second record is like one whose expiry alone changed.
		ws.add(&group{last: at, items: []*item{it, {user: u, at: at}}})
		if len(w.pending) > maxPending+1 {
			t.Fatalf("%d records are pending", len(w.pending))
		}
	}
	items, upTo := ws.takePending(w, nil)
	if upTo != updates {
		t.Errorf("upTo is %d, want %d", upTo, updates)
	}
	given := make(map[store.User]store.Position)
	last := store.Position(0)
	for _, it := range items {
		if it.at <= last {
			t.Fatalf("position %d after %d", it.at, last)
		}
		last, given[it.user] = it.at, it.at
	}
	for u, at := range newest {
		if given[u] != at {
			t.Errorf("%s was delivered at %d, but is at %d", u.ID, given[u], at)
		}
	}
	ws.stop(w)
	ws.add(&group{last: updates + 1, items: []*item{{user: crashUser(0), at: updates + 1}}})
	if len(w.pending) != 0 {
		t.Error("a watcher that ended gets more")
	}
}

// TestWatchersBeyondTheLimit: with more users than may be pending none is lost, and the
// pending users are not scanned for each new one.
func TestWatchersBeyondTheLimit(t *testing.T) {
	t.Parallel()
	var ws watchers
	var p progress
	w, _ := ws.start(&p)
	defer ws.stop(w)
	const users = maxPending + 1
	for at := store.Position(1); at <= users; at++ {
		ws.add(&group{last: at, items: []*item{{user: store.User{ID: presence.UserID(fmt.Sprint(at))}, at: at}}})
	}
	if len(w.pending) != users || w.limit != 2*users {
		t.Errorf("%d of %d are pending, the limit is %d", len(w.pending), users, w.limit)
	}
}
