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

// TestRefusedForAWhile: the store reconnects to servers that rejected the password for a
// while.
func TestRefusedForAWhile(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	o := servers.options()
	log := new(textLog)
	o.Logger = slog.New(slog.NewTextHandler(log, nil))
	s := closeAtEnd(t, servers.open(t, o))
	update(t, s, userNamed("u"), noEdit)
	right := servers.settings[0].Users
	servers.stopServer(0)
	var wrong []*server.User
	for _, u := range right {
		other := *u
		other.Password = "other"
		wrong = append(wrong, &other)
	}
	servers.settings[0].Users = wrong
	servers.startServer(t, 0)
	waitFor(t, "a rejection", func() bool { return strings.Contains(log.String(), nats.ErrAuthorization.Error()) })
	time.Sleep(time.Second) // more rejections, which are not logged
	servers.stopServer(0)
	servers.settings[0].Users = right
	servers.startServer(t, 0)
	waitFor(t, "an update", func() bool {
		_, err := s.Update(t.Context(), userNamed("u"), storetest.UpdateFunc(store.By{}, edit(noEdit)))
		return err == nil
	})
}

// TestVerifyUnderLoad: verification succeeds under concurrent writes. A false failure
// would block all operations.
func TestVerifyUnderLoad(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	s := closeAtEnd(t, servers.open(t, servers.options()))
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for i := range 8 {
		u := userNamed(strconv.Itoa(i))
		group.Go(func() {
			for ctx.Err() == nil {
				if _, err := s.Update(ctx, u, storetest.UpdateFunc(store.By{}, edit(noEdit))); err != nil && ctx.Err() == nil {
					t.Errorf("Update: %v", err)
				}
			}
		})
	}
	failures := 0
	var last error
	for range 100 {
		if err := s.VerifyOnce(ctx); err != nil {
			failures, last = failures+1, err
		}
	}
	cancel()
	group.Wait()
	if failures > 0 {
		t.Errorf("%d of 100 verifications failed, the last with %v", failures, last)
	}
}

// TestServersSyncLess: the store fails when servers restart without syncing every write.
func TestServersSyncLess(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	s := closeAtEnd(t, servers.open(t, natsstore.WithInterval(servers.options(), 500*time.Millisecond)))
	update(t, s, userNamed("u"), noEdit)
	servers.stopServer(0)
	servers.settings[0].SyncAlways, servers.settings[0].SyncInterval = false, 2*time.Minute
	servers.startServer(t, 0)
	waitFor(t, "an answer", func() bool {
		_, err := s.Update(t.Context(), userNamed("u"), storetest.UpdateFunc(store.By{}, edit(noEdit)))
		return err == nil || errors.Is(err, store.ErrFailed)
	})
	select {
	case <-s.Failed():
	case <-time.After(waitLimit):
		t.Error("the store did not fail on servers that do not sync every write")
	}
}
