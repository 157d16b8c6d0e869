package natsstore_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// TestGap stops the history stream while one user changes more often than the state
// stream keeps versions, and another does not. Exactly the entries with missing
// predecessors have a Gap.
func TestGap(t *testing.T) {
	t.Parallel()
	const often, seldom, kept = 40, 10, 16
	servers := startServers(t, 1)
	s := servers.open(t, servers.options())
	defer closeStore(t, s)
	a := servers.admin(t)
	update := func(u store.User, times int) (made []store.Position) {
		for range times {
			r, err := s.Update(t.Context(), u, storetest.UpdateFunc(store.By{}, touch))
			if err != nil {
				t.Fatal(err)
			}
			made = append(made, r.At)
		}
		return made
	}
	hot, calm := userNumber(1), userNumber(2)
	update(hot, 1)
	update(calm, 1)
	waitFor(t, "the history", func() bool { return a.messages("porchlight-history") == 2 })
	var sources []*jetstream.StreamSource
	a.change("porchlight-history", func(c *jetstream.StreamConfig) { sources, c.Sources = c.Sources, nil })
	dropped := update(hot, often)
	calmly := update(calm, seldom)
	a.change("porchlight-history", func(c *jetstream.StreamConfig) { c.Sources = sources })
	// The servers resume a moment later. An update before would drop one more version.
	waitFor(t, "the rest of the history", func() bool { return a.messages("porchlight-history") == 2+kept+seldom })
	last := append(update(hot, 1), update(calm, 1)...)

	want := map[store.Position]bool{} // expected entries: whether they have a Gap
	for i, at := range dropped[often-kept:] {
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

// TestGapAfterRestart: an entry whose predecessor was delivered before a restart of the
// reader, or of the store, has no Gap.
func TestGapAfterRestart(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	s := servers.open(t, servers.options())
	after := store.Position(0)
	for round := range 3 {
		for i := range 20 {
			if _, err := s.Update(t.Context(), userNumber(i), storetest.UpdateFunc(store.By{}, touch)); err != nil {
				t.Fatal(err)
			}
		}
		for _, e := range follow(t, s, after, 20) {
			if e.Gap {
				t.Errorf("round %d: a gap before the entry of %s at %d", round, e.User.ID, e.At)
			}
			after = e.At
		}
		closeStore(t, s)
		s = servers.open(t, servers.options())
	}
	closeStore(t, s)
}

// retention is short enough to wait for it, and long enough to read an entry before on a
// machine that stalls.
const retention = 8 * time.Second

// TestGapRetention: a reader that had read the expired entries gets no Gap, and another
// one does.
func TestGapRetention(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	o := servers.options()
	o.Retention = retention
	s := servers.open(t, o)
	first := update(t, s, userNumber(1), noEdit).At
	a := servers.admin(t)
	waitFor(t, "the entry", func() bool { return a.messages("porchlight-history") > 0 })
	waitFor(t, "the end of the entry", func() bool { return a.messages("porchlight-history") == 0 })
	closeStore(t, s)
	s = servers.open(t, o)
	defer func() { closeStore(t, s) }()
	at := update(t, s, userNumber(1), noEdit).At
	for after, gap := range map[store.Position]bool{first: false, 0: true} {
		if e := follow(t, s, after, 1)[0]; e.At != at || e.Gap != gap {
			t.Errorf("after %d: an entry at %d, gap %v; want %d, %v", after, e.At, e.Gap, at, gap)
		}
	}
}

// TestTheLastEntryReadIsDropped: a reader continues after the entry that it read last,
// and whose position the store caches, expired.
func TestTheLastEntryReadIsDropped(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	o := servers.options()
	o.Retention = retention
	s := closeAtEnd(t, servers.open(t, o))
	first := update(t, s, userNumber(1), noEdit).At
	if got, err := s.Log(t.Context(), 0, 10); err != nil || len(got) != 1 {
		t.Fatalf("%v, %v", got, err)
	}
	a := servers.admin(t)
	waitFor(t, "the end of the entry", func() bool { return a.messages("porchlight-history") == 0 })
	at := update(t, s, userNumber(1), noEdit).At
	if e := follow(t, s, first, 1)[0]; e.At != at || e.Gap {
		t.Errorf("an entry at %d, gap %v; want %d", e.At, e.Gap, at)
	}
}
