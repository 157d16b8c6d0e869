package streamapi

import (
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/hub"
)

// A flow is the sink of server-sent events over HTTP/2, where only the handler's
// goroutine may write.
type flow struct {
	watches bool // that fired are sent
	parts   chan []byte
	ended   chan struct{} // closed by End
	once    sync.Once

	// What follows is written before ended is closed.

	last []byte
	by   time.Time // when all must be written
	mute bool      // discard what is queued
}

var _ hub.Sink = (*flow)(nil)

func newFlow(watches bool) *flow {
	return &flow{watches: watches, parts: make(chan []byte, 1), ended: make(chan struct{})}
}

func (*flow) Append(b []byte, d hub.Delivery) []byte { return appendEvent(b, &d) }

func (f *flow) TryWrite(b []byte) (int, error) {
	select {
	case f.parts <- append([]byte(nil), b...):
		return len(b), nil
	case <-f.ended:
		return 0, net.ErrClosed
	default:
		return 0, nil
	}
}

var errSlow = errors.New("the reader takes nothing")

func (f *flow) Write(b []byte, pace *hub.Pace) error {
	_, by := pace.Next(len(b))
	timer := time.NewTimer(time.Until(by))
	defer timer.Stop()
	select {
	case f.parts <- append([]byte(nil), b...):
		pace.NoteAccepted(len(b))
		return nil
	case <-f.ended:
		return net.ErrClosed
	case <-timer.C:
		return errSlow
	}
}

func (*flow) AnswersPings() bool      { return false }
func (f *flow) TakesBroadcasts() bool { return f.watches }

func (f *flow) End(why hub.Close, retry time.Duration) {
	f.once.Do(func() {
		f.by, f.mute = time.Now().Add(closeTimeout), why.Revoked()
		if ending := endings[why]; ending.reason != "" {
			f.last = appendCloseEvent(nil, ending.code, ending.reason, int(retry.Milliseconds()))
		}
		close(f.ended)
	})
}

// Finish implements hub.Sink: the handler's goroutine writes what is last, and
// net/http waits for it when the server stops.
func (*flow) Finish(_ bool, done func()) { done() }

func (f *flow) isEnded() bool {
	select {
	case <-f.ended:
		return true
	default:
		return false
	}
}

// serve writes until the stream or the request ends.
func (f *flow) serve(w http.ResponseWriter, r *http.Request) {
	out := &flowWriter{flow: f, w: w, rc: http.NewResponseController(w)}
	for {
		select {
		case b := <-f.parts:
			if !out.writePart(b) {
				return
			}
			continue
		default:
			out.pace = nil // all is written: the reader keeps up
		}
		select {
		case b := <-f.parts:
			if !out.writePart(b) {
				return
			}
		case <-f.ended:
			select {
			case b := <-f.parts:
				out.writePart(b)
			default:
			}
			out.write(f.last)
			return
		case <-r.Context().Done():
			return
		}
	}
}

// A flowWriter writes on the handler's goroutine.
type flowWriter struct {
	flow *flow
	w    http.ResponseWriter
	rc   *http.ResponseController
	pace *hub.Pace // nil: nothing was queued after the last write
}

// writePart writes a part unless the flow is muted.
func (o *flowWriter) writePart(b []byte) bool { return o.flow.isEnded() && o.flow.mute || o.write(b) }

// write writes all at the pace of the stream. A write waits until net/http has sent the
// bytes or has queued them for sending.
func (o *flowWriter) write(b []byte) bool {
	if o.pace == nil {
		o.pace = hub.NewPace()
	}
	for len(b) > 0 {
		n, by := o.pace.Next(len(b))
		if o.flow.isEnded() {
			by = o.flow.by
		}
		_ = o.rc.SetWriteDeadline(by) // the write reports what is wrong
		if _, err := o.w.Write(b[:n]); err != nil || o.rc.Flush() != nil {
			return false
		}
		o.pace.NoteAccepted(n)
		b = b[n:]
	}
	// Over HTTP/2 a deadline ends the stream when it passes, written to or not.
	return o.rc.SetWriteDeadline(time.Time{}) == nil
}
