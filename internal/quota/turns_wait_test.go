package quota_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"porchlight.dev/porchlight/internal/quota"
)

// TestWaitIsNeverRefused: a caller of Wait is not refused, and does not count against
// the queue of others.
func TestWaitIsNeverRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := quota.NewTurns(1, &quota.Limit{Name: "waiting", Most: 1})
		done, err := turns.Take(t.Context(), "first")
		if err != nil {
			t.Fatal(err)
		}
		errs := make(chan error, 4)
		ask := func(take func() (func(), error)) {
			go func() {
				done, err := take()
				if err == nil {
					done()
				}
				errs <- err
			}()
			synctest.Wait()
		}
		for range 3 {
			ask(func() (func(), error) { return turns.Wait(t.Context(), "streams") })
		}
		ask(func() (func(), error) { return turns.Take(t.Context(), "reader") })
		if _, err := turns.Take(t.Context(), "reader"); !errors.As(err, new(*quota.Error)) {
			t.Errorf("one more than the queue holds: %v", err)
		}
		done()
		for range 4 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
	})
}
