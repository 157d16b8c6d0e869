package e2e_test

import (
	"bufio"
	"context"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestStreamInCurl follows a user with curl, receives a change immediately, and resumes
// after a missed change.
func TestStreamInCurl(t *testing.T) {
	d := startDemo(t, "--min-update-interval", "0s")
	u := d.signedIn(t, 4)

	events := d.curlStream(t, "?users="+u.Email, "")
	snapshot := events.next("snapshot")
	if !strings.Contains(snapshot, `"asked_as":"`+u.Email+`"`) || !strings.Contains(snapshot, `"status":"available"`) {
		t.Errorf("the snapshot is %s", snapshot)
	}
	d.setStatus(t, u, `{"status":"Busy"}`)
	if got := events.next("presence"); !strings.Contains(got, `"status":"busy"`) {
		t.Errorf("received %s", got)
	}
	cursor := events.id
	events.stop()
	d.setStatus(t, u, `{"status":"Away"}`)

	events = d.curlStream(t, "?users="+u.ID, cursor)
	if got := events.next("snapshot"); !strings.Contains(got, `"partial":true`) || !strings.Contains(got, `"status":"away"`) {
		t.Errorf("resumed with %s", got)
	}
}

// An eventReader reads the events that curl prints.
type eventReader struct {
	t     *testing.T
	lines chan string
	id    string // id of the last event that had one
	stop  func()
}

// curlStream opens a stream with curl that ends with the test.
func (d *demo) curlStream(t *testing.T, query, lastEvent string) *eventReader {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	args := []string{"--silent", "--show-error", "--no-buffer", "-H", "Authorization: Bearer " + d.AccessToken, d.URL + "/v1/stream" + query}
	if lastEvent != "" {
		args = append(args, "-H", "Last-Event-ID: "+lastEvent)
	}
	command := exec.CommandContext(ctx, "curl", args...)
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	out, err := command.StdoutPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	events := &eventReader{t: t, lines: make(chan string, 1000)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(events.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			events.lines <- lines.Text()
		}
	}()
	events.stop = func() {
		cancel()
		<-ended
		_ = command.Wait() // the command was cancelled
	}
	t.Cleanup(events.stop)
	return events
}

// next returns the data of the next event of a kind.
func (e *eventReader) next(kind string) string {
	e.t.Helper()
	event := ""
	for {
		select {
		case line, ok := <-e.lines:
			if !ok {
				e.t.Fatalf("the stream ended before a %s", kind)
			}
			name, value, _ := strings.Cut(line, ": ")
			switch name {
			case "event":
				event = value
			case "id":
				e.id = value
			case "data":
				if event == kind {
					return value
				}
			}
		case <-time.After(time.Minute):
			e.t.Fatalf("no %s within a minute", kind)
		}
	}
}

// setStatus sets a status by Zoom's API.
func (d *demo) setStatus(t *testing.T, u user, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, d.URL+"/v2/users/"+u.ID+"/presence_status", strings.NewReader(body))
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
	if response.StatusCode != http.StatusNoContent {
		t.Fatalf("PUT %s: %s", body, response.Status)
	}
}
