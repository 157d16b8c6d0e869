package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

var watchTests = []namedTest{
	{"BeginsWithCursor", watchBegins},
	{"NewestInOrder", watchNewest},
	{"LowWaterUnderLoad", watchLowWater},
	{"SlowConsumer", watchSlowConsumer},
	{"TwoWatches", twoWatches},
	{"ResumesFromUpTo", watchResumes},
	{"FnCallsTheStore", watchCallsBack},
	{"Ends", watchEnds},
	{"AfterReopen", watchReopened},
}

// A watchCall has the arguments of one call of fn.
type watchCall struct {
	group []store.Record
	upTo  store.Position
}

// watch runs Watch, and returns its calls after the first one and the cursor of that.
func (x *suite) watch() (calls <-chan watchCall, begin store.Cursor, stop func() error) {
	x.Helper()
	all := make(chan watchCall, 1<<16)
	first := make(chan store.Cursor, 1)
	begun := false
	stop = x.background(func(ctx context.Context) error {
		return x.Store.Watch(ctx, func(group []store.Record, upTo store.Cursor) {
			if !begun {
				begun = true
				first <- upTo
				if len(group) > 0 {
					x.Errorf("the first call has the records %s", recordIDs(group))
				}
				return
			}
			at, err := upTo.Position(x.Store.Epoch())
			if err != nil {
				x.Errorf("upTo %v: %v", upTo, err)
			}
			all <- watchCall{group, at}
		})
	})
	return all, receive(x, first, "the first call"), stop
}

// A watchTrace records the calls of a Watch, and checks their order.
type watchTrace struct {
	upTo   store.Position
	latest map[store.User]store.Record
}

func (t *watchTrace) add(call watchCall) error {
	if t.latest == nil {
		t.latest = make(map[store.User]store.Record)
	}
	if call.upTo < t.upTo {
		return fmt.Errorf("upTo went back from %d to %d", t.upTo, call.upTo)
	}
	t.upTo = call.upTo
	var last store.Position
	for _, r := range call.group {
		if r.At < last {
			return fmt.Errorf("position %d came after %d", r.At, last)
		}
		last = r.At
		if was, ok := t.latest[r.User]; ok && was.State.Revision > r.State.Revision {
			return fmt.Errorf("%s went back from revision %d to %d", r.User.ID, was.State.Revision, r.State.Revision)
		}
		t.latest[r.User] = r
	}
	return nil
}

// until receives calls until they have delivered these records, or newer ones of the users.
func (t *watchTrace) until(x *suite, calls <-chan watchCall, want ...store.Record) {
	x.Helper()
	for _, r := range want {
		for t.latest[r.User].At < r.At {
			if err := t.add(receive(x, calls, "the record of "+string(r.User.ID))); err != nil {
				x.Fatal(err)
			}
		}
	}
}

func watchBegins(x *suite) {
	_, begin, stop := x.watch()
	if err := stop(); !errors.Is(err, context.Canceled) {
		x.Errorf("Watch of an empty store ended with %v, want its context's error", err)
	}
	if _, err := begin.Position(x.Store.Epoch()); err != nil {
		x.Errorf("the cursor of an empty store: %v", err)
	}
	r := x.update(user("u"), noEdit)
	calls, begin, _ := x.watch()
	if at, err := begin.Position(x.Store.Epoch()); err != nil || at < r.At {
		x.Errorf("Watch began at %d, %v; this caller stored a record at %d", at, err, r.At)
	}
	if records, _ := x.changed(begin, user("u")); len(records) != 0 {
		x.Errorf("nothing changed since Watch began, but Read has changes: %+v", records)
	}
	// A document is no record.
	key := store.Key{Collection: "c", Key: "k"}
	if err := x.Store.Write(x.ctx, "acme", store.Doc{Key: key, Value: []byte("v")}); err != nil {
		x.Fatal(err)
	}
	r = x.update(user("v"), noEdit)
	var trace watchTrace
	trace.until(x, calls, r)
	for u := range trace.latest {
		if u != r.User {
			x.Errorf("Watch has %s, which did not change", u.ID)
		}
	}
	if records, _ := x.changed(begin, users("u", "v")...); recordIDs(records) != "[v]" {
		x.Errorf("changed since Watch began: %s, want [v]", recordIDs(records))
	}
}

// watchNewest: Watch delivers each record as it was stored, and it can be read.
func watchNewest(x *suite) {
	calls, _, _ := x.watch()
	var trace watchTrace
	for i, id := range []string{"a", "b", "a", "c", "b", "a"} {
		want := x.update(user(id), note(fmt.Sprint(i)))
		trace.until(x, calls, want)
		got := trace.latest[want.User]
		if got.At != want.At || got.State.Revision != want.State.Revision || got.State.Note.Text != fmt.Sprint(i) || got.Shown != want.Shown {
			x.Errorf("Watch gave the state %+v of %+v, want %+v of %+v", got.State, got, want.State, want)
		}
		if trace.upTo < want.At {
			x.Errorf("upTo is %d, below the delivered %d", trace.upTo, want.At)
		}
		if records, _ := x.read(want.User); len(records) != 1 || records[0].At < want.At {
			x.Fatalf("Watch gave %d, and Read %+v", want.At, records)
		}
	}
}

// watchLowWater: with concurrent writers, Watch skips no record at or below upTo, and
// reads are never older than delivered records.
func watchLowWater(x *suite) {
	const each, targets = 30, 5
	us := make([]store.User, targets)
	for i := range us {
		us[i] = user(fmt.Sprint("u", i))
	}
	var trace watchTrace // used by fn alone until Watch ends
	begun, done := make(chan struct{}), make(chan struct{})
	check := func(group []store.Record, upTo store.Cursor) error {
		at, err := upTo.Position(x.Store.Epoch())
		if err != nil {
			return err
		}
		if err := trace.add(watchCall{group, at}); err != nil {
			return err
		}
		records, _, err := x.Store.Read(x.ctx, us, store.Freshness{})
		for _, r := range records {
			delivered := trace.latest[r.User].At
			if r.At < delivered {
				return fmt.Errorf("%s was delivered at %d, but read at %d", r.User.ID, delivered, r.At)
			}
			if r.At <= at && r.At > delivered {
				return fmt.Errorf("upTo is %d, and %s is at %d but was delivered at %d only", at, r.User.ID, r.At, delivered)
			}
		}
		return err
	}
	stop := x.background(func(ctx context.Context) error {
		first, last := true, false
		return x.Store.Watch(ctx, func(group []store.Record, upTo store.Cursor) {
			if err := check(group, upTo); err != nil {
				x.Error(err)
			}
			if first {
				first = false
				close(begun)
			}
			if r, ok := trace.latest[us[0]]; ok && r.State.Note.Text == "the end" && !last {
				last = true
				close(done)
			}
		})
	})
	receive(x, begun, "the first call")
	var writing sync.WaitGroup
	var mu sync.Mutex
	newest := make(map[store.User]store.Position)
	for w := range x.Callers {
		writing.Go(func() {
			for i := range each {
				r, err := x.Store.Update(x.ctx, us[(w+i)%targets], UpdateFunc(store.By{}, edit(noEdit)))
				if err != nil {
					x.Errorf("Update: %v", err)
					return
				}
				mu.Lock()
				newest[r.User] = max(newest[r.User], r.At)
				mu.Unlock()
			}
		})
	}
	writing.Wait()
	// The last record has the highest position: when it is delivered, all are.
	end := x.update(us[0], note("the end"))
	newest[end.User] = end.At
	receive(x, done, "the last record")
	if err := stop(); !errors.Is(err, context.Canceled) {
		x.Errorf("Watch ended with %v, want its context's error", err)
	}
	for u, at := range newest {
		if trace.latest[u].At != at {
			x.Errorf("%s was delivered at %d, but is at %d", u.ID, trace.latest[u].At, at)
		}
	}
}

// watchSlowConsumer: a blocked fn does not block updates, and gets the records that it
// missed afterwards.
func watchSlowConsumer(x *suite) {
	var trace watchTrace
	entered, leave := make(chan struct{}), make(chan struct{})
	calls := make(chan watchCall, 1<<10)
	begun := make(chan struct{})
	x.background(func(ctx context.Context) error {
		n := 0
		return x.Store.Watch(ctx, func(group []store.Record, upTo store.Cursor) {
			switch n++; n {
			case 1:
				close(begun)
			case 2:
				close(entered)
				<-leave
			}
			at, err := upTo.Position(x.Store.Epoch())
			if err != nil {
				x.Errorf("upTo %v: %v", upTo, err)
			}
			calls <- watchCall{group, at}
		})
	})
	var once sync.Once
	unblock := func() { once.Do(func() { close(leave) }) }
	defer unblock()
	receive(x, begun, "the first call")
	x.update(user("a"), noEdit)
	receive(x, entered, "the call with a record")
	newest := make(map[store.User]store.Record)
	for i := range 60 {
		r := x.update(user([]string{"a", "b", "c"}[i%3]), noEdit)
		newest[r.User] = r
	}
	unblock()
	for _, r := range newest {
		trace.until(x, calls, r)
	}
}

func twoWatches(x *suite) {
	one, _, stopOne := x.watch()
	two, _, _ := x.watch()
	var traceOne, traceTwo watchTrace
	r := x.update(user("u"), noEdit)
	traceOne.until(x, one, r)
	traceTwo.until(x, two, r)
	if err := stopOne(); !errors.Is(err, context.Canceled) {
		x.Errorf("the first Watch ended with %v, want its context's error", err)
	}
	r = x.update(user("u"), noEdit)
	traceTwo.until(x, two, r)
	if traceOne.latest[r.User].At >= r.At || len(one) > 0 {
		x.Error("a Watch that ended got more records")
	}
}

// watchResumes: a reader that stops Watch and reads the changes after upTo misses
// nothing.
func watchResumes(x *suite) {
	calls, _, stop := x.watch()
	var trace watchTrace
	trace.until(x, calls, x.update(user("a"), noEdit), x.update(user("b"), noEdit))
	_ = stop()
	want := x.update(user("b"), noEdit)
	cursor := store.NewCursor(x.Store.Epoch(), trace.upTo)
	records, _ := x.changed(cursor, users("a", "b")...)
	if recordIDs(records) != "[b]" || records[0].At != want.At {
		x.Errorf("changed since upTo: %+v, want the record of b", records)
	}
}

// watchCallsBack: fn may call methods of the store.
func watchCallsBack(x *suite) {
	made := make(chan store.Record, 1)
	again := make(chan presence.Revision, 1)
	begun := make(chan struct{})
	x.background(func(ctx context.Context) error {
		first := true
		return x.Store.Watch(ctx, func(group []store.Record, _ store.Cursor) {
			if first {
				first = false
				close(begun)
			}
			for _, r := range group {
				switch r.User {
				case user("u"):
					answer, err := x.Store.Update(ctx, user("v"), UpdateFunc(store.By{}, edit(noEdit)))
					if err != nil {
						x.Errorf("Update from fn: %v", err)
					}
					made <- answer
				case user("v"):
					again <- r.State.Revision
				}
			}
		})
	})
	receive(x, begun, "the first call")
	x.update(user("u"), noEdit)
	want := receive(x, made, "an update from fn")
	if got := receive(x, again, "the record that fn made"); got != want.State.Revision {
		x.Errorf("the record that fn stored was delivered at revision %d, want %d", got, want.State.Revision)
	}
}

// watchEnds: Watch ends when the store is closed, and fails on a closed store.
func watchEnds(x *suite) {
	begun, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		ended <- x.Store.Watch(x.ctx, func([]store.Record, store.Cursor) { begun <- struct{}{} })
	}()
	receive(x, begun, "the first call")
	none := func([]store.Record, store.Cursor) { x.Error("fn was called") }
	over, cancel := context.WithCancel(x.ctx)
	cancel()
	if err := x.Store.Watch(over, none); !errors.Is(err, context.Canceled) {
		x.Errorf("Watch with an ended context: %v", err)
	}
	if err := x.Store.Close(); err != nil {
		x.Fatalf("Close: %v", err)
	}
	if err := receive(x, ended, "the end of Watch"); !errors.Is(err, store.ErrClosed) {
		x.Errorf("Watch of a store that was closed ended with %v, want ErrClosed", err)
	}
	if err := x.Store.Watch(x.ctx, none); !errors.Is(err, store.ErrClosed) {
		x.Errorf("Watch of a closed store: %v, want ErrClosed", err)
	}
}

// watchReopened: after reopening, Watch begins at the current position, and cursors
// continue to rise.
func watchReopened(x *suite) {
	calls, _, stop := x.watch()
	var trace watchTrace
	trace.until(x, calls, x.update(user("u"), noEdit))
	_ = stop()
	x.Store = x.Reopen(x.T)
	calls, begin, _ := x.watch()
	if at, err := begin.Position(x.Store.Epoch()); err != nil || at < trace.upTo {
		x.Errorf("after reopening Watch began at %d, %v; upTo was %d before", at, err, trace.upTo)
	}
	trace.until(x, calls, x.update(user("u"), noEdit))
}
