package wire

import (
	"net/http"
	"strconv"
	"time"

	"porchlight.dev/porchlight/internal/telemetry"
)

// trace begins the span of a request, if it is traced. parents are its headers traceparent,
// of which several count as none, and states those tracestate.
func (f *Facts) trace(o *Observer, m *Meter, parents, states []string) {
	if o.Tracer == nil {
		return
	}
	parent := ""
	if len(parents) == 1 {
		parent = parents[0]
	}
	f.span = o.Tracer.Serve(m.name, parent, states, f.start)
}

// Responding records that the response of a request begins, which its trace shows.
func (o *Observer) Responding(f *Facts) {
	if f.span != nil {
		f.responding = o.clock()
	}
}

// endSpan ends the span of an answered request. Its path is left out, because it names
// users.
func (f *Facts) endSpan(m *Meter, status int, elapsed time.Duration) {
	if f.span == nil {
		return
	}
	end := f.start.Add(elapsed)
	f.span.Stage("respond", f.responding, end)
	f.span.Text("http.request.method", m.method)
	f.span.Text("http.route", m.route)
	f.span.Number("http.response.status_code", status)
	f.span.Text("porchlight.request_id", f.requestID)
	if f.code != "" {
		f.span.Text("porchlight.error_code", f.code)
	}
	if status >= 500 {
		f.span.Text("error.type", strconv.Itoa(status))
		f.span.Fail(http.StatusText(status))
	}
	f.span.EndAt(end)
}

// Span is the request's span, or nil.
func (f *Facts) Span() *telemetry.Span { return f.span }

// spanOf is the span of the request that w answers, or nil.
func spanOf(w http.ResponseWriter) *telemetry.Span {
	if f, ok := w.(*Facts); ok {
		return f.span
	}
	return nil
}
