package server_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/server"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/webhook"
)

// A heldEndpoint answers the first requests at once, and holds the others until it is released.
type heldEndpoint struct {
	*httptest.Server
	release chan struct{}

	mu        sync.Mutex // guards the field below
	revisions []uint64   // of the events, without repetitions
}

func newHeldEndpoint(t *testing.T, atOnce int) *heldEndpoint {
	e := &heldEndpoint{release: make(chan struct{})}
	e.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		revision, err := strconv.ParseUint(r.Header.Get("Porchlight-Revision"), 10, 64)
		if err != nil {
			t.Errorf("the revision of an event: %v", err)
		}
		e.mu.Lock()
		if !slices.Contains(e.revisions, revision) {
			e.revisions = append(e.revisions, revision)
		}
		held := len(e.revisions) > atOnce
		e.mu.Unlock()
		if held {
			<-e.release
		}
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *heldEndpoint) received() []uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.revisions)
}

// A suspension is a test of one account that is suspended and resumed.
type suspension struct {
	*running
	t             *testing.T
	subscriptions *webhook.Registry
	system        *client.Client
	endpoint      *heldEndpoint
	user, browser string
	began         time.Time
}

func newSuspension(t *testing.T, cfg config.Config) *suspension {
	cfg.WebhookAllow = "127.0.0.0/8"
	s := &suspension{running: start(t, cfg, server.Options{StoreTimeout: waitLimit}), t: t, endpoint: newHeldEndpoint(t, 3)}
	s.subscriptions = s.TrustEndpoints()
	tokens, err := server.SystemTokens(t.Context(), cfg, server.SystemTokenRequest{Create: true})
	apptest.Check(t, err)
	s.system, err = client.New(s.URL(), client.StaticToken(tokens[0].Secret), s.http)
	apptest.Check(t, err)
	made, err := s.client.CreateUser(t.Context(), api.CreateUser{Email: "bob@example.com"})
	apptest.Check(t, err)
	s.user = made.ID
	_, s.browser, err = s.Provisioner().Authority.SignIn(t.Context(), presence.AccountID(s.made.AccountID), presence.UserID(s.user), auth.Browser{Name: "browser"}, time.Hour)
	apptest.Check(t, err)
	_, err = s.client.CreateSubscription(t.Context(), api.CreateSubscription{URL: s.endpoint.URL, Events: []string{"presence.changed"}, Users: []string{s.user}, Concurrency: 1})
	apptest.Check(t, err)
	return s
}

// change makes n changes of the user's presence, of which the last expires by itself, as
// the user's session does.
func (s *suspension) change(n int) {
	s.t.Helper()
	lease, lasts := 30, int64(10)
	apptest.Check(s.t, second(s.client.SignIn(s.t.Context(), s.user, api.SignIn{ClientType: "desktop", LeaseSeconds: &lease})))
	for i := range n {
		apptest.Check(s.t, second(s.client.SetClaim(s.t.Context(), s.user, "work", api.SetClaim{Source: "app", Status: api.Busy, Note: strconv.Itoa(i)})))
	}
	apptest.Check(s.t, second(s.client.SetClaim(s.t.Context(), s.user, "work", api.SetClaim{Source: "app", Status: api.InMeeting, DurationSeconds: &lasts})))
}

func (s *suspension) suspend(suspended bool) {
	s.t.Helper()
	apptest.Check(s.t, second(s.system.UpdateSystemAccount(s.t.Context(), s.made.AccountID, api.UpdateSystemAccount{Suspended: &suspended})))
	s.began = time.Now()
}

// follow opens a stream of each kind. The function that it returns wants that all end.
func (s *suspension) follow() (wantEnds func()) {
	s.t.Helper()
	ids, codes := s.createUsers(s.t, 1), make(chan int, 2)
	for _, over := range []route{overWebSocket, overEvents} {
		w := s.watcher(s.made.AccessToken, ids)
		go func() {
			code, _ := w.connect(s.t.Context(), over, neverCut)
			codes <- code
		}()
		eventually(s.t, "the stream is open", func() bool { return w.lastCursor() != "" })
	}
	events := s.receiveEvents(s.t, s.waitingSubscription(s.t, s.made.AccessToken).ID, s.made.AccessToken)
	now, err := s.client.Changes(s.t.Context(), client.ChangesQuery{Users: ids})
	apptest.Check(s.t, err)
	polled := make(chan error, 1)
	go func() {
		_, err := s.client.Changes(s.t.Context(), client.ChangesQuery{Users: ids, Cursor: now.Cursor, Wait: time.Minute})
		polled <- err
	}()
	eventually(s.t, "the poll waits", func() bool { return s.metric(s.t, "porchlight_stream_open") == "3" })
	return func() {
		s.t.Helper()
		for range 2 {
			if code := <-codes; code != api.CloseSuspended {
				s.t.Errorf("a stream ended with the code %d", code)
			}
		}
		if err := <-polled; !client.Is(err, &api.AccountSuspended) {
			s.t.Errorf("the long poll: %v", err)
		}
		events.wantClose(api.CloseSuspended, `{"reason":"account_suspended"}`)
		s.t.Logf("all ended within %v", time.Since(s.began))
	}
}

// wantRefused wants that every door of the account is shut.
func (s *suspension) wantRefused() {
	s.t.Helper()
	if _, err := s.client.Me(s.t.Context()); !client.Is(err, &api.AccountSuspended) {
		s.t.Errorf("a native route: %v", err)
	}
	if status := s.me(s.t, "Cookie", "porchlight="+s.browser); status != http.StatusForbidden {
		s.t.Errorf("a sign-in gets %d", status)
	}
	for _, row := range []struct {
		method, path, body, kind string
		status                   int
		text                     string
	}{
		{"GET", "/v2/users/me/presence_status", "", "", http.StatusUnauthorized, `"code":124`},
		{"GET", "/scim/v2/Users", "", "", http.StatusForbidden, "suspended"},
		{"POST", "/oauth/token", "grant_type=account_credentials&account_id=" + s.made.AccountID + "&client_id=" + s.made.ClientID + "&client_secret=" + s.made.ClientSecret, "application/x-www-form-urlencoded", http.StatusBadRequest, "unauthorized_client"},
	} {
		headers := []string{"Content-Type", row.kind}
		if row.kind == "" {
			headers = []string{"Authorization", "Bearer " + s.made.AccessToken}
		}
		if r, text := s.roundTrip(s.t, row.method, row.path, row.body, headers...); r.StatusCode != row.status || !strings.Contains(text, row.text) {
			s.t.Errorf("%s: %d %s", row.path, r.StatusCode, text)
		}
	}
}

// paused waits until nothing is sent any more, which takes up to 5 seconds.
func (s *suspension) paused() {
	s.t.Helper()
	eventually(s.t, "the subscriptions are paused", func() bool {
		all, _ := s.subscriptions.Snapshot()
		return !slices.ContainsFunc(all, func(s *webhook.Subscription) bool { return !s.Suspended })
	})
	time.Sleep(time.Until(s.began.Add(auth.MaxStale)))
}

// shown is the status of the user in the store.
func (s *suspension) shown() presence.Status {
	s.t.Helper()
	found, _, err := s.Provisioner().Records.Read(s.t.Context(), []store.User{{Account: presence.AccountID(s.made.AccountID), ID: presence.UserID(s.user)}}, store.Freshness{})
	apptest.Check(s.t, err)
	return found[0].Shown.Status
}

// logged are the revisions of all changes of the user's presence, as the log has them.
func (s *suspension) logged() (revisions []uint64) {
	s.t.Helper()
	for e, err := range s.client.History(s.t.Context(), s.user, client.HistoryOptions{}) {
		apptest.Check(s.t, err)
		if e.Before != nil && (e.Before.Status != e.After.Status || e.Before.Note != e.After.Note) {
			revisions = append(revisions, e.Revision)
		}
	}
	slices.Sort(revisions)
	return revisions
}

// TestSuspendedAccount: while an account is suspended, its streams end and its requests
// are refused, nothing is sent to its endpoints, and sessions and claims expire. After
// that, its endpoints get every event that they missed, in order.
func TestSuspendedAccount(t *testing.T) {
	const changes = 20
	for engine, cfg := range map[string]func(*testing.T) config.Config{"embedded": func(t *testing.T) config.Config { return settings(t) }, "NATS": onNATS} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := newSuspension(t, cfg(t))
			wantEnds := s.follow()
			s.change(changes)
			s.suspend(true)
			wantEnds()
			s.wantRefused()
			s.paused()
			close(s.endpoint.release)
			before := s.endpoint.received()
			eventually(t, "the claim expires", func() bool { return s.shown() != presence.InMeeting })
			eventually(t, "the session expires", func() bool { return s.shown() == presence.Offline })
			if n := len(s.endpoint.received()); n != len(before) || n > changes/2 {
				t.Errorf("%d events arrived, %d of them in the suspension", n, n-len(before))
			}
			s.suspend(false)
			apptest.Check(t, second(s.client.SetNote(t.Context(), s.user, api.SetNote{Text: "after"})))
			want := s.logged()
			eventually(t, "all events arrive", func() bool { return len(s.endpoint.received()) >= len(want) })
			if got := s.endpoint.received(); !slices.Equal(got, want) {
				t.Errorf("got the revisions %v, want %v", got, want)
			}
		})
	}
}
