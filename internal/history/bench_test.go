package history_test

import (
	"fmt"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/history"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/store/storetest"
)

const (
	transitions = 10_000
	neighbours  = 9 // other users, each with as many entries as the user
)

// fillLog makes the entries of a user and of others between them, in a store on disk that
// is closed and opened again. It returns the times of the user's first and last change.
func fillLog(b *testing.B) (st *pebblestore.Store, first, last time.Time) {
	b.Helper()
	dir := b.TempDir()
	open := func() *pebblestore.Store {
		st, err := pebblestore.Open(dir, pebblestore.Options{MinFreeBytes: -1, Clock: func() time.Time { return nine }}) // so that nothing is too old to keep
		if err != nil {
			b.Fatal(err)
		}
		return st
	}
	st = open()
	now := presence.InstantOf(nine)
	policy := presence.DefaultPolicy()
	done := make(chan error, neighbours+1)
	pending := 0
	reply := func(_ store.Record, err error) { done <- err }
	for i := range transitions {
		now = now.Add(time.Minute)
		status := presence.Busy
		if i%2 == 1 {
			status = presence.OutOfOffice
		}
		claim := presence.SetClaim{ID: presence.ManualClaim, Source: presence.Manual, Status: status, Note: fmt.Sprint("change ", i)}
		for n := range neighbours + 1 {
			u := alice
			if n != neighbours/2 {
				u.ID = presence.UserID(fmt.Sprint("user", n))
			}
			st.Begin(u, storetest.Apply(claim, policy, now), reply)
			pending++
		}
		for ; pending > 0; pending-- {
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := st.Close(); err != nil {
		b.Fatal(err)
	}
	st = open()
	b.Cleanup(func() {
		if err := st.Close(); err != nil {
			b.Error(err)
		}
	})
	return st, nine.Add(time.Minute), now.Time()
}

// BenchmarkPage reads a page of 100 changes of a user who has 10,000, and sums up all of
// them.
func BenchmarkPage(b *testing.B) {
	st, first, last := fillLog(b)
	r := history.Reader{Log: st}
	query := func(q history.Query) history.Page {
		q.User, q.Limit = alice, 100
		page, err := r.Page(b.Context(), q)
		if err != nil || len(page.Entries) != 100 {
			b.Fatalf("%d entries, %v", len(page.Entries), err)
		}
		return page
	}
	middle := query(history.Query{To: first.Add(last.Sub(first) / 2)})
	oldest := query(history.Query{To: first.Add(200 * time.Minute)})
	for name, q := range map[string]history.Query{
		"newest":           {},
		"older":            {Before: middle.Older},
		"newer":            {After: middle.Newer},
		"newer-of-oldest":  {After: oldest.Newer},
		"time-in-middle":   {To: first.Add(last.Sub(first) / 2)},
		"time-near-oldest": {To: first.Add(200 * time.Minute)},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				query(q)
			}
		})
	}
	b.Run("summary-of-all", func(b *testing.B) {
		for b.Loop() {
			spans, err := r.Statuses(b.Context(), alice, first, last)
			if err != nil || len(history.Days(spans, time.UTC)) != 8 {
				b.Fatal(len(spans), err)
			}
		}
	})
}
