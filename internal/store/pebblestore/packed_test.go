package pebblestore

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// TestPacked: for records of any size and with hash collisions, get returns the last
// one put for that user, or none, and the size stays within its bound.
func TestPacked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const bound = 5 * slotPage
		p := newPacked(bound)
		last := make(map[store.User]string)
		for i := range rapid.IntRange(1, 400).Draw(t, "puts") {
			n := rapid.IntRange(0, 40).Draw(t, "user")
			u := store.User{Account: presence.AccountID(fmt.Sprint("a", n%3)), ID: presence.UserID(fmt.Sprint("u", n))}
			hash := uint64(n / 2) // two users share each
			text := fmt.Sprint(i, strings.Repeat("x", rapid.SampledFrom([]int{0, 30, 60, 300, 900, 1200}).Draw(t, "size")))
			it := &item{user: u, Recorded: presence.Recorded{State: presence.State{Revision: presence.Revision(i + 1), Note: presence.Note{Text: text}}}}
			p.encode(hash, it)
			last[u] = text
			for n := range 41 {
				u := store.User{Account: presence.AccountID(fmt.Sprint("a", n%3)), ID: presence.UserID(fmt.Sprint("u", n))}
				value, ok := p.get(nil, uint64(n/2), u)
				if !ok {
					continue
				}
				got, err := decodeItem(u, value)
				if err != nil || got.State.Note.Text != last[u] {
					t.Fatalf("%v: %+v, %v; want %q", u, got, err, last[u])
				}
			}
		}
		pages := 0
		for i := range p.classes {
			pages += len(p.classes[i].pages)
		}
		if pages*slotPage > bound {
			t.Fatalf("%d pages", pages)
		}
	})
}

// TestPackedKeeps: records that fit are not evicted.
func TestPackedKeeps(t *testing.T) {
	p := newPacked(1 << 20)
	const n = 2000
	user := func(i int) store.User { return store.User{Account: "a", ID: presence.UserID(fmt.Sprint(i))} }
	for round := range 3 {
		for i := range n {
			p.encode(uint64(i), &item{user: user(i), Recorded: presence.Recorded{State: presence.State{Revision: presence.Revision(round + 1)}}})
		}
	}
	for i := range n {
		if _, ok := p.get(nil, uint64(i), user(i)); !ok {
			t.Fatalf("user %d is gone", i)
		}
	}
	if grown := 1<<20 - p.free; grown > n*2*slotUnit+slotPage {
		t.Errorf("%d bytes for %d small records put thrice", grown, n)
	}
}
