package provision_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/provision"
	"porchlight.dev/porchlight/internal/store"
)

// TestOwnerOfSubscriptions: the subscriptions of a user learn of a deactivation and of an
// activation after the directory has it, also when the request is repeated.
func TestOwnerOfSubscriptions(t *testing.T) {
	f := newFixture(t)
	u := f.user(t, "ada@example.com")
	f.subscriptions.active = nil
	for _, active := range []bool{false, false, true} {
		_, err := f.Update(t.Context(), f.by, u.ID, &provision.Change{Active: &active})
		apptest.Check(t, err)
	}
	if want := []bool{false, false, true}; !slices.Equal(f.subscriptions.active, want) {
		t.Errorf("noticed %v, want %v", f.subscriptions.active, want)
	}
}

// TestLogProfilesOnce: of nodes that find the same change unlogged when they start, one logs
// it. A change whose request logs it meanwhile is not logged again.
func TestLogProfilesOnce(t *testing.T) {
	f := newFixture(t)
	change := func(groups ...string) presence.UserID {
		u := f.user(t, groups[0]+"@example.com")
		u.Groups = groups
		_, err := f.Directory.Update(t.Context(), f.by.Account, u)
		apptest.Check(t, err)
		return u.ID
	}
	none := func() {}
	u := change("Sales")
	apptest.Check(t, f.LogProfiles(t.Context(), func() { apptest.Check(t, f.LogProfiles(t.Context(), none)) }))
	if n := f.loggedGroups(t, u); n != 1 {
		t.Errorf("logged %d times", n)
	}
	u = change("Support")
	apptest.Check(t, f.LogProfiles(t.Context(), func() { // another node claims it, and dies
		found, err := f.Directory.Unlogged(t.Context(), f.by.Account, u)
		apptest.Check(t, err)
		if _, ok, err := f.Directory.ClaimUnlogged(t.Context(), f.by.Account, found); !ok || err != nil {
			t.Errorf("claimed: %t, %v", ok, err)
		}
	}))
	if n := f.loggedGroups(t, u); n != 0 {
		t.Errorf("logged %d times although another node had claimed it", n)
	}
	apptest.Check(t, f.LogProfiles(t.Context(), none))
	if n := f.loggedGroups(t, u); n != 1 {
		t.Errorf("logged %d times after the next start", n)
	}
}

// behind is a replica that has no record yet. Strong reads wait until it has.
type behind struct{ provision.Records }

func (b behind) Read(ctx context.Context, us []store.User, fresh store.Freshness) ([]store.Record, store.Cursor, error) {
	if !fresh.Strong {
		return nil, store.Cursor{}, nil
	}
	return b.Records.Read(ctx, us, fresh)
}

// TestCreatedOnAnotherNode: who creates a user that another node has just created learns that
// the address is taken, although the replica is behind.
func TestCreatedOnAnotherNode(t *testing.T) {
	f := newFixture(t)
	f.user(t, "ada@example.com")
	f.Records = behind{f.Records}
	if u, err := f.Create(t.Context(), f.by, directory.User{Email: "ada@example.com"}); !errors.Is(err, directory.ErrEmailTaken) {
		t.Errorf("created %+v, %v", u, err)
	}
}
