package provision_test

import (
	"errors"
	"fmt"
	"testing"

	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/provision"
	"porchlight.dev/porchlight/internal/store"
)

// listOf are the users of a list, with an external id and two groups each.
func listOf(from, to int) []*provision.ImportedUser {
	var users []*provision.ImportedUser
	for n := from; n < to; n++ {
		users = append(users, &provision.ImportedUser{Line: n + 2, Email: fmt.Sprintf("user%d@example.com", n), Edit: func(u *directory.User) error {
			u.DisplayName, u.ExternalID, u.Groups = fmt.Sprintf("User %d", n), fmt.Sprintf("x%d", n), []string{"All", fmt.Sprintf("Team %d", n%10)}
			return nil
		}})
	}
	return users
}

func (f *fixture) imports(tb testing.TB, users []*provision.ImportedUser) (provision.ImportCounts, error) {
	tb.Helper()
	run := &provision.Import{Provisioner: f.Provisioner, By: f.by, Fail: func(u *provision.ImportedUser, err error) { tb.Errorf("line %d: %v", u.Line, err) }}
	err := run.Part(tb.Context(), users)
	return run.Counts, err
}

// An import that was stopped between the directory and the records is completed by a
// repeat: all users have a record, and each exists once.
func TestImportIsCompletedByARepeat(t *testing.T) {
	f := newFixture(t)
	const n = 150
	f.publisher.left = 40
	if _, err := f.imports(t, listOf(0, n)); !errors.Is(err, errPulled) {
		t.Fatalf("%v, want that the plug was pulled", err)
	}
	f.publisher.left = -1
	counts, err := f.imports(t, listOf(0, n))
	apptest.Check(t, err)
	if counts != (provision.ImportCounts{Unchanged: n}) {
		t.Errorf("%+v, want all unchanged", counts)
	}
	users, err := f.Directory.Users(t.Context(), f.by.Account, "", 1000)
	apptest.Check(t, err)
	asked := make([]store.User, 0, len(users))
	for _, u := range users {
		if u.ExternalID != "" {
			asked = append(asked, store.User{Account: f.by.Account, ID: u.ID})
		}
	}
	records, _, err := f.store.Read(t.Context(), asked, store.Freshness{})
	apptest.Check(t, err)
	if len(asked) != n || len(records) != n {
		t.Errorf("%d users with %d records, want %d of each", len(asked), len(records), n)
	}
	for i := range records {
		if records[i].State.UserState != presence.UserActive {
			t.Errorf("user %s has state %v", records[i].User.ID, records[i].State.UserState)
		}
	}
}

// BenchmarkImport imports new users into a store that grows, in parts as a server does.
func BenchmarkImport(b *testing.B) {
	f := newFixture(b)
	const part = 2000
	for from := 0; b.Loop(); from += part {
		if counts, err := f.imports(b, listOf(from, from+part)); err != nil || counts.Created != part {
			b.Fatalf("%+v, %v", counts, err)
		}
	}
	b.ReportMetric(float64(b.N)*part/b.Elapsed().Seconds(), "users/s")
}
