package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/http/httptest"
	"strings"
	"testing"
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

func TestDecodeJSONSyntax(t *testing.T) {
	const (
		notJSON = "the request body is not valid JSON: see byte "
		notUTF8 = "the request body is not valid UTF-8"
		object  = "the request body must be a JSON object"
		deep    = "the request body is nested more than 16 deep"
		more    = "the request body has more after the JSON value"
	)
	for _, c := range []struct{ text, why string }{
		{`{}`, ""},
		{"\t\r\n {} ", ""},
		{"\ufeff{}", ""},
		{"\ufeff \n{}", ""},
		{`{"x":[ true , false ] }`, ""},
		{`{"x":-0.5e-10}`, ""},
		{`{"x":[0,-1,10,1E+2]}`, ""},
		{`{"x":"\"\\\/\b\f\n\r\t\u00e9\uD83D\ude00é😀"}`, ""},
		{`{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}`, ""},
		{`{"x":` + nested("[", "]", 15) + `}`, ""},
		{`{"x":null,"y":` + nested("[", "]", 15) + `}`, ""},
		{`{"x":` + nested("[", "]", 16) + `}`, deep},
		{`{"x":` + nested("[", "", 100_000), deep},
		{nested(`{"a":`, "", 17), deep},
		{"", object},
		{" ", object},
		{"\ufeff", object},
		{`[]`, object},
		{`null`, object},
		{`"x"`, object},
		{"\ufeff\ufeff{}", object},
		{"// c\n{}", object},
		{"{", notJSON + "1"},
		{`{"x":[1,]}`, notJSON + "7"},
		{`{"a":1,}`, notJSON + "6"},
		{`{,}`, notJSON + "1"},
		{`{"a"}`, notJSON + "4"},
		{`{"a" 1}`, notJSON + "5"},
		{`{a:1}`, notJSON + "1"},
		{`{1:1}`, notJSON + "1"},
		{`{"x":[1 2]}`, notJSON + "8"},
		{`{"x":01}`, notJSON + "6"},
		{`{"x":-}`, notJSON + "6"},
		{`{"x":+1}`, notJSON + "5"},
		{`{"x":1.}`, notJSON + "7"},
		{`{"x":.5}`, notJSON + "5"},
		{`{"x":1e+}`, notJSON + "8"},
		{`{"x":0x10}`, notJSON + "6"},
		{`{"x":NaN}`, notJSON + "5"},
		{`{"x":nul}`, notJSON + "8"},
		{`{"x":nulll}`, notJSON + "9"},
		{`{"x":True}`, notJSON + "5"},
		{`{'a':1}`, notJSON + "1"},
		{`{"x":"`, notJSON + "6"},
		{`{"x":"\x"}`, notJSON + "6"},
		{`{"x":"\u12g4"}`, notJSON + "6"},
		{"{\"x\":\"\n\"}", notJSON + "6"},
		{`{"x":"\ud83d"}`, notJSON + "6"},
		{`{"x":"\ude00\ude00"}`, notJSON + "6"},
		{`{"x":"\ud83dx"}`, notJSON + "6"},
		{"{}\x00", more},
		{"{}{}", more},
		{"{} x", more},
		{`{"a":null} 2`, more},
		{"{\"x\":\"\xff\"}", notUTF8},
		{"{\"\xed\xa0\x80\":1}", notUTF8},
		{`{"a":1,"a":1}`, "a is given more than once"},
		{`{"a":null,"a":1}`, "a is given more than once"},
		{`{"x":[{"b":{"a":1,"\u0061":1}}]}`, "x[0].b.a is given more than once"},
		{`{"":1,"":1}`, " is given more than once"},
		{wide(1000) + `"k999":0}`, "k999 is given more than once"},
		{wide(1000) + `"k1000":0}`, ""},
	} {
		err := DecodeKnown([]byte(c.text), new(map[string]any))
		if got := fmt.Sprint(err); got != c.why && (err != nil || c.why != "") {
			t.Errorf("%.40q: got %q, want %q", c.text, got, c.why)
		}
	}
}

func TestWholeNumber(t *testing.T) {
	for text, want := range map[string]int64{
		"20": 20, "20.0": 20, "2e1": 20, "2E+1": 20, "0.2e2": 20, "2000e-2": 20, "20.000000000000000000000": 20, "-20": -20,
		"-0": 0, "0": 0, "0.0": 0, "0e400": 0, "0e-99999999999999999999": 0, "-0.0E+99999999999999999999": 0,
		"9223372036854775807": math.MaxInt64, "-9223372036854775808": math.MinInt64, "9.223372036854775807e18": math.MaxInt64,
		"1e18": 1e18, "1" + strings.Repeat("0", 40) + "e-40": 1,
	} {
		if n, ok := WholeNumber([]byte(text)); n != want || !ok {
			t.Errorf("%s is %d, %v", text, n, ok)
		}
	}
	for _, text := range []string{
		"", " ", "-", "+20", " 20", "20 ", "020", "-020", "20.5", "20.", ".5", "2e", "2e-1", "x", `"20"`, "null", "1e400", "1e19",
		"9223372036854775808", "1e99999999999999999999", "1e-99999999999999999999", "20.00000000000000000000001", "0x14", "2_0", "٢", "[1]",
	} {
		if n, ok := WholeNumber([]byte(text)); ok {
			t.Errorf("%q is %d", text, n)
		}
	}
}

// FuzzWholeNumber compares with exact arithmetic if the exponent is small enough.
func FuzzWholeNumber(f *testing.F) {
	for _, seed := range []string{"20", "20.0", "2e1", "-0", "20.5", "1e400", "020", "9223372036854775808", "123000e-3", "0.00e+5"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, ok := WholeNumber([]byte(text))
		if _, power, _ := strings.Cut(strings.ToLower(text), "e"); len(power) > 4 {
			return
		}
		exact, isNumber := new(big.Rat).SetString(text)
		want := isNumber && json.Valid([]byte(text)) && strings.Trim(text, " \t\r\n") == text && exact.IsInt() && exact.Num().IsInt64()
		if ok != want || ok && exact.Num().Int64() != n {
			t.Fatalf("%q is %d, %v; want %v, %v", text, n, ok, exact, want)
		}
	})
}

// A colour is a type that decodes itself and describes what it expects.
type colour struct{ name string }

type notAColour struct{}

func (notAColour) Error() string  { return "wire_test: internal words" }
func (notAColour) Reason() string { return "must be a colour" }

func (c *colour) UnmarshalJSON(text []byte) error {
	if err := json.Unmarshal(text, &c.name); err != nil || c.name == "beige" {
		return notAColour{}
	}
	return nil
}

type common struct {
	Note string `json:"note"`
}

type request struct {
	common
	Seconds *int              `json:"seconds"`
	Small   int64             `json:"small,omitempty"`
	Size    uint8             `json:"size,omitempty"`
	On      bool              `json:"on"`
	Share   float64           `json:"share"`
	Users   []string          `json:"users"`
	Colour  colour            `json:"colour"`
	Labels  map[string]string `json:"labels"`
	Nested  *common           `json:"nested"`
	Many    []common          `json:"many"`
	Any     any               `json:"any"`
	Skipped string            `json:"-"`
}

func TestReadJSONFields(t *testing.T) {
	for _, c := range []struct{ body, why string }{
		{`{}`, ""},
		{`{"note":"n","seconds":5,"small":255,"on":true,"share":0.5}`, ""},
		{`{"users":["a","b"],"colour":"red","labels":{"a":"b"},"nested":{"note":"n"},"many":[{},{"note":"n"}],"any":{"x":1}}`, ""},
		{`{"seconds":null,"users":null,"labels":null,"nested":null,"many":null,"any":null}`, ""},
		{`{"note":null,"small":null,"on":null,"share":null,"labels":{"a":null},"nested":{"note":null},"many":[{"note":null}]}`, ""},
		{`{"seconds":5.0,"small":2.55E+02}`, ""},
		{`{"seconds":-0,"small":0e999999999999}`, ""},
		{`{"nope":1}`, "nope is not known here"},
		{`{"Note":"n"}`, "Note is not known here"},
		{`{"-":"n"}`, "- is not known here"},
		{`{"Skipped":"n"}`, "Skipped is not known here"},
		{`{"nested":{"nope":1}}`, "nested.nope is not known here"},
		{`{"many":[{},{"nope":1}]}`, "many[1].nope is not known here"},
		{`{"` + strings.Repeat("x", 65) + `":1}`, strings.Repeat("x", 64) + "… is not known here"},
		{`{"note":1}`, "note must be a string"},
		{`{"note":"a","note":"b"}`, "note is given more than once"},
		{`{"colour":"beige"}`, "colour must be a colour"},
		{`{"nested":{"note":"n"},"colour":[1]}`, "colour must be a colour"},
		{`{"seconds":"5"}`, "seconds must be a whole number"},
		{`{"seconds":5.5}`, "seconds must be a whole number"},
		{`{"seconds":5e-1}`, "seconds must be a whole number"},
		{`{"seconds":1e400}`, "seconds must be a whole number"},
		{`{"seconds":9223372036854775808}`, "seconds must be a whole number"},
		{`{"size":-1}`, "size must be a whole number of at least 0"},
		{`{"size":256}`, "size must be a whole number of at least 0"},
		{`{"on":1}`, "on must be true or false"},
		{`{"share":"1"}`, "share must be a number"},
		{`{"share":1e999}`, "share must be a number"},
		{`{"users":"a"}`, "users must be an array"},
		{`{"users":{"a":"b"}}`, "users must be an array"},
		{`{"users":["a",1]}`, "users[1] must be a string"},
		{`{"users":["a",null]}`, "users[1] must not be null"},
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
		{"application/json; charset=utf8", `{"note":"n"}`, ""},
		{"application/json; charset=\"Utf8\"", `{"note":"n"}`, ""},
		{"application/json; charset=US-ASCII", `{"note":"n"}`, ""},
		{"application/json", "\ufeff" + `{"note":"n"}`, ""},
		{"application/json; charset=utf-16", `{}`, `the charset "utf-16" is not supported; send the body in UTF-8`},
		{"application/json; charset=ISO-8859-1", `{}`, `the charset "ISO-8859-1" is not supported; send the body in UTF-8`},
		{"a/b/c", `{}`, `the Content-Type "a/b/c" cannot be parsed`},
		{"application/json-patch+json", `{}`, `the body has the media type "application/json-patch+json"; this route reads application/json`},
		{"text/json", `{}`, `the body has the media type "text/json"; this route reads application/json`},
		{"", `{}`, `the body has the media type ""; this route reads application/json`},
		{"application/json", ``, object},
		{"application/json", " \n", object},
		{"application/json", `[]`, object},
		{"application/json", `null`, object},
		{"application/json", `"x"`, object},
		{"application/json", `{} {}`, "the request body has more after the JSON value"},
		{"application/json", `{"note":`, "the request body is not valid JSON: see byte 8"},
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

// walk implements the rules of CheckJSON with encoding/json: no repeated key in an
// object, at most 16 nested containers. replaced reports whether a string contains the
// replacement character, which may stand for invalid text.
func walk(dec *json.Decoder, depth int) (valid, replaced bool) {
	token, err := dec.Token()
	if err != nil {
		return false, false
	}
	switch token := token.(type) {
	case string:
		return true, strings.ContainsRune(token, utf8.RuneError)
	case json.Delim:
		valid = depth < MaxDepth
		seen := map[string]bool{}
		for dec.More() {
			if token == '{' {
				key, err := dec.Token()
				name, _ := key.(string)
				valid = valid && err == nil && !seen[name]
				seen[name], replaced = true, replaced || strings.ContainsRune(name, utf8.RuneError)
			}
			inner, r := walk(dec, depth+1)
			valid, replaced = valid && inner, replaced || r
		}
		_, err := dec.Token()
		return valid && err == nil, replaced
	}
	return true, false
}

func FuzzDecodeKnown(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1,-2.5e+3,"\u00e9\ud83d\ude00",{"b":null}],"c":true}`, `{"a":1,"a":2}`, `{"x":` + nested("[", "]", 17) + "}", "{\"a\":\"\xff\"}",
		`{"a":"\ud800"}`, `[1,]`, `{} {}`, `{"a":01}`, wide(9) + `"k3":1}`, "", `{"a":{"b":{"c":{}}}}`, `{"a":null,"b":[null]}`, "\ufeff{}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var into struct{}
		err := DecodeKnown(data, &into)
		checkRefusal(t, data, err)
		data = bytes.TrimPrefix(data, []byte("\ufeff"))
		if err == nil && (!json.Valid(data) || !utf8.Valid(data)) {
			t.Fatalf("%q is accepted", data)
		}
		if !json.Valid(data) {
			return
		}
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.UseNumber()
		valid, replaced := walk(dec, 0)
		valid = valid && bytes.TrimLeft(data, " \t\r\n")[0] == '{'
		if err == nil && !valid || err != nil && valid && !replaced && utf8.Valid(data) {
			t.Fatalf("%q: %v, want valid %v", data, err, valid)
		}
	})
}

// checkRefusal checks that a refusal uses this package's words.
func checkRefusal(t *testing.T, body []byte, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if syntax, field := new(SyntaxError), new(presence.FieldError); !errors.As(err, &syntax) && !errors.As(err, &field) && !errors.Is(err, ErrTooLarge) {
		t.Fatalf("%q: %T", body, err)
	}
	for _, word := range []string{"json:", "jsontext", "Go ", "wire", "int64", "strconv", "unmarshal"} {
		if !bytes.Contains(body, []byte(word)) && strings.Contains(err.Error(), word) {
			t.Fatalf("%q: %v", body, err)
		}
	}
}

func FuzzReadJSON(f *testing.F) {
	for _, seed := range []string{
		`{"note":"n","seconds":5,"small":255,"on":true,"share":0.5}`,
		`{"users":["a","b"],"colour":"red","labels":{"a":"b"},"nested":{"note":"n"},"many":[{},{"note":"n"}],"any":{"x":1}}`,
		`{"Note":1}`, `{"seconds":1e400}`, `{"many":[null]}`, `{"users":["\ud83d\ude00"]}`, ``, `[]`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		var got, want request
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		err := ReadJSON(httptest.NewRecorder(), r, MaxBody, &got)
		checkRefusal(t, []byte(body), err)
		if err != nil {
			return
		}
		body = strings.TrimPrefix(body, "\ufeff")
		dec := json.NewDecoder(strings.NewReader(body))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&want); err != nil {
			if number, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && strings.HasPrefix(number.Value, "number ") {
				return // 20.0 in an integer field
			}
			t.Fatalf("%q is accepted: %v", body, err)
		}
		if g, w := fmt.Sprintf("%+v", dump(&got)), fmt.Sprintf("%+v", dump(&want)); g != w {
			t.Fatalf("%q:\ngot  %s\nwant %s", body, g, w)
		}
	})
}

// dump formats a request without pointers.
func dump(r *request) string {
	b, err := json.Marshal(r)
	return fmt.Sprintf("%s %v %v %q", b, err, r.Colour, r.Note)
}
