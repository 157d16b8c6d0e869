package quota

import (
	"net/netip"
	"sync"
	"time"
)

// A Resource is what is limited.
type Resource uint8

// The resources. Streams are counted while they are open, the others by the
// minute.
const (
	Streams Resource = iota
	Tickets
	Tokens
	Writes
	resourceCount
)

// A Subject is what a limit applies to, such as one user.
type Subject uint8

// The subjects.
const (
	User Subject = iota
	App
	Account
	Address
	subjectCount
)

var (
	subjectNames = [subjectCount]string{"user", "app", "account", "address"}
	resources    = [resourceCount]struct {
		name, setting, unit string
		per                 time.Duration
	}{
		Streams: {"streams", "stream-limits", "open streams", 0},
		Tickets: {"tickets", "ticket-limits", "tickets a minute", time.Minute},
		Tokens:  {"tokens", "token-limits", "new tokens a minute", time.Minute},
		Writes:  {"writes", "write-limits", "writes a minute", time.Minute},
	}
)

// Amounts are the limits on one resource by subject; zero is no limit.
type Amounts [subjectCount]int

// A Caller is the user, app, account and address that a request counts for.
type Caller struct {
	Account string
	App     string
	// User is "" for an app that acts for itself. Such an app counts as a user for
	// streams and tickets, where the user's limit keeps one client from using all.
	User    string
	Address netip.Prefix
	// MaxStreams is how many streams the account may have open, besides the limit of the
	// server; 0: no limit of its own.
	MaxStreams int
}

// A key identifies one bucket or counter.
type key struct {
	resource    Resource
	subject     Subject
	itself      bool // id is of an app that acts for itself
	account, id string
	address     netip.Prefix
}

// A Guard counts what callers do against the limits. A nil Guard has none.
type Guard struct {
	clock  func() time.Time
	limits [resourceCount][subjectCount]*Limit

	mu      sync.Mutex
	open    map[key]int // guarded by mu
	buckets Table[key]  // guarded by mu
}

// NewGuard makes a guard with these limits. A resource that is missing has no limits.
func NewGuard(limits map[Resource]Amounts, clock func() time.Time) *Guard {
	g := &Guard{clock: clock, open: make(map[key]int)}
	for r, about := range resources {
		for s, subject := range subjectNames {
			g.limits[r][s] = &Limit{
				Name: about.name + "-per-" + subject, Setting: about.setting, Unit: about.unit, Most: limits[Resource(r)][s], //nolint:gosec // there are few
				Subject: subject, Per: about.per,
			}
		}
	}
	return g
}

// Limits are all that the guard has.
func (g *Guard) Limits() []*Limit {
	var all []*Limit
	for r := range g.limits {
		all = append(all, g.limits[r][:]...)
	}
	return all
}

// keyOf returns the key that c counts for under a subject; ok is false if there is no limit.
func (g *Guard) keyOf(r Resource, s Subject, c *Caller) (k key, ok bool) {
	k = key{resource: r, subject: s}
	own := r == Streams && s == Account && c.MaxStreams > 0
	if g.limits[r][s].Most <= 0 && !own {
		return k, false
	}
	switch s {
	case User:
		k.account, k.id = c.Account, c.User
		if k.id == "" {
			k.id, k.itself = c.App, true
			return k, k.id != "" && (r == Streams || r == Tickets)
		}
		return k, true
	case App:
		k.account, k.id = c.Account, c.App
		return k, k.id != ""
	case Account:
		k.account = c.Account
		return k, k.account != ""
	default:
		k.address = c.Address
		return k, k.address.IsValid()
	}
}

// keysOf returns the n keys that c counts for, or the first error of admit.
func (g *Guard) keysOf(r Resource, c *Caller, admit func(k key, limit *Limit) error) (keys [subjectCount]key, n int, err error) {
	for s := range subjectCount {
		k, ok := g.keyOf(r, s, c)
		if !ok {
			continue
		}
		if err := admit(k, g.limits[r][s]); err != nil {
			return keys, 0, err
		}
		keys[n] = k
		n++
	}
	return keys, n, nil
}

// Take counts one use of r for c, or returns an *Error and counts nothing. It returns the
// limit of which the fewest uses are left.
func (g *Guard) Take(r Resource, c Caller) (tightest Standing, err error) {
	if g == nil {
		return tightest, nil
	}
	now := g.clock()
	g.mu.Lock()
	defer g.mu.Unlock()
	taken := make([]Bucket, 0, subjectCount)
	keys, n, err := g.keysOf(r, &c, func(k key, limit *Limit) error {
		b := g.buckets.Get(k)
		left, wait := b.Take(1, limit.Most, limit.Per, now)
		if wait > 0 {
			return limit.Reached(wait)
		}
		taken = append(taken, b)
		if s := limit.standing(b, left, now); s.tighter(&tightest) {
			tightest = s
		}
		return nil
	})
	if err != nil {
		return Standing{}, err
	}
	for i, k := range keys[:n] {
		g.buckets.Set(k, taken[i], now)
	}
	return tightest, nil
}

// streamRetry is when a client with too many open streams may try again.
const streamRetry = 10 * time.Second

// Open counts a stream of c until release is called, which may be called repeatedly.
// If a limit is reached, it returns an *Error.
func (g *Guard) Open(c Caller) (release func(), err error) {
	if g == nil {
		return func() {}, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	keys, n, err := g.keysOf(Streams, &c, func(k key, limit *Limit) error {
		if k.subject == Account && c.MaxStreams > 0 && g.open[k] >= c.MaxStreams && (limit.Most == 0 || c.MaxStreams < limit.Most) {
			limit.refused.Add(1)
			own := &Limit{Name: limit.Name, Setting: "the account's limits", Unit: limit.Unit, Most: c.MaxStreams, Subject: limit.Subject}
			return &Error{Limit: own, RetryAfter: streamRetry}
		}
		if limit.Most > 0 && g.open[k] >= limit.Most {
			return limit.Reached(streamRetry)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, k := range keys[:n] {
		g.open[k]++
	}
	return sync.OnceFunc(func() { g.close(keys[:n]) }), nil
}

func (g *Guard) close(keys []key) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, k := range keys {
		if g.open[k]--; g.open[k] <= 0 {
			delete(g.open, k)
		}
	}
}
