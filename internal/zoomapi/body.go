package zoomapi

import (
	"bytes"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/wire"
)

// An update is what a body asks for.
type update struct {
	status presence.Status
	lasts  time.Duration // of do_not_disturb; zero for the others
}

// appendTo writes what tells one update from another.
func (u update) appendTo(b []byte) []byte {
	b = append(append(b, u.status.String()...), ' ')
	return strconv.AppendInt(b, int64(u.lasts/time.Minute), 10)
}

const mediaTypes = "application/json, multipart/form-data and application/x-www-form-urlencoded"

// readUpdate reads the body by its media type.
func readUpdate(w http.ResponseWriter, r *http.Request) (update, error) {
	kind, params, err := wire.MediaType(r)
	if err != nil {
		return update{}, err
	}
	if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
		return update{}, unreadable(r)
	}
	body, err := wire.ReadBody(w, r, wire.MaxBody)
	if err != nil {
		return update{}, err
	}
	switch kind {
	case "application/json":
		return parseJSON(body)
	case "multipart/form-data":
		return parseMultipart(body, params["boundary"])
	case "application/x-www-form-urlencoded":
		return parseURLEncoded(body)
	case "":
		if body = bytes.TrimLeft(body, " \t\r\n"); len(body) == 0 || body[0] == '{' || body[0] == '[' {
			return parseJSON(body)
		}
	}
	return update{}, unreadable(r)
}

func unreadable(r *http.Request) error {
	return &wire.MediaTypeError{Given: r.Header.Get("Content-Type"), Accepted: mediaTypes}
}

// errNotObject: the body is not a JSON object, or not JSON at all.
var errNotObject = errors.New("the request body is not a valid JSON object")

// A field of a body: its value, and how often it was given.
type field struct {
	value []byte
	given int
}

func (f *field) set(value []byte) { f.value, f.given = value, f.given+1 }

// parseJSON reads {"status":"…","duration":n}. Other members are ignored.
func parseJSON(body []byte) (update, error) {
	var status, duration field
	err := wire.Members(body, func(key, value []byte) {
		switch string(key) {
		case "status":
			status.set(value)
		case "duration":
			duration.set(value)
		}
	})
	if err != nil {
		return update{}, errNotObject
	}
	if status.given == 1 {
		text, ok := wire.Unquote(status.value)
		if !ok {
			return update{}, invalid("status", "It must be a string.")
		}
		status.value = text
	}
	if duration.given == 1 && string(duration.value) == "null" {
		duration.given = 0
	}
	return understand(status, duration)
}

// parseURLEncoded reads a form as browsers and curl -d send it.
func parseURLEncoded(body []byte) (update, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return update{}, &wire.SyntaxError{Reason: "Request Body should be valid application/x-www-form-urlencoded."}
	}
	for name, values := range form {
		if !utf8.ValidString(name + strings.Join(values, "")) {
			return update{}, errFormText
		}
	}
	if bytes.HasPrefix(body, []byte("{")) && !form.Has("status") {
		return update{}, invalid("status", "It is required. The body looks like JSON: send it with Content-Type: application/json.")
	}
	of := func(name string) (f field) {
		for _, value := range form[name] {
			f.set([]byte(value))
		}
		return f
	}
	return understand(of("status"), of("duration"))
}

var errFormText = &wire.SyntaxError{Reason: "Request Body should be a form of valid UTF-8."}

// maxParts bounds a multipart form.
const maxParts = 32

// parseMultipart reads a form as curl -F and Postman send it, in memory.
func parseMultipart(body []byte, boundary string) (update, error) {
	if boundary == "" {
		return update{}, &wire.SyntaxError{
			Reason: "Request Body should be valid multipart/form-data: the Content-Type names no boundary.",
		}
	}
	var status, duration field
	parts := multipart.NewReader(bytes.NewReader(body), boundary)
	for n := 0; ; n++ {
		part, err := parts.NextRawPart()
		if err == io.EOF { //nolint:errorlint // wrapped, it is a form that was cut short
			return understand(status, duration)
		}
		if err != nil {
			return update{}, errNotMultipart
		}
		if n == maxParts {
			return update{}, &wire.SyntaxError{Reason: "Request Body should have at most 32 parts."}
		}
		switch part.FormName() {
		case "status":
			err = readPart(part, &status)
		case "duration":
			err = readPart(part, &duration)
		}
		if err != nil {
			return update{}, err
		}
	}
}

var errNotMultipart = &wire.SyntaxError{Reason: "Request Body should be valid multipart/form-data."}

// readPart takes a part that is plain text: no file, and not encoded.
func readPart(part *multipart.Part, into *field) error {
	encoding := strings.ToLower(part.Header.Get("Content-Transfer-Encoding"))
	plain := encoding == "" || encoding == "7bit" || encoding == "8bit" || encoding == "binary"
	if part.FileName() != "" || !plain {
		return invalid(part.FormName(), "It must be plain text, not a file.")
	}
	value, err := io.ReadAll(part)
	switch {
	case err != nil:
		return errNotMultipart
	case !utf8.Valid(value):
		return errFormText
	}
	into.set(value)
	return nil
}

// understand is what every kind of body comes to. The duration matters to
// do-not-disturb alone: Zoom's own samples send nonsense with other statuses.
func understand(status, duration field) (update, error) {
	const twice = "It is given more than once."
	switch {
	case status.given == 0:
		return update{}, invalid("status", "It is required.")
	case status.given > 1:
		return update{}, invalid("status", twice)
	case duration.given > 1:
		return update{}, invalid("duration", twice)
	}
	asked, ok := accepted[string(status.value)]
	if !ok {
		return update{}, invalid("status", "")
	}
	u := update{status: asked}
	if asked != presence.DoNotDisturb {
		return u, nil
	}
	u.lasts = presence.DefaultDoNotDisturb
	if duration.given == 1 {
		if u.lasts, ok = minutes(duration.value); !ok {
			return update{}, invalid("duration", "It must be a whole number of minutes from 1 to 1440.")
		}
	}
	return u, nil
}

// minutes reads a duration as JSON writes a whole number, so neither "020" nor
// "20.0".
func minutes(text []byte) (time.Duration, bool) {
	if len(text) == 0 || len(text) > 4 || text[0] == '0' {
		return 0, false
	}
	n := 0
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	d := time.Duration(n) * time.Minute
	return d, d <= presence.MaxDoNotDisturb
}

// invalid refuses a field in Zoom's words, and ours where they help.
func invalid(name, reason string) error {
	message := "Invalid field."
	if reason != "" {
		message += " " + reason
	}
	return &presence.FieldError{Field: name, Reason: message}
}
