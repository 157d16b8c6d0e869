package quota

import "time"

// A Bucket is a token bucket in the form of the generic cell rate algorithm: the
// instant at which the bucket is full again, in nanoseconds of Unix time. The zero
// Bucket is full.
type Bucket int64

// Take takes n tokens of a bucket that holds most and fills within per. It returns how
// many are left. If there are fewer than n, it takes none and returns how long to wait.
func (b *Bucket) Take(n, most int, per time.Duration, now time.Time) (left int, wait time.Duration) {
	at, instant := int64(*b), now.UnixNano()
	if at < instant || at > instant+int64(per) { // the latter after the clock was set back
		at = instant
	}
	interval := int64(per) / int64(most)
	cost := int64(n) * interval
	if over := at - instant + cost - int64(per); over > 0 {
		return 0, time.Duration(over)
	}
	*b = Bucket(at + cost)
	return int((int64(per) - (at - instant) - cost) / interval), 0
}

// Full reports whether nothing needs to be remembered of the bucket.
func (b Bucket) Full(now time.Time) bool { return int64(b) <= now.UnixNano() }

// maxBuckets bounds a Table. Past it, the fullest buckets are evicted first, so that a
// client with many addresses cannot evict the buckets of clients at a limit.
const maxBuckets = 10_000

// A Table is a bounded number of buckets by key. The zero Table is ready; it has
// no lock.
type Table[K comparable] struct{ buckets map[K]Bucket }

// Get is the bucket of a key: full if it is not known.
func (t *Table[K]) Get(key K) Bucket { return t.buckets[key] }

// Set remembers a bucket.
func (t *Table[K]) Set(key K, b Bucket, now time.Time) {
	if t.buckets == nil {
		t.buckets = make(map[K]Bucket)
	}
	if _, known := t.buckets[key]; !known && len(t.buckets) >= maxBuckets {
		t.evict(now)
	}
	t.buckets[key] = b
}

// evictionSample is how many buckets are compared to find one that can go.
const evictionSample = 16

// evict drops the full buckets of a sample, or else the fullest one. The sample is
// random, because a range over a map begins at a random element.
func (t *Table[K]) evict(now time.Time) {
	var fullest K
	var least Bucket
	scanned, dropped := 0, false
	for key, b := range t.buckets {
		if b.Full(now) {
			delete(t.buckets, key)
			dropped = true
		}
		if scanned == 0 || b < least {
			fullest, least = key, b
		}
		if scanned++; scanned == evictionSample {
			break
		}
	}
	if !dropped {
		delete(t.buckets, fullest)
	}
}
