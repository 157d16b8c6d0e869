package natsstore_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// TestGap stops the history stream while one user changes more often than the
// state stream keeps, and another does not. The feed then says exactly where
// versions are missing.
func TestGap(t *testing.T) {
	t.Parallel()
	const often, seldom, kept = 40, 10, 16
	servers := startServers(t, 1)
	s := servers.open(t, servers.options())
	defer closed(t, s)
	a := servers.admin(t)
	update := func(u store.User, times int) (made []store.Position) {
		for range times {
			r, err := s.Update(t.Context(), u, storetest.ByHand(store.By{}, touch))
			if err != nil {
				t.Fatal(err)
			}
			made = append(made, r.At)
		}
		return made
	}
	hot, calm := someone(1), someone(2)
	update(hot, 1)
	update(calm, 1)
	waitFor(t, "the history", func() bool { return a.messages("porchlight-history") == 2 })
	var sources []*jetstream.StreamSource
	a.change("porchlight-history", func(c *jetstream.StreamConfig) { sources, c.Sources = c.Sources, nil })
	dropped := update(hot, often)
	calmly := update(calm, seldom)
	a.change("porchlight-history", func(c *jetstream.StreamConfig) { c.Sources = sources })
	last := append(update(hot, 1), update(calm, 1)...)

	want := map[store.Position]bool{} // of the entries that must come: whether after a gap
	for i, at := range dropped[often-kept+1:] {
		want[at] = i == 0
	}
	for _, at := range append(calmly, last...) {
		want[at] = false
	}
	read := 0
	enough := errors.New("enough")
	err := s.Feed(t.Context(), 0, func(group []store.Entry) error {
		for _, e := range group {
			if read++; read <= 2 {
				continue // those before the history was stopped
			}
			gap, ok := want[e.At]
			if !ok || gap != e.Gap {
				t.Errorf("the entry of %s at %d: expected: %v, gap: %v", e.User.ID, e.At, ok, e.Gap)
			}
			delete(want, e.At)
		}
		if len(want) == 0 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Errorf("Feed: %v, without %v", err, want)
	}
}

// TestGapAfterRestart: the predecessor of an entry may have been given by a Feed
// before this one.
func TestGapAfterRestart(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	s := servers.open(t, servers.options())
	var taken store.Position
	for round := range 3 {
		for i := range 20 {
			if _, err := s.Update(t.Context(), someone(i), storetest.ByHand(store.By{}, touch)); err != nil {
				t.Fatal(err)
			}
		}
		enough, read := errors.New("enough"), 0
		err := s.Feed(t.Context(), taken, func(group []store.Entry) error {
			for _, e := range group {
				if e.Gap {
					t.Errorf("round %d: a gap before the entry of %s at %d", round, e.User.ID, e.At)
				}
			}
			if read >= 20 {
				return enough // the rest was taken
			}
			taken = group[len(group)-1].At
			if read += len(group); read >= 20 {
				go func() { _, _ = s.Update(t.Context(), someone(100), storetest.ByHand(store.By{}, touch)) }()
			}
			return nil
		})
		if !errors.Is(err, enough) {
			t.Errorf("Feed: %v", err)
		}
		closed(t, s)
		s = servers.open(t, servers.options())
	}
	closed(t, s)
}

// TestGapRetention: what a reader was given before it was dropped by age is no
// gap, and what it was not given is one.
func TestGapRetention(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	o := servers.options()
	o.Retention = time.Second
	s := servers.open(t, o)
	enough := errors.New("enough")
	next := func(after, at store.Position) (e store.Entry) {
		t.Helper()
		err := s.Feed(t.Context(), after, func(group []store.Entry) error {
			for _, e = range group {
				if e.At == at {
					return enough
				}
			}
			return nil
		})
		if !errors.Is(err, enough) {
			t.Fatalf("Feed: %v", err)
		}
		return e
	}
	update := func(i int) store.Position {
		t.Helper()
		r, err := s.Update(t.Context(), someone(i), storetest.ByHand(store.By{}, touch))
		if err != nil {
			t.Fatal(err)
		}
		return r.At
	}
	first := update(1)
	next(0, first)
	a := servers.admin(t)
	waitFor(t, "the end of the entries", func() bool { return a.messages("porchlight-history") == 0 })
	closed(t, s)
	s = servers.open(t, o)
	defer func() { closed(t, s) }()
	at := update(1)
	if e := next(first, at); e.Gap {
		t.Errorf("a gap before what follows an entry that was given: %+v", e)
	}
	if e := next(0, at); !e.Gap {
		t.Errorf("no gap before what follows an entry that was dropped: %+v", e)
	}
}
