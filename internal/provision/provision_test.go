package provision_test

import (
	"slices"
	"testing"

	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/provision"
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
