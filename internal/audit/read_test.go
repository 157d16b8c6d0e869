package audit_test

import (
	"fmt"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// sequences are those of a query's pages, in the order of reading, and of the way back.
func (w *world) sequences(q audit.Query) (there, back []uint64) {
	w.Helper()
	backwards := func(p *audit.Page) uint64 {
		if q.Oldest {
			return p.Older
		}
		return p.Newer
	}
	forwards := func(p *audit.Page) uint64 { return p.Older + p.Newer - backwards(p) }
	turn := func(mark uint64, older bool) audit.Query {
		next := q
		next.Before, next.After = 0, 0
		if older {
			next.Before = mark
		} else {
			next.After = mark
		}
		return next
	}
	next := q
	for {
		p, err := w.log.Page(w.Context(), account, &next)
		apptest.Check(w.T, err)
		for i := range p.Records {
			there = append(there, p.Records[i].Sequence)
		}
		mark := forwards(&p)
		if mark != 0 {
			next = turn(mark, !q.Oldest)
			continue
		}
		for mark := backwards(&p); mark != 0; {
			next = turn(mark, q.Oldest)
			p, err := w.log.Page(w.Context(), account, &next)
			apptest.Check(w.T, err)
			for i := len(p.Records) - 1; i >= 0; i-- {
				back = append(back, p.Records[i].Sequence)
			}
			mark = backwards(&p)
		}
		return there, back
	}
}

// TestPages reads logs by every filter in both orders, in pages of several sizes, there and
// back.
func TestPages(t *testing.T) {
	w := newWorld(t)
	begun := w.clock.Now()
	for i := range 30 {
		e := &audit.Event{Action: []string{"user.create", "user.update"}[i%2], Target: fmt.Sprintf("user/u%d", i%3), Denied: i%5 == 0}
		e.By.User = presence.UserID(fmt.Sprintf("u%d", i%4))
		apptest.Check(t, w.log.Record(t.Context(), account, e))
		if i%2 == 1 {
			w.clock.Advance(time.Minute)
		}
	}
	at := func(minutes int) time.Time { return begun.Add(time.Duration(minutes) * time.Minute) }
	for _, tt := range []struct {
		name string
		q    audit.Query
		want func(i int) bool
	}{
		{"all", audit.Query{}, func(int) bool { return true }},
		{"action", audit.Query{Action: "user.update"}, func(i int) bool { return i%2 == 1 }},
		{"user", audit.Query{User: "u2"}, func(i int) bool { return i%3 == 2 || i%4 == 2 }},
		{"target", audit.Query{Target: "user/u1"}, func(i int) bool { return i%3 == 1 }},
		{"denied", audit.Query{Denied: true}, func(i int) bool { return i%5 == 0 }},
		{"from", audit.Query{From: at(4)}, func(i int) bool { return i/2 >= 4 }},
		{"from a moment later", audit.Query{From: at(4).Add(1)}, func(i int) bool { return i/2 >= 5 }},
		{"to", audit.Query{To: at(4)}, func(i int) bool { return i/2 < 4 }},
		{"range", audit.Query{From: at(2), To: at(9), Denied: true}, func(i int) bool { return i/2 >= 2 && i/2 < 9 && i%5 == 0 }},
		{"future", audit.Query{From: at(100)}, func(int) bool { return false }},
		{"past", audit.Query{To: at(0)}, func(int) bool { return false }},
		{"nothing", audit.Query{Action: "x.y"}, func(int) bool { return false }},
	} {
		var want []uint64
		for i := range 30 {
			if tt.want(i) {
				want = append(want, uint64(i+1))
			}
		}
		for _, limit := range []int{1, 2, 7, 30, 100} {
			for _, oldest := range []bool{true, false} {
				q := tt.q
				q.Limit, q.Oldest = limit, oldest
				there, back := w.sequences(q)
				if !oldest {
					reverse(there)
				} else {
					reverse(back)
				}
				if fmt.Sprint(there) != fmt.Sprint(want) {
					t.Errorf("%s, limit %d, oldest %v: %v, want %v", tt.name, limit, oldest, there, want)
				}
				if rest := len(want) - len(back); rest < 0 || rest > limit {
					t.Errorf("%s, limit %d, oldest %v: %v on the way back", tt.name, limit, oldest, back)
				}
			}
		}
	}
}

func reverse(s []uint64) {
	for i := range len(s) / 2 {
		s[i], s[len(s)-1-i] = s[len(s)-1-i], s[i]
	}
}

// TestTimeRangeReads: a time range does not read what is outside it.
func TestTimeRangeReads(t *testing.T) {
	w := newWorld(t)
	for range 3000 {
		w.log.Later(account, &audit.Event{Action: "x.y"})
	}
	w.log.Flush(t.Context())
	w.clock.Advance(time.Hour)
	w.record(1)
	before := w.store.Calls(storetest.Load)
	p, err := w.log.Page(t.Context(), account, &audit.Query{From: w.clock.Now().Add(-time.Minute), Limit: 100})
	if reads := w.store.Calls(storetest.Load) - before; err != nil || len(p.Records) != 1 || reads > 16 {
		t.Errorf("%d events, %d reads, %v", len(p.Records), reads, err)
	}
}
