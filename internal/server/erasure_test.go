package server_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/server"
)

// awaitErasure waits until a user is erased.
func (r *running) awaitErasure(t *testing.T, id string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		e, err := r.client.Erasure(t.Context(), id)
		switch {
		case err != nil:
			t.Fatal(err)
		case e.State == api.ErasureDone:
			return
		case time.Now().After(deadline):
			t.Fatalf("the erasure is not done after a minute: %+v", e)
		}
	}
}

// TestErasedUserLeavesNothing: after a user is erased, no file of the data directory has
// what was recorded of the user, once the database is compacted.
func TestErasedUserLeavesNothing(t *testing.T) {
	const canary, other = "Xq7canary", "Xq7neighbour"
	r := start(t, settings(t), server.Options{})
	live := func(name string) string {
		ctx := t.Context()
		user, err := r.client.CreateUser(ctx, api.CreateUser{
			Email: name + "@example.com", FirstName: name, LastName: name, DisplayName: name, Department: name, Groups: []string{name},
		})
		apptest.Check(t, err)
		apptest.Check(t, second(r.client.SetClaim(ctx, user.ID, name, api.SetClaim{Source: "app", Status: api.OutOfOffice, Note: name})))
		apptest.Check(t, second(r.client.SetNote(ctx, user.ID, api.SetNote{Text: name})))
		apptest.Check(t, second(r.client.CreateToken(ctx, api.CreateToken{User: user.ID, Name: name, Scopes: []string{"presence:read"}})))
		renamed := name + "2"
		apptest.Check(t, second(r.client.UpdateUser(ctx, user.ID, api.UpdateUser{DisplayName: &renamed})))
		apptest.Check(t, r.client.EndClaim(ctx, user.ID, name))
		return user.ID
	}
	erased, kept := live(canary), live(other)
	if h, err := r.client.HistoryPage(t.Context(), erased, historyOfAll); err != nil || len(h.Entries) < 4 {
		t.Fatalf("the history has %d entries, %v", len(h.Entries), err)
	}
	// A group is the account's, and stays with its name when its members are erased.
	group, err := r.client.GroupByName(t.Context(), canary)
	apptest.Check(t, err)
	apptest.Check(t, r.client.DeleteGroup(t.Context(), group.ID))
	apptest.Check(t, second(r.client.EraseUser(t.Context(), erased)))
	r.awaitErasure(t, erased)
	if h, err := r.client.HistoryPage(t.Context(), kept, historyOfAll); err != nil || len(h.Entries) < 4 || h.Entries[0].After == nil {
		t.Errorf("the history of another user has %d entries, %v", len(h.Entries), err)
	}
	r.stop(server.ErrInterrupted)
	apptest.Check(t, r.wait(t))

	dir := filepath.Join(r.config.DataDir, "store")
	if len(filesWith(t, dir, other)) == 0 {
		t.Fatal("INVALID: no file has what was recorded of another user")
	}
	compact(t, dir)
	compact(t, dir) // write-ahead logs are removed at the next start
	if files := filesWith(t, r.config.DataDir, canary); len(files) != 0 {
		t.Errorf("%v have the text of the erased user", files)
	}
	if len(filesWith(t, dir, other)) == 0 {
		t.Error("no file has what was recorded of another user any more")
	}
}

// TestErasureSurvivesRestart: a server that stops right after an erasure was accepted
// completes it at its next start.
func TestErasureSurvivesRestart(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	user, err := r.client.CreateUser(t.Context(), api.CreateUser{Email: "grace@example.com"})
	apptest.Check(t, err)
	apptest.Check(t, second(r.client.SetNote(t.Context(), user.ID, api.SetNote{Text: "secret"})))
	apptest.Check(t, second(r.client.EraseUser(t.Context(), user.ID)))
	r.stop(server.ErrInterrupted)
	apptest.Check(t, r.wait(t))
	r = run(t, r.config, server.Options{}, r.made)
	r.awaitErasure(t, user.ID)
}

// compact opens a database of the embedded store, and rewrites all of it.
func compact(t *testing.T, dir string) {
	t.Helper()
	options := &pebble.Options{FormatMajorVersion: pebble.FormatValueSeparation}
	options.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone }) // text is looked for
	db, err := pebble.Open(dir, options)
	apptest.Check(t, err)
	apptest.Check(t, db.Compact(t.Context(), []byte{0}, []byte{0xff}, false))
	apptest.Check(t, db.Close())
}

// filesWith lists the files below a directory that contain a text.
func filesWith(t *testing.T, dir, text string) (found []string) {
	t.Helper()
	apptest.Check(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(text)) {
			found = append(found, path)
		}
		return err
	}))
	return found
}

// second gives the error of a call whose result does not matter.
func second[T any](_ T, err error) error { return err }

var historyOfAll = client.HistoryOptions{All: true}
