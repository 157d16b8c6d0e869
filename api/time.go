package api

import (
	"encoding/json"
	"strings"
	"time"
)

// Time is an instant on the wire: RFC 3339 in UTC with milliseconds, as in
// "2026-03-01T09:30:00.000Z". The zero Time is null.
type Time struct{ time.Time }

// timeLayout has milliseconds; finer fractions are truncated.
const timeLayout = "2006-01-02T15:04:05.000Z"

// At converts t.
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

// MarshalJSON formats t.
func (t Time) MarshalJSON() ([]byte, error) {
	return t.AppendJSON(make([]byte, 0, len(timeLayout)+2)), nil
}

// ErrTime reports a text that is not an RFC 3339 time.
var ErrTime error = timeError{}

type timeError struct{}

func (timeError) Error() string { return "a time " + timeError{}.Reason() }

// Reason is the text for an error message, after the name of the field.
func (timeError) Reason() string { return `must be an RFC 3339 time, as in "2026-03-01T09:30:00Z"` }

// UnmarshalJSON parses what ParseTime accepts, or null.
func (t *Time) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		*t = Time{}
		return nil
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return ErrTime
	}
	parsed, err := ParseTime(text)
	if err != nil {
		return err
	}
	if parsed.IsZero() { // the first instant of the year 1, which is not the same as none
		parsed = parsed.Add(1)
	}
	*t = Time{parsed}
	return nil
}

// ParseTime parses exactly the grammar of RFC 3339, section 5.6. In contrast,
// time.Parse accepts other forms, and rejects lower-case letters and leap seconds.
// Digits beyond nanoseconds are truncated. A leap second, which is possible only at
// the end of a month, becomes the following second.
func ParseTime(text string) (time.Time, error) {
	const layout = "0000-00-00T00:00:00"
	if len(text) <= len(layout) || !shaped(text[:len(layout)], layout) {
		return time.Time{}, ErrTime
	}
	number := func(from, to int) int { n, _ := leadingNumber(text[from:to]); return n }
	nanosecond, rest := fraction(text[len(layout):])
	offset, ok := offsetOf(rest)
	month, day, hour, minute, second := number(5, 7), number(8, 10), number(11, 13), number(14, 16), number(17, 19)
	at := time.Date(number(0, 4), time.Month(month), day, hour, minute, min(second, 59), nanosecond, time.UTC)
	if !ok || at.Month() != time.Month(month) || at.Day() != day || hour > 23 || minute > 59 || second > 60 {
		return time.Time{}, ErrTime
	}
	at = at.Add(-offset)
	if second < 60 {
		return at, nil
	}
	at = at.Add(time.Second)
	if h, m, s := at.Clock(); at.Day() != 1 || h+m+s != 0 {
		return time.Time{}, ErrTime
	}
	return at, nil
}

// shaped reports whether text has a digit wherever layout has one, and what
// layout has elsewhere, in either case.
func shaped(text, layout string) bool {
	for i := range len(layout) {
		isDigit := '0' <= text[i] && text[i] <= '9'
		if layout[i] == '0' && !isDigit || layout[i] != '0' && text[i] != layout[i] && (layout[i] != 'T' || text[i] != 't') {
			return false
		}
	}
	return true
}

// leadingNumber is the number that text begins with, and what comes after it.
func leadingNumber(text string) (n int, rest string) {
	for text != "" && '0' <= text[0] && text[0] <= '9' {
		n, text = 10*n+int(text[0]-'0'), text[1:]
	}
	return n, text
}

// fraction is the nanoseconds that text begins with, if it does, and the rest.
func fraction(text string) (nanoseconds int, rest string) {
	if !strings.HasPrefix(text, ".") {
		return 0, text
	}
	rest = strings.TrimLeft(text[1:], "0123456789")
	digits := text[1 : len(text)-len(rest)]
	if digits == "" {
		return 0, text
	}
	nanoseconds, _ = leadingNumber((digits + "00000000")[:9])
	return nanoseconds, rest
}

// offsetOf is how far a zone is ahead of UTC.
func offsetOf(zone string) (offset time.Duration, ok bool) {
	if zone == "Z" || zone == "z" {
		return 0, true
	}
	if len(zone) != len("+00:00") || zone[0] != '+' && zone[0] != '-' || !shaped(zone[1:], "00:00") {
		return 0, false
	}
	hours, rest := leadingNumber(zone[1:])
	minutes, _ := leadingNumber(rest[1:])
	offset = time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute
	if zone[0] == '-' {
		offset = -offset
	}
	return offset, hours <= 23 && minutes <= 59
}
