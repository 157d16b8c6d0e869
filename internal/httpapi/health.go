package httpapi

import "porchlight.dev/porchlight/api"

// readHealth serves GET /v1/health. An administrator of the only account is the operator of
// the server. The figures of a server with several accounts would say something of the others.
func (a *API) readHealth(c *call) error {
	health := api.Health{Time: api.At(a.Clock())}
	accounts, err := a.Directory.Accounts(c.r.Context(), "", 2)
	if err == nil && len(accounts) == 1 {
		health.Server, err = a.Measure(c.r.Context())
	}
	if err != nil {
		return err
	}
	return c.writeDigested(&health)
}
