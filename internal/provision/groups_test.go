package provision_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/provision"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
)

// events keeps what is recorded.
type events []audit.Event

func (e *events) Record(_ context.Context, _ presence.AccountID, event *audit.Event) error {
	*e = append(*e, *event)
	return nil
}

func (e *events) actions() []string {
	var all []string
	for i := range *e {
		all = append(all, (*e)[i].Action)
	}
	return all
}

// failing is a publisher that fails after some events.
type failing struct {
	provision.Publisher

	mu   sync.Mutex
	left int // events until it fails; negative: it never does; guarded by mu
}

var errPulled = errors.New("the plug was pulled")

func (f *failing) Publish(ctx context.Context, u store.User, actor store.Actor, e presence.Event) (publish.Result, error) {
	f.mu.Lock()
	pulled := f.left == 0
	if !pulled {
		f.left--
	}
	f.mu.Unlock()
	if pulled {
		return publish.Result{}, errPulled
	}
	return f.Publisher.Publish(ctx, u, actor, e)
}

// subscriptions records whether users were active in the directory at each call of OwnerChanged.
type subscriptions struct {
	directory *directory.Directory
	active    []bool
}

func (*subscriptions) DeleteOwner(context.Context, presence.AccountID, presence.UserID) error {
	return nil
}

func (s *subscriptions) OwnerChanged(ctx context.Context, account presence.AccountID, id presence.UserID) error {
	u, err := s.directory.User(ctx, account, id)
	s.active = append(s.active, u.Active)
	return err
}

type fixture struct {
	*provision.Provisioner

	store     store.Store
	by        *provision.By
	publisher *failing
	events    *events

	subscriptions *subscriptions
}

func newFixture(tb testing.TB) *fixture {
	tb.Helper()
	clock := apptest.Noon()
	st := enginetest.Open(tb, clock.Now)
	people := apptest.On(tb, st, clock.Now)
	account, _ := people.Account("owner@example.com")
	known := func(ctx context.Context, u store.User) error {
		_, err := people.Directory.User(ctx, u.Account, u.ID)
		return err
	}
	inner := publish.New(publish.Options{Store: st, Policy: presence.DefaultPolicy(), Known: known, Clock: clock.Now, Log: slog.New(slog.DiscardHandler)})
	f := &fixture{store: st, by: &provision.By{Account: account}, publisher: &failing{Publisher: inner, left: -1}, events: &events{}, subscriptions: &subscriptions{directory: people.Directory}}
	f.Provisioner = &provision.Provisioner{
		Directory: people.Directory, Authority: people.Authority, Publisher: f.publisher, Records: st, Subscriptions: f.subscriptions, Audit: f.events,
	}
	return f
}

func (f *fixture) user(tb testing.TB, email string, groups ...string) directory.User {
	tb.Helper()
	u, err := f.Create(tb.Context(), f.by, directory.User{Email: email, Groups: groups})
	apptest.Check(tb, err)
	return u
}

func (f *fixture) group(tb testing.TB, name string) directory.Group {
	tb.Helper()
	g, err := f.Directory.GroupByName(tb.Context(), f.by.Account, name)
	apptest.Check(tb, err)
	return g
}

func (f *fixture) expectGroups(tb testing.TB, id presence.UserID, want ...string) {
	tb.Helper()
	u, err := f.Directory.User(tb.Context(), f.by.Account, id)
	if err != nil || !slices.Equal(u.Groups, want) {
		tb.Errorf("user %s is in %q, %v; want %q", u.Email, u.Groups, err, want)
	}
}

// loggedGroups is how many changes of groups the log has of a user.
func (f *fixture) loggedGroups(tb testing.TB, id presence.UserID) int {
	tb.Helper()
	history, err := f.store.History(tb.Context(), store.User{Account: f.by.Account, ID: id}, 0, 100)
	apptest.Check(tb, err)
	n := 0
	for i := range history {
		if history[i].By.Cause == store.CauseGroups {
			n++
		}
	}
	return n
}

// A rename that was interrupted at any point is completed by repeating it: every member
// has the new name, also in the log, and the audit log has the change.
func TestRenameGroup(t *testing.T) {
	for _, interrupted := range []int{-1, 0, 2} {
		t.Run(fmt.Sprint("interrupted after ", interrupted), func(t *testing.T) {
			f := newFixture(t)
			var users []directory.User
			for n := range 5 {
				users = append(users, f.user(t, fmt.Sprintf("u%d@example.com", n), "Before", "Support", "After"))
			}
			bystander := f.user(t, "by@example.com", "Supporters")
			g, name := f.group(t, "support"), "Help desk"
			*f.events = nil
			if f.publisher.left = interrupted; interrupted >= 0 {
				if _, err := f.UpdateGroup(t.Context(), f.by, g.ID, &provision.GroupChange{Name: &name}); !errors.Is(err, errPulled) {
					t.Fatalf("the rename was not interrupted: %v", err)
				}
				f.publisher.left = -1
			}
			after, err := f.UpdateGroup(t.Context(), f.by, g.ID, &provision.GroupChange{Name: &name})
			if err != nil || after.Name != name || after.Was != "" || after.ID != g.ID {
				t.Fatalf("%+v, %v", after, err)
			}
			for _, u := range users {
				f.expectGroups(t, u.ID, "Before", "Help desk", "After")
				// A change that was logged as the rename was interrupted may be logged again.
				if n := f.loggedGroups(t, u.ID); n < 1 || n > 2 || n > 1 && interrupted < 0 {
					t.Errorf("the log has %d changes of %s", n, u.Email)
				}
			}
			f.expectGroups(t, bystander.ID, "Supporters")
			if _, err := f.Directory.GroupByName(t.Context(), f.by.Account, "Support"); !errors.Is(err, directory.ErrNoGroup) {
				t.Errorf("the former name: %v", err)
			}
		})
	}
}

// A deletion that was interrupted is completed by repeating it.
func TestDeleteGroup(t *testing.T) {
	f := newFixture(t)
	var users []directory.User
	for n := range 5 {
		users = append(users, f.user(t, fmt.Sprintf("u%d@example.com", n), "Before", "Support"))
	}
	g := f.group(t, "Support")
	*f.events, f.publisher.left = nil, 2
	if err := f.DeleteGroup(t.Context(), f.by, g.ID, nil); !errors.Is(err, errPulled) {
		t.Fatalf("the deletion was not interrupted: %v", err)
	}
	if _, err := f.Directory.Group(t.Context(), f.by.Account, g.ID); err != nil {
		t.Fatalf("the group is gone before its members are: %v", err)
	}
	f.publisher.left = -1
	apptest.Check(t, f.DeleteGroup(t.Context(), f.by, g.ID, nil))
	for _, u := range users {
		f.expectGroups(t, u.ID, "Before")
	}
	if err := f.DeleteGroup(t.Context(), f.by, g.ID, nil); !errors.Is(err, directory.ErrNoGroup) {
		t.Errorf("deleted again: %v", err)
	}
	if got := f.events.actions(); !slices.Equal(got, []string{"group.delete"}) {
		t.Errorf("the audit log has %q", got)
	}
}

func TestMembership(t *testing.T) {
	f := newFixture(t)
	u := f.user(t, "ann@example.com", "Sales")
	*f.events = nil
	g, err := f.CreateGroup(t.Context(), f.by, directory.Group{Name: "Support"})
	apptest.Check(t, err)
	for range 2 {
		apptest.Check(t, f.AddToGroup(t.Context(), f.by, g.ID, u.ID))
	}
	f.expectGroups(t, u.ID, "Sales", "Support")
	for range 2 {
		apptest.Check(t, f.RemoveFromGroup(t.Context(), f.by, g.ID, u.ID))
	}
	f.expectGroups(t, u.ID, "Sales")
	if got := f.events.actions(); !slices.Equal(got, []string{"group.create", "user.update", "user.update"}) {
		t.Errorf("the audit log has %q", got)
	}
	if err := f.AddToGroup(t.Context(), f.by, g.ID, "nobody"); !errors.Is(err, directory.ErrNoUser) {
		t.Errorf("nobody: %v", err)
	}
	if err := f.AddToGroup(t.Context(), f.by, "none", u.ID); !errors.Is(err, directory.ErrNoGroup) {
		t.Errorf("no group: %v", err)
	}
}
