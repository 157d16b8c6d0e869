package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"porchlight.dev/porchlight/internal/presence"
	. "porchlight.dev/porchlight/internal/wire"
)

func nested(open, end string, n int) string { return strings.Repeat(open, n) + strings.Repeat(end, n) }

func wide(n int) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range n {
		fmt.Fprintf(&b, `"k%d":0,`, i)
	}
	return b.String()
}

func TestCheckJSON(t *testing.T) {
	const (
		notJSON = "the request body is not valid JSON"
		notUTF8 = "the request body is not valid UTF-8"
		half    = "the request body is not valid UTF-8: it escapes half of a surrogate pair"
		deep    = "the request body is nested more than 16 deep"
		more    = "the request body has more after the JSON value"
	)
	for _, c := range []struct{ text, why string }{
		{`{}`, ""},
		{`[]`, ""},
		{`""`, ""},
		{`0`, ""},
		{`null`, ""},
		{` [ true , false , null ] `, ""},
		{`-0.5e-10`, ""},
		{`1E+2`, ""},
		{`[0,-1,10]`, ""},
		{`"\"\\\/\b\f\n\r\t\u00e9\uD83D\ude00é😀"`, ""},
		{`{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}`, ""},
		{"\t\r\n {}", ""},
		{nested("[", "]", 16), ""},
		{nested(`{"a":`, "}", 15)[:75] + "{}" + nested("", "}", 15), ""},
		{nested("[", "]", 17), deep},
		{nested("[", "", 100_000), deep},
		{nested(`{"a":`, "", 17), deep},
		{"", notJSON},
		{" ", notJSON},
		{"{", notJSON},
		{"[1,]", notJSON},
		{`{"a":1,}`, notJSON},
		{`{,}`, notJSON},
		{`{"a"}`, notJSON},
		{`{"a" 1}`, notJSON},
		{`{a:1}`, notJSON},
		{`{1:1}`, notJSON},
		{`[1 2]`, notJSON},
		{`01`, more},
		{`-`, notJSON},
		{`+1`, notJSON},
		{`1.`, notJSON},
		{`.5`, notJSON},
		{`1e`, notJSON},
		{`1e+`, notJSON},
		{`0x10`, more},
		{`NaN`, notJSON},
		{`-Infinity`, notJSON},
		{`nul`, notJSON},
		{`True`, notJSON},
		{`'a'`, notJSON},
		{`"`, notJSON},
		{`"\`, notJSON},
		{`"\x"`, notJSON},
		{`"\u12"`, notJSON},
		{`"\u12g4"`, notJSON},
		{"\"\n\"", notJSON},
		{"\"\x00\"", notJSON},
		{"\ufeff{}", notJSON},
		{"{}\x00", more},
		{"{}{}", more},
		{"{} x", more},
		{"// c\n{}", notJSON},
		{"\"\xff\"", notUTF8},
		{"\"\xc3\"", notUTF8},
		{"{\"\xed\xa0\x80\":1}", notUTF8},
		{"\"\xf4\x90\x80\x80\"", notUTF8},
		{`"\ud83d"`, half},
		{`"\ude00\ude00"`, half},
		{`"\ude00"`, half},
		{`"\ud83d\ud83d"`, half},
		{`"\ud83dx"`, half},
		{`"\ud83d\n"`, half},
		{`{"a":1,"a":1}`, "a is given more than once"},
		{`[{"b":{"a":1,"\u0061":1}}]`, "a is given more than once"},
		{`{"":1,"":1}`, " is given more than once"},
		{wide(8) + `"k8":0}`, ""},
		{wide(8) + `"k7":0}`, "k7 is given more than once"},
		{wide(9) + `"k8":0}`, "k8 is given more than once"},
		{wide(1000) + `"k999":0}`, "k999 is given more than once"},
		{wide(1000) + `"k1000":0}`, ""},
	} {
		err := CheckJSON([]byte(c.text))
		if got := fmt.Sprint(err); got != c.why && (err != nil || c.why != "") {
			t.Errorf("%.40q: got %q, want %q", c.text, got, c.why)
		}
	}
}

func TestMembers(t *testing.T) {
	var got []string
	note := func(key, value []byte) { got = append(got, string(key)+" "+string(value)) }
	err := Members([]byte(` { "a" : [ 1 , 2 ] , "\u0062\n" : "\"x" , "a" : { } } `), note)
	if want := "a [ 1 , 2 ]|b\n \"\\\"x\"|a { }"; err != nil || strings.Join(got, "|") != want {
		t.Errorf("got %q, %v", got, err)
	}
	for _, text := range []string{``, `[]`, `{"a":1`, `{"a":1} 2`, `"a"`} {
		if Members([]byte(text), note) == nil {
			t.Errorf("%q is accepted", text)
		}
	}
	for value, want := range map[string]string{`"a\u00e9\ud83d\ude00\/\\"`: "aé😀/\\", `""`: "", `1`: "-", `null`: "-", `[]`: "-"} {
		text, ok := Unquote([]byte(value))
		if ok != (want != "-") || ok && string(text) != want {
			t.Errorf("%s is %q, %v", value, text, ok)
		}
	}
}

type colour struct{ name string }

func (c *colour) UnmarshalText(text []byte) error {
	if c.name = string(text); c.name == "beige" {
		return errors.New("no such colour")
	}
	return nil
}

type common struct {
	Note string `json:"note"`
}

type request struct {
	common
	Status   presence.Status   `json:"status"`
	Seconds  *int              `json:"seconds"`
	Small    uint8             `json:"small,omitempty"`
	Until    time.Time         `json:"until"`
	Later    *time.Time        `json:"later"`
	On       bool              `json:"on"`
	Share    float64           `json:"share"`
	Users    []string          `json:"users"`
	Colour   colour            `json:"colour"`
	Labels   map[string]string `json:"labels"`
	Nested   *common           `json:"nested"`
	Many     []common          `json:"many"`
	Raw      json.RawMessage   `json:"raw"`
	Any      any               `json:"any"`
	Skipped  string            `json:"-"`
	Untagged string
}

func TestReadJSONFields(t *testing.T) {
	for _, c := range []struct{ body, why string }{
		{`{}`, ""},
		{`{"note":"n","status":"busy","seconds":5,"small":255,"until":"2026-01-02T15:04:05Z","on":true,"share":0.5}`, ""},
		{`{"users":["a","b"],"colour":"red","labels":{"a":"b"},"nested":{"note":"n"},"many":[{},{"note":"n"}],"raw":[1],"any":{"x":1}}`, ""},
		{`{"seconds":null,"users":null,"labels":null,"nested":null,"many":null,"raw":null,"any":null,"until":null,"later":null}`, ""},
		{`{"nope":1}`, "nope is not known here"},
		{`{"Note":"n"}`, "Note is not known here"},
		{`{"untagged":"n"}`, "untagged is not known here"},
		{`{"-":"n"}`, "- is not known here"},
		{`{"Skipped":"n"}`, "Skipped is not known here"},
		{`{"nested":{"nope":1}}`, "nested.nope is not known here"},
		{`{"many":[{},{"nope":1}]}`, "many[1].nope is not known here"},
		{`{"` + strings.Repeat("x", 65) + `":1}`, strings.Repeat("x", 64) + "… is not known here"},
		{`{"note":1}`, "note must be a string"},
		{`{"note":null}`, "note must be a string"},
		{`{"note":"a","note":"b"}`, "note is given more than once"},
		{`{"status":"Busy"}`, `status cannot be read: "Busy" is not a status`},
		{`{"status":1}`, "status must be a string"},
		{`{"status":null}`, "status must be a string"},
		{`{"colour":"beige"}`, "colour cannot be read: no such colour"},
		{`{"seconds":"5"}`, "seconds must be a whole number"},
		{`{"seconds":5.0}`, "seconds must be a whole number"},
		{`{"seconds":5e0}`, "seconds must be a whole number"},
		{`{"seconds":9223372036854775808}`, "seconds must be a whole number"},
		{`{"small":-1}`, "small must be a whole number of at least 0"},
		{`{"small":256}`, "small must be a whole number of at least 0"},
		{`{"on":1}`, "on must be true or false"},
		{`{"on":null}`, "on must be true or false"},
		{`{"share":"1"}`, "share must be a number"},
		{`{"share":1e999}`, "share must be a number"},
		{`{"until":"tomorrow"}`, `until must be a time as in "2026-01-02T15:04:05Z"`},
		{`{"until":5}`, `until must be a time as in "2026-01-02T15:04:05Z"`},
		{`{"later":"x"}`, `later must be a time as in "2026-01-02T15:04:05Z"`},
		{`{"users":"a"}`, "users must be an array"},
		{`{"users":{"a":"b"}}`, "users must be an array"},
		{`{"users":["a",1]}`, "users[1] must be a string"},
		{`{"users":["a",null]}`, "users[1] must be a string"},
		{`{"labels":[]}`, "labels must be an object"},
		{`{"labels":{"a":1}}`, "labels.a must be a string"},
		{`{"nested":[]}`, "nested must be an object"},
		{`{"many":[1]}`, "many[0] must be an object"},
	} {
		var into request
		err := read("application/json", c.body, &into)
		if got := fmt.Sprint(err); got != c.why && (err != nil || c.why != "") {
			t.Errorf("%s: got %q, want %q", c.body, got, c.why)
		}
		var field *presence.FieldError
		if err != nil && !errors.As(err, &field) {
			t.Errorf("%s: %T", c.body, err)
		}
	}
}

func read(kind, body string, into any) error {
	r := httptest.NewRequest("POST", "/", strings.NewReader(body))
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	return ReadJSON(httptest.NewRecorder(), r, 200, into)
}

func TestReadJSONBodies(t *testing.T) {
	const object = "the request body must be a JSON object"
	for _, c := range []struct{ kind, body, why string }{
		{"application/json", `{"note":"n"}`, ""},
		{"application/json;charset=utf-8", `{"note":"n"}`, ""},
		{"Application/JSON; Charset=\"UTF-8\"", `{"note":"n"}`, ""},
		{"application/json; charset=utf-16", `{}`, `the body has the media type "application/json; charset=utf-16"; this route reads application/json`},
		{"application/json-patch+json", `{}`, `the body has the media type "application/json-patch+json"; this route reads application/json`},
		{"text/json", `{}`, `the body has the media type "text/json"; this route reads application/json`},
		{"", `{}`, `the body has the media type ""; this route reads application/json`},
		{"application/json", ``, object},
		{"application/json", " \n", object},
		{"application/json", `[]`, object},
		{"application/json", `null`, object},
		{"application/json", `"x"`, object},
		{"application/json", `{} {}`, "the request body has more after the JSON value"},
		{"application/json", `{"note":`, "the request body is not valid JSON"},
		{"application/json", `{"note":"` + strings.Repeat("x", 190) + `"}`, "the request body is too large"},
	} {
		var into common
		if got := fmt.Sprint(read(c.kind, c.body, &into)); got != c.why && (got != "<nil>" || c.why != "") {
			t.Errorf("%s %s: got %q, want %q", c.kind, c.body, got, c.why)
		}
		if c.why == "" && into.Note != "n" {
			t.Errorf("%s: read %+v", c.body, into)
		}
	}
}

// walk is what CheckJSON promises, by encoding/json: no key twice in an object,
// no more than 16 containers in each other. replaced says that a string has the
// replacement character, which may stand for what was no text.
func walk(dec *json.Decoder, depth int) (fine, replaced bool) {
	token, err := dec.Token()
	if err != nil {
		return false, false
	}
	switch token := token.(type) {
	case string:
		return true, strings.ContainsRune(token, utf8.RuneError)
	case json.Delim:
		fine = depth < MaxDepth
		seen := map[string]bool{}
		for dec.More() {
			if token == '{' {
				key, err := dec.Token()
				name, _ := key.(string)
				fine = fine && err == nil && !seen[name]
				seen[name], replaced = true, replaced || strings.ContainsRune(name, utf8.RuneError)
			}
			inner, r := walk(dec, depth+1)
			fine, replaced = fine && inner, replaced || r
		}
		_, err := dec.Token()
		return fine && err == nil, replaced
	}
	return true, false
}

func FuzzCheckJSON(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1,-2.5e+3,"\u00e9\ud83d\ude00",{"b":null}],"c":true}`, `{"a":1,"a":2}`, nested("[", "]", 17), "\"\xff\"", `"\ud800"`,
		`[1,]`, `{} {}`, `01`, wide(9) + `"k3":1}`, "", `{"a":{"b":{"c":{}}}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		accepted := CheckJSON(data) == nil
		if accepted && (!json.Valid(data) || !utf8.Valid(data)) {
			t.Fatalf("%q is accepted", data)
		}
		if !json.Valid(data) {
			return
		}
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.UseNumber()
		fine, replaced := walk(dec, 0)
		if _, err := dec.Token(); err != io.EOF {
			t.Fatalf("%q: %v", data, err)
		}
		if accepted && !fine || !accepted && fine && !replaced && utf8.Valid(data) {
			t.Fatalf("%q: accepted %v, should be %v", data, accepted, fine)
		}
	})
}

func FuzzReadJSON(f *testing.F) {
	for _, seed := range []string{
		`{"note":"n","status":"busy","seconds":5,"small":255,"until":"2026-01-02T15:04:05Z","on":true,"share":0.5}`,
		`{"users":["a","b"],"colour":"red","labels":{"a":"b"},"nested":{"note":"n"},"many":[{},{"note":"n"}],"raw":[1],"any":{"x":1}}`,
		`{"Note":1}`, `{"seconds":1e400}`, `{"many":[null]}`, `{"users":["\ud83d\ude00"]}`, ``, `[]`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		var got, want request
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		err := ReadJSON(httptest.NewRecorder(), r, MaxBody, &got)
		if err != nil {
			if syntax, field := new(SyntaxError), new(presence.FieldError); !errors.As(err, &syntax) && !errors.As(err, &field) && !errors.Is(err, ErrTooLarge) {
				t.Fatalf("%q: %T", body, err)
			}
			return
		}
		dec := json.NewDecoder(strings.NewReader(body))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&want); err != nil {
			t.Fatalf("%q is accepted: %v", body, err)
		}
		if g, w := fmt.Sprintf("%+v", dump(&got)), fmt.Sprintf("%+v", dump(&want)); g != w {
			t.Fatalf("%q:\ngot  %s\nwant %s", body, g, w)
		}
	})
}

// dump has no pointers in it.
func dump(r *request) string {
	b, err := json.Marshal(r)
	return fmt.Sprintf("%s %v %v %q", b, err, r.Colour, r.Note)
}
