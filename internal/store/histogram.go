package store

import (
	"slices"
	"sync/atomic"
	"time"
)

// A Histogram counts values by size. It is safe for concurrent use, and cheap enough for
// the path of every commit.
type Histogram struct {
	bounds []uint64
	counts []atomic.Uint64 // one more than bounds
	sum    atomic.Uint64
}

// NewHistogram makes a histogram with a bucket for the values up to each bound, in
// increasing order, and one for those above.
func NewHistogram(bounds ...uint64) *Histogram {
	return &Histogram{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1)}
}

// NewCommitHistogram makes the histogram of the durations of commits, in nanoseconds. Its
// buckets are those of every engine, so that engines can be compared.
func NewCommitHistogram() *Histogram {
	const us, ms = uint64(time.Microsecond), uint64(time.Millisecond)
	return NewHistogram(100*us, 250*us, 500*us, ms, 5*ms/2, 5*ms, 10*ms, 25*ms, 50*ms, 100*ms, 250*ms, 500*ms, 1000*ms, 2500*ms, 5000*ms)
}

// Observe counts a value.
func (h *Histogram) Observe(value uint64) {
	i := 0
	for i < len(h.bounds) && value > h.bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(value)
}

// Counts are what was observed so far.
func (h *Histogram) Counts() HistogramCounts {
	c := HistogramCounts{Bounds: slices.Clone(h.bounds), Within: make([]uint64, len(h.bounds)), Sum: h.sum.Load()}
	for i := range h.counts {
		c.Count += h.counts[i].Load()
		if i < len(c.Within) {
			c.Within[i] = c.Count
		}
	}
	return c
}

// HistogramCounts are the values that a histogram has observed.
type HistogramCounts struct {
	Bounds []uint64
	Within []uint64 // the number of values up to each bound
	Count  uint64
	Sum    uint64
}
