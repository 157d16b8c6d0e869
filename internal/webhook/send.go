package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"porchlight.dev/porchlight/internal/egress"
	"porchlight.dev/porchlight/internal/telemetry"
)

// maxAnswer is how much of an answer an Attempt keeps.
const maxAnswer = 512

// HTTPSender is the Sender of a server. Its fields are set before its first use.
type HTTPSender struct {
	Catalog

	Client *egress.Client
	// Secrets returns the secrets of a subscription, or of its app, the newest first.
	Secrets   func(ctx context.Context, s *Subscription) ([]Secret, error)
	Now       func() time.Time
	UserAgent string // unless the form has its own
	Log       *slog.Logger
	Tracer    *telemetry.Tracer // nil: attempts are not traced

	tokens tokenCache
}

// Send makes one attempt, within the timeout of the subscription's profile. If ctx is
// canceled, the attempt has the Failure FailureCanceled and says nothing about the
// endpoint.
func (h *HTTPSender) Send(ctx context.Context, r *Request) Attempt {
	a := Attempt{
		Event: r.ID, Type: r.Event.Type, User: r.Event.User, At: r.Event.At,
		Number: r.Number, Stale: r.Stale, Started: h.Now(),
	}
	m := &message{method: http.MethodPost, id: r.ID, event: r.Event, number: r.Number, stale: r.Stale}
	m.span = h.Tracer.Call("webhook attempt", traceID(r.ID), commitOf(r))
	defer func() { endSpan(m.span, &a) }()
	answer, err := h.exchange(ctx, r.Subscription, m, maxAnswer+utf8.UTFMax)
	now := h.Now()
	a.Duration = now.Sub(a.Started)
	if err != nil {
		a.Failure, a.Reason = describeFailure(err)
		if a.Failure == FailureInternal {
			h.Log.ErrorContext(ctx, "webhook attempt failed before it was sent", slog.String("subscription", r.Subscription.ID), slog.Any("err", err))
		}
		return a
	}
	a.Status, a.Answer = answer.Status, excerpt(answer.Body)
	if !accepted(answer.Status) {
		a.Failure, a.Reason = FailureStatus, describeStatus(answer)
		a.RetryAfter = parseRetryAfter(answer.Header.Get("Retry-After"), now)
	}
	return a
}

func accepted(status int) bool { return status >= 200 && status < 300 }

// A message is what exchange sends.
type message struct {
	method string
	id     string
	event  *Event
	number int
	stale  bool
	span   *telemetry.Span // nil: it is not traced
	// challenge makes the event, which depends on the secret; nil: event is given.
	challenge func(form Form, secret string) *Event
}

// exchange signs and authenticates a message and sends it. If the endpoint refuses an
// access token from the cache, exchange obtains another one and sends the message once
// more.
func (h *HTTPSender) exchange(ctx context.Context, s *Subscription, m *message, limit int) (*egress.Answer, error) {
	if s.URL == "" {
		return nil, &failure{FailureConfig, "the subscription has no URL"}
	}
	form, profile, err := h.of(s)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, profile.Timeout)
	defer cancel()
	header, err := h.header(ctx, s, form, m)
	if err != nil {
		return nil, err
	}
	rejected := ""
	for {
		token, cached, err := h.authenticate(ctx, s, header, rejected)
		if err != nil {
			return nil, err
		}
		answer, err := h.post(ctx, s, m, header, limit)
		if err != nil || answer.Status != http.StatusUnauthorized || !cached || rejected != "" {
			return answer, err
		}
		rejected = token
	}
}

// Header returns the headers of an attempt without the authentication, for an event that
// is sent in another way than to an endpoint.
func (h *HTTPSender) Header(ctx context.Context, r *Request) (http.Header, error) {
	form, _, err := h.of(r.Subscription)
	if err != nil {
		return nil, err
	}
	return h.header(ctx, r.Subscription, form, &message{id: r.ID, event: r.Event, number: r.Number, stale: r.Stale})
}

// header returns the headers of a message, without the authentication.
func (h *HTTPSender) header(ctx context.Context, s *Subscription, form Form, m *message) (http.Header, error) {
	all, err := h.Secrets(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("read the secrets: %w", err)
	}
	now := h.Now()
	secrets := validSecrets(all, now)
	if len(secrets) == 0 {
		return nil, &failure{FailureConfig, "the subscription has no valid secret"}
	}
	if m.challenge != nil {
		m.event = m.challenge(form, secrets[0].Value)
	}
	header := http.Header{"User-Agent": {h.UserAgent}}
	merge(header, m.event.Header)
	merge(header, form.Headers(secrets[0].Value, m.id, now, m.event.Body))
	signStandard(header, secrets, m.id, now, m.event.Body)
	header.Set(headerTrace, traceParent(m.id, m.number))
	if m.span != nil {
		header.Set(headerTrace, m.span.Parent())
	}
	header.Set(headerAttempt, strconv.Itoa(m.number))
	if m.event.Revision > 0 {
		header.Set(headerRevision, fmt.Sprint(m.event.Revision))
	}
	if m.stale {
		header.Set(headerStale, "true")
	}
	return header, nil
}

func merge(header, other http.Header) {
	for name, values := range other {
		header[http.CanonicalHeaderKey(name)] = values
	}
}

func (h *HTTPSender) post(ctx context.Context, s *Subscription, m *message, header http.Header, limit int) (*egress.Answer, error) {
	req, err := http.NewRequestWithContext(ctx, m.method, s.URL, bytes.NewReader(m.event.Body))
	if err != nil {
		return nil, &failure{FailureConfig, "the subscription's URL cannot be parsed"}
	}
	req.Header = header
	return h.Client.Do(req, limit)
}

// A failure is an error of this side, before anything was sent to the endpoint.
type failure struct {
	kind   Failure
	reason string
}

func (f *failure) Error() string { return f.reason }

// describeFailure says why there is no answer.
func describeFailure(err error) (Failure, string) {
	var own *failure
	var sending *egress.Error
	switch {
	case errors.As(err, &own):
		return own.kind, own.reason
	case errors.As(err, &sending):
		return Failure(sending.Kind), sending.Text
	case errors.Is(err, context.Canceled):
		return FailureCanceled, "the server is stopping"
	default:
		return FailureInternal, "the server could not prepare the request"
	}
}

// describeStatus says why an answer does not accept the event.
func describeStatus(a *egress.Answer) string {
	text := strings.TrimSpace(strconv.Itoa(a.Status) + " " + http.StatusText(a.Status))
	if location := a.Header.Get("Location"); location != "" && a.Status >= 300 && a.Status < 400 {
		return "the endpoint answered " + text + ", which is not followed: subscribe " + string(cut([]byte(location), 200)) + " itself"
	}
	return "the endpoint answered " + text
}

// excerpt is the beginning of an answer as valid UTF-8.
func excerpt(body []byte) []byte {
	body = body[:min(len(body), maxAnswer+utf8.UTFMax)]
	return cut(bytes.ToValidUTF8(body, []byte("\uFFFD")), maxAnswer)
}

// cut shortens text to at most n bytes, without a part of a character at the end.
func cut(text []byte, n int) []byte {
	if len(text) <= n {
		return text
	}
	for i := n; i > n-4; i-- {
		if text[i]&0xC0 != 0x80 {
			return text[:i]
		}
	}
	return text[:n]
}

// parseRetryAfter reads a Retry-After in seconds or as a date. Zero: there is none, or it
// has passed.
func parseRetryAfter(text string, now time.Time) time.Duration {
	text = strings.TrimSpace(text)
	if text != "" && strings.Trim(text, "0123456789") == "" {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil || seconds > math.MaxInt64/int64(time.Second) {
			return math.MaxInt64
		}
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
