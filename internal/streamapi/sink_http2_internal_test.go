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
		f.End(hub.CloseDraining, time.Second)
		<-ended
		stop()
		if got := w.Body.String(); got != "data: x\n\nretry: 1000\nevent: close\ndata: {\"type\":\"close\",\"reason\":\"draining\",\"close_code\":3000,\"retry_ms\":1000}\n\n" {
			t.Errorf("the end is %q", got)
		}
	})
}

// A slowRecorder takes what is written when it is told to.
type slowRecorder struct {
	deadlineRecorder
	release chan struct{}
}

func (r *slowRecorder) Write(b []byte) (int, error) {
	<-r.release
	return r.deadlineRecorder.Write(b)
}

// Who may not be told any more gets what was being written, and the reason, soon.
func TestAFlowThatIsForbidden(t *testing.T) {
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
			t.Errorf("the reason may take %v", left)
		}
		w.mu.Unlock()
		w.release <- struct{}{}
		<-ended
		if got := w.Body.String(); got != "data: 1\n\nevent: close\ndata: {\"type\":\"close\",\"reason\":\"unauthorized\",\"close_code\":3500}\n\n" {
			t.Errorf("told %q", got)
		}
	})
}
