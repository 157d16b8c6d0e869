package auth

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"testing"
	"time"
	"unicode/utf8"

	"porchlight.dev/porchlight/internal/presence"
)

func TestFailuresAreBounded(t *testing.T) {
	var f failures
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for i := range 3 * maxFailing {
		f.add(presence.AppID(fmt.Sprint("client", i)), now.Add(time.Duration(i)*time.Millisecond))
	}
	if n := len(f.counts); n > maxFailing {
		t.Errorf("%d clients are counted", n)
	}
}

func TestDigestMatches(t *testing.T) {
	d := digestOf("secret")
	for stored, want := range map[string]bool{
		d.hex():                  true,
		"":                       false,
		d.hex()[:62]:             false,
		d.hex() + "00":           false,
		"x" + d.hex()[1:]:        false,
		digestOf("Secret").hex(): false,
		fmt.Sprintf("%064d", 0):  false,
		fmt.Sprintf("%X", d[:]):  true,
	} {
		if got := d.matches(stored); got != want {
			t.Errorf("matches(%q) = %v, want %v", stored, got, want)
		}
	}
	if (digest{}).matches(d.hex()) {
		t.Error("the zero digest matches")
	}
}

// A full set of places gives up its oldest answer, and no flood of refusals
// touches a principal.
func TestCacheIsBounded(t *testing.T) {
	c := new(tokenCache)
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	known := digest{8: 1}
	c.put(&answer{digest: known, principal: &Principal{}, read: now})
	for i := range 100 {
		c.put(&answer{digest: digest{8: 2, 9: byte(i)}, err: ErrInvalidToken, read: now})
	}
	if c.get(&known, now) == nil {
		t.Error("refusals pushed out a principal")
	}
	for i := range cacheWays {
		c.put(&answer{digest: digest{8: 3, 9: byte(i)}, principal: &Principal{}, read: now.Add(time.Second)})
	}
	if c.get(&known, now) != nil {
		t.Error("the oldest of a full set is still there")
	}
	for i := range cacheWays {
		if c.get(&digest{8: 3, 9: byte(i)}, now.Add(time.Second)) == nil {
			t.Errorf("number %d is not there", i)
		}
	}
}

func FuzzParseBasic(f *testing.F) {
	f.Add("id", "secret", "Basic aWQ6c2VjcmV0")
	f.Add("a:b", "c+d%", "bAsIc  !")
	f.Fuzz(func(t *testing.T, id, secret, header string) {
		parseBasic(header)
		if id == "" || !utf8.ValidString(id) {
			return
		}
		encoded := base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id) + ":" + url.QueryEscape(secret)))
		gotID, gotSecret, ok := parseBasic("basic " + encoded)
		if !ok || gotID != id || gotSecret != secret {
			t.Fatalf("%q:%q read as %q:%q, %v", id, secret, gotID, gotSecret, ok)
		}
	})
}

func FuzzParseForm(f *testing.F) {
	f.Add("a=1", "b=2")
	f.Add("a=1&a=2", "client_secret=%ff")
	f.Fuzz(func(t *testing.T, query, body string) {
		form, err := parseForm(query, body)
		if err != nil {
			return
		}
		if form.query.Has("client_secret") {
			t.Fatalf("a secret in the query %q", query)
		}
		for name, values := range form.query {
			if len(values) != 1 || form.body.Has(name) {
				t.Fatalf("%q is given twice in %q and %q", name, query, body)
			}
		}
	})
}

// WithoutDigest is p as it is told from another, less what names its token.
func (p *Principal) WithoutDigest() Principal {
	plain := *p
	plain.digest = digest{}
	return plain
}
