package zoomapi

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
