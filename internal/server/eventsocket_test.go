package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/server"
)

// An eventClient is a client of the events of a subscription.
type eventClient struct {
	*websocket.Conn
	t *testing.T
}

func (r *running) receiveEvents(t *testing.T, subscription, token string) *eventClient {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	url := "ws" + strings.TrimPrefix(r.URL(), "http") + "/v1/subscriptions/" + subscription + "/events"
	ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ws.CloseNow() })
	return &eventClient{ws, t}
}

func (c *eventClient) next() (f api.EventFrame, err error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), waitLimit)
	defer cancel()
	_, text, err := c.Read(ctx)
	if err == nil {
		err = json.Unmarshal(text, &f)
	}
	return f, err
}

// readTo reads until an event for which ok is true.
func (c *eventClient) readTo(ok func(*api.EventFrame) bool) {
	c.t.Helper()
	for {
		f, err := c.next()
		if err != nil {
			c.t.Fatal(err)
		}
		if ok(&f) {
			return
		}
	}
}

// wantClose reads until the connection ends.
func (c *eventClient) wantClose(code int, reason string) {
	c.t.Helper()
	for {
		_, err := c.next()
		if err == nil {
			continue
		}
		closed, ok := errors.AsType[websocket.CloseError](err)
		if !ok || int(closed.Code) != code || closed.Reason != reason {
			c.t.Errorf("the connection ended with %v, want %d %s", err, code, reason)
		}
		return
	}
}

// waitingSubscription makes a subscription without URL.
func (r *running) waitingSubscription(t *testing.T, token string) api.Subscription {
	t.Helper()
	body := strings.NewReader(`{"events":["presence.changed"]}`)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.URL()+"/v1/subscriptions", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := r.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var made api.Subscription
	if err := json.NewDecoder(resp.Body).Decode(&made); err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("POST /v1/subscriptions: %s, %v", resp.Status, err)
	}
	return made
}

// TestEventSocket: a client of a subscription without URL gets what an endpoint would,
// also what it missed, until its token is revoked or the server stops.
func TestEventSocket(t *testing.T) {
	cfg := settings(t)
	r := start(t, cfg, server.Options{})
	ids := r.createUsers(t, 1)
	s := r.waitingSubscription(t, r.made.AccessToken)
	claim := func(status api.Status) {
		t.Helper()
		if _, err := r.client.SetClaim(t.Context(), ids[0], "test", api.SetClaim{Source: "app", Status: status}); err != nil {
			t.Fatal(err)
		}
	}
	verifier, err := standard.NewWebhook(s.Secret)
	if err != nil {
		t.Fatal(err)
	}
	// receive reads to the event with a status. Events from just before the subscription
	// may precede it.
	receive := func(c *eventClient, status api.Status) (id string) {
		t.Helper()
		c.readTo(func(f *api.EventFrame) bool {
			header := make(http.Header)
			for name, value := range f.Headers {
				header.Set(name, value)
			}
			if err := verifier.Verify([]byte(f.Body), header); err != nil {
				t.Errorf("the signature of %+v: %v", f, err)
			}
			if f.Type != api.FrameEvent || f.Event != "presence.changed" || f.Headers["webhook-id"] != f.ID {
				t.Errorf("received %+v", f)
			}
			id = f.ID
			return strings.Contains(f.Body, `"presence":{"status":"`+string(status)+`"`)
		})
		return id
	}

	claim(api.Busy) // while no client is connected
	c := r.receiveEvents(t, s.ID, r.made.AccessToken)
	receive(c, api.Busy)
	claim(api.Away)
	id := receive(c, api.Away)
	_ = c.CloseNow() // before it has answered the ping
	token := r.createToken(t, "", "subscription:write:admin")
	c = r.receiveEvents(t, s.ID, token.Secret)
	c.readTo(func(f *api.EventFrame) bool { return f.ID == id }) // it comes again

	began := time.Now()
	if err := r.client.RevokeToken(t.Context(), token.ID); err != nil {
		t.Fatal(err)
	}
	c.wantClose(api.CloseUnauthorized, `{"reason":"unauthorized"}`)
	t.Logf("the connection of a revoked token ended after %v", time.Since(began))

	first := r.receiveEvents(t, s.ID, r.made.AccessToken)
	c = r.receiveEvents(t, s.ID, r.made.AccessToken)
	first.wantClose(api.CloseReplaced, `{"reason":"replaced"}`)
	go r.stop(server.ErrInterrupted)
	c.wantClose(api.CloseDraining, `{"reason":"draining","retry_ms":1000}`)
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}

	r = run(t, cfg, server.Options{}, r.made)
	claim(api.DoNotDisturb)
	receive(r.receiveEvents(t, s.ID, r.made.AccessToken), api.DoNotDisturb)
}
