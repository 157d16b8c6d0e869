package webhook

import (
	"net/http"

	"porchlight.dev/porchlight/internal/telemetry"
)

// commitOf is the commit that the event of a request is about.
func commitOf(r *Request) telemetry.Commit {
	return telemetry.Commit{Account: string(r.Subscription.Account), User: string(r.Event.User), Revision: uint64(r.Event.Revision)}
}

// endSpan ends the span of an attempt. The URL of the endpoint and what it answered are
// left out: both may have secrets.
func endSpan(s *telemetry.Span, a *Attempt) {
	if s == nil {
		return
	}
	s.Text("http.request.method", http.MethodPost)
	s.Text("porchlight.event.type", a.Type)
	s.Number("porchlight.attempt", a.Number)
	if a.Status != 0 {
		s.Number("http.response.status_code", a.Status)
	}
	if a.Failure != "" {
		s.Text("error.type", string(a.Failure))
		s.Fail(string(a.Failure))
	}
	s.End()
}
