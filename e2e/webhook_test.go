package e2e_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/porttest"
)

// receiverTimeout is a failure bound.
const receiverTimeout = time.Minute

// A receiver is a program that receives events and prints a line for each.
type receiver struct {
	name, path string
	zoom       bool // subscribed through Zoom's API, and so signed with the app's secret
	command    func(t *testing.T) []string
	// lines are what it prints of a status and of a note, in parts; the e-mail address
	// stands for EMAIL.
	status, note []string

	url   string
	lines chan string
}

// ownSecret is that of the subscriptions in the native form.
const ownSecret = "whsec_c2VjcmV0IG9mIHRoZSBkb2N1bWVudGVkIHJlY2VpdmVycw=="

// TestWebhookReceivers receives events with the receivers of docs/webhooks.md and with
// Zoom's SDK, and checks that the former refuse a forged one.
func TestWebhookReceivers(t *testing.T) {
	requireFile(t, "node_modules/@zoom/rivet/package.json")
	receivers := []*receiver{
		{
			name: "Zoom's SDK", path: "/zoom/events", zoom: true,
			command: func(*testing.T) []string { return []string{"node", "rivetreceiver.mjs"} },
			status:  []string{`"event":"user.presence_status_updated"`, `"email":"EMAIL"`, `"presence_status":"Do_Not_Disturb"`},
			note:    []string{`"event":"user.personal_notes_updated"`, `"personal_notes":"Büro – “Thesis” </script>`},
		},
		{
			name: "the documented receiver in JavaScript", path: "/", zoom: true,
			command: func(t *testing.T) []string { return []string{"node", writeSample(t, "js", "receiver.mjs")} },
			status:  []string{"user.presence_status_updated EMAIL Do_Not_Disturb"}, note: []string{"user.personal_notes_updated EMAIL"},
		},
		{
			name: "the documented receiver in Python", path: "/",
			command: func(t *testing.T) []string { return []string{"python3", writeSample(t, "python", "receiver.py")} },
			status:  []string{"presence.changed EMAIL"}, note: []string{"note.changed EMAIL"},
		},
		{
			name: "the documented receiver in Go", path: "/",
			command: buildSample,
			status:  []string{"presence.changed EMAIL"}, note: []string{"note.changed EMAIL"},
		},
	}
	d := startDemo(t)
	u := d.signedIn(t, 0)
	for _, r := range receivers {
		r.start(t, d)
	}
	d.setStatus(t, u, `{"status":"Do_Not_Disturb","duration":20}`)
	d.call(t, "PUT", "/v1/users/"+u.ID+"/note", `{"text":"Büro – “Thesis” </script>"}`)
	for _, r := range receivers {
		r.expect(t, u, r.status)
		r.expect(t, u, r.note)
		if r.path == "/" {
			r.checkForged(t)
		}
	}
}

// sample returns the first block of code of a language in docs/webhooks.md.
func sample(t *testing.T, language string) string {
	t.Helper()
	_, rest, _ := strings.Cut(read(t, "docs/webhooks.md"), "\n```"+language+"\n")
	code, _, found := strings.Cut(rest, "```\n")
	if !found {
		t.Fatalf("docs/webhooks.md has no block of %s", language)
	}
	return code
}

func writeSample(t *testing.T, language, name string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(sample(t, language)), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func buildSample(t *testing.T) []string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "receiver")
	if output, err := run(t, nil, "go", "build", "-o", program, writeSample(t, "go", "receiver.go")); err != nil {
		t.Fatalf("go build: %v\n%s", err, output)
	}
	return []string{program}
}

// start runs the receiver until the test ends, and subscribes it.
func (r *receiver) start(t *testing.T, d *demo) {
	t.Helper()
	port, secret := strconv.Itoa(porttest.Free(t, 1)[0]), ownSecret
	if r.zoom {
		secret = d.WebhookSecret
	}
	r.url = "http://127.0.0.1:" + port + r.path
	args := r.command(t)
	command := exec.Command(args[0], args[1:]...)
	command.Env = append(os.Environ(), "PORT="+port, "WEBHOOK_SECRET="+secret)
	stderr := new(buffer)
	command.Stderr = stderr
	out, err := command.StdoutPipe()
	if err == nil {
		err = command.Start()
	}
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("%s is not installed: run `make test-tools`", args[0])
	}
	if err != nil {
		t.Fatal(err)
	}
	r.lines = make(chan string, 100)
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			r.lines <- lines.Text()
		}
		close(r.lines)
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill() // it may have exited
		_ = command.Wait()         // with an error: it was killed
		if t.Failed() {
			t.Logf("%s printed %s", r.name, stderr)
		}
	})
	awaitPort(t, port)
	if r.zoom {
		d.call(t, "POST", "/v2/marketplace/app/event_subscription", `{"events":["user.presence_status_updated","user.personal_notes_updated"],"event_subscription_name":"e2e","event_webhook_url":"`+r.url+`","subscription_scope":"account","account_id":"`+d.AccountID+`"}`)
	} else {
		d.call(t, "POST", "/v1/subscriptions", `{"url":"`+r.url+`","events":["presence.changed","note.changed"],"secret":"`+ownSecret+`"}`)
	}
}

func awaitPort(t *testing.T, port string) {
	t.Helper()
	for began := time.Now(); time.Since(began) < receiverTimeout; time.Sleep(20 * time.Millisecond) {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", "127.0.0.1:"+port)
		if err == nil {
			_ = conn.Close()
			return
		}
	}
	t.Fatal("the receiver does not listen")
}

// expect waits for a line with all parts.
func (r *receiver) expect(t *testing.T, u user, parts []string) {
	t.Helper()
	late := time.NewTimer(receiverTimeout)
	defer late.Stop()
	for {
		select {
		case line, ok := <-r.lines:
			if !ok {
				t.Fatalf("%s ended", r.name)
			}
			found := true
			for _, part := range parts {
				found = found && strings.Contains(line, strings.ReplaceAll(part, "EMAIL", u.Email))
			}
			if found {
				return
			}
		case <-late.C:
			t.Fatalf("%s received nothing with %q", r.name, parts)
		}
	}
}

// checkForged sends the receiver an event with a wrong signature.
func (r *receiver) checkForged(t *testing.T) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url, strings.NewReader(`{"event":"user.presence_status_updated","type":"presence.changed","payload":{"object":{}}}`))
	if err != nil {
		t.Fatal(err)
	}
	now := strconv.FormatInt(time.Now().Unix(), 10)
	for name, value := range map[string]string{
		"Webhook-Id": "evt_forged", "Webhook-Timestamp": now, "Webhook-Signature": "v1," + strings.Repeat("A", 43) + "=",
		"X-Zm-Request-Timestamp": now, "X-Zm-Signature": "v0=" + strings.Repeat("0", 64),
	} {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusUnauthorized {
		t.Errorf("%s answers a forged event with %s, want 401", r.name, response.Status)
	}
}

// call makes a request that succeeds.
func (d *demo) call(t *testing.T, method, path, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, d.URL+path, bytes.NewBufferString(body))
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
	if text, _ := io.ReadAll(response.Body); response.StatusCode > 299 { // part of a message
		t.Fatalf("%s %s: %s %s", method, path, response.Status, text)
	}
}
