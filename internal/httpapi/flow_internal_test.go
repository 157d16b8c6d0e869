package httpapi

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/internal/notify"
)

// A deadlineRecorder is a response that knows its write deadline.
type deadlineRecorder struct {
	*httptest.ResponseRecorder
	mu       sync.Mutex
	deadline time.Time
}

func (r *deadlineRecorder) SetWriteDeadline(t time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deadline = t
	return nil
}

// Over HTTP/2 a deadline that passes ends a stream that nobody writes to: between
// two events there must be none.
func TestAFlowThatIsQuietHasNoDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		w := &deadlineRecorder{ResponseRecorder: httptest.NewRecorder()}
		f := newFlow(false)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			f.serve(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/v1/stream", http.NoBody))
		}()
		if n, err := f.TryWrite([]byte("data: x\n\n")); n == 0 || err != nil {
			t.Errorf("wrote %d, %v", n, err)
		}
		synctest.Wait()
		w.mu.Lock()
		if !w.deadline.IsZero() || w.Body.String() != "data: x\n\n" {
			t.Errorf("deadline %v after %q", w.deadline, w.Body)
		}
		w.mu.Unlock()
		f.End(notify.CloseDraining, time.Second)
		<-ended
		stop()
		if got := w.Body.String(); got != "data: x\n\nretry: 1000\nevent: close\ndata: {\"type\":\"close\",\"reason\":\"draining\",\"close_code\":3000,\"retry_ms\":1000}\n\n" {
			t.Errorf("the end is %q", got)
		}
	})
}
