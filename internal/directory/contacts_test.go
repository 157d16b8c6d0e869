package directory_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	. "porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

func (f *fixture) contacts(tb testing.TB, owner presence.UserID) Contacts {
	tb.Helper()
	c, err := f.Contacts(tb.Context(), f.account, owner)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func (f *fixture) addContact(tb testing.TB, owner, who presence.UserID, group string) Contact {
	tb.Helper()
	c, err := f.SetContact(tb.Context(), f.account, owner, who, group)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// TestContacts covers the life of a contact: readers find additions and removals by the
// generation numbers.
func TestContacts(t *testing.T) {
	f := newFixture(t)
	ann, ben, cyd := f.create(t, "ann@example.com").ID, f.create(t, "ben@example.com").ID, f.create(t, "cyd@example.com").ID
	var notified []presence.UserID
	f.OnContactsChange(func(account presence.AccountID, owner presence.UserID) {
		if account != f.account {
			t.Errorf("notified of the account %s", account)
		}
		notified = append(notified, owner)
	})
	if c := f.contacts(t, ann); c.Gen != 0 || len(c.List) != 0 || c.Version != "" {
		t.Errorf("%+v", c)
	}
	first := f.addContact(t, ann, ben, "Work")
	if first != (Contact{ben, "Work", f.clock.Now(), 1}) {
		t.Errorf("%+v", first)
	}
	f.clock.Advance(time.Hour)
	f.addContact(t, ann, cyd, "")
	moved := f.addContact(t, ann, ben, "Friends")
	if moved.Group = "Work"; moved != first {
		t.Errorf("the moved contact is %+v", moved)
	}
	f.addContact(t, ann, ben, "Friends") // changes nothing
	c := f.contacts(t, ann)
	if c.Gen != 3 || len(c.List) != 2 || c.List[0].User > c.List[1].User || len(notified) != 3 {
		t.Errorf("%+v, notified %d times", c, len(notified))
	}
	if err := f.RemoveContact(t.Context(), f.account, ann, ben); err != nil {
		t.Fatal(err)
	}
	c = f.contacts(t, ann)
	if c.Gen != 4 || len(c.List) != 1 || c.List[0].User != cyd || len(c.Removed) != 1 || c.Removed[0] != (RemovedContact{ben, 4}) {
		t.Errorf("%+v", c)
	}
	if err := f.RemoveContact(t.Context(), f.account, ann, ben); !errors.Is(err, ErrNoContact) {
		t.Errorf("removing the contact twice: %v", err)
	}
	if again := f.addContact(t, ann, ben, ""); again.Gen != 5 || len(f.contacts(t, ann).Removed) != 0 {
		t.Errorf("%+v", again)
	}
	if len(notified) != 5 {
		t.Errorf("notified of %v", notified)
	}

	f.addContact(t, ben, ann, "")
	all, err := f.ContactsOf(t.Context(), f.account, []presence.UserID{ann, ben, cyd, "no\x00body"})
	if err != nil || len(all) != 2 || all[ann].Gen != 5 || all[ben].Gen != 1 {
		t.Errorf("%+v, %v", all, err)
	}

	// A deleted user stays in others' contacts, and has none.
	if err := f.SetVisibility(t.Context(), f.account, ben, Visibility{Everyone: presence.VisibilityStatus}); err != nil {
		t.Fatal(err)
	}
	if err := f.Delete(t.Context(), f.account, ben); err != nil {
		t.Fatal(err)
	}
	if c := f.contacts(t, ben); c.Version != "" {
		t.Errorf("%+v", c)
	}
	if v, err := f.Visibility(t.Context(), f.account, ben); err != nil || v.Everyone != presence.VisibilityAll {
		t.Errorf("%+v, %v", v, err)
	}
	if c := f.contacts(t, ann); len(c.List) != 2 {
		t.Errorf("%+v", c)
	}
	if err := f.RemoveContact(t.Context(), f.account, ann, ben); err != nil {
		t.Error(err)
	}
}

func TestContactsRefuse(t *testing.T) {
	f := newFixture(t)
	ann, ben := f.create(t, "ann@example.com").ID, f.create(t, "ben@example.com").ID
	other := f.newAccount(t, "Other")
	stranger, err := f.Create(t.Context(), other, User{Email: "s@example.net", Active: true})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		owner, contact presence.UserID
		group          string
		field          string // of a FieldError; "": err
		err            error
	}{
		"oneself":                   {ann, ann, "", "contact", nil},
		"a long group":              {ann, ben, strings.Repeat("x", 65), "group", nil},
		"a group with a line break": {ann, ben, "a\nb", "group", nil},
		"invalid UTF-8":             {ann, ben, "\xff", "group", nil},
		"an unknown user":           {ann, "nobody", "", "", ErrNoUser},
		"no id":                     {ann, "", "", "", ErrNoUser},
		"another account's":         {ann, stranger.ID, "", "", ErrNoUser},
		"an unknown owner":          {"nobody", ben, "", "", ErrNoUser},
		"an empty owner":            {"", ben, "", "", ErrNoUser},
	} {
		_, err := f.SetContact(t.Context(), f.account, c.owner, c.contact, c.group)
		if c.field != "" && !isFieldError(err, c.field) || c.err != nil && !errors.Is(err, c.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, owner := range []presence.UserID{"", ann, "nobody"} {
		if err := f.RemoveContact(t.Context(), f.account, owner, ben); !errors.Is(err, ErrNoContact) {
			t.Errorf("%q: %v", owner, err)
		}
	}
	if c := f.contacts(t, ann); c.Version != "" {
		t.Errorf("a refused request changed the contacts: %+v", c)
	}
}

// TestContactsUnderConcurrency: no concurrent write is lost, and each change has its
// own generation.
func TestContactsUnderConcurrency(t *testing.T) {
	f := newFixture(t)
	owner := f.create(t, "owner@example.com").ID
	const writers, each = 8, 5
	var users [writers][each]presence.UserID
	for i := range users {
		for j := range users[i] {
			users[i][j] = f.create(t, fmt.Sprintf("u%d-%d@example.com", i, j)).ID
		}
	}
	until := func(try func() error) {
		for {
			if err := try(); err == nil {
				return
			} else if !errors.Is(err, store.ErrConflict) {
				t.Error(err)
				return
			}
		}
	}
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() {
			for _, who := range users[i] {
				until(func() error {
					_, err := f.SetContact(t.Context(), f.account, owner, who, fmt.Sprint("group ", i))
					return err
				})
			}
			until(func() error { return f.RemoveContact(t.Context(), f.account, owner, users[i][0]) })
		})
	}
	group.Wait()
	c := f.contacts(t, owner)
	if c.Gen != writers*(each+1) || len(c.List) != writers*(each-1) || len(c.Removed) != writers {
		t.Fatalf("%+v", c)
	}
	seen := make(map[uint64]bool)
	for _, x := range c.List {
		seen[x.Gen] = true
	}
	for _, x := range c.Removed {
		seen[x.Gen] = true
	}
	if len(seen) != len(c.List)+len(c.Removed) {
		t.Errorf("two changes have the same generation: %+v", c)
	}
}

func TestVisibility(t *testing.T) {
	f := newFixture(t)
	ann, ben, cyd := f.create(t, "ann@example.com").ID, f.create(t, "ben@example.com").ID, f.create(t, "cyd@example.com").ID
	rules := func() Rules {
		t.Helper()
		r, err := f.Rules(t.Context(), f.account, ann)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := rules(); r.Everyone != presence.VisibilityAll || len(r.Watchers) != 0 || r.UsesGroups {
		t.Errorf("%+v", r)
	}
	declared := Visibility{
		Everyone: presence.VisibilityOffline,
		Groups:   map[string]presence.Visibility{"Work": presence.VisibilityStatus, "Nobody": presence.VisibilityAll},
		Watchers: map[presence.UserID]presence.Visibility{cyd: presence.VisibilityAll},
	}
	if err := f.SetVisibility(t.Context(), f.account, ann, declared); err != nil {
		t.Fatal(err)
	}
	before := rules()
	if before.Everyone != presence.VisibilityOffline || len(before.Watchers) != 1 || before.Watchers[cyd] != presence.VisibilityAll || !before.UsesGroups {
		t.Errorf("%+v", before)
	}
	f.addContact(t, ann, ben, "Work")
	f.addContact(t, ann, cyd, "Work") // a watcher's own rule takes precedence
	after := rules()
	if len(after.Watchers) != 2 || after.Watchers[ben] != presence.VisibilityStatus || after.Watchers[cyd] != presence.VisibilityAll || after.Version == before.Version {
		t.Errorf("%+v", after)
	}
	v, err := f.Visibility(t.Context(), f.account, ann)
	if err != nil || v.Everyone != declared.Everyone || len(v.Groups) != 2 || len(v.Watchers) != 1 {
		t.Errorf("%+v, %v", v, err)
	}
	for range 2 {
		if err := f.RemoveVisibility(t.Context(), f.account, ann); err != nil {
			t.Fatal(err)
		}
	}
	if r := rules(); r.Everyone != presence.VisibilityAll || len(r.Watchers) != 0 || r.Version == after.Version || len(f.contacts(t, ann).List) != 2 {
		t.Errorf("%+v", r)
	}
}

func TestVisibilityRefuses(t *testing.T) {
	f := newFixture(t)
	ann := f.create(t, "ann@example.com").ID
	groups, watchers := make(map[string]presence.Visibility), make(map[presence.UserID]presence.Visibility)
	for i := range presence.MaxRules + 1 {
		watchers[presence.UserID(fmt.Sprint("u", i))] = presence.VisibilityAll
	}
	for i := range MaxContactGroups + 1 {
		groups[fmt.Sprint("g", i)] = presence.VisibilityAll
	}
	one := func(u presence.UserID) map[presence.UserID]presence.Visibility {
		return map[presence.UserID]presence.Visibility{u: presence.VisibilityStatus}
	}
	group := func(name string) map[string]presence.Visibility {
		return map[string]presence.Visibility{name: presence.VisibilityStatus}
	}
	for name, c := range map[string]struct {
		v     Visibility
		field string // "": a limit
	}{
		"groups":        {Visibility{Groups: groups}, ""},
		"watchers":      {Visibility{Watchers: watchers}, ""},
		"no name":       {Visibility{Groups: group("")}, "groups"},
		"a long name":   {Visibility{Groups: group(strings.Repeat("x", 65))}, "groups"},
		"oneself":       {Visibility{Watchers: one(ann)}, "watchers"},
		"unknown user":  {Visibility{Watchers: one("nobody")}, "watchers"},
		"an invalid id": {Visibility{Watchers: one("\x00")}, "watchers"},
	} {
		err := f.SetVisibility(t.Context(), f.account, ann, c.v)
		var limit *presence.LimitError
		if c.field == "" && !errors.As(err, &limit) || c.field != "" && !isFieldError(err, c.field) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := f.SetVisibility(t.Context(), f.account, "nobody", Visibility{}); !errors.Is(err, ErrNoUser) {
		t.Errorf("rules of an unknown user: %v", err)
	}
}

func BenchmarkContactsOf(b *testing.B) {
	f := newFixture(b)
	ann := f.create(b, "ann@example.com").ID
	for i := range 50 {
		f.addContact(b, ann, f.create(b, fmt.Sprintf("u%d@example.com", i)).ID, "Work")
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.ContactsOf(b.Context(), f.account, []presence.UserID{ann}); err != nil {
			b.Fatal(err)
		}
	}
}
