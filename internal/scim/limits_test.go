package scim_test

import (
	"fmt"
	"testing"

	"porchlight.dev/porchlight/internal/quota"
)

// TestLimits: past a limit, the response is an error of SCIM with Retry-After, and reads
// go on.
func TestLimits(t *testing.T) {
	f := newFixture(t)
	f.api.Quotas = quota.NewGuard(map[quota.Resource]quota.Amounts{quota.Writes: {quota.App: 3}}, f.clock.Now)
	refused := 0
	for i := range 10 {
		a := f.do("POST", "/Users", user(fmt.Sprint("user", i)))
		if a.status == 201 {
			continue
		}
		refused++
		if a.fails(429, ""); a.header.Get("Retry-After") == "" {
			t.Errorf("headers %v", a.header)
		}
	}
	if refused == 0 || refused == 10 {
		t.Errorf("%d of 10 requests were refused", refused)
	}
	f.do("GET", "/Users", "").want(200).has("totalResults", 11-refused)
}
