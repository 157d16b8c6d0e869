package form_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"porchlight.dev/porchlight/internal/form"
)

func TestParse(t *testing.T) {
	values, err := form.Parse("a=1&b=%C3%A9&a=+x")
	if err != nil || fmt.Sprint(values) != "map[a:[1  x] b:[é]]" {
		t.Errorf("got %v, %v", values, err)
	}
	for text, want := range map[string]error{
		"":                                     nil,
		"a" + strings.Repeat("&a=1", 99):       nil,
		"a" + strings.Repeat("&a=1", 100):      form.ErrTooMany,
		strings.Repeat("&", 100):               form.ErrTooMany,
		strings.Repeat("%zz&", 100):            form.ErrTooMany,
		"a=%zz":                                form.ErrSyntax,
		"a;b":                                  form.ErrSyntax,
		"a=%ff":                                form.ErrText,
		"%ff=a":                                form.ErrText,
		"a=1&a=%c3":                            form.ErrText,
		"a=\xff":                               form.ErrText,
		"a=" + strings.Repeat("x", 1<<16-2):    nil,
		"users=" + strings.Repeat("a,", 5_000): nil,
	} {
		if _, err := form.Parse(text); !errors.Is(err, want) {
			t.Errorf("%.40q: got %v, want %v", text, err, want)
		}
	}
}

// TestMediaType: repeated headers or parameters are refused, because a proxy could
// interpret them differently.
func TestMediaType(t *testing.T) {
	const bad = "cannot be parsed"
	for _, c := range []struct {
		lines     []string
		kind, why string
	}{
		{nil, "", ""},
		{[]string{""}, "", ""},
		{[]string{"application/json"}, "application/json", ""},
		{[]string{"APPLICATION/Json ; Charset=\"UTF-8\""}, "application/json", ""},
		{[]string{"application/json;charset=utf8"}, "application/json", ""},
		{[]string{"text/plain; charset=US-ASCII; x=y"}, "text/plain", ""},
		{[]string{"multipart/form-data; boundary=b; charset=Utf-8"}, "multipart/form-data", ""},
		{[]string{"application/json; charset="}, "", bad},
		{[]string{"application/json; charset=utf-16"}, "", `the charset "utf-16" is not supported; send the body in UTF-8`},
		{[]string{"application/json; charset=\"latin1\""}, "", `the charset "latin1" is not supported`},
		{[]string{"application/json; charset=" + strings.Repeat("x", 200)}, "", `…" is not supported`},
		{[]string{"application/json; charset=utf-8; charset=utf-16"}, "", bad},
		{[]string{"application/json, application/json"}, "", bad},
		{[]string{"application/json", "application/json"}, "", "more than one Content-Type header"},
		{[]string{"application/json", ""}, "", "more than one Content-Type header"},
		{[]string{"a/b/c"}, "", `the Content-Type "a/b/c" cannot be parsed`},
	} {
		kind, _, err := form.MediaType(http.Header{"Content-Type": c.lines})
		if kind != c.kind || (err == nil) != (c.why == "") || err != nil && !strings.Contains(err.Error(), c.why) {
			t.Errorf("%q: got %q, %v; want %q, %q", c.lines, kind, err, c.kind, c.why)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"a=1&b=2", "a=%zz", "a;b", "%ff", "&&&", "a=1&a=1", "\ufeffa=1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := form.Parse(text)
		want, bad := url.ParseQuery(text)
		tooMany := len(strings.Split(text, "&")) > form.MaxParameters
		isText := utf8.ValidString(fmt.Sprint(want))
		if refused := bad != nil || tooMany || !isText; (err != nil) != refused {
			t.Fatalf("%q: %v", text, err)
		}
		if err == nil && got.Encode() != want.Encode() {
			t.Fatalf("%q: got %v, want %v", text, got, want)
		}
	})
}
