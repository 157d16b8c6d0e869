package oauthapi

import (
	"encoding/base64"
	"net/url"
	"testing"
	"unicode/utf8"
)

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
			t.Fatalf("%q:%q parsed as %q:%q, %v", id, secret, gotID, gotSecret, ok)
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
			t.Fatalf("a secret in the query %q was accepted", query)
		}
		for name, values := range form.query {
			if len(values) != 1 || form.body.Has(name) {
				t.Fatalf("%q was accepted twice, in %q and %q", name, query, body)
			}
		}
	})
}
