package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

var eraseTests = []namedTest{
	{"Redacts", eraseRedacts},
	{"UnknownUserAndRepeated", eraseUnknownAndRepeated},
	{"Many", eraseMany},
	{"WhileUpdated", eraseWhileUpdated},
	{"WhileFollowed", eraseWhileFollowed},
}

// secret is in all personal data of a user that is to be erased.
const secret = "the-secret-of-an-erased-user"

// secretUpdate commits an entry of u with the secret in all fields that can have it.
func (x *suite) secretUpdate(u store.User, i int) store.Record {
	x.Helper()
	by := store.By{Cause: store.CauseClaim, Actor: store.Actor{User: secret, App: secret}}
	r, err := x.Store.Update(x.ctx, u, UpdateFunc(by, edit(func(s *presence.State) {
		s.Claims = []presence.Claim{{
			ID: secret, Source: secret, Status: presence.OutOfOffice, Note: fmt.Sprint(secret, i), Since: s.At, App: secret, Via: secret,
		}}
		s.Note.Text = secret
	})))
	if err != nil {
		x.Fatalf("Update: %v", err)
	}
	return r
}

// deleteUser empties u's record, as the deletion of a user does.
func (x *suite) deleteUser(u store.User) store.Record {
	x.Helper()
	return x.update(u, func(s *presence.State) {
		*s = presence.State{Revision: s.Revision, At: s.At, Shown: s.Shown, UserState: presence.UserDeleted}
	})
}

func (x *suite) erase(u store.User) {
	x.Helper()
	if err := x.Store.Erase(x.ctx, u); err != nil {
		x.Fatalf("Erase(%s): %v", u.ID, err)
	}
}

// isRedacted reports whether e is was after redaction.
func isRedacted(e, was store.Entry) bool {
	e.Gap = was.Gap // an engine may drop entries before this one
	return sameEntry(e, store.Anonymize(was))
}

// checkErased compares the log with what it was before u was erased.
func (x *suite) checkErased(u store.User, was []store.Entry) {
	x.Helper()
	want := make(map[store.Position]store.Entry)
	others := 0
	var last store.Position // of the others
	for _, e := range was {
		want[e.At] = e
		if e.User != u {
			others, last = others+1, e.At
		}
	}
	after := was[0].At - 1
	reads := map[string][]store.Entry{"Feed": x.entries(after, last), "Log": x.page(after, store.MaxFeedGroup)}
	for what, got := range reads {
		left, redacted := 0, 0
		for _, e := range got {
			switch w, ok := want[e.At]; {
			case !ok:
				x.Errorf("%s gives %+v, which was not committed", what, e)
			case e.User != u && sameEntry(e, w):
				left++
			case e.User == u && isRedacted(e, w):
				redacted++
			default:
				x.Errorf("%s gives %+v, which was %+v", what, e, w)
			}
		}
		if left != others {
			x.Errorf("%s gives %d entries of other users, want %d", what, left, others)
		}
		if x.MinEntries == 0 && what == "Log" && redacted != len(was)-others {
			x.Errorf("%s gives %d redacted entries, want %d", what, redacted, len(was)-others)
		}
	}
	for _, e := range x.history(u, 0, store.MaxFeedGroup) {
		if !isRedacted(e, want[e.At]) {
			x.Errorf("the history has %+v, which was %+v", e, want[e.At])
		}
	}
}

// eraseRedacts: no personal data of a deleted and erased user can be read, and
// everything else is unchanged.
func eraseRedacts(x *suite) {
	u, other := user("u"), user("other")
	var last store.Position
	for i := range 6 {
		x.secretUpdate(u, i)
		x.update(other, note(fmt.Sprint("note", i)))
	}
	deleted := x.deleteUser(u)
	last = x.update(other, noEdit).At
	was := x.entries(0, last)
	otherHistory := x.history(other, 0, 100)
	x.erase(u)
	check := func() {
		x.Helper()
		x.checkErased(u, was)
		if h := x.history(other, 0, 100); !slices.EqualFunc(h, otherHistory, sameEntry) {
			x.Errorf("the history of another user was %+v and is now %+v", otherHistory, h)
		}
		records, _ := x.read(u, other)
		if len(records) != 2 || records[0].State.UserState != presence.UserDeleted || records[0].State.Revision != deleted.State.Revision || records[0].At != deleted.At {
			x.Errorf("the records are %+v", records)
		}
	}
	check()
	x.Store = x.Reopen(x.T)
	check()
	// The user can still be updated.
	next := x.update(u, noEdit)
	if h := x.history(u, 0, 1); len(h) != 1 || h[0].At != next.At || h[0].Before.Note != "" {
		x.Errorf("the history continues with %+v", h)
	}
}

func eraseUnknownAndRepeated(x *suite) {
	x.erase(user("unknown"))
	x.secretUpdate(user("u"), 0)
	last := x.update(user("other"), note("stays")).At
	was := x.entries(0, last)
	for range 3 {
		x.erase(user("u"))
		x.erase(user("unknown"))
		x.checkErased(user("u"), was)
	}
	ctx, cancel := context.WithCancel(x.ctx)
	cancel()
	if err := x.Store.Erase(ctx, user("u")); !errors.Is(err, context.Canceled) {
		x.Errorf("Erase with an ended context: %v", err)
	}
}

// eraseMany: a user has more entries than one step of Erase handles.
func eraseMany(x *suite) {
	first := x.update(user("other"), note("first")).At
	for i := range 600 {
		x.secretUpdate(user("u"), i)
	}
	last := x.update(user("other"), note("last")).At
	was := x.entries(first-1, last)
	x.erase(user("u"))
	x.checkErased(user("u"), was)
}

// eraseWhileUpdated: each update before the last Erase is redacted, the record is
// unchanged, and the history is complete.
func eraseWhileUpdated(x *suite) {
	u := user("u")
	const updates = 40
	written := make(chan error, 1)
	go func() {
		for i := range updates {
			by := store.By{Cause: store.CauseNote, Actor: store.Actor{User: secret}}
			if _, err := x.Store.Update(x.ctx, u, UpdateFunc(by, edit(note(fmt.Sprint(secret, i))))); err != nil {
				written <- err
				return
			}
		}
		written <- nil
	}()
	for done := false; !done; {
		if err := x.Store.Erase(x.ctx, u); err != nil {
			x.Fatal(err)
		}
		select {
		case err := <-written:
			if err != nil {
				x.Fatal(err)
			}
			done = true
		default:
		}
	}
	x.erase(u)
	records, _ := x.read(u)
	if len(records) != 1 || records[0].State.Note.Text != fmt.Sprint(secret, updates-1) {
		x.Fatalf("the record is %+v", records)
	}
	last := x.update(user("other"), noEdit).At
	for _, e := range x.entries(0, last) {
		if e.User == u && !isRedacted(e, e) {
			x.Errorf("the log has %+v", e)
		}
	}
	h := x.history(u, 0, 100)
	if x.MinEntries == 0 && (len(h) != updates || h[updates-1].Gap) {
		x.Errorf("the history has %d entries, want %d", len(h), updates)
	}
	// The next update is logged in full.
	next := x.update(u, note("after"))
	if h := x.history(u, 0, 1); h[0].At != next.At || h[0].After.Note != "after" {
		x.Errorf("the next entry is %+v", h[0])
	}
}

// eraseWhileFollowed: a concurrent reader gets each entry unchanged or redacted.
func eraseWhileFollowed(x *suite) {
	u := user("u")
	var last store.Position
	for i := range 100 {
		x.secretUpdate(u, i)
		last = x.update(user("other"), note(fmt.Sprint(i))).At
	}
	was := x.entries(0, last)
	want := make(map[store.Position]store.Entry)
	for _, e := range was {
		want[e.At] = e
	}
	erased := make(chan error, 1)
	go func() { erased <- x.Store.Erase(x.ctx, u) }()
	for done := false; !done; {
		select {
		case err := <-erased:
			if err != nil {
				x.Fatal(err)
			}
			done = true
		default:
		}
		for _, e := range x.entries(0, last) {
			w := want[e.At]
			if e.Gap = w.Gap; !sameEntry(e, w) && (e.User != u || !isRedacted(e, w)) {
				x.Fatalf("the log gives %+v, which was %+v", e, w)
			}
		}
	}
	x.checkErased(u, was)
}
