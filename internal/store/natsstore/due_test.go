package natsstore_test

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// outUntil adds a claim that expires at an instant, and outFor one that expires after a
// duration.
func outUntil(until time.Time) func(*presence.State) {
	return func(s *presence.State) { out(s, presence.InstantOf(until)) }
}

func outFor(d time.Duration) func(*presence.State) {
	return func(s *presence.State) { out(s, s.At.Add(d)) }
}

func out(s *presence.State, until presence.Instant) {
	s.Claims = []presence.Claim{{
		ID: presence.ManualClaim, Source: presence.Manual, Status: presence.OutOfOffice, Since: s.At, Until: until,
	}}
}

// TestDueWithoutItsConsumer: Due continues after the consumer of firings was removed.
func TestDueWithoutItsConsumer(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	s := closeAtEnd(t, servers.open(t, servers.options()))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	fired := make(chan store.User, 1000)
	ended := make(chan error, 1)
	go func() {
		ended <- s.Due(ctx, func(us []store.User) error {
			for _, u := range us {
				fired <- u
			}
			return nil
		})
	}()
	update(t, s, userNamed("first"), outFor(300*time.Millisecond))
	waitFor(t, "the first firing", func() bool { return len(fired) > 0 })
	err := servers.admin(t).DeleteConsumer(ctx, "porchlight-state", "porchlight-due")
	if err != nil {
		t.Fatal(err)
	}
	update(t, s, userNamed("second"), outFor(300*time.Millisecond))
	for end := time.After(waitLimit); ; {
		select {
		case u := <-fired:
			if u == userNamed("second") {
				return
			}
		case err := <-ended:
			t.Fatalf("Due ended with %v", err)
		case <-end:
			t.Fatalf("the second user was not reported; Check: %v", s.Check(ctx))
		}
	}
}

// TestDamagedFiring: damaged firings and records do not block other users.
func TestDamagedFiring(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	o := servers.options()
	log := new(textLog)
	o.Logger = slog.New(slog.NewTextHandler(log, nil))
	s := closeAtEnd(t, servers.open(t, o))
	a := servers.admin(t)
	a.put("porchlight.t.00.zz.zz", []byte("garbage")) // names no user
	update(t, s, userNamed("record"), outFor(time.Second))
	last := a.last("porchlight.s.>")
	last.Data[len(last.Data)-1] ^= 1
	a.put(last.Subject, last.Data)
	update(t, s, userNamed("firing"), outFor(time.Hour))
	a.put(strings.TrimSuffix(strings.Replace(a.last("porchlight.s.>").Subject, ".s.", ".t.", 1), ".c"), []byte("garbage"))
	update(t, s, userNamed("sound"), outFor(time.Second))
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	logged := []string{"damaged timer message discarded", "cannot evaluate its expiry", "checking the record of its user"}
	err := s.Due(ctx, func(us []store.User) error {
		if len(us) != 1 || us[0] != userNamed("sound") {
			t.Errorf("Due reported %v", us)
		}
		for _, text := range logged {
			if !strings.Contains(log.String(), text) {
				return nil // Due reports the user again
			}
		}
		return errEnough
	})
	if !errors.Is(err, errEnough) {
		t.Errorf("Due ended with %v, and logged %s", err, log)
	}
}

// TestFarEnds: expiries beyond the range of the servers' timers are stored, and do not
// fire.
func TestFarEnds(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	s := closeAtEnd(t, servers.open(t, servers.options()))
	for _, year := range []int{2200, 3000} {
		t.Run(strconv.Itoa(year), func(t *testing.T) {
			_, err := s.Update(t.Context(), userNamed(strconv.Itoa(year)), storetest.UpdateFunc(store.By{}, edit(outUntil(time.Date(year, 6, 1, 0, 0, 0, 0, time.UTC)))))
			if err != nil {
				t.Errorf("Update: %v", err)
			}
		})
	}
	varz := func() int64 {
		v, err := servers.servers[0].Varz(nil)
		if err != nil {
			t.Fatal(err)
		}
		return v.OutMsgs
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	sent := varz()
	if err := s.Due(ctx, func(us []store.User) error { t.Errorf("Due reported %v", us); return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Due ended with %v", err)
	}
	if n := varz() - sent; n > 2000 {
		t.Errorf("the servers sent %d messages in 4 s while nothing was due", n)
	}
	t.Logf("%d messages", varz()-sent)
}

// TestDueAfterFullStorage: an expiry that fell into a time of full storage is reported
// once there is space.
func TestDueAfterFullStorage(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	s := closeAtEnd(t, servers.open(t, natsstore.WithInterval(servers.options(), 500*time.Millisecond)))
	due := update(t, s, userNamed("u"), outFor(2*time.Second)).State.Claims[0].Until.Time()
	account, err := servers.servers[0].LookupAccount("PORCHLIGHT")
	if err != nil {
		t.Fatal(err)
	}
	limit := func(most int64) {
		t.Helper()
		limits := server.JetStreamAccountLimits{MaxMemory: -1, MaxStore: most, MaxStreams: -1, MaxConsumers: -1, MaxAckPending: -1, MemoryMaxStreamBytes: -1, StoreMaxStreamBytes: -1}
		if err := account.UpdateJetStreamLimits(map[string]server.JetStreamAccountLimits{"": limits}); err != nil {
			t.Fatal(err)
		}
	}
	limit(1)
	_, err = s.Update(t.Context(), userNamed("v"), storetest.UpdateFunc(store.By{}, edit(noEdit)))
	if !errors.Is(err, store.ErrFull) {
		t.Errorf("Update without space: %v, want ErrFull", err)
	}
	time.Sleep(time.Until(due.Add(time.Second)))
	limit(-1)
	waitFor(t, "space", func() bool {
		_, err := s.Update(t.Context(), userNamed("w"), storetest.UpdateFunc(store.By{}, edit(noEdit)))
		return err == nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	if err := s.Due(ctx, func([]store.User) error { return errEnough }); !errors.Is(err, errEnough) {
		t.Errorf("Due ended with %v, want the user who was due", err)
	}
}
