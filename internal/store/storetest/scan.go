package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

var scanTests = []namedTest{
	{"EachOnce", scanEachOnce},
	{"ManyGroups", scanManyGroups},
	{"DuringUpdates", scanDuringUpdates},
	{"Ends", scanEnds},
}

// scan returns the records that Scan gives, and how many it gave: one may be repeated that
// is updated meanwhile.
func (x *suite) scan() (found map[store.User]store.Record, given int) {
	x.Helper()
	found = make(map[store.User]store.Record)
	err := x.Store.Scan(x.ctx, func(group []store.Record) error {
		if len(group) == 0 || len(group) > store.MaxScanGroup {
			x.Errorf("a group of %d records", len(group))
		}
		for _, r := range group {
			if was, twice := found[r.User]; twice && was.State.Revision > r.State.Revision {
				x.Errorf("Scan gave revision %d of %v after %d", r.State.Revision, r.User, was.State.Revision)
			}
			found[r.User] = r
		}
		given += len(group)
		return nil
	})
	if err != nil {
		x.Fatalf("Scan: %v", err)
	}
	return found, given
}

func (x *suite) wantScanned(found map[store.User]store.Record, want ...store.Record) {
	x.Helper()
	for _, r := range want {
		if got, ok := found[r.User]; !ok || got.State.Revision != r.State.Revision || got.At != r.At || got.State.Note != r.State.Note || got.Shown != r.Shown {
			x.Errorf("Scan gave %+v of %v, want %+v", got, r.User, r)
		}
	}
}

func scanEachOnce(x *suite) {
	if found, _ := x.scan(); len(found) != 0 {
		x.Errorf("Scan of an empty store gave %+v", found)
	}
	var want []store.Record
	for _, u := range []store.User{
		user("logged"), user("updated"), user("unlogged"), user("relogged"), user(""),
		{Account: "other", ID: "logged"},
		{Account: "", ID: "a.b"},
		{Account: "*", ID: ">"},
	} {
		r := x.update(u, note("first"))
		switch u.ID {
		case "updated":
			r = x.update(u, note("second"))
		case "unlogged":
			r = x.refresh(u, note("silent"))
		case "relogged":
			x.refresh(u, note("silent"))
			r = x.update(u, note("third"))
		}
		want = append(want, r)
	}
	x.write(acme, doc("c", "k", "v")) // is no record
	found, given := x.scan()
	x.wantScanned(found, want...)
	if len(found) != len(want) || given != len(want) {
		x.Errorf("Scan gave %d records of %d users, want %d", given, len(found), len(want))
	}
}

func scanManyGroups(x *suite) {
	const users = store.MaxScanGroup + 200
	want := make([]store.Record, users)
	var group sync.WaitGroup
	for part := range x.Callers {
		group.Go(func() {
			for i := part; i < users; i += x.Callers {
				u := user(fmt.Sprint("u", i))
				r, err := x.Store.Update(x.ctx, u, UpdateFunc(store.By{}, edit(noEdit)))
				if err == nil && i%5 == 0 {
					r, err = x.Store.Update(x.ctx, u, Unlogged(UpdateFunc(store.By{}, edit(noEdit))))
				}
				if err != nil {
					x.Errorf("Update: %v", err)
					return
				}
				want[i] = r
			}
		})
	}
	group.Wait()
	found, given := x.scan()
	x.wantScanned(found, want...)
	if len(found) != users || given != users {
		x.Errorf("Scan gave %d records of %d users, want %d", given, len(found), users)
	}
}

// scanDuringUpdates: a record that Scan gives is at least as new as it was when Scan was
// called, and was durable.
func scanDuringUpdates(x *suite) {
	us := users("u0", "u1", "u2", "u3")
	for _, u := range us {
		x.update(u, noEdit)
	}
	stop := make(chan struct{})
	var writing sync.WaitGroup
	for _, u := range us {
		writing.Go(func() {
			for i := 0; ; i++ {
				fn := UpdateFunc(store.By{}, edit(noEdit))
				if i%2 == 0 {
					fn = Unlogged(fn)
				}
				if _, err := x.Store.Update(x.ctx, u, fn); err != nil {
					x.Errorf("Update: %v", err)
					return
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for range 5 {
		before, _ := x.read(us...)
		found, _ := x.scan()
		after, _ := x.read(us...)
		for i, u := range us {
			if got := found[u].State; got == nil || got.Revision < before[i].State.Revision || got.Revision > after[i].State.Revision {
				x.Errorf("Scan gave %+v of %s, want a revision from %d to %d", got, u.ID, before[i].State.Revision, after[i].State.Revision)
			}
		}
	}
	close(stop)
	writing.Wait()
}

func scanEnds(x *suite) {
	x.update(user("u"), noEdit)
	calls := 0
	err := x.Store.Scan(x.ctx, func([]store.Record) error { calls++; return errEnough })
	if err != errEnough || calls != 1 { //nolint:errorlint // as it is, not wrapped
		x.Errorf("Scan returned %v after %d calls, want fn's error", err, calls)
	}
	ctx, cancel := context.WithCancel(x.ctx)
	cancel()
	if err := x.Store.Scan(ctx, func([]store.Record) error { return nil }); !errors.Is(err, context.Canceled) {
		x.Errorf("Scan with an ended context: %v", err)
	}
	// fn may call the store.
	err = x.Store.Scan(x.ctx, func(group []store.Record) error {
		_, err := x.Store.Update(x.ctx, group[0].User, UpdateFunc(store.By{}, func(s presence.State) (presence.State, error) { return edit(noEdit)(s) }))
		return err
	})
	if err != nil {
		x.Errorf("Scan whose fn updates: %v", err)
	}
	if err := x.Store.Close(); err != nil {
		x.Fatal(err)
	}
	if err := x.Store.Scan(x.ctx, func([]store.Record) error { return nil }); !errors.Is(err, store.ErrClosed) {
		x.Errorf("Scan of a closed store: %v, want ErrClosed", err)
	}
}
