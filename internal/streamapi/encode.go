package streamapi

import (
	"encoding/json"
	"math/rand/v2"
	"strconv"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/httpapi"
	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/view"
	"porchlight.dev/porchlight/internal/watch"
	"porchlight.dev/porchlight/internal/wire"
)

// An answer is an event of the API itself: a hello, a done, an error, a pong or a
// close, as the frame says.
type answer struct{ frame api.ServerFrame }

func (a *answer) Size() int {
	return 64 + len(a.frame.ID) + len(a.frame.Session) + len(a.frame.Code) + len(a.frame.Detail)
}

// A controlPong is the event that answers a WebSocket ping with its payload.
type controlPong []byte

func (p controlPong) Size() int { return len(p) }

// frameType is the type of an event's frame; "" for an event that has no frame.
func frameType(e hub.Event) string {
	switch e := e.(type) {
	case *hub.Presence:
		return api.FramePresence
	case *hub.Gone:
		return api.FrameGone
	case *hub.Reset:
		return api.FrameReset
	case *hub.Snapshot:
		return api.FrameSnapshot
	case *watch.Fired:
		return api.FrameWatch
	case *answer:
		return e.frame.Type
	default:
		return ""
	}
}

// The reasons on the wire.
var (
	goneReasons  = [...]string{hub.GoneDeleted: api.GoneDeleted, hub.GoneContactRemoved: api.GoneContactRemoved, hub.GoneMemberRemoved: api.GoneMemberRemoved}
	resetReasons = [...]string{
		hub.ResetEpoch: api.ResetEpoch, hub.ResetUnreadable: api.ResetUnreadable, hub.ResetContacts: api.ResetContacts, hub.ResetMembers: api.ResetMembers,
	}
)

// An objectEncoder encodes events as the JSON objects of the API, without their
// closing brace: each connection adds its cursor.
type objectEncoder struct{}

var _ hub.Encoder = objectEncoder{}

func (objectEncoder) Encode(e hub.Event) []byte {
	switch e := e.(type) {
	case *hub.Presence:
		return httpapi.AppendPresence(append(make([]byte, 0, 224), `{"type":"presence",`...), e.User, &e.Presence)
	case *hub.Gone:
		b := wire.AppendJSON([]byte(`{"type":"gone","user":"`), string(e.User))
		b = append(b, `","reason":"`...)
		return append(append(b, goneReasons[e.Reason]...), '"')
	case *hub.Snapshot:
		return appendSnapshot(make([]byte, 0, e.Size()), e)
	case *hub.Reset:
		return object(api.ServerFrame{Type: api.FrameReset, ID: e.ID, Reason: resetReasons[e.Reason]})
	case *watch.Fired:
		return object(api.ServerFrame{Type: api.FrameWatch, Watch: httpapi.AsWatch(&e.Watch)})
	case *answer:
		return object(e.frame)
	default:
		return nil
	}
}

// object is a frame without its closing brace.
func object(f api.ServerFrame) []byte {
	body, _ := json.Marshal(&f) // it has only text and numbers, which cannot fail
	return body[:len(body)-1]
}

func appendSnapshot(b []byte, s *hub.Snapshot) []byte {
	b = append(b, `{"type":"snapshot"`...)
	if s.ID != "" {
		b = append(wire.AppendJSON(append(b, `,"id":"`...), s.ID), '"')
	}
	if s.Partial {
		b = append(b, `,"partial":true`...)
	}
	b = append(appendViews(append(b, `,"presences":[`...), s.Views, s.Names), ']')
	if s.More {
		return append(b, `,"more":true`...)
	}
	b = wire.AppendStrings(append(b, `,"gone":`...), s.Gone)
	return wire.AppendStrings(append(b, `,"unknown":`...), s.Unknown)
}

// appendViews appends presences to a list. A user that the client did not name by id
// appears once for each name.
func appendViews(b []byte, views []view.View, names map[presence.UserID][]string) []byte {
	for i := range views {
		v := &views[i]
		refs := names[v.User]
		if len(refs) == 0 {
			b = httpapi.AppendNamed(appendComma(b), v.User, &v.Presence, string(v.User))
		}
		for _, ref := range refs {
			b = httpapi.AppendNamed(appendComma(b), v.User, &v.Presence, ref)
		}
	}
	return b
}

// appendComma separates an item of a list from the one before.
func appendComma(b []byte) []byte {
	if b[len(b)-1] == '[' {
		return b
	}
	return append(b, ',')
}

// appendTail appends what differs between streams, and closes the frame's object.
func appendTail(b []byte, d *hub.Delivery) []byte {
	if d.Coalesced {
		b = append(b, `,"coalesced":true`...)
	}
	if d.Cursor != "" {
		b = append(append(append(b, `,"cursor":"`...), d.Cursor...), '"')
	}
	return append(b, '}')
}

// tailLen is the length of what appendTail appends.
func tailLen(d *hub.Delivery) int {
	n := 1
	if d.Coalesced {
		n += len(`,"coalesced":true`)
	}
	if d.Cursor != "" {
		n += len(`,"cursor":""`) + len(d.Cursor)
	}
	return n
}

// appendWebSocket appends an event as a frame of RFC 6455: whole, unmasked, text.
func appendWebSocket(b []byte, d *hub.Delivery) []byte {
	switch e := d.Event.(type) {
	case hub.Ping:
		return append(b, 0x89, 0)
	case controlPong:
		return append(append(b, 0x8a, byte(len(e))), e...)
	}
	object := d.Encoded(objectEncoder{})
	if object == nil {
		return b
	}
	n := len(object) + tailLen(d)
	b = append(b, 0x81)
	switch {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = append(b, 126, byte(n>>8), byte(n))
	default:
		b = append(b, 127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return appendTail(append(b, object...), d)
}

// appendEvent appends an event in the format of SSE. The data is JSON without line
// breaks.
func appendEvent(b []byte, d *hub.Delivery) []byte {
	if d.Event == (hub.Ping{}) {
		return append(b, "event: ping\ndata: {\"type\":\"ping\"}\n\n"...)
	}
	object := d.Encoded(objectEncoder{})
	if object == nil {
		return b
	}
	kind := frameType(d.Event)
	if kind == api.FrameHello { // or a browser would keep the delay of the last close
		b = append(strconv.AppendInt(append(b, "retry: "...), eventRetry(), 10), '\n')
	}
	b = append(append(append(b, "event: "...), kind...), '\n')
	if d.Cursor != "" {
		b = append(append(append(b, "id: "...), d.Cursor...), '\n')
	}
	b = append(append(b, "data: "...), object...)
	return append(appendTail(b, d), "\n\n"...)
}

// eventRetry is a browser's reconnect delay in milliseconds. It is random, because many
// streams may be lost at once.
func eventRetry() int64 { return 2000 + rand.Int64N(3000) } //nolint:gosec // no secret

// endings are the frames that end a stream.
var endings = [...]struct {
	code   int
	reason string
}{
	hub.CloseGone:         {1000, ""},
	hub.CloseDraining:     {api.CloseDraining, "draining"},
	hub.CloseSlow:         {api.CloseSlow, "slow"},
	hub.CloseUnavailable:  {api.CloseUnavailable, "unavailable"},
	hub.CloseSilent:       {api.CloseSilent, "silent"},
	hub.CloseUnauthorized: {api.CloseUnauthorized, "unauthorized"},
	hub.CloseTooFast:      {api.CloseTooFast, "too_fast"},
	hub.CloseTooMany:      {api.CloseTooMany, "too_many_users"},
	hub.CloseSuspended:    {api.CloseSuspended, "account_suspended"},
	hub.CloseIsolated:     {api.CloseIsolated, "isolated"},
}

func appendCloseFrame(b []byte, code int, reason string, retryMS int) []byte {
	text := `{"reason":"` + reason + `"`
	if retryMS > 0 {
		text += `,"retry_ms":` + strconv.Itoa(retryMS)
	}
	text += "}"
	b = append(b, 0x88, byte(2+len(text)), byte(code>>8), byte(code))
	return append(b, text...)
}

func appendCloseEvent(b []byte, code int, reason string, retryMS int) []byte {
	e := &answer{api.ServerFrame{Type: api.FrameClose, CloseCode: code, Reason: reason, RetryMS: retryMS}}
	if retryMS > 0 {
		b = append(strconv.AppendInt(append(b, "retry: "...), int64(retryMS), 10), '\n')
	}
	return appendEvent(b, &hub.Delivery{Event: e})
}
