package history

import (
	"fmt"
	"slices"
	"time"
	_ "time/tzdata" // zones are known on machines without a database of them
)

// A Date is a day of the calendar, in no zone.
type Date struct {
	Year  int
	Month time.Month
	Day   int
}

// ParseDate reads a date such as 2026-03-29.
func ParseDate(text string) (Date, error) {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return Date{}, fmt.Errorf("%q is not a date such as 2026-03-29", text)
	}
	return DateOf(t), nil
}

// DateOf is the date that t has in its zone.
func DateOf(t time.Time) Date {
	year, month, day := t.Date()
	return Date{year, month, day}
}

// Add is the date that many days later.
func (d Date) Add(days int) Date { return DateOf(d.midnight().AddDate(0, 0, days)) }

// Sub is the number of days from o to d.
func (d Date) Sub(o Date) int { return int(d.midnight().Sub(o.midnight()) / (24 * time.Hour)) }

func (d Date) String() string { return d.midnight().Format(time.DateOnly) }

// midnight is the beginning of the date in UTC.
func (d Date) midnight() time.Time { return time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, time.UTC) }

// maxOffset is more than any zone is ahead of or behind UTC.
const maxOffset = 26 * time.Hour

// Start is the first instant at which clocks of a zone show the date or a later one. It is
// not midnight where clocks skip midnight, and equals the start of the next date where
// they skip the whole day.
func (d Date) Start(zone *time.Location) time.Time {
	for t := d.midnight().Add(-maxOffset).In(zone); ; {
		_, offset := t.Zone()
		_, end := t.ZoneBounds()
		start := d.midnight().Add(-time.Duration(offset) * time.Second)
		if start.Before(t) {
			start = t
		}
		if end.IsZero() || start.Before(end) {
			return start.In(zone)
		}
		t = end
	}
}

// A Day is the part of a range that lies in one day of a zone.
type Day struct {
	Date     Date
	From, To time.Time
	Spans    []Span // they cover the time between
}

// Days divides spans into the days of a zone. A date that the zone skipped is left out.
func Days(spans []Span, zone *time.Location) []Day {
	if len(spans) == 0 {
		return nil
	}
	var days []Day
	spans = slices.Clone(spans)
	end := spans[len(spans)-1].To
	from := spans[0].From
	for date := DateOf(from.In(zone)); from.Before(end); date = date.Add(1) {
		to := date.Add(1).Start(zone)
		if end.Before(to) {
			to = end
		}
		if !from.Before(to) {
			continue
		}
		day := Day{Date: date, From: from, To: to}
		day.Spans, spans = divide(spans, to)
		days = append(days, day)
		from = to
	}
	return days
}

// divide splits spans at an instant, and shortens the one that begins before it.
func divide(spans []Span, at time.Time) (before, after []Span) {
	for i, span := range spans {
		switch {
		case !span.From.Before(at):
			return before, spans[i:]
		case span.To.After(at):
			spans[i].From, span.To = at, at
			return append(before, span), spans[i:]
		default:
			before = append(before, span)
		}
	}
	return before, nil
}
