package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"porchlight.dev/porchlight/api"
)

// A timeline draws days as lines of letters, one for each status.
type timeline struct {
	zone   *time.Location
	width  int // of the terminal
	colour bool
}

// A mark is the letter of a status.
type mark struct {
	status api.Status
	letter byte
}

// marks lists the statuses in the order of the legend.
var marks = [...]mark{
	{api.Available, 'a'},
	{api.Away, 'w'},
	{api.Busy, 'B'},
	{api.DoNotDisturb, 'D'},
	{api.InCalendarEvent, 'C'},
	{api.InMeeting, 'M'},
	{api.Presenting, 'P'},
	{api.OnCall, 'T'},
	{api.OutOfOffice, 'O'},
	{api.Offline, '.'},
	{api.Unknown, '?'},
}

const (
	labelWidth = len("Mon 2006-01-02  ")
	hoursOfDay = 24
	rulerHours = 3
	step       = 5 * time.Minute // cells begin, and clocks change, at multiples of it
)

// draw draws a summary with its spans.
func (t *timeline) draw(s *api.HistorySummary) string {
	if len(s.Days) == 0 {
		return "There is no history of these days.\n"
	}
	perHour := t.perHour()
	var b strings.Builder
	b.WriteString(strings.TrimRight(ruler(perHour), " ") + "\n")
	for i := range s.Days {
		b.WriteString(t.line(&s.Days[i], perHour) + "\n")
	}
	b.WriteByte('\n')
	for _, m := range marks {
		if ms := s.Total[m.status]; ms > 0 {
			fmt.Fprintf(&b, "%s  %-17s %9s\n", t.paint(m.status, string(m.letter)), m.status, durationOf(ms))
		}
	}
	return b.String()
}

// perHour is how many cells of an hour fit on the line.
func (t *timeline) perHour() int {
	fit := 1
	for _, n := range []int{2, 3, 4, 6, 12} {
		if labelWidth+hoursOfDay*n <= t.width {
			fit = n
		}
	}
	return fit
}

func ruler(perHour int) string {
	var b strings.Builder
	b.WriteString(strings.Repeat(" ", labelWidth))
	for hour := 0; hour < hoursOfDay; hour += rulerHours {
		fmt.Fprintf(&b, "%-*d", rulerHours*perHour, hour)
	}
	return b.String()
}

// line draws a day. A cell shows the status that was shown for the longest time in it.
func (t *timeline) line(day *api.HistoryDay, perHour int) string {
	cells := make([]map[api.Status]time.Duration, hoursOfDay*perHour)
	for _, span := range day.Spans {
		t.fill(cells, span)
	}
	label := day.Date
	if date, err := time.Parse(time.DateOnly, day.Date); err == nil {
		label = date.Format("Mon 2006-01-02")
	}
	var b strings.Builder
	for i := 0; i < len(cells); {
		status := longest(cells[i])
		n := i + 1
		for n < len(cells) && longest(cells[n]) == status {
			n++
		}
		b.WriteString(t.paint(status, strings.Repeat(letterOf(status), n-i)))
		i = n
	}
	return strings.TrimRight(fmt.Sprintf("%-*s%s", labelWidth, label, b.String()), " ")
}

// fill adds a span to the cells of the times that clocks showed.
func (t *timeline) fill(cells []map[api.Status]time.Duration, span api.HistorySpan) {
	cell := hoursOfDay * 3600 / len(cells)
	for at := span.From.In(t.zone); at.Before(span.To.Time); {
		hour, minute, second := at.Clock()
		i := (hour*3600 + minute*60 + second) / cell
		next := at.Add(step - time.Duration(minute*60+second)*time.Second%step - time.Duration(at.Nanosecond()))
		if next.After(span.To.Time) {
			next = span.To.Time
		}
		if cells[i] == nil {
			cells[i] = make(map[api.Status]time.Duration)
		}
		cells[i][span.Status] += next.Sub(at)
		at = next.In(t.zone)
	}
}

// longest is the status with the most time; "" if there is none.
func longest(cell map[api.Status]time.Duration) (status api.Status) {
	for _, m := range marks {
		if cell[m.status] > cell[status] {
			status = m.status
		}
	}
	return status
}

func letterOf(status api.Status) string {
	i := slices.IndexFunc(marks[:], func(m mark) bool { return m.status == status })
	if i < 0 {
		return " "
	}
	return string(marks[i].letter)
}

func (t *timeline) paint(status api.Status, text string) string {
	code := colours[status]
	if !t.colour || code == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// detail lists what was shown on each day.
func (t *timeline) detail(s *api.HistorySummary) string {
	var b strings.Builder
	for i := range s.Days {
		for _, span := range s.Days[i].Spans {
			status := t.paint(span.Status, string(span.Status))
			fmt.Fprintf(&b, "%s  %s  %9s  %s\n", t.clock(span.From), t.clock(span.To), durationOf(span.To.Sub(span.From.Time).Milliseconds()), status)
		}
	}
	return b.String()
}

func (t *timeline) clock(at api.Time) string { return at.In(t.zone).Format(time.TimeOnly) }

// durationOf formats milliseconds as hours and minutes, or below a minute as seconds.
func durationOf(ms int64) string {
	d := time.Duration(ms) * time.Millisecond
	minutes := int64(d.Round(time.Minute) / time.Minute)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int64(d.Round(time.Second)/time.Second))
	case minutes < 60:
		return fmt.Sprintf("%dm", minutes)
	default:
		return fmt.Sprintf("%dh %02dm", minutes/60, minutes%60)
	}
}
