package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
)

// expiry measures the delay from an expiry to its entry in the log: of 100,000 expiries
// over a minute, and of 10,000 at one instant. It runs in this process, on disk, with fsync.
func (r *run) expiry(*binary) error {
	dir := filepath.Join(r.dir, "expiry")
	defer os.RemoveAll(dir)
	st, err := pebblestore.Open(dir, pebblestore.Options{})
	if err != nil {
		return err
	}
	defer st.Close()
	policy := presence.DefaultPolicy()
	policy.IdleAfter = 0
	p := publish.New(publish.Options{
		Store: st, Policy: policy, Clock: time.Now, Log: slog.Default(),
		Known: func(context.Context, store.User) error { return nil },
	})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { _ = p.Run(ctx) }()

	late, err := r.timers(ctx, st, p, "spread", 100_000, time.Minute)
	if err != nil {
		return err
	}
	report("100,000 expiries over 60 s, p99 delay", "100", "ms", []float64{late[len(late)*99/100].Seconds() * 1000})
	report("100,000 expiries over 60 s, worst delay", "-", "ms", []float64{late[len(late)-1].Seconds() * 1000})
	late, err = r.timers(ctx, st, p, "instant", 10_000, 0)
	if err != nil {
		return err
	}
	report("10,000 expiries at one instant, last", "1", "s", []float64{late[len(late)-1].Seconds()})
	return nil
}

// timers makes n claims that expire over a span, and returns the delays of their log
// entries, sorted.
func (r *run) timers(ctx context.Context, st store.Store, p *publish.Publisher, name string, n int, span time.Duration) ([]time.Duration, error) {
	begin := time.Now().Add(20 * time.Second)
	user := func(i int) store.User {
		return store.User{Account: "bench", ID: presence.UserID(fmt.Sprint(name, i))}
	}
	err := inParallel(n, func(i int) error {
		signIn := presence.SignIn{Session: "s", Client: presence.Desktop, Lease: presence.MaxLease}
		if _, err := p.Publish(ctx, user(i), store.Actor{}, signIn); err != nil {
			return err
		}
		until := begin.Add(span * time.Duration(i) / time.Duration(n))
		claim := presence.SetClaim{ID: "c", Source: presence.App, Status: presence.Busy, Until: presence.InstantOf(until)}
		_, err := p.Publish(ctx, user(i), store.Actor{}, claim)
		return err
	})
	if err != nil {
		return nil, err
	}
	if left := time.Until(begin); left < 0 {
		return nil, fmt.Errorf("setting %d timers took %v too long", n, -left)
	}
	reading, stop := context.WithTimeout(ctx, time.Until(begin)+span+30*time.Second)
	defer stop()
	var late []time.Duration
	_ = st.Feed(reading, 0, func(entries []store.Entry) error {
		now := presence.InstantOf(time.Now())
		for i := range entries {
			e := &entries[i] // the log also has expiries of earlier runs
			if e.By.Cause == store.CauseTime && e.Before.Until != 0 && strings.HasPrefix(string(e.User.ID), name) {
				late = append(late, now.Sub(e.Before.Until))
			}
		}
		if len(late) >= n {
			stop()
		}
		return nil
	})
	if len(late) < n {
		return nil, fmt.Errorf("received %d of %d expiries", len(late), n)
	}
	slices.Sort(late)
	return late, nil
}
