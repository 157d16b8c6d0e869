package directory

import (
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/presence"
)

// An entry that lies where another account's would is not taken for it.
func TestCacheTellsAccountsApart(t *testing.T) {
	c := newEmailCache()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	e := &located{account: "one", email: "ann@example.com", user: "ann", read: now}
	for i := range c.slots {
		c.slots[i].Store(e)
	}
	if id, ok := c.get("one", "ann@example.com", now); !ok || id != "ann" {
		t.Errorf("its own account gets %q, %v", id, ok)
	}
	for _, other := range []struct {
		account presence.AccountID
		email   string
	}{{"two", "ann@example.com"}, {"one", "bob@example.com"}, {"", ""}} {
		if id, ok := c.get(other.account, other.email, now); ok {
			t.Errorf("%+v gets %q", other, id)
		}
	}
}
