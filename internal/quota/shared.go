package quota

import "time"

// ExchangeLag is how old a node's knowledge of what others took may be: each broadcasts it
// every broadcastEvery.
const (
	ExchangeLag    = 250 * time.Millisecond
	broadcastEvery = 100 * time.Millisecond
)

// A SharedBucket is a Bucket from which several nodes take. Each has its own copy, and
// subtracts what the others report. The zero SharedBucket is full.
//
// Of what is left, a node takes no more than its share until the others must know of it. In
// addition it takes what a constant rate needs, so that a client that uses one node alone is
// limited to the whole rate, and not to a share of it. So all nodes together take at most what
// the bucket holds, and in addition, for each node but one, what the bucket gains in
// ExchangeLag, or one token.
type SharedBucket struct {
	// at is as in Bucket, or later, if more was taken than was left.
	at Bucket
	// own is what this node took in a slice of time and in the one before: at least in the
	// last half of ExchangeLag.
	own   [2]int32
	slice int64
}

const sliceTime = int64(ExchangeLag / 2)

// Take takes a token of a bucket that holds most and fills within per. It returns how many
// are left, or how long to wait. nodes is how many nodes there are; 0: no others will ever
// take from it.
func (b *SharedBucket) Take(nodes, most int, per time.Duration, now time.Time) (left int, wait time.Duration) {
	if nodes < 1 {
		return b.at.Take(1, most, per, now)
	}
	instant, interval := now.UnixNano(), int64(per)/int64(most)
	// Even if no messages arrive for a second, all nodes together get no further ahead, except
	// after a clock was set back.
	furthest := int64(per) + int64(nodes)*max(interval, int64(2*time.Second))
	at := min(max(int64(b.at), instant), instant+furthest)
	b.at = Bucket(at)
	if over := at - instant + interval - int64(per); over > 0 {
		return 0, time.Duration(over)
	}
	left = int((int64(per) - (at - instant)) / interval)
	own := b.ownSince(instant)
	if spare := max(1, most*int(ExchangeLag)/int(per)); nodes*(own+1) > left+own+(nodes-1)*spare {
		return 0, time.Duration((b.slice+1)*sliceTime - instant)
	}
	b.own[0]++
	b.at = Bucket(at + interval)
	return left - 1, 0
}

// ownSince is what this node took that others may not know of yet.
func (b *SharedBucket) ownSince(instant int64) int {
	switch slice := instant / sliceTime; slice - b.slice {
	case 0:
	case 1:
		b.own, b.slice = [2]int32{0, b.own[0]}, slice
	default:
		b.own, b.slice = [2]int32{}, slice
	}
	return int(b.own[0] + b.own[1])
}

// Cost is what a token of such a bucket costs, for Add.
func Cost(most int, per time.Duration) int64 { return int64(per) / int64(most) }

// Add subtracts what other nodes took.
func (b *SharedBucket) Add(cost int64, now time.Time) {
	b.at = Bucket(max(int64(b.at), now.UnixNano()) + cost)
}

// FullAt is when the bucket is full again, in nanoseconds of Unix time.
func (b *SharedBucket) FullAt() Bucket { return b.at }
