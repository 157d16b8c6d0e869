package history_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"porchlight.dev/porchlight/internal/history"
	"porchlight.dev/porchlight/internal/presence"
)

// TestDaysOfZones: days have the length that the zone's clocks give them.
func TestDaysOfZones(t *testing.T) {
	for _, c := range []struct{ zone, first, last, want string }{
		{"UTC", "2026-03-28", "2026-03-29", "03-28 24h0m0s, 03-29 24h0m0s"},
		{"Europe/Berlin", "2026-03-28", "2026-03-30", "03-28 24h0m0s, 03-29 23h0m0s, 03-30 24h0m0s"},
		{"Europe/Berlin", "2026-10-24", "2026-10-26", "10-24 24h0m0s, 10-25 25h0m0s, 10-26 24h0m0s"},
		{"America/New_York", "2026-03-08", "2026-03-08", "03-08 23h0m0s"},
		{"America/New_York", "2026-11-01", "2026-11-01", "11-01 25h0m0s"},
		{"Australia/Lord_Howe", "2026-04-05", "2026-04-05", "04-05 24h30m0s"},
		{"Australia/Lord_Howe", "2026-10-04", "2026-10-04", "10-04 23h30m0s"},
		// The clocks went from the end of the 29th to the start of the 31st.
		{"Pacific/Apia", "2011-12-29", "2011-12-31", "12-29 24h0m0s, 12-31 24h0m0s"},
		// Clocks that skip midnight: the day begins at 1:00.
		{"America/Sao_Paulo", "2018-11-03", "2018-11-05", "11-03 24h0m0s, 11-04 23h0m0s, 11-05 24h0m0s"},
		// Clocks that show a date, and then the end of the day before once more.
		{"America/St_Johns", "2010-11-06", "2010-11-08", "11-06 24h0m0s, 11-07 25h0m0s, 11-08 24h0m0s"},
	} {
		zone := location(t, c.zone)
		from, to := mustDate(t, c.first).Start(zone), mustDate(t, c.last).Add(1).Start(zone)
		days := history.Days([]history.Span{{From: from, To: to, Status: presence.Busy, Known: true}}, zone)
		var got []string
		for i := range days {
			got = append(got, fmt.Sprint(days[i].Date.String()[5:], " ", sumOf(&days[i])))
		}
		if got := strings.Join(got, ", "); got != c.want {
			t.Errorf("%s from %s to %s: %s, want %s", c.zone, c.first, c.last, got, c.want)
		}
	}
}

func mustDate(t testing.TB, text string) history.Date {
	t.Helper()
	d, err := history.ParseDate(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// sumOf adds up the spans of a day.
func sumOf(day *history.Day) (sum time.Duration) {
	for _, span := range day.Spans {
		sum += span.To.Sub(span.From)
	}
	return sum
}

func TestParseDate(t *testing.T) {
	for _, text := range []string{"", "2026-3-1", "2026-02-30", "2026-03-01T00:00:00Z", "yesterday"} {
		if d, err := history.ParseDate(text); err == nil {
			t.Errorf("%q is read as %s", text, d)
		}
	}
}

var zones = []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "America/St_Johns", "Asia/Kathmandu", "Africa/Monrovia", "Pacific/Kwajalein"}

// TestSummaryCoversItsRange: whatever the log has, the spans of days follow one another
// without a hole or an overlap, from the beginning of the range to its end.
func TestSummaryCoversItsRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zone, err := time.LoadLocation(rapid.SampledFrom(zones).Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		from := time.Unix(rapid.Int64Range(0, 1_900_000_000).Draw(t, "from"), 0).UTC()
		to := from.Add(time.Duration(rapid.Int64Range(1, 20*24*3600*1000).Draw(t, "ms")) * time.Millisecond)
		log := drawLog(t, from.Add(-48*time.Hour))
		spans, err := log.reader().Statuses(t.Context(), alice, from, to)
		if err != nil {
			t.Fatal(err)
		}
		end := from
		for _, day := range history.Days(spans, zone) {
			if !day.From.Equal(end) || !day.To.After(day.From) {
				t.Fatalf("%s is from %s to %s, after %s", day.Date, day.From, day.To, end)
			}
			for _, span := range day.Spans {
				if !span.From.Equal(end) || !span.To.After(span.From) {
					t.Fatalf("%s: a span is from %s to %s, after %s", day.Date, span.From, span.To, end)
				}
				end = span.To
			}
			if !day.To.Equal(end) {
				t.Fatalf("the spans of %s end at %s, and it ends at %s", day.Date, end, day.To)
			}
			if last := history.DateOf(day.To.Add(-1).In(zone)); last != day.Date && zone.String() != "America/St_Johns" {
				t.Fatalf("%s ends in %s", day.Date, last)
			}
		}
		if !end.Equal(to) {
			t.Fatalf("the days end at %s, want %s", end, to)
		}
	})
}

// drawLog draws entries from a time on, with gaps and damage.
func drawLog(t *rapid.T, from time.Time) *fakeLog {
	log := new(fakeLog)
	for range rapid.IntRange(0, 40).Draw(t, "entries") {
		from = from.Add(time.Duration(rapid.Int64Range(1, 36*3600*1e6).Draw(t, "µs")) * time.Microsecond)
		e := log.add(from, presence.Status(rapid.IntRange(0, 9).Draw(t, "status")), 0)
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0:
			e.Gap = true
		case 1:
			e.Erased = true
		case 2:
			e.Damaged, e.Time = errors.New("damaged"), time.Time{}
		}
	}
	return log
}
