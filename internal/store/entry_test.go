package store_test

import (
	"reflect"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// TestEntrySessions: the next commit records a session whose expiry nobody saw, and a
// session that is resumed neither begins nor ends.
func TestEntrySessions(t *testing.T) {
	u := store.User{Account: "a", ID: "u"}
	now := presence.InstantOf(time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC))
	var was presence.Recorded
	signIn := func(id presence.SessionID, kind presence.ClientType, app presence.AppID) presence.SignIn {
		return presence.SignIn{Session: id, Client: kind, Lease: presence.MinLease, App: app}
	}
	facts := func(id presence.SessionID, kind presence.ClientType, app presence.AppID) store.SessionFacts {
		return store.SessionFacts{ID: id, Client: kind, App: app}
	}
	desk, phone := facts("desk", presence.Desktop, "console"), facts("phone", presence.Mobile, "")
	for i, step := range []struct {
		after        time.Duration
		event        presence.Event
		began, ended []store.SessionFacts
	}{
		{0, signIn("desk", presence.Desktop, "console"), []store.SessionFacts{desk}, nil},
		{time.Second, signIn("phone", presence.Mobile, ""), []store.SessionFacts{phone}, nil},
		{time.Second, signIn("desk", presence.Desktop, "console"), nil, nil}, // resumed
		{25 * time.Second, presence.Refresh{Session: "desk"}, nil, nil},
		{20 * time.Second, presence.Refresh{Session: "desk"}, nil, []store.SessionFacts{phone}},
		{time.Second, signIn("phone", presence.Mobile, ""), []store.SessionFacts{phone}, nil},
		{time.Second, presence.SetUserState{State: presence.UserDeactivated}, nil, []store.SessionFacts{desk, phone}},
	} {
		now = now.Add(step.after)
		next, err := presence.Apply(was, step.event, presence.Policy{}, now)
		if err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		e := (&store.Change{Change: next}).Entry(u, &was)
		if !reflect.DeepEqual(e.Began, step.began) || !reflect.DeepEqual(e.Ended, step.ended) {
			t.Errorf("step %d: began %+v, ended %+v; want %+v, %+v", i, e.Began, e.Ended, step.began, step.ended)
		}
		was = next.Recorded
	}
}
