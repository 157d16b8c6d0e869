package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"porchlight.dev/porchlight/internal/httpapi"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/wire"
)

func untilCancelled(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// TestParts runs parts that stop in order, fail, and hang.
func TestParts(t *testing.T) {
	broken := errors.New("broken")
	t.Run("stop in order", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var stopped []string
			note := func(name string) func(context.Context) {
				return func(context.Context) { stopped = append(stopped, name) }
			}
			ctx, end := context.WithCancel(t.Context())
			r := start(ctx, []*part{
				{name: "a", start: untilCancelled, stop: note("a")},
				{name: "b", start: untilCancelled},
				{name: "c", start: untilCancelled, stop: note("c")},
			})
			r.stop(ctx)
			end()
			if names := r.wait(time.Second); names != nil || !slices.Equal(stopped, []string{"a", "c"}) {
				t.Errorf("hanging parts: %v; stopped: %v", names, stopped)
			}
		})
	})
	t.Run("one fails", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, end := context.WithCancel(t.Context())
			unaffected := &part{name: "unaffected", start: untilCancelled}
			r := start(ctx, []*part{unaffected, {name: "fails", start: func(context.Context) error { return broken }}})
			<-r.failed.Done()
			if err := r.failure(); !errors.Is(err, broken) || err.Error() != "fails stopped: broken" {
				t.Errorf("the cause is %v", err)
			}
			synctest.Wait()
			if unaffected.ended.Load() {
				t.Error("the failure stopped another part before requests could report it")
			}
			end()
			if names := r.wait(time.Second); names != nil {
				t.Errorf("hanging parts: %v", names)
			}
		})
	})
	t.Run("one hangs", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, end := context.WithCancel(t.Context())
			free := make(chan struct{})
			r := start(ctx, []*part{
				{name: "ends", start: untilCancelled},
				{name: "hangs", start: func(context.Context) error { <-free; return nil }},
			})
			end()
			begun := time.Now()
			if names := r.wait(endTimeout); !slices.Equal(names, []string{"hangs"}) || time.Since(begun) != endTimeout {
				t.Errorf("the hanging parts are %v, after %v", names, time.Since(begun))
			}
			close(free)
		})
	})
}

// A pipe has a reader that reads nothing until it is closed.
type pipe chan struct{}

func (p pipe) Write(b []byte) (int, error) {
	<-p
	return len(b), nil
}

// A closingStore cannot be closed before free is.
type closingStore struct {
	store.Store

	free  chan struct{}
	begun atomic.Bool
}

func (s *closingStore) Close() error {
	s.begun.Store(true)
	<-s.free
	return nil
}

// TestCloseHangs: the server ends although the reader of the access log does not read, or the
// store cannot be closed.
func TestCloseHangs(t *testing.T) {
	for _, x := range []struct {
		name       string
		log, store bool
		want       time.Duration
	}{
		{name: "nothing"},
		{name: "access log", log: true, want: logCloseTimeout},
		{name: "store", store: true, want: storeCloseTimeout},
		{name: "both", log: true, store: true, want: logCloseTimeout + storeCloseTimeout},
	} {
		t.Run(x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, st := make(pipe), &closingStore{free: make(chan struct{})}
				s := &Server{log: slog.New(slog.DiscardHandler), access: wire.NewAccessLog(log), store: st}
				s.level = newLogLevel(nil, s.log)
				rt := wire.NewRouter(wire.NewObserver(s.access, s.log, prometheus.NewRegistry(), time.Now), new(httpapi.API))
				rt.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody))
				if !x.log {
					close(log)
				}
				if !x.store {
					close(st.free)
				}
				begun := time.Now()
				closed := make(chan struct{})
				go func() {
					s.close()
					close(closed)
				}()
				select {
				case <-closed:
				case <-time.After(time.Hour):
					t.Error("the server does not end")
				}
				if took := time.Since(begun); took != x.want || !st.begun.Load() {
					t.Errorf("it took %v, want %v; the store was closed: %v", took, x.want, st.begun.Load())
				}
				if x.log {
					close(log)
				}
				if x.store {
					close(st.free)
				}
			})
		})
	}
}
