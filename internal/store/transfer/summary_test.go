package transfer

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// summary has one item of each kind; change may change them.
func summary(t *testing.T, now time.Time, change func(*Record, *Entry, *Doc, *Info)) *Summary {
	t.Helper()
	u := store.User{Account: "a", ID: "b"}
	r := &Record{User: u, Recorded: presence.RecordedOf(presence.State{Revision: 7, At: presence.InstantOf(now)}), At: 3}
	e := &Entry{Entry: store.Entry{At: 3, User: u, Revision: 7, Time: now}, Previous: 2}
	d := &Doc{Account: "a", Doc: store.Doc{Key: store.Key{Collection: "c", Key: "k"}, Value: []byte("v")}, Written: 4}
	s := &Summary{info: Info{Epoch: "epoch"}, entries: make(hours), documents: make(hours)}
	change(r, e, d, &s.info)
	if err := errors.Join(s.addRecord(r), s.addEntry(e), s.addDocument(d)); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestCompare: every change of an item is a difference, unless the item has expired.
func TestCompare(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 30, 0, 0, time.UTC)
	same := func(*Record, *Entry, *Doc, *Info) {}
	for what, c := range map[string]struct {
		source, target func(*Record, *Entry, *Doc, *Info)
		want           string
	}{
		"nothing":         {same, same, "<nil>"},
		"position":        {same, func(r *Record, _ *Entry, _ *Doc, _ *Info) { r.At++ }, "records"},
		"state":           {same, func(r *Record, _ *Entry, _ *Doc, _ *Info) { r.State.Revision++ }, "records"},
		"user":            {same, func(r *Record, _ *Entry, _ *Doc, _ *Info) { r.User = store.User{Account: "ab"} }, "records"},
		"entry":           {same, func(_ *Record, e *Entry, _ *Doc, _ *Info) { e.By.Cause++ }, "log entries"},
		"entry's place":   {same, func(_ *Record, e *Entry, _ *Doc, _ *Info) { e.At++ }, "log entries"},
		"predecessor":     {same, func(_ *Record, e *Entry, _ *Doc, _ *Info) { e.Previous-- }, "log entries"},
		"dropped entry":   {same, func(_ *Record, e *Entry, _ *Doc, _ *Info) { e.Dropped = true }, "log entries"},
		"value":           {same, func(_ *Record, _ *Entry, d *Doc, _ *Info) { d.Value = nil }, "documents"},
		"version":         {same, func(_ *Record, _ *Entry, d *Doc, _ *Info) { d.Written++ }, "documents"},
		"expiry":          {same, func(_ *Record, _ *Entry, d *Doc, _ *Info) { d.Until = now.Add(2 * time.Hour) }, "documents"},
		"epoch":           {same, func(_ *Record, _ *Entry, _ *Doc, i *Info) { i.Epoch = "other" }, "epoch"},
		"a new epoch":     {func(_ *Record, _ *Entry, _ *Doc, i *Info) { i.Epoch = "" }, same, "<nil>"},
		"expired":         {expire(now.Add(-time.Second), "v"), expire(now.Add(-time.Minute), "w"), "<nil>"},
		"expires later":   {expire(now.Add(time.Hour), "v"), expire(now.Add(time.Hour), "w"), "documents"},
		"past retention":  {aged(now.Add(-50*time.Hour), 0), aged(now.Add(-60*time.Hour), 48*time.Hour), "<nil>"},
		"within it":       {aged(now.Add(-30*time.Hour), 0), aged(now.Add(-31*time.Hour), 48*time.Hour), "log entries"},
		"kept by neither": {aged(now.Add(-50*time.Hour), 0), aged(now.Add(-60*time.Hour), 0), "log entries"},
	} {
		_, err := Compare(summary(t, now, c.source), summary(t, now, c.target), now)
		want := c.want
		if want != "<nil>" {
			want = fmt.Sprintf("%v: %s: ", ErrDiffer, c.want)
		}
		if got := fmt.Sprint(err); len(got) < len(want) || got[:len(want)] != want || (err != nil && !errors.Is(err, ErrDiffer)) {
			t.Errorf("%s: %v, want %s", what, err, want)
		}
	}
}

func expire(at time.Time, value string) func(*Record, *Entry, *Doc, *Info) {
	return func(_ *Record, _ *Entry, d *Doc, _ *Info) { d.Until, d.Value = at, []byte(value) }
}

func aged(at time.Time, kept time.Duration) func(*Record, *Entry, *Doc, *Info) {
	return func(_ *Record, e *Entry, _ *Doc, i *Info) { e.Time, i.Retention = at, kept }
}
