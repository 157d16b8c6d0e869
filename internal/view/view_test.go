package view_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
	"porchlight.dev/porchlight/internal/store/storetest"
	"porchlight.dev/porchlight/internal/view"
)

var (
	errNobody = errors.New("nobody")
	errGone   = errors.New("gone")
)

// newReader reads account "a" with five users on record and "unseen" only in the
// directory. Account "b" has another alice.
func newReader(t *testing.T) *view.Reader {
	t.Helper()
	st := enginetest.Open(t, time.Now)
	play := func(account presence.AccountID, id presence.UserID, events ...presence.Event) {
		for _, e := range events {
			_, err := st.Update(t.Context(), store.User{Account: account, ID: id}, storetest.Apply(e, presence.Policy{}, presence.InstantOf(time.Now())))
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	signIn := presence.SignIn{Session: "s", Client: presence.Desktop}
	busy := presence.SetClaim{ID: presence.ManualClaim, Source: presence.Manual, Status: presence.Busy}
	play("a", "alice", signIn, busy)
	play("a", "bob", signIn)
	play("a", "carol", signIn, presence.SetUserState{State: presence.UserDeleted})
	play("a", "hidden", signIn, busy, presence.SetVisibility{Everyone: presence.VisibilityOffline})
	play("a", "reserved", signIn, presence.SetNote{Text: "n"}, presence.SetVisibility{
		Everyone: presence.VisibilityOffline, Watchers: map[presence.UserID]presence.Visibility{"alice": presence.VisibilityStatus},
	})
	play("b", "alice", signIn)
	return &view.Reader{Store: st, ErrGone: errGone, Known: func(_ context.Context, u store.User) error {
		if u != (store.User{Account: "a", ID: "unseen"}) {
			return errNobody
		}
		return nil
	}}
}

// A viewer has the full view of one user.
type viewer presence.UserID

func (l viewer) Watcher(target presence.UserID) presence.Watcher {
	return presence.Watcher{User: presence.UserID(l), Truth: presence.UserID(l) == target}
}

func TestRead(t *testing.T) {
	v := newReader(t)
	for _, row := range []struct {
		account presence.AccountID
		id      presence.UserID
		status  presence.Status
		truth   bool
		err     error
	}{
		{"a", "alice", presence.Busy, true, nil},
		{"a", "bob", presence.Available, false, nil},
		{"a", "carol", 0, false, errGone},
		{"a", "hidden", presence.Offline, false, nil},
		{"a", "reserved", presence.Available, false, nil},
		{"a", "unseen", presence.Offline, false, nil},
		{"a", "dave", 0, false, errNobody},
		{"b", "alice", presence.Available, true, nil},
		{"b", "bob", 0, false, errNobody},
		{"", "alice", 0, false, errNobody},
	} {
		seen, _, err := v.Read(t.Context(), row.account, row.id, viewer("alice"))
		if !errors.Is(err, row.err) {
			t.Errorf("%s/%s: %v, want %v", row.account, row.id, err, row.err)
			continue
		}
		if err == nil && (seen.User != row.id || seen.Presence.Status != row.status || (seen.State != nil) != row.truth) {
			t.Errorf("%s/%s: %+v", row.account, row.id, seen)
		}
	}
}

// TestRules: each viewer's view follows the user's rules, and the user has the full
// view.
func TestRules(t *testing.T) {
	v := newReader(t)
	for _, row := range []struct {
		by     viewer
		id     presence.UserID
		status presence.Status
		note   string
		times  bool
	}{
		{"alice", "hidden", presence.Offline, "", true},
		{"hidden", "hidden", presence.Busy, "", true},
		{"alice", "reserved", presence.Available, "", false},
		{"bob", "reserved", presence.Offline, "", true},
		{"reserved", "reserved", presence.Available, "n", true},
	} {
		got, _, err := v.Query(t.Context(), "a", []presence.UserID{row.id}, row.by)
		if err != nil || len(got) != 1 {
			t.Fatalf("%s reads %s: %+v, %v", row.by, row.id, got, err)
		}
		if p := got[0].Presence; p.Status != row.status || p.Note != row.note || p.Since.IsZero() == row.times {
			t.Errorf("%s reads %s: %+v", row.by, row.id, p)
		}
	}
}

func TestQuery(t *testing.T) {
	v := newReader(t)
	ids := []presence.UserID{"bob", "carol", "dave", "unseen", "alice"}
	got, cursor, err := v.Query(t.Context(), "a", ids, viewer("alice"))
	if err != nil || cursor == (store.Cursor{}) {
		t.Fatalf("cursor %v, %v", cursor, err)
	}
	if len(got) != 2 || got[0].User != "bob" || got[0].State != nil || got[1].User != "alice" || got[1].State == nil {
		t.Errorf("%+v", got)
	}
}

// TestQueryOfUnknownUsersHasCursor: a client that asked only for unknown users resumes
// from there like any other.
func TestQueryOfUnknownUsersHasCursor(t *testing.T) {
	found, cursor, err := newReader(t).Query(t.Context(), "a", nil, viewer(""))
	if err != nil || len(found) != 0 || cursor == (store.Cursor{}) {
		t.Errorf("found %v, cursor %v, %v", found, cursor, err)
	}
}
