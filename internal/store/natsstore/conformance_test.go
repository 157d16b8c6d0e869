package natsstore_test

import (
	"strconv"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// lateness is that of Due on a machine that does something else as well.
const lateness = 500 * time.Millisecond

// TestConformance runs the contract on one server that syncs every write. Each
// test has a store of its own on it.
func TestConformance(t *testing.T) {
	servers := startServers(t, 1)
	storetest.Run(t, storetest.Backend{Open: servers.opener(), Lateness: lateness})
}

// opener opens a new store for each test.
func (c *cluster) opener() func(t *testing.T) storetest.Opened {
	return func(t *testing.T) storetest.Opened {
		o := c.options()
		o.Prefix = "t" + strconv.FormatInt(c.stores.Add(1), 10)
		var s *natsstore.Store
		open := func(t *testing.T) store.Store {
			t.Helper()
			if s != nil {
				if err := s.Close(); err != nil {
					t.Fatalf("Close: %v", err)
				}
			}
			s = c.open(t, o)
			return s
		}
		opened := storetest.Opened{Store: open(t), Reopen: open}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
		return opened
	}
}
