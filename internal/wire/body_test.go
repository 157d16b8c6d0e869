package wire_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"porchlight.dev/porchlight/internal/overload"
	"porchlight.dev/porchlight/internal/quota"
	. "porchlight.dev/porchlight/internal/wire"
)

// A lateBody is that of a client with a slow network.
type lateBody struct{ io.Reader }

func (b lateBody) Read(p []byte) (int, error) {
	time.Sleep(500 * time.Millisecond)
	return b.Reader.Read(p)
}

// TestSlowBodies: an update that waits for its own client has not waited for others, so nobody
// is refused because of it.
func TestSlowBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := overload.New(&quota.Limit{Name: "queue-delay", Most: 50}, time.Now)
		observer := NewObserver(nil, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), time.Now)
		observer.Gate = gate
		router := NewRouter(observer, plainDialect("x"))
		router.Handle(http.MethodPut, "/note", plainDialect("x"), func(w http.ResponseWriter, r *http.Request) error {
			_, err := ReadBody(w, r, 100)
			time.Sleep(2 * time.Millisecond) // for the store
			return err
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go gate.Run(ctx)
		var refused atomic.Int64
		put := func(body io.Reader) {
			answer := httptest.NewRecorder()
			router.ServeHTTP(answer, httptest.NewRequest(http.MethodPut, "/note", body))
			if answer.Code != http.StatusOK {
				refused.Add(1)
			}
		}
		var all sync.WaitGroup
		send := func(after time.Duration, body func() io.Reader) {
			all.Go(func() {
				time.Sleep(after)
				for ctx.Err() == nil {
					put(body())
					time.Sleep(20 * time.Millisecond)
				}
			})
		}
		send(0, func() io.Reader { return strings.NewReader("x") })
		for i := range 40 {
			send(time.Second+time.Duration(i)*13*time.Millisecond, func() io.Reader { return lateBody{strings.NewReader("x")} })
		}
		time.Sleep(10 * time.Second)
		cancel()
		all.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		if n := refused.Load(); n > 0 {
			t.Errorf("%d updates were refused", n)
		}
	})
}
