package server_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/server"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/zoomapi"
)

// twins are two servers with equal stores and one clock, which differ in the fast path.
type twins struct {
	clock      *apptest.Clock
	fast, slow *twin
	names      map[string]string // by placeholder: ids and tokens
}

type twin struct {
	*running
	access *lockedBuffer
	store  store.Store
}

// startTwins starts two servers. change may change their settings, and wrap their stores.
func startTwins(tb testing.TB, change func(cfg *config.Config), wrap func(store.Store) store.Store) *twins {
	tb.Helper()
	w := &twins{clock: apptest.Noon(), names: make(map[string]string)}
	seed := vfs.NewMem()
	w.seed(tb, seed)
	w.clock.Advance(time.Second)
	for i, to := range []**twin{&w.fast, &w.slow} {
		cfg := settings(tb)
		cfg.IdleAfter = 0 // no commit but those of requests
		cfg.AccessLog = "on"
		cfg.FastPath = i == 0
		if change != nil {
			change(&cfg)
		}
		fs := vfs.NewMem()
		if ok, err := vfs.Clone(seed, fs, "store", "store"); !ok || err != nil {
			tb.Fatal(ok, err)
		}
		opened, err := pebblestore.Open("store", pebblestore.Options{FS: fs, Clock: w.clock.Now, MinFreeBytes: -1})
		if err != nil {
			tb.Fatal(err)
		}
		*to = &twin{access: new(lockedBuffer), store: opened}
		if wrap != nil {
			(*to).store = wrap(opened)
		}
		(*to).running = run(tb, cfg, server.Options{Store: (*to).store, Clock: w.clock.Now, AccessLog: (*to).access}, server.Credentials{AccessToken: w.names["{app}"]})
	}
	return w
}

// seed fills a store with two accounts and users in every state.
func (w *twins) seed(tb testing.TB, fs vfs.FS) {
	tb.Helper()
	st, err := pebblestore.Open("store", pebblestore.Options{FS: fs, Clock: w.clock.Now, MinFreeBytes: -1})
	if err != nil {
		tb.Fatal(err)
	}
	people := apptest.On(tb, st, w.clock.Now, zoomapi.Scopes()...)
	publisher := publish.New(publish.Options{
		Store: st, Policy: presence.DefaultPolicy(), Clock: w.clock.Now,
		Known: func(context.Context, store.User) error { return nil },
	})
	account, owner := people.Account("owner@example.com")
	other, eve := people.Account("eve@example.com")
	do := func(account presence.AccountID, id presence.UserID, e presence.Event) {
		tb.Helper()
		if _, err := publisher.Publish(tb.Context(), store.User{Account: account, ID: id}, store.Actor{}, e); err != nil {
			tb.Fatal(err)
		}
	}
	user := func(name string, events ...presence.Event) presence.UserID {
		tb.Helper()
		id := people.User(account, name+"@example.com").ID
		w.names["{"+name+"}"] = string(id)
		for _, e := range events {
			do(account, id, e)
		}
		return id
	}
	signIn := presence.SignIn{Session: "s", Client: presence.Desktop, Lease: time.Hour}
	old := signIn
	old.Version = "5.2.9"
	w.names["{owner}"], w.names["{eve}"] = string(owner.ID), string(eve.ID)
	ann := user("ann", signIn)
	user("ben", signIn)
	user("cyd") // without a record
	user("dan", signIn, presence.SignOut{Session: "s"})
	user("old", old, presence.SetClaim{ID: presence.ManualClaim, Source: presence.Manual, Status: presence.Busy})
	user("fay", presence.SetUserState{State: presence.UserActive}, presence.SetUserState{State: presence.UserDeactivated})
	user("gus", signIn, presence.SetUserState{State: presence.UserDeleted})
	hidden := user("hid", signIn)
	do(account, hidden, presence.SetVisibility{Everyone: presence.VisibilityOffline})

	token := func(name string, account presence.AccountID, user presence.UserID, scopes string, lasts time.Duration) {
		tb.Helper()
		app, _ := people.App(account, scopes)
		_, w.names["{"+name+"}"] = people.Token(account, app.ID, user, scopes, lasts)
	}
	const own, admin = "user:update:presence_status user:read:presence_status", "user:update:presence_status:admin user:read:presence_status:admin"
	token("app", account, "", admin, 0)
	token("annToken", account, ann, own, 0)
	token("annReads", account, ann, "user:read:presence_status", 0)
	token("annNothing", account, ann, "user:read:user", 0)
	token("plainApp", account, "", own, 0)
	token("eveApp", other, "", admin, 0)
	token("expired", account, ann, own, 500*time.Millisecond)
	if err := st.Close(); err != nil {
		tb.Fatal(err)
	}
}

// fill replaces placeholders.
func (w *twins) fill(text string) string {
	for name, value := range w.names {
		text = strings.ReplaceAll(text, name, value)
	}
	return text
}

// A pace is how a message is written to the connection.
type pace int

const (
	whole      pace = iota
	pipelined       // with the next request in one write
	inPieces        // of 37 bytes
	byteByByte      // each in a write of its own
)

// last is the request after each case: its answer shows that the connection goes on.
const last = "GET /v2/users/{ann}/presence_status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {app}\r\nConnection: close\r\n\r\n"

// exchange sends a request, then another one, and returns all that is answered.
func (s *twin) exchange(t *testing.T, request, next string, how pace) string {
	t.Helper()
	conn := s.dial(t)
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(waitLimit)); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	in := bufio.NewReader(io.TeeReader(conn, &got))
	switch how {
	case pipelined:
		_, _ = io.WriteString(conn, request+next) // what is refused may be cut off
	case inPieces, byteByByte:
		size := 37
		if how == byteByByte {
			size = 1
		}
		for piece := range slices.Chunk([]byte(request), size) {
			_, _ = conn.Write(piece) // likewise
		}
	default:
		_, _ = io.WriteString(conn, request) // likewise
	}
	if how != pipelined {
		readResponse(in, request)
		_, _ = io.WriteString(conn, next) // likewise
	}
	_, err := io.Copy(io.Discard, in)
	if t, ok := err.(net.Error); ok && t.Timeout() { //nolint:errorlint // it is not wrapped
		got.WriteString("\n(no end)")
	}
	return got.String()
}

func (s *twin) dial(t *testing.T) net.Conn {
	t.Helper()
	dial := new(net.Dialer).DialContext
	scheme, address, _ := strings.Cut(s.URL(), "://")
	if scheme == "https" {
		dial = (&tls.Dialer{Config: trustAnyServer()}).DialContext
	}
	conn, err := dial(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// readResponse reads one response, but 100 Continue.
func readResponse(in *bufio.Reader, request string) {
	method, _, _ := strings.Cut(request, " ")
	for {
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, resp.Body) // the tee has all
		_ = resp.Body.Close()                 // likewise
		if resp.StatusCode != http.StatusContinue {
			return
		}
	}
}

var (
	datesAndIDs = regexp.MustCompile(`Date: [^\r]*|(?:WEB_|\b)[0-9a-f]{16}\b|"remote":"[^"]*"`)
	measured    = regexp.MustCompile(`(?m)^porchlight_http_requests_total.*$|^porchlight_http_request_seconds_count.*$|^porchlight_limit_refused_total.*$`)
	warned      = regexp.MustCompile(`level=(?:WARN|ERROR) msg=(?:"[^"]*"|\S+)`)
	answered    = regexp.MustCompile(`(?m)^porchlight_fast_path_answered_total (\d+)$`)
)

// plain is text without what differs between servers.
func plain(text string) string { return datesAndIDs.ReplaceAllString(text, "…") }

// fastAnswers is the number of requests that the fast path has answered.
func (s *twin) fastAnswers(t *testing.T) int {
	t.Helper()
	_, metrics := s.get(t, s.AdminURL()+"/metrics")
	found := answered.FindStringSubmatch(metrics)
	if found == nil {
		return 0
	}
	n, _ := strconv.Atoi(found[1]) // it matched
	return n
}

// compare sends one request to both servers.
func (w *twins) compare(t *testing.T, request string, how pace) string {
	t.Helper()
	request, next := w.fill(request), w.fill(last)
	fast, slow := w.fast.exchange(t, request, next, how), w.slow.exchange(t, request, next, how)
	if plain(fast) != plain(slow) {
		t.Errorf("%q:\nfast path:\n%s\nnet/http:\n%s", request, fast, slow)
	}
	return fast
}

// compareAll compares what the servers stored, logged and counted.
func (w *twins) compareAll(t *testing.T) {
	t.Helper()
	fastEntries, slowEntries := w.fast.entries(t), w.slow.entries(t)
	if i, same := firstDifference(fastEntries, slowEntries); !same {
		t.Errorf("entry %d of %d and %d:\nfast path: %s\nnet/http:  %s", i, len(fastEntries), len(slowEntries), at(fastEntries, i), at(slowEntries, i))
	}
	_, fast := w.fast.get(t, w.fast.AdminURL()+"/metrics")
	_, slow := w.slow.get(t, w.slow.AdminURL()+"/metrics")
	if fast, slow := measured.FindAllString(fast, -1), measured.FindAllString(slow, -1); !slices.Equal(fast, slow) || len(fast) == 0 {
		t.Errorf("metrics:\nfast path: %s\nnet/http:  %s", strings.Join(fast, "\n"), strings.Join(slow, "\n"))
	}
	if fast, slow := warned.FindAllString(w.fast.log.String(), -1), warned.FindAllString(w.slow.log.String(), -1); !slices.Equal(fast, slow) {
		t.Errorf("log:\nfast path: %q\nnet/http:  %q", fast, slow)
	}
	for _, s := range []*twin{w.fast, w.slow} {
		s.stop(server.ErrInterrupted)
		if err := s.wait(t); err != nil {
			t.Error(err)
		}
	}
	fastLog, slowLog := strings.Split(plain(w.fast.access.String()), "\n"), strings.Split(plain(w.slow.access.String()), "\n")
	if i, same := firstDifference(fastLog, slowLog); !same {
		t.Errorf("access log, line %d of %d and %d:\nfast path: %s\nnet/http:  %s", i+1, len(fastLog), len(slowLog), at(fastLog, i), at(slowLog, i))
	}
}

// entries are what the store committed, in order.
func (s *twin) entries(t *testing.T) (all []string) {
	t.Helper()
	for after := store.Position(0); ; {
		entries, err := s.store.Log(t.Context(), after, store.MaxFeedGroup)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			return all
		}
		for i := range entries {
			after, entries[i].At = entries[i].At, 0 // positions are also those of documents
			all = append(all, fmt.Sprintf("%+v", entries[i]))
		}
	}
}

func firstDifference(a, b []string) (at int, same bool) {
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i] != b[i] {
			return i, false
		}
	}
	return 0, true
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(none)"
}

// TestFastPathDenials: a refused request on a hot route is in the audit log, of the account
// or of the server, whichever path answered it.
func TestFastPathDenials(t *testing.T) {
	w := startTwins(t, nil, nil)
	before := w.fast.fastAnswers(t)
	allowed := 0
	for _, c := range callerCases() {
		if answer := w.compare(t, c.request, whole); strings.HasPrefix(answer, "HTTP/1.1 2") {
			allowed++
		}
		allowed++ // the request after it
	}
	if n := w.fast.fastAnswers(t) - before; n <= allowed {
		t.Errorf("INVALID: the fast path answered %d requests, of which at least %d were allowed", n, allowed)
	}
	var fast, slow []string
	eventually(t, "both servers recorded the same denials", func() bool {
		fast, slow = w.fast.denials(t, w.clock), w.slow.denials(t, w.clock)
		return len(fast) > 0 && slices.Equal(fast, slow)
	})
	for _, reason := range []string{"invalid_token", "expired_token", "insufficient_scope", "not_permitted"} {
		for _, method := range []string{"GET", "PUT"} {
			want := "route/" + method + " /v2/users/{userId}/presence_status " + reason
			if reason == "not_permitted" && method == "GET" {
				continue // everybody may read
			}
			if !slices.ContainsFunc(fast, func(e string) bool { return strings.Contains(e, want) }) {
				t.Errorf("no %s in %q", want, fast)
			}
		}
	}
}

// denials are what the audit logs of all accounts and of the server have of refused requests.
func (s *twin) denials(t *testing.T, clock *apptest.Clock) (all []string) {
	t.Helper()
	accounts, err := directory.New(s.store, clock.Now).Accounts(t.Context(), "", 10)
	apptest.Check(t, err)
	ids := []presence.AccountID{audit.System}
	for i := range accounts {
		ids = append(ids, accounts[i].ID)
	}
	log := audit.New(s.store, clock.Now)
	for _, id := range ids {
		page, err := log.Page(t.Context(), id, &audit.Query{Denied: true, Limit: 1000})
		apptest.Check(t, err)
		for i := range page.Records {
			r := &page.Records[i]
			all = append(all, fmt.Sprint("account ", id, " ", r.Target, " ", r.Reason, " by ", r.User, " ", r.App, " ", r.Token, " ", r.Address))
		}
	}
	slices.Sort(all)
	return all
}
