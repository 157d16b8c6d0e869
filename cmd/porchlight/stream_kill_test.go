package main_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/leveltest"
)

// Parameters of TestKillWithStreams.
const (
	streamKillUsers    = 16
	streamKillWatchers = 8
	convergenceTime    = time.Minute // a failure bound; docs/streaming.md allows two seconds
)

// A follower follows users over streams across restarts, with only the cursor of the
// last frame, and records violations.
type follower struct {
	token   string
	follows []string

	mu         sync.Mutex // guards the fields below
	cursor     string
	has        map[string]api.Presence
	received   int
	seen       map[api.Status]int
	violations []string
}

func newFollower(token string, follows ...string) *follower {
	return &follower{token: token, follows: follows, has: make(map[string]api.Presence), seen: make(map[api.Status]int)}
}

func (f *follower) addViolation(format string, args ...any) {
	f.violations = append(f.violations, fmt.Sprintf(format, args...))
}

func (f *follower) applyPresence(p api.Presence) {
	if before := f.has[p.User].Revision; p.Revision < before {
		f.addViolation("%s went from revision %d back to %d", p.User, before, p.Revision)
	}
	f.has[p.User] = p
	f.seen[p.Status]++
	f.received++
}

func (f *follower) applyFrame(text []byte) {
	var frame api.ServerFrame
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := json.Unmarshal(text, &frame); err != nil {
		f.addViolation("%v: %.200s", err, text)
	}
	switch frame.Type {
	case api.FrameSnapshot:
		if frame.Partial != (f.cursor != "") || len(frame.Gone)+len(frame.Unknown) > 0 {
			f.addViolation("the snapshot for the cursor %q is %.300s", f.cursor, text)
		}
		for _, p := range frame.Presences {
			f.applyPresence(p)
		}
	case api.FramePresence:
		f.applyPresence(api.Presence{User: frame.User, Status: frame.Status, Note: frame.Note, Since: frame.Since, Until: frame.Until, Revision: frame.Revision})
	case api.FrameReset, api.FrameError:
		f.addViolation("%.300s", text)
	}
	if frame.Cursor != "" {
		f.cursor = frame.Cursor
	}
}

func (f *follower) path() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	q := url.Values{"users": {strings.Join(f.follows, ",")}}
	if f.cursor != "" {
		q.Set("cursor", f.cursor)
	}
	return "/v1/stream?" + q.Encode()
}

func (f *follower) header() http.Header { return http.Header{"Authorization": {"Bearer " + f.token}} }

// webSocket follows until the connection ends, and returns the reason.
func (f *follower) webSocket(ctx context.Context, server string) error {
	conn, _, err := websocket.Dial(ctx, server+f.path(), &websocket.DialOptions{HTTPHeader: f.header()})
	if err != nil {
		return err
	}
	defer func() { _ = conn.CloseNow() }()
	for {
		_, text, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		f.applyFrame(text)
	}
}

// events is webSocket over SSE.
func (f *follower) events(ctx context.Context, server string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server+f.path(), http.NoBody)
	if err != nil {
		return err
	}
	req.Header = f.header()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	var data string
	for in := bufio.NewReader(resp.Body); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		if text, ok := strings.CutPrefix(line, "data: "); ok {
			data = text
		}
		if line == "\n" && data != "" { // an empty line ends the event
			if strings.HasPrefix(data, `{"type":"close"`) {
				return fmt.Errorf("%w: %s", io.EOF, data)
			}
			f.applyFrame([]byte(data))
			data = ""
		}
	}
}

// difference compares the follower's state with the results of GET. It returns "" if
// they are equal.
func (f *follower) difference(now *api.Presences) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range now.Presences {
		if has := f.has[p.User]; has.Revision != p.Revision || has.Status != p.Status || has.Note != p.Note {
			return fmt.Sprintf("GET returns %+v, the follower has %+v", p, has)
		}
	}
	return ""
}

func (f *follower) check(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, what := range f.violations {
		if i < 3 {
			t.Error(what)
		}
	}
}

// TestKillWithStreams: everything that a stream sent is present after kill -9, and
// everything else is sent when the stream resumes from its cursor. No watcher misses
// the last state of a user, receives a revision that is then lost, or gets a reset.
func TestKillWithStreams(t *testing.T) {
	cycles := leveltest.Count(t, "kills of a server that streams", 5, 10, 100)
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(cycles)*killCycleLimit)
	defer cancel()
	in := install(ctx, t, t.TempDir())
	p := in.start(ctx, t)
	in.keepToken = true
	users := make([]string, streamKillUsers)
	for i := range users {
		users[i] = newUser(ctx, t, p.Client, fmt.Sprintf("user%d@example.com", i))
	}
	all := make([]*follower, streamKillWatchers)
	for i := range all {
		all[i] = newFollower(in.token, users...)
	}
	var acked atomic.Int64
	for cycle := range cycles {
		var streams, writers sync.WaitGroup
		for i, f := range all {
			streams.Go(func() {
				if (cycle+i)%2 == 0 {
					_ = f.webSocket(ctx, p.url) // the server is killed
				} else {
					_ = f.events(ctx, p.url)
				}
			})
		}
		if cycle > 0 { // no writes: changes that the last server did not send arrive now
			waitForConvergence(ctx, t, p, users, all)
		}
		before := acked.Load()
		for i, id := range users {
			writers.Go(func() {
				for n := 0; p.alive(); n++ {
					note, err := p.SetNote(ctx, id, api.SetNote{Text: fmt.Sprintf("%d: %d of %d", cycle, n, i)})
					if outcomeOf(err) == wrong {
						t.Errorf("setting a note: %v", err)
						return
					}
					if err == nil && note.Presence.Revision > 0 {
						acked.Add(1)
					}
				}
			})
		}
		awaitCount(ctx, p, &acked, before+int64(streamKillUsers*(3+cycle%5)))
		p.kill()
		writers.Wait()
		streams.Wait()
		if t.Failed() {
			t.FailNow()
		}
		p = in.start(ctx, t)
	}
	var streams sync.WaitGroup
	for _, f := range all {
		streams.Go(func() { _ = f.webSocket(ctx, p.url) })
	}
	waitForConvergence(ctx, t, p, users, all)
	p.stop(t)
	streams.Wait()
	received := 0
	for _, f := range all {
		f.check(t)
		received += f.received
	}
	t.Logf("%d cycles: %d changes acknowledged, %d sent to %d watchers, 0 missed", cycles, acked.Load(), received, len(all))
	if acked.Load() < int64(cycles*streamKillUsers) || received < cycles*streamKillWatchers {
		t.Error("INVALID: too few writes or deliveries")
	}
}

// waitForConvergence waits until all followers have what GET returns.
func waitForConvergence(ctx context.Context, t *testing.T, p *process, users []string, all []*follower) {
	t.Helper()
	var late string
	for began := time.Now(); time.Since(began) < convergenceTime; time.Sleep(5 * time.Millisecond) {
		now, err := p.Query(ctx, users)
		if err != nil {
			t.Fatal(err)
		}
		late = ""
		for _, f := range all {
			if what := f.difference(&now); what != "" {
				late = what
			}
		}
		if late == "" {
			return
		}
	}
	t.Fatalf("%v after the start: %s", convergenceTime, late)
}

// TestDrainOfStreams: a server that is stopped announces it on its streams, stops in
// time, and leaves the sessions of its connections to the next server. A client that
// reconnects within the lease is never shown as offline.
func TestDrainOfStreams(t *testing.T) {
	const drainTimeout = time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), 5*drainTimeout)
	defer cancel()
	in := install(ctx, t, t.TempDir(), "--drain-delay", "100ms", "--drain-timeout", drainTimeout.String())
	p := in.start(ctx, t)
	in.keepToken = true
	grace := newUser(ctx, t, p.Client, "grace@example.com")
	own, err := p.CreateToken(ctx, api.CreateToken{User: grace, Name: "grace", Scopes: []string{"presence:read", "session:write"}})
	if err != nil {
		t.Fatal(err)
	}
	session, conn := signInOver(ctx, t, p.url, own.Secret, "")

	overSocket, overEvents := newFollower(in.token, grace), newFollower(in.token, grace)
	ends := make(chan error, 3)
	go func() { ends <- overSocket.webSocket(ctx, p.url) }()
	go func() { ends <- overEvents.events(ctx, p.url) }()
	all := []*follower{overSocket, overEvents}
	waitForConvergence(ctx, t, p, []string{grace}, all)
	go func() {
		for {
			if _, _, err := conn.Read(ctx); err != nil {
				ends <- err
				return
			}
		}
	}()

	began := time.Now()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		err := <-ends
		reason := err.Error()
		if code := websocket.CloseStatus(err); code != api.CloseDraining && !strings.Contains(reason, `"close_code":3000`) {
			t.Errorf("a stream ended with %v", err)
		}
		if !strings.Contains(strings.ReplaceAll(reason, `\"`, `"`), `"retry_ms":`) {
			t.Errorf("the close does not say when to reconnect: %s", reason)
		}
	}
	<-p.ended
	if took := time.Since(began); took >= drainTimeout || p.ProcessState.ExitCode() != 0 {
		t.Errorf("the server stopped after %v with %v", took, p.ProcessState)
	}

	p = in.start(ctx, t)
	var streams sync.WaitGroup
	following, stop := context.WithCancel(ctx)
	streams.Go(func() { _ = overSocket.events(following, p.url) }) // each over the other's transport
	streams.Go(func() { _ = overEvents.webSocket(following, p.url) })
	again, conn := signInOver(ctx, t, p.url, own.Secret, session)
	defer func() { _ = conn.CloseNow() }()
	if again != session {
		t.Errorf("the session %s continues as %s", session, again)
	}
	if _, err := p.SetNote(ctx, grace, api.SetNote{Text: "still here"}); err != nil { // when the note arrives, everything before it has arrived
		t.Fatal(err)
	}
	waitForConvergence(ctx, t, p, []string{grace}, all)
	stop()
	streams.Wait()
	for _, f := range all {
		f.check(t)
		if f.seen[api.Offline] > 0 || f.has[grace].Status != api.Available {
			t.Errorf("the follower received %v, and last %+v", f.seen, f.has[grace])
		}
	}
	_ = conn.CloseNow()
	p.stop(t)
}

// signInOver signs in over a WebSocket, and returns the session of the answer.
func signInOver(ctx context.Context, t *testing.T, server, token, was string) (session string, conn *websocket.Conn) {
	t.Helper()
	conn, _, err := websocket.Dial(ctx, server+"/v1/stream", &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}})
	if err != nil {
		t.Fatal(err)
	}
	ask, err := json.Marshal(api.ClientFrame{Type: api.FrameSignIn, ID: "1", ClientType: "desktop", Session: was})
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Write(ctx, websocket.MessageText, ask); err != nil {
		t.Fatal(err)
	}
	for {
		_, text, err := conn.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var f api.ServerFrame
		if err := json.Unmarshal(text, &f); err != nil {
			t.Fatal(err)
		}
		if f.Type == api.FrameError {
			t.Fatalf("%s", text)
		}
		if f.Type == api.FrameDone {
			return f.Session, conn
		}
	}
}
