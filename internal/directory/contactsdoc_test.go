package directory

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
)

// maxContacts returns the largest contacts that a user can have, after many changes.
func maxContacts() Contacts {
	const gen = 40_000_000
	c := Contacts{Gen: gen, Pruned: gen - 3000}
	for i := range MaxContacts {
		group := fmt.Sprintf("%0*d", MaxGroupBytes, i%MaxContactGroups)
		c.List = append(c.List, Contact{presence.UserID(fmt.Sprintf("%022d", i)), group, time.UnixMilli(1_900_000_000_123).UTC(), gen - uint64(i)})
	}
	for i := range MaxRemovedContacts {
		c.Removed = append(c.Removed, RemovedContact{presence.UserID(fmt.Sprintf("%022d", MaxContacts+i)), gen - 2000 + uint64(i)})
	}
	return c
}

// TestMaxContactsFit: contacts at all limits fit into one document.
func TestMaxContactsFit(t *testing.T) {
	c := maxContacts()
	doc := c.doc("owner")
	if n := len(doc.Value); n > store.MaxDocBytes {
		t.Errorf("%d bytes", n)
	}
	got, err := contactsOf(&doc)
	if err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("the decoded contacts differ: %v", err)
	}
}

func TestContactsRejectMalformedDocuments(t *testing.T) {
	for _, c := range []string{
		`{"v":1,"gen":1,"contacts":"a 1 1"}`, `{"v":1,"gen":1,"contacts":"a 1 1 1,"}`, `{"v":1,"gen":1,"contacts":"a 1,"}`,
		`{"v":1,"gen":1,"contacts":" 1 1 0,"}`, `{"v":1,"gen":1,"contacts":"a 1 1 0 0,"}`, `{"v":1,"gen":1,"contacts":","}`,
		`{"v":1,"gen":1,"ended":"a -1,"}`, `{"v":1,"gen":1,"ended":"a 1"}`, `{"v":2,"gen":1}`, `[]`,
	} {
		if got, err := contactsOf(&store.Doc{Value: []byte(c)}); err == nil {
			t.Errorf("%s is decoded as %+v", c, got)
		}
	}
}

func FuzzContactsOf(f *testing.F) {
	f.Add(`{"v":1,"gen":3,"groups":["x"],"contacts":"a 1 1 1,b 2 zz 0,","ended":"c 3,","pruned":1}`)
	f.Fuzz(func(t *testing.T, value string) {
		c, err := contactsOf(&store.Doc{Value: []byte(value)})
		if err != nil {
			return
		}
		for i := range c.List {
			if strings.ContainsAny(string(c.List[i].User), " ,") {
				t.Fatalf("%q", c.List[i].User)
			}
		}
	})
}

// TestLimitsOfContacts reaches each limit from just below it.
func TestLimitsOfContacts(t *testing.T) {
	clock := func() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }
	st := enginetest.Open(t, clock)
	d := New(st, clock)
	account, err := d.CreateAccount(t.Context(), "Example")
	if err != nil {
		t.Fatal(err)
	}
	var users []presence.UserID
	for i := range 4 {
		u, err := d.Create(t.Context(), account.ID, User{Email: fmt.Sprintf("u%d@example.com", i), Active: true})
		if err != nil {
			t.Fatal(err)
		}
		users = append(users, u.ID)
	}
	owner, ann, ben := users[0], users[1], users[2]
	write := func(c Contacts) {
		t.Helper()
		before, err := d.Contacts(t.Context(), account.ID, owner)
		if err != nil {
			t.Fatal(err)
		}
		c.Version = before.Version
		if err := st.Write(t.Context(), account.ID, c.doc(owner)); err != nil {
			t.Fatal(err)
		}
	}
	expectLimit := func(limit int, err error) {
		t.Helper()
		var e *presence.LimitError
		if !errors.As(err, &e) || e.Limit != limit {
			t.Errorf("got %v, want the limit %d", err, limit)
		}
	}
	set := func(who presence.UserID, group string) error {
		_, err := d.SetContact(t.Context(), account.ID, owner, who, group)
		return err
	}

	c := maxContacts()
	c.List = c.List[:MaxContacts-1]
	write(c)
	expectLimit(MaxContactGroups, set(ann, "one more"))
	if err := set(ann, ""); err != nil {
		t.Error(err)
	}
	expectLimit(MaxContacts, set(ben, ""))
	if err := set(ann, c.List[0].Group); err != nil {
		t.Error(err)
	}
	if err := d.RemoveContact(t.Context(), account.ID, owner, ann); err != nil {
		t.Error(err)
	}
	got, err := d.Contacts(t.Context(), account.ID, owner)
	if err != nil || len(got.Removed) != MaxRemovedContacts || got.Pruned != c.Removed[0].Gen || got.Removed[MaxRemovedContacts-1] != (RemovedContact{ann, got.Gen}) {
		t.Errorf("%d ended, pruned %d, %v", len(got.Removed), got.Pruned, err)
	}

	// With names that JSON escapes, the limit of the document applies first.
	long := maxContacts()
	long.List = long.List[:MaxContacts-1]
	for i := range long.List {
		long.List[i].Group = ""
	}
	long.Removed = nil
	for i := 0; len(long.doc("").Value) < store.MaxDocBytes-6*MaxGroupBytes; i++ {
		long.List[i].Group = strings.Repeat("<", MaxGroupBytes-2) + fmt.Sprintf("%02d", i)
	}
	write(long)
	expectLimit(store.MaxDocBytes, set(ann, strings.Repeat("<", MaxGroupBytes)))

	// Visibility rules that create groups.
	wide := maxContacts()
	wide.List = wide.List[:presence.MaxRules]
	for i := range wide.List {
		wide.List[i].Group = "work"
	}
	write(wide)
	work := Visibility{Everyone: presence.VisibilityOffline, Groups: map[string]presence.Visibility{"work": presence.VisibilityAll}}
	if err := d.SetVisibility(t.Context(), account.ID, owner, work); err != nil {
		t.Error(err)
	}
	expectLimit(presence.MaxRules, set(ann, "work"))
	if err := set(ann, "other"); err != nil {
		t.Error(err)
	}
	work.Watchers = map[presence.UserID]presence.Visibility{ben: presence.VisibilityStatus}
	expectLimit(presence.MaxRules, d.SetVisibility(t.Context(), account.ID, owner, work))
}
