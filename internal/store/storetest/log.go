package storetest

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

var logTests = []namedTest{
	{"Pages", logPages},
	{"EntryFields", entryFields},
	{"HistoryPages", historyPages},
	{"HistoryAgreesWithLog", historyAgrees},
	{"PositionAtEdges", positionAtEdges},
	{"PositionAtClockSteps", positionAtClockSteps},
	{"Dropped", droppedEntries},
	{"Damaged", damagedEntry},
	{"Reopened", logReopened},
}

// page reads one page of the log.
func (x *suite) page(after store.Position, limit int) []store.Entry {
	x.Helper()
	got, err := x.Store.Log(x.ctx, after, limit)
	if err != nil {
		x.Fatalf("Log(%d, %d): %v", after, limit, err)
	}
	return got
}

// history reads one page of a user's history.
func (x *suite) history(u store.User, before store.Position, limit int) []store.Entry {
	x.Helper()
	got, err := x.Store.History(x.ctx, u, before, limit)
	if err != nil {
		x.Fatalf("History(%s, %d, %d): %v", u.ID, before, limit, err)
	}
	return got
}

// fill commits n entries of three users, and returns their positions.
func (x *suite) fill(n int) []store.Position {
	x.Helper()
	made := make([]store.Position, n)
	for i := range made {
		made[i] = x.update(user(fmt.Sprint("u", i%3)), note(fmt.Sprint(i))).At
	}
	x.entries(0, made[n-1])
	return made
}

func positions(entries []store.Entry) []store.Position {
	at := make([]store.Position, len(entries))
	for i := range entries {
		at[i] = entries[i].At
	}
	return at
}

// logPages: pages of any size, from any position, have the same entries as Feed.
func logPages(x *suite) {
	if got := x.page(0, 10); len(got) != 0 {
		x.Errorf("an empty log has %+v", got)
	}
	made := x.fill(10)
	all := x.entries(0, made[9])
	if !slices.Equal(positions(all), made) {
		x.Fatalf("the log has positions %v, want %v", positions(all), made)
	}
	for _, limit := range []int{1, 3, 10, 11, store.MaxFeedGroup + 1} {
		var got []store.Entry
		for after := store.Position(0); ; {
			page := x.page(after, limit)
			if len(page) == 0 {
				break
			}
			if len(page) > limit {
				x.Fatalf("a page of %d entries, of at most %d", len(page), limit)
			}
			got, after = append(got, page...), page[len(page)-1].At
		}
		if !slices.EqualFunc(got, all, sameEntry) {
			x.Errorf("pages of %d: %v, want %v", limit, positions(got), made)
		}
	}
	for i, at := range made {
		for _, after := range []store.Position{at - 1, at} {
			want := all[i:]
			if after == at {
				want = all[i+1:]
			}
			if got := x.page(after, store.MaxFeedGroup); !slices.Equal(positions(got), positions(want)) {
				x.Errorf("after %d: %v, want %v", after, positions(got), positions(want))
			}
		}
	}
	for _, limit := range []int{0, -1} {
		if got := x.page(0, limit); len(got) != 0 {
			x.Errorf("a limit of %d gave %d entries", limit, len(got))
		}
	}
	if got := x.page(made[9]+1000, 10); len(got) != 0 {
		x.Errorf("after the end the log has %v", positions(got))
	}
}

// historyPages: pages of any size, from any position, have one user's entries, newest
// first.
func historyPages(x *suite) {
	made := x.fill(12)
	all := x.entries(0, made[11])
	for _, u := range users("u0", "u1", "u2", "nobody") {
		var want []store.Entry
		for _, e := range slices.Backward(all) {
			if e.User == u {
				want = append(want, e)
			}
		}
		for _, limit := range []int{1, 3, 100, store.MaxFeedGroup + 1} {
			var got []store.Entry
			for before := store.Position(0); ; {
				page := x.history(u, before, limit)
				if len(page) == 0 {
					break
				}
				if len(page) > limit {
					x.Fatalf("a page of %d entries, of at most %d", len(page), limit)
				}
				got, before = append(got, page...), page[len(page)-1].At
			}
			if !slices.EqualFunc(got, want, sameEntry) {
				x.Errorf("%s in pages of %d: %v, want %v", u.ID, limit, positions(got), positions(want))
			}
		}
		// Also below a position of another user, or of no entry.
		for before := made[0] - 1; before <= made[11]+1; before++ {
			below := slices.DeleteFunc(slices.Clone(want), func(e store.Entry) bool { return before != 0 && e.At >= before })
			if got := x.history(u, before, 100); !slices.EqualFunc(got, below, sameEntry) {
				x.Errorf("%s below %d: %v, want %v", u.ID, before, positions(got), positions(below))
			}
		}
	}
	if got := x.history(user("u0"), 0, 0); len(got) != 0 {
		x.Errorf("a limit of 0 gave %d entries", len(got))
	}
	if got := x.history(store.User{Account: "other", ID: "u0"}, 0, 100); len(got) != 0 {
		x.Errorf("another account's user of the same id has %d entries", len(got))
	}
}

// historyAgrees: with concurrent writers whose functions run twice, each history is a
// contiguous part of the user's entries in the log.
func historyAgrees(x *suite) {
	const each, targets = 12, 4
	histories := make(chan []store.Entry, x.Callers*each)
	twice := Twice(x.Store)
	var writing sync.WaitGroup
	for w := range x.Callers {
		writing.Go(func() {
			for i := range each {
				u := user(fmt.Sprint("u", (w+i)%targets))
				if _, err := twice.Update(x.ctx, u, UpdateFunc(store.By{}, edit(note(fmt.Sprint(w, i))))); err != nil {
					x.Errorf("Update: %v", err)
				}
				h, err := x.Store.History(x.ctx, u, 0, 8)
				if err != nil {
					x.Errorf("History: %v", err)
				}
				histories <- h
			}
		})
	}
	writing.Wait()
	close(histories)
	last := x.update(user("end"), noEdit).At
	log := make(map[store.User][]store.Entry)
	for _, e := range x.entries(0, last) {
		e.Gap = false
		log[e.User] = append(log[e.User], e)
	}
	for h := range histories {
		if len(h) == 0 {
			x.Error("a user who was updated has no history")
			continue
		}
		slices.Reverse(h)
		h[0].Gap = false
		logged := log[h[0].User]
		from := slices.IndexFunc(logged, func(e store.Entry) bool { return e.At == h[0].At })
		if from < 0 || len(logged) < from+len(h) || !slices.EqualFunc(logged[from:from+len(h)], h, sameEntry) {
			x.Errorf("a history of %s is at %v, its log at %v", h[0].User.ID, positions(h), positions(logged))
		}
	}
}

// positionAtEdges: the entries above PositionAt(t) are exactly those committed at t or
// later.
func positionAtEdges(x *suite) {
	if at, err := x.Store.PositionAt(x.ctx, time.Now()); err != nil || at != 0 {
		x.Errorf("PositionAt in an empty log: %d, %v", at, err)
	}
	x.write(acme, doc("user", "u", "x")) // its position may be one of the log
	var made []store.Position
	for i := range 6 {
		x.pause(instant(2 * time.Millisecond))
		made = append(made, x.update(user(fmt.Sprint("u", i%2)), noEdit).At)
	}
	all := x.entries(0, made[5])
	from := func(t time.Time, want []store.Entry) {
		x.Helper()
		at, err := x.Store.PositionAt(x.ctx, t)
		if err != nil {
			x.Fatalf("PositionAt: %v", err)
		}
		if got := x.page(at, 100); !slices.Equal(positions(got), positions(want)) {
			x.Errorf("the entries from %v are %v, want %v", t, positions(got), positions(want))
		}
	}
	for i, e := range all {
		from(e.Time.Add(-time.Microsecond), all[i:])
		from(e.Time, all[i:])
		from(e.Time.Add(time.Nanosecond), all[i+1:])
		from(e.Time.Add(time.Microsecond), all[i+1:])
	}
	from(time.Time{}, all)
	if at, err := x.Store.PositionAt(x.ctx, time.Time{}); err != nil || at != 0 {
		x.Errorf("PositionAt of a log that has every entry: %d, %v", at, err)
	}
	from(all[5].Time.Add(time.Hour), nil)
}

// positionAtClockSteps: if times do not rise with positions, PositionAt(t) is still
// between an entry from before t and one from t or later.
func positionAtClockSteps(x *suite) {
	now := presence.InstantOf(time.Now())
	var last store.Position
	for i, ahead := range []time.Duration{0, time.Hour, 0, 2 * time.Hour, time.Minute, 0, time.Hour} {
		last = x.update(user(fmt.Sprint("u", i)), func(s *presence.State) { s.At = now.Add(ahead) }).At
	}
	all := x.entries(0, last)
	for _, ahead := range []time.Duration{-time.Hour, time.Second, 30 * time.Minute, 90 * time.Minute, 3 * time.Hour} {
		t := now.Add(ahead).Time()
		at, err := x.Store.PositionAt(x.ctx, t)
		if err != nil {
			x.Fatalf("PositionAt: %v", err)
		}
		i := slices.IndexFunc(all, func(e store.Entry) bool { return e.At > at })
		if i < 0 {
			i = len(all)
		}
		if i > 0 && !all[i-1].Time.Before(t) || i < len(all) && all[i].Time.Before(t) {
			x.Errorf("PositionAt %v from now is %d, which does not separate the entries %v", ahead, at, all)
		}
	}
}

// droppedEntries: dropped entries are not read any more, and a reader that missed them
// gets a Gap.
func droppedEntries(x *suite) {
	if x.DropLog == nil {
		x.Skip("the backend cannot drop entries in tests")
	}
	x.pause(instant(2 * time.Millisecond))
	made := x.fill(7) // u0 u1 u2 u0 u1 u2 u0
	oldest := x.entries(0, made[6])[4]
	x.DropLog(x.T, made[3])
	made = append(made, x.update(user("u2"), noEdit).At, x.update(user("new"), noEdit).At)
	gaps := func(entries []store.Entry) (gaps []store.Position) {
		for _, e := range entries {
			if e.Gap {
				gaps = append(gaps, e.At)
			}
		}
		return gaps
	}
	check := func() {
		x.Helper()
		for i, want := range [][]store.Position{
			{made[4], made[5], made[6]},
			{made[4], made[5], made[6]}, // a reader of the first entry has read no entries of the other users
			{made[5], made[6]},          // a reader of the second entry has read all dropped entries of u1
			{made[6]},
			{},
		} {
			after := store.Position(0)
			if i > 0 {
				after = made[i-1]
			}
			followed := x.entries(after, made[8])
			if !slices.Equal(positions(followed), made[4:]) || !slices.Equal(gaps(followed), want) {
				x.Errorf("after %d Feed gave %v with gaps before %v, want %v with %v", after, positions(followed), gaps(followed), made[4:], want)
			}
			if page := x.page(after, 100); !slices.EqualFunc(page, followed, sameEntry) {
				x.Errorf("after %d Log gave %+v, Feed gave %+v", after, page, followed)
			}
		}
		for u, want := range map[string][]store.Position{"u0": {made[6]}, "u1": {made[4]}, "u2": {made[7], made[5]}, "new": {made[8]}} {
			h := x.history(user(u), 0, 100)
			if !slices.Equal(positions(h), want) || h[len(h)-1].Gap != (u != "new") {
				x.Errorf("the history of %s is %v, with Gap on the last: %v", u, positions(h), h[len(h)-1].Gap)
			}
		}
		if h := x.history(user("u2"), 0, 1); len(h) != 1 || h[0].Gap {
			x.Errorf("a page that is not the last has a Gap: %+v", h)
		}
		for _, before := range []store.Position{1, made[3], made[4]} {
			if h := x.history(user("u1"), before, 100); len(h) != 0 {
				x.Errorf("below %d the history has %v", before, positions(h))
			}
		}
		for _, t := range []time.Time{{}, oldest.Time} {
			if at, err := x.Store.PositionAt(x.ctx, t); err != nil || at >= made[4] {
				x.Errorf("PositionAt(%v) is %d, %v; the oldest entry is at %d", t, at, err, made[4])
			}
		}
	}
	check()
	x.Store = x.Reopen(x.T)
	check()
}

// damagedEntry: an entry that cannot be decoded is delivered in order, marked as
// damaged, and the entries after it follow.
func damagedEntry(x *suite) {
	if x.Damage == nil {
		x.Skip("the backend cannot damage entries in tests")
	}
	made := x.fill(3)
	made = append(made, x.update(user("damaged"), noEdit).At)
	x.Damage(x.T, made[3])
	x.pause(instant(2 * time.Millisecond))
	for range 3 {
		made = append(made, x.update(user("u0"), noEdit).At)
	}
	check := func() {
		x.Helper()
		for after := range made[:4] {
			all := x.entries(made[after]-1, made[6])
			if !slices.Equal(positions(all), made[after:]) {
				x.Fatalf("the log has %v, want %v", positions(all), made[after:])
			}
			for i, e := range all {
				switch damaged := after+i == 3; {
				case damaged && (e.Damaged == nil || !sameEntry(e, store.Entry{At: e.At, Damaged: e.Damaged})):
					x.Errorf("the damaged entry is %+v", e)
				case !damaged && (e.Damaged != nil || e.Gap):
					x.Errorf("an entry is %+v", e)
				}
			}
		}
		if page := x.page(made[2], 1); len(page) != 1 || page[0].Damaged == nil {
			x.Errorf("a page of the damaged entry is %+v", page)
		}
		for i, t := range map[int]time.Time{0: {}, 4: x.entries(made[3], made[6])[0].Time} {
			if at, err := x.Store.PositionAt(x.ctx, t); err != nil || i == 0 && at >= made[0] || i == 4 && (at < made[2] || at >= made[4]) {
				x.Errorf("PositionAt before entry %d: %d, %v", i, at, err)
			}
		}
	}
	check()
	x.Store = x.Reopen(x.T)
	check()
}

// logReopened: after reopening, the log has the same entries, and new ones follow.
func logReopened(x *suite) {
	made := x.fill(9)
	before := x.entries(0, made[8])
	h := x.history(user("u1"), 0, 100)
	at, err := x.Store.PositionAt(x.ctx, before[4].Time)
	if err != nil {
		x.Fatal(err)
	}
	x.Store = x.Reopen(x.T)
	if after := x.entries(0, made[8]); !slices.EqualFunc(before, after, sameEntry) {
		x.Errorf("the log was %+v and is now %+v", before, after)
	}
	if again := x.history(user("u1"), 0, 100); !slices.EqualFunc(h, again, sameEntry) {
		x.Errorf("the history was %+v and is now %+v", h, again)
	}
	if again, err := x.Store.PositionAt(x.ctx, before[4].Time); err != nil || again != at {
		x.Errorf("PositionAt was %d and is now %d, %v", at, again, err)
	}
	next := x.update(user("u1"), noEdit)
	if h := x.history(user("u1"), 0, 2); len(h) != 2 || h[0].At != next.At || h[1].At != made[7] {
		x.Errorf("the history continues with %+v", h)
	}
}
