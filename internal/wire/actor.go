package wire

import (
	"net/http"

	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
)

// Actor is the caller of a request as the audit log has it. p is nil for a caller without
// a token.
func Actor(w http.ResponseWriter, p *auth.Principal) audit.Actor {
	by := audit.Actor{Address: ClientOf(w).Addr, Request: RequestID(w)}
	if p != nil {
		by.User, by.App, by.Token, by.AccountLevel = p.User, p.App, p.TokenID, p.AccountLevel
	}
	return by
}
