package pebblestore

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// TestCache: whatever is evicted, packed and read again, get gives the newest record of a
// user or none, and what it gave before does not change.
func TestCache(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &cacheModel{
			cache:  newCache(rapid.IntRange(1, 8).Draw(t, "decoded"), int64(rapid.SampledFrom([]int{0, slotPage, 8 * slotPage}).Draw(t, "packed"))),
			newest: make(map[store.User]*item),
		}
		m.begin()
		for i := range rapid.IntRange(1, 300).Draw(t, "steps") {
			n := rapid.IntRange(0, 20).Draw(t, "user")
			u := store.User{Account: presence.AccountID(fmt.Sprint("a", n%3)), ID: presence.UserID(fmt.Sprint("u", n))}
			m.step(t, u, i+1)
			m.check(t, u)
		}
	})
}

type cacheModel struct {
	cache  *cache
	newest map[store.User]*item
	// What pack is given: records as of some time, and the installs before they were read.
	read      map[store.User]*item
	installed []uint64
}

func (m *cacheModel) step(t *rapid.T, u store.User, i int) {
	switch rapid.SampledFrom([]string{"install", "install", "get", "offer", "pack", "begin"}).Draw(t, "step") {
	case "install":
		text := strings.Repeat("x", rapid.SampledFrom([]int{0, 30, 60, 300, 1200}).Draw(t, "size"))
		it := &item{user: u, at: store.Position(i), Recorded: presence.RecordedOf(presence.State{Revision: presence.Revision(i), Note: presence.Note{Text: text}})}
		m.cache.install(it, appendItem(nil, it))
		m.newest[u] = it
	case "offer": // what a slow reader found in the database
		if it, installs := m.cache.get(u); it == nil && m.newest[u] != nil {
			read := m.newest[u]
			if rapid.Bool().Draw(t, "late") {
				m.step(t, u, i)
			}
			m.cache.offer(read, installs)
		}
	case "pack":
		if it := m.read[u]; it != nil {
			m.cache.pack(u, appendItem(nil, it), m.installed)
		}
	case "begin":
		m.begin()
	}
}

func (m *cacheModel) begin() { m.installed, m.read = m.cache.installed(), maps.Clone(m.newest) }

func (m *cacheModel) check(t *rapid.T, u store.User) {
	it, _ := m.cache.get(u)
	if want := m.newest[u]; it != nil && (want == nil || it.at != want.at || it.State.Note != want.State.Note) {
		t.Fatalf("%v is as of %d with %d bytes of text, not the newest", u, it.at, len(it.State.Note.Text))
	}
	if decoded := m.cache.len(); decoded > 8 {
		t.Fatalf("%d decoded records", decoded)
	}
}
