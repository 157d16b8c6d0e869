package streamapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/eventsocket"
	"porchlight.dev/porchlight/internal/webhook"
	"porchlight.dev/porchlight/internal/wire"
)

// Events serves the events of subscriptions without URL to clients that connect. Set the
// fields, then Mount.
type Events struct {
	API     *API
	Sockets *eventsocket.Sockets
	// Header returns the headers that a request with the event would have, signed.
	Header func(context.Context, *webhook.Request) (http.Header, error)
}

// Mount adds the route. Reading is for those who may change the subscription: a client
// that reads replaces the one before, and what it has read is delivered.
func (e *Events) Mount(rt *wire.Router) {
	const events = "/v1/subscriptions/{subscription}/events"
	native := e.API.Native
	rt.Handle(http.MethodGet, events, native, native.Site.OwnOrigin(native.Guarded(http.MethodGet, events, auth.SubscriptionWrite, e.serve)))
}

func (e *Events) serve(w http.ResponseWriter, r *http.Request, p *auth.Principal) error {
	native := e.API.Native
	s, err := native.Subscription(r.Context(), p, auth.SubscriptionWrite, r.PathValue("subscription"))
	if err != nil {
		return err
	}
	if s.URL != "" {
		return webhook.ErrHasEndpoint
	}
	if err := e.Sockets.Check(r); err != nil {
		return err
	}
	return e.Sockets.Serve(w, r, p, eventFormat{e.Header}, func(ctx context.Context, send eventsocket.Send) (eventsocket.Attachment, error) {
		return native.Deliverer.Attach(ctx, s, send)
	})
}

// eventFormat is the frames of the API.
type eventFormat struct {
	header func(context.Context, *webhook.Request) (http.Header, error)
}

var _ eventsocket.Format = eventFormat{}

func (eventFormat) Opened() []byte { return nil }

func (f eventFormat) Event(ctx context.Context, r *webhook.Request) ([]byte, error) {
	header, err := f.header(ctx, r)
	if err != nil {
		return nil, err
	}
	headers := make(map[string]string, len(header))
	for name, values := range header {
		headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	return json.Marshal(&api.EventFrame{Type: api.FrameEvent, ID: r.ID, Event: r.Event.Type, Headers: headers, Body: string(r.Event.Body)})
}

// Receive ignores what clients send: they need not send anything.
func (eventFormat) Receive([]byte) (answer []byte, heartbeat bool) { return nil, false }

func (eventFormat) Silence() time.Duration { return 0 }

// socketCodes are the close codes of the reasons.
var socketCodes = map[eventsocket.Reason]int{
	eventsocket.Draining: api.CloseDraining, eventsocket.Isolated: api.CloseIsolated, eventsocket.Slow: api.CloseSlow, eventsocket.Unavailable: api.CloseUnavailable,
	eventsocket.Silent: api.CloseSilent, eventsocket.Unauthorized: api.CloseUnauthorized, eventsocket.TooFast: api.CloseTooFast,
	eventsocket.Suspended: api.CloseSuspended, eventsocket.Replaced: api.CloseReplaced, eventsocket.Ended: api.CloseEnded,
}

func (eventFormat) Close(why eventsocket.Reason) (code int, text string) {
	reason := api.CloseReason{Reason: string(why)}
	if why == eventsocket.Draining || why == eventsocket.Isolated {
		reason.RetryMS = int(drainRetry / time.Millisecond)
	}
	body, _ := json.Marshal(&reason) // it has only text and a number
	return socketCodes[why], string(body)
}

// drainRetry is when a client connects again after the server sent it away. There are few
// clients, so they need not be spread.
const drainRetry = time.Second
