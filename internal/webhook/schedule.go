package webhook

import (
	"cmp"
	"net/http"
	"time"
)

const (
	// DefaultConcurrency is how many requests an endpoint is sent at a time.
	DefaultConcurrency = 8

	// An endpoint may ask for a longer delay than the schedule's, within these bounds.
	minRetryAfter = time.Second
	maxRetryAfter = time.Hour

	// An endpoint is down after downAfter failures in a row. It is then probed with the
	// oldest event, with backoff.
	downAfter  = 10
	firstProbe = time.Second
	maxProbe   = time.Minute
	// probesEach is how many probes with the same event may be answered with a refusal.
	// After that the event gets its retries and the next one is the probe, because the
	// endpoint may refuse just this event.
	probesEach = 5
	// holdFor is how often an event whose schedule ended while the endpoint was down is
	// tried until the endpoint recovers.
	holdFor = time.Hour

	// A subscription is validated again after this time, and disabled after so many
	// failures in a row.
	validateEvery = 72 * time.Hour
	maxFailures   = 6
)

func (a *Attempt) accepted() bool { return a.Reason == "" }

// retries reports whether the schedule retries after a failed attempt.
func (p *Profile) retries(a *Attempt) bool {
	return a.Status == 0 || a.Status >= http.StatusInternalServerError || p.RetryClientErrors
}

// next is when an event is tried again after its attempt a, which ended at now. False:
// it is given up.
func (p *Profile) next(a *Attempt, now time.Time) (time.Time, bool) {
	if a.Number > len(p.Delays) || !p.retries(a) {
		return time.Time{}, false
	}
	return now.Add(p.delay(a, p.Delays[a.Number-1])), true
}

// delay is the scheduled delay, or a longer one that the endpoint asked for. It is never
// shorter, so that the schedule lasts as long as promised.
func (p *Profile) delay(a *Attempt, scheduled time.Duration) time.Duration {
	if !p.RetryClientErrors || a.RetryAfter <= 0 {
		return scheduled
	}
	return max(scheduled, min(max(a.RetryAfter, minRetryAfter), maxRetryAfter))
}

// nextNotice is when a gap is announced again. It is never given up: after the last
// delay of the schedule that delay repeats.
func (p *Profile) nextNotice(a *Attempt, now time.Time) time.Time {
	scheduled := maxProbe
	if n := len(p.Delays); n > 0 {
		scheduled = p.Delays[min(a.Number, n)-1]
	}
	return now.Add(p.delay(a, scheduled))
}

// A breaker stops first attempts to an endpoint that is down.
type breaker struct {
	failures int // in a row
	down     bool
	wait     time.Duration // before the next probe
	probe    time.Time     // when it is sent
}

// success closes the breaker.
func (b *breaker) success() { *b = breaker{} }

// failure counts a failed attempt, and reports whether the endpoint is down since now.
func (b *breaker) failure(now time.Time) bool {
	b.failures++
	if b.down || b.failures < downAfter {
		return false
	}
	b.down, b.wait, b.probe = true, firstProbe, now.Add(firstProbe)
	return true
}

// probeFailed schedules the next probe, not before the time that the endpoint asked for.
func (b *breaker) probeFailed(now time.Time, asked time.Duration) {
	b.wait = min(2*b.wait, maxProbe)
	b.probe = now.Add(max(b.wait, min(asked, maxRetryAfter)))
}

// nextValidation is when an endpoint must prove again that it wants events. Zero: never.
func (s *Subscription) nextValidation() time.Time {
	if s.URL == "" || s.stopped() {
		return time.Time{}
	}
	since := s.Health.Validated
	if since.IsZero() {
		since = s.Created
	}
	return since.Add(time.Duration(s.Health.Failures+1) * validateEvery)
}

func (s *Subscription) concurrency() int { return cmp.Or(max(s.Concurrency, 0), DefaultConcurrency) }
