package natsstore_test

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/store/storetest"
)

var errEnough = errors.New("enough")

// TestReaderMovesBetweenNodes: a reader that ran here, then elsewhere, then here
// again goes on from where it was elsewhere.
func TestReaderMovesBetweenNodes(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	here := closing(t, servers.open(t, servers.options()))
	there := closing(t, servers.open(t, servers.options()))
	for round, s := range []*natsstore.Store{here, there, here} {
		at := update(t, here, named("u"), nothing).At
		if got := take(t, s, "r", 1); got[0].At != at {
			t.Errorf("round %d began at %d, want %d: what came before was given", round, got[0].At, at)
		}
	}
}

// TestPositionWithALostAnswer: a reader whose position was stored, while the answer
// was lost, is not taken for another node's.
func TestPositionWithALostAnswer(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	p := startProxy(t, func() string { return servers.servers[0].Addr().String() })
	o := servers.options()
	o.Wait = 500 * time.Millisecond
	log := new(textLog)
	o.Logger = slog.New(slog.NewTextHandler(log, nil))
	s, err := natsstore.Open(t.Context(), p.url(), o)
	if err != nil {
		t.Fatal(err)
	}
	closing(t, s)
	other := closing(t, servers.open(t, servers.options())) // whose answers come
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	var given atomic.Int64
	go func() {
		ended <- s.Feed(ctx, "r", func(entries []store.Entry) error {
			given.Add(int64(len(entries)))
			return nil
		})
	}()
	p.trap.Store(true)
	update(t, other, named("u"), nothing)
	waitFor(t, "a save that nobody hears of", func() bool { return strings.Contains(log.String(), store.ErrUnknown.Error()) })
	p.hear()
	update(t, other, named("v"), nothing)
	waitFor(t, "the entries, or the end", func() bool { return given.Load() >= 2 || len(ended) > 0 })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Feed ended with %v, though nobody else runs it", err)
	}
	at := update(t, other, named("w"), nothing).At
	if got := take(t, other, "r", 1); got[0].At != at {
		t.Errorf("elsewhere it went on at %d, want %d", got[0].At, at)
	}
}

// A textLog keeps what is logged.
type textLog struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (l *textLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *textLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// TestFeedThenRead: what Feed gave, Read on this node does not give older.
func TestFeedThenRead(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 3)
	o := servers.options()
	writer := closing(t, servers.open(t, o))
	reader := closing(t, servers.open(t, o))
	const each, users = 150, 16
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var group sync.WaitGroup
	for i := range users {
		u := named(strconv.Itoa(i))
		group.Go(func() {
			for range each {
				if _, err := writer.Update(ctx, u, storetest.ByHand(store.By{}, edit(nothing))); err != nil {
					t.Errorf("Update: %v", err)
				}
			}
		})
	}
	go func() {
		group.Wait()
		_, _ = writer.Update(ctx, named("last"), storetest.ByHand(store.By{}, edit(nothing)))
	}()
	older, read, got, last := 0, 0, 0, named("last")
	err := reader.Feed(ctx, "r", func(entries []store.Entry) error {
		e := entries[len(entries)-1]
		records, _, err := reader.Read(ctx, []store.User{e.User})
		if err != nil {
			return err
		}
		read++
		if len(records) == 0 || records[0].At < e.At {
			older++
		}
		got += len(entries)
		if e.User == last {
			return errEnough
		}
		return nil
	})
	group.Wait()
	t.Logf("%d reads after %d entries", read, got) // some may be behind a gap
	if !errors.Is(err, errEnough) {
		t.Errorf("Feed ended with %v", err)
	}
	if older > 0 {
		t.Errorf("%d of %d reads gave what was older than the entry before it", older, read)
	}
}
