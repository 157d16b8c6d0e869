package store_test

import (
	"reflect"
	"sync"
	"testing"

	"porchlight.dev/porchlight/internal/store"
)

// TestHistogram: a value counts in the first bucket whose bound it does not exceed, and in
// those above it, whoever observes it.
func TestHistogram(t *testing.T) {
	h := store.NewHistogram(1, 10, 100)
	var group sync.WaitGroup
	for _, value := range []uint64{0, 1, 2, 10, 100, 101, 5000} {
		group.Go(func() { h.Observe(value) })
	}
	group.Wait()
	want := store.HistogramCounts{Bounds: []uint64{1, 10, 100}, Within: []uint64{2, 4, 5}, Count: 7, Sum: 5214}
	if got := h.Counts(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func BenchmarkHistogram(b *testing.B) {
	h := store.NewCommitHistogram()
	b.ReportAllocs()
	for i := range b.N {
		h.Observe(uint64(i) << 10)
	}
}
