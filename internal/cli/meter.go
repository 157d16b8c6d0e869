package cli

import (
	"fmt"
	"io"
	"time"
)

// How often a meter reports progress: on a terminal, where it redraws one line, and
// elsewhere.
const (
	redrawEvery = 200 * time.Millisecond
	lineEvery   = 5 * time.Second
)

// A meter shows the progress of a long command on standard error.
type meter struct {
	to     io.Writer // nil: show nothing
	what   string
	redraw bool
	now    func() time.Time

	started, shown time.Time
	drawn          bool
}

func (s *shell) meter(what string, quiet bool) *meter {
	m := &meter{what: what, now: time.Now}
	if !quiet && !s.json {
		m.to, m.redraw = s.stderr, s.isTerminal(s.stderr)
	}
	return m
}

// update reports that done of about total bytes are processed; total is zero if not
// known.
func (m *meter) update(done, total int64) {
	if m.to == nil {
		return
	}
	now := m.now()
	if m.started.IsZero() {
		m.started, m.shown = now, now
		return
	}
	every := lineEvery
	if m.redraw {
		every = redrawEvery
	}
	if now.Sub(m.shown) < every {
		return
	}
	m.shown = now
	line := m.line(done, total, now.Sub(m.started))
	if m.redraw {
		line, m.drawn = "\r\x1b[K"+line, true
	} else {
		line += "\n"
	}
	_, _ = io.WriteString(m.to, line) // there is nowhere to report a failure
}

func (m *meter) line(done, total int64, took time.Duration) string {
	line := m.what + ": " + size(done)
	if total > 0 {
		line += fmt.Sprintf(" of about %s, %d%%", size(total), 100*min(done, total)/total)
	}
	return line + fmt.Sprintf(", %s/s", size(int64(float64(done)/took.Seconds())))
}

// end removes the progress line from a terminal.
func (m *meter) end() {
	if m.drawn {
		_, _ = io.WriteString(m.to, "\r\x1b[K") // likewise
	}
}
