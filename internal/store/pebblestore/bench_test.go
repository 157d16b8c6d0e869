package pebblestore

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/storetest"
)

func benchUser(i int) store.User {
	return store.User{Account: "acme", ID: presence.UserID(fmt.Sprintf("user-%08d", i))}
}

// benchState is a typical state: two sessions and a claim.
func benchState(st presence.State) (presence.State, error) {
	st.At = max(st.At, presence.InstantOf(time.Now()))
	st.Revision = max(st.Revision+1, presence.Revision(st.At))
	st.Sessions = []presence.Session{
		{ID: "3f2504e0-4f89-11d3", Client: presence.Desktop, Version: "5.17.5", Since: st.At, IdleAt: st.At.Add(15 * time.Minute), EndsAt: st.At.Add(2 * time.Minute), Lease: 2 * time.Minute},
		{ID: "7d444840-9dc0-11d1", Client: presence.Mobile, Version: "5.17.5", Since: st.At, IdleAt: st.At.Add(15 * time.Minute), EndsAt: st.At.Add(2 * time.Minute), Lease: 2 * time.Minute},
	}
	st.Claims = []presence.Claim{{ID: presence.ManualClaim, Source: presence.Manual, Status: presence.Busy, Since: st.At, Until: st.At.Add(24 * time.Hour)}}
	return st, nil
}

func openBench(b *testing.B, users int) *Store {
	b.Helper()

	s, err := Open(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	fill(b, s, users)
	return s
}

func fill(b *testing.B, s *Store, users int) {
	b.Helper()
	var group sync.WaitGroup
	const callers = 256
	for c := range callers {
		group.Go(func() {
			for i := c; i < users; i += callers {
				if _, err := s.Update(context.Background(), benchUser(i), storetest.UpdateFunc(store.By{}, benchState)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	// Background work of filling is not part of the measurement.
	if err := s.db.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := s.db.Compact(context.Background(), []byte{0}, []byte{0xff}, true); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkUpdate measures acknowledged updates with fsync, of random users.
func BenchmarkUpdate(b *testing.B) {
	for _, users := range []int{1000, 50_000, 1_000_000} {
		b.Run(fmt.Sprintf("users=%d", users), func(b *testing.B) {
			if users > 1000 && testing.Short() {
				b.Skip("short")
			}
			s := openBench(b, users)
			for _, callers := range []int{1, 64, 256} {
				b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) { benchUpdates(b, s, callers, users) })
			}
		})
	}
}

func benchUpdates(b *testing.B, s *Store, callers, users int) {
	before, cpu := s.Stats(), cpuTime(b)
	runUpdates(b, s, callers, users)
	b.StopTimer()
	b.ReportMetric(float64(cpuTime(b)-cpu)/1e3/float64(b.N), "cpu-µs/op")
	st := s.Stats()
	b.ReportMetric(float64(st.Updates-before.Updates)/float64(st.Commits.Count-before.Commits.Count), "updates/sync")
	b.ReportMetric(float64(st.CacheMisses-before.CacheMisses)/float64(b.N), "misses/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
}

// BenchmarkGroup measures what a group costs, by how many callers share it. Each caller
// works a little between its updates, as a connection does.
func BenchmarkGroup(b *testing.B) {
	const users = 1000
	s := openBench(b, users)
	for _, callers := range []int{1, 8, 32, 64, 256} {
		b.Run(fmt.Sprintf("waiting=%d", callers), func(b *testing.B) {
			benchGroups(b, s, func() { runCallers(b, callers, users, s.Update) })
		})
		b.Run(fmt.Sprintf("begun=%d", callers), func(b *testing.B) {
			benchGroups(b, s, func() { runCallers(b, callers, users, storetest.Begun(s).Update) })
		})
	}
}

type updateFunc func(context.Context, store.User, store.Decide) (store.Record, error)

func runCallers(b *testing.B, callers, users int, update updateFunc) {
	b.Helper()
	var group sync.WaitGroup
	for c := range callers {
		group.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(c)))
			fn := storetest.UpdateFunc(store.By{}, benchState)
			var buf [4096]byte
			for i := c; i < b.N; i += callers {
				if _, err := update(context.Background(), benchUser(rng.IntN(users)), fn); err != nil {
					b.Error(err)
					return
				}
				sum := sha256.Sum256(buf[:]) // about 10 µs
				buf[0] = sum[0]
			}
		})
	}
	group.Wait()
}

func benchGroups(b *testing.B, s *Store, run func()) {
	before, cpu := s.Stats(), cpuTime(b)
	b.ReportAllocs()
	run()
	b.StopTimer()
	used, st := cpuTime(b)-cpu, s.Stats()
	groups := float64(st.Commits.Count - before.Commits.Count)
	b.ReportMetric(float64(used)/1e3/groups, "cpu-µs/group")
	b.ReportMetric(float64(used)/1e3/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(b.N)/groups, "updates/group")
	b.ReportMetric(float64(st.Commits.Sum-before.Commits.Sum)/1e3/groups, "sync-µs/group")
}

// cpuTime is the processor time of this process. On a shared machine it is more
// reliable than elapsed time.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func runUpdates(b *testing.B, s *Store, callers, users int) {
	b.Helper()
	var group sync.WaitGroup
	for c := range callers {
		group.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(c)))
			for i := c; i < b.N; i += callers {
				if _, err := s.Update(context.Background(), benchUser(rng.IntN(users)), storetest.UpdateFunc(store.By{}, benchState)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
}

// BenchmarkRead measures reads with and without the cache.
func BenchmarkRead(b *testing.B) {
	const users = 300_000
	s := openBench(b, users)
	us := make([]store.User, users)
	for i := range us {
		us[i] = benchUser(i)
	}
	rand.Shuffle(users, func(i, j int) { us[i], us[j] = us[j], us[i] })
	b.Run("hit", func(b *testing.B) { benchReads(b, s, us[:1000], 1) })
	b.Run("miss", func(b *testing.B) { benchReads(b, s, us, 1) })
	b.Run("hit=10000", func(b *testing.B) { benchReads(b, s, us[:20_000], 10_000) })
	b.Run("miss=10000", func(b *testing.B) { benchReads(b, s, us, 10_000) })
}

// benchReads reads us in calls of n.
func benchReads(b *testing.B, s *Store, us []store.User, n int) {
	before, cpu := s.Stats(), cpuTime(b)
	b.ReportAllocs()
	at := 0
	for range b.N {
		if r, _, err := s.Read(context.Background(), us[at:at+n], store.Freshness{}); err != nil || len(r) != n {
			b.Fatalf("%d records, %v", len(r), err)
		}
		if at += n; at+n > len(us) {
			at = 0
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(cpuTime(b)-cpu)/1e3/float64(b.N*n), "cpu-µs/user")
	b.ReportMetric(float64(s.Stats().CacheMisses-before.CacheMisses)/float64(b.N*n), "misses/user")
}
