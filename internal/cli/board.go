package cli

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

// A board redraws itself in place: a row for each user, one for the latest watch
// that fired, if any, and one for the connection. It leaves earlier output on the
// terminal alone, and stays on the screen at the end.
type board struct {
	shell *shell
	names *names
	size  func() area
	wake  chan struct{}

	mu        sync.Mutex
	rows      []row
	connected bool
	lost      client.State
	retryAt   time.Time // of the next connection attempt
	watch     string    // the latest that fired

	painted []line // what is on the terminal
	on      area   // the terminal's size at that time
}

// A row is one user.
type row struct {
	name string // as shown
	id   string // "" until the first presence arrives
	api.Presence
}

func newBoard(s *shell, users []string, names *names, size func() area) *board {
	b := &board{shell: s, names: names, size: size, wake: make(chan struct{}, 1)}
	for _, user := range users {
		b.rows = append(b.rows, row{name: user})
	}
	return b
}

func (b *board) state(state client.State) {
	b.mu.Lock()
	b.connected, b.lost, b.retryAt = state.Connected, state, time.Now().Add(state.RetryAfter)
	b.mu.Unlock()
	b.touch()
}

// fired shows the latest watch on the board.
func (b *board) fired(ctx context.Context, watch *api.Watch) {
	name := b.names.of(ctx, &api.Presence{User: watch.User})
	b.mu.Lock()
	b.watch = watchFired(watch, name)
	b.mu.Unlock()
	b.touch()
}

func (b *board) touch() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// show paints after each change, and every second because the terminal's size and
// the time until the next retry change.
func (b *board) show(ctx context.Context, changes iter.Seq[client.Change]) error {
	ended := make(chan struct{})
	go func() { // if the terminal is gone, changes end after show
		defer close(ended)
		for change := range changes {
			b.apply(&change, b.names.of(ctx, &change.Presence))
			b.touch()
		}
	}()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		if err := b.paint(time.Now()); err != nil {
			return err
		}
		select {
		case <-ended:
			return b.paint(time.Now())
		case <-b.wake:
		case <-second.C:
		}
	}
}

// apply puts a change into its row.
func (b *board) apply(c *client.Change, name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := slices.IndexFunc(b.rows, func(r row) bool { return r.id == c.User || (r.id == "" && (r.name == name || r.name == c.User)) })
	switch {
	case c.Gone && at >= 0:
		b.rows = slices.Delete(b.rows, at, at+1)
	case c.Gone:
	case at >= 0:
		b.rows[at] = row{name, c.User, c.Presence}
	default:
		b.rows = append(b.rows, row{name, c.User, c.Presence})
	}
}

// paint writes the board over the last one.
func (b *board) paint(now time.Time) error {
	size := b.size()
	b.mu.Lock()
	lines := b.lines(size, now)
	b.mu.Unlock()
	if slices.Equal(lines, b.painted) && size == b.on {
		return nil
	}
	var out strings.Builder
	if up := b.above(size.width); up > 0 {
		fmt.Fprintf(&out, "\x1b[%dA", up)
	}
	for _, line := range lines {
		out.WriteString("\r" + line.text + "\x1b[K\n")
	}
	b.painted, b.on = lines, size
	out.WriteString("\x1b[J") // what was longer
	_, err := b.shell.stdout.Write([]byte(out.String()))
	return err
}

// above is the number of lines from the cursor up to the top of the board. A
// terminal that became narrower has wrapped its lines.
func (b *board) above(width int) int {
	up := 0
	for _, painted := range b.painted {
		up += max(1, (painted.width+width-1)/width)
	}
	return up
}

// A line is a text and its width without colours.
type line struct {
	text  string
	width int
}

func (b *board) lines(size area, now time.Time) []line {
	rows := b.rows
	below := []line{plain(b.footer(now), size.width)}
	if b.watch != "" {
		below = append([]line{plain(b.watch, size.width)}, below...)
	}
	if fit := max(1, size.height-1-len(below)); len(rows) > fit {
		rows = rows[:max(0, fit-1)]
	}
	names := 0
	for _, r := range rows {
		names = max(names, widthOf(printable(r.name)))
	}
	names = min(names, max(8, size.width-statusColumn-len("    since 15:04:05"))) // the status and the time take precedence over long names
	lines := make([]line, 0, len(rows)+1+len(below))
	for _, r := range rows {
		lines = append(lines, b.line(&r, names, size.width))
	}
	if left := len(b.rows) - len(rows); left > 0 {
		lines = append(lines, plain(fmt.Sprintf("and %d more", left), size.width))
	}
	return append(lines, below...)
}

func plain(text string, width int) line {
	text = cut(printable(text), width)
	return line{text, widthOf(text)}
}

// statusColumn is as wide as the longest status.
const statusColumn = len(api.InCalendarEvent)

func (b *board) line(r *row, names, width int) line {
	if r.id == "" {
		return plain(padded(printable(r.name), names)+"  …", width)
	}
	name := padded(printable(r.name), names) + "  "
	rest := ""
	if !r.Since.IsZero() {
		rest += "  since " + clock(r.Since)
	}
	if r.Note != "" {
		rest += "  " + r.Note
	}
	status := padded(string(r.Status), statusColumn)
	line := plain(name+status+rest, width)
	if before, after, ok := strings.Cut(line.text, string(r.Status)); ok && before == name {
		line.text = before + b.shell.coloured(r.Status) + after // colours have no width
	}
	return line
}

// footer is the state of the connection.
func (b *board) footer(now time.Time) string {
	switch {
	case b.connected:
		return "Connected. Press Ctrl-C to stop."
	case b.lost.Err == nil:
		return "Connecting …"
	case now.Before(b.retryAt):
		return fmt.Sprintf("Reconnecting in %s: %s", rounded(b.retryAt.Sub(now)), b.shell.brief(b.lost.Err))
	default:
		return "Reconnecting: " + b.shell.brief(b.lost.Err)
	}
}
