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

// targetUser is the user that the path names; "me", and a path without {user}, name
// the caller's own. It does not check that an id exists.
func (a *API) targetUser(c *call) (store.User, error) {
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

// Resolve finds the user that a principal names; "me" is the principal's own.
func (a *API) Resolve(ctx context.Context, p *auth.Principal, ref string) (presence.UserID, error) {
	if ref != "me" {
		return a.Directory.Resolve(ctx, p.Account, ref)
	}
	if p.User == "" {
		return "", directory.ErrNoUser // an account without an owner
	}
	return p.User, nil
}

// userFor is the user of the path, if the caller has scope for that user. It checks
// that the user exists before it refuses permission: that is the documented order.
func (a *API) userFor(c *call, scope auth.Scope) (store.User, error) {
	u, err := a.targetUser(c)
	if err != nil || c.p.MayFor(scope, u.ID) {
		return u, err
	}
	if err := a.checkExists(c, u); err != nil {
		return u, err
	}
	return u, &wire.PermissionError{Scope: scope.String() + ":admin"}
}

// checkExists returns an error if the user is not in the directory.
func (a *API) checkExists(c *call, u store.User) error {
	_, err := a.Directory.User(c.r.Context(), u.Account, u.ID)
	return err
}

// unfiltered reads a record without the rules of visibility, for callers whose
// permission was checked before.
type unfiltered struct{}

func (unfiltered) Watcher(target presence.UserID) presence.Watcher {
	return presence.Watcher{User: target, Truth: true}
}

// state is the record of a user, which may be empty.
func (a *API) state(c *call, u store.User) (*presence.State, error) {
	view, _, err := a.Views.Read(c.r.Context(), u.Account, u.ID, unfiltered{})
	if err != nil {
		return nil, err
	}
	if view.State == nil {
		return new(presence.State), nil
	}
	return a.Publisher.WithSoftState(u, view.State), nil
}

// stateFor is userFor with the user's record.
func (a *API) stateFor(c *call, scope auth.Scope) (store.User, *presence.State, error) {
	u, err := a.userFor(c, scope)
	if err != nil {
		return u, nil, err
	}
	state, err := a.state(c, u)
	return u, state, err
}

// asNoSession replaces errors that would disclose why a session was not found.
func asNoSession(err error) error {
	if errors.Is(err, directory.ErrNoUser) || errors.Is(err, presence.ErrDeleted) {
		return presence.ErrUnknownSession
	}
	return err
}
