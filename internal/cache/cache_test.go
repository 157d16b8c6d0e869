package cache

import (
	"hash/maphash"
	"testing"
	"time"
)

type key struct{ account, name string }

func secondAt(second int) time.Time { return time.Date(2026, 11, 22, 12, 0, second, 0, time.UTC) }

func newTable(places int) *Table[key, int] { return New[key, int](maphash.MakeSeed(), places) }

func (t *Table[K, V]) read(k K, v V, now time.Time) {
	e := t.Begin(k, now)
	e.Value = v
	t.Put(e)
}

// TestAge: Get returns an entry that is younger than the limit and not from the future.
func TestAge(t *testing.T) {
	c, k := newTable(ways), key{"one", "ann"}
	c.read(k, 7, secondAt(10))
	for second, want := range map[int]bool{9: false, 10: true, 14: true, 15: false} {
		if e := c.Get(k, secondAt(second), 5*time.Second); (e != nil) != want || want && e.Value != 7 {
			t.Errorf("at second %d: %v, want %v", second, e, want)
		}
	}
}

// TestKeysAreDistinct: an entry is not returned for another key of the same slot.
func TestKeysAreDistinct(t *testing.T) {
	c := newTable(64)
	e := c.Begin(key{"one", "ann"}, secondAt(0))
	for i := range c.places {
		c.places[i].Store(e)
	}
	for _, k := range []key{{"two", "ann"}, {"one", "bob"}, {}} {
		if e := c.Get(k, secondAt(0), time.Second); e != nil {
			t.Errorf("%+v gets %+v", k, e)
		}
	}
}

// TestIsBounded: a full bucket evicts its oldest entry, and a newer entry of a key
// replaces the older.
func TestIsBounded(t *testing.T) {
	c := newTable(ways)
	keys := []key{{"", "0"}, {"", "1"}, {"", "2"}, {"", "3"}, {"", "4"}}
	for i, k := range keys {
		c.read(k, i, secondAt(i))
	}
	c.read(keys[4], 44, secondAt(4))
	for i, k := range keys {
		e := c.Get(k, secondAt(5), time.Minute)
		if want := i > 0; (e != nil) != want {
			t.Errorf("number %d: %v, want %v", i, e, want)
		}
	}
	if e := c.Get(keys[4], secondAt(5), time.Minute); e.Value != 44 {
		t.Errorf("the older of two entries: %d", e.Value)
	}
	c.Delete(keys[4])
	if e := c.Get(keys[4], secondAt(5), time.Minute); e != nil {
		t.Errorf("still present after deletion: %+v", e)
	}
}

// TestInvalidate: a value that was being read when its key was invalidated is never
// returned, whenever it is stored.
func TestInvalidate(t *testing.T) {
	c, k := newTable(64), key{"one", "ann"}
	c.read(k, 1, secondAt(0))
	late := c.Begin(k, secondAt(0))
	c.Invalidate(k)
	if e := c.Get(k, secondAt(0), time.Minute); e != nil {
		t.Errorf("%+v was present before", e)
	}
	c.Put(late)
	if e := c.Get(k, secondAt(0), time.Minute); e != nil {
		t.Errorf("%+v was stored late", e)
	}
	c.read(k, 2, secondAt(0))
	if e := c.Get(k, secondAt(0), time.Minute); e == nil || e.Value != 2 {
		t.Errorf("after a new read: %+v", e)
	}
}

func TestGetAllocatesNothing(t *testing.T) {
	c, k := newTable(64), key{"one", "ann"}
	c.read(k, 1, secondAt(0))
	if n := testing.AllocsPerRun(100, func() { c.Get(k, secondAt(0), time.Minute) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
