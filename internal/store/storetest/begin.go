package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// Begun wraps s so that Update begins an update and waits for the reply. If its context
// ends meanwhile, it returns store.ErrUnknown.
func Begun(s store.Store) store.Store { return begun{s} }

type begun struct{ store.Store }

func (b begun) Update(ctx context.Context, u store.User, fn store.Decide) (store.Record, error) {
	if err := ctx.Err(); err != nil {
		return store.Record{}, err
	}
	var record store.Record
	var err error
	replied := make(chan struct{})
	b.Begin(u, fn, func(r store.Record, e error) {
		record, err = r, e
		close(replied)
	})
	select {
	case <-replied:
		return record, err
	case <-ctx.Done():
		return store.Record{}, store.ErrUnknown
	}
}

var beginTests = []namedTest{
	{"OrderOfOneUser", orderOfOneUser},
	{"ReplyIsDurable", replyIsDurable},
	{"SurvivesReopen", beginSurvivesReopen},
	{"ManyAtOnce", manyBegunAtOnce},
	{"PanicInReply", panicInReply},
	{"BeginInReply", beginInReply},
	{"CloseRepliesToAll", closeRepliesToAll},
}

// A beginning is an update that was begun.
type beginning struct {
	x       *suite
	replied chan struct{} // closed by the first reply
	replies atomic.Int64
	record  store.Record
	err     error
}

func (x *suite) begin(u store.User, fn func(presence.State) (presence.State, error)) *beginning {
	return x.beginOn(x.Store, u, fn)
}

func (x *suite) beginOn(s store.Store, u store.User, fn func(presence.State) (presence.State, error)) *beginning {
	b := &beginning{x: x, replied: make(chan struct{})}
	s.Begin(u, UpdateFunc(store.By{Cause: store.CauseClaim}, fn), b.reply)
	return b
}

func (b *beginning) reply(record store.Record, err error) {
	if b.replies.Add(1) > 1 {
		b.x.Errorf("a second reply: %+v, %v", record, err)
		return
	}
	b.record, b.err = record, err
	close(b.replied)
}

func (b *beginning) wait() (store.Record, error) {
	b.x.Helper()
	receive(b.x, b.replied, "reply")
	return b.record, b.err
}

func (b *beginning) must() store.Record {
	b.x.Helper()
	record, err := b.wait()
	if err != nil {
		b.x.Fatalf("Begin: %v", err)
	}
	return record
}

func orderOfOneUser(x *suite) {
	var all []*beginning
	for i := range 50 {
		all = append(all, x.begin(user("u"), func(s presence.State) (presence.State, error) {
			if want := fmt.Sprint(i - 1); i > 0 && s.Note.Text != want {
				return s, fmt.Errorf("update %d saw the result of update %s", i, s.Note.Text)
			}
			return edit(note(fmt.Sprint(i)))(s)
		}))
	}
	var last store.Position
	for i, b := range all {
		r := b.must()
		if r.At <= last || r.State.Note.Text != fmt.Sprint(i) {
			x.Errorf("update %d gave %+v after position %d", i, r, last)
		}
		last = r.At
	}
}

// replyIsDurable: what a reply has can be read at once, also what a refusal has.
func replyIsDurable(x *suite) {
	var group sync.WaitGroup
	for range x.Callers {
		group.Go(func() {
			for i := range 20 {
				b := x.begin(user("u"), func(s presence.State) (presence.State, error) {
					if i%2 == 0 {
						return s, errRefused
					}
					return edit(noEdit)(s)
				})
				r, err := b.wait()
				if err != nil && !errors.Is(err, errRefused) {
					x.Errorf("Begin: %v", err)
					return
				}
				records, _, err := x.Store.Read(x.ctx, users("u"), store.Freshness{})
				if err != nil || r.At != 0 && (len(records) != 1 || records[0].At < r.At) {
					x.Errorf("the reply has position %d, and Read gave %+v, %v after it", r.At, records, err)
					return
				}
			}
		})
	}
	group.Wait()
}

func beginSurvivesReopen(x *suite) {
	want := x.begin(user("u"), edit(note("kept"))).must()
	x.Store = x.Reopen(x.T)
	if records, _ := x.read(user("u")); len(records) != 1 || records[0].At != want.At || records[0].State.Note.Text != "kept" {
		x.Errorf("after reopening %+v, want %+v", records, want)
	}
}

// manyBegunAtOnce begins far more than a queue has space for, of few users and of many.
func manyBegunAtOnce(x *suite) {
	const each = 250
	all := make([][]*beginning, x.Callers)
	var group sync.WaitGroup
	for caller := range x.Callers {
		group.Go(func() {
			for i := range each {
				u := user(fmt.Sprint("u", (caller+i)%100))
				all[caller] = append(all[caller], x.begin(u, edit(noEdit)))
			}
		})
	}
	group.Wait()
	seen := make(map[store.Position]bool)
	for _, begun := range all {
		for _, b := range begun {
			seen[b.must().At] = true
		}
	}
	if len(seen) != each*x.Callers {
		x.Errorf("%d updates have %d positions", each*x.Callers, len(seen))
	}
}

func panicInReply(x *suite) {
	first := x.begin(user("u"), edit(noEdit))
	x.Store.Begin(user("u"), UpdateFunc(store.By{}, edit(note("kept"))), func(store.Record, error) { panic("a bug in a reply") })
	x.Store.Begin(user("v"), UpdateFunc(store.By{}, func(s presence.State) (presence.State, error) { return s, errRefused }), func(store.Record, error) { panic("a bug in a reply") })
	x.Store.Begin(store.User{ID: presence.UserID(make([]byte, store.MaxKeyBytes+1))}, nil, func(store.Record, error) { panic("a bug in a reply") })
	last := x.begin(user("u"), edit(noEdit))
	first.must()
	if r := last.must(); r.State.Note.Text != "kept" {
		x.Errorf("after a panic in a reply the state is %+v", r.State)
	}
	if err := x.Store.Check(x.ctx); err != nil {
		x.Errorf("Check after a panic in a reply: %v", err)
	}
}

// beginInReply: a reply may begin the next update.
func beginInReply(x *suite) {
	ended := make(chan store.Record, 1)
	var step func(left int) store.Reply
	step = func(left int) store.Reply {
		return func(r store.Record, err error) {
			if err != nil {
				x.Errorf("with %d left: %v", left, err)
			}
			if err != nil || left == 0 {
				ended <- r
				return
			}
			x.Store.Begin(user("u"), UpdateFunc(store.By{}, edit(note(fmt.Sprint(left)))), step(left-1))
		}
	}
	step(20)(store.Record{}, nil)
	if r := receive(x, ended, "last reply"); r.State.Note.Text != "1" {
		x.Errorf("the last reply has %+v", r.State)
	}
}

// closeRepliesToAll: when Close returns, each update that was begun before has its reply,
// and what was acknowledged is there after reopening.
func closeRepliesToAll(x *suite) {
	closing := x.Store
	during := make([][]*beginning, x.Callers)
	var group sync.WaitGroup
	for caller := range x.Callers {
		group.Go(func() {
			for open := true; open; {
				b := x.beginOn(closing, user(fmt.Sprint("caller", caller)), edit(noEdit))
				during[caller] = append(during[caller], b)
				select {
				case <-b.replied:
					open = b.err == nil
				case <-x.ctx.Done():
					open = false
				}
			}
		})
	}
	var before []*beginning
	for i := range 200 {
		before = append(before, x.begin(user(fmt.Sprint("u", i%20)), edit(noEdit)))
	}
	x.Store = x.Reopen(x.T)
	for _, b := range before {
		select {
		case <-b.replied:
		default:
			x.Error("an update was begun before Close, and has no reply after it")
		}
	}
	group.Wait()
	for _, b := range slices.Concat(before, slices.Concat(during...)) {
		r, err := b.wait()
		if err != nil && !errors.Is(err, store.ErrClosed) {
			x.Errorf("an update that was begun before or during Close: %v", err)
		}
		if err != nil {
			continue
		}
		if records, _ := x.read(r.User); len(records) != 1 || records[0].At < r.At {
			x.Errorf("acknowledged at %d, read after reopening: %+v", r.At, records)
		}
	}
}
