package wire

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/form"
	"porchlight.dev/porchlight/internal/presence"
)

// MaxDepth is how deep arrays and objects may nest in a body.
const MaxDepth = 16

const jsonType = "application/json"

// ReadJSON reads a body of application/json as DecodeJSON does.
func ReadJSON(w http.ResponseWriter, r *http.Request, limit int64, into any) error {
	kind, _, err := MediaType(r)
	if err != nil {
		return err
	}
	if kind != jsonType {
		return &MediaTypeError{Given: r.Header.Get("Content-Type"), Accepted: jsonType}
	}
	body, err := ReadBody(w, r, limit)
	if err != nil {
		return err
	}
	return DecodeJSON(body, into)
}

// DecodeJSON reads one JSON object into a struct, strictly: unknown members,
// duplicate names, trailing data, wrong types, invalid UTF-8 and nesting past
// MaxDepth are refused, with a *SyntaxError, or with a *presence.FieldError that
// names the field. A member that is null counts as absent; 20.0 and 2e1 are whole
// numbers; a byte order mark is skipped.
func DecodeJSON(body []byte, into any) error {
	return decode(body, into, json.RejectUnknownMembers(true))
}

// DecodeKnown is DecodeJSON without an opinion on members that the struct does not
// have, whatever is in them.
func DecodeKnown(body []byte, into any) error { return decode(body, into) }

func decode(body []byte, into any, strict ...json.Options) error {
	body = form.WithoutMark(body)
	if text := bytes.TrimLeft(body, " \t\r\n"); len(text) == 0 || text[0] != '{' {
		return errNoObject
	}
	body, err := simplify(body, len(strict) > 0)
	if err != nil {
		return refusal(body, err)
	}
	if err := json.Unmarshal(body, into, append(strict, numbers)...); err != nil {
		return refusal(body, err)
	}
	return nil
}

// What is wrong with a whole body.
var (
	errNoObject = &SyntaxError{Reason: "the request body must be a JSON object"}
	errNotUTF8  = &SyntaxError{Reason: "the request body is not valid UTF-8"}
	errTrailing = &SyntaxError{Reason: "the request body has more after the JSON value"}
	errTooDeep  = &SyntaxError{Reason: "the request body is nested more than " + strconv.Itoa(MaxDepth) + " deep"}
)

// simplify leaves out the members that are null and refuses what is nested too
// deep. With items, an array may have no null in it. Most bodies pass the quick test.
func simplify(body []byte, items bool) ([]byte, error) {
	if !bytes.Contains(body, []byte("null")) && bytes.Count(body, []byte("["))+bytes.Count(body, []byte("{")) <= MaxDepth {
		return body, nil
	}
	var out bytes.Buffer
	dec, enc := jsontext.NewDecoder(bytes.NewBuffer(body)), jsontext.NewEncoder(&out)
	for {
		token, err := dec.ReadToken()
		if errors.Is(err, io.EOF) {
			return out.Bytes(), nil
		}
		if err != nil {
			return body, err
		}
		if dec.StackDepth() > MaxDepth {
			return body, errTooDeep
		}
		switch container, n := dec.StackIndex(dec.StackDepth()); {
		case container == '{' && n%2 == 1: // token is a name
			token = token.Clone()
			if dec.PeekKind() != 'n' {
				break
			}
			if err := dec.SkipValue(); err != nil {
				return body, err
			}
			continue
		case container == '[' && token.Kind() == 'n' && items:
			return body, &presence.FieldError{Field: fieldPath(dec.StackPointer()), Reason: "must not be null"}
		}
		if err := enc.WriteToken(token); err != nil {
			return body, err
		}
	}
}

// numbers has fields of whole numbers read by WholeNumber.
var numbers = json.WithUnmarshalers(json.JoinUnmarshalers(
	json.UnmarshalFromFunc(readNumber[int]), json.UnmarshalFromFunc(readNumber[int64]),
))

func readNumber[T int | int64](dec *jsontext.Decoder, into *T) error {
	value, err := dec.ReadValue()
	if err != nil {
		return err
	}
	n, ok := WholeNumber(value)
	if !ok || int64(T(n)) != n {
		return errNotWhole
	}
	*into = T(n)
	return nil
}

var errNotWhole = errors.New("not a whole number")

// WholeNumber reads a JSON number that is a whole number: 20, 20.0 and
// 2e1 are the same. A large exponent costs no more than a small one.
func WholeNumber(text []byte) (n int64, ok bool) {
	if n, ok := plainNumber(text); ok {
		return n, true
	}
	number := jsontext.Value(text)
	if number.Kind() != '0' || !number.IsValid() || bytes.ContainsAny(text, " \t\r\n") {
		return 0, false
	}
	mantissa, power, _ := strings.Cut(strings.ToLower(string(text)), "e")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	whole, negative := strings.CutPrefix(whole, "-")
	digits := strings.TrimLeft(whole+fraction, "0")
	significant := strings.TrimRight(digits, "0")
	if significant == "" {
		return 0, true
	}
	exponent, _ := strconv.ParseInt(power, 10, 32) // 0 for none, the bound for what is past it
	zeros := int(exponent) - len(fraction) + len(digits) - len(significant)
	if zeros < 0 || zeros > len("9223372036854775807") {
		return 0, false
	}
	if negative {
		significant = "-" + significant
	}
	n, err := strconv.ParseInt(significant+strings.Repeat("0", zeros), 10, 64)
	return n, err == nil
}

// plainNumber reads a number that is written as clients usually do: a few digits.
func plainNumber(text []byte) (n int64, ok bool) {
	const most = len("999999999999999999") // more may overflow
	if len(text) == 0 || len(text) > most || text[0] == '0' {
		return 0, false
	}
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	return n, true
}

// refusal turns an error of the decoder into one for the client: nothing of
// the decoder's own text is repeated, which is about Go.
func refusal(body []byte, err error) error {
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return syntaxRefusal(body, e)
	}
	e, ok := errors.AsType[*json.SemanticError](err)
	if !ok {
		return err
	}
	reason := "must be " + wanted(e.GoType)
	var own interface{ Reason() string }
	switch {
	case errors.Is(e.Err, json.ErrUnknownName):
		reason = "is not known here"
	case errors.As(e.Err, &own):
		reason = own.Reason()
	}
	return &presence.FieldError{Field: fieldPath(e.JSONPointer), Reason: reason}
}

func syntaxRefusal(body []byte, e *jsontext.SyntacticError) error {
	switch {
	case errors.Is(e.Err, jsontext.ErrDuplicateName):
		return &presence.FieldError{Field: fieldPath(e.JSONPointer), Reason: "is given more than once"}
	case !utf8.Valid(body):
		return errNotUTF8
	case jsontext.NewDecoder(bytes.NewBuffer(body)).SkipValue() == nil:
		return errTrailing
	default:
		return &SyntaxError{Reason: "the request body is not valid JSON: see byte " + strconv.FormatInt(e.ByteOffset, 10)}
	}
}

// fieldPath is a JSON pointer as clients write one: sessions[3].id. A name of digits in
// an object below the first is taken for an index.
func fieldPath(p jsontext.Pointer) string {
	var b strings.Builder
	for token := range p.Tokens() {
		switch _, err := strconv.ParseUint(token, 10, 32); {
		case b.Len() == 0:
			b.WriteString(auth.Shorten(token))
		case err == nil:
			b.WriteString("[" + token + "]")
		default:
			b.WriteString("." + auth.Shorten(token))
		}
	}
	return b.String()
}

// wanted names what a field of type t takes.
func wanted(t reflect.Type) string {
	if t == nil {
		return "another type"
	}
	switch kind := t.Kind(); {
	case kind == reflect.Pointer:
		return wanted(t.Elem())
	case kind == reflect.String:
		return "a string"
	case reflect.Int <= kind && kind <= reflect.Int64:
		return "a whole number"
	case reflect.Uint <= kind && kind <= reflect.Uint64:
		return "a whole number of at least 0"
	case kind == reflect.Float32 || kind == reflect.Float64:
		return "a number"
	case kind == reflect.Bool:
		return "true or false"
	case kind == reflect.Slice || kind == reflect.Array:
		return "an array"
	case kind == reflect.Struct || kind == reflect.Map:
		return "an object"
	default:
		return "another type"
	}
}
