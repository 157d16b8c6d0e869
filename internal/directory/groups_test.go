package directory_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"porchlight.dev/porchlight/internal/apptest"
	. "porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

func (f *fixture) createIn(tb testing.TB, email string, groups ...string) User {
	tb.Helper()
	u, err := f.Create(tb.Context(), f.account, User{Email: email, Active: true, Groups: groups})
	apptest.Check(tb, err)
	return u
}

// groupNames lists all groups, by name.
func (f *fixture) groupNames(tb testing.TB) []string {
	tb.Helper()
	var names []string
	for after := ""; ; {
		page, err := f.Groups(tb.Context(), f.account, after, 2)
		apptest.Check(tb, err)
		if len(page) == 0 {
			slices.Sort(names)
			return names
		}
		for i := range page {
			names, after = append(names, page[i].Name), page[i].ID
		}
	}
}

func (f *fixture) expectGroups(tb testing.TB, want ...string) {
	tb.Helper()
	if got := f.groupNames(tb); !slices.Equal(got, want) {
		tb.Errorf("the groups are %q, want %q", got, want)
	}
}

// A group comes into being with the first user who is given its name, whether the user is
// created or updated.
func TestGroupsOfUsers(t *testing.T) {
	f := newFixture(t)
	ann := f.createIn(t, "ann@example.com", "Support", "Zürich")
	f.createIn(t, "ben@example.com", "SUPPORT")
	f.expectGroups(t, "Support", "Zürich")
	ann.Groups = []string{"Support", "Night shift"}
	if _, err := f.Update(t.Context(), f.account, ann); err != nil {
		t.Fatal(err)
	}
	f.expectGroups(t, "Night shift", "Support", "Zürich") // Zürich remains, without members
	g, err := f.GroupByName(t.Context(), f.account, "sUpPoRt")
	if err != nil || g.Name != "Support" || g.Created != f.clock.Now() {
		t.Errorf("%+v, %v", g, err)
	}
}

// The groups that a user can be given fit into one write.
func TestGroupsAllAtOnce(t *testing.T) {
	f := newFixture(t)
	var names []string
	for n := range MaxGroups {
		names = append(names, fmt.Sprintf("group %02d", n))
	}
	u := f.createIn(t, "ann@example.com", names...)
	f.expectGroups(t, names...)
	for n := range names {
		names[n] = strings.ToUpper(names[n]) + "!"
	}
	u.Email, u.Groups = "anna@example.com", names
	if _, err := f.Update(t.Context(), f.account, u); err != nil {
		t.Fatal(err)
	}
	if got := f.groupNames(t); len(got) != 2*MaxGroups {
		t.Errorf("%d groups: %q", len(got), got)
	}
}

// Of users who are given a new name at the same time, one creates the group.
func TestGroupsConcurrently(t *testing.T) {
	f := newFixture(t)
	var wait sync.WaitGroup
	for n := range 6 {
		wait.Go(func() {
			u := User{Email: fmt.Sprintf("u%d@example.com", n), Groups: []string{"Support"}}
			if _, err := f.Create(t.Context(), f.account, u); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	f.expectGroups(t, "Support")
}

func TestCreateGroup(t *testing.T) {
	f := newFixture(t)
	g, err := f.CreateGroup(t.Context(), f.account, Group{Name: " Support ", ExternalID: "x1"})
	if err != nil || g.Name != "Support" || g.ExternalID != "x1" || g.Version == "" {
		t.Fatalf("%+v, %v", g, err)
	}
	if got, err := f.Group(t.Context(), f.account, g.ID); err != nil || !got.Equal(&g) {
		t.Errorf("%+v, %v", got, err)
	}
	for name, want := range map[string]error{"SUPPORT": ErrGroupTaken, "": &presence.FieldError{}, strings.Repeat("x", 65): &presence.FieldError{}} {
		_, err := f.CreateGroup(t.Context(), f.account, Group{Name: name})
		if invalid := new(*presence.FieldError); !errors.Is(err, want) && (!errors.As(want, invalid) || !errors.As(err, invalid)) {
			t.Errorf("%q: %v", name, err)
		}
	}
	other := f.newAccount(t, "Other")
	if _, err := f.Group(t.Context(), other, g.ID); !errors.Is(err, ErrNoGroup) {
		t.Errorf("another account's group: %v", err)
	}
	if _, err := f.GroupByName(t.Context(), other, "Support"); !errors.Is(err, ErrNoGroup) {
		t.Errorf("another account's group by name: %v", err)
	}
	if _, err := f.CreateGroup(t.Context(), other, Group{Name: "Support"}); err != nil {
		t.Errorf("the name in another account: %v", err)
	}
}

// Groups of a store that an older server wrote exist as names of users alone.
func TestAdoptGroups(t *testing.T) {
	f := newFixture(t)
	const people = 1100 // more than a page
	for n := range people {
		value := fmt.Sprintf(`{"v":1,"email":"u%d@example.com","groups":["All","Team %d"],"active":true,"created":"2026-03-01T09:00:00Z"}`, n, n%70)
		doc := store.Doc{Key: store.Key{Collection: "user", Key: NewID()}, Value: []byte(value)}
		apptest.Check(t, f.docs.Write(t.Context(), f.account, doc))
	}
	g, err := f.GroupByName(t.Context(), f.account, "all")
	apptest.Check(t, err)
	if got := f.groupNames(t); len(got) != 71 {
		t.Errorf("%d groups: %q", len(got), got)
	}
	count := 0
	for after := presence.UserID(""); ; {
		members, next, err := f.Members(t.Context(), f.account, &g, after, 300)
		apptest.Check(t, err)
		count += len(members)
		if after = next; after == "" {
			break
		}
	}
	if count != people {
		t.Errorf("the group has %d members", count)
	}
	again := New(f.docs, f.clock.Now)
	if same, err := again.GroupByName(t.Context(), f.account, "ALL"); err != nil || same.ID != g.ID {
		t.Errorf("after a restart: %+v, %v", same, err)
	}
}

func TestMembersPage(t *testing.T) {
	f := newFixture(t)
	var want []presence.UserID
	for n := range 7 {
		u := f.createIn(t, fmt.Sprintf("u%d@example.com", n), []string{"Support", "Sales"}[n%2])
		if n%2 == 0 {
			want = append(want, u.ID)
		}
	}
	slices.Sort(want)
	g, err := f.GroupByName(t.Context(), f.account, "Support")
	apptest.Check(t, err)
	first, next, err := f.Members(t.Context(), f.account, &g, "", 3)
	if err != nil || len(first) != 3 || next != first[2].ID {
		t.Fatalf("%d members, next %q, %v", len(first), next, err)
	}
	rest, next, err := f.Members(t.Context(), f.account, &g, next, 3)
	if err != nil || len(rest) != 1 || next != "" {
		t.Fatalf("%d members, next %q, %v", len(rest), next, err)
	}
	var got []presence.UserID
	for _, u := range append(first, rest...) {
		got = append(got, u.ID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// While a group is being renamed, users who are given the former name get the new one,
// and the group has members under both.
func TestRenameGroupInSteps(t *testing.T) {
	f := newFixture(t)
	ann := f.createIn(t, "ann@example.com", "Support")
	g, err := f.GroupByName(t.Context(), f.account, "Support")
	apptest.Check(t, err)
	if _, err := f.BeginRename(t.Context(), f.account, g, ""); !errors.As(err, new(*presence.FieldError)) {
		t.Errorf("no name: %v", err)
	}
	renaming, err := f.BeginRename(t.Context(), f.account, g, "Help desk")
	if err != nil || renaming.Name != "Help desk" || renaming.Was != "Support" || renaming.ID != g.ID {
		t.Fatalf("%+v, %v", renaming, err)
	}
	if _, err := f.BeginRename(t.Context(), f.account, g, "Third"); !errors.Is(err, store.ErrConflict) {
		t.Errorf("with an old version: %v", err)
	}
	ben := f.createIn(t, "ben@example.com", "SUPPORT", "Help desk")
	if !slices.Equal(ben.Groups, []string{"Help desk"}) || !renaming.HasMember(&ben) || !renaming.HasMember(&ann) {
		t.Errorf("%q", ben.Groups)
	}
	f.expectGroups(t, "Help desk")
	if _, err := f.CreateGroup(t.Context(), f.account, Group{Name: "Support"}); !errors.Is(err, ErrGroupTaken) {
		t.Errorf("the former name, while members have it: %v", err)
	}
	done, err := f.FinishRename(t.Context(), f.account, g.ID)
	if err != nil || done.Was != "" || done.Name != "Help desk" {
		t.Fatalf("%+v, %v", done, err)
	}
	if _, err := f.CreateGroup(t.Context(), f.account, Group{Name: "Support"}); err != nil {
		t.Errorf("the former name, after the rename: %v", err)
	}
	if _, err := f.BeginRename(t.Context(), f.account, done, "support"); !errors.Is(err, ErrGroupTaken) {
		t.Errorf("a name that is taken: %v", err)
	}
}

// A group that is being deleted takes no new members, and its name is free afterwards.
func TestDeleteGroupInSteps(t *testing.T) {
	f := newFixture(t)
	ann := f.createIn(t, "ann@example.com", "Support")
	g, err := f.GroupByName(t.Context(), f.account, "Support")
	apptest.Check(t, err)
	if g, err = f.BeginDeleteGroup(t.Context(), f.account, g); err != nil || !g.Deleting {
		t.Fatalf("%+v, %v", g, err)
	}
	_, err = f.Create(t.Context(), f.account, User{Email: "ben@example.com", Groups: []string{"support"}})
	if !errors.As(err, new(*presence.FieldError)) {
		t.Errorf("a new member: %v", err)
	}
	ann.DisplayName = "Ann"
	if ann, err = f.Update(t.Context(), f.account, ann); err != nil {
		t.Fatalf("a member's other fields: %v", err)
	}
	ann.Groups = nil
	_, err = f.Update(t.Context(), f.account, ann)
	apptest.Check(t, err)
	apptest.Check(t, f.FinishDeleteGroup(t.Context(), f.account, g.ID))
	f.expectGroups(t)
	if _, err := f.Group(t.Context(), f.account, g.ID); !errors.Is(err, ErrNoGroup) {
		t.Errorf("%v", err)
	}
	f.createIn(t, "ben@example.com", "support")
	f.expectGroups(t, "support")
}
