package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/store/storetest"
)

func denial(address netip.Addr) *audit.Event {
	return &audit.Event{Action: "access.deny", Target: "route/GET /v1/users", Denied: true, Reason: "unknown_token", By: audit.Actor{Address: address, Request: "r"}}
}

// events reads all events of the account.
func events(t *testing.T, l *audit.Log, id presence.AccountID) []audit.Record {
	t.Helper()
	var all []audit.Record
	for q := (audit.Query{Oldest: true, Limit: 1000}); ; {
		p, err := l.Page(t.Context(), id, &q)
		apptest.Check(t, err)
		all = append(all, p.Records...)
		if p.Newer == 0 {
			return all
		}
		q.After = p.Newer
	}
}

// running runs a log in the bubble of synctest until the test ends.
func running(t *testing.T) (*audit.Log, *storetest.Faulty, func()) {
	t.Helper()
	opened, err := pebblestore.Open("store", pebblestore.Options{FS: vfs.NewMem(), Clock: time.Now, MinFreeBytes: -1})
	apptest.Check(t, err)
	st := storetest.Fault(opened)
	l := audit.New(st, time.Now)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := l.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	return l, st, func() {
		cancel()
		<-ended
		apptest.Check(t, opened.Close())
	}
}

// TestFlood: a million denials, of one address and of very many, leave few events, which
// count all of them.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _, stop := running(t)
		const of, addresses = 1_000_000, 500_000
		for i := range of {
			address := netip.AddrFrom4([4]byte{192, 0, 2, 1})
			if i%2 == 1 {
				n := i % addresses
				address = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(n >> 16), byte(n >> 8), byte(n), 0, 15: byte(i)})
			}
			l.Repeated("acc", denial(address), audit.EachMinute)
			if i%100_000 == 0 {
				time.Sleep(6 * time.Second)
			}
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		all := events(t, l, "acc")
		total := 0
		for i := range all {
			total += max(1, all[i].Count)
		}
		if len(all) > 1000 || total != of {
			t.Errorf("%d events stand for %d", len(all), total)
		}
		stop()
	})
}

// TestRepeated: the first event is recorded at once, the others once a minute, and none when
// they end. What differs by actor or target is apart.
func TestRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _, stop := running(t)
		address := netip.MustParseAddr("192.0.2.1")
		time.Sleep(time.Second / 2) // between the times at which the log looks
		begun := time.Now()
		for range 150 { // each second
			l.Repeated("acc", denial(address), audit.EachMinute)
			time.Sleep(time.Second)
		}
		time.Sleep(10 * time.Minute)
		other := denial(address)
		other.By.User = "ada"
		l.Repeated("acc", other, audit.EachMinute)
		l.Repeated("acc", denial(netip.MustParseAddr("192.0.2.2")), audit.EachMinute)
		synctest.Wait()
		all := events(t, l, "acc")
		var got []int
		for i := range all {
			got = append(got, all[i].Count)
		}
		if fmt.Sprint(got) != "[0 64 60 25 0 0]" {
			t.Errorf("counts %v", got)
		}
		if first, err := time.Parse(audit.TimeLayout, all[0].Time); err != nil || !first.Equal(begun.Truncate(time.Millisecond)) {
			t.Errorf("first at %v, %v", all[0].Time, err)
		}
		stop()
	})
}

// TestStop: what was counted and not yet recorded is recorded when the server stops.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opened, err := pebblestore.Open("store", pebblestore.Options{FS: vfs.NewMem(), Clock: time.Now, MinFreeBytes: -1})
		apptest.Check(t, err)
		l := audit.New(opened, time.Now)
		for range 5 {
			l.Repeated("acc", denial(netip.Addr{}), audit.EachHour)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		apptest.Check(t, l.Run(ctx))
		if all := events(t, l, "acc"); len(all) != 2 || all[1].Count != 4 {
			t.Errorf("%+v", all)
		}
		apptest.Check(t, opened.Close())
	})
}

// TestDropped: events past the bound of those that wait, and those that cannot be written,
// are counted, and their number is recorded.
func TestDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, st, stop := running(t)
		st.Down(store.ErrUnavailable)
		for range 10 {
			l.Later("acc", &audit.Event{Action: "x.y"})
		}
		synctest.Wait()
		st.Down(nil)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if all := events(t, l, "acc"); len(all) != 1 || all[0].Action != "audit.drop" || all[0].Count != 10 || l.Dropped() != 10 {
			t.Errorf("%+v, dropped %d", all, l.Dropped())
		}
		for range 3 * audit.MaxLate {
			l.Later("acc", &audit.Event{Action: "x.y"}) // the appender writes meanwhile
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		written, dropped := 0, 0
		for _, r := range events(t, l, "acc")[1:] {
			if r.Action == "audit.drop" {
				dropped += r.Count
			} else {
				written++
			}
		}
		if written+dropped != 3*audit.MaxLate || uint64(dropped) != l.Dropped()-10 {
			t.Errorf("%d written and %d dropped of %d; counted %d", written, dropped, 3*audit.MaxLate, l.Dropped())
		}
		stop()
	})
}

// TestLargeFields: fields that are too large for the log are left out, others cannot be lost.
func TestLargeFields(t *testing.T) {
	w := newWorld(t)
	apptest.Check(t, w.log.Record(t.Context(), account, &audit.Event{Action: "x.y", Before: audit.Fields{"big": bytes.Repeat([]byte("x"), 50_000)}, After: audit.Fields{"small": 1}}))
	if err := w.log.Record(t.Context(), account, &audit.Event{Action: "x.y", Before: audit.Fields{"bad": func() {}}}); err == nil {
		t.Error("a value that JSON does not have was recorded")
	}
	all := events(t, w.log, account)
	if len(all) != 1 || string(all[0].Before) != `{"big":"(too long)"}` || !json.Valid(all[0].After) {
		t.Errorf("%+v", all)
	}
}
