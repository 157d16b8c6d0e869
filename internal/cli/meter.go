package cli

import (
	"fmt"
	"io"
	"time"
)

// How often a meter shows where it is: on a terminal, where it writes one line over
// and over, and elsewhere.
const (
	redrawEvery = 200 * time.Millisecond
	lineEvery   = 5 * time.Second
)

// A meter shows how far a long command is, on standard error.
type meter struct {
	to     io.Writer // nil: nobody looks
	what   string
	redraw bool
	now    func() time.Time

	begun, shown time.Time
	drawn        bool
}

func (s *shell) meter(what string, quiet bool) *meter {
	m := &meter{what: what, now: time.Now}
	if !quiet && !s.json {
		m.to, m.redraw = s.stderr, s.isTerminal(s.stderr)
	}
	return m
}

// tell shows how many bytes are done of about so many in all; zero: not known.
func (m *meter) tell(done, total int64) {
	if m.to == nil {
		return
	}
	now := m.now()
	if m.begun.IsZero() {
		m.begun, m.shown = now, now
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
	line := m.line(done, total, now.Sub(m.begun))
	if m.redraw {
		line, m.drawn = "\r\x1b[K"+line, true
	} else {
		line += "\n"
	}
	_, _ = io.WriteString(m.to, line) // there is nowhere to say that it failed
}

func (m *meter) line(done, total int64, took time.Duration) string {
	line := m.what + ": " + size(done)
	if total > 0 {
		line += fmt.Sprintf(" of about %s, %d%%", size(total), 100*min(done, total)/total)
	}
	return line + fmt.Sprintf(", %s/s", size(int64(float64(done)/took.Seconds())))
}

// end removes the line that was drawn.
func (m *meter) end() {
	if m.drawn {
		_, _ = io.WriteString(m.to, "\r\x1b[K") // likewise
	}
}
