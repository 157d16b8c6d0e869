package natsstore_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"porchlight.dev/porchlight/internal/leveltest"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// lateness is the limit for Due on a busy machine that runs all these tests at once. On
// an idle one it is a third of a second: see BenchmarkDue.
const (
	lateness = storeTimeout
	ahead    = 2 * time.Second
)

// TestConformance runs the contract on one server that syncs every write. Each test has
// its own store.
func TestConformance(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	storetest.Run(t, storetest.Backend{Open: servers.opener(), Lateness: lateness, Ahead: ahead, MinEntries: 16, Parallel: true})
}

// TestConformanceCluster runs the contract on three servers: all tests with `make
// test-full`, and otherwise those that replicas could break.
func TestConformanceCluster(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 3)
	b := storetest.Backend{Open: servers.opener(), Lateness: lateness, Ahead: ahead, MinEntries: 16, Parallel: true}
	if !leveltest.Full(t, "tests of the contract that three servers could break") {
		chosen := []string{
			"Update/EachGetsLatestState", "Update/Concurrent", "Update/RefusalIsDurable", "Read/ChangedAfterCursor", "Read/NoChangeSkipped", "Read/AtLeastCursor", "Read/AtLeastUnissued", "Read/Strong",
			"Feed/OrderUnderLoad", "Log/Pages", "Log/HistoryAgreesWithLog", "Erase/Redacts", "Erase/WhileFollowed", "Watch/NewestInOrder", "Watch/LowWaterUnderLoad", "Due/OnTime", "Due/MovedEarlier", "Docs/Versions", "Docs/Uniqueness", "Docs/AtomicReads",
			"Log/Reopened", "Reopen/PositionsContinue",
		}
		b.Tests = func(name string) bool { return slices.Contains(chosen, name) }
	}
	storetest.Run(t, b)
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
		opened := storetest.Opened{Store: open(t), Reopen: open, DropLog: func(t *testing.T, to store.Position) {
			c.admin(t).dropHistory(o.Prefix+"-history", to)
		}}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
		return opened
	}
}

// dropHistory removes from the history all messages up to a position.
func (a admin) dropHistory(stream string, to store.Position) {
	a.Helper()
	s, err := a.Stream(a.TB.Context(), stream)
	if err != nil {
		a.Fatal(err)
	}
	state := s.CachedInfo().State
	below := state.FirstSeq
	for seq := state.FirstSeq; seq <= state.LastSeq; seq++ {
		m, err := s.GetMsg(a.TB.Context(), seq)
		if err != nil {
			a.Fatal(err)
		}
		source := strings.Fields(m.Header.Get("Nats-Stream-Source"))
		if at, err := strconv.ParseUint(source[1], 10, 64); err != nil {
			a.Fatal(err)
		} else if store.Position(at) <= to {
			below = seq + 1
		}
	}
	if err := s.Purge(a.TB.Context(), jetstream.WithPurgeSequence(below)); err != nil {
		a.Fatal(err)
	}
}
