package directory_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"porchlight.dev/porchlight/internal/apptest"
	. "porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

func TestSearch(t *testing.T) {
	f := newFixture(t)
	for _, u := range []User{
		{Email: "grace@example.com", FirstName: "Grace", LastName: "Mensah", Groups: []string{"Support"}, Active: true, Role: Admin},
		{Email: "g.hopper@example.com", DisplayName: "Amazing Grace", Groups: []string{"Support", "Night"}},
		{Email: "zoe@example.com", FirstName: "Zoë", LastName: "Ångström", Active: true},
	} {
		_, err := f.Create(t.Context(), f.account, u)
		apptest.Check(t, err)
	}
	admin, member, yes, no := Admin, Member, true, false
	for name, c := range map[string]struct {
		filter Filter
		want   []string
	}{
		"everybody":                      {Filter{}, []string{"g.hopper", "grace", "zoe"}},
		"a part of a name":               {Filter{Query: "rac"}, []string{"g.hopper", "grace"}},
		"letter case":                    {Filter{Query: "GRACE"}, []string{"g.hopper", "grace"}},
		"both words":                     {Filter{Query: "  mensah   grace "}, []string{"grace"}},
		"words of the address":           {Filter{Query: "hopper@example"}, []string{"g.hopper"}},
		"a word that one has not":        {Filter{Query: "grace hopper mensah"}, nil},
		"across two fields":              {Filter{Query: "gracegrace"}, nil},
		"letters that are not ASCII":     {Filter{Query: "ZOË ångström"}, []string{"zoe"}},
		"another form of the same":       {Filter{Query: "zoe\u0308"}, []string{"zoe"}},
		"a group":                        {Filter{Group: "night"}, []string{"g.hopper"}},
		"a group that is not there":      {Filter{Group: "Sales"}, nil},
		"administrators":                 {Filter{Role: &admin}, []string{"grace"}},
		"members":                        {Filter{Role: &member}, []string{"g.hopper", "zoe"}},
		"active":                         {Filter{Active: &yes}, []string{"grace", "zoe"}},
		"deactivated":                    {Filter{Active: &no}, []string{"g.hopper"}},
		"an address":                     {Filter{Email: "Grace@Example.com"}, []string{"grace"}},
		"an address and another group":   {Filter{Email: "grace@example.com", Group: "Night"}, nil},
		"an address and an unknown one":  {Filter{Email: "grace@example.com", Group: "Sales"}, nil},
		"an address and its state":       {Filter{Email: "grace@example.com", Active: &yes, Query: "mensah"}, []string{"grace"}},
		"a part of an address":           {Filter{Email: "grace"}, nil},
		"an unknown address":             {Filter{Email: "nobody@example.com"}, nil},
		"a group, a state and two words": {Filter{Group: "Support", Active: &no, Query: "amazing example.com"}, []string{"g.hopper"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, limit := range []int{1, 2, 10} {
				if got := f.search(t, &c.filter, limit); !slices.Equal(got, c.want) {
					t.Errorf("in pages of %d: %q, want %q", limit, got, c.want)
				}
			}
		})
	}
}

// search is the local parts of the addresses that a search finds, sorted.
func (f *fixture) search(tb testing.TB, filter *Filter, limit int) (found []string) {
	tb.Helper()
	for after := presence.UserID(""); ; {
		page, next, err := f.Search(tb.Context(), f.account, filter, after, limit)
		if err != nil || len(page) > limit || next != "" && next <= after {
			tb.Fatalf("%d users on a page of %d, next %q after %q: %v", len(page), limit, next, after, err)
		}
		for i := range page {
			found = append(found, page[i].Email[:len(page[i].Email)-len("@example.com")])
		}
		if after = next; after == "" {
			slices.Sort(found)
			return found
		}
	}
}

// manyUsers is a store that lists many users who were never written.
type manyUsers struct {
	store.Store

	n, read int
}

func (m *manyUsers) List(_ context.Context, _ presence.AccountID, _, after string, limit int) ([]store.Doc, error) {
	var docs []store.Doc
	for i := range m.n {
		id := fmt.Sprintf("user%018d", i)
		if id <= after {
			continue
		}
		if len(docs) == limit {
			break
		}
		docs = append(docs, store.Doc{Key: store.Key{Collection: "user", Key: id}, Value: fmt.Appendf(nil, `{"v":1,"email":"u%d@example.com","active":true}`, i)})
	}
	m.read += len(docs)
	return docs, nil
}

// TestSearchIsBounded: a call reads at most 5,000 users, and later ones find the rest.
func TestSearchIsBounded(t *testing.T) {
	docs := &manyUsers{n: 6_000}
	d := New(docs, apptest.Noon().Now)
	rare := &Filter{Query: "u5999@"}
	found, next, err := d.Search(t.Context(), "account", rare, "", 10)
	if err != nil || len(found) != 0 || next == "" || docs.read != 5_000 {
		t.Fatalf("%d users found, %d read, next %q: %v", len(found), docs.read, next, err)
	}
	found, next, err = d.Search(t.Context(), "account", rare, next, 10)
	if err != nil || len(found) != 1 || next != "" || docs.read != 6_000 {
		t.Errorf("%d users found, %d read, next %q: %v", len(found), docs.read, next, err)
	}
	docs.read = 0
	if found, _, err = d.Search(t.Context(), "account", &Filter{}, "", 10); err != nil || len(found) != 10 || docs.read != 11 {
		t.Errorf("without a filter, %d users found and %d read: %v", len(found), docs.read, err)
	}
}

// BenchmarkSearch is one request among 100,000 users, for somebody who is not found: the
// most that a request costs.
func BenchmarkSearch(b *testing.B) {
	f := newFixture(b)
	for n := 0; n < 100_000; n += 1000 {
		batch := make([]*Creation, 1000)
		for i := range batch {
			batch[i] = &Creation{User: User{Email: fmt.Sprintf("user%d@example.com", n+i), FirstName: "Grace", LastName: "Mensah", DisplayName: "Grace Mensah", Department: "Sales", Active: true}}
		}
		apptest.Check(b, f.CreateMany(b.Context(), f.account, batch))
	}
	for b.Loop() {
		_, _, err := f.Search(b.Context(), f.account, &Filter{Query: "nobody"}, "", 100)
		apptest.Check(b, err)
	}
}
