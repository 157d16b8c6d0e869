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
	{"BeginsWithACursor", watchBegins},
	{"NewestInOrder", watchNewest},
	{"LowWaterUnderLoad", watchLowWater},
	{"SlowHoldsUpNobody", watchSlow},
	{"TwoAtOnce", watchTwo},
	{"GoesOnFromUpTo", watchGoesOn},
	{"FnCallsTheStore", watchCallsBack},
	{"Ends", watchEnds},
	{"AfterReopen", watchReopened},
}

// A watched is what one call of fn was given.
type watched struct {
	group []store.Record
	upTo  store.Position
}

// watch gives the calls of a Watch after the first one, and where that began.
func (x *suite) watch() (calls <-chan watched, begin store.Cursor, stop func() error) {
	x.Helper()
	all := make(chan watched, 1<<16)
	first := make(chan store.Cursor, 1)
	begun := false
	stop = x.background(func(ctx context.Context) error {
		return x.Store.Watch(ctx, func(group []store.Record, upTo store.Cursor) {
			if !begun {
				begun = true
				first <- upTo
				if len(group) > 0 {
					x.Errorf("the first call was given %s", recordIDs(group))
				}
				return
			}
			at, err := upTo.Position(x.Store.Epoch())
			if err != nil {
				x.Errorf("upTo %v: %v", upTo, err)
			}
			all <- watched{group, at}
		})
	})
	return all, receive(x, first, "the first call"), stop
}

// A watchBook keeps what a Watch gave, and finds what it must not.
type watchBook struct {
	upTo  store.Position
	given map[store.User]store.Record
}

func (b *watchBook) add(call watched) error {
	if b.given == nil {
		b.given = make(map[store.User]store.Record)
	}
	if call.upTo < b.upTo {
		return fmt.Errorf("upTo went back from %d to %d", b.upTo, call.upTo)
	}
	b.upTo = call.upTo
	var last store.Position
	for _, r := range call.group {
		if r.At < last {
			return fmt.Errorf("position %d came after %d", r.At, last)
		}
		last = r.At
		if was, ok := b.given[r.User]; ok && was.State.Revision > r.State.Revision {
			return fmt.Errorf("%s went back from revision %d to %d", r.User.ID, was.State.Revision, r.State.Revision)
		}
		b.given[r.User] = r
	}
	return nil
}

// until takes calls until everybody was given a record as new as theirs.
func (b *watchBook) until(x *suite, calls <-chan watched, want ...store.Record) {
	x.Helper()
	for _, r := range want {
		for b.given[r.User].At < r.At {
			if err := b.add(receive(x, calls, "the record of "+string(r.User.ID))); err != nil {
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
	r := x.update(user("u"), nothing)
	calls, begin, _ := x.watch()
	if at, err := begin.Position(x.Store.Epoch()); err != nil || at < r.At {
		x.Errorf("Watch began at %d, %v; what this caller stored is at %d", at, err, r.At)
	}
	if records, _ := x.changed(begin, user("u")); len(records) != 0 {
		x.Errorf("nothing changed since Watch began, and these did: %+v", records)
	}
	// A document is no record.
	key := store.Key{Collection: "c", Key: "k"}
	if err := x.Store.Write(x.ctx, "acme", store.Doc{Key: key, Value: []byte("v")}); err != nil {
		x.Fatal(err)
	}
	r = x.update(user("v"), nothing)
	var book watchBook
	book.until(x, calls, r)
	for u := range book.given {
		if u != r.User {
			x.Errorf("%s was given, and did not change", u.ID)
		}
	}
	if records, _ := x.changed(begin, users("u", "v")...); recordIDs(records) != "[v]" {
		x.Errorf("since Watch began these changed: %s", recordIDs(records))
	}
}

// watchNewest: each record comes as it was stored, and can be read.
func watchNewest(x *suite) {
	calls, _, _ := x.watch()
	var book watchBook
	for i, id := range []string{"a", "b", "a", "c", "b", "a"} {
		want := x.update(user(id), note(fmt.Sprint(i)))
		book.until(x, calls, want)
		got := book.given[want.User]
		if got.At != want.At || got.State.Revision != want.State.Revision || got.State.Note.Text != fmt.Sprint(i) || got.Shown != want.Shown {
			x.Errorf("Watch gave %+v of %+v, want %+v of %+v", got.State, got, want.State, want)
		}
		if book.upTo < want.At {
			x.Errorf("upTo is %d, and %d was given", book.upTo, want.At)
		}
		if records, _ := x.read(want.User); len(records) != 1 || records[0].At < want.At {
			x.Fatalf("Watch gave %d, and Read %+v", want.At, records)
		}
	}
}

// watchLowWater: while everybody writes, no record at or below upTo was left out,
// and reads keep up with what was given.
func watchLowWater(x *suite) {
	const each, targets = 30, 5
	us := make([]store.User, targets)
	for i := range us {
		us[i] = user(fmt.Sprint("u", i))
	}
	var book watchBook // fn's alone, until it ended
	begun, done := make(chan struct{}), make(chan struct{})
	look := func(group []store.Record, upTo store.Cursor) error {
		at, err := upTo.Position(x.Store.Epoch())
		if err != nil {
			return err
		}
		if err := book.add(watched{group, at}); err != nil {
			return err
		}
		records, _, err := x.Store.Read(x.ctx, us)
		for _, r := range records {
			given := book.given[r.User].At
			if r.At < given {
				return fmt.Errorf("%s was given at %d, and is read at %d", r.User.ID, given, r.At)
			}
			if r.At <= at && r.At > given {
				return fmt.Errorf("upTo is %d, and %s is at %d and was given at %d only", at, r.User.ID, r.At, given)
			}
		}
		return err
	}
	stop := x.background(func(ctx context.Context) error {
		first, last := true, false
		return x.Store.Watch(ctx, func(group []store.Record, upTo store.Cursor) {
			if err := look(group, upTo); err != nil {
				x.Error(err)
			}
			if first {
				first = false
				close(begun)
			}
			if r, ok := book.given[us[0]]; ok && r.State.Note.Text == "the end" && !last {
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
				r, err := x.Store.Update(x.ctx, us[(w+i)%targets], ByHand(store.By{}, edit(nothing)))
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
	// One above all others: when it was given, so was everything.
	end := x.update(us[0], note("the end"))
	newest[end.User] = end.At
	receive(x, done, "the last record")
	if err := stop(); !errors.Is(err, context.Canceled) {
		x.Errorf("Watch ended with %v, want its context's error", err)
	}
	for u, at := range newest {
		if book.given[u].At != at {
			x.Errorf("%s was given at %d, and is at %d", u.ID, book.given[u].At, at)
		}
	}
}

// watchSlow: while fn does not come back, updates do, and what it missed comes
// after.
func watchSlow(x *suite) {
	var book watchBook
	entered, leave := make(chan struct{}), make(chan struct{})
	calls := make(chan watched, 1<<10)
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
			calls <- watched{group, at}
		})
	})
	var once sync.Once
	free := func() { once.Do(func() { close(leave) }) }
	defer free()
	receive(x, begun, "the first call")
	x.update(user("a"), nothing)
	receive(x, entered, "the call with a record")
	newest := make(map[store.User]store.Record)
	for i := range 60 {
		r := x.update(user([]string{"a", "b", "c"}[i%3]), nothing)
		newest[r.User] = r
	}
	free()
	for _, r := range newest {
		book.until(x, calls, r)
	}
}

func watchTwo(x *suite) {
	one, _, stopOne := x.watch()
	two, _, _ := x.watch()
	var bookOne, bookTwo watchBook
	r := x.update(user("u"), nothing)
	bookOne.until(x, one, r)
	bookTwo.until(x, two, r)
	if err := stopOne(); !errors.Is(err, context.Canceled) {
		x.Errorf("the first Watch ended with %v, want its context's error", err)
	}
	r = x.update(user("u"), nothing)
	bookTwo.until(x, two, r)
	if bookOne.given[r.User].At >= r.At || len(one) > 0 {
		x.Error("a Watch that ended was given more")
	}
}

// watchGoesOn: who stops and goes on from upTo with Changed misses nothing.
func watchGoesOn(x *suite) {
	calls, _, stop := x.watch()
	var book watchBook
	book.until(x, calls, x.update(user("a"), nothing), x.update(user("b"), nothing))
	_ = stop()
	want := x.update(user("b"), nothing)
	cursor := store.NewCursor(x.Store.Epoch(), book.upTo)
	records, _ := x.changed(cursor, users("a", "b")...)
	if recordIDs(records) != "[b]" || records[0].At != want.At {
		x.Errorf("since upTo these changed: %+v, want what b changed", records)
	}
}

// watchCallsBack: fn may use the store.
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
					answer, err := x.Store.Update(ctx, user("v"), ByHand(store.By{}, edit(nothing)))
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
	x.update(user("u"), nothing)
	want := receive(x, made, "an update from fn")
	if got := receive(x, again, "the record that fn made"); got != want.State.Revision {
		x.Errorf("the record that fn made came at revision %d, want %d", got, want.State.Revision)
	}
}

// watchEnds: with the store, and it does not begin on one that was closed.
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

// watchReopened: a Watch after a restart begins where the store is, and its
// cursors go on.
func watchReopened(x *suite) {
	calls, _, stop := x.watch()
	var book watchBook
	book.until(x, calls, x.update(user("u"), nothing))
	_ = stop()
	x.Store = x.Reopen(x.T)
	calls, begin, _ := x.watch()
	if at, err := begin.Position(x.Store.Epoch()); err != nil || at < book.upTo {
		x.Errorf("after reopening Watch began at %d, %v; upTo was %d before", at, err, book.upTo)
	}
	book.until(x, calls, x.update(user("u"), nothing))
}
