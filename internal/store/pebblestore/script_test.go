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

// A script is a run of operations that a seed draws: updates, alone and many at
// once, some refused; documents; users erased; a reader of the log and Due, stopped and started;
// looks in every way; and time that passes, so that ends come due and the log is
// trimmed. It runs in a bubble.
type script struct {
	b    *book
	s    *Store
	opts Options
	rng  *rand.Rand
	ops  int // done, an update of many counting as each of its own

	reader, due *background
	made        int // claims, sessions and documents
	reopened    int
	looks       int
}

// A background is a goroutine that is told to stop by its context.
type background struct {
	cancel context.CancelFunc
	group  sync.WaitGroup
}

func inBackground(f func(ctx context.Context)) *background {
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

// run runs n operations on a new store, which is closed and opened again in the
// middle of them.
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
			err = x.step()
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

func (x *script) step() error {
	x.ops++
	switch p := x.rng.IntN(100); {
	case p < 42:
		return x.update()
	case p < 52:
		return x.burst()
	case p < 58:
		return x.refuse()
	case p < 72:
		return x.write()
	case p < 75:
		return x.b.clash(x.s, fmt.Sprint("k", x.rng.IntN(5)))
	case p < 79:
		return x.look()
	case p < 83:
		// The cursor is held against what is newer, so nothing else may run.
		synctest.Wait()
		return x.b.cut(x.s)
	case p < 87:
		x.toggle(&x.reader, x.startReader)
	case p < 89:
		x.toggle(&x.due, x.startDue)
	case p < 91:
		return x.b.erase(x.s, x.rng.IntN(crashUsers))
	default:
		time.Sleep(time.Duration(x.rng.IntN(90_000_000)) * time.Microsecond)
	}
	return nil
}

func (x *script) toggle(g **background, start func()) {
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
	x.reader = inBackground(func(ctx context.Context) {
		_ = x.b.read(ctx, s, func(entries []store.Entry) error {
			x.b.take(s, entries)
			if slow {
				time.Sleep(5 * time.Millisecond) // some operations
			}
			x.b.took(entries)
			return nil
		})
	})
}

func (x *script) startDue() {
	s := x.s
	x.due = inBackground(func(ctx context.Context) { _ = x.b.due(ctx, s) })
}

// change draws what an update makes of a state: half of them end by themselves.
func (x *script) change() func(*presence.State) ([]string, error) {
	x.made++
	id := x.made
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
	return store.By{Cause: store.CauseClaim, Actor: store.Actor{App: presence.AppID(fmt.Sprint("app", x.made))}}
}

func (x *script) update() error {
	change := x.change()
	return x.b.update(x.s, x.rng.IntN(crashUsers), x.by(), change)
}

// burst makes updates at once, half of them of one user, while others look.
func (x *script) burst() error {
	var group sync.WaitGroup
	n := 2 + x.rng.IntN(6)
	errs := make([]error, n)
	for k := range n {
		i, change, by := 0, x.change(), x.by()
		if k%2 == 1 {
			i = x.rng.IntN(crashUsers)
		}
		group.Go(func() { errs[k] = x.b.update(x.s, i, by, change) })
	}
	group.Go(func() {
		for range 3 {
			x.readAll()
			runtime.Gosched()
		}
	})
	refused := x.rng.IntN(crashUsers)
	group.Go(func() {
		runtime.Gosched()
		x.refuseUser(refused)
	})
	group.Wait()
	x.ops += n - 1
	return errors.Join(errs...)
}

func (x *script) refuse() error {
	x.refuseUser(x.rng.IntN(crashUsers))
	return nil
}

func (x *script) refuseUser(i int) {
	err := x.b.update(x.s, i, store.By{}, func(*presence.State) ([]string, error) { return nil, errNo })
	if !errors.Is(err, errNo) {
		x.b.fault("a refused update was answered with %v", err)
	}
	x.b.mu.Lock()
	defer x.b.mu.Unlock()
	x.b.refused++
}

func (x *script) write() error {
	x.made++
	return x.b.write(x.s, func(docs map[string]val) {
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
			docs[k] = val{fmt.Sprint("write ", x.made, padding(x.rng.IntN(100))), until}
		}
		docs["always"] = val{fmt.Sprint("write ", x.made), time.Time{}}
	})
}

func (x *script) readAll() {
	records, _, err := x.s.Read(context.Background(), everybody())
	if err != nil {
		x.b.fault("Read: %v", err)
	}
	for _, r := range records {
		x.b.show(r)
	}
}

func (x *script) look() error {
	x.looks++
	x.readAll()
	return x.b.list(x.s)
}
