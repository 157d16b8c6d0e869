package history_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"porchlight.dev/porchlight/internal/history"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

var nine = at("2026-03-01T09:00:00Z")

func positions(entries []store.Entry) (all []store.Position) {
	for i := range entries {
		all = append(all, entries[i].At)
	}
	return all
}

// TestPagesBothWays: whatever the query, its pages from the newest to the oldest, and
// back, have the entries of one read, each once.
func TestPagesBothWays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := drawLog(t, nine)
		q := history.Query{User: alice, All: rapid.Bool().Draw(t, "all"), Limit: 1000}
		if rapid.Bool().Draw(t, "bounded") {
			q.From = nine.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "from")) * time.Hour)
			q.To = q.From.Add(time.Duration(rapid.IntRange(1, 600).Draw(t, "hours")) * time.Hour)
		}
		whole, err := log.reader().Page(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		want := positions(whole.Entries)
		if whole.Older != 0 {
			t.Fatalf("the whole history has older entries")
		}
		q.Limit = rapid.IntRange(1, 7).Draw(t, "limit")
		var down []store.Position
		var last history.Page
		for {
			page, err := log.reader().Page(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			down, last = append(down, positions(page.Entries)...), page
			if page.Older == 0 {
				break
			}
			q.Before = page.Older
		}
		if !slices.Equal(down, want) {
			t.Fatalf("pages of older entries have %v, want %v", down, want)
		}
		up := positions(last.Entries)
		q.Before, q.After = 0, last.Newer
		for q.After != 0 {
			page, err := log.reader().Page(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Entries) == 0 {
				if page.Newer != q.After {
					t.Fatalf("an empty page goes on after %d, not %d", page.Newer, q.After)
				}
				break
			}
			if up = append(positions(page.Entries), up...); len(up) > len(want) {
				break // it repeats entries
			}
			q.After = page.Newer
		}
		if !slices.Equal(up, want) {
			t.Fatalf("pages of newer entries have %v, want %v", up, want)
		}
	})
}

// TestPageIsBounded: a page examines a bounded number of entries that it does not show,
// and says where to read on.
func TestPageIsBounded(t *testing.T) {
	log := new(fakeLog)
	first := log.add(nine, presence.Available, 0).At
	for i := range 12_000 {
		log.add(nine.Add(time.Duration(i+1)*time.Second), presence.Available, 0)
	}
	q := history.Query{User: alice, Limit: 10}
	pages := 0
	for ; pages < 10; pages++ {
		log.reads = 0
		page, err := log.reader().Page(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if log.reads > 7_000 {
			t.Errorf("a page read %d entries", log.reads)
		}
		if len(page.Entries) > 0 {
			if page.Entries[0].At != first || page.Older != 0 {
				t.Errorf("got %v", page)
			}
			break
		}
		q.Before = page.Older
	}
	if pages != 2 {
		t.Errorf("the entry was found on page %d", pages)
	}
}

// TestTooMany: reads that go back too far are refused.
func TestTooMany(t *testing.T) {
	log := new(fakeLog)
	for i := range history.MaxEntries + 10 {
		log.add(nine.Add(time.Duration(i)*time.Second), presence.Status(i%2), 0)
	}
	r := newestFirst{slices.Clone(log.entries)}
	slices.Reverse(r.entries)
	reader := history.Reader{Log: &r}
	_, page := reader.Page(t.Context(), history.Query{User: alice, After: 10, Limit: 10})
	_, shown := reader.At(t.Context(), alice, nine)
	_, statuses := reader.Statuses(t.Context(), alice, nine, nine.Add(time.Hour*1000))
	for what, err := range map[string]error{"a page": page, "an instant": shown, "a range": statuses} {
		if !errors.Is(err, history.ErrTooMany) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// newestFirst is a fakeLog that finds entries quickly.
type newestFirst struct{ entries []store.Entry }

func (l *newestFirst) History(_ context.Context, _ store.User, before store.Position, limit int) ([]store.Entry, error) {
	i := 0
	if before != 0 {
		i = len(l.entries) - int(before)/10 + 1
	}
	return l.entries[i:min(i+limit, len(l.entries))], nil
}

func (l *newestFirst) PositionAt(context.Context, time.Time) (store.Position, error) {
	return l.entries[0].At, nil
}

// TestStatuses: what was shown, from entries that are late, damaged, erased or missing.
func TestStatuses(t *testing.T) {
	hour := func(n int) time.Time { return nine.Add(time.Duration(n) * time.Hour) }
	for name, c := range map[string]struct {
		fill func(*fakeLog)
		want string // from 9 to 17 o'clock
	}{
		"no entries":        {func(*fakeLog) {}, "9-17 unknown"},
		"before the record": {func(l *fakeLog) { l.add(hour(2), presence.Available, 0) }, "9-11 unknown, 11-17 available"},
		"changes": {func(l *fakeLog) {
			l.add(hour(-20), presence.Offline, 0)
			l.add(hour(1), presence.Available, 0)
			l.add(hour(2), presence.Available, 0)
			l.add(hour(3), presence.Busy, 0)
		}, "9-10 offline, 10-12 available, 12-17 busy"},
		"a change after the range": {func(l *fakeLog) {
			l.add(hour(-20), presence.Away, 0)
			l.add(hour(9), presence.Busy, 0)
		}, "9-17 away"},
		"an expiry that was committed late": {func(l *fakeLog) {
			l.add(hour(0), presence.Busy, 0)
			l.add(hour(1), presence.Available, 3*time.Hour)
		}, "9-10 busy, 10-17 available"},
		"an expiry that was committed after the range": {func(l *fakeLog) {
			l.add(hour(0), presence.Busy, 0)
			l.add(hour(1), presence.Available, 10*time.Hour)
		}, "9-10 busy, 10-17 available"},
		"a gap": {func(l *fakeLog) {
			l.add(hour(0), presence.Away, 0)
			e := l.add(hour(5), presence.Busy, 0)
			e.Before.Status, e.Before.Since, e.Gap = presence.OnCall, presence.InstantOf(hour(3)), true
		}, "9-12 unknown, 12-14 on_call, 14-17 busy"},
		"older entries were dropped": {func(l *fakeLog) {
			l.add(hour(-9), presence.Away, 0)
			l.add(hour(5), presence.Busy, 0).Gap = true
			l.entries = l.entries[1:]
		}, "9-14 away, 14-17 busy"},
		"damage": {func(l *fakeLog) {
			l.add(hour(0), presence.Away, 0)
			l.add(hour(2), presence.OnCall, 0).Damaged = errors.New("damaged")
			l.add(hour(4), presence.Busy, 0)
		}, "9-11 unknown, 11-13 on_call, 13-17 busy"},
		"erased": {func(l *fakeLog) {
			l.add(hour(-9), presence.Away, 0)
			*l.add(hour(2), presence.OnCall, 0) = store.Anonymize(l.entries[1])
			*l.add(hour(4), presence.Busy, 0) = store.Anonymize(l.entries[2])
		}, "9-11 away, 11-17 unknown"},
	} {
		log := new(fakeLog)
		c.fill(log)
		spans, err := log.reader().Statuses(t.Context(), alice, nine, hour(8))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, span := range spans {
			status := "unknown"
			if span.Known {
				status = span.Status.String()
			}
			got = append(got, fmt.Sprintf("%d-%d %s", span.From.Hour(), span.To.Hour(), status))
		}
		if got := strings.Join(got, ", "); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestAt: what was shown at 12 o'clock, and the change that led to it.
func TestAt(t *testing.T) {
	hour := func(n int) time.Time { return nine.Add(time.Duration(n) * time.Hour) }
	for name, c := range map[string]struct {
		fill   func(*fakeLog)
		shown  store.Position // zero: not known
		change store.Position // zero: not known
	}{
		"nothing":           {func(*fakeLog) {}, 0, 0},
		"before the record": {func(l *fakeLog) { l.add(hour(4), presence.Busy, 0) }, 0, 0},
		"a change": {func(l *fakeLog) {
			l.add(hour(0), presence.Away, 0)
			l.add(hour(1), presence.Busy, 0)
			l.add(hour(2), presence.Busy, 0)
			l.add(hour(4), presence.Away, 0)
		}, 30, 20},
		"at the instant of a change": {func(l *fakeLog) {
			l.add(hour(0), presence.Away, 0)
			l.add(hour(3), presence.Busy, 0)
		}, 20, 20},
		"an expiry that was committed late": {func(l *fakeLog) {
			l.add(hour(0), presence.Busy, 0)
			l.add(hour(2), presence.Away, 5*time.Hour)
		}, 20, 20},
		"the change was dropped": {func(l *fakeLog) {
			l.add(hour(0), presence.Away, 0)
			l.add(hour(1), presence.Away, 0).Gap = true
		}, 20, 0},
		"a gap after it": {func(l *fakeLog) {
			l.add(hour(0), presence.Away, 0)
			l.add(hour(5), presence.Busy, 0).Gap = true
		}, 0, 0},
		"erased": {func(l *fakeLog) {
			*l.add(hour(0), presence.Away, 0) = store.Anonymize(l.entries[0])
		}, 0, 0},
		"damage after it": {func(l *fakeLog) {
			l.add(hour(0), presence.Away, 0)
			l.add(hour(1), presence.Busy, 0).Damaged = errors.New("damaged")
			l.add(hour(5), presence.Away, 0)
		}, 0, 0},
	} {
		log := new(fakeLog)
		c.fill(log)
		shown, err := log.reader().At(t.Context(), alice, hour(3))
		var change store.Position
		if shown.Change != nil {
			change = shown.Change.At
		}
		if shown.Entry.At != c.shown || change != c.change || errors.Is(err, history.ErrNotKnown) != (c.shown == 0) {
			t.Errorf("%s: shown %d, change %d, %v; want %d, %d", name, shown.Entry.At, change, err, c.shown, c.change)
		}
	}
}
