package zoomapi

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/wire"
)

// newTestLimits makes Limits whose clock is the value at now.
func newTestLimits(p Plan, now *time.Time) *Limits {
	return NewLimits(p, func() time.Time { return *now })
}

func TestPlans(t *testing.T) {
	for _, name := range []string{"off", "free", "pro", "business"} {
		if p, ok := ParsePlan(name); !ok || p.String() != name {
			t.Errorf("%s is %v, %v", name, p, ok)
		}
	}
	if _, ok := ParsePlan("enterprise"); ok {
		t.Error("enterprise is accepted as a plan")
	}
}

// TestRates: the numbers of a plan are those of Zoom's table, and those of the server's plan
// for accounts without one.
func TestRates(t *testing.T) {
	l := NewLimits(Free, time.Now)
	own, pro := l.Rates(""), l.Rates("pro")
	if len(own) != 4 || own[0] != (Rate{"Light", 4, time.Second, 6000, ""}) || !slices.Equal(l.Rates("of a newer server"), own) {
		t.Errorf("of the server: %+v", own)
	}
	if len(pro) != 4 || pro[1] != (Rate{"Medium", 20, time.Second, 0, ""}) || pro[3] != (Rate{"Resource-intensive", 10, time.Minute, 30_000, "Heavy"}) {
		t.Errorf("of the plan pro: %+v", pro)
	}
	if off := l.Rates("off"); off != nil {
		t.Errorf("of the plan off: %+v", off)
	}
}

// of is a principal of an account without a plan of its own.
func of(account string) *auth.Principal { return &auth.Principal{Account: presence.AccountID(account)} }

// TestPlanOfAccount: the plan of an account counts, and otherwise that of the server. A
// change of plan holds from the next request on.
func TestPlanOfAccount(t *testing.T) {
	for _, c := range []struct {
		server Plan
		own    string
		want   string // X-RateLimit-Limit; "": none
	}{
		{Off, "", ""},
		{Off, "free", "2"},
		{Off, "pro", "20"},
		{Free, "", "2"},
		{Free, "off", ""},
		{Pro, "business", "60"},
		{Pro, "platinum", "20"},
	} {
		now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
		l := newTestLimits(c.server, &now)
		p := of("a")
		p.Plan = c.own
		h := http.Header{}
		if err := l.takeRequest(h, p, medium); err != nil || h.Get("X-RateLimit-Limit") != c.want {
			t.Errorf("%v, own %q: %q, %v", c.server, c.own, h.Get("X-RateLimit-Limit"), err)
		}
		p.Plan = "free"
		_ = l.takeRequest(h, p, medium)
		_ = l.takeRequest(h, p, medium)
		if l.takeRequest(h, p, medium) == nil {
			t.Errorf("%v, own %q: a change to free does not hold", c.server, c.own)
		}
	}
}

// TestLimitsTable is Zoom's table: a full burst at once, then one request in each share
// of the period, and no more than the daily limit.
func TestLimitsTable(t *testing.T) {
	for _, c := range []struct {
		plan  Plan
		kind  label
		n     int
		per   time.Duration
		daily int
	}{
		{Free, light, 4, time.Second, 6000},
		{Pro, light, 30, time.Second, 0},
		{Business, light, 80, time.Second, 0},
		{Free, medium, 2, time.Second, 2000},
		{Pro, medium, 20, time.Second, 0},
		{Business, medium, 60, time.Second, 0},
		{Free, heavy, 1, time.Second, 1000},
		{Pro, heavy, 10, time.Second, 30_000},
		{Business, heavy, 40, time.Second, 60_000},
		{Free, intensive, 10, time.Minute, 30_000},
		{Pro, intensive, 10, time.Minute, 30_000},
		{Business, intensive, 20, time.Minute, 60_000},
	} {
		now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
		l := newTestLimits(c.plan, &now)
		for i := range c.n {
			rec := httptest.NewRecorder()
			if err := l.takeRequest(rec.Header(), of("a"), c.kind); err != nil {
				t.Fatalf("%v %v: request %d of %d: %v", c.plan, c.kind, i, c.n, err)
			}
			if left := rec.Header().Get("X-RateLimit-Remaining"); left != strconv.Itoa(c.n-i-1) {
				t.Errorf("%v %v: %s remain after %d of %d", c.plan, c.kind, left, i+1, c.n)
			}
		}
		var rate *wire.RateError
		err := l.takeRequest(http.Header{}, of("a"), c.kind)
		if !errors.As(err, &rate) || rate.Daily || rate.Limit != c.n || !rate.Reset.Equal(now.Add(rate.RetryAfter)) {
			t.Fatalf("%v %v: %+v", c.plan, c.kind, err)
		}
		if share := c.per / time.Duration(c.n); rate.RetryAfter > share || rate.RetryAfter < share-time.Microsecond {
			t.Fatalf("%v %v: %+v", c.plan, c.kind, err)
		}
		now = now.Add(rate.RetryAfter)
		if err := l.takeRequest(http.Header{}, of("a"), c.kind); err != nil {
			t.Errorf("%v %v: after the wait: %v", c.plan, c.kind, err)
		}
		used, day := c.n+1, now.Day()
		for ; used < max(c.daily, 3*c.n); used++ {
			now = now.Add(c.per / time.Duration(c.n))
			if now.Day() != day {
				break // the minute's limit does not reach the daily limit
			}
			if err := l.takeRequest(http.Header{}, of("a"), c.kind); err != nil {
				t.Fatalf("%v %v: request %d: %v", c.plan, c.kind, used, err)
			}
		}
		now = now.Add(c.per)
		err = l.takeRequest(http.Header{}, of("a"), c.kind)
		if spent := c.daily > 0 && used == c.daily; spent != errors.As(err, &rate) {
			t.Errorf("%v %v: after %d of %d: %v", c.plan, c.kind, used, c.daily, err)
		}
	}
}

func TestLimitsDay(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	l := newTestLimits(Free, &now)
	take := func() error { return l.takeRequest(http.Header{}, of("a"), medium) }
	for range 2000 {
		now = now.Add(time.Second)
		if err := take(); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.takeRequest(http.Header{}, of("a"), light); err != nil {
		t.Errorf("another label: %v", err)
	}
	if err := l.takeRequest(http.Header{}, of("b"), medium); err != nil {
		t.Errorf("another account: %v", err)
	}
	answer := overRate(rateErrorOf(t, take()))
	got := map[string]string{}
	for _, h := range answer.header {
		got[h.name] = h.value
	}
	for name, value := range map[string]string{
		"X-RateLimit-Type": "Daily-limit", "X-RateLimit-Category": "Medium", "X-RateLimit-Limit": "2000",
		"X-RateLimit-Remaining": "0", "Retry-After": "2026-11-23T00:00:00Z", "X-RateLimit-Reset": "",
	} {
		if got[name] != value {
			t.Errorf("%s: %q, want %q", name, got[name], value)
		}
	}
	if want := "You have reached the maximum daily rate limit for this API. Refer to the response header for details on when you can make another request."; answer.message != want {
		t.Error(answer.message)
	}
	now = time.Date(2026, 11, 22, 23, 59, 59, 999_999_999, time.UTC)
	if take() == nil {
		t.Error("a request was accepted before midnight")
	}
	now = now.Add(1)
	if err := take(); err != nil {
		t.Errorf("at midnight: %v", err)
	}
}

// TestLimitsPool: heavy and resource-intensive requests share a daily limit.
func TestLimitsPool(t *testing.T) {
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	l := newTestLimits(Pro, &now)
	for i := range 30_000 {
		now = now.Add(100 * time.Millisecond)
		kind := heavy
		if i%100 == 99 {
			kind = intensive
		}
		if err := l.takeRequest(http.Header{}, of("a"), kind); err != nil {
			t.Fatal(i, err)
		}
	}
	now = now.Add(time.Hour)
	for _, kind := range []label{heavy, intensive} {
		if e := rateErrorOf(t, l.takeRequest(http.Header{}, of("a"), kind)); !e.Daily {
			t.Errorf("%v: %v", kind, e)
		}
	}
}

func TestOverRatePerSecond(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 700_000_000, time.UTC)
	l := newTestLimits(Business, &now)
	var err error
	for range 61 {
		err = l.takeRequest(http.Header{}, of("a"), medium)
	}
	answer := overRate(rateErrorOf(t, err))
	got := map[string]string{}
	for _, h := range answer.header {
		got[h.name] = h.value
	}
	for name, value := range map[string]string{
		"X-RateLimit-Type": "QPS", "X-RateLimit-Category": "Medium", "X-RateLimit-Limit": "60",
		"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1795348801", "Retry-After": "",
	} {
		if got[name] != value {
			t.Errorf("%s: %q, want %q", name, got[name], value)
		}
	}
	if want := "You have reached the maximum per-second rate limit for this API. Try again later."; answer.message != want {
		t.Error(answer.message)
	}
}

// TestLimitsClockSetBack: setting the clock back by an hour does not block an account
// for an hour.
func TestLimitsClockSetBack(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	l := newTestLimits(Free, &now)
	_ = l.takeRequest(http.Header{}, of("a"), medium)
	now = now.Add(-time.Hour)
	if err := l.takeRequest(http.Header{}, of("a"), medium); err != nil {
		t.Error(err)
	}
}

func TestLimitsAreBounded(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	l := newTestLimits(Free, &now)
	for i := range maxAccounts + 10 {
		now = now.Add(time.Microsecond)
		if err := l.takeRequest(http.Header{}, of(strconv.Itoa(i)), medium); err != nil {
			t.Fatal(err)
		}
	}
	if len(l.accounts) != maxAccounts {
		t.Errorf("%d accounts are kept", len(l.accounts))
	}
	if _, ok := l.accounts["9"]; ok {
		t.Error("the least active account was not evicted")
	}
	if _, ok := l.accounts["10"]; !ok {
		t.Error("a more active account was evicted")
	}
}

// TestEvictionKeepsDailyCounts: an account with requests that count for the day is evicted after
// those with nothing to lose, however long it has been quiet, until the day ends.
func TestEvictionKeepsDailyCounts(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	l := newTestLimits(Business, &now)
	use := func(account string, kind label) {
		t.Helper()
		if err := l.takeRequest(http.Header{}, of(account), kind); err != nil {
			t.Fatal(err)
		}
	}
	kept := func(account presence.AccountID) bool { return l.accounts[account] != nil }
	use("counted", heavy)
	for i := range 2 * maxAccounts {
		now = now.Add(time.Millisecond)
		use(strconv.Itoa(i), light)
	}
	if !kept("counted") || kept("0") || !kept("19999") || len(l.accounts) != maxAccounts {
		t.Errorf("%d accounts, not those that should be kept", len(l.accounts))
	}
	for i := range maxAccounts {
		use("at once "+strconv.Itoa(i), light)
	}
	if kept("counted") {
		t.Error("kept in place of accounts that are active now")
	}
	use("counted", heavy)
	now = now.Add(24 * time.Hour)
	for i := range maxAccounts {
		use("next day "+strconv.Itoa(i), heavy)
	}
	if kept("counted") || len(l.accounts) != maxAccounts {
		t.Error("kept on the next day")
	}
}

// BenchmarkManyAccounts makes requests of more accounts than are kept, one after another.
func BenchmarkManyAccounts(b *testing.B) {
	now := time.Now()
	l := newTestLimits(Business, &now)
	principals := make([]*auth.Principal, 2*maxAccounts)
	for i := range principals {
		principals[i] = of(strconv.Itoa(i))
	}
	h := http.Header{}
	for i := 0; b.Loop(); i++ {
		now = now.Add(time.Microsecond)
		if err := l.takeRequest(h, principals[i%len(principals)], light); err != nil {
			b.Fatal(err)
		}
	}
}

func TestLimitsAtOnce(t *testing.T) {
	now := time.Now()
	l := newTestLimits(Business, &now)
	var accepted atomic.Int64
	var group sync.WaitGroup
	for range 200 {
		group.Go(func() {
			if l.takeRequest(http.Header{}, of("a"), medium) == nil {
				accepted.Add(1)
			}
		})
	}
	group.Wait()
	if accepted.Load() != 60 {
		t.Errorf("%d of 200 accepted", accepted.Load())
	}
}

func rateErrorOf(t *testing.T, err error) *wire.RateError {
	t.Helper()
	var rate *wire.RateError
	if !errors.As(err, &rate) {
		t.Fatalf("no rate error: %v", err)
	}
	return rate
}
