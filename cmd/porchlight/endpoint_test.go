package main_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"porchlight.dev/porchlight/api"
)

// mostWaiting is how many events wait for a retry at a time. With more than 1,000 the
// server announces a gap instead, on a machine that is fast enough.
const mostWaiting = 500

// A delivered change is what an event says of a commit.
type delivered struct {
	user     string
	revision uint64
	status   string
}

// An endpoint is the receiver of a subscription. It accepts an event only if an
// independent implementation verifies its signature, and records what it accepted.
type endpoint struct {
	name   string
	secret string // of the subscription
	// fails is how often the first attempt of an event fails, from 0 to 1. Later attempts
	// succeed.
	fails        float64
	subscription string
	address      string
	dead         atomic.Bool // each request ends its connection without an answer

	mu       sync.Mutex // guards the fields below
	tried    map[string]bool
	waiting  map[string]bool // for a retry
	accepted map[delivered]int
	requests int
	failed   int
	problems []string
}

func newEndpoint(name, secret string, fails float64) *endpoint {
	return &endpoint{
		name: name, secret: secret, fails: fails,
		tried: make(map[string]bool), waiting: make(map[string]bool), accepted: make(map[delivered]int),
	}
}

// open begins to listen.
func (e *endpoint) open(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e.address = l.Addr().String()
	server := &http.Server{Handler: e, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
}

func (e *endpoint) url() string { return "http://" + e.address + "/" + e.name }

// ServeHTTP implements http.Handler.
func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if e.dead.Load() {
		panic(http.ErrAbortHandler)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the server was killed
	}
	if err := e.verify(r.Header, body); err != nil {
		e.addProblem("%v: %v %.300s", err, r.Header, body)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var message event
	if err := json.Unmarshal(body, &message); err != nil {
		e.addProblem("%v: %.300s", err, body)
	}
	if plain := message.Payload.PlainToken; plain != "" {
		_ = json.NewEncoder(w).Encode(map[string]string{"plainToken": plain, "encryptedToken": hexHMAC(e.secret, plain)}) // the server may be killed
		return
	}
	if e.refuses(r.Header.Get("Webhook-Id")) {
		e.fail(w)
		return
	}
	if d, ok := message.change(); ok {
		revision, err := strconv.ParseUint(r.Header.Get("Porchlight-Revision"), 10, 64)
		if err != nil {
			e.addProblem("%v: %v %.300s", err, r.Header, body)
		}
		d.revision = revision
		e.mu.Lock()
		e.accepted[d]++
		e.mu.Unlock()
	}
	if message.Type == api.EventGap || message.Event == "porchlight.gap" {
		e.addProblem("a gap: %.500s", body)
	}
	w.WriteHeader(http.StatusNoContent)
}

// An event has the members that the tests read, in the native and in Zoom's form.
type event struct {
	Type     string
	User     string
	Presence struct{ Status string }
	Before   struct{ Presence struct{ Status string } }

	Event   string
	Payload struct {
		PlainToken string
		Object     struct {
			ID     string
			Status string `json:"presence_status"`
		}
	}
}

// eventWords maps Zoom's words in events to statuses.
var eventWords = map[string]string{
	"Available": "available", "Busy": "busy", "Do_Not_Disturb": "do_not_disturb", "In_Meeting": "in_meeting", "Offline": "offline",
	"On_Phone_Call": "on_call", "Out_of_Office": "out_of_office", "Presenting": "presenting",
}

// change returns the change of a status that the event reports, without its revision.
func (e *event) change() (d delivered, ok bool) {
	if e.Event == "user.presence_status_updated" {
		return delivered{user: e.Payload.Object.ID, status: eventWords[e.Payload.Object.Status]}, true
	}
	return delivered{user: e.User, status: e.Presence.Status}, e.Type == api.EventPresenceChanged && e.Presence.Status != e.Before.Presence.Status
}

// subscribe opens an endpoint and subscribes it to everything.
func subscribe(ctx context.Context, t *testing.T, p *process, name, form string, fails float64) *endpoint {
	t.Helper()
	e := newEndpoint(name, "whsec_"+base64.StdEncoding.EncodeToString([]byte("the secret of "+name)), fails)
	e.open(t)
	made, err := p.CreateSubscription(ctx, api.CreateSubscription{URL: e.url(), Form: form, Secret: e.secret, Profile: "durable"})
	if err != nil {
		t.Fatal(err)
	}
	e.subscription = made.ID
	return e
}

// verify checks both signatures: that of Standard Webhooks with its own library, and
// Zoom's as its documentation computes it.
func (e *endpoint) verify(header http.Header, body []byte) error {
	wh, err := standardwebhooks.NewWebhook(e.secret)
	if err != nil {
		return err
	}
	if err := wh.Verify(body, header); err != nil {
		return err
	}
	at := header.Get("X-Zm-Request-Timestamp")
	if at == "" {
		return nil // another form
	}
	want := "v0=" + hexHMAC(e.secret, "v0:"+at+":"+string(body))
	if got := header.Get("X-Zm-Signature"); got != want {
		return fmt.Errorf("x-zm-signature is %s, want %s", got, want)
	}
	return nil
}

func hexHMAC(secret, text string) string {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(text))
	return hex.EncodeToString(h.Sum(nil))
}

// refuses decides whether an attempt fails.
func (e *endpoint) refuses(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.requests++
	first := !e.tried[id]
	e.tried[id] = true
	if strings.HasPrefix(id, "validation_") {
		return false // nobody repeats it
	}
	if first && len(e.waiting) < mostWaiting && rand.Float64() < e.fails {
		e.failed++
		e.waiting[id] = true
		return true
	}
	delete(e.waiting, id)
	return false
}

// fail fails an attempt in one of several ways.
func (e *endpoint) fail(w http.ResponseWriter) {
	switch rand.IntN(3) {
	case 0:
		w.WriteHeader(http.StatusServiceUnavailable)
	case 1:
		panic(http.ErrAbortHandler) // the connection ends without an answer
	default:
		w.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(w, "<h1>Bad gateway</h1>") // the sender may be gone
	}
}

func (e *endpoint) addProblem(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.problems = append(e.problems, e.name+": "+fmt.Sprintf(format, args...))
}

// accepts returns the number of requests and of accepted changes so far.
func (e *endpoint) counts() (requests, failed, changes int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.requests, e.failed, len(e.accepted)
}

// missing returns those of the wanted changes that were not accepted yet.
func (e *endpoint) missing(want []delivered) []delivered {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []delivered
	for _, d := range want {
		if e.accepted[d] == 0 {
			all = append(all, d)
		}
	}
	return all
}

// await waits until the endpoint has accepted all wanted changes.
func (e *endpoint) await(ctx context.Context, t *testing.T, p *process, want []delivered) {
	t.Helper()
	for missing := e.missing(want); len(missing) > 0; missing = e.missing(want) {
		select {
		case <-ctx.Done():
			state, err := p.DeliveryState(t.Context(), e.subscription)
			t.Fatalf("%s: LOST %d of %d changes, such as %+v; the delivery is at %+v, %v; problems: %.2000q", e.name, len(missing), len(want), missing[0], state, err, strings.Join(e.problems, "\n"))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// check fails the test for problems, and for changes that nobody made.
func (e *endpoint) check(t *testing.T, want []delivered) {
	t.Helper()
	known := make(map[delivered]bool, len(want))
	for _, d := range want {
		known[d] = true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, problem := range e.problems {
		if i < 3 {
			t.Error(problem)
		}
	}
	for d := range e.accepted {
		if !known[d] {
			t.Errorf("%s: received %+v, which the log does not have", e.name, d)
		}
	}
}
