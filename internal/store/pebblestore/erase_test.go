package pebblestore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// secret is in every change of the user of these tests.
const secret = "the-secret-of-an-erased-user"

// writeSecrets makes n entries of a user with the secret, and one that empties the
// record, as a deletion does. Entries of another user lie between.
func writeSecrets(t *testing.T, s *Store, u store.User, n int) {
	t.Helper()
	by := store.By{Cause: store.CauseNote, Actor: store.Actor{User: secret, App: secret}}
	update := func(fill func(*presence.State)) {
		t.Helper()
		if _, err := s.Update(context.Background(), u, storetest.UpdateFunc(by, func(st presence.State) (presence.State, error) {
			st = presence.State{Revision: st.Revision + 1, At: max(st.At, s.now())}
			fill(&st)
			return st, nil
		})); err != nil {
			t.Fatal(err)
		}
		mustUpdate(t, s, crashUser(9))
	}
	for range n {
		update(func(st *presence.State) {
			st.Sessions = []presence.Session{{ID: secret, Client: presence.Desktop, App: secret, Since: st.At, EndsAt: st.At + 9e9}}
			st.Note.Text = secret
			st.Answers = []presence.Answer{{App: secret, At: st.At, Result: secret}}
		})
	}
	update(func(st *presence.State) { st.UserState = presence.UserDeleted })
}

// TestEraseLeavesNothing: after a deleted user is erased, no key or value of the
// database has the user's data, and after a compaction and a restart no file has any.
func TestEraseLeavesNothing(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, "data", Options{FS: fs})
	u := crashUser(0)
	writeSecrets(t, s, u, 50)
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	writeSecrets(t, s, u, 50)
	if n := pairsWith(t, s, secret); n != 102 { // all name the actor
		t.Fatalf("INVALID: %d values have the secret before the user is erased, want 102", n)
	}
	if err := s.Erase(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	if n := pairsWith(t, s, secret); n != 0 {
		t.Errorf("%d values have the secret", n)
	}
	if files := filesWith(t, fs, "data", secret); len(files) == 0 {
		t.Fatal("INVALID: no file has the secret before the compaction")
	}
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Compact(t.Context(), []byte{0}, []byte{0xff}, false); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	// Write-ahead logs are reused, and keep what is not overwritten until the next
	// start.
	s = mustOpen(t, "data", Options{FS: fs})
	if files := filesWith(t, fs, "data", secret); len(files) != 0 {
		t.Errorf("after a compaction and a restart %v have the secret", files)
	}
	if h, err := s.History(t.Context(), u, 0, 1000); err != nil || len(h) != 102 {
		t.Errorf("the history has %d entries, %v; want all 102", len(h), err)
	}
}

// pairsWith counts the pairs of the database that contain a text.
func pairsWith(t *testing.T, s *Store, text string) (n int) {
	t.Helper()
	for key, value := range pairs(t, s) {
		if strings.Contains(key, text) || strings.Contains(value, text) {
			n++
		}
	}
	return n
}

// filesWith lists the files that contain a text.
func filesWith(t *testing.T, fs vfs.FS, dir, text string) (found []string) {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		path := fs.PathJoin(dir, name)
		info, err := fs.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.IsDir() {
			found = append(found, filesWith(t, fs, path, text)...)
			continue
		}
		f, err := fs.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte(text)) {
			found = append(found, path)
		}
	}
	return found
}

// TestEraseOfDropped: an entry that is dropped while it is about to be redacted does
// not reappear.
func TestEraseOfDropped(t *testing.T) {
	s := mustOpen(t, "data", Options{FS: vfs.NewMem()})
	u := crashUser(0)
	for range 5 {
		mustUpdate(t, s, u)
	}
	found, _, err := s.chain(t.Context(), u, 5, 10)
	if err != nil || len(found) != 5 {
		t.Fatalf("%d entries, %v", len(found), err)
	}
	if err := s.redactAll(found, &item{user: u}); err != nil {
		t.Fatal(err)
	}
	s.DropLog(t, 3)
	if err := s.submit(t.Context(), func(c *committer) error { c.replaceEntries(found); return nil }); err != nil {
		t.Fatal(err)
	}
	log, err := s.readLog(0, 10)
	if err != nil || len(log) != 2 || !reflect.DeepEqual(any(log[0].Entry), any(store.Anonymize(log[0].Entry))) || !reflect.DeepEqual(any(log[1].Entry), any(store.Anonymize(log[1].Entry))) {
		t.Errorf("the log has %+v, %v; want the two that were not dropped, redacted", log, err)
	}
}

// TestDamageInAHistory: History and Erase continue below a damaged entry.
func TestDamageInAHistory(t *testing.T) {
	s := mustOpen(t, "data", Options{FS: vfs.NewMem()})
	u := crashUser(0)
	var want []store.Position
	for range 6 {
		want = append(want, mustUpdate(t, s, u).At)
		mustUpdate(t, s, crashUser(1))
	}
	slices.Reverse(want)
	s.DamageEntry(t, want[0])
	s.DamageEntry(t, want[3])
	history := func(before store.Position) (at []store.Position, damaged int) {
		t.Helper()
		h, err := s.History(t.Context(), u, before, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range h {
			at = append(at, e.At)
			if e.Damaged != nil {
				damaged++
			}
		}
		return at, damaged
	}
	for i, before := range append([]store.Position{0}, want...) {
		if at, _ := history(before); !slices.Equal(at, want[i:]) {
			t.Errorf("History below %d is %v, want %v", before, at, want[i:])
		}
	}
	if _, damaged := history(0); damaged != 2 {
		t.Errorf("%d entries are damaged, want 2", damaged)
	}
	if err := s.Erase(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	if at, damaged := history(0); damaged != 0 || !slices.Equal(at, want) {
		t.Errorf("History after Erase is %v, %d of them damaged, want %v", at, damaged, want)
	}
	for _, at := range want {
		if before, err := s.PositionAt(t.Context(), logTime(t, s, at)); err != nil || before >= at {
			t.Errorf("PositionAt of the entry at %d is %d, %v", at, before, err)
		}
	}
}

func logTime(t *testing.T, s *Store, at store.Position) (when time.Time) {
	t.Helper()
	e, ok, err := s.logEntry(at)
	if err != nil || !ok {
		t.Fatalf("no entry at %d: %v", at, err)
	}
	return e.Time
}
