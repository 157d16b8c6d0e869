package server_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/server"
)

// A loadClient sends requests one after the other until the server stops.
type loadClient interface {
	// do sends a PUT of a status, or a GET if word is "". It returns errStopped if the
	// server accepts no more connections, and an error for which unanswered is true if the
	// connection ended before an answer began.
	do(user, word string) (status int, err error)
	close()
}

var errStopped = errors.New("the server accepts no more connections")

// A rawLoad uses a connection until a response announces that the server closes it.
type rawLoad struct {
	*running
	e *exchange // nil: not connected
}

func (c *rawLoad) do(user, word string) (int, error) {
	if c.e == nil {
		conn, err := c.tryDial()
		if err != nil {
			return 0, errStopped
		}
		c.e = newExchange(conn)
	}
	request := c.hotGet(user)
	if word != "" {
		request = c.hotPut(user, word)
	}
	resp, body, err := c.e.roundTrip(request)
	if err != nil {
		return 0, err
	}
	if resp.Close {
		c.close()
	}
	if resp.StatusCode > 299 {
		return resp.StatusCode, errors.New(body)
	}
	return resp.StatusCode, nil
}

func (c *rawLoad) close() {
	if c.e != nil {
		c.e.close()
		c.e = nil
	}
}

// A standardLoad is net/http's client, which cannot send a request again because it cannot
// read its body again.
type standardLoad struct {
	*running
	http *http.Client
}

func (c *standardLoad) do(user, word string) (int, error) {
	method, body := http.MethodGet, io.Reader(http.NoBody)
	if word != "" {
		method, body = http.MethodPut, io.MultiReader(strings.NewReader(`{"status":"`+word+`"}`))
	}
	req, err := http.NewRequestWithContext(context.Background(), method, c.URL()+hotTarget(user), body)
	if err != nil {
		return 0, err
	}
	if word != "" {
		req.ContentLength = int64(len(`{"status":""}`) + len(word))
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Authorization", "Bearer "+c.made.AccessToken)
	resp, err := c.http.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return 0, errStopped
	}
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode > 299 {
		err = errors.New(string(text))
	}
	return resp.StatusCode, err
}

func (c *standardLoad) close() { c.http.CloseIdleConnections() }

// unanswered reports whether a connection ended, or did not begin, before the first byte of an
// answer.
func unanswered(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		err != nil && strings.Contains(err.Error(), "http: server closed idle connection") // net/http does not export it
}

// drainGrace is how long a connection that was just used may begin another request after a
// drain began.
const drainGrace = time.Second

// TestDrainUnderLoad: a server that stops while clients send requests without a pause fails
// none of them, and what it acknowledged is in the store. On a busy machine, a client may pause
// for longer than the server waits for its next request. The time since it began the one before
// is then longer too, whenever it got the answer.
func TestDrainUnderLoad(t *testing.T) {
	t.Parallel()
	for name, delay := range map[string]time.Duration{"at once": 0, "with a delay": 500 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			forEachMode(t, func(cfg *config.Config, _ *server.Options) { cfg.DrainDelay = delay }, testDrainUnderLoad)
		})
	}
}

func testDrainUnderLoad(t *testing.T, r *running) {
	t.Helper()
	const clients = 64
	ids := r.createUsers(t, clients)
	var answered, stopped atomic.Int64
	acknowledged := make([]string, clients) // the last word
	var load sync.WaitGroup
	for i, user := range ids {
		load.Go(func() {
			c := r.loadClient(i%2 == 0)
			defer c.close()
			began := time.Now()
			for n := 0; ; n++ {
				before := began
				began = time.Now()
				word := []string{"Away", "", "Do_Not_Disturb", "", "Available"}[n%5]
				status, err := c.do(user, word)
				switch {
				case errors.Is(err, errStopped):
					return
				case status == 0 && unanswered(err) && stopped.Load() != 0 && time.Since(before) > drainGrace:
					return // it was not scheduled in time
				case err != nil:
					t.Errorf("client %d, request %d, %v after the stop: %d %v", i, n, time.Since(time.Unix(0, stopped.Load())), status, err)
					return
				case word != "":
					acknowledged[i] = word
				}
				answered.Add(1)
			}
		})
	}
	eventually(t, "the load has begun", func() bool { return answered.Load() > 20*clients })
	stopped.Store(time.Now().UnixNano())
	r.stop(nil)
	if err := r.wait(t); err != nil {
		t.Errorf("Run: %v", err)
	}
	load.Wait()
	t.Logf("%d requests answered", answered.Load())

	again := run(t, r.config, server.Options{}, r.made)
	again.http.Transport = r.http.Transport
	shown := map[string]api.Status{"Away": api.Away, "Do_Not_Disturb": api.DoNotDisturb, "Available": api.Available}
	for i, user := range ids {
		if got := again.stateOf(t, user).status; got != shown[acknowledged[i]] {
			t.Errorf("client %d: the status is %s after the restart, and %s was acknowledged", i, got, acknowledged[i])
		}
	}
}

func (r *running) loadClient(raw bool) loadClient {
	if raw {
		return &rawLoad{running: r}
	}
	return &standardLoad{running: r, http: &http.Client{Transport: &http.Transport{TLSClientConfig: trustAnyServer()}, Timeout: exchangeTimeout}}
}
