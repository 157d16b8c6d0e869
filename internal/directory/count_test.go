package directory_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"porchlight.dev/porchlight/internal/apptest"
	. "porchlight.dev/porchlight/internal/directory"
)

func (f *fixture) limitUsers(t *testing.T, most int) {
	t.Helper()
	account, err := f.Account(t.Context(), f.account)
	apptest.Check(t, err)
	_, err = f.UpdateAccount(t.Context(), account, AccountChange{Limits: &Limits{Users: most}})
	apptest.Check(t, err)
}

// TestUserLimit: an account has no more users than its limit, however they are created,
// and users who were there before the limit count.
func TestUserLimit(t *testing.T) {
	f := newFixture(t)
	first := f.create(t, "first@example.com")
	f.create(t, "second@example.com")
	f.limitUsers(t, 5)
	var made, refused atomic.Int32
	var group sync.WaitGroup
	other := New(f.docs, f.clock.Now) // another node
	for i := range 12 {
		dir := f.Directory
		if i%2 == 1 {
			dir = other
		}
		group.Go(func() {
			_, err := dir.Create(t.Context(), f.account, User{Email: fmt.Sprintf("u%d@example.com", i), Active: true})
			var limit *LimitError
			switch {
			case err == nil:
				made.Add(1)
			case errors.As(err, &limit) && limit.Most == 5 && limit.Name == "users-per-account":
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n, err := f.CountUsers(t.Context(), f.account); made.Load() != 3 || refused.Load() != 9 || n != 5 || err != nil {
		t.Errorf("%d were created and %d refused; the account has %d users, %v", made.Load(), refused.Load(), n, err)
	}
	apptest.Check(t, f.Delete(t.Context(), f.account, first.ID))
	f.create(t, "third@example.com")
	if _, err := f.Create(t.Context(), f.account, User{Email: "x@example.com"}); !errors.As(err, new(*LimitError)) {
		t.Errorf("at the limit again: %v", err)
	}
	f.limitUsers(t, 0)
	f.create(t, "x@example.com")
	f.limitUsers(t, 2) // below what there is: nobody is deleted
	if _, err := f.Create(t.Context(), f.account, User{Email: "y@example.com"}); !errors.As(err, new(*LimitError)) {
		t.Errorf("past a lowered limit: %v", err)
	}
	f.limitUsers(t, 7)
	f.create(t, "y@example.com")
}

// TestAccountChange: what an operator sets stays, and a name or limit that makes no sense
// is refused.
func TestAccountChange(t *testing.T) {
	f := newFixture(t)
	account, err := f.Account(t.Context(), f.account)
	apptest.Check(t, err)
	name, plan, suspended := "Acme", "pro", true
	account, err = f.UpdateAccount(t.Context(), account, AccountChange{Name: &name, Plan: &plan, Suspended: &suspended, Limits: &Limits{1, 2, 3, 4}})
	apptest.Check(t, err)
	read, err := f.Account(t.Context(), f.account)
	if err != nil || read != account || read.Name != "Acme" || read.Plan != "pro" || !read.Suspended || read.Limits != (Limits{1, 2, 3, 4}) {
		t.Errorf("got %+v, %v", read, err)
	}
	long := string(make([]byte, 300))
	for _, change := range []AccountChange{{Limits: &Limits{Users: -1}}, {Limits: &Limits{Streams: MaxLimit + 1}}, {Name: &long}} {
		if _, err := f.UpdateAccount(t.Context(), account, change); err == nil {
			t.Errorf("%+v was accepted", change)
		}
	}
}
