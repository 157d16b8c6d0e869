package pebblestore_test

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// TestConformance runs the contract in a synctest bubble, on files in memory.
func TestConformance(t *testing.T) {
	storetest.Run(t, storetest.Backend{Open: inMemory, Bubble: true, Lateness: 10 * time.Millisecond})
}

// TestConformanceTiny runs it with a cache of one record a shard, so that most reads
// miss.
func TestConformanceTiny(t *testing.T) {
	open := func(t *testing.T) storetest.Opened {
		return opener(t, pebblestore.Options{FS: vfs.NewMem(), CacheRecords: 1, CacheBytes: 1})
	}
	storetest.Run(t, storetest.Backend{Open: open, Bubble: true, Lateness: 10 * time.Millisecond})
}

// TestConformancePacked runs it with most records packed, and less cache than they
// need.
func TestConformancePacked(t *testing.T) {
	open := func(t *testing.T) storetest.Opened {
		return opener(t, pebblestore.Options{FS: vfs.NewMem(), CacheRecords: 2, CacheBytes: 64 << 10})
	}
	storetest.Run(t, storetest.Backend{Open: open, Bubble: true, Lateness: 10 * time.Millisecond})
}

func inMemory(t *testing.T) storetest.Opened {
	return opener(t, pebblestore.Options{FS: vfs.NewMem()})
}

func opener(t *testing.T, o pebblestore.Options) storetest.Opened {
	var s *pebblestore.Store
	open := func(t *testing.T) store.Store {
		t.Helper()
		if s != nil {
			if err := s.Close(); err != nil {
				t.Fatalf("Close: %v", err)
			}
		}
		var err error
		if s, err = pebblestore.Open("data", o); err != nil {
			t.Fatal(err)
		}
		return s
	}
	opened := storetest.Opened{
		Store: open(t), Reopen: open,
		DropLog: func(t *testing.T, to store.Position) { s.DropLog(t, to) },
		Damage:  func(t *testing.T, at store.Position) { s.DamageEntry(t, at) },
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return opened
}
