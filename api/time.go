package api

import (
	"encoding/json"
	"reflect"
	"time"
)

// Time is an instant on the wire: RFC 3339 in UTC with milliseconds, as in
// "2026-03-01T09:30:00.000Z". The zero Time is null.
type Time struct{ time.Time }

// timeLayout keeps milliseconds; what is finer is cut off.
const timeLayout = "2006-01-02T15:04:05.000Z"

// At is t as the wire has it.
func At(t time.Time) Time { return Time{t} }

// AppendJSON appends the JSON form of t.
func (t Time) AppendJSON(b []byte) []byte {
	if t.IsZero() {
		return append(b, "null"...)
	}
	b = append(b, '"')
	b = t.UTC().AppendFormat(b, timeLayout)
	return append(b, '"')
}

// String is the text of t, "" when it is zero.
func (t Time) String() string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(timeLayout)
}

// MarshalJSON writes the form of the wire.
func (t Time) MarshalJSON() ([]byte, error) {
	return t.AppendJSON(make([]byte, 0, len(timeLayout)+2)), nil
}

// UnmarshalJSON reads any RFC 3339 time, of any zone and fraction, or null. The
// error is a *json.UnmarshalTypeError, so that a decoder can name the field.
func (t *Time) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		*t = Time{}
		return nil
	}
	refused := &json.UnmarshalTypeError{Value: "value that is not an RFC 3339 time", Type: reflect.TypeFor[Time]()}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return refused
	}
	parsed, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || parsed.IsZero() {
		return refused
	}
	*t = Time{parsed.UTC()}
	return nil
}
