package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

var feedTests = []namedTest{
	{"Entries", feedEntries},
	{"OrderUnderLoad", feedOrder},
	{"ResumesAnywhere", feedResumes},
	{"DeliversOnCommit", feedOnCommit},
	{"Ends", feedEnds},
}

var errEnough = errors.New("enough")

// entries returns all entries of the log above after, up to the one at last.
func (x *suite) entries(after, last store.Position) []store.Entry {
	x.Helper()
	var got []store.Entry
	err := x.Store.Feed(x.ctx, after, func(group []store.Entry) error {
		if len(group) == 0 || len(group) > store.MaxFeedGroup {
			x.Errorf("a group of %d entries", len(group))
		}
		got = append(got, group...)
		if got[len(got)-1].At >= last {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		x.Fatalf("Feed ended with %v, want fn's error", err)
	}
	return got
}

func feedEntries(x *suite) {
	by := store.By{Cause: store.CauseClaim, Actor: store.Actor{User: "boss", App: "app"}}
	first, err := x.Store.Update(x.ctx, user("u"), UpdateFunc(by, edit(func(s *presence.State) {
		s.Claims = []presence.Claim{{ID: "c", Source: presence.Manual, Status: presence.OutOfOffice, Since: s.At}}
		s.Note.Text = "away"
	})))
	if err != nil {
		x.Fatal(err)
	}
	second := x.update(user("u"), func(s *presence.State) { s.Claims = nil })
	entries := x.entries(0, second.At)
	for i, want := range []store.Record{first, second} {
		e := entries[i]
		if e.At != want.At || e.User != want.User || e.Revision != want.State.Revision ||
			presence.InstantOf(e.Time) != want.State.At || e.Gap {
			x.Errorf("entry %d is %+v, of %+v", i, e, want)
		}
	}
	e := entries[0]
	if e.By != by {
		x.Errorf("by is %+v, want %+v", e.By, by)
	}
	if e.Before.Status != presence.Offline || e.Before.Revision != 0 || e.After.Status != presence.OutOfOffice || e.After.Note != "away" {
		x.Errorf("the first entry has Before %+v and After %+v", e.Before, e.After)
	}
	shown, _ := presence.Compose(*second.State, second.State.At)
	if entries[1].After != shown || entries[1].Before != entries[0].After {
		x.Errorf("the second entry has Before %+v and After %+v; want %+v and %+v", entries[1].Before, entries[1].After, entries[0].After, shown)
	}
}

// feedOrder: Feed delivers each user's entries in order, including the last, and an entry
// after dropped ones has a Gap.
func feedOrder(x *suite) {
	const each, targets = 25, 5
	total := each * x.Callers
	entries := make(chan store.Entry, total)
	stop := x.background(func(ctx context.Context) error {
		return x.Store.Feed(ctx, 0, func(group []store.Entry) error {
			for _, e := range group {
				entries <- e
			}
			return nil
		})
	})
	var writing sync.WaitGroup
	for w := range x.Callers {
		writing.Go(func() {
			for i := range each {
				if _, err := x.Store.Update(x.ctx, user(fmt.Sprint("u", (w+i)%targets)), UpdateFunc(store.By{}, edit(note(fmt.Sprint(w, i))))); err != nil {
					x.Errorf("Update: %v", err)
				}
			}
		})
	}
	writing.Wait()
	us := make([]store.User, targets)
	for i := range us {
		us[i] = user(fmt.Sprint("u", i))
	}
	records, _ := x.read(us...)
	if len(records) != targets {
		x.Fatalf("Read gave %d records of %d", len(records), targets)
	}
	var last store.Position
	sinceGap := make(map[store.User]int)
	newest := make(map[store.User]presence.Revision)
	shown := make(map[store.User]presence.Presence)
	for slices.ContainsFunc(records, func(r store.Record) bool { return newest[r.User] < r.State.Revision }) {
		e := receive(x, entries, "an entry")
		if e.At <= last {
			x.Fatalf("position %d came after %d", e.At, last)
		}
		if e.Revision <= newest[e.User] {
			x.Fatalf("%s: revision %d came after %d", e.User.ID, e.Revision, newest[e.User])
		}
		if missing := e.Before != shown[e.User]; missing != e.Gap || missing && x.MinEntries == 0 {
			x.Errorf("%s: revision %d came after %d with Before %+v, but the previous entry has After %+v; gap: %v",
				e.User.ID, e.Revision, newest[e.User], e.Before, shown[e.User], e.Gap)
		}
		last, newest[e.User], shown[e.User] = e.At, e.Revision, e.After
		if e.Gap {
			sinceGap[e.User] = 0
		}
		sinceGap[e.User]++
	}
	if err := stop(); !errors.Is(err, context.Canceled) {
		x.Errorf("Feed ended with %v, want its context's error", err)
	}
	for _, r := range records {
		if r.State.Revision != newest[r.User] {
			x.Errorf("the log of %s ends at revision %d, the record is %d", r.User.ID, newest[r.User], r.State.Revision)
		}
		if n := sinceGap[r.User]; n < x.MinEntries {
			x.Errorf("%d entries of %s came after the last gap, want at least %d", n, r.User.ID, x.MinEntries)
		}
	}
}

// feedResumes: Feed begins after any position, repeatedly.
func feedResumes(x *suite) {
	made := x.fill(8)
	for i := range made[:7] {
		for range 2 {
			if got := x.entries(made[i], made[7]); !slices.Equal(positions(got), made[i+1:]) {
				x.Errorf("after %d: %v, want %v", made[i], positions(got), made[i+1:])
			}
		}
	}
}

// feedOnCommit: each reader gets an entry when it is committed, and a read after that
// includes its change.
func feedOnCommit(x *suite) {
	const followers = 3
	entries := make(chan store.Entry, followers)
	for range followers {
		x.background(func(ctx context.Context) error {
			return x.Store.Feed(ctx, 0, func(group []store.Entry) error {
				for _, e := range group {
					entries <- e
				}
				return nil
			})
		})
	}
	for range 10 {
		r := x.update(user("u"), noEdit)
		for range followers {
			if e := receive(x, entries, "an entry"); e.At != r.At {
				x.Fatalf("the entry is at %d, want %d", e.At, r.At)
			}
		}
		if records, _ := x.read(user("u")); len(records) != 1 || records[0].At < r.At {
			x.Fatalf("the log has position %d, and Read gave %+v", r.At, records)
		}
	}
}

// feedEnds: Feed ends with its context, with fn's error, and with the store. fn may
// use the store.
func feedEnds(x *suite) {
	x.fill(3)
	stop := x.background(func(ctx context.Context) error {
		return x.Store.Feed(ctx, 0, func([]store.Entry) error { return nil })
	})
	if err := stop(); !errors.Is(err, context.Canceled) {
		x.Errorf("Feed ended with %v, want its context's error", err)
	}
	err := x.Store.Feed(x.ctx, 0, func(group []store.Entry) error {
		if len(group) == 0 {
			return nil
		}
		if _, err := x.Store.Update(x.ctx, user("v"), UpdateFunc(store.By{}, edit(noEdit))); err != nil {
			return err
		}
		return errEnough
	})
	if !errors.Is(err, errEnough) {
		x.Errorf("Feed ended with %v, want fn's error", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- x.Store.Feed(x.ctx, 0, func([]store.Entry) error { return nil }) }()
	if err := x.Store.Close(); err != nil {
		x.Fatal(err)
	}
	if err := receive(x, ended, "the end of Feed"); !errors.Is(err, store.ErrClosed) {
		x.Errorf("Feed on a closed store ended with %v", err)
	}
	_, log := x.Store.Log(x.ctx, 0, 1)
	_, at := x.Store.PositionAt(x.ctx, time.Now())
	_, history := x.Store.History(x.ctx, user("u0"), 0, 1)
	for what, err := range map[string]error{"Log": log, "PositionAt": at, "History": history, "Erase": x.Store.Erase(x.ctx, user("u0"))} {
		if !errors.Is(err, store.ErrClosed) {
			x.Errorf("%s on a closed store: %v", what, err)
		}
	}
}
