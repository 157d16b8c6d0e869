package watch_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/tail/tailtest"
	"porchlight.dev/porchlight/internal/watch"
)

// A mortalStore is the store of a node that dies when it fires a watch.
type mortalStore struct {
	logStore

	mu     sync.Mutex
	dies   string // "before" or "after" the write that says so; "": it does not
	onDead func()
	dead   bool
}

func (m *mortalStore) reach() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return store.ErrUnavailable
	}
	return nil
}

func (m *mortalStore) die() {
	m.mu.Lock()
	m.dead, m.dies = true, ""
	m.mu.Unlock()
	m.onDead()
}

func (m *mortalStore) Write(ctx context.Context, account presence.AccountID, docs ...store.Doc) error {
	m.mu.Lock()
	dies := m.dies
	m.mu.Unlock()
	fires := docs[0].Collection == "watch" && strings.Contains(string(docs[0].Value), `"fired"`)
	if fires && dies == "before" {
		m.die()
	}
	if err := m.reach(); err != nil {
		return err
	}
	err := m.logStore.Write(ctx, account, docs...)
	if fires && dies == "after" {
		m.die()
		return store.ErrUnknown
	}
	return err
}

func (m *mortalStore) Load(ctx context.Context, account presence.AccountID, keys ...store.Key) ([]store.Doc, error) {
	if err := m.reach(); err != nil {
		return nil, err
	}
	return m.logStore.Load(ctx, account, keys...)
}

func (m *mortalStore) Read(ctx context.Context, us []store.User, fresh store.Freshness) ([]store.Record, store.Cursor, error) {
	if err := m.reach(); err != nil {
		return nil, store.Cursor{}, err
	}
	return m.logStore.Read(ctx, us, fresh)
}

// TestFiringNodeDies: a watch fires once although the node that fires it dies at that
// instant, before or after it has recorded it. A stream on another node gets it.
func TestFiringNodeDies(t *testing.T) {
	for _, when := range []string{"before", "after"} {
		t.Run(when, func(t *testing.T) {
			watchBubble(t, func(t *testing.T, st logStore) {
				var cluster tailtest.Cluster
				stores := make(map[*watchNode]*mortalStore)
				nodes := make([]*watchNode, 3)
				for i := range nodes {
					m := &mortalStore{logStore: st}
					nodes[i] = startShared(t, m, &cluster)
					stores[nodes[i]] = m
				}
				advanceTime(3 * time.Second)
				var firing, other *watchNode
				for _, n := range nodes {
					if n.consumers.Running() > 0 {
						firing = n
					} else {
						other = n
					}
				}
				other.open()
				other.createWatch("alice", presence.Available)
				advanceTime(3 * time.Second)
				m := stores[firing]
				m.mu.Lock()
				m.dies, m.onDead = when, firing.node.Silence
				m.mu.Unlock()
				other.applyEvents("alice", arrives)
				advanceTime(time.Second)
				if m.reach() == nil {
					t.Fatal("the firing node did not die")
				}
				if fired := other.deliveredCount(); fired != 0 {
					t.Fatalf("%d delivered at once", fired)
				}
				advanceTime(35 * time.Second)
				if fired := other.deliveredCount(); fired != 1 || len(other.ownWatches()) != 0 {
					t.Errorf("%d delivered, remaining %+v", fired, other.ownWatches())
				}
				other.applyEvents("alice", leaves, arrives)
				advanceTime(time.Minute)
				if fired := other.deliveredCount(); fired != 1 {
					t.Errorf("%d delivered", fired)
				}
			})
		})
	}
}

// TestIndexFollowsChanges: the node that fires watches learns of those that are made on other
// nodes without listing all watches, and the others keep no index.
func TestIndexFollowsChanges(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		var cluster tailtest.Cluster
		stores := []*countingStore{{logStore: st}, {logStore: st}}
		nodes := []*watchNode{startShared(t, stores[0], &cluster), startShared(t, stores[1], &cluster)}
		advanceTime(3 * time.Second)
		firing, other := 0, 1
		if nodes[1].consumers.Running() > 0 {
			firing, other = 1, 0
		}
		nodes[other].open()
		before := [2]int{stores[0].countListings(), stores[1].countListings()}
		const watches = 50
		for i := range watches {
			_, err := nodes[other].Create(t.Context(), watch.Watch{
				Account: "a", Owner: presence.UserID(fmt.Sprint("owner", i)), Target: presence.UserID(fmt.Sprint("target", i)),
				Until: presence.Available, Expires: time.Now().Add(time.Hour),
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		advanceTime(5 * time.Minute)
		for i := range watches {
			nodes[other].applyEvents(presence.UserID(fmt.Sprint("target", i)), arrives)
		}
		advanceTime(3 * time.Second)
		if got := nodes[other].deliveredCount(); got != watches {
			t.Errorf("%d of %d delivered", got, watches)
		}
		if got := stores[firing].countListings() - before[firing]; got != 0 {
			t.Errorf("the firing node made %d listings", got)
		}
		if got := stores[other].countListings() - before[other]; got != 2*watches { // twice for each owner's quota
			t.Errorf("the other node made %d listings", got)
		}
		if got := stores[other].countReads(); got != watches { // when each was created
			t.Errorf("the other node read %d records", got)
		}
	})
}
