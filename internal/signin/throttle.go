package signin

import (
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"
)

// A counted is what failed attempts count for.
type counted struct {
	kind  string
	key   string
	free  int // failures before the first delay
	limit time.Duration
}

const (
	// firstDelay follows the last free failure. Each further failure doubles it.
	firstDelay = time.Second
	// maxDelay of an e-mail address bounds how long strangers can keep a person out who
	// comes from a new place; from a known one nobody can.
	maxDelay = 5 * time.Minute
	// forgetAfter is how long after the last attempt failures are forgotten.
	forgetAfter = time.Hour
	// maxCounts bounds the memory.
	maxCounts = 50_000
)

// limitsOf are what an attempt counts for. Somebody who signed in from the network before
// is counted apart, so that failures of strangers, and of colleagues in the same network,
// do not delay them.
func limitsOf(form string, network netip.Prefix, known bool) []counted {
	if known {
		return []counted{{"known", form + " " + network.String(), 10, maxDelay}}
	}
	all := []counted{{"e-mail", form, 5, maxDelay}}
	if network.IsValid() {
		all = append(all, counted{"address", network.String(), 20, maxDelay})
	}
	return all
}

type countKey [16]byte

func (c *counted) hash() countKey {
	sum := sha256.Sum256([]byte(c.kind + " " + c.key))
	return countKey(sum[:16])
}

type count struct {
	failures int
	last     time.Time
	until    time.Time // the next attempt is refused before it
}

// failures delays attempts after others failed. It forgets at a restart.
type failures struct {
	clock func() time.Time

	mu     sync.Mutex
	counts map[countKey]count // guarded by mu
}

func newFailures(clock func() time.Time) *failures {
	return &failures{clock: clock, counts: make(map[countKey]count)}
}

// begin counts an attempt as failed until it succeeds, so that attempts at the same time
// count as well. It returns a *ThrottledError and counts nothing if the attempt comes too
// early.
func (f *failures) begin(of []counted) error {
	now := f.clock()
	f.mu.Lock()
	defer f.mu.Unlock()
	var wait time.Duration
	for i := range of {
		wait = max(wait, f.counts[of[i].hash()].until.Sub(now))
	}
	if wait > 0 {
		return &ThrottledError{RetryAfter: wait}
	}
	for i := range of {
		f.add(&of[i], now)
	}
	return nil
}

func (f *failures) add(of *counted, now time.Time) {
	key := of.hash()
	c, known := f.counts[key]
	if !known && len(f.counts) >= maxCounts {
		f.evict()
	}
	if now.Sub(c.last) >= forgetAfter {
		c = count{}
	}
	c.failures++
	c.last = now
	if over := c.failures - of.free; over >= 0 {
		delay := of.limit
		if over < 16 {
			delay = min(delay, firstDelay<<over)
		}
		c.until = now.Add(delay)
	}
	f.counts[key] = c
}

// succeed takes back what begin counted. What counts for the person alone starts again.
func (f *failures) succeed(of []counted) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range of {
		key := of[i].hash()
		c := f.counts[key]
		if c.failures--; of[i].kind != "address" || c.failures <= 0 {
			delete(f.counts, key)
			continue
		}
		if c.failures < of[i].free {
			c.until = time.Time{}
		}
		f.counts[key] = c
	}
}

// unbegin takes back what begin counted for an attempt that was not decided.
func (f *failures) unbegin(of []counted) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range of {
		key := of[i].hash()
		if c, ok := f.counts[key]; ok && c.failures > 0 {
			c.failures--
			c.until = time.Time{}
			f.counts[key] = c
		}
	}
}

// evict drops the count with the fewest failures of a sample. The sample is random, because
// a range over a map begins at a random element.
func (f *failures) evict() {
	var least countKey
	lowest, scanned := 0, 0
	for key, c := range f.counts {
		if scanned == 0 || c.failures < lowest {
			least, lowest = key, c.failures
		}
		if scanned++; scanned == 16 {
			break
		}
	}
	delete(f.counts, least)
}
