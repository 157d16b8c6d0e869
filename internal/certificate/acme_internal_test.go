package certificate

import (
	"net/http"
	"testing"
	"time"

	"golang.org/x/crypto/acme"
)

// TestRateLimited: the CA says when to try again, but a wrong header does not end the renewals.
func TestRateLimited(t *testing.T) {
	for asked, want := range map[string]time.Duration{
		"": retryRefused, "60": retryRefused, "7200": 2 * time.Hour, "31536000": maxRefused, "Fri, 31 Dec 9999 23:59:59 GMT": maxRefused,
	} {
		limited := &acme.Error{StatusCode: http.StatusTooManyRequests, ProblemType: "urn:ietf:params:acme:error:rateLimited", Header: http.Header{"Retry-After": {asked}}}
		if got := new(obtained).failed(time.Now(), limited); got.Round(time.Second) != want {
			t.Errorf("Retry-After %q: the next attempt is in %v, want %v", asked, got, want)
		}
	}
}
