package httpapi

import (
	"context"
	"errors"
	"net/http"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// createUser serves POST /v1/users.
func (a *API) createUser(c *call, body *api.CreateUser) error {
	if err := c.creates(); err != nil {
		return err
	}
	asked := directory.User{
		Email: body.Email, FirstName: body.FirstName, LastName: body.LastName,
		DisplayName: body.DisplayName, Department: body.Department, Active: true,
	}
	u, err := a.Directory.Create(c.r.Context(), c.p.Account, asked)
	if errors.Is(err, directory.ErrEmailTaken) {
		u, err = a.halfMade(c, &asked)
	}
	if err != nil {
		return err
	}
	if err := a.stand(c, u.ID, presence.UserActive); err != nil {
		return err
	}
	header(c.w, "Location", "/v1/users/"+string(u.ID))
	header(c.w, "Etag", userTag(&u))
	return c.answer(http.StatusCreated, asUser(&u))
}

// halfMade is the user with the e-mail that is taken, if it was made by the same
// request before, and the server stopped before it recorded the user's state.
func (a *API) halfMade(c *call, asked *directory.User) (directory.User, error) {
	ctx := c.r.Context()
	found, err := a.Directory.Find(ctx, c.p.Account, asked.Email)
	if errors.Is(err, directory.ErrNoUser) {
		return found, store.ErrConflict // deleted just now
	}
	if err != nil {
		return found, err
	}
	same := *asked
	if err := same.Clean(&directory.User{}); err != nil {
		return found, err
	}
	same.ID, same.Created, same.Version = found.ID, found.Created, found.Version
	if same != found {
		return found, directory.ErrEmailTaken
	}
	records, _, err := a.Views.Store.Read(ctx, []store.User{{Account: c.p.Account, ID: found.ID}})
	if err == nil && len(records) > 0 {
		err = directory.ErrEmailTaken
	}
	return found, err
}

// stand records what the directory decided about a user. It may be repeated.
func (a *API) stand(c *call, id presence.UserID, s presence.UserState) error {
	u := store.User{Account: c.p.Account, ID: id}
	_, err := a.Publisher.Publish(c.r.Context(), u, c.p.Actor(), presence.SetUserState{State: s})
	return err
}

// listUsers serves GET /v1/users.
func (a *API) listUsers(c *call) error {
	pg, err := c.page()
	if err != nil {
		return err
	}
	var users []directory.User
	err = a.inTurn(c, pg.limit, func() (err error) {
		users, err = a.Directory.Users(c.r.Context(), c.p.Account, presence.UserID(pg.after), pg.limit+1)
		return err
	})
	if err != nil {
		return err
	}
	var list api.Users
	list.Users, list.Next = fill(pg, users, asUser, func(u *api.User) string { return u.ID })
	return c.represent(&list)
}

// readUser serves GET /v1/users/{user}.
func (a *API) readUser(c *call) error {
	u, err := a.userFor(c, auth.DirectoryRead)
	if err != nil {
		return err
	}
	found, err := a.Directory.User(c.r.Context(), u.Account, u.ID)
	if err != nil {
		return err
	}
	return c.representAs(userTag(&found), asUser(&found))
}

// updateUser serves PATCH /v1/users/{user}. Names are the user's own to change;
// e-mail and state need the :admin scope.
func (a *API) updateUser(c *call, body *api.UpdateUser) error {
	u, err := a.userFor(c, auth.DirectoryWrite)
	if err != nil {
		return err
	}
	managed := need{asManager, auth.DirectoryWrite}
	if err := managed.check(c.p); (body.Email != nil || body.Active != nil) && err != nil {
		return err
	}
	var after directory.User
	err = a.decided(c, u, func(before directory.User, decide func(*directory.User) error) (err error) {
		after, err = a.change(c, before, body, decide)
		return err
	})
	if err != nil {
		return err
	}
	header(c.w, "Etag", userTag(&after))
	return c.answer(http.StatusOK, asUser(&after))
}

// decided runs change on a user as the directory has it, anew as long as somebody
// else changes the user at the same moment. The conditions of the request are
// decided by the first write to the directory: a change that writes elsewhere first
// calls decide before, after which they hold, whatever comes.
func (a *API) decided(c *call, u store.User, change func(before directory.User, decide func(*directory.User) error) error) error {
	done := !c.conditional()
	decide := func(before *directory.User) (err error) {
		if !done {
			*before, err = a.Directory.Update(c.r.Context(), u.Account, *before)
			done = err == nil
		}
		return err
	}
	return again(func() error {
		before, err := a.Directory.User(c.r.Context(), u.Account, u.ID)
		if err == nil && !done {
			err = c.meets(userTag(&before), true)
		}
		if err != nil {
			return err
		}
		return change(before, decide)
	})
}

// change carries out an update. A user who is deactivated is so on record first
// and in the directory last; one who is activated, the other way round. Where
// the server ends in between, the same request again goes through to the end.
func (a *API) change(
	c *call, before directory.User, body *api.UpdateUser, decide func(*directory.User) error,
) (directory.User, error) {
	ctx := c.r.Context()
	after := merged(before, body)
	if err := after.Clean(&before); err != nil {
		return before, err
	}
	deactivates := body.Active != nil && !*body.Active
	if deactivates {
		if err := a.mayGo(ctx, c.p, before.ID); err != nil {
			return before, err
		}
		if err := decide(&before); err != nil {
			return before, err
		}
		if err := a.stand(c, before.ID, presence.UserDeactivated); err != nil {
			return before, err
		}
	}
	after.Version = before.Version
	if after != before {
		var err error
		if after, err = a.Directory.Update(ctx, c.p.Account, after); err != nil {
			return before, err
		}
	}
	if err := a.logProfile(ctx, store.User{Account: c.p.Account, ID: before.ID}, c.p.Actor()); err != nil {
		return before, err
	}
	switch {
	case deactivates:
		return after, a.Authority.RevokeUser(ctx, c.p.Account, before.ID)
	case body.Active != nil:
		return after, a.activate(c, store.User{Account: c.p.Account, ID: before.ID})
	default:
		return after, nil
	}
}

// activate also catches up with the rules of visibility that were declared
// meanwhile.
func (a *API) activate(c *call, u store.User) error {
	if err := a.stand(c, u.ID, presence.UserActive); err != nil {
		return err
	}
	return a.rule(c, u)
}

func merged(u directory.User, body *api.UpdateUser) directory.User {
	for _, field := range []struct {
		to   *string
		from *string
	}{
		{&u.Email, body.Email},
		{&u.FirstName, body.FirstName},
		{&u.LastName, body.LastName},
		{&u.DisplayName, body.DisplayName},
		{&u.Department, body.Department},
	} {
		if field.from != nil {
			*field.to = *field.from
		}
	}
	if body.Active != nil {
		u.Active = *body.Active
	}
	return u
}

// mayGo refuses to lose the account's owner, for whom the account's apps act.
func (a *API) mayGo(ctx context.Context, p *auth.Principal, id presence.UserID) error {
	account, err := a.Directory.Account(ctx, p.Account)
	if err == nil && account.Owner == id {
		return errOwner
	}
	return err
}

// deleteUser serves DELETE /v1/users/{user}: on record first, then in the
// directory, so that it can be repeated until both are done.
func (a *API) deleteUser(c *call) error {
	ctx := c.r.Context()
	u, err := a.userFor(c, auth.DirectoryWrite)
	if err != nil {
		return err
	}
	err = a.decided(c, u, func(before directory.User, decide func(*directory.User) error) error {
		if err := a.mayGo(ctx, c.p, u.ID); err != nil {
			return err
		}
		return decide(&before)
	})
	if err != nil {
		return err
	}
	if err := a.stand(c, u.ID, presence.UserDeleted); err != nil {
		return err
	}
	// Tokens of a user who is gone are not valid: what is revoked here only
	// leaves the list.
	if err := a.Authority.RevokeUser(ctx, u.Account, u.ID); err != nil {
		return err
	}
	return c.done(a.Directory.Delete(ctx, u.Account, u.ID))
}

func userTag(u *directory.User) string { return tagOf(u.Version, asUser(u)) }

func asUser(u *directory.User) api.User {
	return api.User{
		ID: string(u.ID), Email: u.Email, FirstName: u.FirstName, LastName: u.LastName,
		DisplayName: u.DisplayName, Department: u.Department, Active: u.Active, Created: api.At(u.Created),
	}
}

// readAccount serves GET /v1/account.
func (a *API) readAccount(c *call) error {
	account, err := a.Directory.Account(c.r.Context(), c.p.Account)
	if err != nil {
		return err
	}
	return c.represent(&api.Account{
		ID: string(account.ID), Name: account.Name, Owner: string(account.Owner), Created: api.At(account.Created),
	})
}

// me serves GET /v1/me.
func (a *API) me(c *call) error {
	return c.represent(&api.Me{
		Account: string(c.p.Account), App: string(c.p.App), User: string(c.p.User), AccountLevel: c.p.AccountLevel,
		Token: c.p.TokenID, Scopes: names(c.p.Scopes), Expires: api.At(c.p.Expires),
	})
}

func names(s auth.Scopes) []string { return append([]string{}, s.Names()...) }
