package httpapi

import (
	"encoding/json"
	"math/rand/v2"
	"strconv"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/notify"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/view"
	"porchlight.dev/porchlight/internal/wire"
)

// Format writes the frames of streams. Bodies are objects without their closing
// brace: each connection adds its cursor.
type Format struct{}

var _ notify.Format = Format{}

// AppendPresence implements notify.Format.
func (Format) AppendPresence(b []byte, u presence.UserID, p *presence.Presence) []byte {
	if b == nil {
		b = make([]byte, 0, 224)
	}
	return appendPresence(append(b, `{"type":"presence",`...), u, p)
}

// AppendGone implements notify.Format.
func (Format) AppendGone(b []byte, u presence.UserID, reason string) []byte {
	b = append(b, `{"type":"gone","user":"`...)
	b = wire.AppendJSON(b, string(u))
	b = append(b, `","reason":"`...)
	return append(append(b, reason...), '"')
}

// Snapshot implements notify.Format.
func (Format) Snapshot(s *notify.Snapshot) []notify.Frame {
	var frames []notify.Frame
	if s.Reset != "" {
		frames = append(frames, frame(api.FrameReset, &api.ServerFrame{ID: s.ID, Reason: s.Reset}))
	}
	views := s.Views
	for len(views) > api.SnapshotChunk {
		part := append(appendViews(snapshotHead(s), views[:api.SnapshotChunk], s.Asked), `,"more":true`...)
		frames = append(frames, notify.Frame{Kind: api.FrameSnapshot, Body: part})
		views = views[api.SnapshotChunk:]
	}
	last := appendViews(snapshotHead(s), views, s.Asked)
	last = appendTexts(append(last, `,"gone":`...), s.Gone)
	last = appendTexts(append(last, `,"unknown":`...), s.Unknown)
	return append(frames, notify.Frame{Kind: api.FrameSnapshot, Body: last, Mark: &s.Mark})
}

func snapshotHead(s *notify.Snapshot) []byte {
	const each = 190
	b := make([]byte, 0, 128+each*min(len(s.Views), api.SnapshotChunk))
	b = append(b, `{"type":"snapshot"`...)
	if s.ID != "" {
		b = append(wire.AppendJSON(append(b, `,"id":"`...), s.ID), '"')
	}
	if s.Partial {
		b = append(b, `,"partial":true`...)
	}
	return b
}

// appendViews appends presences, those of users who were named otherwise than by id
// once for each name.
func appendViews(b []byte, views []view.View, asked map[presence.UserID][]string) []byte {
	b = append(b, `,"presences":[`...)
	empty := len(b)
	for i := range views {
		names := asked[views[i].User]
		for n := range max(1, len(names)) {
			if len(b) > empty {
				b = append(b, ',')
			}
			b = appendPresence(append(b, '{'), views[i].User, &views[i].Presence)
			if n < len(names) && names[n] != string(views[i].User) {
				b = append(wire.AppendJSON(append(b, `,"asked_as":"`...), names[n]), '"')
			}
			b = append(b, '}')
		}
	}
	return append(b, ']')
}

func appendTexts[T ~string](b []byte, texts []T) []byte {
	b = append(b, '[')
	for i, text := range texts {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(wire.AppendJSON(append(b, '"'), string(text)), '"')
	}
	return append(b, ']')
}

// frame is any other frame of api.ServerFrame. Time members that are not set are
// left out.
func frame(kind string, f *api.ServerFrame) notify.Frame {
	f.Type = kind
	body, _ := json.Marshal(f) // only text and numbers are in it
	return notify.Frame{Kind: kind, Body: body[:len(body)-1]}
}

// appendTail closes the object of a frame: what differs from stream to stream.
func appendTail(b []byte, f *notify.Frame) []byte {
	if f.Coalesced {
		b = append(b, `,"coalesced":true`...)
	}
	if f.Cursor != "" {
		b = append(append(append(b, `,"cursor":"`...), f.Cursor...), '"')
	}
	return append(b, '}')
}

// tailLen is the length of what appendTail appends.
func tailLen(f *notify.Frame) int {
	n := 1
	if f.Coalesced {
		n += len(`,"coalesced":true`)
	}
	if f.Cursor != "" {
		n += len(`,"cursor":""`) + len(f.Cursor)
	}
	return n
}

// appendWebSocket appends a frame as RFC 6455 has it: whole, unmasked, text.
func appendWebSocket(b []byte, f *notify.Frame) []byte {
	switch f.Kind {
	case notify.Ping:
		return append(b, 0x89, 0)
	case controlPong:
		return append(append(b, 0x8a, byte(len(f.Body))), f.Body...)
	}
	n := len(f.Body) + tailLen(f)
	b = append(b, 0x81)
	switch {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = append(b, 126, byte(n>>8), byte(n))
	default:
		b = append(b, 127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return appendTail(append(b, f.Body...), f)
}

// controlPong is the kind of the answer to a WebSocket ping.
const controlPong = "control_pong"

// appendEvent appends a frame as an event of SSE. What is in it is JSON, so no
// line ends in it.
func appendEvent(b []byte, f *notify.Frame) []byte {
	switch f.Kind {
	case notify.Ping:
		return append(b, "event: ping\ndata: {\"type\":\"ping\"}\n\n"...)
	case api.FrameHello: // else a browser would keep the wait of the last close
		b = append(strconv.AppendInt(append(b, "retry: "...), eventRetry(), 10), '\n')
	}
	b = append(append(append(b, "event: "...), f.Kind...), '\n')
	if f.Cursor != "" {
		b = append(append(append(b, "id: "...), f.Cursor...), '\n')
	}
	b = append(append(b, "data: "...), f.Body...)
	return append(appendTail(b, f), "\n\n"...)
}

// eventRetry is how many milliseconds a browser waits when a stream was lost: others
// lost theirs at the same moment.
func eventRetry() int64 { return 2000 + rand.Int64N(3000) } //nolint:gosec // no secret

// endings are what is told at the end of a stream.
var endings = [...]struct {
	code   int
	reason string
}{
	notify.CloseGone:         {1000, ""},
	notify.CloseDraining:     {api.CloseDraining, "draining"},
	notify.CloseSlow:         {api.CloseSlow, "slow"},
	notify.CloseUnavailable:  {api.CloseUnavailable, "unavailable"},
	notify.CloseSilent:       {api.CloseSilent, "silent"},
	notify.CloseUnauthorized: {api.CloseUnauthorized, "unauthorized"},
	notify.CloseTooFast:      {api.CloseTooFast, "too_fast"},
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
	f := frame(api.FrameClose, &api.ServerFrame{CloseCode: code, Reason: reason, RetryMS: retryMS})
	if retryMS > 0 {
		b = append(strconv.AppendInt(append(b, "retry: "...), int64(retryMS), 10), '\n')
	}
	return appendEvent(b, &f)
}
