package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// faults is a proxy in front of a server that behaves as bad networks, busy servers and
// restarts do: it refuses requests, loses them or their answers, delays what it passes on,
// cuts it anywhere, and makes cursors unusable.
type faults struct {
	url    string
	server *httptest.Server
	target string

	mu         sync.Mutex
	random     *rand.Rand
	generation chan struct{} // closed to cut all connections
	lost       bool          // the next cursor is unusable
	down       bool          // every request is lost
	count      map[string]int
}

func startFaults(t *testing.T, target string, random *rand.Rand) *faults {
	t.Helper()
	f := &faults{
		target: target, random: rand.New(rand.NewPCG(random.Uint64(), random.Uint64())),
		generation: make(chan struct{}), count: make(map[string]int),
	}
	f.server = httptest.NewServer(f)
	f.url = f.server.URL
	t.Cleanup(func() {
		f.cutAll()
		f.server.CloseClientConnections()
		f.server.Close()
	})
	return f
}

// cutAll ends every answer where it is, as a restart does.
func (f *faults) cutAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.generation)
	f.generation = make(chan struct{})
	f.count["restarts"]++
}

// loseCursor makes the next cursor unusable, and cuts what is open, so that it is used.
func (f *faults) loseCursor() {
	f.mu.Lock()
	f.lost = true
	f.mu.Unlock()
	f.cutAll()
}

func (f *faults) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fmt.Sprint("faults: ", f.count)
}

// outage loses every request and connection, until it is called with false.
func (f *faults) outage(on bool) {
	f.mu.Lock()
	f.down = on
	f.mu.Unlock()
	f.cutAll()
}

// A fault is what the proxy does to one request.
type fault struct {
	status     int    // the answer of the proxy itself; 0: none
	retryAfter string // of that answer
	before     bool   // the request is lost
	after      int    // the answer is cut after so many bytes
	badCursor  bool
	cut        chan struct{}
}

func (f *faults) decide(cursor string) fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := fault{after: 1 << 30, cut: f.generation}
	what := "passed"
	switch n := f.random.IntN(20); {
	case n < 3:
		d.status = []int{429, 502, 503, 504}[f.random.IntN(4)]
		what = fmt.Sprint(d.status)
		if d.status == 429 || d.status == 503 {
			d.retryAfter = "0"
		}
	case n < 5:
		d.before, what = true, "lost"
	case n < 10:
		d.after, what = f.random.IntN(6_000), "cut"
		if f.random.IntN(2) == 0 {
			d.after = f.random.IntN(300)
		}
	}
	if f.down {
		d.before, what = true, "lost"
	}
	f.count[what]++
	if cursor != "" && d.status == 0 && !d.before && f.lost {
		d.badCursor, f.lost = true, false
		f.count["bad cursors"]++
	}
	return d
}

func (f *faults) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d := f.decide(r.URL.Query().Get("cursor"))
	body, err := io.ReadAll(r.Body)
	if err != nil || d.before {
		panic(http.ErrAbortHandler)
	}
	if d.status != 0 {
		if d.retryAfter != "" {
			w.Header().Set("Retry-After", d.retryAfter)
		}
		http.Error(w, "not now", d.status)
		return
	}
	url := *r.URL
	if d.badCursor {
		query := url.Query()
		query.Set("cursor", "unusable")
		url.RawQuery = query.Encode()
	}
	request, err := http.NewRequestWithContext(r.Context(), r.Method, f.target+url.RequestURI(), bytes.NewReader(body))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	request.Header = r.Header.Clone()
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer response.Body.Close()
	f.pass(w, response, d)
}

// pass passes the answer on in pieces of any size.
func (f *faults) pass(w http.ResponseWriter, response *http.Response, d fault) {
	for name, values := range response.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(response.StatusCode)
	pieces := make(chan []byte)
	go func() {
		defer close(pieces)
		for {
			piece := make([]byte, 1+f.below(700))
			n, err := response.Body.Read(piece)
			select {
			case pieces <- piece[:n]:
			case <-response.Request.Context().Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	flush := http.NewResponseController(w)
	for left := d.after; ; {
		select {
		case piece, ok := <-pieces:
			if !ok {
				return
			}
			_, _ = w.Write(piece[:min(left, len(piece))])
			_ = flush.Flush()
			if left -= len(piece); left <= 0 {
				panic(http.ErrAbortHandler)
			}
			f.delay()
		case <-d.cut:
			panic(http.ErrAbortHandler)
		}
	}
}

func (f *faults) below(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.random.IntN(n)
}

// delay is a part of the faults: nothing waits for it.
func (f *faults) delay() {
	if f.below(10) == 0 {
		<-time.After(time.Duration(f.below(20)) * time.Millisecond)
	}
}
