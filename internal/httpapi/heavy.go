package httpapi

import (
	"porchlight.dev/porchlight/internal/auth"
)

// LightRead is how many users or items a request may read without waiting for a turn:
// fewer than it takes to be noticed by others.
const LightRead = 200

// TurnOf names whose turn a large read is: that of a user, or of an app itself.
func TurnOf(p *auth.Principal) string {
	if p.AccountLevel {
		return string(p.Account) + " app " + string(p.App)
	}
	return string(p.Account) + " user " + string(p.User)
}

// inTurn reads as many users or items, if they are many when it is the caller's turn.
// What is read is written afterwards: a client that is slow to take it has no turn.
func (a *API) inTurn(c *call, items int, read func() error) error {
	if items <= LightRead {
		return read()
	}
	done, err := a.Reads.Take(c.r.Context(), TurnOf(c.p))
	if err != nil {
		return err
	}
	defer done()
	return read()
}
