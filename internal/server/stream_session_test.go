package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/server"
)

// ask sends a frame and waits for the answer.
func (s *rawSocket) ask(t *testing.T, f api.ClientFrame, answer string) api.ServerFrame {
	t.Helper()
	text, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.sendText(string(text)); err != nil {
		t.Fatal(err)
	}
	got := s.read(t, answer)
	if got.ID != f.ID {
		t.Fatalf("the answer to %s has the id %q", text, got.ID)
	}
	return got
}

// TestErrorHasFrameID: the error for an invalid frame has the frame's id if it can be
// recognised: a string unchanged, a number as text.
func TestErrorHasFrameID(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	s := r.open(t, r.createToken(t, "", "presence:read").Secret, "")
	long := strings.Repeat("x", 65)
	for _, c := range []struct{ frame, id string }{
		{`{"type":"ping","id":7}`, "7"},
		{`{"type":"ping","id":-7.50e2}`, "-7.50e2"},
		{`{"id":7,"type":`, "7"},
		{`{"id":"a","type":"nope"}`, "a"},
		{`{"type":5,"id":"a"}`, "a"},
		{`{"nope":{"id":"b"},"id":"a"}`, "a"},
		{`{"nope":1,"nope":2,"id":"a"}`, "a"},
		{`{"type":"follow","users":["x",null],"id":"\u0061"}`, "a"},
		{"\ufeff" + `{"type":"nope","id":"a"}`, "a"},
		{`{"id":"a","id":"b","type":"ping"}`, "a"},
		{`{"type":"claim","until":"x","id":"a"}`, "a"},
		{`{"id":"a"} {}`, "a"},
		{`{"id":"` + long + `"}`, ""},
		{`{"id":true}`, ""},
		{`{"id":{"id":"a"}}`, ""},
		{`{"id":null,"type":"nope"}`, ""},
		{`{"nope":{"id":"b"}}`, ""},
		{`{"type":,"id":"a"}`, ""},
		{`["id","a"]`, ""},
		{`7`, ""},
	} {
		if err := s.sendText(c.frame); err != nil {
			t.Fatal(err)
		}
		if got := s.read(t, api.FrameError); got.ID != c.id || got.Code == "" {
			t.Errorf("%.60s: the error has the id %q, want %q", c.frame, got.ID, c.id)
		}
	}
}

// TestSessionBoundToConnection: a session begins and ends over a stream. A connection
// has at most one session, and an error does not end the stream.
func TestSessionBoundToConnection(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	u, err := r.client.CreateUser(t.Context(), api.CreateUser{Email: "grace@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	status := func(want api.Status) {
		t.Helper()
		if p, err := r.client.Presence(t.Context(), u.ID); err != nil || p.Status != want {
			t.Errorf("%s, %v; want %s", p.Status, err, want)
		}
	}
	idle := false
	s := r.open(t, r.createToken(t, u.ID, "presence:read", "session:write").Secret, "?users=me")
	s.read(t, api.FrameSnapshot)
	if e := s.ask(t, api.ClientFrame{Type: api.FrameActivity, ID: "1", Active: &idle}, api.FrameError); e.Code == "" {
		t.Errorf("activity without a session: %+v", e)
	}
	session := s.ask(t, api.ClientFrame{Type: api.FrameSignIn, ID: "2", ClientType: "desktop"}, api.FrameDone).Session
	if session == "" {
		t.Error("the answer to sign_in has no session")
	}
	status(api.Available)
	if e := s.ask(t, api.ClientFrame{Type: api.FrameSignIn, ID: "3", ClientType: "mobile"}, api.FrameError); e.Code == "" {
		t.Errorf("a second session: %+v", e)
	}
	if e := s.ask(t, api.ClientFrame{Type: api.FrameClaim, ID: "4", Claim: "manual", Source: "manual", Status: api.Busy}, api.FrameError); e.Code != api.InsufficientScope.Slug {
		t.Errorf("a claim without its scope: %+v", e)
	}
	s.ask(t, api.ClientFrame{Type: api.FrameSignOut, ID: "5"}, api.FrameDone)
	status(api.Offline)
	again := s.ask(t, api.ClientFrame{Type: api.FrameSignIn, ID: "6", ClientType: "desktop", Session: session}, api.FrameDone).Session
	if again == session || again == "" {
		t.Errorf("the ended session %s continues as %q", session, again)
	}
	status(api.Available)
	s.ask(t, api.ClientFrame{Type: api.FramePing, ID: "7"}, api.FramePong)
}

// TestFlappingIsDamped: watchers of a user whose activity changes twenty times a second
// receive the first change, then about one a second, and finally the last state.
func TestFlappingIsDamped(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	u, err := r.client.CreateUser(t.Context(), api.CreateUser{Email: "grace@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	s := r.open(t, r.createToken(t, u.ID, "presence:read", "session:write").Secret, "")
	s.ask(t, api.ClientFrame{Type: api.FrameSignIn, ID: "in", ClientType: "desktop"}, api.FrameDone)
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
	defer stop()
	w := r.watcher(r.made.AccessToken, []string{u.ID})
	var open sync.WaitGroup
	open.Go(func() { _, _ = w.connect(ctx, overWebSocket, neverCut) })
	received := func() (n int, last api.Status) {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.received), w.has[u.ID].Status
	}
	eventually(t, "the snapshot", func() bool { _, last := received(); return last == api.Available })
	before, _ := received()

	// After two seconds without a change, the next is not damped.
	pause := time.NewTimer(2 * time.Second)
	<-pause.C
	const times = 101 // the last is idle
	pace := time.NewTicker(50 * time.Millisecond)
	defer pace.Stop()
	began := time.Now()
	for i := range times {
		active := i%2 == 1
		text, err := json.Marshal(api.ClientFrame{Type: api.FrameActivity, ID: fmt.Sprint(i), Active: &active})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.sendText(string(text)); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			eventually(t, "the first change is received", func() bool { n, _ := received(); return n == before+1 })
		}
		<-pace.C
	}
	for range times { // each report gets an answer
		s.read(t, api.FrameDone)
	}
	eventually(t, "the last state is received", func() bool { _, last := received(); return last == api.Away })
	n, _ := received()
	took := time.Since(began)
	t.Logf("%d changes in %v caused %d events", times, took.Round(time.Millisecond), n-before)
	if most := int(took/time.Second) + 3; n-before > most || n-before < 2 {
		t.Errorf("%d events, want at most %d", n-before, most)
	}
	r.waitForConvergence(t, []*watcher{w})
	stop()
	open.Wait()
	for _, what := range w.violations {
		t.Error(what)
	}
}

// TestRepeatedSignIn: a client that chose the session's id, and lost its connection
// before the answer five times, has one session.
func TestRepeatedSignIn(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	u, err := r.client.CreateUser(t.Context(), api.CreateUser{Email: "grace@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	other, err := r.client.CreateUser(t.Context(), api.CreateUser{Email: "linus@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	token := r.createToken(t, u.ID, "presence:read", "session:write", "session:read").Secret
	sessions := func(id string) (all []string) {
		for s, err := range r.client.Sessions(t.Context(), id) {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, s.ID)
		}
		return all
	}
	chosen := "3f6c2a52-6f0e-4f3c-9d52-0f1f6a7b8c9d"
	for range 5 {
		s := r.open(t, token, "")
		s.read(t, api.FrameHello)
		if err := s.sendText(`{"type":"sign_in","client_type":"web","session":"` + chosen + `"}`); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the sign-in", func() bool { return len(sessions(u.ID)) > 0 })
		_ = s.Close()
	}
	s := r.open(t, token, "")
	named := s.ask(t, api.ClientFrame{Type: api.FrameSignIn, ID: "1", ClientType: "web", Session: chosen}, api.FrameDone).Session
	if got := sessions(u.ID); len(got) != 1 || got[0] != named {
		t.Errorf("%d sessions, %v, want %s", len(got), got, named)
	}
	// The assigned id continues the session, too.
	again := r.open(t, token, "")
	if got := again.ask(t, api.ClientFrame{Type: api.FrameSignIn, ID: "2", ClientType: "web", Session: named}, api.FrameDone).Session; got != named {
		t.Errorf("the session continues as %s", got)
	}
	// The same text is another session for another user, and for another app of this
	// user.
	for _, text := range []string{chosen, named} {
		o := r.open(t, r.createToken(t, other.ID, "presence:read", "session:write").Secret, "")
		if got := o.ask(t, api.ClientFrame{Type: api.FrameSignIn, ID: "3", ClientType: "web", Session: text}, api.FrameDone).Session; got == named {
			t.Errorf("%q of another user is the same session", text)
		}
		foreign := r.open(t, r.tokenOfAnotherApp(t, u.ID), "")
		if got := foreign.ask(t, api.ClientFrame{Type: api.FrameSignIn, ID: "4", ClientType: "web", Session: text}, api.FrameDone).Session; got == named {
			t.Errorf("%q of another app is the same session", text)
		}
	}
	if got := sessions(u.ID); len(got) != 3 {
		t.Errorf("%d sessions, want one of each app and text", len(got))
	}
	bad := r.open(t, token, "")
	for _, text := range []string{"a\nb", strings.Repeat("x", 129)} {
		if e := bad.ask(t, api.ClientFrame{Type: api.FrameSignIn, ID: "5", ClientType: "web", Session: text}, api.FrameError); e.Code != api.InvalidField.Slug {
			t.Errorf("%q: %+v", text, e)
		}
	}
}

// tokenOfAnotherApp returns a token of the user for a new app.
func (r *running) tokenOfAnotherApp(t *testing.T, user string) string {
	t.Helper()
	app, err := r.client.CreateApp(t.Context(), api.CreateApp{Name: "another", Scopes: []string{"presence:read:admin", "session:write:admin", "directory:write:admin"}})
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := client.NewAccountCredentials(r.URL(), client.App{AccountID: r.made.AccountID, ClientID: app.ID, ClientSecret: app.Secret}, r.http)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(r.URL(), tokens, r.http)
	if err != nil {
		t.Fatal(err)
	}
	made, err := c.CreateToken(t.Context(), api.CreateToken{User: user, Name: "another", Scopes: []string{"presence:read", "session:write"}})
	if err != nil {
		t.Fatal(err)
	}
	return made.Secret
}

// TestIdleSignIn: an idle sign-in causes one event, away, and the user is never shown
// as available.
func TestIdleSignIn(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	u, err := r.client.CreateUser(t.Context(), api.CreateUser{Email: "grace@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	w := r.open(t, r.made.AccessToken, "?users="+u.ID)
	w.read(t, api.FrameSnapshot)
	s := r.open(t, r.createToken(t, u.ID, "presence:read", "session:write").Secret, "")
	idle := false
	s.ask(t, api.ClientFrame{Type: api.FrameSignIn, ID: "1", ClientType: "desktop", Active: &idle}, api.FrameDone)
	if p := w.read(t, api.FramePresence); p.Status != api.Away || p.Coalesced {
		t.Errorf("%+v", p)
	}
	s.ask(t, api.ClientFrame{Type: api.FrameSignOut, ID: "2"}, api.FrameDone)
	if p := w.read(t, api.FramePresence); p.Status != api.Offline || p.Coalesced {
		t.Errorf("%+v", p)
	}
}

// TestReplacedSession: the client of a replaced session is notified at once. Its stream
// stays open, and may begin another session when the user wants it.
func TestReplacedSession(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	u, err := r.client.CreateUser(t.Context(), api.CreateUser{Email: "grace@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	token := r.createToken(t, u.ID, "presence:read", "session:write").Secret
	s := r.open(t, token, "")
	named := s.ask(t, api.ClientFrame{Type: api.FrameSignIn, ID: "1", ClientType: "desktop"}, api.FrameDone).Session
	reloads, err := client.New(r.URL(), client.StaticToken(token), r.http)
	if err != nil {
		t.Fatal(err)
	}
	for range 32 {
		if _, err := reloads.SignIn(t.Context(), "me", longSignIn("web")); err != nil {
			t.Fatal(err)
		}
	}
	if e := s.read(t, api.FrameError); e.Code != api.SessionReplaced.Slug || e.ID != "" || e.Detail == "" {
		t.Errorf("%+v", e)
	}
	if e := s.ask(t, api.ClientFrame{Type: api.FrameSignIn, ID: "2", ClientType: "desktop", Session: named}, api.FrameError); e.Code != api.SessionReplaced.Slug {
		t.Errorf("signing in with the replaced id: %+v", e)
	}
	s.ask(t, api.ClientFrame{Type: api.FramePing, ID: "3"}, api.FramePong)
	if got := s.ask(t, api.ClientFrame{Type: api.FrameSignIn, ID: "4", ClientType: "desktop"}, api.FrameDone).Session; got == named || got == "" {
		t.Errorf("a new session is %q", got)
	}
}
