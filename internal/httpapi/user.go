package httpapi

import (
	"context"
	"errors"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/wire"
)

// user is whom the path names; "me", and a path without {user}, is the caller's
// own. An id may turn out not to exist.
func (a *API) user(c *call) (store.User, error) {
	ref := wire.UserRef(c.r, "user")
	if ref == "" {
		ref = "me"
	}
	id, err := a.resolve(c, ref)
	return store.User{Account: c.p.Account, ID: id}, err
}

func (a *API) resolve(c *call, ref string) (presence.UserID, error) {
	return a.Resolve(c.r.Context(), c.p, ref)
}

// Resolve finds the user whom a principal names; "me" is the principal's own.
func (a *API) Resolve(ctx context.Context, p *auth.Principal, ref string) (presence.UserID, error) {
	if ref != "me" {
		return a.Directory.Resolve(ctx, p.Account, ref)
	}
	if p.User == "" {
		return "", directory.ErrNoUser // an account without an owner
	}
	return p.User, nil
}

// userFor is the user of the path, if the caller has scope for that user. Who
// may not act is still told that a user does not exist: users come before
// permissions.
func (a *API) userFor(c *call, scope auth.Scope) (store.User, error) {
	u, err := a.user(c)
	if err != nil || c.p.MayFor(scope, u.ID) {
		return u, err
	}
	if err := a.known(c, u); err != nil {
		return u, err
	}
	return u, wire.ErrPermission
}

// known is nil for a user of the directory.
func (a *API) known(c *call, u store.User) error {
	_, err := a.Directory.User(c.r.Context(), u.Account, u.ID)
	return err
}

// truth looks at a record as it is: for what has been permitted already.
type truth struct{}

func (truth) Watcher(target presence.UserID) presence.Watcher {
	return presence.Watcher{User: target, Truth: true}
}

// state is the record of a user, which may be empty.
func (a *API) state(c *call, u store.User) (*presence.State, error) {
	view, _, err := a.Views.Read(c.r.Context(), u.Account, u.ID, truth{})
	if err != nil {
		return nil, err
	}
	if view.State == nil {
		return new(presence.State), nil
	}
	return a.Publisher.WithSoftState(u, view.State), nil
}

// asNoSession hides why a session cannot be found.
func asNoSession(err error) error {
	if errors.Is(err, directory.ErrNoUser) || errors.Is(err, presence.ErrDeleted) {
		return presence.ErrUnknownSession
	}
	return err
}
