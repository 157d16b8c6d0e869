package httpapi

import (
	"context"
	"errors"
	"net/http"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/wire"
)

func (a *API) grantRoutes() []route {
	return []route{
		{"POST", "/v1/oauth/authorization", need{}, byPerson(withBody(a.decideAuthorization))},
		{"GET", "/v1/oauth/device", need{}, byPerson(a.readDevice)},
		{"POST", "/v1/oauth/device", need{}, byPerson(withBody(a.decideDevice))},
		{"GET", "/v1/grants", needsScope(auth.DirectoryRead), a.listGrants},
		{"DELETE", "/v1/grants/{grant}", needsScope(auth.DirectoryWrite), a.revokeGrant},
	}
}

// byPerson serves people who signed in with this browser. A token must not be enough to
// decide what apps may do, or an app could allow itself more.
func byPerson(serve func(*call) error) func(*call) error {
	return func(c *call) error {
		if !c.p.SignIn || len(c.r.Header["Authorization"]) > 0 {
			return auth.ErrSignInRequired
		}
		return serve(c)
	}
}

// readAuthorization serves GET /v1/oauth/authorization, whose query is that of GET
// /oauth/authorize. An app may ask not to have the person asked, even to sign in.
func (a *API) readAuthorization() wire.Handler {
	const pattern = "/v1/oauth/authorization"
	serve := a.routeHandler(route{http.MethodGet, pattern, need{}, byPerson(a.describeAuthorization)})
	return func(w http.ResponseWriter, r *http.Request) error {
		err := serve(w, r)
		if !errors.Is(err, auth.ErrNoToken) && !auth.Refused(err) {
			return err
		}
		q, bad := a.OAuth.Read(r.Context(), r.URL.RawQuery)
		if bad != nil {
			return err
		}
		redirect := q.SignedOut(a.OAuth.BaseURL(w))
		if redirect == "" {
			return err
		}
		return (&call{w: w, r: r}).writeBody(http.StatusOK, &api.AuthorizationRequest{Redirect: redirect})
	}
}

func (a *API) describeAuthorization(c *call) error {
	ctx := c.r.Context()
	q, err := a.OAuth.Read(ctx, c.r.URL.RawQuery)
	if err != nil {
		return err
	}
	question, err := a.OAuth.Ask(ctx, c.p, q, a.OAuth.BaseURL(c.w))
	if err != nil {
		return err
	}
	if question.Redirect != "" {
		return c.writeBody(http.StatusOK, &api.AuthorizationRequest{Redirect: question.Redirect})
	}
	account, err := a.accountName(ctx, c.p.Account)
	if err != nil {
		return err
	}
	return c.writeBody(http.StatusOK, &api.AuthorizationRequest{
		AppName: q.App.Name, Account: account, Scopes: names(question.Scopes), Allows: auth.Describe(question.Scopes),
		Returns: q.Returns(), Remembered: question.Remembered,
	})
}

func (a *API) accountName(ctx context.Context, id presence.AccountID) (string, error) {
	found, err := a.Directory.Account(ctx, id)
	return found.Name, err
}

func (a *API) decideAuthorization(c *call, body *api.AuthorizationDecision) error {
	if body.Allow == nil {
		return Required("allow")
	}
	ctx := c.r.Context()
	q, err := a.OAuth.Read(ctx, body.Request)
	if err != nil {
		return err
	}
	redirect, allowed, err := a.OAuth.Decide(ctx, c.p, q, *body.Allow, a.OAuth.BaseURL(c.w))
	if err != nil {
		return err
	}
	if err := a.recordGrant(c, "grant.allow", q.App.ID, allowed); err != nil {
		return err
	}
	return c.writeBody(http.StatusOK, &api.AuthorizationResult{Redirect: redirect})
}

// recordGrant records what the caller allowed an app, if that is anything.
func (a *API) recordGrant(c *call, action string, app presence.AppID, allowed auth.Scopes) error {
	if len(allowed.Names()) == 0 {
		return nil
	}
	return a.Audit.Record(c.r.Context(), c.p.Account, &audit.Event{
		Action: action, Target: "grant/" + string(c.p.User) + "/" + string(app), By: wire.Actor(c.w, c.p), After: audit.Fields{"scopes": allowed.Names()},
	})
}

// readDevice serves GET /v1/oauth/device?user_code=, which a person entered.
func (a *API) readDevice(c *call) error {
	query, err := wire.Query(c.r)
	if err != nil {
		return err
	}
	found, err := a.device(c, query.Get("user_code"))
	if err != nil {
		return err
	}
	scopes, err := a.Authority.Consentable(c.r.Context(), c.p.Account, c.p.User, &found.App, found.Scopes)
	if err != nil {
		return err
	}
	account, err := a.accountName(c.r.Context(), c.p.Account)
	if err != nil {
		return err
	}
	return c.writeBody(http.StatusOK, &api.DeviceRequest{
		AppName: found.App.Name, Account: account, Scopes: names(scopes), Allows: auth.Describe(scopes), Expires: api.At(found.Expires),
	})
}

// device finds the device that shows a code. It counts wrong codes.
func (a *API) device(c *call, code string) (*auth.DeviceRequest, error) {
	if code == "" {
		return nil, Required("user_code")
	}
	if err := a.OAuth.AdmitGuess(c.p.User); err != nil {
		return nil, err
	}
	found, err := a.Authority.DeviceRequest(c.r.Context(), c.p.Account, code)
	if errors.Is(err, auth.ErrNoUserCode) {
		a.OAuth.CountGuess(c.p.User)
	}
	return found, err
}

func (a *API) decideDevice(c *call, body *api.DeviceDecision) error {
	if body.Allow == nil {
		return Required("allow")
	}
	found, err := a.device(c, body.UserCode)
	if err != nil {
		return err
	}
	var scopes auth.Scopes
	if *body.Allow {
		if scopes, err = a.Authority.Consentable(c.r.Context(), c.p.Account, c.p.User, &found.App, found.Scopes); err != nil {
			return err
		}
	}
	if err := a.Authority.DecideDevice(c.r.Context(), c.p.Account, c.p.User, body.UserCode, *body.Allow, scopes); err != nil {
		return err
	}
	if *body.Allow {
		err = a.recordGrant(c, "grant.allow", found.App.ID, scopes)
	}
	return c.finish(err)
}

func (a *API) listGrants(c *call) error {
	grants, err := a.Authority.Grants(c.r.Context(), c.p.Account, c.p.User)
	if err != nil {
		return err
	}
	list := &api.Grants{Grants: []api.Grant{}}
	for _, g := range grants {
		app, err := a.Authority.App(c.r.Context(), c.p.Account, g.App)
		if errors.Is(err, auth.ErrNoApp) { // being deleted
			continue
		}
		if err != nil {
			return err
		}
		list.Grants = append(list.Grants, api.Grant{
			App: string(g.App), AppName: app.Name, Scopes: names(g.Scopes), Allows: auth.Describe(g.Scopes), Created: api.At(g.Created), Changed: api.At(g.Changed),
		})
	}
	return c.writeDigested(list)
}

// revokeGrant serves DELETE /v1/grants/{grant}, which is an app's id.
func (a *API) revokeGrant(c *call) error {
	app := presence.AppID(c.r.PathValue("grant"))
	before, err := a.Authority.Granted(c.r.Context(), c.p.Account, c.p.User, app)
	if err != nil {
		return err
	}
	if before.Created.IsZero() {
		return auth.ErrNoGrant
	}
	if err := c.checkConditions("", true); err != nil { // a grant has no representation of its own
		return err
	}
	if err := a.Authority.RevokeGrant(c.r.Context(), c.p.Account, c.p.User, app); err != nil {
		return err
	}
	return c.finish(a.Audit.Record(c.r.Context(), c.p.Account, &audit.Event{
		Action: "grant.revoke", Target: "grant/" + string(c.p.User) + "/" + string(app), By: wire.Actor(c.w, c.p), Before: audit.Fields{"scopes": before.Scopes.Names()},
	}))
}
