package cli

import (
	"bytes"
	"encoding/csv"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
)

// summaryOf is a summary of days in a zone, with the given spans: "2026-03-29 00:00 24:00
// busy" and so on, in UTC.
func summaryOf(t *testing.T, zone *time.Location, spans ...string) *api.HistorySummary {
	t.Helper()
	s := &api.HistorySummary{Total: api.Durations{}}
	for _, text := range spans {
		fields := strings.Fields(text)
		from, err := api.ParseTime(fields[0])
		if err != nil {
			t.Fatal(err)
		}
		to, err := api.ParseTime(fields[1])
		if err != nil {
			t.Fatal(err)
		}
		status := api.Status(fields[2])
		date := from.In(zone).Format(time.DateOnly)
		if n := len(s.Days); n == 0 || s.Days[n-1].Date != date {
			s.Days = append(s.Days, api.HistoryDay{Date: date})
		}
		day := &s.Days[len(s.Days)-1]
		day.Spans = append(day.Spans, api.HistorySpan{From: api.At(from), To: api.At(to), Status: status})
		s.Total[status] += to.Sub(from).Milliseconds()
	}
	return s
}

// TestTimeline draws days in Berlin on which the clocks skip and repeat an hour.
func TestTimeline(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	s := summaryOf(t, berlin,
		"2026-03-28T23:00:00Z 2026-03-29T06:00:00Z offline",
		"2026-03-29T06:00:00Z 2026-03-29T07:15:00Z available",
		"2026-03-29T07:15:00Z 2026-03-29T09:50:30.5Z in_meeting",
		"2026-03-29T09:50:30.5Z 2026-03-29T22:00:00Z busy",
		"2026-10-24T22:00:00Z 2026-10-25T00:00:00Z unknown",
		"2026-10-25T00:00:00Z 2026-10-25T02:00:00Z on_call",
		"2026-10-25T02:00:00Z 2026-10-25T11:20:00Z out_of_office",
	)
	for _, c := range []struct {
		width int
		want  string
	}{
		{80, `                0     3     6     9     12    15    18    21
Sun 2026-03-29  ....  ..........aaaMMMMMBBBBBBBBBBBBBBBBBBBBBBBB
Sun 2026-10-25  ????TTOOOOOOOOOOOOOOOOOOO

a  available            1h 15m
B  busy                12h 09m
M  in_meeting           2h 36m
T  on_call              2h 00m
O  out_of_office        9h 20m
.  offline              7h 00m
?  unknown              2h 00m
`},
		{20, `                0  3  6  9  12 15 18 21
Sun 2026-03-29  .. .....aMMMBBBBBBBBBBBB
Sun 2026-10-25  ??TOOOOOOOOOO
`},
		{200, `                0                 3                 6                 9                 12                15                18                21
Sun 2026-03-29  ............      ..............................aaaaaaaaMMMMMMMMMMMMMMMBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB
Sun 2026-10-25  ????????????TTTTTTOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOO
`},
	} {
		got := (&timeline{zone: berlin, width: c.width}).draw(s)
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("width %d: got\n%s\nwant\n%s", c.width, got, c.want)
		}
		for line := range strings.Lines(got) {
			if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > max(c.width, labelWidth+hoursOfDay) {
				t.Errorf("width %d: a line has %d columns", c.width, n)
			}
		}
	}
	coloured := (&timeline{zone: berlin, width: 40, colour: true}).draw(s)
	if !strings.Contains(coloured, "\x1b[32ma\x1b[0m\x1b[31mMMM\x1b[0m") {
		t.Errorf("with colours: %q", coloured)
	}
	s.Days = s.Days[:1]
	if got := (&timeline{zone: berlin, width: 80}).detail(s); !strings.Contains(got, "08:00:00  09:15:00     1h 15m  available\n") {
		t.Errorf("got\n%s\nwant it to list the status at 8:00", got)
	}
	if got := (&timeline{zone: berlin, width: 80}).draw(&api.HistorySummary{}); got != "There is no history of these days.\n" {
		t.Errorf("without days: %q", got)
	}
}

// TestHarmlessCSV: no cell begins a formula, and every text can be read back.
func TestHarmlessCSV(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "Writing": "Writing", "a=b": "a=b", "=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@SUM(A1)": "'@SUM(A1)",
		"\t=1": "'\t=1", " =1": "' =1", "\r=1": "'\r=1", " ok": "' ok", "＝1": "'＝1", `=cmd|' /C calc'!A0`: `'=cmd|' /C calc'!A0`,
		"line\nbreak, \"quoted\"": "line\nbreak, \"quoted\"",
	} {
		e := api.HistoryEntry{After: &api.HistoryState{Note: text, OwnNote: text}, Claim: text, Client: &api.HistoryClient{Version: text}}
		var b bytes.Buffer
		if err := csvLines(&b)(&e); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(&b).ReadAll()
		if err != nil || len(rows) != 2 || len(rows[1]) != len(csvHeader) {
			t.Fatalf("%q: %q, %v", text, rows, err)
		}
		want = strings.ReplaceAll(want, "\r\n", "\n")
		found := 0
		for _, cell := range rows[1] {
			if cell == want {
				found++
			}
		}
		if found < 4 {
			t.Errorf("%q: %q", text, rows[1])
		}
	}
}
