package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// repeatedReopenTests check that cursors, positions, versions and timers stay valid
// when a store is reopened several times.
var repeatedReopenTests = []namedTest{
	{"CursorsStayValid", cursorsStayValid},
	{"NothingReused", nothingReused},
	{"FeedResumesAfterReopen", feedResumesAfterReopen},
	{"ExpiresOnce", expiresOnce},
}

// reopens is the number of times that these tests reopen a store.
const reopens = 3

// cursorsStayValid: a read after a cursor finds exactly the records that changed since,
// however often the store was reopened.
func cursorsStayValid(x *suite) {
	type issued struct {
		cursor store.Cursor
		before map[store.User]presence.Revision
	}
	us := users("a", "b", "c", "d")
	var cursors []issued
	newest := make(map[store.User]presence.Revision)
	for round := range reopens {
		for i := range 6 {
			u := us[(round+i*i)%len(us)]
			newest[u] = x.update(u, noEdit).State.Revision
			_, cursor := x.read(us...)
			cursors = append(cursors, issued{cursor, maps.Clone(newest)})
		}
		x.Store = x.Reopen(x.T)
		for i, c := range cursors {
			var want []store.User
			for _, u := range us {
				if newest[u] != c.before[u] {
					want = append(want, u)
				}
			}
			records, _ := x.changed(c.cursor, us...)
			if got := recordIDs(records); got != ids(want) {
				x.Errorf("opened %d times: changed since cursor %d of %d: %s, want %s", round+1, i, len(cursors), got, ids(want))
			}
		}
	}
}

// nothingReused: revisions and positions rise across restarts, and no version of a
// document is used twice.
func nothingReused(x *suite) {
	var last store.Record
	versions := make(map[string]bool)
	makeDoc := func(round int) {
		x.write(acme, doc("c", "k", "v"))
		d := x.loadOne(key("c", "k"))
		if versions[d.Version] {
			x.Errorf("opened %d times: version %q was used before", round, d.Version)
		}
		versions[d.Version] = true
		d.Value = nil
		x.write(acme, d)
	}
	for round := range reopens {
		makeDoc(round) // right after opening, and again right before closing
		for range 3 {
			next := x.update(user("u"), noEdit)
			if last.State != nil && (next.At <= last.At || next.State.Revision <= last.State.Revision) {
				x.Errorf("opened %d times: position %d after %d, revision %d after %d",
					round, next.At, last.At, next.State.Revision, last.State.Revision)
			}
			last = next
		}
		makeDoc(round)
		x.Store = x.Reopen(x.T)
	}
}

// feedResumesAfterReopen: a reader that resumes from its last position after each
// reopening gets every entry, in order.
func feedResumesAfterReopen(x *suite) {
	var last store.Position
	shown := make(map[store.User]presence.Presence)
	var made, got []store.Position
	for round := range reopens {
		for i := range 8 {
			made = append(made, x.update(user(fmt.Sprint("u", i%3)), note(fmt.Sprint(round, i))).At)
		}
		entries := make(chan store.Entry, 1<<10)
		from := last
		stop := x.background(func(ctx context.Context) error {
			return x.Store.Feed(ctx, from, func(group []store.Entry) error {
				for _, e := range group {
					entries <- e
				}
				return nil
			})
		})
		for len(got) < len(made) {
			e := receive(x, entries, "an entry")
			if e.At <= last {
				continue // delivered before
			}
			if e.Before != shown[e.User] || e.Gap {
				x.Errorf("the entry at %d has Before %+v (gap: %v), but the previous entry has After %+v", e.At, e.Before, e.Gap, shown[e.User])
			}
			last, shown[e.User], got = e.At, e.After, append(got, e.At)
		}
		if err := stop(); !errors.Is(err, context.Canceled) {
			x.Errorf("Feed ended with %v, want its context's error", err)
		}
		if !slices.Equal(got, made) {
			x.Errorf("opened %d times: got entries at %v, want %v", round, got, made)
		}
		x.Store = x.Reopen(x.T)
	}
}

// expiresOnce: after reopening, Due does not report an expiry that was committed, and
// reports one that was not.
func expiresOnce(x *suite) {
	fired, stop := x.runDue(clearClaims)
	x.outIn(user("first"), x.Ahead)
	x.outIn(user("second"), 4*x.Ahead)
	reported := make(map[store.User]int)
	count := func(f firing) { reported[f.user]++ }
	count(receive(x, fired, "the first expiry"))
	if err := stop(); !errors.Is(err, context.Canceled) {
		x.Errorf("Due ended with %v, want its context's error", err)
	}
	for len(fired) > 0 {
		count(<-fired) // the second, if the first was late
	}
	x.Store = x.Reopen(x.T)
	fired, _ = x.runDue(clearClaims)
	for len(reported) < 2 {
		count(receive(x, fired, "the second expiry"))
	}
	x.wantNoneFired(fired, instant(2*x.Ahead))
	if reported[user("first")] != 1 || reported[user("second")] != 1 {
		x.Errorf("expiries: %v, want one for each user", reported)
	}
	expiries := make(map[store.User]int)
	for _, e := range x.entries(0, x.update(user("last"), noEdit).At) {
		if e.By.Cause == store.CauseTime {
			expiries[e.User]++
		}
	}
	if expiries[user("first")] != 1 || expiries[user("second")] != 1 {
		x.Errorf("expiries in the log: %v, want one for each user", expiries)
	}
}
