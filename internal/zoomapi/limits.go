package zoomapi

import (
	lru "container/list"
	"strconv"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/wire"
)

// A Plan is what an account is allowed, as Zoom sells it. The zero Plan has no
// limits.
type Plan uint8

// The plans. Business includes Education, Enterprise and Partners.
const (
	Off Plan = iota
	Free
	Pro
	Business
	planCount
)

var planNames = [planCount]string{"off", "free", "pro", "business"}

// PlanNames are the words of all plans.
func PlanNames() []string { return planNames[:] }

// ParsePlan reads a plan's word; ok is false for any other text.
func ParsePlan(text string) (p Plan, ok bool) {
	for i, name := range planNames {
		if name == text {
			return Plan(i), true
		}
	}
	return Off, false
}

// String is the plan's word, as in "free".
func (p Plan) String() string {
	if p >= planCount {
		return "plan(" + strconv.Itoa(int(p)) + ")"
	}
	return planNames[p]
}

// A label is how much a request costs Zoom.
type label uint8

const (
	light label = iota
	medium
	heavy
	intensive
	labelCount
)

var labelNames = [labelCount]string{"Light", "Medium", "Heavy", "Resource-intensive"}

func (l label) String() string { return labelNames[l] }

// An allowance is n requests in each period, and daily in a day; zero is no
// limit. Labels that have a pool in common count their days together.
type allowance struct {
	n     int
	per   time.Duration
	daily int
	pool  label
}

// allowances is Zoom's table.
var allowances = [planCount][labelCount]allowance{
	Free: {
		light:     {4, time.Second, 6000, light},
		medium:    {2, time.Second, 2000, medium},
		heavy:     {1, time.Second, 1000, heavy},
		intensive: {10, time.Minute, 30_000, intensive},
	},
	Pro: {
		light:     {30, time.Second, 0, light},
		medium:    {20, time.Second, 0, medium},
		heavy:     {10, time.Second, 30_000, heavy},
		intensive: {10, time.Minute, 30_000, heavy},
	},
	Business: {
		light:     {80, time.Second, 0, light},
		medium:    {60, time.Second, 0, medium},
		heavy:     {40, time.Second, 60_000, heavy},
		intensive: {20, time.Minute, 60_000, heavy},
	},
}

// maxAccounts bounds what Limits remembers. Past it, the account that has been
// quiet longest is evicted, and its daily count begins again.
const maxAccounts = 10_000

// Limits counts the requests of accounts, in memory: those at this node, and those at
// others if a quota.Exchange adds them.
type Limits struct {
	plan  Plan
	clock func() time.Time

	mu       sync.Mutex // guards the fields below
	accounts map[presence.AccountID]*usage
	// All accounts, the most recently active first: those without requests that count for the
	// day, and those with some.
	uncounted, counted lru.List

	nodes   int                  // 0: no other node counts
	changed []presence.AccountID // with usage that is to be sent to other nodes
}

// usage is what an account has used.
type usage struct {
	account presence.AccountID
	order   *lru.List    // nil: it was not touched
	element *lru.Element // of order

	short  [labelCount]quota.SharedBucket
	day    int64 // since 1970, UTC; of spent
	spent  [labelCount]int
	unsent unsent
}

// NewLimits limits each account to its own plan, and those without one to plan.
func NewLimits(plan Plan, clock func() time.Time) *Limits {
	return &Limits{plan: plan, clock: clock, accounts: make(map[presence.AccountID]*usage)}
}

// planOf is the plan of a principal's account.
func (l *Limits) planOf(p *auth.Principal) Plan {
	if p.Plan == "" {
		return l.plan
	}
	if plan, ok := ParsePlan(p.Plan); ok {
		return plan
	}
	return l.plan // of a newer server
}

// A Rate is how many requests with a label an account may make.
type Rate struct {
	Label     string
	Requests  int
	Per       time.Duration
	Daily     int    // 0: no limit
	DailyWith string // the label with which they are counted together for the day; "": alone
}

// Rates are the numbers of an account with the plan of this name; "" is that of the server.
func (l *Limits) Rates(name string) []Rate {
	plan := l.planOf(&auth.Principal{Plan: name})
	if plan == Off {
		return nil
	}
	rates := make([]Rate, 0, labelCount)
	for kind, allowed := range allowances[plan] {
		rate := Rate{Label: label(kind).String(), Requests: allowed.n, Per: allowed.per, Daily: allowed.daily}
		if allowed.daily > 0 && allowed.pool != label(kind) {
			rate.DailyWith = allowed.pool.String()
		}
		rates = append(rates, rate)
	}
	return rates
}

// takeRequest counts one request of the principal's account, or returns a
// *wire.RateError. It writes the remaining number of requests to the headers. Nil Limits
// and an account whose plan is Off have no limit.
func (l *Limits) takeRequest(h header, p *auth.Principal, kind label) error {
	if l == nil {
		return nil
	}
	plan := l.planOf(p)
	if plan == Off {
		return nil
	}
	allowed := &allowances[plan][kind]
	now := l.clock()
	l.mu.Lock()
	u := l.usage(p.Account, now)
	left, err := u.takeRequest(l.nodes, allowed, kind, now)
	l.touch(u)
	if err == nil && l.nodes > 0 {
		l.noteUsage(p.Account, u, allowed, kind)
	}
	l.mu.Unlock()
	if err != nil {
		return err
	}
	h.Set("X-RateLimit-Category", kind.String())
	h.Set("X-RateLimit-Limit", strconv.Itoa(allowed.n))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(left))
	return nil
}

const day = 24 * time.Hour

// takeRequest counts a request and returns how many more could be made at once.
func (u *usage) takeRequest(nodes int, allowed *allowance, kind label, now time.Time) (left int, err error) {
	u.begin(now)
	if allowed.daily > 0 && u.spent[allowed.pool] >= allowed.daily {
		midnight := now.UTC().Truncate(day).Add(day)
		return 0, &wire.RateError{
			Daily: true, Category: kind.String(), Limit: allowed.daily, RetryAfter: midnight.Sub(now), Reset: midnight,
		}
	}
	left, wait := u.short[kind].Take(nodes, allowed.n, allowed.per, now)
	if wait > 0 {
		return 0, &wire.RateError{Category: kind.String(), Limit: allowed.n, RetryAfter: wait, Reset: now.Add(wait)}
	}
	if allowed.daily > 0 {
		u.spent[allowed.pool]++
	}
	return left, nil
}

// usage returns the counters of an account. l.mu is locked.
func (l *Limits) usage(account presence.AccountID, now time.Time) *usage {
	u, ok := l.accounts[account]
	if !ok {
		if len(l.accounts) >= maxAccounts {
			l.evict(now)
		}
		u = &usage{account: account}
		l.accounts[account] = u
	}
	return u
}

// touch notes that the account was just active. l.mu is locked.
func (l *Limits) touch(u *usage) {
	order := &l.uncounted
	if u.spent != [labelCount]int{} {
		order = &l.counted
	}
	if u.order == order {
		order.MoveToFront(u.element)
		return
	}
	if u.order != nil {
		u.order.Remove(u.element)
	}
	u.order, u.element = order, order.PushFront(u)
}

// evict drops the account that has been quiet longest, and rather one whose counters are all
// at their start. l.mu is locked.
func (l *Limits) evict(now time.Time) {
	var quietest *usage
	for _, order := range []*lru.List{&l.uncounted, &l.counted} {
		if order.Len() == 0 {
			continue
		}
		u, _ := order.Back().Value.(*usage)
		if u.unused(now) {
			quietest = u
			break
		}
		if quietest == nil || u.fullAt() < quietest.fullAt() {
			quietest = u
		}
	}
	quietest.order.Remove(quietest.element)
	delete(l.accounts, quietest.account)
}

// fullAt is when all buckets are full again.
func (u *usage) fullAt() quota.Bucket {
	return max(u.short[light].FullAt(), u.short[medium].FullAt(), u.short[heavy].FullAt(), u.short[intensive].FullAt())
}

// unused reports whether all counters are at their start.
func (u *usage) unused(now time.Time) bool {
	return u.fullAt().Full(now) && (u.day < dayOf(now) || u.spent == [labelCount]int{})
}
