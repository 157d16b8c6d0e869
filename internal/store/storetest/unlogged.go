package storetest

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

var unloggedTests = []namedTest{
	{"StateOnly", unloggedStateOnly},
	{"FirstIsLogged", unloggedFirst},
	{"NotWatched", unloggedNotWatched},
	{"NoGap", unloggedNoGap},
	{"MovesTimer", unloggedMovesTimer},
	{"SurvivesReopen", unloggedSurvivesReopen},
	{"Erase", unloggedErase},
	{"Concurrent", unloggedConcurrent},
}

// Unlogged makes the result of fn unlogged.
func Unlogged(fn store.Decide) store.Decide {
	return func(was presence.Recorded) (store.Change, error) {
		change, err := fn(was)
		change.Unlogged = true
		return change, err
	}
}

// refresh makes an unlogged update.
func (x *suite) refresh(u store.User, change func(*presence.State)) store.Record {
	x.Helper()
	r, err := x.Store.Update(x.ctx, u, Unlogged(UpdateFunc(store.By{Cause: store.CauseRefresh}, edit(change))))
	if err != nil {
		x.Fatalf("unlogged Update(%v): %v", u, err)
	}
	return r
}

// logged returns the entries of the log up to the newest one, which must be at a position.
func (x *suite) logged(newest store.Position) []store.Entry {
	x.Helper()
	entries, err := x.Store.Log(x.ctx, 0, store.MaxFeedGroup)
	if err != nil || len(entries) == 0 || entries[len(entries)-1].At != newest {
		x.Fatalf("Log gave %+v, %v; want entries up to %d", entries, err, newest)
	}
	return entries
}

func (x *suite) wantEntries(what string, entries []store.Entry, want ...store.Record) {
	x.Helper()
	if len(entries) != len(want) {
		x.Fatalf("%s has %d entries, want %d: %+v", what, len(entries), len(want), entries)
	}
	for i, r := range want {
		if e := entries[i]; e.At != r.At || e.Revision != r.State.Revision || e.Gap {
			x.Errorf("%s has entry %+v, want one of revision %d at %d without a Gap", what, e, r.State.Revision, r.At)
		}
	}
}

// unloggedStateOnly: an unlogged update changes the record, and nothing else.
func unloggedStateOnly(x *suite) {
	first := x.update(user("u"), note("first"))
	silent := x.refresh(user("u"), note("silent"))
	if silent.At != first.At || silent.State.Revision <= first.State.Revision || silent.State.Note.Text != "silent" {
		x.Errorf("an unlogged update gave %+v at %d; want a new revision at %d", silent.State, silent.At, first.At)
	}
	records, cursor := x.read(user("u"))
	if len(records) != 1 || records[0].At != first.At || records[0].State.Revision != silent.State.Revision || records[0].State.Note.Text != "silent" {
		x.Errorf("Read gave %+v, want %+v", records, silent)
	}
	again := x.refresh(user("u"), note("again"))
	if records, _ := x.changed(cursor, user("u")); len(records) != 0 || again.At != first.At {
		x.Errorf("an unlogged update counts as a change: %+v", records)
	}
	last := x.update(user("u"), func(s *presence.State) {
		if s.Note.Text != "again" {
			x.Errorf("the next update saw the note %q", s.Note.Text)
		}
	})
	if last.At <= first.At || last.State.Revision <= again.State.Revision {
		x.Errorf("the next update gave revision %d at %d, after revision %d at %d", last.State.Revision, last.At, again.State.Revision, first.At)
	}
	x.wantEntries("the log", x.logged(last.At), first, last)
	x.wantEntries("the feed", x.entries(0, last.At), first, last)
	history, err := x.Store.History(x.ctx, user("u"), 0, 10)
	if err != nil {
		x.Fatal(err)
	}
	x.wantEntries("the history", history, last, first)
}

// unloggedFirst: a record has a position, so the first update of a user is logged.
func unloggedFirst(x *suite) {
	r := x.refresh(user("u"), note("first"))
	if r.At == 0 {
		x.Fatal("the first update of a user has no position")
	}
	x.wantEntries("the log", x.logged(r.At), r)
}

func unloggedNotWatched(x *suite) {
	x.update(user("u"), noEdit)
	x.update(user("v"), noEdit)
	calls, _, _ := x.watch()
	for range 20 {
		x.refresh(user("u"), noEdit)
	}
	last := x.update(user("v"), noEdit)
	var trace watchTrace
	trace.until(x, calls, last)
	x.refresh(user("u"), noEdit)
	last = x.update(user("v"), noEdit)
	trace.until(x, calls, last)
	if r, ok := trace.latest[user("u")]; ok {
		x.Errorf("Watch gave revision %d of an unlogged update", r.State.Revision)
	}
}

// unloggedNoGap: however many unlogged updates there are, no entry is dropped.
func unloggedNoGap(x *suite) {
	first := x.update(user("u"), noEdit)
	for i := range 50 {
		x.refresh(user("u"), note(fmt.Sprint(i)))
	}
	last := x.update(user("u"), noEdit)
	x.wantEntries("the log", x.logged(last.At), first, last)
	after, err := x.Store.Log(x.ctx, first.At, 10)
	if err != nil {
		x.Fatal(err)
	}
	x.wantEntries("the log after the first entry", after, last)
}

// unloggedMovesTimer: Due follows the newest state.
func unloggedMovesTimer(x *suite) {
	fired, _ := x.runDue(clearClaims)
	a, b, first := x.storeInTime(func(a, b store.User, first time.Time) {
		x.update(a, outUntil(first.Add(time.Hour)))
		x.update(b, outUntil(first))
		x.refresh(a, outUntil(first))
		x.refresh(b, outUntil(first.Add(x.Ahead)))
	})
	x.wantFired(fired, map[store.User]time.Time{a: first, b: first.Add(x.Ahead)})
}

func unloggedSurvivesReopen(x *suite) {
	first := x.update(user("u"), noEdit)
	silent := x.refresh(user("u"), note("silent"))
	other := x.update(user("v"), noEdit)
	x.Store = x.Reopen(x.T)
	records, _ := x.read(user("u"))
	if len(records) != 1 || records[0].State.Revision != silent.State.Revision || records[0].At != first.At || records[0].State.Note.Text != "silent" {
		x.Fatalf("after reopening Read gave %+v, want %+v", records, silent)
	}
	last := x.update(user("u"), noEdit)
	if last.At <= other.At {
		x.Errorf("after reopening an update has position %d, after %d", last.At, other.At)
	}
	x.wantEntries("the log", x.logged(last.At), first, other, last)
}

// unloggedErase: a record without an entry of its own survives the erasure of the others.
func unloggedErase(x *suite) {
	x.update(user("u"), note("secret"))
	silent := x.refresh(user("u"), note("silent"))
	if err := x.Store.Erase(x.ctx, user("u")); err != nil {
		x.Fatal(err)
	}
	history, err := x.Store.History(x.ctx, user("u"), 0, 10)
	if err != nil {
		x.Fatal(err)
	}
	for _, e := range history {
		if !e.Erased {
			x.Errorf("the history has the entry %+v", e)
		}
	}
	records, _ := x.read(user("u"))
	if len(records) != 1 || records[0].State.Note.Text != "silent" || records[0].State.Revision != silent.State.Revision {
		x.Errorf("after the erasure Read gave %+v", records)
	}
	x.refresh(user("u"), noEdit)
	last := x.update(user("u"), noEdit)
	history, err = x.Store.History(x.ctx, user("u"), 0, 1)
	if err != nil || len(history) != 1 || history[0].At != last.At || history[0].Erased {
		x.Errorf("after the erasure the newest entry is %+v, %v; want one at %d", history, err, last.At)
	}
}

// unloggedConcurrent: logged and unlogged updates of a user form one chain.
func unloggedConcurrent(x *suite) {
	const each, targets = 24, 3
	type step struct{ saw, made presence.Revision }
	var mu sync.Mutex
	chains := make(map[store.User][]step)
	positions := make(map[store.User][]store.Position)
	var answered [targets]atomic.Uint64
	var group sync.WaitGroup
	for caller := range x.Callers {
		group.Go(func() {
			for i := range each {
				n := (caller + i) % targets
				u := user(fmt.Sprint("u", n))
				var saw presence.Revision
				fn := UpdateFunc(store.By{}, func(s presence.State) (presence.State, error) {
					saw = s.Revision
					return edit(noEdit)(s)
				})
				logged := i%3 == 0
				if !logged {
					fn = Unlogged(fn)
				}
				r, err := x.Store.Update(x.ctx, u, fn)
				if err != nil {
					x.Errorf("Update: %v", err)
					return
				}
				mu.Lock()
				chains[u] = append(chains[u], step{saw, r.State.Revision})
				if logged {
					positions[u] = append(positions[u], r.At)
				}
				mu.Unlock()
				storeMax(&answered[n], uint64(r.State.Revision))
				least := answered[n].Load()
				records, _, err := x.Store.Read(x.ctx, []store.User{u}, store.Freshness{})
				if err != nil || len(records) != 1 || uint64(records[0].State.Revision) < least {
					x.Errorf("Read gave %+v, %v; revision %d was acknowledged before", records, err, least)
					return
				}
			}
		})
	}
	group.Wait()
	for u, chain := range chains {
		slices.SortFunc(chain, func(a, b step) int { return int(a.made) - int(b.made) })
		var last presence.Revision
		for _, s := range chain {
			if s.saw != last {
				x.Errorf("%s: revision %d was made from %d, but the previous one is %d", u.ID, s.made, s.saw, last)
			}
			last = s.made
		}
		slices.Sort(positions[u])
		if unique := len(slices.Compact(slices.Clone(positions[u]))); unique != len(positions[u]) {
			x.Errorf("%s: %d logged updates have %d positions", u.ID, len(positions[u]), unique)
		}
		records, _ := x.read(u)
		if n := len(positions[u]); len(records) != 1 || records[0].State.Revision != last || records[0].At < positions[u][n-1] {
			x.Errorf("%s: Read gave %+v, want revision %d at %d", u.ID, records, last, positions[u][n-1])
		}
	}
}
