package streamapi

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/internal/hub"
)

// A deadlineRecorder records the write deadline of a response.
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

// TestIdleFlowHasNoDeadline: over HTTP/2 a deadline that passes ends a stream even
// without a write, so between two events there must be none.
func TestIdleFlowHasNoDeadline(t *testing.T) {
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
		f.End(hub.CloseDraining, time.Second)
		<-ended
		stop()
		if got := w.Body.String(); got != "data: x\n\nretry: 1000\nevent: close\ndata: {\"type\":\"close\",\"reason\":\"draining\",\"close_code\":3000,\"retry_ms\":1000}\n\n" {
			t.Errorf("the last event is %q", got)
		}
	})
}

// A slowRecorder accepts a write when it is released.
type slowRecorder struct {
	deadlineRecorder
	release chan struct{}
}

func (r *slowRecorder) Write(b []byte) (int, error) {
	<-r.release
	return r.deadlineRecorder.Write(b)
}

// TestUnauthorizedFlow: a viewer who lost access gets the rest of the current write and
// the reason, soon.
func TestUnauthorizedFlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &slowRecorder{deadlineRecorder{ResponseRecorder: httptest.NewRecorder()}, make(chan struct{})}
		f := newFlow(false)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			f.serve(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/stream", http.NoBody))
		}()
		for _, part := range []string{"data: 1\n\n", "data: 2\n\n"} {
			if n, err := f.TryWrite([]byte(part)); n == 0 || err != nil {
				t.Errorf("wrote %d, %v", n, err)
			}
			synctest.Wait()
		}
		f.End(hub.CloseUnauthorized, 0)
		w.release <- struct{}{}
		synctest.Wait()
		w.mu.Lock()
		if left := time.Until(w.deadline); left > closeTimeout {
			t.Errorf("the reason has a deadline of %v", left)
		}
		w.mu.Unlock()
		w.release <- struct{}{}
		<-ended
		if got := w.Body.String(); got != "data: 1\n\nevent: close\ndata: {\"type\":\"close\",\"reason\":\"unauthorized\",\"close_code\":3500}\n\n" {
			t.Errorf("wrote %q", got)
		}
	})
}
