// Package form reads what a request says beside JSON: the media type and charset
// of its body, and the parameters of a query or a form. It is a package of its own
// because the OAuth endpoints and the dialects share these rules, and neither may
// import the other. It knows no route and writes no answer.
package form

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// MaxParameters bounds the parameters of a query and those of a form.
const MaxParameters = 100

// What is wrong with parameters. Each completes a sentence about the query or the
// form: "the query …".
var (
	ErrTooMany = fmt.Errorf("has more than %d parameters", MaxParameters)
	ErrSyntax  = errors.New("is not well-formed")
	ErrText    = errors.New("is not UTF-8")
)

// Parse reads application/x-www-form-urlencoded. The number of parameters is
// checked before they are decoded.
func Parse(text string) (url.Values, error) {
	if strings.Count(text, "&") >= MaxParameters {
		return nil, ErrTooMany
	}
	values, err := url.ParseQuery(text)
	if err != nil {
		return nil, ErrSyntax
	}
	for name, given := range values {
		if !utf8.ValidString(name) || !utf8.ValidString(strings.Join(given, "")) {
			return nil, ErrText
		}
	}
	return values, nil
}

// ErrSeveralTypes is about a request with two Content-Type lines.
var ErrSeveralTypes = errors.New("the request has more than one Content-Type header")

// A TypeError is about a body whose media type or charset is not understood.
type TypeError struct{ Reason string }

func (e *TypeError) Error() string { return e.Reason }

// MediaType is the type of the body in lower case, with its parameters; "" when
// the request names none. A charset other than UTF-8 or its subset US-ASCII is a
// TypeError.
func MediaType(h http.Header) (kind string, parameters map[string]string, err error) {
	lines := h["Content-Type"]
	switch {
	case len(lines) > 1:
		return "", nil, ErrSeveralTypes
	case len(lines) == 0 || lines[0] == "":
		return "", nil, nil
	case lines[0] == "application/json":
		return lines[0], nil, nil
	}
	kind, parameters, err = mime.ParseMediaType(lines[0])
	if err != nil {
		return "", nil, &TypeError{fmt.Sprintf("the Content-Type %q cannot be parsed", shorten(lines[0]))}
	}
	switch charset := parameters["charset"]; strings.ToLower(charset) {
	case "", "utf-8", "utf8", "us-ascii":
		return kind, parameters, nil
	default:
		return "", nil, &TypeError{fmt.Sprintf("the charset %q is not supported; send the body in UTF-8", shorten(charset))}
	}
}

// shorten bounds what an error repeats of a request.
func shorten(text string) string {
	const limit = 128
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "…"
}

// WithoutMark is a body without the UTF-8 byte order mark that some clients begin
// it with.
func WithoutMark(body []byte) []byte { return bytes.TrimPrefix(body, []byte("\ufeff")) }
