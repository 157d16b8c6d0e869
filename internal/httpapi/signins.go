package httpapi

import (
	"context"
	"net/http"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/signin"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/wire"
)

func (a *API) signInRoutes() []route {
	return []route{
		{"GET", "/v1/sign-ins", needsScope(auth.DirectoryRead), a.listSignIns},
		{"DELETE", "/v1/sign-ins", needsScope(auth.DirectoryWrite), a.endSignIns},
		{"DELETE", "/v1/sign-ins/{signin}", needsScope(auth.DirectoryWrite), a.endSignIn},
		{"GET", "/v1/users/{user}/sign-ins", needsScope(auth.DirectoryRead), a.listSignIns},
		{"DELETE", "/v1/users/{user}/sign-ins", needsScope(auth.DirectoryWrite), a.endSignIns},
		{"PUT", "/v1/me/password", needsScope(auth.DirectoryWrite), withBody(a.setPassword)},
		{"POST", "/v1/users/{user}/invitation", needsAdmin(auth.DirectoryWrite), a.invite(signin.Invitation)},
		{"POST", "/v1/users/{user}/password-reset", needsAdmin(auth.DirectoryWrite), a.invite(signin.Reset)},
	}
}

// mountSignIn adds the routes for people who have not signed in.
func (a *API) mountSignIn(rt *wire.Router) {
	handle := func(method, pattern string, h wire.Handler) {
		rt.Handle(method, pattern, a, a.Site.OwnHost(h))
	}
	handle(http.MethodGet, "/v1/sign-ins/methods", a.signInMethods)
	handle(http.MethodPost, "/v1/sign-ins", ownPage(a.createSignIn))
	handle(http.MethodDelete, "/v1/sign-ins/current", ownPage(a.endCurrentSignIn))
	handle(http.MethodPost, "/v1/invitations/accept", ownPage(a.acceptInvitation))
}

// ownPage refuses pages of other sites, which could sign a person in as somebody else. Who
// is no browser names no page.
func ownPage(h wire.Handler) wire.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
			if err := wire.CheckOwnPage(w, r); err != nil {
				return err
			}
		}
		return h(w, r)
	}
}

func (a *API) signInMethods(w http.ResponseWriter, r *http.Request) error {
	methods := api.SignInMethods{Password: a.SignIns.Passwords()}
	if a.Provider != nil {
		methods.Provider = a.Provider.Name
	}
	return (&call{w: w, r: r}).writeBody(http.StatusOK, &methods)
}

// from is where a person signs in.
func from(w http.ResponseWriter, r *http.Request) signin.From {
	return signin.From{Browser: browserName(r.UserAgent()), Network: wire.ClientOf(w).LimitKey(), By: wire.Actor(w, nil)}
}

func (a *API) createSignIn(w http.ResponseWriter, r *http.Request) error {
	var asked api.CreateSignIn
	if err := wire.ReadJSON(w, r, wire.MaxBody, &asked); err != nil {
		return err
	}
	for _, field := range []struct{ name, value string }{{"email", asked.Email}, {"password", asked.Password}} {
		if field.value == "" {
			return Required(field.name)
		}
	}
	made, err := a.SignIns.SignIn(r.Context(), &signin.Attempt{
		Email: asked.Email, Password: asked.Password, Account: presence.AccountID(asked.Account), From: from(w, r),
	})
	if err != nil {
		return err
	}
	return a.signedIn(w, r, made)
}

func (a *API) acceptInvitation(w http.ResponseWriter, r *http.Request) error {
	var asked api.AcceptInvitation
	if err := wire.ReadJSON(w, r, wire.MaxBody, &asked); err != nil {
		return err
	}
	at := from(w, r)
	made, err := a.SignIns.Accept(r.Context(), asked.Secret, asked.Password, &at)
	if err != nil {
		return err
	}
	return a.signedIn(w, r, made)
}

// signedIn gives the browser its cookie and responds.
func (a *API) signedIn(w http.ResponseWriter, r *http.Request, made *signin.SignedIn) error {
	if err := a.replaceCookie(w, r, made); err != nil {
		return err
	}
	return (&call{w: w, r: r}).writeBody(http.StatusCreated, &api.SignedIn{
		ID: made.Token.ID, Account: string(made.Account), User: string(made.User.ID), Email: made.User.Email,
		DisplayName: made.User.DisplayName, Expires: api.At(made.Token.Expires),
	})
}

// replaceCookie ends the sign-in that the browser had, and gives it the new one.
func (a *API) replaceCookie(w http.ResponseWriter, r *http.Request, made *signin.SignedIn) error {
	if err := a.endCookie(w, r); err != nil {
		return err
	}
	wire.SetSignIn(w, made.Secret, auth.SignInLasts)
	return nil
}

// endCookie ends the sign-in of the request's cookie, if it has a valid one.
func (a *API) endCookie(w http.ResponseWriter, r *http.Request) error {
	p, err := wire.CookiePrincipal(w, r, a.Authority)
	if err != nil {
		if auth.Refused(err) {
			return nil
		}
		return err
	}
	err = a.Authority.RevokeSignIn(r.Context(), p.Account, p.User, p.TokenID)
	if err != nil {
		return asEnded(err)
	}
	return a.recordEnd(r.Context(), &call{w, r, p}, "sign-in/"+p.TokenID, 1)
}

func (a *API) endCurrentSignIn(w http.ResponseWriter, r *http.Request) error {
	if err := a.endCookie(w, r); err != nil {
		return err
	}
	wire.ClearSignIn(w)
	return (&call{w: w, r: r}).noContent()
}

func (a *API) listSignIns(c *call) error {
	u, err := a.userFor(c, auth.DirectoryRead)
	if err != nil {
		return err
	}
	if err := a.checkExists(c, u); err != nil {
		return err
	}
	all, used, err := a.Authority.SignIns(c.r.Context(), u.Account, u.ID)
	if err != nil {
		return err
	}
	list := api.BrowserSignIns{SignIns: []api.BrowserSignIn{}}
	for i := range all {
		list.SignIns = append(list.SignIns, asSignIn(&all[i], used[all[i].ID], c.p.TokenID))
	}
	return c.writeDigested(&list)
}

func asSignIn(t *auth.Token, used time.Time, current string) api.BrowserSignIn {
	return api.BrowserSignIn{
		ID: t.ID, Browser: t.Name, Address: t.Address, Created: api.At(t.Created), Used: api.At(used), Expires: api.At(t.Expires),
		Current: t.ID == current,
	}
}

// endSignIns signs a user out everywhere.
func (a *API) endSignIns(c *call) error {
	u, err := a.userFor(c, auth.DirectoryWrite)
	if err != nil {
		return err
	}
	if err := a.checkExists(c, u); err != nil {
		return err
	}
	if err := c.checkConditions("", true); err != nil {
		return err
	}
	n, err := a.Authority.RevokeSignIns(c.r.Context(), u.Account, u.ID, "")
	if err != nil {
		return err
	}
	if c.p.SignIn && c.p.User == u.ID {
		wire.ClearSignIn(c.w)
	}
	return c.finish(a.recordEnd(c.r.Context(), c, "user/"+string(u.ID), n))
}

// endSignIn ends one sign-in of the caller's user.
func (a *API) endSignIn(c *call) error {
	id := c.r.PathValue("signin")
	if presence.CheckID("id", id) != nil {
		return auth.ErrNoSuchSignIn
	}
	if err := c.checkConditions("", true); err != nil {
		return err
	}
	if err := a.Authority.RevokeSignIn(c.r.Context(), c.p.Account, c.p.User, id); err != nil {
		return err
	}
	if id == c.p.TokenID {
		wire.ClearSignIn(c.w)
	}
	return c.finish(a.recordEnd(c.r.Context(), c, "sign-in/"+id, 1))
}

func (a *API) recordEnd(ctx context.Context, c *call, target string, n int) error {
	return a.Audit.Record(ctx, c.p.Account, &audit.Event{
		Action: "sign-in.end", Target: target, By: wire.Actor(c.w, c.p), After: audit.Fields{"ended": n},
	})
}

func (a *API) setPassword(c *call, body *api.SetPassword) error {
	at := from(c.w, c.r)
	at.By = wire.Actor(c.w, c.p)
	return c.finish(a.SignIns.SetPassword(c.r.Context(), c.p, &at, body.Current, body.New))
}

// invite makes a link with which a user can choose a password. Whoever opens it can sign in
// as the user, so the caller needs the right to make a token that may do as much.
func (a *API) invite(kind signin.Kind) func(*call) error {
	return func(c *call) error {
		u, err := a.userFor(c, auth.DirectoryWrite)
		if err != nil {
			return err
		}
		if err := a.checkMakesCredentials(c); err != nil {
			return err
		}
		if err := a.checkMayBecome(c, u); err != nil {
			return err
		}
		if err := c.checkConditions("", true); err != nil {
			return err
		}
		secret, expires, err := a.SignIns.Invite(c.r.Context(), u.Account, u.ID, kind, a.mayAppoint(c.p), wire.Actor(c.w, c.p))
		if err != nil {
			return err
		}
		url := a.baseURL(c.w) + "/welcome#" + secret
		return c.writeBody(http.StatusCreated, &api.Invitation{URL: url, Expires: api.At(expires)})
	}
}

// checkMayBecome refuses a link for a user to a caller who may not do for that user all that
// the user may, and for an administrator all that an administrator may.
func (a *API) checkMayBecome(c *call, u store.User) error {
	if err := a.checkMayActAs(c, u); err != nil {
		return err
	}
	if !mayGrant(c.p, a.Authority.ScopesOf(directory.Member), u.ID) {
		return errEscalation
	}
	return nil
}

// checkMayActAs refuses a credential for an administrator to a caller who may not do all
// that an administrator may.
func (a *API) checkMayActAs(c *call, u store.User) error {
	found, err := a.Directory.User(c.r.Context(), u.Account, u.ID)
	if err != nil {
		return err
	}
	switch allowed, err := a.Authority.MayActAs(c.r.Context(), c.p, &found); {
	case err != nil:
		return err
	case !allowed:
		return errEscalation
	}
	return nil
}

func (a *API) baseURL(w http.ResponseWriter) string {
	if a.BaseURL != nil {
		return a.BaseURL(w)
	}
	return wire.ClientOf(w).URL()
}

// asEnded is nil if a sign-in was ended by another request.
func asEnded(err error) error {
	if err == auth.ErrNoSuchSignIn { //nolint:errorlint // it is returned as it is
		return nil
	}
	return err
}
