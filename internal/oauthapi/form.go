package oauthapi

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/form"
	"porchlight.dev/porchlight/internal/presence"
)

// maxOAuthBody is the most that the OAuth endpoints read.
const maxOAuthBody = 64 << 10

// An oauthForm is the parameters of an OAuth request, of the query and of the body
// alike, each at most once. One without a value counts as left out (RFC 6749).
type oauthForm struct{ query, body url.Values }

func (f *oauthForm) get(name string) string {
	if v := f.body.Get(name); v != "" {
		return v
	}
	return f.query.Get(name)
}

// readForm reads parameters as existing clients send them: in the query, in a form,
// in both, or in the query with the content type of JSON and nothing in the body.
func readForm(w http.ResponseWriter, r *http.Request) (*oauthForm, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxOAuthBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, &oauthError{
			Status: http.StatusRequestEntityTooLarge, Code: "invalid_request", Reason: "The body is larger than 64 KiB",
		}
	}
	if err != nil {
		return nil, refuse("invalid_request", "The body could not be read")
	}
	body, err = formBody(r, form.WithoutMark(body))
	if err != nil {
		return nil, err
	}
	return parseForm(r.URL.RawQuery, string(body))
}

const formType = "application/x-www-form-urlencoded"

// formBody is the body if it is a form, and nothing if it is empty, whatever
// type it claims to be of.
func formBody(r *http.Request, body []byte) ([]byte, error) {
	kind, _, err := form.MediaType(r.Header)
	if errors.Is(err, form.ErrSeveralTypes) {
		return nil, refuse("invalid_request", reasonOf(err))
	}
	if kind != formType && isEmptyBody(body) {
		return nil, nil
	}
	reason := "The body must be " + formType + "; parameters may also be in the query"
	if err != nil {
		reason = reasonOf(err)
	}
	if kind != formType {
		return nil, &oauthError{Status: http.StatusUnsupportedMediaType, Code: "invalid_request", Reason: reason}
	}
	return body, nil
}

// isEmptyBody also accepts the empty values of clients that send JSON without parameters.
func isEmptyBody(body []byte) bool {
	text := string(bytes.TrimSpace(body))
	if len(text) > 2 { // white space between brackets
		text = text[:1] + strings.TrimSpace(text[1:len(text)-1]) + text[len(text)-1:]
	}
	return text == "" || text == "{}" || text == "[]" || text == "null"
}

func reasonOf(err error) string {
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}

func parseForm(query, body string) (*oauthForm, error) {
	var f oauthForm
	var err error
	if f.query, err = oauthParameters("query", query); err != nil {
		return nil, err
	}
	if f.body, err = oauthParameters("body", body); err != nil {
		return nil, err
	}
	for name := range f.query {
		if f.body.Has(name) {
			return nil, refuse("invalid_request", "Parameter given twice: "+auth.Shorten(name))
		}
	}
	if f.query.Has("client_secret") {
		return nil, refuse("invalid_client", "client_secret must be in the Authorization header or the body, never in the URL")
	}
	return &f, nil
}

func oauthParameters(where, text string) (url.Values, error) {
	values, err := form.Parse(text)
	if err != nil {
		return nil, refuse("invalid_request", "The "+where+" "+err.Error())
	}
	for name, all := range values {
		if len(all) > 1 {
			return nil, refuse("invalid_request", "Parameter given twice: "+auth.Shorten(name))
		}
	}
	return values, nil
}

// credentials are the id and the secret of the client, by Basic or in the body. A public
// app has the id alone.
func credentials(r *http.Request, f *oauthForm) (presence.AppID, string, error) {
	bad := refuse("invalid_client", reasonBadClient)
	headers := r.Header.Values("Authorization")
	if len(headers) > 1 {
		return "", "", refuse("invalid_request", "More than one Authorization header")
	}
	if len(headers) == 0 || headers[0] == "" {
		id, secret := f.get("client_id"), f.body.Get("client_secret")
		if id == "" {
			return "", "", bad
		}
		return presence.AppID(id), secret, nil
	}
	id, secret, ok := parseBasic(headers[0])
	if !ok {
		return "", "", bad
	}
	if f.body.Get("client_secret") != "" {
		return "", "", refuse("invalid_request", "The client is authenticated twice: use the Authorization header or the body")
	}
	if named := f.get("client_id"); named != "" && named != id {
		return "", "", refuse("invalid_request", "client_id is not that of the Authorization header")
	}
	return presence.AppID(id), secret, nil
}

// parseBasic reads the header of Basic authentication, whose two parts are
// form-encoded (RFC 6749 §2.3.1). Clients that do not encode them are
// understood too: our ids and secrets have nothing to encode.
func parseBasic(header string) (id, secret string, ok bool) {
	scheme, encoded, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return "", "", false
	}
	encoded = strings.TrimRight(strings.TrimSpace(encoded), "=")
	raw, err := base64.RawStdEncoding.DecodeString(encoded)
	if err != nil {
		return "", "", false
	}
	id, secret, ok = strings.Cut(string(raw), ":")
	if !ok {
		return "", "", false
	}
	id, badID := url.QueryUnescape(id)
	secret, badSecret := url.QueryUnescape(secret)
	ok = badID == nil && badSecret == nil && id != "" && utf8.ValidString(id)
	return id, secret, ok
}
