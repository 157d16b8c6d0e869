package httpapi

import (
	"porchlight.dev/porchlight/internal/auth"
)

// LightRead is how many users or items a request may read without waiting for a
// turn. Reading so few does not delay other requests noticeably.
const LightRead = 200

// TurnKey identifies the caller of a large read: a user, or an app that acts for
// itself.
func TurnKey(p *auth.Principal) string {
	if p.AccountLevel {
		return string(p.Account) + " app " + string(p.App)
	}
	return string(p.Account) + " user " + string(p.User)
}

// withTurn runs read. If it reads many users or items, it waits for the caller's turn.
// The response is written after the turn, so a slow client does not block others.
func (a *API) withTurn(c *call, items int, read func() error) error {
	if items <= LightRead {
		return read()
	}
	done, err := a.Reads.Take(c.r.Context(), TurnKey(c.p))
	if err != nil {
		return err
	}
	defer done()
	return read()
}
