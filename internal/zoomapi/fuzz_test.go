package zoomapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/wire"
)

// parseReference parses a JSON body with encoding/json, as parseJSON should.
func parseReference(body []byte) (u update, ok bool) {
	dec := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(body, []byte("\ufeff"))))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return u, false
	}
	given := map[string][]json.RawMessage{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return u, false
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return u, false
		}
		name, _ := key.(string)
		given[name] = append(given[name], value)
	}
	if _, err := dec.Token(); err != nil {
		return u, false
	}
	if _, err := dec.Token(); err != io.EOF {
		return u, false
	}
	if len(given["status"]) != 1 || len(given["duration"]) > 1 {
		return u, false
	}
	var word *string
	if json.Unmarshal(given["status"][0], &word) != nil || word == nil {
		return u, false
	}
	if u.status, ok = accepted[*word]; !ok || u.status != presence.DoNotDisturb {
		return u, ok
	}
	minutes := int64(20)
	for _, raw := range given["duration"] {
		text := string(raw)
		if text == "null" {
			continue
		}
		if raw[0] == '"' && json.Unmarshal(raw, &text) != nil {
			return u, false
		}
		var whole bool // WholeNumber has its own fuzz test
		if minutes, whole = wire.WholeNumber([]byte(text)); !whole {
			return u, false
		}
	}
	if minutes < 1 || minutes > 1440 {
		return u, false
	}
	u.lasts = time.Duration(minutes) * time.Minute
	return u, true
}

func FuzzParseJSON(f *testing.F) {
	for _, seed := range []string{
		`{"status":"Away"}`, `{"status":"Do_Not_Disturb","duration":20}`, `{"duration":null,"status":"Do_No_Disturb"}`,
		`{"status":"Do_Not_Disturb","duration":20.0}`, `{"st\u0061tus":"\u0041way","x":[{"y":"\ud83d\ude00"}]}`,
		`{"status":"Away","status":"Busy"}`, `{"status":"Do_Not_Disturb","duration":1441}`, "{\"status\":\"\xff\"}",
		`{"duration":1,"status":"Do_Not_Disturb"} `, `{"a":{"status":"Away"}}`, `[]`, `{"status":"Do_Not_Disturb","duration":-0}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := parseJSON(body)
		if decoded, decodeErr := decodeJSON(body); got != decoded || fmt.Sprint(err) != fmt.Sprint(decodeErr) {
			t.Fatalf("%q: got %+v, %v; the decoder has %+v, %v", body, got, err, decoded, decodeErr)
		}
		if err != nil {
			if answerTo(err).status != 400 || !strings.HasPrefix(err.Error(), "the request body is not") && answerTo(err).field == nil {
				t.Fatalf("%q: %v", body, err)
			}
		}
		expected, ok := parseReference(body)
		if err == nil && (!ok || got != expected) {
			t.Fatalf("%q: got %+v; the reference has %+v, %v", body, got, expected, ok)
		}
		if err != nil && ok && wire.DecodeKnown(body, new(struct{})) == nil {
			t.Fatalf("%q is refused: %v; the reference has %+v", body, err, expected)
		}
	})
}

func FuzzParseURLEncoded(f *testing.F) {
	for _, seed := range []string{
		"status=Away", "status=Do_Not_Disturb&duration=30", "status=Away&status=Away", "s%74atus=Away", "status=%ff", "a;b",
		`{"status":"Away"}`, "status=Do_Not_Disturb&duration=+30", "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := parseURLEncoded(body)
		checkForm(t, got, err)
		form, bad := url.ParseQuery(strings.TrimPrefix(string(body), "\ufeff"))
		if err != nil {
			return
		}
		if bad != nil || len(form["status"]) != 1 || len(form["duration"]) > 1 || accepted[form.Get("status")] != got.status {
			t.Fatalf("%q: got %+v of %v", body, got, form)
		}
		given, _ := strconv.ParseFloat(form.Get("duration"), 64)
		if got.status == presence.DoNotDisturb && form.Get("duration") != "" && given != got.lasts.Minutes() {
			t.Fatalf("%q: got %+v of %v", body, got, form)
		}
	})
}

func FuzzParseMultipart(f *testing.F) {
	part := func(name, value string) string {
		return "--b\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n"
	}
	f.Add([]byte(part("status", "Away")+"--b--\r\n"), "b")
	f.Add([]byte(part("status", "Do_Not_Disturb")+part("duration", "30")+"--b--"), "b")
	f.Add([]byte(part("status", "Away")+part("status", "Away")+"--b--"), "b")
	f.Add([]byte(part("status", "Aw")), "b")
	f.Add([]byte("--b--"), "")
	f.Fuzz(func(t *testing.T, body []byte, boundary string) {
		got, err := parseMultipart(body, boundary)
		checkForm(t, got, err)
		if err != nil {
			return
		}
		form, bad := multipart.NewReader(bytes.NewReader(body), boundary).ReadForm(1 << 20)
		if bad != nil || len(form.Value["status"]) != 1 || accepted[form.Value["status"][0]] != got.status {
			t.Fatalf("%q: got %+v of %v, %v", body, got, form, bad)
		}
	})
}

// checkForm checks that an accepted form is a valid update, and that a refusal gives
// the reason.
func checkForm(t *testing.T, u update, err error) {
	t.Helper()
	if err != nil {
		if a := answerTo(err); a.status != 400 || a.code != 300 || !utf8.ValidString(a.message) {
			t.Fatalf("%v is answered %d", err, a.status)
		}
		return
	}
	long := u.status == presence.DoNotDisturb
	if u.status == presence.Offline || !u.status.Valid() || long != (u.lasts > 0) || u.lasts > presence.MaxDoNotDisturb {
		t.Fatalf("got %+v", u)
	}
}

// FuzzAnswer: every error is one valid JSON object, whatever the path is.
func FuzzAnswer(f *testing.F) {
	f.Add("ann@example.com", "status", "Invalid field.")
	f.Add("\xff\"\\\n{verb}", "\u2028", "</script>")
	f.Fuzz(func(t *testing.T, ref, name, reason string) {
		for _, err := range []error{
			&presence.FieldError{Field: name, Reason: reason}, &wire.SyntaxError{Reason: reason}, &wire.ScopeError{Scopes: []string{name}},
		} {
			a := answerTo(err)
			checkAnswer(t, a.appendTo(nil, http.MethodPut, ref))
		}
		a := answer{status: 404, code: 1001, message: unknownUser}
		checkAnswer(t, a.appendTo(nil, http.MethodPut, ref))
	})
}

func checkAnswer(t *testing.T, body []byte) {
	t.Helper()
	var parsed struct {
		Code    int
		Message *string
	}
	if err := json.Unmarshal(body, &parsed); err != nil || parsed.Code == 0 || parsed.Message == nil || !utf8.Valid(body) {
		t.Fatalf("%q: %v", body, err)
	}
}

// FuzzPageToken: only issued tokens are accepted, and only for the same query.
func FuzzPageToken(f *testing.F) {
	a := &API{Clock: func() time.Time { return time.Unix(1_795_000_000, 0) }}
	p := &auth.Principal{Account: "acme"}
	f.Add(a.pageToken(p, "x", "KDcuGIm1QgePTO8WbOqwIQ"), "x")
	f.Add("====", "")
	f.Fuzz(func(t *testing.T, token, bound string) {
		after, err := a.parsePageToken(p, bound, token)
		if err != nil || token == "" {
			return
		}
		if again := a.pageToken(p, bound, after); len(again) != len(token) {
			t.Errorf("%q is accepted as the token of %q", token, after)
		}
		if _, err := a.parsePageToken(&auth.Principal{Account: "other"}, bound, token); err == nil {
			t.Errorf("%q is accepted in another account", token)
		}
	})
}
