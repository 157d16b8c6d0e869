// Package storetest is the contract of package store as tests. Every backend
// runs all of it, so that the layers above need not distinguish them.
//
// It also has two stores for the tests of other packages: [Twice] runs each update
// function twice, as a backend may. [Fault] makes chosen calls fail, or take effect
// and lose their answer.
//
// It is separate from the backends because they share it. It knows no rule of
// presence: its states are made by hand. It must not assume more than store.Store
// promises: what may differ, such as lateness, is a field of [Backend].
package storetest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// A Backend is what is tested.
type Backend struct {
	// Open makes a new, empty store, and closes it when the test ends.
	Open func(t *testing.T) Opened
	// Bubble runs each test in a bubble of testing/synctest. The store's clock
	// must then be time.Now, and all its goroutines must run in the bubble.
	Bubble bool
	// Lateness is how late Due may be when the machine does nothing else.
	Lateness time.Duration
	// Ahead is how far in the future tests set timers. Storing two of them must take
	// less time than that, even on a busy machine. Zero: 400 ms.
	Ahead time.Duration
	// Callers is how many goroutines the concurrent tests use; zero: 16.
	Callers int
	// MinEntries is the least number of entries that the log has of a user whose record
	// changes too often for the engine. The entry after dropped ones has a Gap. Zero: no
	// entries are dropped.
	MinEntries int
	// Parallel runs tests in parallel. It helps where they mostly wait, which they do
	// not in a bubble.
	Parallel bool
	// Tests chooses by name, "Theme/Test", for a backend that also runs all of
	// them elsewhere; nil: all.
	Tests func(name string) bool
}

// Opened is one store under test.
type Opened struct {
	Store store.Store
	// Reopen closes the store and opens it again on the same data.
	Reopen func(t *testing.T) store.Store
	// DropLog drops the entries of the log up to a position, as the retention does.
	DropLog func(t *testing.T, to store.Position)
	// Damage makes an entry undecodable. It is the newest of the log and the only one
	// of its user.
	Damage func(t *testing.T, at store.Position)
}

// Run runs the whole contract on b.
func Run(t *testing.T, b Backend) {
	if b.Callers == 0 {
		b.Callers = 16
	}
	if b.Ahead == 0 {
		b.Ahead = 400 * time.Millisecond
	}
	for _, theme := range []struct {
		name  string
		tests []namedTest
	}{
		{"Update", updateTests},
		{"Read", readTests},
		{"Feed", feedTests},
		{"Log", logTests},
		{"Erase", eraseTests},
		{"Watch", watchTests},
		{"Due", dueTests},
		{"Docs", docTests},
		{"Reopen", reopenTests},
		{"RepeatedReopen", repeatedReopenTests},
		{"Limits", limitTests},
	} {
		t.Run(theme.name, func(t *testing.T) {
			b.each(t, theme.name, theme.tests, false)
		})
	}
	t.Run("UpdateTwice", func(t *testing.T) { b.each(t, "UpdateTwice", updateTests, true) })
}

func (b Backend) each(t *testing.T, theme string, tests []namedTest, twice bool) {
	for _, test := range tests {
		if b.Tests != nil && !b.Tests(theme+"/"+test.name) {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			if b.Parallel {
				t.Parallel()
			}
			b.run(t, test.fn, twice)
		})
	}
}

type namedTest struct {
	name string
	fn   func(x *suite)
}

func (b Backend) run(t *testing.T, fn func(*suite), twice bool) {
	body := func(t *testing.T) {
		opened := b.Open(t)
		if twice {
			opened.Store = Twice(opened.Store)
		}
		// The tickers of a store keep a bubble busy, so a test that waits for
		// something that does not happen would otherwise never end.
		ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
		t.Cleanup(cancel)
		fn(&suite{T: t, Backend: b, Opened: opened, ctx: ctx})
	}
	if b.Bubble {
		synctest.Test(t, body)
		return
	}
	body(t)
}

// A suite is one test on one store.
type suite struct {
	*testing.T
	Backend
	Opened
	ctx context.Context
}

// user is a user of account "acme".
func user(id string) store.User { return store.User{Account: "acme", ID: presence.UserID(id)} }

func users(ids ...string) []store.User {
	us := make([]store.User, len(ids))
	for i, id := range ids {
		us[i] = user(id)
	}
	return us
}

// edit returns an update function that applies change to the next revision of a
// state. It copies slices before.
func edit(change func(s *presence.State)) func(presence.State) (presence.State, error) {
	return func(s presence.State) (presence.State, error) {
		s.Sessions, s.Claims, s.Answers = slices.Clone(s.Sessions), slices.Clone(s.Claims), slices.Clone(s.Answers)
		s.At = max(s.At, presence.InstantOf(time.Now()))
		s.Revision = max(s.Revision+1, presence.Revision(s.At))
		change(&s)
		return s, nil
	}
}

// ByHand is a function for Update that makes states without the rules.
func ByHand(by store.By, fn func(presence.State) (presence.State, error)) store.Decide {
	return func(was presence.Recorded) (store.Change, error) {
		next, err := fn(was.State)
		return store.Change{Change: presence.Change{Recorded: presence.RecordedOf(next)}, By: by}, err
	}
}

// Apply is a function for Update that applies e at now by the rules.
func Apply(e presence.Event, p presence.Policy, now presence.Instant) store.Decide {
	return func(was presence.Recorded) (store.Change, error) {
		next, err := presence.Apply(was, e, p, now)
		return store.Change{Change: next}, err
	}
}

func nothing(*presence.State) {}

func note(text string) func(*presence.State) {
	return func(s *presence.State) { s.Note.Text = text }
}

// outUntil makes a state whose claim expires: out of office needs no session.
func outUntil(until time.Time) func(*presence.State) {
	return func(s *presence.State) {
		s.Claims = []presence.Claim{{
			ID: presence.ManualClaim, Source: presence.Manual, Status: presence.OutOfOffice,
			Since: s.At, Until: presence.InstantOf(until),
		}}
	}
}

func (x *suite) update(u store.User, change func(*presence.State)) store.Record {
	x.Helper()
	r, err := x.Store.Update(x.ctx, u, ByHand(store.By{Cause: store.CauseClaim}, edit(change)))
	if err != nil {
		x.Fatalf("Update(%v): %v", u, err)
	}
	return r
}

func (x *suite) read(us ...store.User) ([]store.Record, store.Cursor) {
	x.Helper()
	records, cursor, err := x.Store.Read(x.ctx, us)
	if err != nil {
		x.Fatalf("Read: %v", err)
	}
	return records, cursor
}

// changed reads the records that changed after a cursor.
func (x *suite) changed(c store.Cursor, us ...store.User) ([]store.Record, store.Cursor) {
	x.Helper()
	at, err := c.Position(x.Store.Epoch())
	if err != nil {
		x.Fatalf("the cursor's position: %v", err)
	}
	records, cursor := x.read(us...)
	return slices.DeleteFunc(records, func(r store.Record) bool { return r.At <= at }), cursor
}

// pause waits until an instant. In a bubble it returns at once.
func (x *suite) pause(until time.Time) {
	x.Helper()
	select {
	case <-time.After(time.Until(until)):
	case <-x.ctx.Done():
		x.Fatal("the test ended while waiting")
	}
}

// testTimeout is how long a test may take.
const testTimeout = 10 * time.Minute

// receiveTimeout is how long a test waits for a value.
const receiveTimeout = 20 * time.Second

// receive waits for a value, and ends the test if there is none in time.
func receive[T any](x *suite, from <-chan T, what string) T {
	x.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(receiveTimeout):
		x.Fatalf("no %s within %v", what, receiveTimeout)
		panic("not reached")
	}
}

// background runs f until stop is called. stop returns f's error.
func (x *suite) background(f func(ctx context.Context) error) (stop func() error) {
	ctx, cancel := context.WithCancel(x.ctx)
	ended := make(chan error, 1)
	go func() { ended <- f(ctx) }()
	stopped := false
	x.Cleanup(func() {
		cancel()
		if !stopped {
			<-ended //nolint:errcheck // the test has reported its failure already
		}
	})
	return func() error {
		cancel()
		stopped = true
		return receive(x, ended, "the end of a background call")
	}
}

func ids(us []store.User) string {
	text := make([]string, len(us))
	for i := range us {
		text[i] = string(us[i].ID)
	}
	return fmt.Sprint(text)
}

func recordIDs(records []store.Record) string {
	us := make([]store.User, len(records))
	for i := range records {
		us[i] = records[i].User
	}
	return ids(us)
}
