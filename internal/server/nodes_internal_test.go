package server

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestDeadNodesAreLookedAtAgain: the sessions of a dead node are looked for once more after
// its last write can have been stored.
func TestDeadNodesAreLookedAtAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		var calls []string
		q, begun := newDeadQueue(), time.Now()
		go q.follow(ctx, func(ids []string) error {
			calls = append(calls, fmt.Sprintf("%v%v", time.Since(begun), ids))
			return nil
		})
		q.add("a")
		time.Sleep(4 * time.Minute)
		q.add("b")
		time.Sleep(time.Hour)
		q.add("c")
		synctest.Wait()
		stop()
		synctest.Wait()
		want := []string{"0s[a]", "4m0s[a b]", "9m0s[a b]", "1h4m0s[c]"}
		if !slices.Equal(calls, want) {
			t.Errorf("%q, want %q", calls, want)
		}
	})
}
