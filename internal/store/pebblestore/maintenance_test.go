package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/storetest"
)

var errStop = errors.New("enough")

// readFeed reads the log until it has n entries.
func readFeed(t *testing.T, s *Store, n int) []store.Entry {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var got []store.Entry
	err := s.Feed(ctx, 0, func(entries []store.Entry) error {
		got = append(got, entries...)
		if len(got) >= n {
			return errStop
		}
		return nil
	})
	if !errors.Is(err, errStop) {
		t.Fatalf("Feed: %v", err)
	}
	return got
}

// logLength counts the entries in the database.
func logLength(t *testing.T, s *Store) int {
	t.Helper()
	return keysUnder(t, s, logPrefix)
}

// keysUnder counts the keys of a kind in the database.
func keysUnder(t *testing.T, s *Store, prefix byte) (n int) {
	t.Helper()
	if err := s.scan([]byte{prefix}, upperBound([]byte{prefix}), func([]byte, []byte) (bool, error) { n++; return true, nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestTrim: entries are dropped after the retention, whether they were read or not. A
// reader that missed some gets a gap, and no other reader does.
func TestTrim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		o := Options{FS: fs, Retention: time.Hour}
		s := mustOpen(t, "data", o)
		a, b := crashUser(0), crashUser(1)
		for range 10 {
			mustUpdate(t, s, a)
		}
		mustUpdate(t, s, b)
		ctx, cancel := context.WithCancel(context.Background())
		quick := make(chan store.Entry, 100)
		var group sync.WaitGroup
		group.Go(func() {
			_ = s.Feed(ctx, 0, func(entries []store.Entry) error {
				for _, e := range entries {
					quick <- e
				}
				return nil
			})
		})
		time.Sleep(50 * time.Minute)
		mustUpdate(t, s, a)
		for range 12 {
			if e := <-quick; e.Gap {
				t.Errorf("a gap before %+v, but nothing was dropped", e)
			}
		}
		if n := logLength(t, s); n != 12 {
			t.Fatalf("%d entries after 50 minutes, want all 12", n)
		}
		time.Sleep(15 * time.Minute)
		if n := logLength(t, s); n != 1 {
			t.Fatalf("%d entries after 65 minutes, want 1", n)
		}
		mustUpdate(t, s, a)
		mustUpdate(t, s, b)
		for range 2 {
			if e := <-quick; e.Gap {
				t.Errorf("a gap before %+v, for a reader that missed none", e)
			}
		}
		cancel()
		group.Wait()
		wantGaps := func(got []store.Entry) {
			t.Helper()
			want := []bool{true, false, true} // a, a, b
			for i := range want {
				if got[i].Gap != want[i] {
					t.Errorf("entry %d of %s at %d: gap %v, want %v", i, got[i].User.ID, got[i].At, got[i].Gap, want[i])
				}
			}
		}
		wantGaps(readFeed(t, s, 3))
		mustClose(t, s)
		s = mustOpen(t, "data", o)
		wantGaps(readFeed(t, s, 3))
		// Records are not trimmed.
		if r, _, err := s.Read(context.Background(), []store.User{a, b}, store.Freshness{}); err != nil || len(r) != 2 {
			t.Errorf("Read: %+v, %v", r, err)
		}
	})
}

// TestTrimAll: positions continue after the whole log was dropped.
func TestTrimAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{FS: vfs.NewMem(), Retention: time.Hour}
		s := mustOpen(t, "data", o)
		last := mustUpdate(t, s, crashUser(0))
		time.Sleep(3 * time.Hour)
		if n := logLength(t, s); n != 0 {
			t.Fatalf("%d entries, want none", n)
		}
		mustClose(t, s)
		s = mustOpen(t, "data", o)
		if next := mustUpdate(t, s, crashUser(0)); next.At <= last.At {
			t.Errorf("position %d after %d", next.At, last.At)
		}
		if e := readFeed(t, s, 1)[0]; !e.Gap {
			t.Errorf("no gap before %+v", e)
		}
	})
}

// TestSweep: expired documents are deleted from the disk, and nothing else is.
func TestSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustOpen(t, "data", Options{FS: vfs.NewMem()})
		ctx := context.Background()
		put := func(k string, until time.Time) {
			t.Helper()
			key := store.Key{Collection: "c", Key: k}
			docs, err := s.Load(ctx, "acme", key)
			if err != nil {
				t.Fatal(err)
			}
			d := store.Doc{Key: key, Value: []byte("v"), Until: until}
			if len(docs) > 0 {
				d.Version = docs[0].Version
			}
			if err := s.Write(ctx, "acme", d); err != nil {
				t.Fatal(err)
			}
		}
		now := time.Now()
		const many = 700 // more than one group
		for i := range many {
			put(fmt.Sprint("short", i), now.Add(time.Hour))
		}
		put("forever", time.Time{})
		put("prolonged", now.Add(time.Hour))
		put("prolonged", now.Add(3*time.Hour))
		put("forever now", now.Add(time.Hour))
		put("forever now", time.Time{})
		count := func(prefix byte) int { return keysUnder(t, s, prefix) }
		if docs, ends := count(documentPrefix), count(docExpiryPrefix); docs != many+3 || ends != many+1 {
			t.Errorf("%d documents, %d expiries", docs, ends)
		}
		time.Sleep(2 * time.Hour)
		if docs, ends := count(documentPrefix), count(docExpiryPrefix); docs != 3 || ends != 1 {
			t.Errorf("after expiry %d documents and %d expiries are on the disk, want 3 and 1", docs, ends)
		}
		if docs, err := s.List(ctx, "acme", "c", "", 10); err != nil || len(docs) != 3 {
			t.Errorf("List: %+v, %v", docs, err)
		}
	})
}

// TestFeedFromTheDatabase: a reader behind the log in memory gets every entry in order,
// while more is written.
func TestFeedFromTheDatabase(t *testing.T) {
	s := mustOpen(t, "data", Options{FS: vfs.NewMem()})
	const n = cachedEntries + 3000
	for i := range n / 2 {
		mustUpdate(t, s, crashUser(i%crashUsers))
	}
	var group sync.WaitGroup
	group.Go(func() {
		for i := range n / 2 {
			if _, err := s.Update(context.Background(), crashUser(i%crashUsers), storetest.UpdateFunc(store.By{}, benchState)); err != nil {
				t.Errorf("Update: %v", err)
				return
			}
		}
	})
	var last store.Position
	for _, e := range readFeed(t, s, n) {
		if e.At != last+1 {
			t.Fatalf("position %d after %d", e.At, last)
		}
		last = e.At
	}
	group.Wait()
}

// TestEarlyEntryMoves: an index entry that is earlier than its record's next change is
// moved without a call, and the index keeps one entry a user.
func TestEarlyEntryMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustOpen(t, "data", Options{FS: vfs.NewMem()})
		u := crashUser(0)
		until := func(d time.Duration) presence.Instant {
			t.Helper()
			at := presence.InstantOf(time.Now().Add(d))
			if _, err := s.Update(context.Background(), u, storetest.UpdateFunc(store.By{}, outOfOfficeUntil(at))); err != nil {
				t.Fatal(err)
			}
			return at
		}
		first := until(time.Minute)
		last := until(time.Hour) // the index keeps the first entry for now
		if armed := readIndex(t, s)[u]; len(armed) != 1 || armed[0] != first {
			t.Errorf("the index has %v, want the entry at %v alone", armed, first)
		}
		calls := make(chan time.Time, 10)
		ctx, cancel := context.WithCancel(context.Background())
		var group sync.WaitGroup
		group.Go(func() {
			_ = s.Due(ctx, func(us []store.User) error {
				calls <- time.Now()
				_, err := s.Update(ctx, us[0], storetest.UpdateFunc(store.By{}, outOfOfficeUntil(0)))
				return err
			})
		})
		time.Sleep(30 * time.Minute)
		if armed := readIndex(t, s)[u]; len(armed) != 1 || armed[0] != last || len(calls) != 0 {
			t.Errorf("the index has %v, want the entry at %v alone; %d calls", armed, last, len(calls))
		}
		at := <-calls
		if late := at.Sub(last.Time()); late != 0 {
			t.Errorf("called %v after its instant", late)
		}
		time.Sleep(time.Minute)
		if armed := readIndex(t, s)[u]; len(armed) != 0 || len(calls) != 0 {
			t.Errorf("the index has %v; %d more calls", armed, len(calls))
		}
		cancel()
		group.Wait()
	})
}

// outOfOfficeUntil makes a state that expires at an instant, or never.
func outOfOfficeUntil(at presence.Instant) func(presence.State) (presence.State, error) {
	return func(st presence.State) (presence.State, error) {
		st.At = max(st.At, presence.InstantOf(time.Now()))
		st.Revision = max(st.Revision+1, presence.Revision(st.At))
		st.Claims = []presence.Claim{{ID: presence.ManualClaim, Source: presence.Manual, Status: presence.OutOfOffice, Since: st.At, Until: at}}
		return st, nil
	}
}

// TestClockStep: when the clock steps past an instant, expiry does not wait for a timer
// of the old clock.
func TestClockStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var step time.Duration
		clock := func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return time.Now().Add(step)
		}
		s := mustOpen(t, "data", Options{FS: vfs.NewMem(), Clock: clock})
		if _, err := s.Update(context.Background(), crashUser(0), storetest.UpdateFunc(store.By{}, outOfOfficeUntil(presence.InstantOf(time.Now().Add(time.Hour))))); err != nil {
			t.Fatal(err)
		}
		called := make(chan time.Time, 1)
		go func() {
			_ = s.Due(context.Background(), func([]store.User) error { called <- time.Now(); return errStop })
		}()
		time.Sleep(time.Minute)
		mu.Lock()
		step = 2 * time.Hour
		mu.Unlock()
		stepped := time.Now()
		if late := (<-called).Sub(stepped); late > maxSleep {
			t.Errorf("%v after the clock was set forward", late)
		}
	})
}
