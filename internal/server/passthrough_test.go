package server_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

// TestHTTP2: over TLS, the hot routes are served over HTTP/2 as well.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	forEachMode(t, nil, func(t *testing.T, r *running) {
		t.Helper()
		if !strings.HasPrefix(r.URL(), "https") {
			return
		}
		ids := r.createUsers(t, 8)
		transport := &http.Transport{TLSClientConfig: trustAnyServer(), ForceAttemptHTTP2: true}
		defer transport.CloseIdleConnections()
		modern := &standardLoad{running: r, http: &http.Client{Transport: transport, Timeout: exchangeTimeout}}
		var all sync.WaitGroup
		for _, user := range ids {
			all.Go(func() {
				for range 20 {
					for _, word := range []string{"Away", "", "Available", ""} {
						if status, err := modern.do(user, word); err != nil {
							t.Errorf("%q: %d, %v", word, status, err)
						}
					}
				}
			})
		}
		all.Wait()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL()+hotTarget(ids[0]), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := modern.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.ProtoMajor != 2 || resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s %d", resp.Proto, resp.StatusCode)
		}
	})
}

// TestEarlyFrames: frames that arrive with the handshake are read after it, also on a
// connection that served other requests before.
func TestEarlyFrames(t *testing.T) {
	t.Parallel()
	forEachMode(t, nil, func(t *testing.T, r *running) {
		t.Helper()
		user := r.createUsers(t, 1)[0]
		frames := string(rawFrame(final|opText, []byte(`{"type":"ping","id":"1"}`))) + string(rawFrame(final|opText, []byte(`{"type":"ping","id":"2"}`)))
		handshake := upgrade(r.made.AccessToken, "")
		for name, before := range map[string]string{
			"first": "", "after a hot request": r.hotPut(user, "Away"), "after a native request": r.request(http.MethodGet, "/v1/me", ""),
			"after a failed handshake": upgrade("guess", ""),
		} {
			for _, piece := range []int{0, 1} {
				e := r.exchange(t)
				sent := make(chan error, 1)
				go func() { sent <- e.send(before+handshake+frames, piece) }()
				if before != "" {
					if resp, body, err := e.read(); err != nil || resp.Close {
						t.Fatalf("%s: %v %s, %v", name, resp, body, err)
					}
				}
				resp, err := http.ReadResponse(e.in, nil)
				if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
					t.Fatalf("%s: %v, %v", name, resp, err)
				}
				s := &rawSocket{Conn: e.conn, in: e.in}
				for _, id := range []string{"1", "2"} {
					if f := s.read(t, api.FramePong); f.ID != id {
						t.Errorf("%s: the pong has the id %q", name, f.ID)
					}
				}
				if err := <-sent; err != nil {
					t.Error(err)
				}
				e.close()
			}
		}
	})
}

// TestFailedHandshake: after a refused handshake the connection serves requests.
func TestFailedHandshake(t *testing.T) {
	t.Parallel()
	forEachMode(t, nil, func(t *testing.T, r *running) {
		t.Helper()
		user := r.createUsers(t, 1)[0]
		e := r.exchange(t)
		defer e.close()
		for range 3 {
			e.expect(t, upgrade("guess", ""), http.StatusUnauthorized, "")
			e.expect(t, r.hotPut(user, "Away"), http.StatusNoContent, "")
			e.expect(t, r.hotGet(user), http.StatusOK, "Away")
			e.expect(t, r.request(http.MethodGet, "/v1/me", ""), http.StatusOK, "")
		}
	})
}

// TestEventsOnUsedConnection: server-sent events begin on a connection that served other
// requests before.
func TestEventsOnUsedConnection(t *testing.T) {
	t.Parallel()
	forEachMode(t, nil, func(t *testing.T, r *running) {
		t.Helper()
		user := r.createUsers(t, 1)[0]
		e := r.exchange(t)
		defer e.close()
		e.expect(t, r.hotPut(user, "Away"), http.StatusNoContent, "")
		if _, err := io.WriteString(e.conn, r.request(http.MethodGet, "/v1/stream?users="+user, "", "Accept: text/event-stream")); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(e.in, nil)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%v, %v", resp, err)
		}
		defer resp.Body.Close()
		var events strings.Builder
		waitFor := func(text string) {
			t.Helper()
			for b := make([]byte, 4096); !strings.Contains(events.String(), text); {
				n, err := resp.Body.Read(b)
				events.Write(b[:n])
				if err != nil {
					t.Fatalf("%v, after %s", err, events.String())
				}
			}
		}
		waitFor(`"away"`)
		other := r.exchange(t)
		defer other.close()
		other.expect(t, r.hotPut(user, "Do_Not_Disturb"), http.StatusNoContent, "")
		waitFor(`"do_not_disturb"`)
	})
}

// TestContinue: a client that waits for 100 gets it before it sends the body.
func TestContinue(t *testing.T) {
	t.Parallel()
	forEachMode(t, nil, func(t *testing.T, r *running) {
		t.Helper()
		user := r.createUsers(t, 1)[0]
		for _, request := range []string{
			r.hotPut(user, "Away", "Expect: 100-continue"),
			r.request(http.MethodPut, "/v1/users/"+user+"/note", `{"text":"hello"}`, "Expect: 100-continue"),
		} {
			head, body, _ := strings.Cut(request, "\r\n\r\n")
			e := r.exchange(t)
			e.expect(t, head+"\r\n\r\n", http.StatusContinue, "")
			resp, text, err := e.roundTrip(body)
			if err != nil || resp.StatusCode > 299 {
				t.Errorf("%v %s, %v", resp, text, err)
			}
			e.expect(t, r.hotGet(user), http.StatusOK, "Away")
			e.close()
		}
		e := r.exchange(t) // a refusal comes instead of 100
		defer e.close()
		head, _, _ := strings.Cut(strings.Replace(r.hotPut(user, "Away", "Expect: 100-continue"), r.made.AccessToken, "guess", 1), "\r\n\r\n")
		e.expect(t, head+"\r\n\r\n", http.StatusUnauthorized, "")
	})
}

// TestPollOfGoneClient: the server's waiting poll ends when its client disconnects.
func TestPollOfGoneClient(t *testing.T) {
	t.Parallel()
	forEachMode(t, nil, func(t *testing.T, r *running) {
		t.Helper()
		const polls = 5
		user := r.createUsers(t, 1)[0]
		cursor := r.settledCursor(t, user)
		for name, leave := range map[string]func(e *exchange){
			"closed": (*exchange).close,
			"reset": func(e *exchange) {
				_ = tcpOf(t, e.conn).SetLinger(0) // the count of streams shows whether it worked
				_ = tcpOf(t, e.conn).Close()
			},
		} {
			var waiting []*exchange
			for i := range polls {
				e := r.exchange(t)
				if i%2 == 0 {
					e.expect(t, r.hotGet(user), http.StatusOK, "")
				}
				if _, err := io.WriteString(e.conn, r.request(http.MethodGet, "/v1/presence/changes?wait=60&users="+user+"&cursor="+cursor, "")); err != nil {
					t.Fatal(err)
				}
				waiting = append(waiting, e)
			}
			open := func() string { return r.metric(t, "porchlight_stream_open") }
			eventually(t, "the polls wait", func() bool { return open() == "5" })
			for _, e := range waiting {
				leave(e)
			}
			eventually(t, "the polls have ended: "+name, func() bool { return open() == "0" })
		}
	})
}

// settledCursor returns a cursor after which a user has not changed.
func (r *running) settledCursor(t *testing.T, user string) string {
	t.Helper()
	q := client.ChangesQuery{Users: []string{user}, Wait: time.Second}
	for {
		now, err := r.client.Changes(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if q.Cursor != "" && len(now.Presences) == 0 {
			return now.Cursor
		}
		q.Cursor = now.Cursor
	}
}

// TestPollAndAnotherRequest: a request that arrives during a poll is served after it.
func TestPollAndAnotherRequest(t *testing.T) {
	t.Parallel()
	forEachMode(t, nil, func(t *testing.T, r *running) {
		t.Helper()
		user := r.createUsers(t, 1)[0]
		e := r.exchange(t)
		defer e.close()
		poll := r.request(http.MethodGet, "/v1/presence/changes?wait=1&users="+user+"&cursor="+r.settledCursor(t, user), "")
		began := time.Now()
		e.expect(t, poll+r.hotPut(user, "Away"), http.StatusOK, "cursor")
		if took := time.Since(began); took < time.Second {
			t.Errorf("the poll took %v", took)
		}
		if resp, body, err := e.read(); err != nil || resp.StatusCode != http.StatusNoContent {
			t.Errorf("%v %s, %v", resp, body, err)
		}
		e.expect(t, r.hotGet(user), http.StatusOK, "Away")
	})
}
