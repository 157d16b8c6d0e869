package zoomapi

import (
	"bytes"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"porchlight.dev/porchlight/internal/form"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/wire"
)

// An update is the content of a body.
type update struct {
	status presence.Status
	lasts  time.Duration // of do_not_disturb; zero for the others
}

// appendTo appends a text that identifies the update.
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
		if body = bytes.TrimLeft(form.WithoutMark(body), " \t\r\n"); len(body) == 0 || body[0] == '{' || body[0] == '[' {
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

// A field of a form: its value, and how often the form has it. A field without a value
// counts as absent.
type field struct {
	value []byte
	count int
}

func (f *field) set(value []byte) { f.value, f.count = value, f.count+1 }

// text is the value; nil if the field is absent. More than one is an error.
func (f *field) text(name string) ([]byte, error) {
	if f.count > 1 {
		return nil, invalid(name, "It is given more than once.")
	}
	if len(f.value) == 0 {
		return nil, nil
	}
	return f.value, nil
}

// parseJSON reads {"status":"…","duration":n}. Other members are ignored.
func parseJSON(body []byte) (update, error) {
	if status, duration, ok := plainMembers(body); ok {
		return newUpdate(status, duration)
	}
	return decodeJSON(body)
}

// decodeJSON is parseJSON for any body.
func decodeJSON(body []byte) (update, error) {
	var asked struct {
		Status   *string        `json:"status"`
		Duration jsontext.Value `json:"duration"`
	}
	err := wire.DecodeKnown(body, &asked)
	if e, ok := errors.AsType[*presence.FieldError](err); ok {
		return update{}, invalid(e.Field, "It "+e.Reason+".")
	}
	if err != nil {
		return update{}, errNotObject
	}
	if asked.Status == nil {
		return update{}, errNoStatus
	}
	duration := []byte(asked.Duration)
	if asked.Duration.Kind() == '"' { // "20" is 20 too
		duration, _ = jsontext.AppendUnquote([]byte{}, duration) // it is valid
	}
	return newUpdate([]byte(*asked.Status), duration)
}

// parseURLEncoded reads a form as browsers and curl -d send it.
func parseURLEncoded(body []byte) (update, error) {
	values, err := form.Parse(string(form.WithoutMark(body)))
	if err != nil {
		return update{}, &wire.SyntaxError{Reason: "Request Body should be valid application/x-www-form-urlencoded: it " + err.Error() + "."}
	}
	if bytes.HasPrefix(body, []byte("{")) && !values.Has("status") {
		return update{}, invalid("status", "It is required. The body looks like JSON: send it with Content-Type: application/json.")
	}
	of := func(name string) (f field) {
		for _, value := range values[name] {
			f.set([]byte(value))
		}
		return f
	}
	return parseFields(of("status"), of("duration"))
}

func parseFields(status, duration field) (update, error) {
	word, err := status.text("status")
	if err != nil {
		return update{}, err
	}
	minutes, err := duration.text("duration")
	if err != nil {
		return update{}, err
	}
	if word == nil {
		return update{}, errNoStatus
	}
	return newUpdate(word, minutes)
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
			return parseFields(status, duration)
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

var errNoStatus = invalid("status", "It is required.")

// newUpdate validates the fields of any kind of body. The duration, nil if absent, counts
// for do-not-disturb only: Zoom's own samples send meaningless ones with other statuses.
func newUpdate(status, duration []byte) (update, error) {
	asked, ok := accepted[string(status)]
	switch {
	case !ok:
		return update{}, invalid("status", "")
	case asked != presence.DoNotDisturb:
		return update{status: asked}, nil
	case duration == nil:
		return update{asked, presence.DefaultDoNotDisturb}, nil
	}
	const most = int64(presence.MaxDoNotDisturb / time.Minute)
	minutes, ok := wire.WholeNumber(duration)
	if !ok || minutes < 1 || minutes > most {
		return update{}, invalid("duration", "It must be a whole number of minutes from 1 to 1440.")
	}
	return update{asked, time.Duration(minutes) * time.Minute}, nil
}

// invalid refuses a field in Zoom's words, followed by a reason that helps.
func invalid(name, reason string) error {
	message := "Invalid field."
	if reason != "" {
		message += " " + reason
	}
	return &presence.FieldError{Field: name, Reason: message}
}
