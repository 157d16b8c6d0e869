package webhook_test

import (
	"fmt"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/webhook"
)

func userNumber(i int) presence.UserID { return presence.UserID(fmt.Sprint("u", i)) }

// TestLive: every event of the account arrives once, in order for each user, soon after
// its commit.
func TestLive(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		f := newFixture(t, st, subscription("one"), subscription("two"))
		f.start()
		e := f.network.endpoint("https://one.example")
		e.set(func(int, *webhook.Request) reply { return reply{status: 200, after: 10 * time.Millisecond} })
		for i := range 200 {
			f.change(userNumber(i % 7))
		}
		advance(5 * time.Second)
		for _, url := range []string{"https://one.example", "https://two.example"} {
			e := f.network.endpoint(url)
			if n, lost := e.count(), f.missing(e); n != 200 || len(lost) > 0 {
				t.Errorf("%s got %d requests; missing: %v", url, n, lost)
			}
			f.inOrder(e)
		}
		if e.most != 7 {
			t.Errorf("%d requests at a time, want one for each of 7 users", e.most)
		}
	})
}
