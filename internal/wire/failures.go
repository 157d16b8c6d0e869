package wire

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/auth"
)

const (
	repeatedFailures = 20               // failures of an address that are logged
	failuresLapse    = 10 * time.Minute // without a failure, after which counting starts again
	failuresLogEvery = time.Minute      // and no more often
	maxFailureRuns   = 10_000           // addresses that are remembered
)

// failureRuns counts failed authentications by address, so that an attack or a
// misconfigured client leaves a line in the log, and cannot fill it.
type failureRuns struct {
	mu   sync.Mutex
	runs map[netip.Prefix]*failureRun
}

type failureRun struct {
	failures     int
	last, logged time.Time
}

// RecordClientID records the client id of a request, for the log of failures.
func RecordClientID(w http.ResponseWriter, id string) {
	if f, ok := w.(*Facts); ok {
		f.clientID = id
	}
}

// add counts a failure and returns how many there were if that is to be logged, else 0.
func (c *failureRuns) add(address netip.Prefix, now time.Time) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	run := c.runs[address]
	if run == nil || now.Sub(run.last) > failuresLapse {
		run = c.begin(address)
	}
	run.failures++
	run.last = now
	if run.failures < repeatedFailures || now.Sub(run.logged) < failuresLogEvery {
		return 0
	}
	run.logged = now
	return run.failures
}

func (c *failureRuns) begin(address netip.Prefix) *failureRun {
	if c.runs == nil {
		c.runs = make(map[netip.Prefix]*failureRun)
	}
	for known := range c.runs { // in random order
		if len(c.runs) < maxFailureRuns {
			break
		}
		delete(c.runs, known)
	}
	run := new(failureRun)
	c.runs[address] = run
	return run
}

// logFailure logs repeated failures with unknown tokens and wrong secrets.
func (o *Observer) logFailure(ctx context.Context, f *Facts) {
	if !errors.Is(f.err, auth.ErrInvalidToken) && !errors.Is(f.err, auth.ErrBadClient) {
		return
	}
	failures := o.failures.add(f.client.LimitKey(), f.start)
	if failures == 0 {
		return
	}
	attrs := []any{slog.String("address", f.client.Addr.String()), slog.Int("failures", failures), slog.String("request_id", f.requestID)}
	if f.clientID != "" {
		attrs = append(attrs, slog.String("client_id", auth.Shorten(f.clientID)))
	}
	o.log.WarnContext(ctx, "repeated authentication failures", attrs...)
}
