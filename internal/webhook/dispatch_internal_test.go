package webhook

import (
	"fmt"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

func entriesAfter(after store.Position, n int) []store.Entry {
	entries := make([]store.Entry, n)
	for i := range entries {
		entries[i] = store.Entry{At: after + store.Position(i) + 1, User: store.User{Account: "a", ID: presence.UserID(fmt.Sprint("u", i%7))}}
	}
	return entries
}

// BenchmarkHandle measures what the consumer adds to each entry of the log, with some
// subscriptions that keep up. What takes the entries from the queues is not measured.
func BenchmarkHandle(b *testing.B) {
	const group = 64
	for _, n := range []int{0, 1, 20} {
		b.Run(fmt.Sprint("subscriptions=", n), func(b *testing.B) {
			d := NewDeliverer(DelivererOptions{Clock: time.Now})
			d.dispatch.reset()
			flows := make([]*flow, n)
			for i := range flows {
				flows[i] = newFlow(&Subscription{Account: "a"}, 0)
				if !d.dispatch.join(flows[i], 0) {
					b.Fatal("a flow cannot join")
				}
			}
			entries := entriesAfter(0, group)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%group > 0 {
					continue // the figures are for one entry
				}
				if err := (handler{d}).Handle(b.Context(), entries); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				for j := range entries {
					entries[j].At += group
				}
				for _, f := range flows {
					if taken, _, behind := f.takeEntries(group, 0); len(taken) != group || behind {
						b.Fatalf("%d entries were queued, behind: %v", len(taken), behind)
					}
				}
				b.StartTimer()
			}
		})
	}
}

// offer passes entries of which none is damaged.
func offer(t *testing.T, d *dispatcher, entries []store.Entry) {
	t.Helper()
	if damaged := d.offer(entries, time.Time{}); damaged != nil {
		t.Fatal(damaged)
	}
}

// TestQueueFull: a flow whose queue is full loses nothing: it reads the log from where
// the queue ends, and joins again.
func TestQueueFull(t *testing.T) {
	var d dispatcher
	d.reset()
	f, other := newFlow(&Subscription{Account: "a"}, 0), newFlow(&Subscription{Account: "b"}, 0)
	if !d.join(f, 0) || !d.join(other, 0) {
		t.Fatal("a flow cannot join")
	}
	offer(t, &d, entriesAfter(0, maxQueue+10))
	if d.all != 1 || len(d.live["a"]) != 0 {
		t.Errorf("%d flows keep up", d.all)
	}
	taken, _, behind := f.takeEntries(10, 0)
	if len(taken) != 10 || behind {
		t.Errorf("%d entries, behind: %v", len(taken), behind)
	}
	taken, after, behind := f.takeEntries(10*maxQueue, 0)
	if len(taken) != maxQueue-10 || !behind || after != maxQueue {
		t.Errorf("%d entries, and then from %d, behind: %v", len(taken), after, behind)
	}
	if d.join(f, after) {
		t.Error("the flow joined before it had read what was offered meanwhile")
	}
	if !d.join(f, maxQueue+10) {
		t.Error("the flow cannot join")
	}
	offer(t, &d, entriesAfter(maxQueue+5, 10)) // some again
	if taken, _, _ = f.takeEntries(100, 0); len(taken) != 5 || taken[0].At != maxQueue+11 {
		t.Errorf("%d entries after it joined", len(taken))
	}
	if taken, after, behind = other.takeEntries(1, store.Position(d.handled.Load())); len(taken) != 0 || behind || after != maxQueue+15 {
		t.Errorf("a flow that wants none of the entries: %d entries, at %d, behind: %v", len(taken), after, behind)
	}
}
