package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

func (a *API) createUser(c *call, body *api.CreateUser) error {
	if err := c.checkCreate(); err != nil {
		return err
	}
	asked := directory.User{
		Email: body.Email, FirstName: body.FirstName, LastName: body.LastName,
		DisplayName: body.DisplayName, Department: body.Department, Groups: body.Groups, Active: true,
	}
	u, err := a.Directory.Create(c.r.Context(), c.p.Account, asked)
	if errors.Is(err, directory.ErrEmailTaken) {
		u, err = a.resumeCreate(c, &asked)
	}
	if err != nil {
		return err
	}
	if err := a.setUserState(c, &u, presence.UserActive); err != nil {
		return err
	}
	header(c.w, "Location", "/v1/users/"+string(u.ID))
	header(c.w, "Etag", userTag(&u))
	return c.writeBody(http.StatusCreated, asUser(&u))
}

// resumeCreate finds the user with the e-mail address that is taken. It returns the
// user if an earlier, equal request created it but the server stopped before it
// recorded the user's state.
func (a *API) resumeCreate(c *call, asked *directory.User) (directory.User, error) {
	ctx := c.r.Context()
	found, err := a.Directory.Find(ctx, c.p.Account, asked.Email)
	if errors.Is(err, directory.ErrNoUser) {
		return found, store.ErrConflict // deleted just now
	}
	if err != nil {
		return found, err
	}
	want := *asked
	if err := want.Clean(&directory.User{}); err != nil {
		return found, err
	}
	want.ID, want.Created, want.Version = found.ID, found.Created, found.Version
	if !want.Equal(&found) {
		return found, directory.ErrEmailTaken
	}
	records, _, err := a.Views.Store.Read(ctx, []store.User{{Account: c.p.Account, ID: found.ID}})
	if err == nil && len(records) > 0 {
		err = directory.ErrEmailTaken
	}
	return found, err
}

// setUserState publishes a user's state to the record. It is idempotent.
func (a *API) setUserState(c *call, u *directory.User, s presence.UserState) error {
	e := presence.SetUserState{State: s, Profiles: presence.Profiles{Profile: u.Profile()}}
	_, err := a.Publisher.Publish(c.r.Context(), store.User{Account: c.p.Account, ID: u.ID}, c.p.Actor(), e)
	return err
}

func (a *API) listUsers(c *call) error {
	pg, err := c.page()
	if err != nil {
		return err
	}
	var users []directory.User
	err = a.withTurn(c, pg.limit, func() (err error) {
		users, err = a.Directory.Users(c.r.Context(), c.p.Account, presence.UserID(pg.after), pg.limit+1)
		return err
	})
	if err != nil {
		return err
	}
	var list api.Users
	list.Users, list.Next = fill(pg, users, asUser, func(u *api.User) string { return u.ID })
	return c.writeDigested(&list)
}

func (a *API) readUser(c *call) error {
	u, err := a.userFor(c, auth.DirectoryRead)
	if err != nil {
		return err
	}
	found, err := a.Directory.User(c.r.Context(), u.Account, u.ID)
	if err != nil {
		return err
	}
	return c.writeVersion(userTag(&found), asUser(&found))
}

// updateUser serves PATCH /v1/users/{user}. Users may change their own names; e-mail
// address, groups and state need the :admin scope.
func (a *API) updateUser(c *call, body *api.UpdateUser) error {
	u, err := a.userFor(c, auth.DirectoryWrite)
	if err != nil {
		return err
	}
	managed := need{withAdminScope, auth.DirectoryWrite}
	if err := managed.check(c.p); (body.Email != nil || body.Groups != nil || body.Active != nil) && err != nil {
		return err
	}
	var after directory.User
	err = a.updateConditionally(c, u, func(before directory.User, decide func(*directory.User) error) (err error) {
		after, err = a.applyUpdate(c, before, body, decide)
		return err
	})
	if err != nil {
		return err
	}
	header(c.w, "Etag", userTag(&after))
	return c.writeBody(http.StatusOK, asUser(&after))
}

// updateConditionally runs change on a user of the directory, and again after a
// conflict with another change of that user. The first write to the directory decides
// whether the conditions of the request hold. A change that writes elsewhere first
// must call decide before that; later conflicts no longer fail the conditions.
func (a *API) updateConditionally(c *call, u store.User, change func(before directory.User, decide func(*directory.User) error) error) error {
	done := !c.conditional()
	decide := func(before *directory.User) (err error) {
		if !done {
			*before, err = a.Directory.Update(c.r.Context(), u.Account, *before)
			done = err == nil
		}
		return err
	}
	return retryConflicts(func() error {
		before, err := a.Directory.User(c.r.Context(), u.Account, u.ID)
		if err == nil && !done {
			err = c.checkConditions(userTag(&before), true)
		}
		if err != nil {
			return err
		}
		return change(before, decide)
	})
}

// applyUpdate carries out an update. A deactivation is written to the record first
// and to the directory last; an activation the other way round. If the server stops
// in between, the client completes the update by repeating the request.
func (a *API) applyUpdate(
	c *call, before directory.User, body *api.UpdateUser, decide func(*directory.User) error,
) (directory.User, error) {
	ctx := c.r.Context()
	after := merged(before, body)
	if err := after.Clean(&before); err != nil {
		return before, err
	}
	deactivates := body.Active != nil && !*body.Active
	if deactivates {
		if err := a.checkNotOwner(ctx, c.p, before.ID); err != nil {
			return before, err
		}
		if err := decide(&before); err != nil {
			return before, err
		}
		if err := a.setUserState(c, &before, presence.UserDeactivated); err != nil {
			return before, err
		}
	}
	after.Version = before.Version
	if !after.Equal(&before) {
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
		return after, a.activate(c, &after)
	default:
		return after, nil
	}
}

// activate also publishes the rules of visibility that were declared while the user
// was deactivated.
func (a *API) activate(c *call, u *directory.User) error {
	if err := a.setUserState(c, u, presence.UserActive); err != nil {
		return err
	}
	return a.publishVisibility(c, store.User{Account: c.p.Account, ID: u.ID})
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
	if body.Groups != nil {
		u.Groups = *body.Groups
	}
	if body.Active != nil {
		u.Active = *body.Active
	}
	return u
}

// checkNotOwner refuses to deactivate or delete the account's owner, for whom the
// account's apps act.
func (a *API) checkNotOwner(ctx context.Context, p *auth.Principal, id presence.UserID) error {
	account, err := a.Directory.Account(ctx, p.Account)
	if err == nil && account.Owner == id {
		return errOwner
	}
	return err
}

// deleteUser serves DELETE /v1/users/{user}. It deletes the record first, then the
// user in the directory, so that a client can repeat the request until both are
// done.
func (a *API) deleteUser(c *call) error {
	q, err := c.query("erase")
	if err != nil {
		return err
	}
	erase, err := Flag(q, "erase")
	if err != nil {
		return err
	}
	u, err := a.userFor(c, auth.DirectoryWrite)
	switch {
	case err != nil:
		return err
	case erase:
		return a.eraseUser(c, u)
	default:
		return c.finish(a.delete(c, u, func() error { return nil }))
	}
}

// delete deletes a user. It calls before when the record is deleted and the directory still
// has the user.
func (a *API) delete(c *call, u store.User, before func() error) error {
	ctx := c.r.Context()
	var found directory.User
	err := a.updateConditionally(c, u, func(user directory.User, decide func(*directory.User) error) error {
		if err := a.checkNotOwner(ctx, c.p, u.ID); err != nil {
			return err
		}
		err := decide(&user)
		found = user
		return err
	})
	if err != nil {
		return err
	}
	if err := a.setUserState(c, &found, presence.UserDeleted); err != nil {
		return err
	}
	// The tokens of a deleted user are invalid anyway. Revoking removes them from
	// the listing.
	if err := a.Authority.RevokeUser(ctx, u.Account, u.ID); err != nil {
		return err
	}
	if err := a.Subscriptions.DeleteOwner(ctx, u.Account, u.ID); err != nil {
		return err
	}
	if err := before(); err != nil {
		return err
	}
	return a.Directory.Delete(ctx, u.Account, u.ID)
}

func userTag(u *directory.User) string { return tagOf(u.Version, asUser(u)) }

func asUser(u *directory.User) api.User {
	return api.User{
		ID: string(u.ID), Email: u.Email, FirstName: u.FirstName, LastName: u.LastName,
		DisplayName: u.DisplayName, Department: u.Department, Groups: append([]string{}, u.Groups...), Active: u.Active, Created: api.At(u.Created),
	}
}

func (a *API) readAccount(c *call) error {
	account, err := a.Directory.Account(c.r.Context(), c.p.Account)
	if err != nil {
		return err
	}
	return c.writeVersion(accountTag(&account), asAccount(&account))
}

// updateAccount serves PATCH /v1/account.
func (a *API) updateAccount(c *call, body *api.UpdateAccount) error {
	change := directory.AccountChange{HistoryDays: body.HistoryDays}
	if body.Owner != nil {
		owner, err := a.newOwner(c, *body.Owner)
		if err != nil {
			return err
		}
		change.Owner = &owner
	}
	var before, after directory.Account
	err := retryConflicts(func() (err error) {
		if before, err = a.Directory.Account(c.r.Context(), c.p.Account); err != nil {
			return err
		}
		if err := c.checkConditions(accountTag(&before), true); err != nil {
			return err
		}
		after, err = a.Directory.UpdateAccount(c.r.Context(), before, change)
		return err
	})
	if err != nil {
		return err
	}
	a.logAccountChange(c, &before, &after)
	header(c.w, "Etag", accountTag(&after))
	return c.writeBody(http.StatusOK, asAccount(&after))
}

// logAccountChange records who changed the account, for the operator.
func (a *API) logAccountChange(c *call, before, after *directory.Account) {
	by := []any{slog.String("account", string(after.ID)), slog.String("app", string(c.p.App)), slog.String("token", c.p.TokenID)}
	if after.Owner != before.Owner {
		a.Log.InfoContext(c.r.Context(), "account owner changed",
			append(by, slog.String("from", string(before.Owner)), slog.String("to", string(after.Owner)))...)
	}
	if after.HistoryDays != before.HistoryDays {
		a.Log.InfoContext(c.r.Context(), "account history setting changed",
			append(by, slog.Int("from_days", before.HistoryDays), slog.Int("to_days", after.HistoryDays))...)
	}
}

// newOwner finds the new owner, for whom account-level tokens will act. Neither the token
// nor its app, which can get another token, may gain rights for that user.
func (a *API) newOwner(c *call, ref string) (presence.UserID, error) {
	owner, err := a.resolve(c, ref)
	if err != nil {
		return "", err
	}
	if _, err := a.Directory.User(c.r.Context(), c.p.Account, owner); err != nil {
		return "", err
	}
	if c.p.AccountLevel && !mayGrant(c.p, c.p.Scopes, owner) {
		return "", errEscalation
	}
	return owner, a.checkAppGainsNothing(c, owner)
}

// checkAppGainsNothing refuses a new owner for whom the caller's app may not do already
// what it may do for the present one.
func (a *API) checkAppGainsNothing(c *call, owner presence.UserID) error {
	account, err := a.Directory.Account(c.r.Context(), c.p.Account)
	if err != nil || account.Owner == owner {
		return err
	}
	app, err := a.Authority.App(c.r.Context(), c.p.Account, c.p.App)
	if err == nil && !mayGrant(&auth.Principal{Scopes: app.Scopes}, app.Scopes, owner) {
		err = errEscalation
	}
	return err
}

func accountTag(account *directory.Account) string {
	return tagOf(account.Version, asAccount(account))
}

func asAccount(account *directory.Account) api.Account {
	return api.Account{ID: string(account.ID), Name: account.Name, Owner: string(account.Owner), Created: api.At(account.Created), HistoryDays: account.HistoryDays}
}

func (a *API) me(c *call) error {
	user, err := a.Directory.User(c.r.Context(), c.p.Account, c.p.User)
	if err != nil {
		return err
	}
	app, err := a.Authority.App(c.r.Context(), c.p.Account, c.p.App)
	if err != nil {
		return err
	}
	return c.writeDigested(&api.Me{
		Account: string(c.p.Account), App: string(c.p.App), AppName: app.Name,
		User: string(c.p.User), DisplayName: user.DisplayName, Email: user.Email, AccountLevel: c.p.AccountLevel,
		Token: c.p.TokenID, Scopes: names(c.p.Scopes), Expires: api.At(c.p.Expires),
	})
}

func names(s auth.Scopes) []string { return append([]string{}, s.Names()...) }
