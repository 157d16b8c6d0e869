package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/server"
)

// ask sends a frame, and waits for its answer.
func (s *rawSocket) ask(t *testing.T, f api.ClientFrame, answer string) api.ServerFrame {
	t.Helper()
	text, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.say(string(text)); err != nil {
		t.Fatal(err)
	}
	got := s.read(t, answer)
	if got.ID != f.ID {
		t.Fatalf("%s is answered with the id %q", text, got.ID)
	}
	return got
}

// TestASessionInAConnection: it begins and ends over a stream, one for each
// connection, and what is not allowed is told without ending the stream.
func TestASessionInAConnection(t *testing.T) {
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
	s := r.open(t, r.token(t, u.ID, "presence:read", "session:write").Secret, "?users=me")
	s.read(t, api.FrameSnapshot)
	if e := s.ask(t, api.ClientFrame{Type: api.FrameActivity, ID: "1", Active: &idle}, api.FrameError); e.Code == "" {
		t.Errorf("activity without a session: %+v", e)
	}
	session := s.ask(t, api.ClientFrame{Type: api.FrameSignIn, ID: "2", ClientType: "desktop"}, api.FrameDone).Session
	if session == "" {
		t.Error("sign_in is answered without a session")
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
		t.Errorf("after its end the session %s goes on as %q", session, again)
	}
	status(api.Available)
	s.ask(t, api.ClientFrame{Type: api.FramePing, ID: "7"}, api.FramePong)
}

// TestFlappingIsDamped: a person whose activity changes twenty times a second is
// told of at once, and then about once a second, and last as it is.
func TestFlappingIsDamped(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	u, err := r.client.CreateUser(t.Context(), api.CreateUser{Email: "grace@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	s := r.open(t, r.token(t, u.ID, "presence:read", "session:write").Secret, "")
	s.ask(t, api.ClientFrame{Type: api.FrameSignIn, ID: "in", ClientType: "desktop"}, api.FrameDone)
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	w := r.watcher(r.made.AccessToken, []string{u.ID})
	var open sync.WaitGroup
	open.Go(func() { _, _ = w.connect(ctx, overWebSocket, neverCut) })
	told := func() (n int, last api.Status) {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.told), w.has[u.ID].Status
	}
	eventually(t, settles, "the snapshot", func() bool { _, last := told(); return last == api.Available })
	before, _ := told()

	// Two seconds without a change: then the first is not damped.
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
		if err := s.say(string(text)); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			eventually(t, 900*time.Millisecond, "the first change is told at once", func() bool { n, _ := told(); return n == before+1 })
		}
		<-pace.C
	}
	took := time.Since(began)
	for range times { // each is answered
		s.read(t, api.FrameDone)
	}
	eventually(t, settles, "the last is told", func() bool { _, last := told(); return last == api.Away })
	n, _ := told()
	t.Logf("%d changes in %v were told as %d", times, took.Round(time.Millisecond), n-before)
	if most := int(took/time.Second) + 3; n-before > most || n-before < 2 {
		t.Errorf("%d events, want at most %d", n-before, most)
	}
	r.settle(t, []*watcher{w})
	stop()
	open.Wait()
	for _, what := range w.wrong {
		t.Error(what)
	}
}
