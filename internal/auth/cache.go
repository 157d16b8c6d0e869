package auth

import (
	"hash/maphash"
	"math"
	"sync/atomic"
	"time"

	"porchlight.dev/porchlight/internal/cache"
)

// MaxStale is how long another node may go on accepting a token that was
// revoked, or whose user or app is gone. This node's own changes to apps and
// tokens hold at once.
const MaxStale = 5 * time.Second

const (
	// renewAfter is the age at which one request reads an answer anew, while
	// others go on with it: a busy token is not read by all of them at once.
	renewAfter = MaxStale - time.Second
	// recheckAfter is the age at which those who last read an answer anew: they look
	// every three seconds, and what they would find then must be known within MaxStale.
	recheckAfter = MaxStale - 4*time.Second
	// refusedFor is how long a refusal is remembered.
	refusedFor = time.Second

	knownSlots   = 1 << 16
	refusedSlots = 1 << 12
)

// A tokenCache remembers what was found for the digests of tokens. Principals
// and refusals have a table each, so that no flood of guesses can evict a
// token in use.
type tokenCache struct {
	// alone: nobody but this node changes anything, so that a principal holds until
	// it is invalidated.
	alone bool

	known, refused *cache.Table[digest, verdict]
}

// An answer is what was found of a token at an instant.
type answer = cache.Entry[digest, verdict]

// A verdict is a principal, or why there is none.
type verdict struct {
	principal *Principal
	err       error
	renewing  atomic.Bool
}

func newTokenCache() *tokenCache {
	seed := maphash.MakeSeed() // one: an answer is begun before it is known which it will be
	return &tokenCache{known: cache.New[digest, verdict](seed, knownSlots), refused: cache.New[digest, verdict](seed, refusedSlots)}
}

// get finds an answer that still holds, or nil.
func (c *tokenCache) get(d *digest, now time.Time) *answer {
	if a := c.known.Get(*d, now, c.limit(MaxStale)); a != nil {
		if now.Sub(a.Read) >= c.limit(renewAfter) && a.Value.renewing.CompareAndSwap(false, true) {
			return nil
		}
		return a
	}
	return c.refused.Get(*d, now, refusedFor)
}

// recent is get for those who last.
func (c *tokenCache) recent(d *digest, now time.Time) *answer {
	return c.known.Get(*d, now, c.limit(recheckAfter))
}

// limit is how old a principal may be that is read again at an age.
func (c *tokenCache) limit(age time.Duration) time.Duration {
	if c.alone {
		return math.MaxInt64
	}
	return age
}

// standing is nil for a token that is valid, or else why it is not.
func (v *verdict) standing(now time.Time) error {
	if v.err != nil {
		return v.err
	}
	if expires := v.principal.Expires; !expires.IsZero() && !now.Before(expires) {
		return ErrExpiredToken
	}
	return nil
}

// put brings in an answer. A refusal takes the place of the principal that there was.
func (c *tokenCache) put(a *answer) {
	if a.Value.principal != nil {
		c.known.Put(a)
		return
	}
	c.known.Delete(a.Key)
	c.refused.Put(a)
}

// invalidate makes what was read of a token before now unusable; invalidateAll does so
// for every token.
func (c *tokenCache) invalidate(d *digest) {
	c.known.Invalidate(*d)
	c.refused.Invalidate(*d)
}

func (c *tokenCache) invalidateAll() {
	c.known.InvalidateAll()
	c.refused.InvalidateAll()
}
