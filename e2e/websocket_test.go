package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestZoomWebSocket receives events with the library of Zoom's sample, over Zoom's
// WebSocket, and those that were missed after it connects again.
func TestZoomWebSocket(t *testing.T) {
	requireFile(t, "node_modules/ws/package.json")
	d := startDemo(t, "--min-update-interval", "0s")
	u := d.signedIn(t, 0)
	subscription := d.subscribe(t, `{"form":"zoom","events":["user.presence_status_updated"],"app_secret":true}`)

	first := d.zoomSocket(t, subscription)
	for _, want := range []string{"build_connection", "heartbeat", "heartbeat"} {
		if got := first.next(); got.Module != want || !got.Success {
			t.Fatalf("received %+v, want a %s", got, want)
		}
	}
	d.setStatus(t, u, `{"status":"Busy"}`)
	first.wantStatus(u, "Busy")

	second := d.zoomSocket(t, subscription)
	if got := first.next(); got.Closed != 1000 {
		t.Errorf("the first connection ended with %+v, want that it was replaced", got)
	}
	second.skipTo("heartbeat", "heartbeat")
	second.stop()
	d.setStatus(t, u, `{"status":"Away"}`)
	third := d.zoomSocket(t, subscription)
	third.wantStatus(u, "Away")
	third.stop()

	refused := d.zoomSocket(t, subscription, "ACCESS_TOKEN=pl_invalid")
	if got := refused.next(); got.Module != "build_connection" || got.Success || got.Content != "Invalid Token" {
		t.Errorf("an invalid token is answered with %+v", got)
	}
	if got := refused.next(); got.Closed == 0 {
		t.Errorf("an invalid token: %+v, want a closed connection", got)
	}
}

// subscribe makes a subscription by the native API and returns its id.
func (d *demo) subscribe(t *testing.T, body string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.URL+"/v1/subscriptions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+d.AccessToken)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var made struct {
		ID string `json:"id"`
	}
	if err := json.NewDecoder(response.Body).Decode(&made); err != nil || response.StatusCode != http.StatusCreated {
		t.Fatalf("POST %s: %s: %v", body, response.Status, err)
	}
	return made.ID
}

// A socketFrame is a line that websocket.mjs prints.
type socketFrame struct {
	Module  string `json:"module"`
	Success bool   `json:"success"`
	Content string `json:"content"`
	Closed  int    `json:"closed"`
	Error   string `json:"error"`
}

// A zoomSocket is a running websocket.mjs.
type zoomSocket struct {
	t     *testing.T
	lines chan []byte
	stop  func()
}

func (d *demo) zoomSocket(t *testing.T, subscription string, env ...string) *zoomSocket {
	t.Helper()
	command := exec.CommandContext(t.Context(), "node", "websocket.mjs")
	command.Env = append(os.Environ(), append([]string{
		"OAUTH_URL=" + d.URL + "/oauth/token", "WS_URL=" + strings.Replace(d.URL, "http", "ws", 1) + "/ws", "SUBSCRIPTION_ID=" + subscription,
		"CLIENT_ID=" + d.ClientID, "CLIENT_SECRET=" + d.ClientSecret,
	}, env...)...)
	stderr := new(buffer)
	command.Stderr = stderr
	out, err := command.StdoutPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	s := &zoomSocket{t: t, lines: make(chan []byte, 1000)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(s.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			s.lines <- bytes.Clone(lines.Bytes())
		}
	}()
	s.stop = func() {
		_ = command.Process.Signal(syscall.SIGTERM) // it may have ended
		<-ended
		if err := command.Wait(); err != nil && command.ProcessState.ExitCode() > 0 {
			t.Errorf("websocket.mjs: %v\n%s", err, stderr)
		}
	}
	t.Cleanup(s.stop)
	return s
}

func (s *zoomSocket) next() (f socketFrame) {
	s.t.Helper()
	select {
	case line, ok := <-s.lines:
		if !ok {
			s.t.Fatal("websocket.mjs ended")
		}
		if err := json.Unmarshal(line, &f); err != nil {
			s.t.Fatalf("websocket.mjs printed %s: %v", line, err)
		}
		return f
	case <-time.After(time.Minute):
		s.t.Fatal("no frame within a minute")
		return f
	}
}

// skipTo reads until frames of these modules have come.
func (s *zoomSocket) skipTo(modules ...string) {
	s.t.Helper()
	for _, want := range modules {
		for s.next().Module != want {
		}
	}
}

// wantStatus reads until the event that a user has a status.
func (s *zoomSocket) wantStatus(u user, status string) {
	s.t.Helper()
	for {
		f := s.next()
		if f.Module != "message" {
			continue
		}
		var event struct {
			Event   string `json:"event"`
			Payload struct {
				Object struct {
					ID     string `json:"id"`
					Status string `json:"presence_status"`
				} `json:"object"`
			} `json:"payload"`
		}
		if err := json.Unmarshal([]byte(f.Content), &event); err != nil {
			s.t.Fatalf("the content is no JSON text: %v: %s", err, f.Content)
		}
		if o := event.Payload.Object; event.Event == "user.presence_status_updated" && o.ID == u.ID && o.Status == status {
			return
		}
	}
}
