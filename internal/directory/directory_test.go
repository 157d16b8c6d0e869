package directory_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/apptest"
	. "porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
)

type fixture struct {
	*Directory
	clock   *apptest.Clock
	docs    store.Store
	account presence.AccountID
}

func newFixture(tb testing.TB) *fixture {
	tb.Helper()
	clock := apptest.Noon()
	docs := enginetest.Open(tb, clock.Now)
	f := &fixture{Directory: New(docs, clock.Now), clock: clock, docs: docs}
	f.account = f.newAccount(tb, "Example")
	return f
}

func (f *fixture) newAccount(tb testing.TB, name string) presence.AccountID {
	tb.Helper()
	account, err := f.CreateAccount(tb.Context(), name)
	if err != nil {
		tb.Fatal(err)
	}
	return account.ID
}

func (f *fixture) create(tb testing.TB, email string) User {
	tb.Helper()
	u, err := f.Create(tb.Context(), f.account, User{Email: email, Active: true})
	if err != nil {
		tb.Fatal(err)
	}
	return u
}

func (f *fixture) expectResolved(tb testing.TB, ref string, want presence.UserID) {
	tb.Helper()
	got, err := f.Resolve(tb.Context(), f.account, ref)
	if err != nil || got != want {
		tb.Errorf("Resolve(%q) = %q, %v; want %q", ref, got, err, want)
	}
}

func (f *fixture) expectUnknown(tb testing.TB, ref string) {
	tb.Helper()
	if got, err := f.Resolve(tb.Context(), f.account, ref); !errors.Is(err, ErrNoUser) {
		tb.Errorf("Resolve(%q) = %q, %v; want ErrNoUser", ref, got, err)
	}
}

func TestAccounts(t *testing.T) {
	f := newFixture(t)
	ids := []presence.AccountID{f.account}
	for i := range 4 {
		ids = append(ids, f.newAccount(t, fmt.Sprint("Account ", i)))
	}
	slices.Sort(ids)
	var got []presence.AccountID
	for after := presence.AccountID(""); ; {
		page, err := f.Accounts(t.Context(), after, 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, account := range page {
			got = append(got, account.ID)
		}
		after = page[len(page)-1].ID
	}
	if !slices.Equal(got, ids) {
		t.Errorf("accounts %q, want %q", got, ids)
	}
	account, err := f.Account(t.Context(), f.account)
	want := Account{ID: f.account, Name: "Example", Created: f.clock.Now(), HistoryDays: MaxHistoryDays, Version: account.Version}
	if err != nil || account != want {
		t.Errorf("Account = %+v, %v; want %+v", account, err, want)
	}
	for _, id := range []presence.AccountID{"", "nobody", "a\x00b", presence.AccountID(strings.Repeat("a", 129))} {
		if _, err := f.Account(t.Context(), id); !errors.Is(err, ErrNoAccount) {
			t.Errorf("Account(%q): %v, want ErrNoAccount", id, err)
		}
	}
	if _, err := f.CreateAccount(t.Context(), "two\nlines"); !isFieldError(err, "name") {
		t.Errorf("CreateAccount: %v, want an error about the name", err)
	}
}

func TestOwner(t *testing.T) {
	f := newFixture(t)
	u := f.create(t, "owner@example.com")
	other := f.newAccount(t, "Other")
	inactive := f.create(t, "inactive@example.com")
	inactive.Active = false
	if _, err := f.Update(t.Context(), f.account, inactive); err != nil {
		t.Fatal(err)
	}
	if err := f.SetOwner(t.Context(), f.account, u.ID); err != nil {
		t.Fatal(err)
	}
	if account, err := f.Account(t.Context(), f.account); err != nil || account.Owner != u.ID {
		t.Errorf("Account = %+v, %v; want the owner %s", account, err, u.ID)
	}
	for name, c := range map[string]struct {
		account presence.AccountID
		owner   presence.UserID
		want    error
	}{
		"unknown user":            {f.account, "nobody", ErrNoUser},
		"no user":                 {f.account, "", ErrNoUser},
		"user of another account": {other, u.ID, ErrNoUser},
		"unknown account":         {"nobody", u.ID, ErrNoAccount},
		"deactivated user":        {f.account, inactive.ID, presence.ErrDeactivated},
	} {
		if err := f.SetOwner(t.Context(), c.account, c.owner); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestIDs(t *testing.T) {
	seen := make(map[string]bool)
	for range 2000 {
		id := NewID()
		if len(id) != 22 || strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" || id[0] == '-' {
			t.Fatalf("id %q", id)
		}
		if seen[id] {
			t.Fatalf("%q twice", id)
		}
		seen[id] = true
	}
}

func TestCreate(t *testing.T) {
	f := newFixture(t)
	asked := User{
		ID: "mine", Version: "7", Email: "Ann.Lee+x@Example.COM", FirstName: "Ann", LastName: "李", DisplayName: "Ann L.",
		Department: "R&D <1>", Groups: []string{"Support", "2nd level"}, Active: true,
	}
	made, err := f.Create(t.Context(), f.account, asked)
	if err != nil {
		t.Fatal(err)
	}
	want := asked
	want.ID, want.Version, want.Created = made.ID, made.Version, f.clock.Now()
	if !made.Equal(&want) || made.ID == "mine" || made.Version == "" {
		t.Errorf("Create = %+v, want %+v", made, want)
	}
	for _, ref := range []string{string(made.ID), "ann.lee+x@example.com", "ANN.LEE+X@EXAMPLE.COM"} {
		if found, err := f.Find(t.Context(), f.account, ref); err != nil || !found.Equal(&made) {
			t.Errorf("Find(%q) = %+v, %v; want %+v", ref, found, err, made)
		}
	}
	if _, err := f.Create(t.Context(), f.account, User{Email: "ANN.lee+x@example.com"}); !errors.Is(err, ErrEmailTaken) {
		t.Errorf("the same e-mail again: %v, want ErrEmailTaken", err)
	}
	if _, err := f.Create(t.Context(), "nowhere", User{Email: "a@b"}); !errors.Is(err, ErrNoAccount) {
		t.Errorf("in no account: %v, want ErrNoAccount", err)
	}
	if _, err := f.Create(t.Context(), f.newAccount(t, "Other"), asked); err != nil {
		t.Errorf("the same e-mail in another account: %v", err)
	}
}

func TestCreateRefuses(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct {
		user  User
		field string
	}{
		{User{}, "email"},
		{User{Email: "ann"}, "email"},
		{User{Email: "@example.com"}, "email"},
		{User{Email: "ann@"}, "email"},
		{User{Email: "ann@b@c"}, "email"},
		{User{Email: " ann@example.com"}, "email"},
		{User{Email: "ann@example.com\n"}, "email"},
		{User{Email: "an\u00a0n@example.com"}, "email"},
		{User{Email: "an\u200bn@example.com"}, "email"},
		{User{Email: "an\x00n@example.com"}, "email"},
		{User{Email: "an\xffn@example.com"}, "email"},
		{User{Email: "an\ufffdn@example.com"}, "email"},
		{User{Email: strings.Repeat("a", 250) + "@b.de"}, "email"},
		{User{Email: "a@b", FirstName: "a\nb"}, "first_name"},
		{User{Email: "a@b", LastName: "\xff"}, "last_name"},
		{User{Email: "a@b", DisplayName: strings.Repeat("a", 257)}, "display_name"},
		{User{Email: "a@b", Department: "a\u2028b"}, "department"},
		{User{Email: "a@b", Groups: []string{"a", ""}}, "groups[1]"},
		{User{Email: "a@b", Groups: []string{"a\nb"}}, "groups[0]"},
		{User{Email: "a@b", Groups: []string{strings.Repeat("a", 65)}}, "groups[0]"},
	} {
		if _, err := f.Create(t.Context(), f.account, c.user); !isFieldError(err, c.field) {
			t.Errorf("%+v: %v, want an error about %s", c.user, err, c.field)
		}
	}
	if users, err := f.Users(t.Context(), f.account, "", 10); err != nil || len(users) != 0 {
		t.Errorf("users %v, %v; want none", users, err)
	}
	f.create(t, strings.Repeat("Ⱥ", 120)+"@example.com") // lower case is longer
}

func isFieldError(err error, field string) bool {
	var refused *presence.FieldError
	return errors.As(err, &refused) && refused.Field == field
}

func TestResolve(t *testing.T) {
	f := newFixture(t)
	u := f.create(t, "ann@example.com")
	for range 2 { // the second from the cache
		f.expectResolved(t, "ann@example.com", u.ID)
		f.expectResolved(t, "Ann@Example.Com", u.ID)
	}
	f.expectResolved(t, "any id, unchecked", "any id, unchecked")
	for _, ref := range []string{
		"", "bob@example.com", "@", "ann@example.com ", "ann@example.com\x00", "a\nb", "a\xff", strings.Repeat("a", 129),
		strings.Repeat("a", 300) + "@example.com", "ann@example.com@",
	} {
		f.expectUnknown(t, ref)
	}
	other := f.newAccount(t, "Other")
	if id, err := f.Resolve(t.Context(), other, "ann@example.com"); !errors.Is(err, ErrNoUser) {
		t.Errorf("in another account: %q, %v; want ErrNoUser", id, err)
	}
	if _, err := f.User(t.Context(), other, u.ID); !errors.Is(err, ErrNoUser) {
		t.Errorf("User in another account: %v, want ErrNoUser", err)
	}
	if _, err := f.Find(t.Context(), f.account, "nobody"); !errors.Is(err, ErrNoUser) {
		t.Errorf("Find an unknown id: %v, want ErrNoUser", err)
	}
}

func TestUpdate(t *testing.T) {
	f := newFixture(t)
	ann, bob := f.create(t, "ann@example.com"), f.create(t, "bob@example.com")
	f.expectResolved(t, "ann@example.com", ann.ID) // into the cache

	f.clock.Advance(time.Hour)
	changed := ann
	changed.Email, changed.DisplayName, changed.Active, changed.Created = "Lee@example.com", "Lee", false, time.Time{}
	got, err := f.Update(t.Context(), f.account, changed)
	if err != nil {
		t.Fatal(err)
	}
	want := changed
	want.Version, want.Created = got.Version, ann.Created
	if !got.Equal(&want) || got.Version == ann.Version {
		t.Errorf("Update = %+v, want %+v", got, want)
	}
	f.expectUnknown(t, "ann@example.com")
	f.expectResolved(t, "lee@example.com", ann.ID)

	if _, err := f.Update(t.Context(), f.account, ann); !errors.Is(err, store.ErrConflict) {
		t.Errorf("under an old version: %v, want ErrConflict", err)
	}
	taken := got
	taken.Email = "BOB@example.com"
	if _, err := f.Update(t.Context(), f.account, taken); !errors.Is(err, ErrEmailTaken) {
		t.Errorf("to Bob's e-mail: %v, want ErrEmailTaken", err)
	}
	f.expectResolved(t, "bob@example.com", bob.ID)
	got.Email = "LEE@example.com" // only the case differs: the address claim is kept
	if got, err = f.Update(t.Context(), f.account, got); err != nil || got.Email != "LEE@example.com" {
		t.Errorf("change of case: %+v, %v", got, err)
	}
	f.expectResolved(t, "lee@example.com", ann.ID)
	f.create(t, "ann@example.com") // the old address is free
	if _, err := f.Update(t.Context(), f.account, User{ID: "nobody", Email: "x@y"}); !errors.Is(err, ErrNoUser) {
		t.Errorf("of an unknown user: %v, want ErrNoUser", err)
	}
	if _, err := f.Update(t.Context(), f.newAccount(t, "Other"), got); !errors.Is(err, ErrNoUser) {
		t.Errorf("in another account: %v, want ErrNoUser", err)
	}
	if _, err := f.Update(t.Context(), f.account, User{ID: bob.ID, Version: bob.Version}); !isFieldError(err, "email") {
		t.Errorf("without e-mail: %v, want an error about it", err)
	}
}

func TestDelete(t *testing.T) {
	f := newFixture(t)
	u := f.create(t, "ann@example.com")
	f.expectResolved(t, "ann@example.com", u.ID)
	if err := f.Delete(t.Context(), f.newAccount(t, "Other"), u.ID); !errors.Is(err, ErrNoUser) {
		t.Errorf("in another account: %v, want ErrNoUser", err)
	}
	if err := f.Delete(t.Context(), f.account, u.ID); err != nil {
		t.Fatal(err)
	}
	f.expectUnknown(t, "ann@example.com")
	if _, err := f.User(t.Context(), f.account, u.ID); !errors.Is(err, ErrNoUser) {
		t.Errorf("User: %v, want ErrNoUser", err)
	}
	if err := f.Delete(t.Context(), f.account, u.ID); !errors.Is(err, ErrNoUser) {
		t.Errorf("again: %v, want ErrNoUser", err)
	}
	tombstones, err := f.docs.Load(t.Context(), f.account, store.Key{Collection: "burnt", Key: string(u.ID)})
	if err != nil || len(tombstones) != 1 {
		t.Errorf("tombstones %v, %v; want one", tombstones, err)
	}
	if again := f.create(t, "ann@example.com"); again.ID == u.ID {
		t.Error("a deleted user's id was reused")
	}
}

func TestUsersPage(t *testing.T) {
	f := newFixture(t)
	var want []presence.UserID
	for i := range 7 {
		want = append(want, f.create(t, fmt.Sprintf("u%d@example.com", i)).ID)
	}
	if err := f.Delete(t.Context(), f.account, want[3]); err != nil {
		t.Fatal(err)
	}
	want = slices.Delete(want, 3, 4)
	slices.Sort(want)
	var got []presence.UserID
	for after := presence.UserID(""); ; {
		page, err := f.Users(t.Context(), f.account, after, 4)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range page {
			got = append(got, u.ID)
		}
		if len(page) < 4 {
			break
		}
		after = page[len(page)-1].ID
	}
	if !slices.Equal(got, want) {
		t.Errorf("users %q, want %q", got, want)
	}
}

// TestResolveIsBoundedStale: a change by another node is visible after MaxStale.
func TestResolveIsBoundedStale(t *testing.T) {
	f := newFixture(t)
	ann := f.create(t, "ann@example.com")
	f.expectResolved(t, "ann@example.com", ann.ID)
	node := New(f.docs, f.clock.Now)
	if err := node.Delete(t.Context(), f.account, ann.ID); err != nil {
		t.Fatal(err)
	}
	f.clock.Advance(MaxStale - time.Millisecond)
	f.expectResolved(t, "ann@example.com", ann.ID)
	f.clock.Advance(time.Millisecond)
	f.expectUnknown(t, "ann@example.com")
}

func TestUniqueUnderConcurrency(t *testing.T) {
	f := newFixture(t)
	movers := make([]User, 8)
	for i := range movers {
		movers[i] = f.create(t, fmt.Sprintf("mover%d@example.com", i))
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var won []presence.UserID
	contend := func(do func() (User, error)) {
		wg.Go(func() {
			u, err := do()
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won = append(won, u.ID)
			} else if !errors.Is(err, ErrEmailTaken) {
				t.Error(err)
			}
		})
	}
	for _, u := range movers {
		contend(func() (User, error) {
			return f.Create(t.Context(), f.account, User{Email: "One@example.com"})
		})
		contend(func() (User, error) {
			u.Email = "one@EXAMPLE.com"
			return f.Update(t.Context(), f.account, u)
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Fatalf("%d users have the e-mail: %q", len(won), won)
	}
	f.expectResolved(t, "one@example.com", won[0])
}

// TestResolveSeesLocalChangesAtOnce: when an address moves back and forth between
// users, a look-up never returns a user who gave it up before the look-up began.
func TestResolveSeesLocalChangesAtOnce(t *testing.T) {
	f := newFixture(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_, _ = f.Resolve(t.Context(), f.account, "shared@example.com")
				}
			}
		})
	}
	for range 50 {
		u := f.create(t, "Shared@example.com")
		f.expectResolved(t, "shared@example.com", u.ID)
		if err := f.Delete(t.Context(), f.account, u.ID); err != nil {
			t.Fatal(err)
		}
		f.expectUnknown(t, "shared@example.com")
	}
	close(stop)
	wg.Wait()
}

func TestNewerFormatIsRefused(t *testing.T) {
	f := newFixture(t)
	for _, value := range []string{`{"v":2,"email":"a@b"}`, `{"email":"a@b"}`, `{`} {
		id := presence.UserID(NewID())
		doc := store.Doc{Key: store.Key{Collection: "user", Key: string(id)}, Value: []byte(value)}
		if err := f.docs.Write(t.Context(), f.account, doc); err != nil {
			t.Fatal(err)
		}
		if u, err := f.User(t.Context(), f.account, id); err == nil {
			t.Errorf("%s was decoded as %+v", value, u)
		}
	}
}

func FuzzResolve(f *testing.F) {
	fix := newFixture(f)
	fix.create(f, "ann@example.com")
	for _, ref := range []string{"ann@example.com", "ANN@example.com", "abc", "", "@", "a@b@c", "İ@x", "K@x", "a\xff@b"} {
		f.Add(ref)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		id, err := fix.Resolve(t.Context(), fix.account, ref)
		if (err == nil) != (id != "") || err != nil && !errors.Is(err, ErrNoUser) {
			t.Fatalf("Resolve(%q) = %q, %v", ref, id, err)
		}
	})
}

func BenchmarkResolveCached(b *testing.B) {
	f := newFixture(b)
	f.create(b, "ann.lee@example.com")
	for name, ref := range map[string]string{"lower": "ann.lee@example.com", "mixed": "Ann.Lee@example.com", "id": NewID()} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.Resolve(b.Context(), f.account, ref); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
