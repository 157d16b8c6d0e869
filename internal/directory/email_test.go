package directory_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	. "porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

const (
	composed   = "b\u00fccher" // bücher, NFC
	decomposed = "bu\u0308cher"
	labels     = "xn--bcher-kva"
)

// TestEquivalentAddresses: addresses are compared in normalised form, with IDNA for
// domains, when they are created and looked up. They are displayed as entered, in NFC.
func TestEquivalentAddresses(t *testing.T) {
	spellings := []string{
		"ada@" + composed + ".example", "ada@" + decomposed + ".example", "ada@" + labels + ".example",
		"ADA@B\u00dcCHER.Example", "Ada@XN--BCHER-KVA.EXAMPLE", "ada@" + composed + "\u3002example",
	}
	for _, given := range spellings {
		f := newFixture(t)
		u := f.create(t, given)
		want := strings.ReplaceAll(given, decomposed, composed)
		if u.Email != want {
			t.Errorf("%q is displayed as %q", given, u.Email)
		}
		for _, other := range spellings {
			f.expectResolved(t, other, u.ID)
			if _, err := f.Create(t.Context(), f.account, User{Email: other}); !errors.Is(err, ErrEmailTaken) {
				t.Errorf("creating %q while %q exists: %v", other, given, err)
			}
		}
	}
	f := newFixture(t)
	u := f.create(t, "jose\u0301@example.com")
	f.expectResolved(t, "JOS\u00e9@example.com", u.ID)
	f.expectNoMatch(t, "jose@example.com")
	f.expectNoMatch(t, "JOS\u00c9@example.com") // case folding is limited to ASCII letters
}

func (f *fixture) expectNoMatch(tb testing.TB, ref string) {
	tb.Helper()
	if id, err := f.Resolve(tb.Context(), f.account, ref); !errors.Is(err, ErrNoUser) {
		tb.Errorf("Resolve(%q) = %q, %v", ref, id, err)
	}
}

// TestCharactersImitatingASCII: a character whose lower case or normal form is an
// ASCII letter is not equal to that letter.
func TestCharactersImitatingASCII(t *testing.T) {
	f := newFixture(t)
	f.create(t, "kim@kilo.example")
	for _, other := range []string{
		"\u212aim@kilo.example", "kim@\u212ailo.example", "k\u0130m@kilo.example", "kim@k\u0130lo.example",
		"\uff4bim@kilo.example", "kim@\uff4bilo.example", "kim@kilo\uff0eexample",
	} {
		f.expectNoMatch(t, other)
		u, err := f.Create(t.Context(), f.account, User{Email: other})
		wrong := new(presence.FieldError)
		switch {
		case err == nil && strings.ContainsRune(other, '\u0130'): // a letter of its own
			f.expectResolved(t, other, u.ID)
		case !errors.As(err, &wrong) || wrong.Field != "email":
			t.Errorf("%q: %v", other, err)
		}
	}
	for _, bad := range []string{
		"a,b@example.com", "a@exam,ple.com", "a b@example.com", "a@xn--\u00fc.example", "a@xn--zzzzzz!.example",
		"a@" + strings.Repeat("\u00fc", 80) + ".example",
	} {
		if _, err := f.Create(t.Context(), f.account, User{Email: bad}); err == nil {
			t.Errorf("%q is accepted", bad)
		}
		f.expectNoMatch(t, bad)
	}
	for _, fine := range []string{"ada+work@example.com", "o'neil@my_host.example", "a@localhost", "a/b%c@example.com"} {
		f.expectResolved(t, fine, f.create(t, fine).ID)
	}
}

// storeOldUser stores a user as an older server did, with the address in lower case as
// its key.
func (f *fixture) storeOldUser(tb testing.TB, id presence.UserID, email string) {
	tb.Helper()
	user, _ := json.Marshal(map[string]any{"v": 1, "email": email, "active": true, "created": f.clock.Now()})
	err := f.docs.Write(tb.Context(), f.account,
		store.Doc{Key: store.Key{Collection: "user", Key: string(id)}, Value: user},
		store.Doc{Key: store.Key{Collection: "email", Key: strings.ToLower(email)}, Value: fmt.Appendf(nil, `{"v":1,"user":%q}`, id)})
	if err != nil {
		tb.Fatal(err)
	}
}

// TestOlderAddressForms: an address that an older server stored in another form is
// found, is in use, and is released when its user is deleted or gets another address.
func TestOlderAddressForms(t *testing.T) {
	for _, row := range []struct {
		stored string
		found  []string
		never  []string
	}{
		{"Ada@B\u00dcCHER.example", []string{"ada@" + composed + ".example", "ada@" + labels + ".example", "ada@" + decomposed + ".example"}, nil},
		{"ada@" + decomposed + ".example", []string{"ada@" + composed + ".example", "ada@" + labels + ".example"}, nil},
		{"ada@" + labels + ".example", []string{"ada@" + composed + ".example"}, nil},
		{"jose\u0301@example.com", []string{"jos\u00e9@example.com"}, []string{"jose@example.com"}},
		{"\u212aim@example.com", []string{"\u212aim@example.com"}, nil},
		{"a,b@example.com", []string{"A,b@example.com"}, nil},
	} {
		t.Run(row.stored, func(t *testing.T) {
			f := newFixture(t)
			f.storeOldUser(t, "old", row.stored)
			f.expectResolved(t, row.stored, "old")
			for _, ref := range row.found {
				f.expectResolved(t, ref, "old")
				if _, err := f.Create(t.Context(), f.account, User{Email: ref}); err == nil {
					t.Errorf("%q is accepted for a second user", ref)
				}
			}
			for _, ref := range row.never {
				f.expectNoMatch(t, ref)
			}
			u, err := f.User(t.Context(), f.account, "old")
			if err != nil {
				t.Fatal(err)
			}
			u.DisplayName = "Renamed" // the address would be refused today
			if u, err = f.Update(t.Context(), f.account, u); err != nil {
				t.Fatal(err)
			}
			u.Email = "new@example.com"
			if _, err = f.Update(t.Context(), f.account, u); err != nil {
				t.Fatal(err)
			}
			f.expectResolved(t, "new@example.com", "old")
			f.expectNoMatch(t, row.stored)
			if len(row.never) == 0 && !strings.ContainsAny(row.stored, ",\u212a") {
				f.expectResolved(t, row.found[0], f.create(t, row.found[0]).ID)
			}
		})
	}
	f := newFixture(t)
	f.storeOldUser(t, "old", "ada@"+decomposed+".example")
	if err := f.Delete(t.Context(), f.account, "old"); err != nil {
		t.Fatal(err)
	}
	f.create(t, "ada@"+composed+".example")
}
