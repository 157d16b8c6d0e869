package quota

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// TestBucket: a full bucket allows its capacity at once, then one for each share of the
// period.
func TestBucket(t *testing.T) {
	var b Bucket
	now := noon
	for i := range 3 {
		if left, wait := b.Take(1, 3, time.Minute, now); left != 2-i || wait != 0 {
			t.Fatalf("request %d leaves %d, wait %v", i+1, left, wait)
		}
	}
	if _, wait := b.Take(1, 3, time.Minute, now); wait != 20*time.Second {
		t.Errorf("the request above the limit waits %v, want 20s", wait)
	}
	now = now.Add(20*time.Second - 1)
	if _, wait := b.Take(1, 3, time.Minute, now); wait != 1 {
		t.Errorf("a request one nanosecond early waits %v", wait)
	}
	if left, wait := b.Take(1, 3, time.Minute, now.Add(1)); left != 0 || wait != 0 {
		t.Errorf("a request on time: %d, %v", left, wait)
	}
	if _, wait := b.Take(2, 3, time.Minute, now.Add(20*time.Second)); wait == 0 {
		t.Error("two requests were allowed, want one")
	}
	if b.Full(now.Add(time.Minute)) || !b.Full(now.Add(time.Minute+2)) {
		t.Error("the bucket is not full after the period")
	}
	if left, _ := b.Take(1, 3, time.Minute, noon.Add(-time.Hour)); left != 2 {
		t.Errorf("after the clock was set back %d remain", left)
	}
}

// TestTableIsBounded: a client with many addresses neither makes the table grow nor
// evicts the bucket of a client at its limit.
func TestTableIsBounded(t *testing.T) {
	var table Table[string]
	var greedy Bucket
	greedy.Take(100, 100, time.Minute, noon)
	table.Set("greedy", greedy, noon)
	for i := range 3 * maxBuckets {
		var b Bucket
		b.Take(1, 100, time.Minute, noon)
		table.Set(fmt.Sprint(i), b, noon)
	}
	if n := len(table.buckets); n > maxBuckets {
		t.Errorf("%d buckets are kept", n)
	}
	if table.Get("greedy") != greedy {
		t.Error("the emptiest bucket was evicted")
	}
	later := noon.Add(time.Hour)
	table.Set("new", greedy, later)
	if n := len(table.buckets); n > maxBuckets-evictionSample+1 {
		t.Errorf("%d buckets are kept, although most are full", n)
	}
}

// newGuard is a guard with one limit of two.
func newGuard(r Resource, s Subject) *Guard {
	var amounts Amounts
	amounts[s] = 2
	return NewGuard(map[Resource]Amounts{r: amounts}, time.Now)
}

var ada = Caller{Account: "acme", App: "web", User: "ada", Address: netip.MustParsePrefix("192.0.2.1/32")}

func take(g *Guard, r Resource, c Caller) error {
	_, err := g.Take(r, c)
	return err
}

// TestStanding: a caller is told of the limit of which the fewest uses are left, and when
// more are.
func TestStanding(t *testing.T) {
	now := noon
	g := NewGuard(map[Resource]Amounts{Writes: {User: 4, Account: 6, Address: 100}}, func() time.Time { return now })
	grace := ada
	grace.User = "grace"
	for i, step := range []struct {
		caller       Caller
		after        time.Duration
		policy, left string
	}{
		{ada, 0, `"user";q=4;w=60`, `"user";r=3;t=15`},
		{ada, 0, `"user";q=4;w=60`, `"user";r=2;t=30`},
		{grace, 0, `"account";q=6;w=60`, `"account";r=3;t=30`}, // as many as the user, for longer
		{grace, 0, `"account";q=6;w=60`, `"account";r=2;t=40`},
		{ada, 0, `"account";q=6;w=60`, `"account";r=1;t=50`},
		{ada, 0, `"user";q=4;w=60`, `"user";r=0;t=15`},
		{grace, 0, `"account";q=6;w=60`, `"account";r=0;t=10`},              // refused
		{ada, 500 * time.Millisecond, `"user";q=4;w=60`, `"user";r=0;t=15`}, // refused
		{grace, 10 * time.Second, `"account";q=6;w=60`, `"account";r=0;t=10`},
	} {
		now = now.Add(step.after)
		s, err := g.Take(Writes, step.caller)
		if refused, ok := errors.AsType[*Error](err); ok {
			s = refused.Standing()
			if wait := fmt.Sprintf("t=%d", refused.RetrySeconds()); !strings.HasSuffix(step.left, wait) {
				t.Errorf("step %d: Retry-After is %s", i, wait)
			}
		}
		if policy, left := s.Fields(); policy != step.policy || left != step.left {
			t.Errorf("step %d: %s, %s; want %s, %s", i, policy, left, step.policy, step.left)
		}
	}
	unannounced := Standing{Limit: &Limit{Name: "connections", Most: 5}}
	for _, s := range []Standing{{}, unannounced} {
		if policy, left := s.Fields(); policy+left != "" {
			t.Errorf("%+v: %s, %s", s, policy, left)
		}
	}
}

// TestLimitsAreShared: callers share a limit if and only if they have its subject in
// common.
func TestLimitsAreShared(t *testing.T) {
	differ := map[Subject]Caller{
		User:    {Account: "acme", App: "web", User: "grace", Address: ada.Address},
		App:     {Account: "acme", App: "desktop", User: "ada", Address: ada.Address},
		Account: {Account: "other", App: "web", User: "ada", Address: ada.Address},
		Address: {Account: "acme", App: "web", User: "ada", Address: netip.MustParsePrefix("192.0.2.2/32")},
	}
	for r := range resourceCount {
		for s := range subjectCount {
			g := newGuard(r, s)
			use := func(c Caller) error {
				if r != Streams {
					return take(g, r, c)
				}
				_, err := g.Open(c)
				return err
			}
			if err := errors.Join(use(ada), use(ada)); err != nil {
				t.Fatal(err)
			}
			var refused *Error
			if err := use(ada); !errors.As(err, &refused) || refused.Most != 2 || refused.RetryAfter <= 0 {
				t.Errorf("%s by %s: the third call: %v", resources[r].name, subjectNames[s], err)
			}
			if err := use(differ[s]); err != nil {
				t.Errorf("%s by %s: another caller: %v", resources[r].name, subjectNames[s], err)
			}
			for other, c := range differ {
				shares := other != Account || s == Address // users and apps belong to an account
				if err := use(c); other != s && (err != nil) != shares {
					t.Errorf("%s by %s: a caller that differs in the %s: %v", resources[r].name, subjectNames[s], subjectNames[other], err)
				}
			}
		}
	}
}

// TestAppItself: an app counts as one user of streams and tickets, apart from the user
// with the same id.
func TestAppItself(t *testing.T) {
	app, user := ada, ada
	app.User, user.User = "", app.App
	for r, limited := range map[Resource]bool{Streams: true, Tickets: true, Tokens: false, Writes: false} {
		g := newGuard(r, User)
		use := func(r Resource, c Caller) error { return take(g, r, c) }
		if r == Streams {
			use = func(_ Resource, c Caller) error {
				_, err := g.Open(c)
				return err
			}
		}
		_, _ = use(r, app), use(r, app)
		if err := use(r, app); (err != nil) != limited {
			t.Errorf("%s of an app: %v", resources[r].name, err)
		}
		if err := use(r, user); err != nil {
			t.Errorf("%s of a user: %v", resources[r].name, err)
		}
	}
}

// TestRefusedIsNotCounted: a request that one limit refuses does not count against the
// others.
func TestRefusedIsNotCounted(t *testing.T) {
	g := NewGuard(map[Resource]Amounts{
		Streams: {User: 1, Account: 2}, Writes: {User: 1, Account: 2},
	}, time.Now)
	grace := ada
	grace.User = "grace"
	_ = take(g, Writes, ada)
	for range 5 {
		if take(g, Writes, ada) == nil {
			t.Fatal("the user's limit does not hold")
		}
	}
	if err := take(g, Writes, grace); err != nil {
		t.Errorf("another user: %v", err)
	}
	release, err := g.Open(ada)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Open(ada); err == nil {
		t.Fatal("the user's limit does not hold")
	}
	if _, err := g.Open(grace); err != nil {
		t.Errorf("another user: %v", err)
	}
	release()
	release()
	if _, err := g.Open(ada); err != nil {
		t.Errorf("after a stream has ended: %v", err)
	}
	if n := len(g.open); n != 3 {
		t.Errorf("%d counters are kept, want those of two users and an account", n)
	}
}

// TestRetryAfter: a request is accepted after the Retry-After of its refusal.
func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(Writes, Account)
		for range 10 {
			err := take(g, Writes, ada)
			refused, limited := errors.AsType[*Error](err)
			if !limited {
				continue
			}
			if seconds := refused.RetrySeconds(); seconds < 1 || seconds > 30 {
				t.Fatalf("Retry-After is %d", seconds)
			}
			time.Sleep(time.Duration(refused.RetrySeconds()) * time.Second)
			if err := take(g, Writes, ada); err != nil {
				t.Errorf("after the wait: %v", err)
			}
		}
		if n := g.limits[Writes][Account].Refused(); n != 8 {
			t.Errorf("%d refusals are counted, want 8", n)
		}
	})
}

// TestNoLimits: a guard without limits, and a nil guard, refuse nothing and keep no
// state.
func TestNoLimits(t *testing.T) {
	var none *Guard
	g := NewGuard(nil, time.Now)
	for range 1000 {
		if _, err := g.Open(ada); err != nil {
			t.Fatal(err)
		}
		if _, err := none.Open(ada); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(take(g, Writes, ada), take(none, Writes, ada)); err != nil {
			t.Fatal(err)
		}
	}
	if len(g.open)+len(g.buckets.buckets) != 0 {
		t.Error("state is kept")
	}
}
