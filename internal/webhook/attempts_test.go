package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/webhook"
)

// deliveries lists all attempts in pages.
func (f *fixture) deliveries(s *webhook.Subscription, page int) (all []webhook.Attempt) {
	f.Helper()
	for before := ""; ; {
		part, more, err := f.d.Deliveries(context.Background(), s, before, page)
		if err != nil || len(part) > page || more != "" && len(part) < page {
			f.Fatalf("a page of %d attempts, of at most %d, and more at %q: %v", len(part), page, more, err)
		}
		all = append(all, part...)
		if more == "" {
			return all
		}
		before = more
	}
}

// TestDeliveries: attempts are listed newest first, in pages of any size, also those of
// the last second, and after a restart.
func TestDeliveries(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := subscription("one")
		s.Profile = "strict"
		f := newFixture(t, st, s, subscription("one2"), subscription("on"))
		f.start()
		e := f.network.endpoint(s.URL)
		e.set(func(n int, _ *webhook.Request) reply {
			if n == 0 {
				return reply{status: 503, after: 70 * time.Millisecond}
			}
			return reply{status: 200}
		})
		if got := f.deliveries(s, 10); len(got) != 0 {
			t.Errorf("before any attempt: %v", got)
		}
		first := f.change("u0")
		advance(10 * time.Second)
		for i := range 350 {
			f.change(userNumber(i % 50))
			time.Sleep(10 * time.Millisecond)
		}
		advance(5 * time.Minute)
		f.change("last")
		advance(time.Millisecond)
		check := func() {
			t.Helper()
			for _, size := range []int{1, 7, 100, 1000} {
				got := f.deliveries(s, size)
				if len(got) != 353 || got[0].User != "last" || !slices.IsSortedFunc(got, func(a, b webhook.Attempt) int { return b.Started.Compare(a.Started) }) {
					t.Fatalf("in pages of %d: %d attempts, the newest %+v", size, len(got), got[0])
				}
				failed := got[len(got)-1]
				if failed.At != first || failed.Status != 503 || failed.Number != 1 || failed.Duration != 70*time.Millisecond ||
					string(failed.Answer) != "an answer" || failed.Reason == "" || failed.Event == "" || failed.Type != "changed" ||
					failed.Next.Sub(failed.Started) != 5*time.Minute+70*time.Millisecond {
					t.Errorf("the failed attempt is %+v", failed)
				}
				retried := got[1]
				if retried.Number != 2 || retried.Event != failed.Event || !retried.Stale || retried.Status != 200 || retried.Reason != "" || !retried.Next.IsZero() {
					t.Errorf("the retry is %+v", retried)
				}
			}
		}
		check()
		f.stop()
		f.start()
		advance(time.Second)
		check()
		for _, cursor := range []string{"x", "1", "-", "1-x", "1--1", "99999999999999999999-1", "18446744073709551615-1"} {
			if _, _, err := f.d.Deliveries(context.Background(), s, cursor, 10); !errors.Is(err, webhook.ErrCursor) {
				t.Errorf("cursor %q: %v", cursor, err)
			}
		}
		if got, more, err := f.d.Deliveries(context.Background(), s, "500-3", 1000); err != nil || more != "" || len(got) != 353 {
			t.Errorf("before an attempt that does not exist yet: %d, %q, %v", len(got), more, err)
		}
	})
}

// TestAttemptElsewhere: a test of an endpoint on a node that does not deliver is listed on all
// nodes, among the attempts of the one that does.
func TestAttemptElsewhere(t *testing.T) {
	s := subscription("one")
	runNodesTest(t, func(n *nodes) {
		for range 3 {
			n.here.change("ann")
			advance(3 * time.Second)
			if _, err := n.there.d.Test(context.Background(), s, "changed", &webhook.Person{ID: "ann"}); err != nil {
				t.Fatal(err)
			}
			advance(3 * time.Second)
		}
		if got := len(n.here.deliveries(s, 100)); got != 6 {
			t.Errorf("%d attempts are listed, want 6", got)
		}
	}, s)
}

// TestAttemptsBound: an endpoint that fails for ever has a bounded log of attempts, of the
// newest, in few writes; after a week nothing of it is left.
func TestAttemptsBound(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := subscription("one")
		s.Concurrency = 100
		f := newFixture(t, st, s)
		mortal := &mortalStore{Store: st}
		f.use = mortal
		f.start()
		f.network.endpoint(s.URL).set(func(n int, r *webhook.Request) reply {
			if r.Event.Type == "gap" {
				return reply{status: 200}
			}
			return reply{status: 200 + 300*(n%5/4)}
		})
		const events = webhook.MaxAttempts + 2500
		for i := range events {
			f.change(userNumber(i % 500))
			if i%10 == 0 {
				time.Sleep(10 * time.Millisecond)
			}
		}
		advance(time.Second)
		got := f.deliveries(s, 1000)
		if len(got) < webhook.MaxAttempts*9/10 || len(got) > webhook.MaxAttempts {
			t.Errorf("%d attempts are listed", len(got))
		}
		if newest := f.entries()[events-1].At; !slices.ContainsFunc(got, func(a webhook.Attempt) bool { return a.At == newest }) {
			t.Error("the newest attempt is not listed")
		}
		if n := mortal.writes.Load(); n > events/10 {
			t.Errorf("%d writes for %d attempts", n, events)
		}
		docs, err := st.List(context.Background(), "a", "webhook-attempts", "", 1000)
		if err != nil || len(docs) > webhook.MaxAttempts/100 {
			t.Errorf("%d documents, %v", len(docs), err)
		}
		f.stop()
		f.ahead = webhook.AttemptRetention + time.Minute
		f.start()
		advance(time.Second)
		got = slices.DeleteFunc(f.deliveries(s, 1000), func(a webhook.Attempt) bool { return a.Started.After(time.Now()) })
		if len(got) != 0 {
			t.Errorf("after a week %d attempts are listed: %+v", len(got), got[0])
		}
	})
}

// TestLargeAttempts: attempts with long answers and reasons fit into documents.
func TestLargeAttempts(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := subscription("one")
		f := newFixture(t, st, s)
		f.start()
		f.network.answer = strings.Repeat("\x00\"\xff<", 1000)
		f.network.endpoint(s.URL).set(always(500))
		for i := range 300 {
			f.change(userNumber(i))
			time.Sleep(time.Millisecond)
			f.network.endpoint(s.URL).set(always(500 - 300*(i%5/4)))
		}
		advance(time.Minute)
		if got := f.deliveries(s, 50); len(got) < 300 || len(got[0].Answer) > 256 {
			t.Errorf("%d attempts; the answer of one has %d bytes", len(got), len(got[0].Answer))
		}
	})
}

// TestReplay: a replay sends older events again, marked and with the same IDs, beside the
// live ones, and goes on after a restart.
func TestReplay(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := subscription("one")
		s.Concurrency = 4
		f := newFixture(t, st, s)
		f.start()
		e := f.network.endpoint(s.URL)
		for i := range 100 {
			f.change(userNumber(i % 10))
		}
		advance(time.Second)
		middle := f.entries()[39].At
		e.set(func(int, *webhook.Request) reply { return reply{status: 200, after: 100 * time.Millisecond} })
		to, err := f.d.Replay(context.Background(), f.subs.current(s.ID), middle)
		if err != nil || to != f.entries()[99].At {
			t.Fatalf("Replay: %d, %v", to, err)
		}
		if _, err := f.d.Replay(context.Background(), f.subs.current(s.ID), 0); !errors.Is(err, webhook.ErrReplaying) {
			t.Errorf("a second replay: %v", err)
		}
		advance(time.Second)
		live := f.change("u0")
		advance(250 * time.Millisecond)
		if all := e.all(); !slices.ContainsFunc(all, func(a arrival) bool { return a.Event.At == live && a.accepted && !a.Replayed }) {
			t.Error("a live event waits for the replay")
		}
		f.stop()
		f.start()
		advance(20 * time.Second)
		if st, err := f.d.Status(s); err != nil || st.Replaying {
			t.Errorf("%+v, %v", st, err)
		}
		ids := make(map[store.Position]string)
		again := make(map[store.Position]int)
		for _, a := range e.all() {
			if !a.Replayed {
				ids[a.Event.At] = a.ID
				continue
			}
			again[a.Event.At]++
			if a.ID != ids[a.Event.At] {
				t.Errorf("the event at %d has the ID %s in the replay, and had %s", a.Event.At, a.ID, ids[a.Event.At])
			}
		}
		for i, entry := range f.entries() {
			if n := again[entry.At]; i >= 40 && i < 100 && n == 0 || (i < 40 || i >= 100) && n > 0 {
				t.Errorf("entry %d was replayed %d times", i, n)
			}
		}
		if e.most > 4 {
			t.Errorf("%d requests at a time", e.most)
		}
		if !slices.ContainsFunc(f.deliveries(s, 100), func(a webhook.Attempt) bool { return a.Replayed }) {
			t.Error("no delivery is marked as replayed")
		}
	})
}

// TestReplayRefused names the errors.
func TestReplayRefused(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s, none, disabled := subscription("one"), subscription("none"), subscription("disabled")
		none.URL, disabled.Health.Disabled = "", time.Now()
		f := newFixture(t, st, s, none, disabled)
		f.start()
		f.change("u")
		advance(time.Second)
		for _, test := range []struct {
			s    *webhook.Subscription
			want error
		}{{s, nil}, {none, webhook.ErrNoEndpoint}, {disabled, webhook.ErrDisabled}} {
			if _, err := f.d.Replay(context.Background(), test.s, 0); !errors.Is(err, test.want) {
				t.Errorf("%s: %v, want %v", test.s.ID, err, test.want)
			}
		}
	})
}

// TestSample: a test sends one sample and returns what came back.
func TestSample(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := subscription("one")
		f := newFixture(t, st, s)
		f.start()
		e := f.network.endpoint(s.URL)
		e.set(always(418))
		who := &webhook.Person{ID: "u"}
		a, err := f.d.Test(context.Background(), s, "changed", who)
		if err != nil || a.Status != 418 || a.Type != "changed" || a.Reason == "" {
			t.Errorf("%+v, %v", a, err)
		}
		if _, err := f.d.Test(context.Background(), s, "unknown", who); !errors.Is(err, webhook.ErrEventType) {
			t.Errorf("an unknown type: %v", err)
		}
		advance(time.Hour)
		if n, all := e.count(), f.deliveries(s, 10); n != 1 || len(all) != 1 || fmt.Sprint(all[0].Status) != "418" {
			t.Errorf("%d requests, deliveries: %+v", n, all)
		}
	})
}
