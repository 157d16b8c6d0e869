package natsstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"porchlight.dev/porchlight/internal/store"
)

// TestReadFresh: a read waits for a replica that is as new as it asks, and only a write that
// the servers acknowledge says that there is no such thing.
func TestReadFresh(t *testing.T) {
	const behind, at = 9, 12 // of a replica that is held back, and of the leader
	for name, c := range map[string]struct {
		replicas []func(*actor, string)
		barrier  string // the acknowledgement of a barrier; "": none
		fresh    func(epoch string) store.Freshness
		err      error
		barriers int64
	}{
		"at least, and one replica is behind": {
			[]func(*actor, string){responds(behind, 3), responds(behind, 3), responds(at, 3, at)}, "", atLeast(at), nil, 0,
		},
		"at least, and all are behind for long": {
			append(many(10, responds(behind, 3)), responds(at+1, 3, at)), ack(at + 1), atLeast(at), nil, 1,
		},
		"at least, and none catches up": {[]func(*actor, string){responds(behind, 3)}, ack(at + 1), atLeast(at), store.ErrUnavailable, 1},
		"at least, without a majority":  {[]func(*actor, string){responds(behind, 3)}, "", atLeast(at), store.ErrUnavailable, -1},
		"at least what was not stored":  {[]func(*actor, string){responds(at, 3, at)}, ack(at + 1), atLeast(at + 2), store.ErrEpoch, 1},
		"strong":                        {[]func(*actor, string){responds(behind, 3), responds(at+1, 3, at)}, ack(at + 1), strong, nil, 1},
		"strong, without a majority":    {[]func(*actor, string){responds(at, 3, at)}, "", strong, store.ErrUnavailable, -1},
		"strong, and refused": {
			[]func(*actor, string){responds(at, 3, at)}, `{"error":{"code":400,"err_code":10071,"description":"no"}}`, strong, store.ErrUnavailable, 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, a := script(t, c.replicas...)
			s.gate.opened()
			s.opts.Timeout = 5 * time.Second // passes in some cases; a barrier is repeated after half of it
			if !errors.Is(c.err, store.ErrUnavailable) {
				s.opts.Timeout = 20 * time.Second
			}
			s.advanceSeq(behind)
			barriers := answerBarriers(t, s, a, c.barrier)
			u := store.User{Account: "a", ID: "u"}
			began := time.Now()
			_, cursor, err := s.Read(t.Context(), []store.User{u}, c.fresh(s.epoch))
			if !errors.Is(err, c.err) || errors.Is(err, errDamaged) {
				t.Errorf("Read: %v, want %v", err, c.err)
			}
			if got, _ := cursor.Position(s.epoch); err == nil && got < at {
				t.Errorf("the cursor is at %d, want at least %d", got, at)
			}
			if n := barriers(); n != c.barriers && c.barriers >= 0 {
				t.Errorf("%d barriers, want %d", n, c.barriers)
			}
			if took := time.Since(began); c.err != nil && took > time.Minute {
				t.Errorf("it was refused after %v", took)
			}
		})
	}
}

func atLeast(at store.Position) func(epoch string) store.Freshness {
	return func(epoch string) store.Freshness { return store.Freshness{AtLeast: store.NewCursor(epoch, at)} }
}

func strong(string) store.Freshness { return store.Freshness{Strong: true} }

func ack(seq int) string { return fmt.Sprintf(`{"stream":"porchlight-state","seq":%d}`, seq) }

func many(n int, answer func(*actor, string)) []func(*actor, string) {
	all := make([]func(*actor, string), n)
	for i := range all {
		all[i] = answer
	}
	return all
}

// answerBarriers acknowledges the barriers of a store, and counts them.
func answerBarriers(t *testing.T, s *Store, a *actor, text string) (count func() int64) {
	t.Helper()
	var mu sync.Mutex
	var n int64
	_, err := a.conn.Subscribe(s.names.probe(), func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		n++
		if text != "" {
			_ = m.Respond([]byte(text))
		}
	})
	if err == nil {
		err = a.conn.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() int64 {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

// TestBarriersAreShared: one barrier serves everyone who came before it was sent, and nobody
// who came later.
func TestBarriersAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent uint64
		var b barriers
		b.write = func() (uint64, error) {
			sent++
			seq := sent
			time.Sleep(time.Second)
			return seq, nil
		}
		got := make(chan uint64, 64)
		wait := func(n int) {
			for range n {
				go func() {
					seq, err := b.wait(t.Context())
					if err != nil {
						t.Error(err)
					}
					got <- seq
				}()
			}
			synctest.Wait()
		}
		wait(1)
		wait(16) // while the first is on its way
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := b.wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a caller who gives up: %v", err)
		}
		time.Sleep(1500 * time.Millisecond)
		wait(16) // while the second is
		time.Sleep(time.Minute)
		counts := map[uint64]int{}
		for range 33 {
			counts[<-got]++
		}
		if sent != 3 || counts[1] != 1 || counts[2] != 16 || counts[3] != 16 {
			t.Errorf("%d barriers served %v callers, want 1, 16 and 16", sent, counts)
		}
	})
}
