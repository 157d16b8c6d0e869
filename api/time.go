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
	utc := t.UTC()
	year, month, day := utc.Date()
	if year < 0 || year > 9999 {
		return append(utc.AppendFormat(b, timeLayout), '"')
	}
	hour, minute, second := utc.Clock()
	b = appendTwo(appendTwo(b, year/100), year%100)
	b = appendTwo(append(b, '-'), int(month))
	b = appendTwo(append(b, '-'), day)
	b = appendTwo(append(b, 'T'), hour)
	b = appendTwo(append(b, ':'), minute)
	b = appendTwo(append(b, ':'), second)
	milli := utc.Nanosecond() / 1e6
	b = append(b, '.', byte('0'+milli/100))
	return append(appendTwo(b, milli%100), 'Z', '"')
}

// appendTwo appends two digits: formatting by layout takes three times as long,
// and ten thousand presences have up to twenty thousand times.
func appendTwo(b []byte, n int) []byte { return append(b, byte('0'+n/10), byte('0'+n%10)) }

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
