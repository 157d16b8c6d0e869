package quota

import (
	"testing"
	"time"
)

// TestOverdrawnBucket: a node that does not know yet of another one, which has just started,
// counts what that one took also when both have taken more than there was.
func TestOverdrawnBucket(t *testing.T) {
	const most, per = 10, time.Second
	var b SharedBucket
	for range most {
		if _, wait := b.Take(1, most, per, noon); wait > 0 {
			t.Fatalf("INVALID: wait %v", wait)
		}
	}
	b.Add(5*Cost(most, per), noon)
	for after, want := range map[time.Duration]time.Duration{0: 600 * time.Millisecond, 599 * time.Millisecond: time.Millisecond} {
		if _, wait := b.Take(1, most, per, noon.Add(after)); wait != want {
			t.Errorf("after %v: wait %v, want %v", after, wait, want)
		}
	}
	if left, wait := b.Take(1, most, per, noon.Add(600*time.Millisecond)); left != 0 || wait != 0 {
		t.Errorf("later: %d left, wait %v", left, wait)
	}
}
