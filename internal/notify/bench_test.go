package notify_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/notify"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
)

// BenchmarkEnd ends streams that one token opened, the oldest first, as when a
// server or a network is lost. What one costs must not grow with their number.
func BenchmarkEnd(b *testing.B) {
	st, err := pebblestore.Open("store", pebblestore.Options{FS: vfs.NewMem(), Clock: time.Now, MinFreeBytes: -1})
	if err != nil {
		b.Fatal(err)
	}
	h := notify.NewHub(notify.Options{
		Store:     st,
		Known:     func(context.Context, store.User) error { return nil },
		Gone:      errGone,
		Valid:     func(context.Context, notify.Looker) error { return nil },
		Forbidden: func(error) bool { return false },
		Format:    bareFormat{},
		Clock:     time.Now,
		Log:       slog.New(slog.DiscardHandler),
	})
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	defer func() {
		stop()
		if err := errors.Join(<-ended, st.Close()); err != nil {
			b.Error(err)
		}
	}()
	for _, n := range []int{1000, 20_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			streams := make([]*notify.Stream, n)
			for b.Loop() {
				b.StopTimer()
				for i := range streams {
					s, err := h.Open(ctx, "acme", "", nobody{}, &quietSink{})
					if err != nil {
						b.Fatal(err)
					}
					if err := s.Follow(ctx, notify.Follow{Users: []notify.Asked{{ID: presence.UserID(fmt.Sprint(i % 100))}}}); err != nil {
						b.Fatal(err)
					}
					streams[i] = s
				}
				b.StartTimer()
				for _, s := range streams {
					s.End(notify.CloseGone, 0)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/stream")
		})
	}
}
