package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

var feedTests = []namedTest{
	{"Entries", feedEntries},
	{"OrderUnderLoad", feedOrder},
	{"ResumesAfterLastNil", feedResumes},
	{"InUse", feedInUse},
	{"Wakes", feedWakes},
	{"ReadersAreApart", feedReadersApart},
	{"FnCallsTheStore", feedCallsBack},
}

var errEnough = errors.New("enough")

// drain reads the feed of name until it has n entries.
func (x *suite) drain(name string, n int) []store.Entry {
	x.Helper()
	var got []store.Entry
	err := x.Store.Feed(x.ctx, name, func(entries []store.Entry) error {
		if len(entries) == 0 || len(entries) > store.MaxFeedGroup {
			x.Errorf("a group of %d entries", len(entries))
		}
		got = append(got, entries...)
		if len(got) >= n {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		x.Fatalf("Feed(%s) ended with %v, want fn's error", name, err)
	}
	return got
}

func feedEntries(x *suite) {
	by := store.By{Cause: store.CauseClaim, Actor: store.Actor{User: "boss", App: "app"}}
	first, err := x.Store.Update(x.ctx, user("u"), ByHand(by, edit(func(s *presence.State) {
		s.Claims = []presence.Claim{{ID: "c", Source: presence.Manual, Status: presence.OutOfOffice, Since: s.At}}
		s.Note.Text = "away"
	})))
	if err != nil {
		x.Fatal(err)
	}
	second := x.update(user("u"), func(s *presence.State) { s.Claims = nil })
	entries := x.drain("r", 2)
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
		x.Errorf("the first entry goes from %+v to %+v", e.Before, e.After)
	}
	shown, _ := presence.Compose(*second.State, second.State.At)
	if entries[1].After != shown || entries[1].Before != entries[0].After {
		x.Errorf("the second entry goes from %+v to %+v; want %+v to %+v", entries[1].Before, entries[1].After, entries[0].After, shown)
	}
}

// feedOrder: each user's versions come in order, up to the last, and none is
// missing that the next entry does not tell of.
func feedOrder(x *suite) {
	const each, targets = 25, 5
	total := each * x.Callers
	entries := make(chan store.Entry, total)
	stop := x.background(func(ctx context.Context) error {
		return x.Store.Feed(ctx, "r", func(group []store.Entry) error {
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
				if _, err := x.Store.Update(x.ctx, user(fmt.Sprint("u", (w+i)%targets)), ByHand(store.By{}, edit(note(fmt.Sprint(w, i))))); err != nil {
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
	given := make(map[store.User]int)
	told := make(map[store.User]presence.Revision)
	shown := make(map[store.User]presence.Presence)
	for slices.ContainsFunc(records, func(r store.Record) bool { return told[r.User] < r.State.Revision }) {
		e := receive(x, entries, "an entry")
		if e.At <= last {
			x.Fatalf("position %d came after %d", e.At, last)
		}
		if e.Revision <= told[e.User] {
			x.Fatalf("%s: revision %d came after %d", e.User.ID, e.Revision, told[e.User])
		}
		if missing := e.Before != shown[e.User]; missing != e.Gap || missing && x.Keeps == 0 {
			x.Errorf("%s: revision %d came after %d, and it goes from %+v, the one before it to %+v, gap: %v",
				e.User.ID, e.Revision, told[e.User], e.Before, shown[e.User], e.Gap)
		}
		last, told[e.User], shown[e.User] = e.At, e.Revision, e.After
		if e.Gap {
			given[e.User] = 0
		}
		given[e.User]++ // since the last gap
	}
	if err := stop(); !errors.Is(err, context.Canceled) {
		x.Errorf("Feed ended with %v, want its context's error", err)
	}
	for _, r := range records {
		if r.State.Revision != told[r.User] {
			x.Errorf("the log of %s ends at revision %d, the record is %d", r.User.ID, told[r.User], r.State.Revision)
		}
		if n := given[r.User]; n < x.Keeps {
			x.Errorf("%d entries of %s came after a gap, and the last %d ought to", n, r.User.ID, x.Keeps)
		}
	}
}

// feedResumes: a group whose fn failed comes again; one whose fn returned nil
// does not, while the store stays open.
func feedResumes(x *suite) {
	var made []store.Position
	for range 3 {
		made = append(made, x.update(user("u"), nothing).At)
	}
	got := x.drain("r", 1) // its fn failed, so all of it comes again
	if got[0].At != made[0] {
		x.Fatalf("the first entry is at %d, want %d", got[0].At, made[0])
	}
	entries := make(chan store.Entry, 16)
	read := func(ctx context.Context) error {
		return x.Store.Feed(ctx, "r", func(group []store.Entry) error {
			for _, e := range group {
				entries <- e
			}
			return nil
		})
	}
	stop := x.background(read)
	for i := range made {
		if e := receive(x, entries, "an entry again"); e.At != made[i] {
			x.Fatalf("entry %d is at %d, want %d", i, e.At, made[i])
		}
	}
	// One more round, so that fn is known to have returned for the ones before.
	made = append(made, x.update(user("u"), nothing).At)
	if e := receive(x, entries, "the last entry"); e.At != made[3] {
		x.Fatalf("the last entry is at %d, want %d", e.At, made[3])
	}
	_ = stop()
	made = append(made, x.update(user("u"), nothing).At)
	stop = x.background(read)
	for {
		e := receive(x, entries, "the entry after going on")
		if e.At < made[3] {
			x.Errorf("position %d came again though fn had returned nil", e.At)
		}
		if e.At == made[4] {
			break
		}
	}
	_ = stop()
}

func feedInUse(x *suite) {
	x.update(user("u"), nothing)
	entered, leave := make(chan struct{}), make(chan struct{})
	stop := x.background(func(ctx context.Context) error {
		return x.Store.Feed(ctx, "r", func([]store.Entry) error {
			entered <- struct{}{}
			<-leave
			return nil
		})
	})
	receive(x, entered, "the first group")
	err := x.Store.Feed(x.ctx, "r", func([]store.Entry) error { return errEnough })
	if !errors.Is(err, store.ErrInUse) {
		x.Errorf("a second Feed of one name: %v, want ErrInUse", err)
	}
	x.drain("other", 1)
	close(leave)
	_ = stop()
	x.update(user("u"), nothing)
	x.drain("r", 1)
}

// feedWakes: an entry comes when it is committed, not when somebody looks.
func feedWakes(x *suite) {
	entries := make(chan store.Entry, 1)
	x.background(func(ctx context.Context) error {
		return x.Store.Feed(ctx, "r", func(group []store.Entry) error {
			for _, e := range group {
				entries <- e
			}
			return nil
		})
	})
	for range 10 {
		r := x.update(user("u"), nothing)
		if e := receive(x, entries, "an entry"); e.At != r.At {
			x.Fatalf("the entry is at %d, want %d", e.At, r.At)
		}
		// What the entry tells of can be read.
		records, _ := x.read(user("u"))
		if len(records) != 1 || records[0].At < r.At {
			x.Fatalf("the feed told of %d, and Read gave %+v", r.At, records)
		}
	}
}

func feedReadersApart(x *suite) {
	hostile := []string{"a", "a.b", "*", ">", "a\x00b", "../x", "é"}
	r := x.update(user("u"), nothing)
	for _, name := range hostile {
		if got := x.drain(name, 1); got[0].At != r.At {
			x.Errorf("reader %q began at %d, want %d", name, got[0].At, r.At)
		}
	}
}

// feedCallsBack: a reader may use the store from fn.
func feedCallsBack(x *suite) {
	x.update(user("u"), nothing)
	done := make(chan error, 1)
	x.background(func(ctx context.Context) error {
		return x.Store.Feed(ctx, "r", func(group []store.Entry) error {
			if slices.ContainsFunc(group, func(e store.Entry) bool { return e.User == user("u") }) {
				_, err := x.Store.Update(ctx, user("v"), ByHand(store.By{}, edit(nothing)))
				done <- err
			}
			return nil
		})
	})
	if err := receive(x, done, "an update from fn"); err != nil {
		x.Errorf("Update from fn: %v", err)
	}
}
