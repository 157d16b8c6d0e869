package httpapi

import "porchlight.dev/porchlight/internal/quota"

// withTurn runs read. If it reads many users or items, it waits for the caller's turn.
// The response is written after the turn, so a slow client does not block others.
func (a *API) withTurn(c *call, items int, read func() error) error {
	if items <= quota.LightRead {
		return read()
	}
	done, err := a.Reads.Take(c.r.Context(), c.p.TurnKey())
	if err != nil {
		return err
	}
	defer done()
	return read()
}
