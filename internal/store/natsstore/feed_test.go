package natsstore_test

import (
	"errors"
	"strconv"
	"sync"
	"testing"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/storetest"
)

var errEnough = errors.New("enough")

// TestFeedThenRead: a read after an entry of Feed is at least as new.
func TestFeedThenRead(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 3)
	o := servers.options()
	writer := closeAtEnd(t, servers.open(t, o))
	reader := closeAtEnd(t, servers.open(t, o))
	const each, users = 150, 16
	ctx := t.Context() // however long it takes
	var group sync.WaitGroup
	for i := range users {
		u := userNamed(strconv.Itoa(i))
		group.Go(func() {
			for range each {
				if _, err := writer.Update(ctx, u, storetest.UpdateFunc(store.By{}, edit(noEdit))); err != nil {
					t.Errorf("Update: %v", err)
				}
			}
		})
	}
	go func() {
		group.Wait()
		_, _ = writer.Update(ctx, userNamed("last"), storetest.UpdateFunc(store.By{}, edit(noEdit)))
	}()
	older, read, got, last := 0, 0, 0, userNamed("last")
	err := reader.Feed(ctx, 0, func(entries []store.Entry) error {
		e := entries[len(entries)-1]
		records, _, err := reader.Read(ctx, []store.User{e.User}, store.Freshness{})
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
		t.Errorf("%d of %d reads were older than the entry before them", older, read)
	}
}
