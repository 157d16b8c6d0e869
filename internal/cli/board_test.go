package cli

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

// TestBoard: the output of a board over time, on a terminal that becomes narrower and
// is too low. Escape sequences are spelled out.
func TestBoard(t *testing.T) {
	var out strings.Builder
	on := area{61, 20}
	s := &shell{stdout: &out, getenv: func(string) string { return "" }}
	b := newBoard(s, []string{"ada@x.test", "b"}, &names{users: map[string]api.User{"a": {Email: "ada@x.test"}}}, func() area { return on })
	expectPainted := func(want string) {
		t.Helper()
		out.Reset()
		if err := b.paint(now); err != nil {
			t.Fatal(err)
		}
		if got := strings.NewReplacer("\x1b[K\n", "\n", "\r", "", "\x1b", "ESC").Replace(out.String()); got != want {
			t.Errorf("painted:\n%s\nwant:\n%s", got, want)
		}
	}
	change := func(name, id string, status api.Status, note string) {
		b.apply(&client.Change{Presence: api.Presence{User: id, Status: status, Note: note, Since: api.At(now)}}, name)
	}

	expectPainted("ada@x.test  …\nb           …\nConnecting …\nESC[J")
	expectPainted("") // nothing changed
	change("ada@x.test", "a", api.Busy, "漢字\x1b[2J and what is too long for a line")
	change("c@x.test", "c", api.Available, "")
	b.state(client.State{Connected: true})
	expectPainted("ESC[3A" +
		"ada@x.test  busy               since 2026-03-01 09:30:00  漢…\n" +
		"b           …\n" +
		"c@x.test    available          since 2026-03-01 09:30:00\n" +
		"Connected. Press Ctrl-C to stop.\nESC[J")

	on = area{30, 4} // the lines now wrap into three, one, two and two
	b.apply(&client.Change{Presence: api.Presence{User: "b"}, Gone: true}, "b")
	change("d@x.test", "d", api.Available, "")
	b.lost, b.connected, b.retryAt = client.State{Err: errors.New("gone")}, false, now.Add(90*time.Second)
	expectPainted("ESC[8Aada@x.t…  busy               …\nand 2 more\nReconnecting in 1m30s: gone\nESC[J")
	b.retryAt = now
	b.apply(&client.Change{Presence: api.Presence{User: "d"}, Gone: true}, "d")
	expectPainted("ESC[3Aada@x.t…  busy               …\nc@x.test  available          …\nReconnecting: gone\nESC[J")

	// A fired watch has a line of its own, so there is one line less for users.
	on = area{90, 4}
	b.fired(t.Context(), &api.Watch{ID: "W", User: "a", Status: api.Busy, Note: "x", Fired: api.At(now)})
	expectPainted("ESC[3Aand 2 more\n" +
		"watch W fired at 2026-03-01 09:30:00: ada@x.test became busy  \"x\"\n" +
		"Reconnecting: gone\nESC[J")
	on.height = 5
	expectPainted("ESC[3Aada@x.test  busy               since 2026-03-01 09:30:00  漢字�[2J and what is too long f…\n" +
		"c@x.test    available          since 2026-03-01 09:30:00\n" +
		"watch W fired at 2026-03-01 09:30:00: ada@x.test became busy  \"x\"\n" +
		"Reconnecting: gone\nESC[J")
}

// TestBoardWithoutTerminal: a board whose terminal is gone ends at once, not with the stream.
func TestBoardWithoutTerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		terminal, gone := io.Pipe()
		_ = terminal.Close()
		b := newBoard(&shell{stdout: gone, getenv: func(string) string { return "" }}, []string{"ada@x.test"}, new(names), func() area { return area{80, 20} })
		ctx, end := context.WithCancel(t.Context())
		shown := make(chan error, 1)
		go func() { shown <- b.show(ctx, func(func(client.Change) bool) { <-ctx.Done() }) }()
		select {
		case err := <-shown:
			if !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("the board ended with %v", err)
			}
		case <-time.After(time.Hour):
			t.Error("the board does not end")
		}
		end()
	})
}

var now = time.Date(2026, 3, 1, 9, 30, 0, 0, time.Local)
