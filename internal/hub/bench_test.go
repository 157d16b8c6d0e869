package hub_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// BenchmarkEnd ends streams that one token opened, the oldest first, as after the loss
// of a server or a network. The cost of one must not grow with their number.
func BenchmarkEnd(b *testing.B) {
	h, _ := benchHub(b)
	ctx := b.Context()
	for _, n := range []int{1000, 20_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			streams := make([]*hub.Stream, n)
			for b.Loop() {
				b.StopTimer()
				for i := range streams {
					s, err := h.Open(ctx, "acme", "", trustedViewer{}, &countingSink{})
					if err != nil {
						b.Fatal(err)
					}
					if err := s.Follow(ctx, hub.Follow{Users: []hub.NamedUser{{ID: presence.UserID(fmt.Sprint(i % 100))}}}); err != nil {
						b.Fatal(err)
					}
					streams[i] = s
				}
				b.StartTimer()
				for _, s := range streams {
					s.End(hub.CloseGone, 0)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/stream")
		})
	}
}

// BenchmarkDeliver delivers one change to 10,000 streams that accept it at once: it
// measures the hub's own cost of a delivery.
func BenchmarkDeliver(b *testing.B) {
	const n = 10_000
	h, st := benchHub(b)
	u := store.User{Account: "acme", ID: "grace"}
	sinks := make([]*discardSink, n)
	for i := range sinks {
		sinks[i] = &discardSink{}
		s, err := h.Open(b.Context(), "acme", "", trustedViewer{}, sinks[i])
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Follow(b.Context(), hub.Follow{Users: []hub.NamedUser{{ID: u.ID}}}); err != nil {
			b.Fatal(err)
		}
	}
	last := sinks[n-1]
	for b.Loop() {
		was := last.taken.Load()
		if _, err := st.Update(b.Context(), u, storetest.Apply(presence.SetNote{Text: fmt.Sprint(was)}, presence.Policy{}, presence.InstantOf(time.Now()))); err != nil {
			b.Fatal(err)
		}
		for last.taken.Load() == was {
			runtime.Gosched()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/delivery")
}

// discardSink is a sink without cost.
type discardSink struct {
	countingSink
	taken atomic.Int64
}

func (t *discardSink) Append(b []byte, d hub.Delivery) []byte {
	return append(append(b, d.Encoded(emptyEncoder{})...), d.Cursor...)
}

// emptyEncoder is an encoder without cost.
type emptyEncoder struct{}

func (emptyEncoder) Encode(hub.Event) []byte { return []byte{'{'} }

func (t *discardSink) TryWrite(b []byte) (int, error) {
	t.taken.Add(1)
	return len(b), nil
}

// benchHub makes a hub on a store in memory.
func benchHub(b *testing.B) (*hub.Hub, store.Store) {
	b.Helper()
	st, err := pebblestore.Open("store", pebblestore.Options{FS: vfs.NewMem(), Clock: time.Now, MinFreeBytes: -1})
	if err != nil {
		b.Fatal(err)
	}
	h := hub.New(hub.Options{
		Store: st, Directory: allUsers{}, Access: allUsers{}, Clock: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	ctx, stop := context.WithCancel(context.WithoutCancel(b.Context()))
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	b.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, st.Close()); err != nil {
			b.Error(err)
		}
	})
	return h, st
}
