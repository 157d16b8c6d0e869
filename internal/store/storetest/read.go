package storetest

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

var readTests = []namedTest{
	{"OrderAndMissing", orderAndMissing},
	{"ChangedAfterCursor", changedAfterCursor},
	{"ForeignCursor", foreignCursor},
	{"NoChangeSkipped", noChangeSkipped},
	{"RecordsImmutable", recordsImmutable},
	{"AtLeastCursor", atLeastCursor},
	{"AtLeastUnissued", atLeastUnissued},
	{"Strong", strongRead},
}

func orderAndMissing(x *suite) {
	x.update(user("b"), noEdit)
	x.update(user("a"), noEdit)
	x.update(store.User{Account: "other", ID: "c"}, noEdit)
	records, _ := x.read(users("a", "c", "b", "a")...)
	if got, want := recordIDs(records), "[a b a]"; got != want {
		x.Errorf("Read gave %s, want %s", got, want)
	}
	if records, _ := x.read(); len(records) != 0 {
		x.Errorf("Read of no users gave %+v", records)
	}
}

func changedAfterCursor(x *suite) {
	for _, id := range []string{"a", "b", "c"} {
		x.update(user(id), noEdit)
	}
	_, cursor := x.read(users("a", "b", "c")...)
	if records, _ := x.changed(cursor, users("a", "b", "c")...); len(records) != 0 {
		x.Errorf("Read has changes, but nothing changed: %s", recordIDs(records))
	}
	x.update(user("b"), noEdit)
	x.update(user("d"), noEdit)
	x.update(user("b"), noEdit)
	records, next := x.changed(cursor, users("c", "b", "a", "d")...)
	if got, want := recordIDs(records), "[b d]"; got != want {
		x.Errorf("changed since the cursor: %s, want %s", got, want)
	}
	if records, _ := x.changed(next, users("a", "b", "c", "d")...); len(records) != 0 {
		x.Errorf("changed since the newest cursor: %s, want none", recordIDs(records))
	}
	if records, _ := x.changed(store.Cursor{}, users("a", "b", "none")...); recordIDs(records) != "[a b]" {
		x.Errorf("changed since the zero cursor: %s, want all", recordIDs(records))
	}
}

func foreignCursor(x *suite) {
	x.update(user("a"), noEdit)
	_, cursor := x.read(user("a"))
	if at, err := cursor.Position(x.Store.Epoch()); err != nil || at == 0 {
		x.Errorf("the cursor is at %d of epoch %q: %v", at, x.Store.Epoch(), err)
	}
	foreign := store.NewCursor("elsewhere", 1)
	if _, err := foreign.Position(x.Store.Epoch()); !errors.Is(err, store.ErrEpoch) {
		x.Errorf("the position of a foreign cursor: %v, want ErrEpoch", err)
	}
}

// noChangeSkipped: a reader that resumes from its cursor finds every change, while
// others write concurrently.
func noChangeSkipped(x *suite) {
	const each = 60
	us := users("u0", "u1", "u2", "u3")
	var writing sync.WaitGroup
	var written atomic.Int64
	done := make(chan struct{})
	for w := range us {
		writing.Go(func() {
			for range each {
				if _, err := x.Store.Update(x.ctx, us[w], UpdateFunc(store.By{}, edit(noEdit))); err != nil {
					x.Errorf("Update: %v", err)
					return
				}
				written.Add(1)
			}
		})
	}
	go func() { writing.Wait(); close(done) }()
	seen := make(map[store.User]presence.Revision)
	var cursor store.Cursor
	rounds := 0
	for last := false; ; {
		records, next := x.changed(cursor, us...)
		for _, r := range records {
			if r.State.Revision < seen[r.User] {
				x.Fatalf("%s went back from revision %d to %d", r.User.ID, seen[r.User], r.State.Revision)
			}
			seen[r.User] = r.State.Revision
		}
		cursor = next
		rounds++
		if last {
			break
		}
		select {
		case <-done:
			last = true
		default:
		}
	}
	records, _ := x.read(us...)
	for _, r := range records {
		if seen[r.User] != r.State.Revision {
			x.Errorf("%s was last seen at revision %d, and is at %d", r.User.ID, seen[r.User], r.State.Revision)
		}
	}
	if written.Load() != int64(each*len(us)) || rounds < 2 {
		x.Errorf("INVALID: %d updates ran beside %d rounds of reads", written.Load(), rounds)
	}
}

// recordsImmutable: a returned record does not change.
func recordsImmutable(x *suite) {
	first := x.update(user("u"), note("first"))
	before := fmt.Sprintf("%+v", *first.State)
	for range 5 {
		x.update(user("u"), note("later"))
	}
	if after := fmt.Sprintf("%+v", *first.State); after != before {
		x.Errorf("a record changed after it was returned: %s, then %s", before, after)
	}
}

// atLeastCursor: whoever has a cursor of a write reads that write.
func atLeastCursor(x *suite) {
	for range 20 {
		r := x.update(user("a"), noEdit)
		cursor := store.NewCursor(x.Store.Epoch(), r.At)
		records, next, err := x.Store.Read(x.ctx, users("a"), store.Freshness{AtLeast: cursor})
		if err != nil || len(records) != 1 || records[0].At < r.At {
			x.Fatalf("Read at least at %d gave %+v, %v", r.At, records, err)
		}
		if at, err := next.Position(x.Store.Epoch()); err != nil || at < r.At {
			x.Fatalf("Read at least at %d gave a cursor at %d, %v", r.At, at, err)
		}
	}
}

// atLeastUnissued: cursors that this store did not issue are refused, and later reads do
// not wait for them.
func atLeastUnissued(x *suite) {
	r := x.update(user("a"), noEdit)
	for what, cursor := range map[string]store.Cursor{
		"of another epoch":       store.NewCursor("elsewhere", 1),
		"past the end":           store.NewCursor(x.Store.Epoch(), r.At+1_000_000),
		"of the end of all time": store.NewCursor(x.Store.Epoch(), math.MaxUint64),
	} {
		for _, strong := range []bool{false, true} {
			if _, _, err := x.Store.Read(x.ctx, users("a"), store.Freshness{AtLeast: cursor, Strong: strong}); !errors.Is(err, store.ErrEpoch) {
				x.Errorf("Read at least at a cursor %s: %v, want ErrEpoch", what, err)
			}
		}
	}
	if records, _ := x.read(user("a")); len(records) != 1 || records[0].At != r.At {
		x.Errorf("Read gave %+v, want the record at %d", records, r.At)
	}
}

// strongRead: many strong reads at once, while others write, are each at least as new as
// what was acknowledged before.
func strongRead(x *suite) {
	var newest atomic.Uint64
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				least := newest.Load()
				records, _, err := x.Store.Read(x.ctx, users("a"), store.Freshness{Strong: true})
				if err != nil || least > 0 && (len(records) != 1 || uint64(records[0].At) < least) {
					x.Errorf("a strong read gave %+v, %v; position %d was acknowledged before", records, err, least)
					return
				}
			}
		})
	}
	for range 40 {
		newest.Store(uint64(x.update(user("a"), noEdit).At))
	}
	close(done)
	readers.Wait()
}
