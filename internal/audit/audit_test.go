package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
	"porchlight.dev/porchlight/internal/store/storetest"
)

const account presence.AccountID = "acc"

// A world is a log on a store.
type world struct {
	*testing.T

	store *storetest.Faulty
	clock *apptest.Clock
	log   *audit.Log
	key   *audit.Key
}

func newWorld(t *testing.T) *world {
	t.Helper()
	clock := apptest.Noon()
	w := &world{T: t, clock: clock, store: storetest.Fault(enginetest.Open(t, clock.Now))}
	var err error
	w.key, err = audit.NewKey()
	apptest.Check(t, err)
	w.log = w.newLog()
	return w
}

// newLog is another node's log on the same store.
func (w *world) newLog() *audit.Log {
	l := audit.New(w.store, w.clock.Now)
	l.Key = w.key
	l.Accounts = func(_ context.Context, after presence.AccountID, _ int) ([]presence.AccountID, error) {
		if after == "" {
			return []presence.AccountID{account}, nil
		}
		return nil, nil
	}
	return l
}

func (w *world) record(n int) {
	w.Helper()
	for i := range n {
		apptest.Check(w.T, w.log.Record(w.Context(), account, &audit.Event{
			Action: "app.update", Target: fmt.Sprintf("app/%d", i), Denied: i%2 == 1, Reason: []string{"", "not_permitted"}[i%2],
			By:     audit.Actor{User: "ada", App: "app", Token: "tok", Request: "req", Address: netip.MustParseAddr("192.0.2.1")},
			Before: audit.Fields{"name": "a,\"hash\":\"x\"}"}, After: audit.Fields{"name": audit.Personal, "scopes": []string{"x"}}, Count: 2,
		}))
		w.clock.Advance(time.Second)
	}
}

func (w *world) export() []byte {
	w.Helper()
	x, err := w.log.Begin(w.Context(), account, audit.Actor{User: "ada"})
	apptest.Check(w.T, err)
	var out bytes.Buffer
	apptest.Check(w.T, x.Write(w.Context(), &out))
	return out.Bytes()
}

func (w *world) verify(export []byte, known ...*audit.Checkpoint) *audit.Report {
	w.Helper()
	v := &audit.Verifier{Keys: publicKeys(w.T, w.key), Known: known}
	report, err := v.Verify(bytes.NewReader(export))
	apptest.Check(w.T, err)
	return report
}

func publicKeys(t *testing.T, keys ...*audit.Key) []publicKey {
	t.Helper()
	var all []publicKey
	for _, k := range keys {
		parsed, err := audit.ParsePublicKeys(k.PublicPEM())
		apptest.Check(t, err)
		all = append(all, parsed...)
	}
	return all
}

func (w *world) sound(export []byte, events uint64) {
	w.Helper()
	report := w.verify(export)
	if report.Problem != nil || report.Events != events || report.SignedUpTo != report.Last || report.Account != string(account) {
		w.Fatalf("%+v, problem %v; want %d events", report, report.Problem, events)
	}
}

// TestConcurrentRecords: events of many callers and of two nodes are all in the log, once.
func TestConcurrentRecords(t *testing.T) {
	w := newWorld(t)
	nodes := []*audit.Log{w.log, w.newLog()}
	const callers, each = 20, 60
	var group sync.WaitGroup
	for caller := range callers {
		group.Go(func() {
			for i := range each {
				if err := nodes[caller%2].Record(t.Context(), account, &audit.Event{Action: "x.y", Target: fmt.Sprintf("n/%d-%d", caller, i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	export := w.export()
	w.sound(export, callers*each+1)
	for caller := range callers {
		last := -1
		for i := range each {
			at := bytes.Index(export, fmt.Appendf(nil, `"n/%d-%d"`, caller, i))
			if at <= last {
				t.Fatalf("event %d of caller %d is at %d, after %d", i, caller, at, last)
			}
			last = at
		}
	}
}

// TestLostAnswer: an append whose answer was lost is not repeated, and one that failed is
// reported.
func TestLostAnswer(t *testing.T) {
	w := newWorld(t)
	w.record(2)
	w.store.LoseAnswer(storetest.Write, 1)
	w.record(1)
	w.store.Fail(storetest.Write, 1, store.ErrUnknown)
	w.record(1)
	w.sound(w.export(), 5)
	w.store.Fail(storetest.Write, 1, store.ErrFull)
	if err := w.log.Record(t.Context(), account, &audit.Event{Action: "x.y"}); !errors.Is(err, store.ErrFull) {
		t.Errorf("an append that failed: %v", err)
	}
}

// TestCancelledCaller: the event of a caller who does not wait is appended.
func TestCancelledCaller(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.log.Record(ctx, account, &audit.Event{Action: "x.gone"}); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	w.record(1) // the appender keeps the order
	if export := w.export(); !bytes.Contains(export, []byte("x.gone")) {
		t.Errorf("%s", export)
	}
}

// TestCheckpoints: there is one after 1,000 events, after an hour with events, when the key
// changes, and none otherwise.
func TestCheckpoints(t *testing.T) {
	w := newWorld(t)
	const first = "1000 interval"
	var callers sync.WaitGroup
	for range 40 {
		callers.Go(func() {
			for range 25 {
				if err := w.log.Record(t.Context(), account, &audit.Event{Action: "x.y"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	callers.Wait()
	w.expect(first)
	w.sweep()
	w.expect(first)
	w.record(1)
	w.sweep()
	w.expect(first)
	w.clock.Advance(time.Hour)
	w.sweep()
	w.sweep()
	w.expect(first, "1001 interval")
	old := w.key
	w.key, _ = audit.NewKey()
	w.log.Key = w.key
	w.sweep()
	w.sweep()
	w.expect(first, "1001 interval", "1001 key")
	export := w.export()
	w.sound(export, 1002)
	v := &audit.Verifier{Keys: publicKeys(t, old, w.key)}
	if report, err := v.Verify(bytes.NewReader(export)); err != nil || report.Signed != 4 || report.UnknownKey != 0 {
		t.Errorf("%+v, %v", report, err)
	}
}

// sweep does what Run does at intervals.
func (w *world) sweep() {
	w.Helper()
	apptest.Check(w.T, w.log.Tend(w.Context(), account))
}

func (w *world) expect(want ...string) {
	w.Helper()
	all, next, err := w.log.Checkpoints(w.Context(), account, "", 100)
	apptest.Check(w.T, err)
	var got []string
	for _, c := range all {
		got = append(got, fmt.Sprintf("%d %s", c.Sequence, c.Reason))
	}
	// Two of one sequence are in the order of their hashes.
	if len(got) != len(want) || next != "" {
		w.Fatalf("checkpoints %q, want %q", got, want)
	}
	for _, one := range want {
		if !strings.Contains(strings.Join(got, ","), one) {
			w.Fatalf("checkpoints %q, want %q", got, want)
		}
	}
}

// TestRetention: events past the retention are dropped, the rest verifies, and a log whose
// first events somebody else removed does not.
func TestRetention(t *testing.T) {
	w := newWorld(t)
	w.log.Retention = 24 * time.Hour
	w.record(5)
	w.clock.Advance(20 * time.Hour)
	w.record(3)
	w.sweep()
	w.sound(w.export(), 9)
	w.clock.Advance(6 * time.Hour)
	w.record(1)
	w.sweep()
	w.sweep()
	export := w.export()
	w.sound(export, 6) // 3, the first export, 1, this export
	if docs, err := w.store.List(t.Context(), account, "audit", "", 100); err != nil || len(docs) != 6 {
		t.Errorf("%d events remain, %v", len(docs), err)
	}
	w.clock.Advance(400 * time.Hour)
	w.sweep()
	w.sound(w.export(), 1)
	p, err := w.log.Page(t.Context(), account, &audit.Query{Limit: 10})
	if err != nil || len(p.Records) != 1 || p.Older != 0 || p.Newer != 0 {
		t.Errorf("%+v, %v", p, err)
	}
}

// BenchmarkRecord records the events of 64 callers.
func BenchmarkRecord(b *testing.B) {
	clock := apptest.Noon()
	l := audit.New(enginetest.Open(b, clock.Now), clock.Now)
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := l.Record(b.Context(), account, &audit.Event{Action: "user.update", Target: "user/x", Before: audit.Fields{"a": 1}, After: audit.Fields{"a": 2}}); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
