package webhook

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
)

// maxChallengeAnswer is how much of the answer to a challenge is read.
const maxChallengeAnswer = 64 << 10

// A ValidationError says that an endpoint did not prove that it wants events. Any other
// error of Validate is the server's own.
type ValidationError struct {
	Method, URL string // what was tried, as ShortURL; no method: nothing was sent
	Failure     Failure
	Reason      string
	Status      int    // of the answer; 0: there was none
	Answer      []byte // its first bytes, as valid UTF-8
}

// Error says what was tried and what came back.
func (e *ValidationError) Error() string {
	text := strings.TrimSpace(e.Method+" "+e.URL) + ": " + e.Reason
	if e.Status != 0 {
		text += fmt.Sprintf(" (status %d", e.Status)
		if len(e.Answer) > 0 {
			text += fmt.Sprintf(", body %q", cut(e.Answer, 200))
		}
		text += ")"
	}
	return text
}

// ShortURL is the scheme, the host and the path of a URL. Its query may have a key, which
// messages must not show.
func ShortURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		before, _, _ := strings.Cut(text, "?")
		return before
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}

// Validate sends the challenge of the subscription's form to its URL, signed and
// authenticated like an event. The error is a *ValidationError if the endpoint failed.
func (h *HTTPSender) Validate(ctx context.Context, s *Subscription) error {
	token := randomToken()
	var challenge Challenge
	m := &message{id: "validation_" + token, number: 1}
	m.challenge = func(form Form, secret string) *Event {
		challenge = form.Challenge(secret, token, h.Now())
		m.method = challenge.Method
		return &challenge.Event
	}
	answer, err := h.exchange(ctx, s, m, maxChallengeAnswer)
	failed := &ValidationError{Method: m.method, URL: ShortURL(s.URL)}
	if err != nil {
		failed.Failure, failed.Reason = describeFailure(err)
		if failed.Failure == FailureCanceled || failed.Failure == FailureInternal {
			return err
		}
		return failed
	}
	err = challenge.Check(answer.Status, answer.Header, answer.Body)
	if err == nil {
		return nil
	}
	failed.Failure, failed.Reason = FailureStatus, err.Error()
	failed.Status, failed.Answer = answer.Status, excerpt(answer.Body)
	if accepted(answer.Status) && !answer.Whole {
		failed.Reason = "the answer is too long, or did not end in time"
	}
	return failed
}

// randomToken is 22 characters that cannot be guessed.
func randomToken() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}
