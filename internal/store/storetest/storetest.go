// Package storetest tests the contract of package store. Every backend runs all tests, so
// that the layers above do not depend on which backend they run on.
//
// It also has stores for the tests of other packages: [Twice] runs each update
// function twice, as a backend may. [Begun] updates through Begin. [Fault] makes chosen calls fail, or lose their response
// after they took effect.
//
// It is separate from the backends because they share it. It does not apply the rules of
// package presence: the tests construct their states. It must not assume more than
// store.Store promises. Permitted differences, such as lateness, are fields of [Backend].
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

// A Backend is the backend under test.
type Backend struct {
	// Open makes a new, empty store, and closes it when the test ends.
	Open func(t *testing.T) Opened
	// Bubble runs each test in a bubble of testing/synctest. The store's clock
	// must then be time.Now, and all its goroutines must run in the bubble.
	Bubble bool
	// Lateness is how late Due may be on an idle machine.
	Lateness time.Duration
	// Ahead is how far in the future tests set timers. Storing two of them takes less time
	// than that, or is repeated. Zero: 400 ms.
	Ahead time.Duration
	// Callers is how many goroutines the concurrent tests use; zero: 16.
	Callers int
	// MinEntries is for an engine that drops log entries of a user whose record changes too
	// often: the least number of entries that the log keeps of such a user. The entry after
	// dropped ones has a Gap. Zero: no entries are dropped.
	MinEntries int
	// Parallel runs tests in parallel. This helps outside a bubble, where they mostly wait.
	Parallel bool
	// Tests selects tests by name, "Theme/Test", for a configuration of a backend that
	// also runs all of them in another one; nil: all.
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
		{"Unlogged", unloggedTests},
		{"Begin", beginTests},
		{"Read", readTests},
		{"Scan", scanTests},
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
			b.runTests(t, theme.name, theme.tests, asIs)
		})
	}
	t.Run("UpdateTwice", func(t *testing.T) { b.runTests(t, "UpdateTwice", updateTests, Twice) })
	t.Run("UpdateBegun", func(t *testing.T) { b.runTests(t, "UpdateBegun", updateTests, Begun) })
}

func asIs(s store.Store) store.Store { return s }

func (b Backend) runTests(t *testing.T, theme string, tests []namedTest, wrap func(store.Store) store.Store) {
	for _, test := range tests {
		if b.Tests != nil && !b.Tests(theme+"/"+test.name) {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			if b.Parallel {
				t.Parallel()
			}
			b.run(t, test.fn, wrap)
		})
	}
}

type namedTest struct {
	name string
	fn   func(x *suite)
}

func (b Backend) run(t *testing.T, fn func(*suite), wrap func(store.Store) store.Store) {
	body := func(t *testing.T) {
		opened := b.Open(t)
		opened.Store = wrap(opened.Store)
		// A bubble does not detect a deadlock while the store has tickers. The timeout ends
		// a test that waits for an event that does not happen.
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
	ctx     context.Context
	dropped []store.User // whose firings are dropped; see storeInTime
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

// edit returns an update function that applies change to a copy of the state with the
// next revision.
func edit(change func(s *presence.State)) func(presence.State) (presence.State, error) {
	return func(s presence.State) (presence.State, error) {
		s.Sessions, s.Claims, s.Answers = slices.Clone(s.Sessions), slices.Clone(s.Claims), slices.Clone(s.Answers)
		s.At = max(s.At, presence.InstantOf(time.Now()))
		s.Revision = max(s.Revision+1, presence.Revision(s.At))
		change(&s)
		return s, nil
	}
}

// UpdateFunc makes fn a function for Store.Update. The new state is the result of fn as it
// is: the rules of package presence are not applied.
func UpdateFunc(by store.By, fn func(presence.State) (presence.State, error)) store.Decide {
	return func(was presence.Recorded) (store.Change, error) {
		next, err := fn(was.State)
		return store.Change{Change: presence.Change{Recorded: presence.RecordedOf(next)}, By: by}, err
	}
}

// Apply is a function for Store.Update that applies e at now by the rules of package
// presence.
func Apply(e presence.Event, p presence.Policy, now presence.Instant) store.Decide {
	return func(was presence.Recorded) (store.Change, error) {
		next, err := presence.Apply(was, e, p, now)
		return store.Change{Change: next}, err
	}
}

func noEdit(*presence.State) {}

func note(text string) func(*presence.State) {
	return func(s *presence.State) { s.Note.Text = text }
}

// outUntil adds a claim that expires. Its status is out of office, which needs no session.
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
	r, err := x.Store.Update(x.ctx, u, UpdateFunc(store.By{Cause: store.CauseClaim}, edit(change)))
	if err != nil {
		x.Fatalf("Update(%v): %v", u, err)
	}
	return r
}

func (x *suite) read(us ...store.User) ([]store.Record, store.Cursor) {
	x.Helper()
	records, cursor, err := x.Store.Read(x.ctx, us, store.Freshness{})
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
const receiveTimeout = time.Minute

// receive waits for a value, and fails the test if none arrives in time.
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
