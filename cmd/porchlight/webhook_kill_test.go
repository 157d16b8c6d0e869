package main_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/leveltest"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
)

// Parameters of TestKillWithWebhooks, and what makes a run valid.
const (
	webhookCatchUp  = 5 * time.Minute // a failure bound
	leastDelivering = 0.5             // of the servers delivered events before they were killed
)

// TestKillWithWebhooks: kill -9 loses no event. Each change of a status that the log has
// is accepted by each endpoint at least once, with a signature that others verify: by a
// healthy one, by one that fails some first attempts, and by one that was dead all the
// time. No endpoint receives a change that the log does not have.
func TestKillWithWebhooks(t *testing.T) {
	cycles := leveltest.Count(t, "kills of a server that delivers webhooks", 15, 50, 500)
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(cycles)*killCycleLimit+webhookCatchUp)
	defer cancel()
	k := &killing{in: install(ctx, t, t.TempDir(), "--drain-delay", "20ms", "--webhook-allow", "127.0.0.0/8")}
	p := k.start(ctx, t)
	k.fill(ctx, t, p)
	since := time.Now()
	healthy := subscribe(ctx, t, p, "healthy", "zoom", 0)
	flaky := subscribe(ctx, t, p, "flaky", "native", 0.25)
	dead := subscribe(ctx, t, p, "dead", "native", 0)
	dead.dead.Store(true) // it keeps its port, which another program could get meanwhile
	var delivering tally
	for cycle := range cycles {
		if cycle > 0 {
			p = k.start(ctx, t)
		}
		k.check(ctx, t, p, cycle)
		before, _, _ := healthy.counts()
		k.load(ctx, t, p, cycle%10 == 7)
		after, _, _ := healthy.counts()
		delivering.count(after > before)
	}
	want := committed(t, k.in.dir, since)
	dead.dead.Store(false)
	p = k.start(ctx, t)
	// What was tried while the endpoint was dead has retries in up to two hours.
	replay(ctx, t, p, dead.subscription, since)
	catchingUp, stop := context.WithTimeout(ctx, webhookCatchUp)
	defer stop()
	began := time.Now()
	for _, e := range []*endpoint{healthy, flaky, dead} {
		e.await(catchingUp, t, p, want)
		requests, failed, _ := e.counts()
		t.Logf("%s: %d changes, %d requests of which %d failed, complete %v after the last start",
			e.name, len(want), requests, failed, time.Since(began).Round(time.Millisecond))
	}
	p.stop(t)
	for _, e := range []*endpoint{healthy, flaky, dead} {
		e.check(t, want)
	}
	if len(want) < leastAcked*cycles/2 {
		t.Errorf("INVALID: only %d changes in %d cycles", len(want), cycles)
	}
	if _, failed, _ := flaky.counts(); failed < min(mostWaiting, len(want)/16) {
		t.Errorf("INVALID: only %d attempts failed", failed)
	}
	delivering.atLeast(t, "delivering when they were killed", leastDelivering)
	k.underLoad.atLeast(t, "killed under load", leastLoaded)
}

// replay begins a replay as soon as the server delivers events.
func replay(ctx context.Context, t *testing.T, p *process, subscription string, since time.Time) {
	t.Helper()
	for {
		_, err := p.ReplaySubscription(ctx, subscription, since.Format(time.RFC3339Nano))
		if err == nil {
			return
		}
		if _, again := client.Retry(err); !again {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// committed reads the changes of statuses since a time from the log of a data directory
// that no server uses.
func committed(t *testing.T, dir string, since time.Time) []delivered {
	t.Helper()
	st, err := pebblestore.Open(filepath.Join(dir, "store"), pebblestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var all []delivered
	for after := store.Position(0); ; {
		entries, err := st.Log(t.Context(), after, store.MaxFeedGroup)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			return all
		}
		for i := range entries {
			e := &entries[i]
			if after = e.At; e.Before.Status != e.After.Status && e.Time.After(since) {
				all = append(all, delivered{string(e.User.ID), uint64(e.Revision), e.After.Status.String()})
			}
		}
	}
}
