package httpapi

import (
	"net/http"

	"porchlight.dev/porchlight/internal/quota"
)

// resourceOf is the limited resource that a request of a route uses; ok is false for
// a request that only reads.
func resourceOf(method, pattern string) (r quota.Resource, ok bool) {
	switch method + " " + pattern {
	case "POST /v1/presence/query":
		return 0, false
	case "POST /v1/tickets":
		return quota.Tickets, true
	case "POST /v1/tokens":
		return quota.Tokens, true
	default:
		return quota.Writes, method != http.MethodGet
	}
}
