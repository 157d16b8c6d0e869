package directory_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	. "porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// Groups are replaced as a whole, each name counts once whatever its case, and a user is
// in the group by any spelling of its name.
func TestGroups(t *testing.T) {
	f := newFixture(t)
	u := f.create(t, "ann@example.com")
	for _, row := range []struct{ set, want []string }{
		{[]string{"Support", "2nd Level", "SUPPORT"}, []string{"Support", "2nd Level"}},
		{[]string{"2nd Level"}, []string{"2nd Level"}},
		{nil, nil},
		{[]string{"Zu\u0308rich"}, []string{"Zu\u0308rich"}}, // decomposed
	} {
		u.Groups = row.set
		got, err := f.Update(t.Context(), f.account, u)
		if err != nil || !slices.Equal(got.Groups, row.want) {
			t.Fatalf("%q is stored as %q, %v; want %q", row.set, got.Groups, err, row.want)
		}
		u = got
	}
	if !u.InGroup(GroupKey("ZÜRICH")) || u.InGroup(GroupKey("Zurich")) || u.InGroup("") {
		t.Errorf("the groups are %q", u.Groups)
	}
}

func TestTooManyGroups(t *testing.T) {
	f := newFixture(t)
	u := f.create(t, "ann@example.com")
	for n := range MaxGroups {
		u.Groups = append(u.Groups, fmt.Sprint(n))
	}
	u, err := f.Update(t.Context(), f.account, u)
	if err != nil {
		t.Fatal(err)
	}
	u.Groups = append(slices.Clone(u.Groups), "one more")
	if _, err := f.Update(t.Context(), f.account, u); !errors.As(err, new(*presence.LimitError)) {
		t.Errorf("33 groups: %v, want a LimitError", err)
	}
}

// A document of an older server has no groups.
func TestUserWithoutGroupsIsRead(t *testing.T) {
	f := newFixture(t)
	id := presence.UserID(NewID())
	value := `{"v":1,"email":"ann@example.com","department":"Support","active":true,"created":"2026-03-01T09:00:00Z"}`
	doc := store.Doc{Key: store.Key{Collection: "user", Key: string(id)}, Value: []byte(value)}
	if err := f.docs.Write(t.Context(), f.account, doc); err != nil {
		t.Fatal(err)
	}
	u, err := f.User(t.Context(), f.account, id)
	if err != nil || u.Department != "Support" || len(u.Groups) != 0 {
		t.Errorf("%+v, %v", u, err)
	}
}
