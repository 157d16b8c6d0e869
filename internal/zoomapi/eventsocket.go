package zoomapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/eventsocket"
	"porchlight.dev/porchlight/internal/webhook"
	"porchlight.dev/porchlight/internal/wire"
)

// eventSocketPath is Zoom's WebSocket for events.
const eventSocketPath = "/ws"

// The contents of a frame that refuses a connection. Clients compare the first.
const (
	contentBadToken        = "Invalid Token"
	contentNoScope         = "Invalid Token: the app may not read the events of the subscription"
	contentNoSubscription  = "Invalid subscriptionId"
	contentHasEndpoint     = "Invalid subscriptionId: the subscription has an endpoint URL"
	closePolicy            = 1008
	closeServiceRestart    = 1012
	closeTryAgainLater     = 1013
	closeNormal            = 1000
	socketHeartbeatTimeout = 90 * time.Second // Zoom's clients send one every 30 s
)

// serveEventSocket serves Zoom's WebSocket. The token is in the URL, as Zoom has it, for
// clients that cannot set a header; the access log has no query.
func (a *API) serveEventSocket(w http.ResponseWriter, r *http.Request) error {
	if err := a.Events.Sockets.Check(r); err != nil {
		return err
	}
	q, err := wire.Query(r)
	if err != nil {
		return err
	}
	p, err := a.Auth.Authenticate(r.Context(), q.Get("access_token"))
	if err != nil && auth.Refused(err) || err == nil && !p.AccountLevel {
		return a.refuseSocket(w, r, contentBadToken)
	}
	if err != nil {
		return err
	}
	wire.RecordPrincipal(w, p)
	s, err := a.Events.Subscriptions.Get(r.Context(), p.Account, q.Get("subscriptionId"))
	switch {
	case errors.Is(err, webhook.ErrNoSubscription) || err == nil && !belongs(p, s):
		return a.refuseSocket(w, r, contentNoSubscription)
	case err != nil:
		return err
	case s.URL != "":
		return a.refuseSocket(w, r, contentHasEndpoint)
	case checkEvents(p, subscribedEvents(s), s.Users) != nil:
		return a.refuseSocket(w, r, contentNoScope)
	}
	return a.Events.Sockets.Serve(w, r, p, socketFormat{}, func(ctx context.Context, send eventsocket.Send) (eventsocket.Attachment, error) {
		return a.Events.Deliveries.Attach(ctx, s, send)
	})
}

func (a *API) refuseSocket(w http.ResponseWriter, r *http.Request, content string) error {
	wire.RecordCode(w, content)
	return a.Events.Sockets.Refuse(w, r, socketFrame("build_connection", false, content), closePolicy, content)
}

// socketFormat is Zoom's frames.
type socketFormat struct{}

var _ eventsocket.Format = socketFormat{}

func socketFrame(module string, success bool, content string) []byte {
	return appendFrame(module, struct {
		Module  string `json:"module"`
		Success bool   `json:"success"`
		Content string `json:"content"`
	}{module, success, content})
}

// appendFrame writes JSON without the escapes that HTML would need.
func appendFrame(module string, frame any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(frame); err != nil {
		panic("zoomapi: a frame of " + module + " cannot be written: " + err.Error()) // it has only text
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func (socketFormat) Opened() []byte { return socketFrame("build_connection", true, "ok") }

// Event has the body of the webhook as text.
func (socketFormat) Event(_ context.Context, r *webhook.Request) ([]byte, error) {
	return appendFrame("message", struct {
		Module  string `json:"module"`
		Content string `json:"content"`
	}{"message", string(r.Event.Body)}), nil
}

// Receive answers a heartbeat: an object, or the bare word. Zoom has no other frames.
func (socketFormat) Receive(frame []byte) (answer []byte, heartbeat bool) {
	var asked struct {
		Module string `json:"module"`
	}
	if strings.TrimSpace(string(frame)) != "heartbeat" && (json.Unmarshal(frame, &asked) != nil || asked.Module != "heartbeat") {
		return nil, false
	}
	return socketFrame("heartbeat", true, "ok"), true
}

func (socketFormat) Silence() time.Duration { return socketHeartbeatTimeout }

// Close has the codes of RFC 6455 and its registry. After 1012 and 1013 a client connects
// again.
func (socketFormat) Close(why eventsocket.Reason) (code int, text string) {
	switch why {
	case eventsocket.Draining:
		return closeServiceRestart, "the server is stopping: connect again"
	case eventsocket.Isolated:
		return closeTryAgainLater, "the server cannot reach its store: connect again, to another one if you can"
	case eventsocket.Slow, eventsocket.Unavailable:
		return closeTryAgainLater, string(why) + ": connect again"
	case eventsocket.Silent:
		return closePolicy, "no heartbeat"
	case eventsocket.Replaced:
		return closeNormal, "replaced by a newer connection of the subscription"
	case eventsocket.Unauthorized:
		return closePolicy, contentBadToken
	case eventsocket.Suspended:
		return closePolicy, "the account is suspended"
	default:
		return closePolicy, string(why)
	}
}
