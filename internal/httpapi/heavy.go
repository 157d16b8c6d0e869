package httpapi

import (
	"porchlight.dev/porchlight/internal/auth"
)

// lightRead is how many users or items a request may read without waiting for a turn:
// fewer than it takes to be noticed by others.
const lightRead = 200

// turnOf names whose turn a large read is: that of a user, or of an app itself.
func turnOf(p *auth.Principal) string {
	if p.AccountLevel {
		return string(p.Account) + " app " + string(p.App)
	}
	return string(p.Account) + " user " + string(p.User)
}

// inTurn reads as many users or items, if they are many when it is the caller's turn.
// What is read is written afterwards: a client that is slow to take it has no turn.
func (a *API) inTurn(c *call, items int, read func() error) error {
	if items <= lightRead {
		return read()
	}
	done, err := a.Reads.Take(c.r.Context(), turnOf(c.p))
	if err != nil {
		return err
	}
	defer done()
	return read()
}
