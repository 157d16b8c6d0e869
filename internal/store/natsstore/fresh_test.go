package natsstore_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// TestReadYourWrites: with a cursor of a node that has written, logged or not, another node
// reads what was written.
func TestReadYourWrites(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 3)
	a, b := servers.open(t, servers.options()), servers.open(t, servers.options())
	defer closeStore(t, a)
	defer closeStore(t, b)
	u := userNumber(1)
	logged := storetest.UpdateFunc(store.By{}, touch)
	for i := range 200 {
		decide := logged
		if i%2 == 1 {
			decide = storetest.Unlogged(logged)
		}
		written, err := a.Update(t.Context(), u, decide)
		if err != nil {
			t.Fatal(err)
		}
		_, cursor, err := a.Read(t.Context(), nil, store.Freshness{AtLeast: store.NewCursor(a.Epoch(), written.At)})
		if err != nil {
			t.Fatal(err)
		}
		records, _, err := b.Read(t.Context(), []store.User{u}, store.Freshness{AtLeast: cursor})
		if err != nil || len(records) != 1 || records[0].State.Revision < written.State.Revision {
			t.Fatalf("write %d: the other node read %+v, %v, after revision %d", i, records, err, written.State.Revision)
		}
	}
}

// BenchmarkFreshness compares an ordinary read with a strong one, alone and of 16 callers at
// once, who share barriers.
func BenchmarkFreshness(b *testing.B) {
	servers := startServers(b, 3)
	s := servers.open(b, servers.options())
	defer s.Close()
	us := []store.User{userNumber(1)}
	if _, err := s.Update(b.Context(), us[0], storetest.UpdateFunc(store.By{}, touch)); err != nil {
		b.Fatal(err)
	}
	for name, fresh := range map[string]store.Freshness{"ordinary": {}, "strong": {Strong: true}} {
		for _, callers := range []int{1, 16} {
			b.Run(fmt.Sprint(name, "/", callers), func(b *testing.B) {
				var left atomic.Int64
				left.Store(int64(b.N))
				var group sync.WaitGroup
				for range callers {
					group.Go(func() {
						for left.Add(-1) >= 0 {
							if r, _, err := s.Read(context.Background(), us, fresh); err != nil || len(r) != 1 {
								b.Error(r, err)
							}
						}
					})
				}
				group.Wait()
			})
		}
	}
}
