package storetest

import (
	"reflect"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// entryFields: besides the presence before and after, an entry has the cause, the actor
// and the origin of its change, the user's facts before and after, the sessions that
// began and ended, and profiles.
func entryFields(x *suite) {
	by := store.By{Cause: store.CauseSignOut, Actor: store.Actor{User: "boss", App: "app"}}
	origin := presence.Origin{
		Claim: "c", Source: presence.Meeting,
		Client: presence.Client{Type: presence.Mobile, Version: "5.17.5", Status: presence.Away},
	}
	profiles := presence.Profiles{
		Profile: &presence.Profile{Email: "u@example.com", Groups: []string{"g"}}, ProfileBefore: &presence.Profile{FirstName: "U"},
	}
	session := func(id presence.SessionID, since presence.Instant) presence.Session {
		return presence.Session{ID: id, Client: presence.Mobile, Version: "5", App: "app", Since: since}
	}
	facts := func(id presence.SessionID) store.SessionFacts {
		return store.SessionFacts{ID: id, Client: presence.Mobile, Version: "5", App: "app"}
	}
	first := x.update(user("u"), func(s *presence.State) {
		s.Note.Text = "own"
		s.Sessions = []presence.Session{session("a", 1), session("b", 1), session("c", 1)}
	})
	_, err := x.Store.Update(x.ctx, user("u"), func(was presence.Recorded) (store.Change, error) {
		change, err := UpdateFunc(by, edit(func(s *presence.State) {
			s.UserState, s.Note.Text = presence.UserDeactivated, "another"
			s.Sessions = []presence.Session{session("b", 2), session("c", 1)}
		}))(was)
		change.Origin, change.Profiles = origin, profiles
		return change, err
	})
	if err != nil {
		x.Fatal(err)
	}
	last := x.update(user("u"), noEdit)
	got := x.entries(0, last.At)
	own, another := store.UserFacts{Note: "own"}, store.UserFacts{State: presence.UserDeactivated, Note: "another"}
	for i, want := range []store.Entry{
		{UserAfter: own, By: got[0].By, Began: []store.SessionFacts{facts("a"), facts("b"), facts("c")}},
		{
			UserBefore: own, UserAfter: another, By: by, Origin: origin, Profiles: profiles,
			Began: []store.SessionFacts{facts("b")}, Ended: []store.SessionFacts{facts("a"), facts("b")},
		},
		{UserBefore: another, UserAfter: another, By: got[2].By},
	} {
		e := got[i]
		want.At, want.User, want.Revision, want.Time, want.Before, want.After = e.At, e.User, e.Revision, e.Time, e.Before, e.After
		if !sameEntry(e, want) {
			x.Errorf("entry %d is %+v, want %+v", i, e, want)
		}
	}
	if got[0].At != first.At {
		x.Errorf("the first entry is at %d, want %d", got[0].At, first.At)
	}
}

// sameEntry reports whether two entries are equal, and damaged by the same error.
func sameEntry(e, o store.Entry) bool { return reflect.DeepEqual(any(e), any(o)) }
