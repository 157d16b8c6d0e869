package httpapi

import (
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/provision"
	"porchlight.dev/porchlight/internal/quota"
)

func (a *API) createUser(c *call, body *api.CreateUser) error {
	if err := c.checkCreate(); err != nil {
		return err
	}
	role, err := directory.ParseRole(body.Role)
	if err != nil {
		return err
	}
	if role == directory.Admin && !a.mayAppoint(c.p) {
		return errEscalation
	}
	asked := directory.User{
		Email: body.Email, FirstName: body.FirstName, LastName: body.LastName,
		DisplayName: body.DisplayName, Department: body.Department, Groups: body.Groups, Role: role, ExternalID: body.ExternalID,
	}
	u, err := a.Provisioner.Create(c.r.Context(), c.by(), asked)
	if err != nil {
		return err
	}
	header(c.w, "Location", "/v1/users/"+string(u.ID))
	header(c.w, "Etag", userTag(&u))
	return c.writeBody(http.StatusCreated, asUser(&u))
}

func (a *API) listUsers(c *call) error {
	q, err := c.query(append([]string{"limit", "after"}, userFilters...)...)
	if err != nil {
		return err
	}
	pg, err := PageOf(q, "after")
	if err != nil {
		return err
	}
	filter, err := userFilterOf(q)
	if err != nil {
		return err
	}
	return a.writeUsers(c, readFor(&filter, pg.Limit), func() ([]directory.User, presence.UserID, error) {
		return a.Directory.Search(c.r.Context(), c.p.Account, &filter, presence.UserID(pg.After), pg.Limit)
	})
}

// readFor is how many users a search for at most limit reads.
func readFor(f *directory.Filter, limit int) int {
	if *f == (directory.Filter{}) {
		return limit
	}
	return quota.LightRead + 1
}

// userFilters are the parameters that select users of a list.
var userFilters = []string{"query", "email", "group", "role", "active"}

// maxQuery is the longest text that GET /v1/users searches for, in bytes.
const maxQuery = 256

// userFilterOf reads the filters of a list of users.
func userFilterOf(q url.Values) (f directory.Filter, err error) {
	if err := checkFilters(q, "email", "group", "role", "active"); err != nil {
		return f, err
	}
	f.Query, f.Email = strings.TrimSpace(q.Get("query")), q.Get("email")
	if len(f.Query) > maxQuery {
		return f, &presence.FieldError{Field: "query", Reason: "must have at most 256 bytes"}
	}
	if text := q.Get("group"); text != "" {
		if f.Group, err = directory.GroupName("group", text); err != nil {
			return f, err
		}
	}
	if text := q.Get("role"); text != "" {
		role, err := directory.ParseRole(text)
		if err != nil {
			return f, err
		}
		f.Role = &role
	}
	if q.Has("active") {
		active, err := Flag(q, "active")
		if err != nil {
			return f, err
		}
		f.Active = &active
	}
	return f, nil
}

// writeUsers writes a page of users that read finds, who may be many.
func (a *API) writeUsers(c *call, items int, read func() ([]directory.User, presence.UserID, error)) error {
	var users []directory.User
	var next presence.UserID
	err := a.withTurn(c, items, func() (err error) {
		users, next, err = read()
		return err
	})
	if err != nil {
		return err
	}
	list := api.Users{Users: make([]api.User, len(users)), Next: string(next)}
	for i := range users {
		list.Users[i] = asUser(&users[i])
	}
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
	if err := managed.check(c.p); (body.Email != nil || body.Groups != nil || body.Active != nil || body.Role != nil || body.ExternalID != nil) && err != nil {
		return err
	}
	if body.Role != nil && !a.mayAppoint(c.p) {
		return errEscalation
	}
	if body.Email != nil {
		if err := a.checkMayActAs(c, u); err != nil {
			return err
		}
	}
	change := &provision.Change{
		Edit:   func(u *directory.User) error { return merge(u, body) },
		Active: body.Active, Check: c.userCondition(),
	}
	after, err := a.Provisioner.Update(c.r.Context(), c.by(), u.ID, change)
	if err != nil {
		return err
	}
	header(c.w, "Etag", userTag(&after))
	return c.writeBody(http.StatusOK, asUser(&after))
}

// mayAppoint is auth.Authority.MayAppoint.
func (a *API) mayAppoint(p *auth.Principal) bool { return a.Authority.MayAppoint(p) }

// userCondition checks the request's conditions on a user; nil: it has none.
func (c *call) userCondition() func(*directory.User) error {
	if !c.conditional() {
		return nil
	}
	return func(u *directory.User) error { return c.checkConditions(userTag(u), true) }
}

// merge changes the fields of a user that the body has.
func merge(u *directory.User, body *api.UpdateUser) error {
	for _, field := range []struct{ to, from *string }{
		{&u.Email, body.Email},
		{&u.FirstName, body.FirstName},
		{&u.LastName, body.LastName},
		{&u.DisplayName, body.DisplayName},
		{&u.Department, body.Department},
		{&u.ExternalID, body.ExternalID},
	} {
		if field.from != nil {
			*field.to = *field.from
		}
	}
	if body.Groups != nil {
		u.Groups = *body.Groups
	}
	var err error
	if body.Role != nil {
		u.Role, err = directory.ParseRole(*body.Role)
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
		return c.finish(a.Provisioner.Delete(c.r.Context(), c.by(), u.ID, c.userCondition(), nil))
	}
}

func userTag(u *directory.User) string { return tagOf(u.Version, asUser(u)) }

func asUser(u *directory.User) api.User {
	return api.User{
		ID: string(u.ID), Email: u.Email, FirstName: u.FirstName, LastName: u.LastName,
		DisplayName: u.DisplayName, Department: u.Department, Groups: append([]string{}, u.Groups...), Active: u.Active, Role: u.Role.String(), ExternalID: u.ExternalID, Created: api.At(u.Created),
	}
}

func (a *API) readAccount(c *call) error {
	account, err := a.Directory.Account(c.r.Context(), c.p.Account)
	if err != nil {
		return err
	}
	return c.writeVersion(a.accountTag(&account), a.asOwnAccount(&account))
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
	err := document.Again(func() (err error) {
		if before, err = a.Directory.Account(c.r.Context(), c.p.Account); err != nil {
			return err
		}
		if err := c.checkConditions(a.accountTag(&before), true); err != nil {
			return err
		}
		after, err = a.Directory.UpdateAccount(c.r.Context(), before, change)
		return err
	})
	if err != nil {
		return err
	}
	a.logAccountChange(c, &before, &after)
	err = a.recordAccount(c, &before, &after)
	if body.Owner != nil { // whose consents count as an administrator's
		err = errors.Join(err, a.Subscriptions.AccountChanged(c.r.Context()))
	}
	if err != nil {
		return err
	}
	header(c.w, "Etag", a.accountTag(&after))
	return c.writeBody(http.StatusOK, a.asOwnAccount(&after))
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

// newOwner finds the new owner, who thereby becomes an administrator, and for whom
// account-level tokens will act. Neither the token nor its app, which can get another
// token, may gain rights for that user.
func (a *API) newOwner(c *call, ref string) (presence.UserID, error) {
	owner, err := a.resolve(c, ref)
	if err != nil {
		return "", err
	}
	found, err := a.Directory.User(c.r.Context(), c.p.Account, owner)
	if err != nil {
		return "", err
	}
	account, err := a.Directory.Account(c.r.Context(), c.p.Account)
	if err != nil {
		return "", err
	}
	if owner != account.Owner && found.Role != directory.Admin && !a.mayAppoint(c.p) {
		return "", errEscalation
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

func (a *API) accountTag(account *directory.Account) string {
	return tagOf(account.Version, a.asOwnAccount(account))
}

// asOwnAccount is an account as it reads itself.
func (a *API) asOwnAccount(account *directory.Account) api.Account {
	own := AsAccount(account)
	if a.Rates != nil {
		own.Rates = a.Rates(account.Plan)
	}
	return own
}

// AsAccount is an account as the API has it.
func AsAccount(account *directory.Account) api.Account {
	return api.Account{
		ID: string(account.ID), Name: account.Name, Owner: string(account.Owner), Created: api.At(account.Created), HistoryDays: account.HistoryDays,
		Plan: account.Plan, Suspended: account.Suspended, Limits: AsLimits(&account.Limits),
	}
}

// AsLimits are the limits of an account as the API has them.
func AsLimits(l *directory.Limits) api.AccountLimits {
	return api.AccountLimits{Users: l.Users, Apps: l.Apps, Subscriptions: l.Subscriptions, Streams: l.Streams}
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
