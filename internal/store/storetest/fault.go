package storetest

import (
	"context"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// A Method is a method of store.Store in which a Faulty can inject faults.
type Method string

// The methods of store.Store that Faulty counts. A call of Begin counts as one of Update.
const (
	Update     Method = "Update"
	Read       Method = "Read"
	Scan       Method = "Scan"
	Write      Method = "Write"
	Load       Method = "Load"
	List       Method = "List"
	Feed       Method = "Feed"
	Log        Method = "Log"
	PositionAt Method = "PositionAt"
	History    Method = "History"
	Erase      Method = "Erase"
)

// Faulty is a store with injected faults. All other calls pass through.
type Faulty struct {
	store.Store

	mu     sync.Mutex // guards the fields below
	calls  map[Method]int
	faults map[Method]map[int]fault
	fired  int
	down   error
}

// A fault makes a call return err. If applied is set, the call takes effect first.
type fault struct {
	err     error
	applied bool
}

// Fault wraps s.
func Fault(s store.Store) *Faulty {
	return &Faulty{Store: s, calls: make(map[Method]int), faults: make(map[Method]map[int]fault)}
}

// Fail makes the nth call of m from now (the next is 1) return err without any effect.
func (f *Faulty) Fail(m Method, nth int, err error) { f.plan(m, nth, fault{err: err}) }

// LoseAnswer makes the nth call of m from now take effect and return
// store.ErrUnknown.
func (f *Faulty) LoseAnswer(m Method, nth int) {
	f.plan(m, nth, fault{err: store.ErrUnknown, applied: true})
}

// Down makes every call fail with err, until it is nil again.
func (f *Faulty) Down(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = err
}

// Fired is the number of injected faults so far. A test checks it, because it proves
// nothing if no fault was injected.
func (f *Faulty) Fired() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fired
}

// Calls is the number of calls of m.
func (f *Faulty) Calls(m Method) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[m]
}

func (f *Faulty) plan(m Method, nth int, planned fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.faults[m] == nil {
		f.faults[m] = make(map[int]fault)
	}
	f.faults[m][f.calls[m]+nth] = planned
}

// nextFault counts a call, and returns its fault, if any.
func (f *Faulty) nextFault(m Method) (fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[m]++
	planned, ok := f.faults[m][f.calls[m]]
	if f.down != nil {
		planned, ok = fault{err: f.down}, true
	}
	if ok {
		f.fired++
	}
	return planned, ok
}

// Update implements store.Store.
func (f *Faulty) Update(ctx context.Context, u store.User, fn store.Decide) (store.Record, error) {
	planned, injected := f.nextFault(Update)
	if injected && !planned.applied {
		return store.Record{}, planned.err
	}
	record, err := f.Store.Update(ctx, u, fn)
	if injected {
		return store.Record{}, planned.err
	}
	return record, err
}

// Begin implements store.Store.
func (f *Faulty) Begin(u store.User, fn store.Decide, reply store.Reply) {
	planned, injected := f.nextFault(Update)
	switch {
	case !injected:
		f.Store.Begin(u, fn, reply)
	case planned.applied:
		f.Store.Begin(u, fn, func(store.Record, error) { reply(store.Record{}, planned.err) })
	default:
		reply(store.Record{}, planned.err)
	}
}

// Write implements store.Store.
func (f *Faulty) Write(ctx context.Context, account presence.AccountID, docs ...store.Doc) error {
	planned, injected := f.nextFault(Write)
	if injected && !planned.applied {
		return planned.err
	}
	err := f.Store.Write(ctx, account, docs...)
	if injected {
		return planned.err
	}
	return err
}

// Read implements store.Store.
func (f *Faulty) Read(ctx context.Context, us []store.User, fresh store.Freshness) ([]store.Record, store.Cursor, error) {
	if planned, injected := f.nextFault(Read); injected {
		return nil, store.Cursor{}, planned.err
	}
	return f.Store.Read(ctx, us, fresh)
}

// Scan implements store.Store.
func (f *Faulty) Scan(ctx context.Context, fn func([]store.Record) error) error {
	if planned, injected := f.nextFault(Scan); injected {
		return planned.err
	}
	return f.Store.Scan(ctx, fn)
}

// Load implements store.Store.
func (f *Faulty) Load(ctx context.Context, account presence.AccountID, keys ...store.Key) ([]store.Doc, error) {
	if planned, injected := f.nextFault(Load); injected {
		return nil, planned.err
	}
	return f.Store.Load(ctx, account, keys...)
}

// List implements store.Store.
func (f *Faulty) List(ctx context.Context, account presence.AccountID, collection, after string, limit int) ([]store.Doc, error) {
	if planned, injected := f.nextFault(List); injected {
		return nil, planned.err
	}
	return f.Store.List(ctx, account, collection, after, limit)
}

// Feed implements store.Store.
func (f *Faulty) Feed(ctx context.Context, after store.Position, fn func([]store.Entry) error) error {
	if planned, injected := f.nextFault(Feed); injected {
		return planned.err
	}
	return f.Store.Feed(ctx, after, fn)
}

// Log implements store.Store.
func (f *Faulty) Log(ctx context.Context, after store.Position, limit int) ([]store.Entry, error) {
	if planned, injected := f.nextFault(Log); injected {
		return nil, planned.err
	}
	return f.Store.Log(ctx, after, limit)
}

// PositionAt implements store.Store.
func (f *Faulty) PositionAt(ctx context.Context, t time.Time) (store.Position, error) {
	if planned, injected := f.nextFault(PositionAt); injected {
		return 0, planned.err
	}
	return f.Store.PositionAt(ctx, t)
}

// History implements store.Store.
func (f *Faulty) History(ctx context.Context, u store.User, before store.Position, limit int) ([]store.Entry, error) {
	if planned, injected := f.nextFault(History); injected {
		return nil, planned.err
	}
	return f.Store.History(ctx, u, before, limit)
}

// Erase implements store.Store.
func (f *Faulty) Erase(ctx context.Context, u store.User) error {
	planned, injected := f.nextFault(Erase)
	if injected && !planned.applied {
		return planned.err
	}
	err := f.Store.Erase(ctx, u)
	if injected {
		return planned.err
	}
	return err
}
