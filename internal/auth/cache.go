package auth

import (
	"hash/maphash"
	"math"
	"sync/atomic"
	"time"

	"porchlight.dev/porchlight/internal/cache"
)

// MaxStale is how long another node may continue to accept a token after it was revoked,
// or after its user or app was deleted. This node's own changes take effect at once.
const MaxStale = 5 * time.Second

const (
	// renewAfter is the age at which one request reads an answer again while others
	// still use it, so that a busy token is not read by all of them at once.
	renewAfter = MaxStale - time.Second
	// recheckAfter is the age at which Recheck reads an answer again. Streams call it
	// every three seconds, and must notice a revocation within MaxStale.
	recheckAfter = MaxStale - 4*time.Second
	// refusedFor is how long a refusal is cached.
	refusedFor = time.Second

	knownSlots   = 1 << 16
	refusedSlots = 1 << 12
)

// A tokenCache has the verdicts on tokens, by digest. Principals and refusals have a
// table each, so that no flood of guesses can evict a token in use.
type tokenCache struct {
	// alone: only this node changes the store, so that a principal is valid until it
	// is invalidated.
	alone bool

	known, refused *cache.Table[digest, verdict]
	invalidations  invalidations
}

// An answer is the verdict on a token at an instant.
type answer = cache.Entry[digest, verdict]

// A verdict is a principal, or why there is none.
type verdict struct {
	principal *Principal
	err       error
	renewing  atomic.Bool

	changes uint64 // see invalidations
	slots   slots
}

func newTokenCache() *tokenCache {
	seed := maphash.MakeSeed() // one for both: an answer is begun before it is known to which table it belongs
	return &tokenCache{
		known: cache.New[digest, verdict](seed, knownSlots), refused: cache.New[digest, verdict](seed, refusedSlots),
		invalidations: invalidations{seed: seed},
	}
}

// begin returns the entry of an answer that is about to be read.
func (c *tokenCache) begin(d *digest, now time.Time) *answer {
	a := c.known.Begin(*d, now)
	a.Value.changes = c.invalidations.changes.Load()
	return a
}

// get returns a current answer, or nil.
func (c *tokenCache) get(d *digest, now time.Time) *answer {
	if a := c.current(c.known.Get(*d, now, c.limit(MaxStale))); a != nil {
		if now.Sub(a.Read) >= c.limit(renewAfter) && a.Value.renewing.CompareAndSwap(false, true) {
			return nil
		}
		return a
	}
	return c.current(c.refused.Get(*d, now, refusedFor))
}

// recent is get for Recheck.
func (c *tokenCache) recent(d *digest, now time.Time) *answer {
	return c.current(c.known.Get(*d, now, c.limit(recheckAfter)))
}

// current returns a cached answer, or nil if it was invalidated.
func (c *tokenCache) current(a *answer) *answer {
	if a == nil || c.invalidations.cover(&a.Value) {
		return nil
	}
	return a
}

// limit is the age past which a principal is read again.
func (c *tokenCache) limit(age time.Duration) time.Duration {
	if c.alone {
		return math.MaxInt64
	}
	return age
}

// check returns nil for a valid token, and otherwise the reason.
func (v *verdict) check(now time.Time) error {
	if v.err != nil {
		return v.err
	}
	if expires := v.principal.Expires; !expires.IsZero() && !now.Before(expires) {
		p := v.principal
		return &RefusalError{Account: p.Account, App: p.App, User: p.User, AccountLevel: p.AccountLevel, TokenID: p.TokenID, Err: ErrExpiredToken}
	}
	return nil
}

// put adds an answer. A refusal replaces the principal.
func (c *tokenCache) put(a *answer) {
	if p := a.Value.principal; p != nil {
		a.Value.slots = c.invalidations.slotsOf(p)
		c.known.Put(a)
		return
	}
	c.known.Delete(a.Key)
	c.refused.Put(a)
}

// invalidate discards what was read of a token before now, even by a read that is still
// running.
func (c *tokenCache) invalidate(d *digest) {
	c.known.Invalidate(*d)
	c.refused.Invalidate(*d)
}

// evict invalidates the tokens that r covers.
func (c *tokenCache) evict(r *Revocation) {
	for i := range r.tokens {
		c.invalidate(&r.tokens[i])
	}
	if len(r.tokens) == 0 && r.CoversAny() {
		c.invalidations.add(r)
	}
}
