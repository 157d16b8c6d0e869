package scim

import "porchlight.dev/porchlight/internal/directory"

func (a *API) groupRoutes() []route { return nil }

// userResources are users as clients see them.
func (a *API) userResources(c *call, users []directory.User, _ *projection) ([]object, error) {
	all := make([]object, 0, len(users))
	for i := range users {
		all = append(all, c.describeUser(&users[i]))
	}
	return all, nil
}
