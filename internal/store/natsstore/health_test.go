package natsstore_test

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// TestRefusedForAWhile: servers that refuse the password for a while are used
// again when they take it.
func TestRefusedForAWhile(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	o := servers.options()
	log := new(textLog)
	o.Logger = slog.New(slog.NewTextHandler(log, nil))
	s := closing(t, servers.open(t, o))
	update(t, s, named("u"), nothing)
	right := servers.settings[0].Users
	servers.off(0)
	var wrong []*server.User
	for _, u := range right {
		other := *u
		other.Password = "other"
		wrong = append(wrong, &other)
	}
	servers.settings[0].Users = wrong
	servers.on(t, 0)
	waitFor(t, "a refusal", func() bool { return strings.Contains(log.String(), nats.ErrAuthorization.Error()) })
	time.Sleep(time.Second) // and several more, of which no more is said
	servers.off(0)
	servers.settings[0].Users = right
	servers.on(t, 0)
	waitFor(t, "an update", func() bool {
		_, err := s.Update(t.Context(), named("u"), storetest.UpdateFunc(store.By{}, edit(nothing)))
		return err == nil
	})
}

// TestVerifyUnderLoad: a look at the store while others write finds it well. What
// it finds amiss shuts the gate for everybody.
func TestVerifyUnderLoad(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	s := closing(t, servers.open(t, servers.options()))
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for i := range 8 {
		u := named(strconv.Itoa(i))
		group.Go(func() {
			for ctx.Err() == nil {
				if _, err := s.Update(ctx, u, storetest.UpdateFunc(store.By{}, edit(nothing))); err != nil && ctx.Err() == nil {
					t.Errorf("Update: %v", err)
				}
			}
		})
	}
	amiss := 0
	var last error
	for range 100 {
		if err := s.VerifyOnce(ctx); err != nil {
			amiss, last = amiss+1, err
		}
	}
	cancel()
	group.Wait()
	if amiss > 0 {
		t.Errorf("%d of 100 looks found amiss what is well, the last: %v", amiss, last)
	}
}

// TestServersSyncLess: servers that came again with another setting are noticed as
// those that were opened are.
func TestServersSyncLess(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	s := closing(t, servers.open(t, natsstore.WithInterval(servers.options(), 500*time.Millisecond)))
	update(t, s, named("u"), nothing)
	servers.off(0)
	servers.settings[0].SyncAlways, servers.settings[0].SyncInterval = false, 2*time.Minute
	servers.on(t, 0)
	waitFor(t, "an answer", func() bool {
		_, err := s.Update(t.Context(), named("u"), storetest.UpdateFunc(store.By{}, edit(nothing)))
		return err == nil || errors.Is(err, store.ErrFailed)
	})
	select {
	case <-s.Failed():
	case <-time.After(patience):
		t.Error("servers that do not sync every write any more are acknowledged for")
	}
}
