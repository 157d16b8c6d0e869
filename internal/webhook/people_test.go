package webhook_test

import (
	"testing"

	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
	"porchlight.dev/porchlight/internal/webhook"
)

// TestPeople: the user of an entry is as in the directory, a deleted one as in the log
// until it is erased. What a change of the directory says of a user stays as it was.
func TestPeople(t *testing.T) {
	clock := apptest.Noon()
	st := enginetest.Open(t, clock.Now)
	people := apptest.On(t, st, clock.Now)
	account, ada := people.Account("ada@example.com")
	bob := people.User(account, "bob@example.com")
	of := webhook.NewPeople(people.Directory, st, clock.Now)
	user := func(id presence.UserID) store.User { return store.User{Account: account, ID: id} }
	check := func(what string, e store.Entry, email, actorEmail string) {
		t.Helper()
		who, actor, err := of.Of(t.Context(), &e)
		if err != nil || who == nil || who.ID != e.User.ID || who.Email != email {
			t.Errorf("%s: %+v, %v, want %q", what, who, err, email)
		}
		if (actor != nil) != (actorEmail != "") || actor != nil && actor.Email != actorEmail {
			t.Errorf("%s: the actor is %+v, want %q", what, actor, actorEmail)
		}
	}
	by := func(id presence.UserID) store.By { return store.By{Actor: store.Actor{User: id, App: "app"}} }
	plain := store.Entry{User: user(bob.ID)}
	check("a user", plain, "bob@example.com", "")
	check("a user's own change", store.Entry{User: user(bob.ID), By: by(bob.ID)}, "bob@example.com", "bob@example.com")
	check("a change by another", store.Entry{User: user(bob.ID), By: by(ada.ID)}, "bob@example.com", "ada@example.com")
	check("a change by nobody that is known", store.Entry{User: user(bob.ID), By: by("gone")}, "bob@example.com", "")
	check("nobody that is known", store.Entry{User: user("nobody")}, "", "")
	check("another account's user", store.Entry{User: store.User{Account: "other", ID: bob.ID}}, "", "")

	found, err := people.Directory.User(t.Context(), account, bob.ID)
	apptest.Check(t, err)
	old := found.Profile()
	found.Email = "robert@example.com"
	found, err = people.Directory.Update(t.Context(), account, found)
	apptest.Check(t, err)
	check("a user who changed lately", plain, "bob@example.com", "")
	renamed := store.Entry{User: user(bob.ID), Profiles: presence.Profiles{Profile: found.Profile(), ProfileBefore: old}}
	check("the change", renamed, "robert@example.com", "")
	check("the entry after the change", plain, "robert@example.com", "")

	_, err = st.Update(t.Context(), user(bob.ID), func(was presence.Recorded) (store.Change, error) {
		deletion := presence.SetUserState{State: presence.UserDeleted, Profiles: presence.Profiles{Profile: found.Profile()}}
		change, err := presence.Apply(was, deletion, presence.DefaultPolicy(), presence.InstantOf(clock.Now()))
		return store.Change{Change: change}, err
	})
	apptest.Check(t, err)
	apptest.Check(t, people.Directory.Delete(t.Context(), account, bob.ID))
	clock.Advance(directory.MaxStale)
	check("a deleted user", plain, "robert@example.com", "")
	check("the change, an hour later", renamed, "robert@example.com", "")
	apptest.Check(t, st.Erase(t.Context(), user(bob.ID)))
	clock.Advance(directory.MaxStale)
	check("an erased user", plain, "", "")
}
