package natsstore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// The benchmarks have the same names as those of pebblestore. The servers run in this
// process, so the CPU time includes that of all servers. Three servers share one disk,
// unlike those of a real cluster.

func benchUser(i int) store.User {
	return store.User{Account: "acme", ID: presence.UserID(fmt.Sprintf("user-%08d", i))}
}

// benchState sets a typical state: two sessions and a claim.
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

// plainState sets a state that does not expire, so that updates need no batches.
func plainState(st presence.State) (presence.State, error) {
	st, err := benchState(st)
	st.Sessions, st.Claims = nil, nil
	return st, err
}

// each runs a benchmark on one server and on three, on a disk with syncs.
func each(b *testing.B, run func(b *testing.B, s *natsstore.Store)) {
	for _, n := range []int{1, 3} {
		b.Run(fmt.Sprintf("R%d", n), func(b *testing.B) {
			c := startServersIn(b, b.TempDir(), n, always)
			o := c.options()
			o.Timeout = storeTimeout
			s := c.open(b, o)
			b.Cleanup(func() {
				if err := s.Close(); err != nil {
					b.Error(err)
				}
			})
			run(b, s)
		})
	}
}

func fill(b *testing.B, s *natsstore.Store, users int, state func(presence.State) (presence.State, error)) {
	b.Helper()
	var group sync.WaitGroup
	const callers = 256
	for c := range callers {
		group.Go(func() {
			for i := c; i < users; i += callers {
				if _, err := s.Update(context.Background(), benchUser(i), storetest.UpdateFunc(store.By{}, state)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
}

// BenchmarkUpdate measures acknowledged updates of random users, with and without a log
// entry, and updates that change nothing, each of which needs a barrier. The
// users' timers are in the future, so most updates that change something are one message.
func BenchmarkUpdate(b *testing.B) {
	each(b, func(b *testing.B, s *natsstore.Store) {
		const users = 1000
		fill(b, s, users, benchState)
		b.Run(fmt.Sprintf("users=%d", users), func(b *testing.B) {
			for _, callers := range []int{1, 64, 256} {
				b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
					b.Run("logged", func(b *testing.B) { benchUpdates(b, s, callers, users, storetest.UpdateFunc(store.By{}, benchState)) })
					b.Run("unlogged", func(b *testing.B) {
						benchUpdates(b, s, callers, users, storetest.Unlogged(storetest.UpdateFunc(store.By{}, benchState)))
					})
					b.Run("unchanged", func(b *testing.B) {
						benchUpdates(b, s, callers, users, storetest.UpdateFunc(store.By{}, func(st presence.State) (presence.State, error) { return st, presence.ErrNoChange }))
					})
				})
			}
		})
	})
}

func benchUpdates(b *testing.B, s *natsstore.Store, callers, users int, fn store.Decide) {
	cpu := cpuTime(b)
	b.ResetTimer()
	var group sync.WaitGroup
	for c := range callers {
		group.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(c)))
			for i := c; i < b.N; i += callers {
				if _, err := s.Update(context.Background(), benchUser(rng.IntN(users)), fn); err != nil && !errors.Is(err, presence.ErrNoChange) {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	b.StopTimer()
	b.ReportMetric(float64(cpuTime(b)-cpu)/1e3/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
}

// cpuTime is the CPU time of this process, including the servers.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRead measures reads of many users at once.
func BenchmarkRead(b *testing.B) {
	each(b, func(b *testing.B, s *natsstore.Store) {
		const users = 10_000
		fill(b, s, users, plainState)
		us := make([]store.User, users)
		for i := range us {
			us[i] = benchUser(i)
		}
		rand.Shuffle(users, func(i, j int) { us[i], us[j] = us[j], us[i] })
		for _, n := range []int{20, 1000, 10_000} {
			b.Run(fmt.Sprintf("users=%d", n), func(b *testing.B) {
				cpu := cpuTime(b)
				for range b.N {
					if r, _, err := s.Read(context.Background(), us[:n], store.Freshness{}); err != nil || len(r) != n {
						b.Fatalf("%d records, %v", len(r), err)
					}
				}
				b.StopTimer()
				b.ReportMetric(float64(cpuTime(b)-cpu)/1e3/float64(b.N*n), "cpu-µs/user")
			})
		}
	})
}

// BenchmarkFeed measures a reader that starts at the beginning of the log.
func BenchmarkFeed(b *testing.B) {
	each(b, func(b *testing.B, s *natsstore.Store) {
		const entries = 20_000
		fill(b, s, entries, plainState)
		enough := errors.New("enough")
		b.Run(fmt.Sprintf("entries=%d", entries), func(b *testing.B) {
			cpu := cpuTime(b)
			for range b.N {
				read := 0
				err := s.Feed(context.Background(), 0, func(group []store.Entry) error {
					if read += len(group); read >= entries {
						return enough
					}
					return nil
				})
				if !errors.Is(err, enough) {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			b.ReportMetric(float64(cpuTime(b)-cpu)/1e3/float64(b.N*entries), "cpu-µs/entry")
			b.ReportMetric(float64(b.N*entries)/b.Elapsed().Seconds(), "entries/s")
		})
	})
}

// BenchmarkDue measures how late successive timers fire.
func BenchmarkDue(b *testing.B) {
	each(b, func(b *testing.B, s *natsstore.Store) {
		for range b.N {
			late := dueLateness(b, s, 500)
			slices.Sort(late)
			b.ReportMetric(float64(late[len(late)/2].Microseconds())/1e3, "p50-ms")
			b.ReportMetric(float64(late[len(late)*99/100].Microseconds())/1e3, "p99-ms")
		}
	})
}

// dueLateness sets timers that fire over the course of five seconds.
func dueLateness(b *testing.B, s *natsstore.Store, timers int) []time.Duration {
	b.Helper()
	first := presence.InstantOf(time.Now().Add(10 * time.Second))
	dues := make(map[store.User]presence.Instant, timers)
	var mu sync.Mutex // guards dues
	var group sync.WaitGroup
	for c := range 16 {
		group.Go(func() {
			for i := c; i < timers; i += 16 {
				due := first.Add(time.Duration(i) * 5 * time.Second / time.Duration(timers))
				r, err := s.Update(context.Background(), benchUser(i), storetest.UpdateFunc(store.By{}, func(st presence.State) (presence.State, error) {
					st, err := plainState(st)
					st.Claims = []presence.Claim{{ID: presence.ManualClaim, Source: presence.Manual, Status: presence.OutOfOffice, Since: st.At, Until: due}}
					return st, err
				}))
				if err != nil {
					b.Error(err)
					return
				}
				if r.State.At >= due {
					continue // stored after it was due
				}
				mu.Lock()
				dues[benchUser(i)] = due
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if len(dues) == 0 {
		b.Fatal("no timer was stored in time")
	}
	var late []time.Duration
	enough := errors.New("enough")
	err := s.Due(context.Background(), func(us []store.User) error {
		now := presence.InstantOf(time.Now())
		for _, u := range us {
			late = append(late, now.Sub(dues[u]))
			if _, err := s.Update(context.Background(), u, storetest.UpdateFunc(store.By{}, plainState)); err != nil {
				return err
			}
		}
		if len(late) >= len(dues) {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		b.Fatal(err)
	}
	return late
}
