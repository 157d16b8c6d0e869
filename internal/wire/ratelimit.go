package wire

import (
	"net/http"

	"porchlight.dev/porchlight/internal/quota"
)

// AnnounceLimit writes how much of a limit is left to the caller into the headers of a
// response, if clients are told of the limit.
func AnnounceLimit(h http.Header, s quota.Standing) {
	policy, left := s.Fields()
	if policy == "" {
		return
	}
	h["Ratelimit-Policy"] = []string{policy}
	h["Ratelimit"] = []string{left}
}
