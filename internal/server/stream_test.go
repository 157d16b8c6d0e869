package server_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/leveltest"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/server"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
)

// A historyStore records the presence of every commit, by user and revision.
type historyStore struct {
	store.Store

	mu    sync.Mutex
	shown map[string]map[uint64]presence.Presence
}

func (h *historyStore) Update(ctx context.Context, u store.User, fn store.Decide) (store.Record, error) {
	record, err := h.Store.Update(ctx, u, fn)
	h.add(record)
	return record, err
}

func (h *historyStore) Begin(u store.User, fn store.Decide, reply store.Reply) {
	h.Store.Begin(u, fn, func(record store.Record, err error) {
		h.add(record)
		reply(record, err)
	})
}

func (h *historyStore) add(record store.Record) {
	if record.State == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	user := string(record.User.ID)
	if h.shown[user] == nil {
		h.shown[user] = make(map[uint64]presence.Presence)
	}
	h.shown[user][uint64(record.Shown.Revision)] = record.Shown
}

// committed reports whether a commit produced p.
func (h *historyStore) committed(p *api.Presence) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	shown, ok := h.shown[p.User][p.Revision]
	return ok && shown.Status.String() == string(p.Status) && shown.Note == p.Note
}

// startRecorded runs a server whose commits are recorded.
func startRecorded(t *testing.T, cfg config.Config) (*running, *historyStore) {
	t.Helper()
	made, err := server.Init(t.Context(), cfg, testFounding)
	if err != nil {
		t.Fatal(err)
	}
	st, err := pebblestore.Open(filepath.Join(cfg.DataDir, "store"), pebblestore.Options{MustExist: true})
	if err != nil {
		t.Fatal(err)
	}
	history := &historyStore{Store: st, shown: make(map[string]map[uint64]presence.Presence)}
	return run(t, cfg, server.Options{Store: history}, made), history
}

// createToken creates a token for a user, or for the account if user is "".
func (r *running) createToken(t *testing.T, user string, scopes ...string) api.Token {
	t.Helper()
	token, err := r.client.CreateToken(t.Context(), api.CreateToken{User: user, Name: "stream", Scopes: scopes})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// createUsers creates users who are signed in, and returns their ids. All are in the group
// All, and every other one in Half 0 and in Half 1.
func (r *running) createUsers(t *testing.T, n int) []string {
	t.Helper()
	ids := make([]string, n)
	for i := range ids {
		u, err := r.client.CreateUser(t.Context(), api.CreateUser{Email: fmt.Sprintf("user%d@example.com", i), Groups: []string{"All", fmt.Sprint("Half ", i%2)}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.client.SignIn(t.Context(), u.ID, longSignIn("desktop")); err != nil {
			t.Fatal(err)
		}
		ids[i] = u.ID
	}
	return ids
}

// longSignIn is for a session without a connection that outlives the test on any machine.
func longSignIn(clientType string) api.SignIn {
	hour := 3600
	return api.SignIn{ClientType: clientType, LeaseSeconds: &hour}
}

// A route is a transport for following users.
type route int

const (
	overWebSocket route = iota
	overEvents
	overPoll
	routes
)

// A cutConn breaks after a number of bytes has been read from it.
type cutConn struct {
	net.Conn
	left  int          // accessed only by the single reader
	ended *atomic.Bool // whether the server closed it
}

var (
	errCut   = errors.New("the connection was cut")
	errEnded = errors.New("the server closed the connection")
)

func (c *cutConn) Read(b []byte) (int, error) {
	if c.left <= 0 {
		_ = c.Close()
		return 0, errCut
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, c.recordEnd(err)
}

// Write implements net.Conn.
func (c *cutConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	return n, c.recordEnd(err)
}

func (c *cutConn) recordEnd(err error) error {
	if err != nil && !errors.Is(err, net.ErrClosed) {
		c.ended.Store(true)
	}
	return err
}

// neverCut is more than any test reads.
const neverCut = 1 << 40

// dialer returns an HTTP client with one connection, which is cut after some bytes. A
// modern client speaks HTTP/2 if the server has TLS. A client that is never cut
// connects again if net/http gave up the connection, as it does after waiting 50 ms for
// its own goroutine, but not if the server closed it.
func dialer(cutAfter int, modern bool) (*http.Client, func()) {
	var dialed, ended atomic.Bool
	transport := &http.Transport{ForceAttemptHTTP2: modern, TLSClientConfig: trustAnyServer(), DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		switch again := dialed.Swap(true); {
		case again && ended.Load():
			return nil, errEnded
		case again && cutAfter < neverCut:
			return nil, errCut // net/http would retry on another connection
		}
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &cutConn{Conn: conn, left: cutAfter, ended: &ended}, err
	}}
	return &http.Client{Transport: transport}, transport.CloseIdleConnections
}

// trustAnyServer accepts the certificates of tests.
func trustAnyServer() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

// A watcher is a client that follows docs/streaming.md and checks the server's
// guarantees. It records what it receives and every violation.
type watcher struct {
	url, token string
	follows    []string
	audience   url.Values    // follows them by this, if it is not nil
	changing   bool          // who is in the audience
	unfiltered bool          // receives unfiltered presence
	more       chan struct{} // gets an element when a presence arrives; nil: unused

	mu         sync.Mutex // guards the fields below
	cursor     string
	has        map[string]api.Presence
	received   []api.Presence // only if unfiltered
	violations []string
	resets     int
}

// watcher returns a watcher that receives unfiltered presence.
func (r *running) watcher(token string, follows []string) *watcher {
	return &watcher{url: r.URL(), token: token, unfiltered: true, follows: follows, has: make(map[string]api.Presence)}
}

func (w *watcher) addViolation(format string, args ...any) {
	if len(w.violations) < 5 {
		w.violations = append(w.violations, fmt.Sprintf(format, args...))
	}
}

// applyPresence applies a received presence of one user. A repeated revision is allowed
// only if again is set; an older one never is.
func (w *watcher) applyPresence(p api.Presence, again bool) {
	before, known := w.has[p.User]
	if !w.changing && !slices.Contains(w.follows, p.User) {
		w.addViolation("received %s, whom the watcher does not follow", p.User)
	}
	if known && (p.Revision < before.Revision || p.Revision == before.Revision && !again) {
		w.addViolation("%s went from revision %d to %d", p.User, before.Revision, p.Revision)
	}
	p.AskedAs, p.Cursor = "", ""
	w.has[p.User] = p
	if w.unfiltered {
		w.received = append(w.received, p)
	}
	select {
	case w.more <- struct{}{}:
	default:
	}
}

// applyFrame applies a complete frame.
func (w *watcher) applyFrame(text []byte) {
	var f api.ServerFrame
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := json.Unmarshal(text, &f); err != nil {
		w.addViolation("a frame is not JSON: %v: %.200s", err, text)
		return
	}
	switch f.Type {
	case api.FrameReset:
		w.resets++
		clear(w.has)
	case api.FrameSnapshot:
		w.applySnapshot(&f)
	case api.FramePresence:
		if _, known := w.has[f.User]; w.changing && !known {
			w.addViolation("received a change of %s, who is no member", f.User)
		}
		w.applyPresence(api.Presence{User: f.User, Status: f.Status, Note: f.Note, Since: f.Since, Until: f.Until, Revision: f.Revision}, false)
	case api.FrameGone:
		w.applyGone([]string{f.User})
	case api.FrameError:
		w.addViolation("received an error: %s %s", f.Code, f.Detail)
	}
	if f.Cursor != "" {
		w.cursor = f.Cursor
	}
}

// applyGone removes members who left.
func (w *watcher) applyGone(ids []string) {
	for _, id := range ids {
		delete(w.has, id)
	}
	if len(ids) > 0 && !w.changing {
		w.addViolation("gone %v", ids)
	}
}

func (w *watcher) applySnapshot(f *api.ServerFrame) {
	w.applyGone(f.Gone)
	for _, p := range f.Presences {
		w.applyPresence(p, true)
	}
	if len(f.Unknown) > 0 {
		w.addViolation("unknown %v", f.Unknown)
	}
	if w.changing {
		return
	}
	if !f.Partial && len(f.Presences) != len(w.follows) {
		w.addViolation("a full snapshot has %d of %d users", len(f.Presences), len(w.follows))
	}
	if f.Partial != (w.cursor != "") {
		w.addViolation("partial is %v with the cursor %q", f.Partial, w.cursor)
	}
}

func (w *watcher) lastCursor() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cursor
}

// query returns the parameters for any route.
func (w *watcher) query() url.Values {
	q := url.Values{"users": {strings.Join(w.follows, ",")}}
	if w.audience != nil {
		q = maps.Clone(w.audience)
	}
	if at := w.lastCursor(); at != "" {
		q.Set("cursor", at)
	}
	return q
}

// connect follows over one connection until it is cut or ctx ends. It returns the code
// of a close by the server, or 0.
func (w *watcher) connect(ctx context.Context, over route, cutAfter int) (code int, err error) {
	c, done := dialer(cutAfter, over != overWebSocket && rand.IntN(2) == 0)
	defer done()
	switch over {
	case overWebSocket:
		return w.overWebSocket(ctx, c)
	case overEvents:
		return w.overEvents(ctx, c)
	default:
		return 0, w.overPoll(ctx, c)
	}
}

func (w *watcher) header() http.Header {
	return http.Header{"Authorization": {"Bearer " + w.token}}
}

func (w *watcher) overWebSocket(ctx context.Context, c *http.Client) (int, error) {
	conn, resp, err := websocket.Dial(ctx, w.url+"/v1/stream?"+w.query().Encode(), &websocket.DialOptions{HTTPClient: c, HTTPHeader: w.header()})
	if err != nil {
		if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
			return 0, fmt.Errorf("status %d: %w", resp.StatusCode, err)
		}
		return 0, err
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(16 << 20)
	for {
		_, text, err := conn.Read(ctx)
		if err != nil {
			return int(websocket.CloseStatus(err)), err
		}
		w.applyFrame(text)
	}
}

func (w *watcher) overEvents(ctx context.Context, c *http.Client) (int, error) {
	resp, err := w.get(ctx, c, "/v1/stream?"+w.query().Encode())
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewReader(resp.Body)
	var kind, id, data string
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return 0, err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "event":
			kind = value
		case "id":
			id = value
		case "data":
			if data != "" {
				w.recordViolation("an event has two data lines")
			}
			data = value
		case "":
			if kind == api.FrameClose {
				var f api.ServerFrame
				_ = json.Unmarshal([]byte(data), &f) // a code of 0 fails the test
				return f.CloseCode, io.EOF
			}
			if data != "" {
				w.applyFrame([]byte(data))
				if at := w.lastCursor(); id != "" && at != id {
					w.recordViolation("the id of an event is not its cursor")
				}
			}
			kind, id, data = "", "", ""
		}
	}
}

func (w *watcher) recordViolation(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.addViolation("%s", what)
}

func (w *watcher) get(ctx context.Context, c *http.Client, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header = w.header()
	resp, err := c.Do(req)
	if err == nil && resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	return resp, err
}

func (w *watcher) overPoll(ctx context.Context, c *http.Client) error {
	for {
		q := w.query()
		q.Set("wait", "1")
		resp, err := w.get(ctx, c, "/v1/presence/changes?"+q.Encode())
		if err != nil {
			return err
		}
		var changes api.Changes
		text, err := io.ReadAll(resp.Body) // a json.Decoder may leave the newline unread, and net/http then closes the connection
		_ = resp.Body.Close()
		if err == nil {
			err = json.Unmarshal(text, &changes)
		}
		if err != nil {
			return err
		}
		w.applyChanges(&changes)
		if resp.Close {
			return errEnded
		}
	}
}

func (w *watcher) applyChanges(c *api.Changes) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.Reset {
		w.resets++
		clear(w.has)
	}
	for _, p := range c.Presences {
		w.applyPresence(p, true)
	}
	w.applyGone(c.Gone)
	if len(c.Unknown) > 0 {
		w.addViolation("unknown %v", c.Unknown)
	}
	w.cursor = c.Cursor
}

// difference compares what the watcher received with the results of GET. It returns ""
// if they are equal.
func (w *watcher) difference(ctx context.Context, c *http.Client) string {
	asker, err := client.New(w.url, client.StaticToken(w.token), c)
	if err != nil {
		return err.Error()
	}
	now, err := asker.Query(ctx, w.follows)
	if err != nil {
		return err.Error()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range now.Presences {
		has, ok := w.has[p.User]
		if !ok || has.Revision != p.Revision || has.Status != p.Status || has.Note != p.Note || !has.Since.Equal(p.Since.Time) {
			return fmt.Sprintf("GET returns %+v, the watcher has %+v", p, has)
		}
	}
	return ""
}

// check reports violations, and received presences that were never committed.
func (w *watcher) check(t *testing.T, history *historyStore) (delivered int) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, what := range w.violations {
		t.Error(what)
	}
	if w.resets > 0 {
		t.Errorf("%d resets in a store that was never restored", w.resets)
	}
	for i := range w.received {
		if !history.committed(&w.received[i]) {
			t.Errorf("%+v was never committed", w.received[i])
			break
		}
	}
	return len(w.received)
}

// reconnectRepeatedly connects over random routes and cuts the connection, each time
// from the cursor of the last complete frame.
func (w *watcher) reconnectRepeatedly(ctx context.Context, times int) {
	for range times {
		if ctx.Err() != nil {
			return
		}
		_, err := w.connect(ctx, route(rand.IntN(int(routes))), rand.IntN(12_000))
		if err != nil && strings.HasPrefix(err.Error(), "status ") {
			w.recordViolation("refused: " + err.Error())
		}
	}
}

// Parameters of TestStreamsDeliverEverything.
const (
	streamUsers, streamWriters = 40, 16
	streamWatchers             = 25
	writeEvery                 = 10 * time.Millisecond // interval of each writer
)

// TestStreamsDeliverEverything: wherever a connection is cut, a watcher that resumes
// from the cursor of the last complete frame, on any route, receives the changes of
// every user it follows. It never receives uncommitted states or older revisions, and
// soon after the last change it has what GET returns. Coalescing is allowed.
func TestStreamsDeliverEverything(t *testing.T) {
	testDelivery(t, settings(t), leveltest.Count(t, "streams that are cut and resumed", 500, 2000, 40_000))
}

// TestStreamsDeliverEverythingOverTLS runs the same test over TLS, with server-sent
// events and long polls also over HTTP/2.
func TestStreamsDeliverEverythingOverTLS(t *testing.T) {
	cfg := settings(t)
	dir := t.TempDir()
	cfg.TLSCertFile, cfg.TLSKeyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, cfg.TLSCertFile, cfg.TLSKeyFile, 1)
	testDelivery(t, cfg, leveltest.Count(t, "streams over TLS that are cut and resumed", 200, 500, 500))
}

func testDelivery(t *testing.T, cfg config.Config, reconnects int) {
	t.Helper()
	r, history := startRecorded(t, cfg)
	transport := &http.Transport{TLSClientConfig: trustAnyServer()}
	defer transport.CloseIdleConnections()
	r.http.Transport = transport
	ids := r.createUsers(t, streamUsers)
	var private []string // visibility rules apply to watchers with a user
	for i := range 5 {
		private = append(private, ids[i])
	}
	account := r.createToken(t, "", "presence:read:admin").Secret
	ada := r.createToken(t, r.made.OwnerID, "presence:read").Secret

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	writing, stopWriting := context.WithCancel(ctx)
	var writers, watchers sync.WaitGroup
	var written atomic.Int64
	for i := range streamWriters {
		writers.Go(func() { r.write(writing, t, i, ids, &written) })
	}
	writers.Go(func() { r.changeRules(writing, t, private) })

	all := make([]*watcher, streamWatchers)
	var cutting sync.WaitGroup
	for i := range all {
		w := r.watcher(account, nil)
		if i%3 == 2 {
			w.token, w.unfiltered = ada, false
		}
		switch i % 4 {
		case 0:
			w.follows, w.audience = ids, url.Values{"group": {"all"}}
		case 1:
			w.audience = url.Values{"group": {"HALF 0"}}
			for j := 0; j < len(ids); j += 2 {
				w.follows = append(w.follows, ids[j])
			}
		default:
			for _, j := range rand.Perm(len(ids))[:20+rand.IntN(21)] {
				w.follows = append(w.follows, ids[j])
			}
		}
		all[i] = w
		cutting.Add(1)
		watchers.Go(func() {
			w.reconnectRepeatedly(ctx, reconnects/streamWatchers)
			cutting.Done()
			if _, err := w.connect(ctx, route(i%int(routes)), neverCut); ctx.Err() == nil {
				w.recordViolation(fmt.Sprintf("the last connection ended before the test: %v", err))
			}
		})
	}
	began := time.Now()
	cutting.Wait()
	stopWriting()
	writers.Wait()
	quiet := time.Now()
	r.waitForConvergence(t, all)
	t.Logf("%d reconnects in %v, %d writes; converged %v after the last", reconnects, quiet.Sub(began), written.Load(), time.Since(quiet))
	stop()
	watchers.Wait()
	delivered := 0
	for _, w := range all {
		delivered += w.check(t, history)
	}
	if delivered < reconnects || written.Load() < int64(reconnects/4) {
		t.Errorf("INVALID: %d presences were delivered, %d written", delivered, written.Load())
	}
}

// waitForConvergence waits until all watchers have what GET returns.
func (r *running) waitForConvergence(t *testing.T, all []*watcher) {
	t.Helper()
	quiet := time.Now()
	for behind := all; ; time.Sleep(5 * time.Millisecond) {
		var late string
		behind = slices.DeleteFunc(slices.Clone(behind), func(w *watcher) bool {
			what := w.difference(t.Context(), r.http)
			if what != "" {
				late = what
			}
			return what == ""
		})
		if len(behind) == 0 {
			return
		}
		if time.Since(quiet) > waitLimit {
			t.Errorf("%d of %d watchers are behind %v after the last change: %s", len(behind), len(all), waitLimit, late)
			return
		}
	}
}

// write makes changes to users until ctx ends.
func (r *running) write(ctx context.Context, t *testing.T, writer int, ids []string, written *atomic.Int64) {
	statuses := []api.Status{api.Busy, api.DoNotDisturb, api.Away, api.Available}
	pace := time.NewTicker(writeEvery)
	defer pace.Stop()
	for n := 0; ; n++ {
		select {
		case <-pace.C:
		case <-ctx.Done():
			return
		}
		id := ids[rand.IntN(len(ids))]
		var err error
		if n%2 == 0 {
			_, err = r.client.SetNote(t.Context(), id, api.SetNote{Text: fmt.Sprintf("writer %d, %d", writer, n)})
		} else {
			_, err = r.client.SetClaim(t.Context(), id, "manual", api.SetClaim{Source: "manual", Status: statuses[rand.IntN(len(statuses))]})
		}
		if err != nil {
			t.Errorf("write: %v", err)
			return
		}
		written.Add(1)
	}
}

// changeRules hides and shows users until ctx ends.
func (r *running) changeRules(ctx context.Context, t *testing.T, ids []string) {
	visibilityLevels := []api.VisibilityLevel{api.VisibilityAll, api.VisibilityStatus, api.VisibilityOffline}
	pace := time.NewTicker(5 * writeEvery)
	defer pace.Stop()
	for {
		select {
		case <-pace.C:
		case <-ctx.Done():
			return
		}
		rules := api.Visibility{Everyone: visibilityLevels[rand.IntN(len(visibilityLevels))], Groups: map[string]api.VisibilityLevel{}, Watchers: map[string]api.VisibilityLevel{}}
		if _, err := r.client.SetVisibility(t.Context(), ids[rand.IntN(len(ids))], rules); err != nil {
			t.Errorf("rules: %v", err)
			return
		}
	}
}

// TestRevokedTokenEndsItsStreams: the streams of a revoked token end with a close code
// that forbids reconnecting with it, and other streams stay open.
func TestRevokedTokenEndsItsStreams(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	ids := r.createUsers(t, 2)
	ctx, stop := context.WithTimeout(t.Context(), 4*waitLimit)
	defer stop()
	revoked, kept := r.createToken(t, "", "presence:read:admin"), r.createToken(t, "", "presence:read:admin")
	type ending struct {
		over  route
		token string
		code  int
	}
	endings := make(chan ending, 4)
	var open sync.WaitGroup
	for _, over := range []route{overWebSocket, overEvents} {
		for _, token := range []api.Token{revoked, kept} {
			w := r.watcher(token.Secret, ids)
			open.Go(func() {
				code, _ := w.connect(ctx, over, neverCut)
				endings <- ending{over, token.ID, code}
			})
			eventually(t, "the stream is open", func() bool { return w.lastCursor() != "" })
		}
	}
	if err := r.client.RevokeToken(ctx, revoked.ID); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for range 2 {
		select {
		case e := <-endings:
			if e.token != revoked.ID || e.code != api.CloseUnauthorized {
				t.Errorf("a stream of token %s over route %d ended with code %d", e.token, e.over, e.code)
			}
		case <-time.After(waitLimit):
			t.Fatalf("a stream is still open %v after its token was revoked", waitLimit)
		}
	}
	t.Logf("both ended within %v", time.Since(began))
	select {
	case e := <-endings:
		t.Errorf("the stream of another token ended with code %d", e.code)
	default:
	}
	stop()
	open.Wait()
}

// TestDialerReconnects: a client that is never cut connects again if net/http gave up
// the connection, and fails if the server closed it.
func TestDialerReconnects(t *testing.T) {
	completeResponse := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}\n") }
	for name, c := range map[string]struct {
		serve    http.HandlerFunc
		read     bool // read the complete first response
		cutAfter int
		ends     bool
	}{
		"nothing":             {completeResponse, true, neverCut, false},
		"net/http":            {completeResponse, false, neverCut, false},
		"the test":            {completeResponse, true, 120, true}, // cut in the second response
		"net/http, to be cut": {completeResponse, false, 1 << 20, true},
		"the server": {func(w http.ResponseWriter, _ *http.Request) {
			if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}\n")
				_ = conn.Close()
			}
		}, true, neverCut, true},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(c.serve)
			defer srv.Close()
			asker, done := dialer(c.cutAfter, false)
			defer done()
			w := &watcher{url: srv.URL}
			resp, err := w.get(t.Context(), asker, "")
			if err != nil {
				t.Fatal(err)
			}
			if c.read {
				_, err = io.ReadAll(resp.Body)
			}
			_ = resp.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			if resp, err = w.get(t.Context(), asker, ""); err == nil {
				_, err = io.ReadAll(resp.Body)
				_ = resp.Body.Close()
			}
			if (err != nil) != c.ends {
				t.Errorf("the second request: %v", err)
			}
		})
	}
	t.Run("the server announces the close", func(t *testing.T) {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Connection", "close")
			completeResponse(w, r)
		}))
		defer srv.Close()
		asker, done := dialer(neverCut, false)
		defer done()
		if err := (&watcher{url: srv.URL}).overPoll(t.Context(), asker); !errors.Is(err, errEnded) {
			t.Errorf("the poll ended with %v", err)
		}
	})
}
