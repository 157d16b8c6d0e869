package server_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/server"
)

// encodeFrames encodes frames for a single write.
func encodeFrames(t *testing.T, frames ...api.ClientFrame) []byte {
	t.Helper()
	var b []byte
	for i := range frames {
		text, err := json.Marshal(&frames[i])
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, rawFrame(final|opText, text)...)
	}
	return b
}

// readFrames reads n text frames.
func (s *rawSocket) readFrames(t *testing.T, n int) (frames []api.ServerFrame) {
	t.Helper()
	for len(frames) < n {
		first, payload, err := s.next()
		if err != nil {
			t.Fatalf("after %d of %d frames: %v", len(frames), n, err)
		}
		if first == final|opText {
			frames = append(frames, frameOf(t, payload))
		}
	}
	return frames
}

// TestCursorsAwaitFollows: no frame has a cursor before every follow that arrived with
// it is answered.
func TestCursorsAwaitFollows(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	ids := r.createUsers(t, 3)
	follow := func(id, cursor string, users ...string) api.ClientFrame {
		return api.ClientFrame{Type: api.FrameFollow, ID: id, Users: users, Cursor: cursor}
	}
	s := r.open(t, r.made.AccessToken, "")
	for _, cursor := range []string{"", "altered"} {
		if _, err := s.Write(encodeFrames(t, follow("a", cursor, ids[0]), follow("b", cursor, ids[1]), follow("none", "", "\x00"), api.ClientFrame{Type: api.FramePing, ID: "p"})); err != nil {
			t.Fatal(err)
		}
		var got []string
		for {
			f := s.readFrames(t, 1)[0]
			got = append(got, f.Type+" "+f.ID)
			if (f.Cursor != "") != (f.ID == "none" || f.ID == "p") {
				t.Errorf("with the cursor %q: %s %s has the cursor %q", cursor, f.Type, f.ID, f.Cursor)
			}
			if f.ID == "p" {
				break
			}
		}
		want := []string{"snapshot a", "snapshot b", "snapshot none", "pong p"}
		if cursor == "" {
			want = append([]string{"hello "}, want...)
		} else {
			want = []string{"reset a", "snapshot a", "reset b", "snapshot b", "snapshot none", "pong p"}
		}
		if !slices.Equal(got, want) {
			t.Errorf("the answers are %v, want %v", got, want)
		}
	}
}

// TestAnswersInOrder: requests are answered in order, including activity reports that
// are damped.
func TestAnswersInOrder(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	u, err := r.client.CreateUser(t.Context(), api.CreateUser{Email: "grace@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	s := r.open(t, r.createToken(t, u.ID, "presence:read", "session:write", "claim:write").Secret, "")
	s.ask(t, api.ClientFrame{Type: api.FrameSignIn, ID: "in", ClientType: "desktop"}, api.FrameDone)
	var frames []api.ClientFrame
	var want []string
	for i := range 6 {
		active := i%2 == 1
		frames = append(frames,
			api.ClientFrame{Type: api.FrameActivity, Active: &active},
			[]api.ClientFrame{
				{Type: api.FramePing},
				{Type: api.FrameActivity},
				{Type: api.FrameFollow, Users: []string{u.ID}},
				{Type: api.FrameClaim, Claim: "manual", Source: "manual", Status: api.Busy},
				{Type: api.FrameEndClaim, Claim: "manual"},
				{Type: "nonsense"},
			}[i])
	}
	for i := range frames {
		frames[i].ID = fmt.Sprint(i)
		want = append(want, frames[i].ID)
	}
	if _, err := s.Write(encodeFrames(t, frames...)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for len(got) < len(want) {
		if f := s.readFrames(t, 1)[0]; f.ID != "" {
			got = append(got, f.ID)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the order of answers is %v", got)
	}
}

// TestRepeatedEndClaim: a client whose connection was lost before the answer repeats
// the request.
func TestRepeatedEndClaim(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	u, err := r.client.CreateUser(t.Context(), api.CreateUser{Email: "grace@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	s := r.open(t, r.createToken(t, u.ID, "presence:read", "claim:write").Secret, "")
	s.ask(t, api.ClientFrame{Type: api.FrameClaim, ID: "1", Claim: "lunch", Source: "app", Status: api.Away}, api.FrameDone)
	for _, id := range []string{"2", "3"} {
		s.ask(t, api.ClientFrame{Type: api.FrameEndClaim, ID: id, Claim: "lunch"}, api.FrameDone)
	}
}

// TestUserFollowedByTwoNames: a user gets one answer for each name, within one follow
// and across several.
func TestUserFollowedByTwoNames(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	u, err := r.client.CreateUser(t.Context(), api.CreateUser{Email: "grace@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	names := func(f api.ServerFrame) (names []string) {
		for _, p := range f.Presences {
			if p.User != u.ID {
				t.Errorf("it has %s", p.User)
			}
			names = append(names, p.AskedAs)
		}
		slices.Sort(names)
		return names
	}
	s := r.open(t, r.made.AccessToken, "?users="+url.QueryEscape(u.ID+",grace@example.com,GRACE@example.com,"+u.ID))
	if got, want := names(s.read(t, api.FrameSnapshot)), []string{"", "GRACE@example.com", "grace@example.com"}; !slices.Equal(got, want) {
		t.Errorf("the names are %q, want %q", got, want)
	}
	for name, want := range map[string]string{u.ID: "", "grace@example.com": "grace@example.com"} {
		got := names(s.ask(t, api.ClientFrame{Type: api.FrameFollow, ID: name, Users: []string{name}}, api.FrameSnapshot))
		if !slices.Equal(got, []string{want}) {
			t.Errorf("following again as %s: %q", name, got)
		}
	}
}

// TestUsedTicket: the response tells a browser why its EventSource cannot reconnect by
// itself.
func TestUsedTicket(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	ticket, err := r.client.Ticket(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		ticket string
		status int
		detail string
	}{
		{ticket.Ticket, 200, ""},
		{ticket.Ticket, 401, "This ticket was used already."},
		{"guess", 401, "This ticket is unknown or older than 30 seconds."},
		{strings.ToUpper(ticket.Ticket), 401, "This ticket is unknown or older than 30 seconds."},
	} {
		resp, err := r.http.Get(r.URL() + "/v1/stream?users=" + r.made.OwnerID + "&ticket=" + url.QueryEscape(c.ticket))
		if err != nil {
			t.Fatal(err)
		}
		var p api.Problem
		if c.status != http.StatusOK {
			err = json.NewDecoder(resp.Body).Decode(&p)
		}
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != c.status || p.Detail != c.detail || c.status == 401 && p.Type != api.InvalidTicket.Type() {
			t.Errorf("%d: %d %+v, %v; want %d %q", i, resp.StatusCode, p, err, c.status, c.detail)
		}
	}
}

// TestEventStreamsSetRetry: a stream resets the retry delay that the close of an
// earlier stream set.
func TestEventStreamsSetRetry(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	w := r.watcher(r.made.AccessToken, []string{r.made.OwnerID})
	resp, err := w.get(t.Context(), r.http, "/v1/stream?users="+r.made.OwnerID)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	head, err := bufio.NewReader(resp.Body).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var retry int
	if _, err := fmt.Sscanf(head, "retry: %d\n", &retry); err != nil || retry < 2000 || retry > 5000 {
		t.Errorf("a stream of events begins with %q: %v", head, err)
	}
}

// TestStreamsHaveRequestID: the response heads of streams have the request id although
// their connections are hijacked.
func TestStreamsHaveRequestID(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	over := func(request string) *http.Response {
		conn, resp := r.sendRaw(t, request)
		_ = conn.Close()
		return resp
	}
	for status, resp := range map[int]*http.Response{
		http.StatusSwitchingProtocols: over(upgrade(r.made.AccessToken, "")),
		http.StatusOK:                 over("GET /v1/stream HTTP/1.1\r\nHost: porchlight.example\r\nAuthorization: Bearer " + r.made.AccessToken + "\r\n\r\n"),
	} {
		if id := resp.Header.Get("X-Request-Id"); resp.StatusCode != status || len(id) != 16 {
			t.Errorf("status %d, want %d; request id %q", resp.StatusCode, status, id)
		}
	}
}
