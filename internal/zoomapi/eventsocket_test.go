package zoomapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"porchlight.dev/porchlight/internal/eventsocket"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/tail"
	"porchlight.dev/porchlight/internal/webhook"
	. "porchlight.dev/porchlight/internal/zoomapi"
)

// waitLimit bounds what should take much less.
const waitLimit = 30 * time.Second

// A socketFixture is a server of event sockets that can be restarted.
type socketFixture struct {
	*events
	access  *lockedText
	handler atomic.Pointer[http.Handler]
	sockets *eventsocket.Sockets
	url     string
	stop    func() // the delivery
}

// lockedText is the text of the access log.
type lockedText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newSockets(t *testing.T) *socketFixture {
	f := &socketFixture{events: newEvents(t, options{}), access: new(lockedText)}
	f.start()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*f.handler.Load()).ServeHTTP(w, r) }))
	t.Cleanup(func() {
		f.stop()
		server.Close()
	})
	f.url = "ws" + strings.TrimPrefix(server.URL, "http") + "/ws"
	return f
}

// start delivers until stop.
func (f *socketFixture) start() {
	log := slog.New(slog.DiscardHandler)
	deliverer := webhook.NewDeliverer(webhook.DelivererOptions{
		Store: f.store, Subscriptions: f.registry.Snapshot, SetHealth: f.registry.SetHealth, SetReplay: f.registry.SetReplay,
		People: webhook.NewPeople(f.Directory, f.store, f.clock.Now), Catalog: eventCatalog(),
		Sender: everyEndpoint{}, Clock: time.Now, Log: log,
	})
	f.sockets = &eventsocket.Sockets{Access: f.Authority, Clock: time.Now, Log: log}
	f.serve(options{access: f.access, events: &Events{Subscriptions: f.registry, Deliveries: deliverer, Sockets: f.sockets}})
	f.handler.Store(&f.Handler)
	consumers := tail.New(tail.Options{Store: f.store, Clock: time.Now, Log: log}, deliverer.Consumer())
	ctx, cancel := context.WithCancel(context.Background())
	_, read := f.registry.Snapshot()
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{f.registry.Run, deliverer.Run, consumers.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				f.tb.Error(err)
			}
		})
	}
	f.stop = sync.OnceFunc(func() {
		drain, done := context.WithTimeout(context.Background(), waitLimit)
		defer done()
		f.sockets.Drain(drain)
		cancel()
		running.Wait()
	})
	<-read // the subscriptions
}

// everyEndpoint accepts every event.
type everyEndpoint struct{}

func (everyEndpoint) Send(context.Context, *webhook.Request) webhook.Attempt {
	return webhook.Attempt{Status: http.StatusOK}
}
func (everyEndpoint) Validate(context.Context, *webhook.Subscription) error { return nil }

// waiting makes a subscription whose client connects.
func (f *socketFixture) waiting(types ...string) *webhook.Subscription {
	f.tb.Helper()
	f.clock.Advance(time.Second) // it is sent what happens from now on
	s, err := f.registry.Create(f.tb.Context(), &webhook.Subscription{
		Account: f.account, App: presence.AppID(f.appID), Form: "zoom", Events: types, Profile: "zoom",
	})
	f.must(err)
	return s
}

func (f *socketFixture) note(n int) {
	f.publish(f.ann.ID, presence.SetNote{Text: fmt.Sprint(n)})
}

// A socketClient is a client of Zoom's WebSocket.
type socketClient struct {
	*websocket.Conn
	tb testing.TB
}

type socketFrame struct {
	Module  string `json:"module"`
	Success *bool  `json:"success"`
	Content string `json:"content"`
}

func (f *socketFixture) connect(subscription, token string) *socketClient {
	f.tb.Helper()
	ctx, cancel := context.WithTimeout(f.tb.Context(), waitLimit)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, f.url+"?subscriptionId="+subscription+"&access_token="+token, nil)
	f.must(err)
	f.tb.Cleanup(func() { _ = ws.CloseNow() })
	return &socketClient{ws, f.tb}
}

func (c *socketClient) next() (f socketFrame, err error) {
	ctx, cancel := context.WithTimeout(c.tb.Context(), waitLimit)
	defer cancel()
	_, text, err := c.Read(ctx)
	if err == nil {
		err = json.Unmarshal(text, &f)
	}
	return f, err
}

// want reads one frame.
func (c *socketClient) want(want string) {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(c.tb.Context(), waitLimit)
	defer cancel()
	if _, text, err := c.Read(ctx); err != nil || string(text) != want {
		c.tb.Errorf("received %s (%v), want %s", text, err, want)
	}
}

// wantClose reads until the connection ends.
func (c *socketClient) wantClose(code websocket.StatusCode, reason string) {
	c.tb.Helper()
	for {
		_, err := c.next()
		if err == nil {
			continue
		}
		closed, ok := errors.AsType[websocket.CloseError](err)
		if !ok || closed.Code != code || closed.Reason != reason {
			c.tb.Errorf("the connection ended with %v, want %d %q", err, code, reason)
		}
		return
	}
}

// note is the number of the note in the next event.
func (c *socketClient) note() (n int, err error) {
	f, err := c.next()
	if err != nil || f.Module != "message" {
		return 0, err
	}
	var event struct {
		Payload struct {
			Object struct {
				Notes string `json:"personal_notes"`
			} `json:"object"`
		} `json:"payload"`
	}
	if err := json.Unmarshal([]byte(f.Content), &event); err != nil {
		return 0, err
	}
	if _, err := fmt.Sscan(event.Payload.Object.Notes, &n); err != nil {
		c.tb.Fatalf("received no note, but %s", f.Content)
	}
	return n, nil
}

const opened = `{"module":"build_connection","success":true,"content":"ok"}`

// TestEventSocketFrames: the frames of Zoom's WebSocket. The content of a message is the
// text that the webhook would be.
func TestEventSocketFrames(t *testing.T) {
	f := newSockets(t)
	c := f.connect(f.waiting("user.presence_status_updated").ID, f.token)
	c.want(opened)
	for _, heartbeat := range []string{`{"module":"heartbeat"}`, "heartbeat", ` { "module" : "heartbeat", "more": 1 } `} {
		f.must(c.Write(t.Context(), websocket.MessageText, []byte(heartbeat)))
		c.want(`{"module":"heartbeat","success":true,"content":"ok"}`)
	}
	f.must(c.Write(t.Context(), websocket.MessageText, []byte(`{"module":"unknown"}`)))
	want(t, f.put(f.app, string(f.ann.ID), `{"status":"Busy"}`), 204, "")
	frame, err := c.next()
	f.must(err)
	var event struct {
		Event   string
		Payload struct {
			Object map[string]any
		}
	}
	f.must(json.Unmarshal([]byte(frame.Content), &event))
	if frame.Module != "message" || event.Event != "user.presence_status_updated" || event.Payload.Object["presence_status"] != "Busy" {
		t.Errorf("received %+v", frame)
	}
	f.stop()
	c.wantClose(1012, "the server is stopping: connect again")
}

// TestEventSocketRefuses: the reason comes in a frame, because clients cannot read an HTTP
// response.
func TestEventSocketRefuses(t *testing.T) {
	f := newSockets(t)
	s := f.waiting()
	endpoint := f.create(accountBody)
	native, err := f.registry.Create(t.Context(), &webhook.Subscription{
		Account: f.account, App: presence.AppID(f.appID), Form: "zoom", Owner: f.ann.ID, Users: []presence.UserID{f.ann.ID},
		Secrets: []webhook.Secret{{Value: webhook.NewSecret()}},
	})
	f.must(err)
	other, _ := f.appToken(appScopes)
	for name, c := range map[string]struct{ subscription, token, content string }{
		"an unknown token":        {s.ID, "pl_unknown", "Invalid Token"},
		"no token":                {s.ID, "", "Invalid Token"},
		"a user's token":          {s.ID, f.annToken, "Invalid Token"},
		"another app":             {s.ID, other, "Invalid subscriptionId"},
		"another account":         {s.ID, f.eveApp, "Invalid subscriptionId"},
		"an unknown subscription": {"unknown", f.token, "Invalid subscriptionId"},
		"no subscription":         {"", f.token, "Invalid subscriptionId"},
		"a user's subscription":   {native.ID, f.token, "Invalid subscriptionId"},
		"an endpoint":             {endpoint, f.token, "Invalid subscriptionId: the subscription has an endpoint URL"},
	} {
		t.Run(name, func(t *testing.T) {
			client := f.connect(c.subscription, c.token)
			client.tb = t
			client.want(`{"module":"build_connection","success":false,"content":"` + c.content + `"}`)
			client.wantClose(1008, c.content)
		})
	}
	rec := f.do(call{method: "GET", path: "/ws?subscriptionId=" + s.ID + "&access_token=" + f.token})
	if rec.Code != http.StatusBadRequest || !strings.Contains(rec.Body.String(), "WebSocket handshake") {
		t.Errorf("a plain request: %d %s", rec.Code, rec.Body)
	}
	for began := time.Now(); strings.Count(f.access.String(), `"path":"/ws"`) < 10 && time.Since(began) < waitLimit; {
		time.Sleep(10 * time.Millisecond) // the log is flushed every second
	}
	if log := f.access.String(); strings.Contains(log, "pl_") || strings.Contains(log, "access_token") || !strings.Contains(log, `"path":"/ws"`) {
		t.Errorf("the access log has a token, or no connection:\n%s", log)
	}
}

// TestEventSocketEnds: a newer connection, the deletion of the subscription and the
// revocation of the token end a connection.
func TestEventSocketEnds(t *testing.T) {
	f := newSockets(t)
	s := f.waiting()
	first := f.connect(s.ID, f.token)
	first.want(opened)
	second := f.connect(s.ID, f.token)
	second.want(opened)
	first.wantClose(1000, "replaced by a newer connection of the subscription")
	f.must(f.registry.Delete(t.Context(), f.account, s.ID, func(*webhook.Subscription) error { return nil }))
	second.wantClose(1008, "ended")

	token, app := f.appToken(appScopes + " user:read:user:admin")
	f.appID = app
	third := f.connect(f.waiting().ID, token)
	third.want(opened)
	began := time.Now()
	f.must(f.Authority.RevokeByText(t.Context(), presence.AppID(app), token))
	third.wantClose(1008, "Invalid Token")
	t.Logf("the connection of a revoked token ended after %v", time.Since(began))
}

// TestEventSocketLosesNothing: over 20 connections that break at any time and a restart
// of the server, every event arrives; some arrive again.
func TestEventSocketLosesNothing(t *testing.T) {
	const changes, connections = 400, 20
	f := newSockets(t)
	s := f.waiting("user.personal_notes_updated")
	var writing sync.WaitGroup
	writing.Go(func() {
		for n := range changes {
			f.note(n + 1)
			if n%8 == 0 { // on NATS, the log may drop changes of a user if it is sixteen behind
				if _, err := f.store.Log(t.Context(), math.MaxInt64, 1); err != nil {
					t.Error(err)
				}
			}
		}
	})
	seen, received := 0, 0 // the notes from 1 to seen have arrived
	receive := func(c *socketClient) error {
		n, err := c.note()
		if err != nil || n == 0 {
			return err
		}
		if received++; n > seen+1 {
			t.Fatalf("note %d came after %d", n, seen)
		}
		seen = max(seen, n)
		return nil
	}
	for i := range connections {
		if i == connections/2 {
			f.stop()
			f.start()
		}
		c := f.connect(s.ID, f.token)
		for range rand.IntN(3 * changes / connections / 2) {
			if seen == changes || receive(c) != nil {
				break
			}
		}
		_ = c.CloseNow()
	}
	writing.Wait()
	for seen < changes { // the server ends connections of clients that are slow
		c, err := f.connect(s.ID, f.token), error(nil)
		for seen < changes && err == nil {
			err = receive(c)
		}
		if errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("note %d did not arrive: %v", seen+1, err)
		}
		_ = c.CloseNow()
	}
	t.Logf("%d changes, %d events received", changes, received)
}
