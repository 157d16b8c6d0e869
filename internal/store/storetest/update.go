package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

var updateTests = []namedTest{
	{"FirstGetsZeroState", firstGetsZeroState},
	{"EachGetsLatestState", eachGetsLatestState},
	{"ErrorsUnwrapped", errorsUnwrapped},
	{"RevisionMustRise", revisionMustRise},
	{"PanicInFn", panicInFn},
	{"Concurrent", concurrentUpdates},
	{"RefusalIsDurable", refusalIsDurable},
	{"ContextEnded", contextEnded},
	{"HostileIDs", hostileIDs},
}

func firstGetsZeroState(x *suite) {
	var saw presence.State
	r, err := x.Store.Update(x.ctx, user("u"), UpdateFunc(store.By{}, func(s presence.State) (presence.State, error) {
		saw = s
		return edit(note("hello"))(s)
	}))
	if err != nil {
		x.Fatal(err)
	}
	if saw.Exists() || saw.At != 0 || saw.Note.Text != "" {
		x.Errorf("the first update saw %+v, want the zero State", saw)
	}
	if r.User != user("u") || r.At == 0 || r.State.Note.Text != "hello" {
		x.Errorf("Update gave %+v of %+v", r.State, r)
	}
	records, _ := x.read(user("u"))
	if len(records) != 1 || records[0].At != r.At || records[0].State.Revision != r.State.Revision {
		x.Errorf("Read gave %+v, want %+v", records, r)
	}
}

func eachGetsLatestState(x *suite) {
	last := x.update(user("u"), noEdit)
	for i := range 20 {
		saw := presence.Revision(0)
		r, err := x.Store.Update(x.ctx, user("u"), UpdateFunc(store.By{}, func(s presence.State) (presence.State, error) {
			saw = s.Revision
			return edit(note(fmt.Sprint(i)))(s)
		}))
		if err != nil {
			x.Fatal(err)
		}
		if saw != last.State.Revision {
			x.Fatalf("update %d saw revision %d, want %d", i, saw, last.State.Revision)
		}
		if r.State.Revision <= saw || r.At <= last.At {
			x.Fatalf("update %d: revision %d after %d, position %d after %d", i, r.State.Revision, saw, r.At, last.At)
		}
		last = r
	}
}

var errRefused = errors.New("refused by a rule")

func errorsUnwrapped(x *suite) {
	first := x.update(user("u"), note("stored"))
	for _, refusal := range []error{errRefused, presence.ErrNoChange, &presence.RateLimitedError{RetryAfter: 7}} {
		r, err := x.Store.Update(x.ctx, user("u"), UpdateFunc(store.By{}, func(s presence.State) (presence.State, error) {
			s.Note.Text = "must not be stored"
			s.Revision += 100
			return s, refusal
		}))
		if err != refusal { //nolint:errorlint // as it is, not wrapped
			x.Errorf("Update returned %v, want %v itself", err, refusal)
		}
		if r.State == nil || r.State.Revision != first.State.Revision || r.At != first.At {
			x.Errorf("Update refused with %v gave %+v, want the record that fn saw: %+v", refusal, r, first)
		}
	}
	records, _ := x.read(user("u"))
	if len(records) != 1 || records[0].State.Note.Text != "stored" {
		x.Errorf("after refusals Read gave %+v", records)
	}
	r, err := x.Store.Update(x.ctx, user("none"), UpdateFunc(store.By{}, func(s presence.State) (presence.State, error) { return s, errRefused }))
	if !errors.Is(err, errRefused) || r.State == nil || r.State.Exists() || r.At != 0 || r.User != user("none") {
		x.Errorf("a refused first update gave %+v, %v; want the zero State and %v", r, err, errRefused)
	}
	if records, _ := x.read(user("none")); len(records) != 0 {
		x.Errorf("a refused first update stored %+v", records)
	}
}

func revisionMustRise(x *suite) {
	first := x.update(user("u"), note("kept"))
	for _, revision := range []presence.Revision{first.State.Revision, first.State.Revision - 1, 0} {
		_, err := x.Store.Update(x.ctx, user("u"), UpdateFunc(store.By{}, func(s presence.State) (presence.State, error) {
			s.Revision, s.Note.Text = revision, "must not be stored"
			return s, nil
		}))
		if err == nil {
			x.Errorf("an update to revision %d of %d was accepted", revision, first.State.Revision)
		}
	}
	if records, _ := x.read(user("u")); len(records) != 1 || records[0].State.Note.Text != "kept" {
		x.Errorf("a refused update was stored: %+v", records)
	}
}

func panicInFn(x *suite) {
	x.update(user("u"), note("kept"))
	_, err := x.Store.Update(x.ctx, user("u"), UpdateFunc(store.By{}, func(presence.State) (presence.State, error) { panic("a bug in a rule") }))
	if p, ok := errors.AsType[*store.PanicError](err); !ok || !strings.Contains(string(p.Stack), "panicInFn") {
		x.Errorf("an update whose function panicked: %v, want a PanicError with the stack", err)
	}
	if err != nil && strings.Contains(err.Error(), "goroutine") {
		x.Errorf("the message has the stack: %v", err)
	}
	if r := x.update(user("u"), noEdit); r.State.Note.Text != "kept" {
		x.Errorf("after a panic the state is %+v", r.State)
	}
	if err := x.Store.Check(x.ctx); err != nil {
		x.Errorf("Check after a panic: %v", err)
	}
}

// concurrentUpdates checks that updates of a user form one chain, in which each saw
// the result of the previous one, and that a read includes every acknowledged update.
func concurrentUpdates(x *suite) {
	const each, targets = 30, 3
	type step struct {
		saw, made presence.Revision
		at        store.Position
	}
	var mu sync.Mutex
	chains := make(map[store.User][]step)
	var answered [targets]atomic.Uint64
	var group sync.WaitGroup
	for caller := range x.Callers {
		group.Go(func() {
			for i := range each {
				n := (caller + i) % targets
				u := user(fmt.Sprint("u", n))
				var saw presence.Revision
				r, err := x.Store.Update(x.ctx, u, UpdateFunc(store.By{}, func(s presence.State) (presence.State, error) {
					saw = s.Revision
					return edit(noEdit)(s)
				}))
				if err != nil {
					x.Errorf("Update: %v", err)
					return
				}
				mu.Lock()
				chains[u] = append(chains[u], step{saw, r.State.Revision, r.At})
				mu.Unlock()
				storeMax(&answered[n], uint64(r.State.Revision))
				least := answered[n].Load()
				records, _, err := x.Store.Read(x.ctx, []store.User{u}, store.Freshness{})
				if err != nil || len(records) != 1 || uint64(records[0].State.Revision) < least {
					x.Errorf("Read gave %+v, %v; revision %d was acknowledged before", records, err, least)
					return
				}
			}
		})
	}
	group.Wait()
	total := 0
	for u, chain := range chains {
		slices.SortFunc(chain, func(a, b step) int { return int(a.at) - int(b.at) })
		var last presence.Revision
		for i, s := range chain {
			if s.saw != last {
				x.Errorf("%s: update %d made %d from %d, but the previous one made %d", u.ID, i, s.made, s.saw, last)
			}
			last = s.made
		}
		total += len(chain)
	}
	if total != each*x.Callers {
		x.Errorf("%d updates were acknowledged, of %d", total, each*x.Callers)
	}
}

func storeMax(a *atomic.Uint64, to uint64) {
	for {
		was := a.Load()
		if was >= to || a.CompareAndSwap(was, to) {
			return
		}
	}
}

// refusalIsDurable: a refusal returns the current record, which may be the result of an
// update that is not acknowledged yet. It must wait until that update can be read.
func refusalIsDurable(x *suite) {
	const each = 40
	var group sync.WaitGroup
	for range x.Callers {
		group.Go(func() {
			for i := range each {
				r, err := x.Store.Update(x.ctx, user("u"), UpdateFunc(store.By{}, func(s presence.State) (presence.State, error) {
					if i%2 == 0 {
						return s, errRefused
					}
					return edit(noEdit)(s)
				}))
				if err != nil && !errors.Is(err, errRefused) {
					x.Errorf("Update: %v", err)
					return
				}
				records, _, err := x.Store.Read(x.ctx, users("u"), store.Freshness{})
				if err != nil || (r.At != 0 && (len(records) != 1 || records[0].At < r.At)) {
					x.Errorf("Update returned position %d, and Read gave %+v, %v after it", r.At, records, err)
					return
				}
			}
		})
	}
	group.Wait()
}

func contextEnded(x *suite) {
	ctx, cancel := context.WithCancel(x.ctx)
	cancel()
	if _, err := x.Store.Update(ctx, user("u"), UpdateFunc(store.By{}, edit(noEdit))); !errors.Is(err, context.Canceled) {
		x.Errorf("Update with an ended context: %v", err)
	}
	if records, _ := x.read(user("u")); len(records) != 0 {
		x.Errorf("Update with an ended context stored %+v", records)
	}
	// A context may end at any point while Update waits. Update then returns its
	// result, ErrUnknown, or the context's error if it stored nothing.
	var made atomic.Int64
	var group sync.WaitGroup
	for range x.Callers {
		group.Go(func() {
			ctx, cancel := context.WithCancel(x.ctx)
			defer cancel()
			_, err := x.Store.Update(ctx, user("v"), UpdateFunc(store.By{}, func(s presence.State) (presence.State, error) {
				cancel()
				return edit(func(s *presence.State) { made.Add(1) })(s)
			}))
			if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, store.ErrUnknown) {
				x.Errorf("Update with a context that ends: %v", err)
			}
		})
	}
	group.Wait()
	if made.Load() == 0 {
		x.Error("INVALID: no update ran")
	}
	x.update(user("v"), noEdit)
}

// hostileIDs: users are isolated, whatever their ids.
func hostileIDs(x *suite) {
	texts := []string{"", "a", "a/b", "a.b", "*", ">", "a.*", "\x00", "\x00a", "a\x00", "\xff", "\xff\xff", "é", "a b", "$JS", "..", "%2f", "\n"}
	var all []store.User
	for _, account := range texts {
		for _, id := range texts {
			all = append(all, store.User{Account: presence.AccountID(account), ID: presence.UserID(id)})
		}
	}
	want := make(map[store.User]presence.Revision)
	for _, u := range all {
		want[u] = x.update(u, note(fmt.Sprintf("%q", u))).State.Revision
	}
	records, _ := x.read(all...)
	if len(records) != len(all) {
		x.Fatalf("%d records of %d users", len(records), len(all))
	}
	for i, r := range records {
		if r.User != all[i] || r.State.Note.Text != fmt.Sprintf("%q", all[i]) || r.State.Revision != want[all[i]] {
			x.Errorf("user %q has the record of %s", all[i], r.State.Note.Text)
		}
	}
}
