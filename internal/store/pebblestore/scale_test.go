package pebblestore

import (
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// measureExpiries runs Due with several goroutines that expire what is due, and returns
// how late each of n expiries was acknowledged.
func measureExpiries(tb testing.TB, s *Store, n, callers int) []time.Duration {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var mu sync.Mutex
	late := make([]time.Duration, 0, n)
	end := func(u store.User) {
		var due presence.Instant
		_, err := s.Update(ctx, u, storetest.UpdateFunc(store.By{Cause: store.CauseTime}, func(st presence.State) (presence.State, error) {
			if len(st.Claims) == 0 {
				return st, presence.ErrNoChange
			}
			due = st.Claims[0].Until
			st.Claims = nil
			st.At = max(st.At, presence.InstantOf(time.Now()))
			st.Revision = max(st.Revision+1, presence.Revision(st.At))
			return st, nil
		}))
		if err != nil {
			return // it was due twice
		}
		mu.Lock()
		defer mu.Unlock()
		if late = append(late, time.Since(due.Time())); len(late) == n {
			cancel()
		}
	}
	err := s.Due(ctx, func(us []store.User) error {
		var group sync.WaitGroup
		for c := range callers {
			group.Go(func() {
				for i := c; i < len(us); i += callers {
					end(us[i])
				}
			})
		}
		group.Wait()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		tb.Fatalf("Due: %v", err)
	}
	slices.Sort(late)
	return late
}

// scheduleExpiries makes n users expire, due(i) after start.
func scheduleExpiries(tb testing.TB, s *Store, n int, due func(i int) presence.Instant) {
	tb.Helper()
	const callers = 128
	var group sync.WaitGroup
	for c := range callers {
		group.Go(func() {
			for i := c; i < n; i += callers {
				if _, err := s.Update(context.Background(), benchUser(i), storetest.UpdateFunc(store.By{}, outOfOfficeUntil(due(i)))); err != nil {
					tb.Errorf("Update: %v", err)
					return
				}
			}
		})
	}
	group.Wait()
}

// TestManyDueTogether: 10,000 users that expire at one instant are delivered in groups,
// each once.
func TestManyDueTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 10_000
		s := mustOpen(t, "data", Options{FS: vfs.NewMem()})
		due := presence.InstantOf(time.Now().Add(time.Minute))
		scheduleExpiries(t, s, n, func(int) presence.Instant { return due })
		if late := measureExpiries(t, s, n, 64); len(late) != n {
			t.Errorf("%d of %d expired", len(late), n)
		}
		if left := readIndex(t, s); len(left) != 0 {
			t.Errorf("the index still has %d users", len(left))
		}
	})
}

// BenchmarkDue measures how late expiries are acknowledged: timers spread over ten
// seconds at the rate of 100,000 a minute, and 10,000 at one instant.
func BenchmarkDue(b *testing.B) {
	for _, bench := range []struct {
		name string
		n    int
		span time.Duration
	}{{"spread", 16_667, 10 * time.Second}, {"together", 10_000, 0}} {
		b.Run(bench.name, func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				s, err := Open(b.TempDir(), Options{})
				if err != nil {
					b.Fatal(err)
				}
				first := presence.InstantOf(time.Now().Add(4 * time.Second))
				step := presence.Instant(bench.span.Microseconds() / int64(bench.n))
				scheduleExpiries(b, s, bench.n, func(i int) presence.Instant { return first + presence.Instant(i)*step })
				time.Sleep(time.Until(first.Time().Add(-100 * time.Millisecond)))
				b.StartTimer()
				late := measureExpiries(b, s, bench.n, 64)
				b.StopTimer()
				b.ReportMetric(float64(late[len(late)/2].Microseconds())/1e3, "p50-ms")
				b.ReportMetric(float64(late[len(late)*99/100].Microseconds())/1e3, "p99-ms")
				b.ReportMetric(float64(late[len(late)-1].Microseconds())/1e3, "max-ms")
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

// BenchmarkOpen measures a start with a million users after a clean close, and the
// memory of an idle store without users.
func BenchmarkOpen(b *testing.B) {
	b.Run("idle", func(b *testing.B) {
		for range b.N {
			s, err := Open(b.TempDir(), Options{})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(rss(b), "RSS-MiB")
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("users=1000000", func(b *testing.B) {
		if testing.Short() {
			b.Skip("short")
		}
		dir := b.TempDir()
		s, err := Open(dir, Options{})
		if err != nil {
			b.Fatal(err)
		}
		fill(b, s, 1_000_000)
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.ResetTimer()
		for range b.N {
			s, err := Open(dir, Options{})
			if err != nil {
				b.Fatal(err)
			}
			if r, _, err := s.Read(context.Background(), []store.User{benchUser(777_777)}, store.Freshness{}); err != nil || len(r) != 1 {
				b.Fatal(r, err)
			}
			b.StopTimer()
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
}

// rss is the resident memory of this process in MiB.
func rss(b *testing.B) float64 {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip(err)
	}
	for line := range strings.Lines(string(status)) {
		if kib, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kib), "kB")), 64)
			if err != nil {
				b.Fatal(err)
			}
			return n / 1024
		}
	}
	b.Skip("no VmRSS")
	return 0
}
