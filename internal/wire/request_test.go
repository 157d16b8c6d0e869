package wire_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/presence"
	. "porchlight.dev/porchlight/internal/wire"
)

// tokens is an Authenticator that accepts one token.
type tokens struct{ good string }

func (t tokens) Authenticate(_ context.Context, token string) (*auth.Principal, error) {
	if token != t.good {
		return nil, auth.ErrInvalidToken
	}
	return &auth.Principal{Account: "acme", App: "app", User: "ann"}, nil
}

func TestPrincipal(t *testing.T) {
	for _, c := range []struct {
		query   string
		headers []string
		err     error
	}{
		{"", []string{"Bearer good"}, nil},
		{"", []string{"bearer good"}, nil},
		{"", []string{"BEARER   good "}, nil},
		{"", nil, auth.ErrNoToken},
		{"", []string{""}, auth.ErrNoToken},
		{"", []string{"Bearer"}, auth.ErrNoToken},
		{"", []string{"Bearer  "}, auth.ErrNoToken},
		{"", []string{"good"}, auth.ErrNoToken},
		{"", []string{"Basic good"}, auth.ErrNoToken},
		{"", []string{"Bearer good", "Bearer good"}, auth.ErrNoToken},
		{"", []string{"Bearer good good"}, auth.ErrInvalidToken},
		{"", []string{"Bearer bad"}, auth.ErrInvalidToken},
		{"?a=b&access_token=good", nil, auth.ErrTokenInQuery},
		{"?access_token=good", []string{"Bearer good"}, auth.ErrTokenInQuery},
	} {
		r := httptest.NewRequest("GET", "/"+c.query, nil)
		for _, header := range c.headers {
			r.Header.Add("Authorization", header)
		}
		p, err := Principal(httptest.NewRecorder(), r, tokens{"good"})
		if !errors.Is(err, c.err) || (p == nil) != (c.err != nil) {
			t.Errorf("%s %q: %v, %v", c.query, c.headers, p, err)
		}
	}
}

// broken is a body whose sender has disconnected.
type broken struct{ io.Reader }

func (b broken) Read(into []byte) (int, error) {
	if n, err := b.Reader.Read(into); err == nil {
		return n, nil
	}
	return 0, io.ErrUnexpectedEOF
}

func TestReadBody(t *testing.T) {
	for _, c := range []struct {
		name    string
		body    io.Reader
		length  int64
		coding  string
		content string
		why     string
	}{
		{"known length", strings.NewReader("12345678"), 8, "", "12345678", ""},
		{"unknown length", strings.NewReader("12345678"), -1, "", "12345678", ""},
		{"identity", strings.NewReader("1"), 1, "Identity", "1", ""},
		{"none", http.NoBody, 0, "", "", ""},
		{"known to be too large", strings.NewReader("123456789"), 9, "", "", "the request body is too large"},
		{"too large", strings.NewReader("123456789"), -1, "", "", "the request body is too large"},
		{"short", strings.NewReader("123"), 8, "", "", "the request body ended early"},
		{"broken", broken{strings.NewReader("123")}, -1, "", "", "the request body could not be read"},
		{"compressed", strings.NewReader("1"), 1, "gzip", "", `the body has the media type "content-encoding gzip"; this route reads bodies that are not compressed`},
	} {
		r := httptest.NewRequest("PUT", "/", c.body)
		r.ContentLength = c.length
		if c.coding != "" {
			r.Header.Set("Content-Encoding", c.coding)
		}
		body, err := ReadBody(httptest.NewRecorder(), r, 8)
		if why := fmt.Sprint(err); string(body) != c.content || why != c.why && (err != nil || c.why != "") {
			t.Errorf("%s: %q, %v", c.name, body, err)
		}
	}
}

func TestMediaType(t *testing.T) {
	for given, want := range map[string]string{
		"": "", "application/json": "application/json", "Application/JSON ; Charset=UTF-8": "application/json",
		"multipart/form-data": "multipart/form-data", "a/b/c": "-", ";": "-", "text/plain; charset=a; charset=b": "-",
	} {
		r := httptest.NewRequest("PUT", "/", nil)
		r.Header.Set("Content-Type", given)
		kind, _, err := MediaType(r)
		refused := new(MediaTypeError)
		if errors.As(err, &refused) != (want == "-") || want != "-" && kind != want {
			t.Errorf("%q: %q, %v", given, kind, err)
		}
	}
}

func conditions(t *testing.T, app presence.AppID, pattern, asked string, headers ...string) (presence.Request, error) {
	t.Helper()
	r := httptest.NewRequest("PUT", "/", nil)
	r.Pattern = pattern
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return Conditions(r, &auth.Principal{App: app}, []byte(asked))
}

func TestConditionsKey(t *testing.T) {
	first, err := conditions(t, "app", "/x", "asked", "Idempotency-Key", "k")
	if err != nil || first.Key == [16]byte{} || first.Body == [16]byte{} {
		t.Fatalf("%+v, %v", first, err)
	}
	for _, c := range []struct {
		app, pattern, asked, key string
		sameKey, sameBody        bool
	}{
		{"app", "/x", "asked", "k", true, true},
		{"app", "/x", "other", "k", true, false},
		{"app", "/y", "asked", "k", true, false},
		{"app", "/x", "asked", "K", false, true},
		{"ap", "/x", "asked", "pk", false, true},
	} {
		got, err := conditions(t, presence.AppID(c.app), c.pattern, c.asked, "Idempotency-Key", c.key)
		if err != nil || (got.Key == first.Key) != c.sameKey || (got.Body == first.Body) != c.sameBody {
			t.Errorf("%+v: %+v, %v", c, got, err)
		}
	}
	none, err := conditions(t, "app", "/x", "asked")
	if err != nil || none.Key != [16]byte{} || none.IfMatch != nil {
		t.Errorf("%+v, %v", none, err)
	}
	for _, headers := range [][]string{
		{"Idempotency-Key", ""}, {"Idempotency-Key", strings.Repeat("k", 129)}, {"Idempotency-Key", "a", "Idempotency-Key", "a"},
	} {
		syntax := new(SyntaxError)
		if _, err := conditions(t, "app", "/x", "asked", headers...); !errors.As(err, &syntax) {
			t.Errorf("%.20q: %v", headers, err)
		}
	}
	if _, err := conditions(t, "app", "/x", "asked", "Idempotency-Key", strings.Repeat("k", MaxKeyBytes)); err != nil {
		t.Error(err)
	}
}

func TestConditionsOfRevisions(t *testing.T) {
	const never, whatever = presence.AnyRevision - 1, presence.AnyRevision
	for _, c := range []struct {
		headers     []string
		match, none []presence.Revision // nil: refused
	}{
		{[]string{"*"}, []presence.Revision{whatever}, []presence.Revision{whatever}},
		{[]string{`"12"`}, []presence.Revision{12}, []presence.Revision{12}},
		{[]string{` "12" , "13"`, `"14"`}, []presence.Revision{12, 13, 14}, []presence.Revision{12, 13, 14}},
		{[]string{`"12-a1_b"`}, []presence.Revision{12}, []presence.Revision{12}},
		{[]string{`W/"12"`}, []presence.Revision{never}, []presence.Revision{12}},
		{[]string{`"abc"`}, []presence.Revision{never}, []presence.Revision{never}},
		{[]string{`"a,b","1"`}, []presence.Revision{never, 1}, []presence.Revision{never, 1}},
		{[]string{`""`}, []presence.Revision{never}, []presence.Revision{never}},
		{[]string{`"18446744073709551615"`}, []presence.Revision{never}, []presence.Revision{never}},
		{[]string{`,"1", ,"2",`}, []presence.Revision{1, 2}, []presence.Revision{1, 2}}, // empty elements
		{[]string{`12`}, nil, nil},
		{[]string{``}, nil, nil},
		{[]string{`,`}, nil, nil},
		{[]string{`"`}, nil, nil},
		{[]string{`W/`}, nil, nil},
		{[]string{`w/"1"`}, nil, nil},
		{[]string{`"1"x`}, nil, nil},
		{[]string{`"1" "2"`}, nil, nil},
		{[]string{"\"\t\""}, nil, nil},
		{[]string{`*,*`}, nil, nil},
		{[]string{`*`, `"1"`}, nil, nil},
	} {
		for name, want := range map[string][]presence.Revision{"If-Match": c.match, "If-None-Match": c.none} {
			var headers []string
			for _, value := range c.headers {
				headers = append(headers, name, value)
			}
			got, err := conditions(t, "app", "/x", "asked", headers...)
			if name == "If-None-Match" {
				got.IfMatch = got.IfNoneMatch
			}
			if (err == nil) != (want != nil) || !slices.Equal(got.IfMatch, want) && want != nil {
				t.Errorf("%s: %q: %v, %v", name, c.headers, got.IfMatch, err)
			}
		}
	}
}

// FuzzReadCondition: any header value is parsed or refused, and a parsed one has at
// least one condition.
func FuzzReadCondition(f *testing.F) {
	for _, seed := range []string{"*", `"1", W/"2"`, `,"a,b" ,`, `W/`, `"`, "\"\xff\""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["If-Match"] = []string{value}
		c, err := ReadCondition(r)
		if err == nil && (reflect.DeepEqual(c, Condition{}) || c.Matched("", false)) {
			t.Errorf("%q is parsed as no condition", value)
		}
	})
}

func TestETag(t *testing.T) {
	for revision, want := range map[presence.Revision]string{0: `"0"`, 1795348800250001: `"1795348800250001"`, ^presence.Revision(0): `"18446744073709551615"`} {
		if got := ETag(revision); got != want {
			t.Errorf("%d is %s", revision, got)
		}
	}
}

func TestUserRef(t *testing.T) {
	for value, want := range map[string]string{
		"me": "me", "ann@example.com": "ann@example.com", "ann%40example.com": "ann@example.com",
		"ann%2Bx%40example.com": "ann+x@example.com", "ann+x@example.com": "ann+x@example.com", "100%": "100%", "a%40%zz": "a%40%zz",
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.SetPathValue("user", value)
		if got := UserRef(r, "user"); got != want {
			t.Errorf("%q is %q", value, got)
		}
	}
}
