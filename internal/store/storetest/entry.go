package storetest

import (
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// entryFields: besides the presence before and after, an entry has the cause, the actor
// and the origin of its change, and the user's facts before and after.
func entryFields(x *suite) {
	by := store.By{Cause: store.CauseSignOut, Actor: store.Actor{User: "boss", App: "app"}}
	origin := presence.Origin{
		Claim: "c", Source: presence.Meeting,
		Client: presence.Client{Type: presence.Mobile, Version: "5.17.5", Status: presence.Away},
	}
	first := x.update(user("u"), note("own"))
	_, err := x.Store.Update(x.ctx, user("u"), func(was presence.Recorded) (store.Change, error) {
		change, err := UpdateFunc(by, edit(func(s *presence.State) {
			s.UserState, s.Note.Text = presence.UserDeactivated, "another"
		}))(was)
		change.Origin = origin
		return change, err
	})
	if err != nil {
		x.Fatal(err)
	}
	last := x.update(user("u"), noEdit)
	got := x.entries(0, last.At)
	own, another := store.UserFacts{Note: "own"}, store.UserFacts{State: presence.UserDeactivated, Note: "another"}
	for i, want := range []store.Entry{
		{UserAfter: own, By: got[0].By},
		{UserBefore: own, UserAfter: another, By: by, Origin: origin},
		{UserBefore: another, UserAfter: another, By: got[2].By},
	} {
		e := got[i]
		if e.By != want.By || e.Origin != want.Origin || e.UserBefore != want.UserBefore || e.UserAfter != want.UserAfter || e.Erased {
			x.Errorf("entry %d is %+v, want %+v", i, e, want)
		}
	}
	if got[0].At != first.At {
		x.Errorf("the first entry is at %d, want %d", got[0].At, first.At)
	}
}
