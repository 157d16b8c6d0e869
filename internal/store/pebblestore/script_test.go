package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// scriptRetention is short, so that the log is trimmed during a script.
const scriptRetention = 20 * time.Minute

// A script runs operations drawn from a seed: updates, alone and concurrent, some
// refused; document writes; erasures; a log reader and Due, stopped and started; reads
// of every kind; and passing time, so that things expire and the log is trimmed. It
// runs in a synctest bubble.
type script struct {
	b    *storeModel
	s    *Store
	opts Options
	rng  *rand.Rand
	ops  int // run so far; concurrent updates count one by one

	reader, due *background
	created     int // claims, sessions and documents
	reopened    int
	reads       int
}

// A background is a goroutine that stops when its context ends.
type background struct {
	cancel context.CancelFunc
	group  sync.WaitGroup
}

func startBackground(f func(ctx context.Context)) *background {
	ctx, cancel := context.WithCancel(context.Background())
	g := &background{cancel: cancel}
	g.group.Go(func() { f(ctx) })
	return g
}

func (g *background) stop() {
	if g != nil {
		g.cancel()
		g.group.Wait()
	}
}

// run runs n operations on a new store, which is restarted halfway.
func (x *script) run(n int) error {
	var err error
	if x.s, err = Open("data", x.opts); err != nil {
		return err
	}
	x.startReader()
	x.startDue()
	for err == nil && x.ops < n {
		if x.reopened == 0 && x.ops >= n/2 {
			err = x.reopen()
		}
		if err == nil {
			err = x.runOperation()
		}
	}
	x.reader.stop()
	x.due.stop()
	return errors.Join(err, x.s.Close())
}

func (x *script) reopen() error {
	x.reader.stop()
	x.due.stop()
	if err := x.s.Close(); err != nil {
		return err
	}
	var err error
	if x.s, err = Open("data", x.opts); err != nil {
		return err
	}
	x.reopened++
	x.startReader()
	x.startDue()
	return nil
}

func (x *script) runOperation() error {
	x.ops++
	switch p := x.rng.IntN(100); {
	case p < 42:
		return x.updateRandomUser()
	case p < 52:
		return x.updateConcurrently()
	case p < 58:
		return x.refuseRandomUpdate()
	case p < 72:
		return x.writeDocs()
	case p < 75:
		return x.b.writeConflict(x.s, fmt.Sprint("k", x.rng.IntN(5)))
	case p < 79:
		return x.readEverything()
	case p < 83:
		// The cursor is compared with newer records, so nothing else may run.
		synctest.Wait()
		return x.b.saveCursor(x.s)
	case p < 87:
		x.toggleReader(&x.reader, x.startReader)
	case p < 89:
		x.toggleReader(&x.due, x.startDue)
	case p < 91:
		return x.b.eraseUser(x.s, x.rng.IntN(crashUsers))
	default:
		time.Sleep(time.Duration(x.rng.IntN(90_000_000)) * time.Microsecond)
	}
	return nil
}

func (x *script) toggleReader(g **background, start func()) {
	if *g == nil {
		start()
		return
	}
	(*g).stop()
	*g = nil
}

func (x *script) startReader() {
	s := x.s
	slow := x.rng.IntN(3) == 0
	x.reader = startBackground(func(ctx context.Context) {
		_ = x.b.followLog(ctx, s, func(entries []store.Entry) error {
			x.b.receiveEntries(s, entries)
			if slow {
				time.Sleep(5 * time.Millisecond) // the length of some operations
			}
			x.b.confirmEntries(entries)
			return nil
		})
	})
}

func (x *script) startDue() {
	s := x.s
	x.due = startBackground(func(ctx context.Context) { _ = x.b.runDue(ctx, s) })
}

// drawChange draws an update's change: half of them expire.
func (x *script) drawChange() func(*presence.State) ([]string, error) {
	x.created++
	id := x.created
	kind := x.rng.IntN(6)
	end := time.Duration(x.rng.IntN(600_000_000)) * time.Microsecond
	size := x.rng.IntN(200)
	return func(st *presence.State) ([]string, error) {
		st.Claims, st.Sessions = nil, nil
		st.Note.Text = fmt.Sprint("note ", id, padding(size))
		if kind < 4 {
			st.Claims = []presence.Claim{{
				ID: presence.ClaimID(fmt.Sprint("claim", id)), Source: presence.Manual, Status: presence.OutOfOffice, Since: st.At,
			}}
		}
		if kind == 0 || kind == 1 {
			st.Claims[0].Until = st.At.Add(end)
		}
		if kind > 2 {
			st.Sessions = []presence.Session{{ID: presence.SessionID(fmt.Sprint("session", id)), Client: presence.Desktop, Since: st.At, EndsAt: st.At.Add(end + time.Second), Lease: time.Minute}}
		}
		return nil, nil
	}
}

func (x *script) by() store.By {
	return store.By{Cause: store.CauseClaim, Actor: store.Actor{App: presence.AppID(fmt.Sprint("app", x.created))}}
}

func (x *script) updateRandomUser() error {
	change := x.drawChange()
	return x.b.update(x.s, x.rng.IntN(crashUsers), x.by(), change)
}

// updateConcurrently updates several users at once, half the time the same one, while
// others read.
func (x *script) updateConcurrently() error {
	var group sync.WaitGroup
	n := 2 + x.rng.IntN(6)
	errs := make([]error, n)
	for k := range n {
		i, change, by := 0, x.drawChange(), x.by()
		if k%2 == 1 {
			i = x.rng.IntN(crashUsers)
		}
		group.Go(func() { errs[k] = x.b.update(x.s, i, by, change) })
	}
	group.Go(func() {
		for range 3 {
			x.readAllUsers()
			runtime.Gosched()
		}
	})
	refused := x.rng.IntN(crashUsers)
	group.Go(func() {
		runtime.Gosched()
		x.refuseUpdate(refused)
	})
	group.Wait()
	x.ops += n - 1
	return errors.Join(errs...)
}

func (x *script) refuseRandomUpdate() error {
	x.refuseUpdate(x.rng.IntN(crashUsers))
	return nil
}

func (x *script) refuseUpdate(i int) {
	err := x.b.update(x.s, i, store.By{}, func(*presence.State) ([]string, error) { return nil, errRefused })
	if !errors.Is(err, errRefused) {
		x.b.addFailure("a refused update returned %v", err)
	}
	x.b.mu.Lock()
	defer x.b.mu.Unlock()
	x.b.refused++
}

func (x *script) writeDocs() error {
	x.created++
	return x.b.writeDocs(x.s, func(docs map[string]val) {
		for range 1 + x.rng.IntN(3) {
			k := fmt.Sprint("k", x.rng.IntN(5))
			if _, ok := docs[k]; ok && x.rng.IntN(4) == 0 {
				delete(docs, k)
				continue
			}
			var until time.Time
			if x.rng.IntN(3) == 0 {
				until = time.Now().Add(time.Duration(1+x.rng.IntN(600)) * time.Second).UTC()
			}
			docs[k] = val{fmt.Sprint("write ", x.created, padding(x.rng.IntN(100))), until}
		}
		docs["always"] = val{fmt.Sprint("write ", x.created), time.Time{}}
	})
}

func (x *script) readAllUsers() {
	records, _, err := x.s.Read(context.Background(), allUsers(), store.Freshness{})
	if err != nil {
		x.b.addFailure("Read: %v", err)
	}
	for _, r := range records {
		x.b.acknowledge(r)
	}
}

func (x *script) readEverything() error {
	x.reads++
	x.readAllUsers()
	return x.b.checkDocs(x.s)
}
