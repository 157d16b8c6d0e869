package pebblestore

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// TestWarmUp: after a start every record is in memory, as far as it fits, and is the
// newest.
func TestWarmUp(t *testing.T) {
	disk := vfs.NewMem()
	const users = 2*warmGroup + 7
	user := func(i int) store.User { return store.User{Account: "a", ID: presence.UserID(fmt.Sprint(i))} }
	s, err := Open("data", Options{FS: disk, MinFreeBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	set := func(i int, note string) {
		t.Helper()
		_, err := s.Update(t.Context(), user(i), storetest.UpdateFunc(store.By{}, func(state presence.State) (presence.State, error) {
			state.Revision++
			state.Note.Text = note
			return state, nil
		}))
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range users {
		set(i, "old")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open("data", Options{FS: disk, MinFreeBytes: -1, MustExist: true}); err != nil {
		t.Fatal(err)
	}
	for i := range 100 { // while the cache is warming
		set(i*20, "new")
	}
	<-s.warmUpDone
	before := s.Stats().CacheMisses
	for i := range users {
		records, _, err := s.Read(t.Context(), []store.User{user(i)}, store.Freshness{})
		if err != nil || len(records) != 1 {
			t.Fatalf("user %d: %d records, %v", i, len(records), err)
		}
		want := "old"
		if i%20 == 0 && i < 2000 {
			want = "new"
		}
		if got := records[0].State.Note.Text; got != want {
			t.Fatalf("user %d: %q, want %q", i, got, want)
		}
	}
	// An update in a shard while a group is read leaves the rest of that group's
	// records in the shard to be read on demand.
	if missed := s.Stats().CacheMisses - before; missed > users/4 {
		t.Errorf("%d of %d records were not in memory", missed, users)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
