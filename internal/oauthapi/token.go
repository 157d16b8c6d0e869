package oauthapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/wire"
)

// The grants of the token endpoint.
const (
	grantAccount = "account_credentials"
	grantClient  = "client_credentials"
	grantCode    = "authorization_code"
	grantRefresh = "refresh_token"
	grantDevice  = "urn:ietf:params:oauth:grant-type:device_code"
)

// required is the parameter that a grant needs, if there is such a grant.
func required(grant string) (name string, known bool) {
	switch grant {
	case grantAccount:
		return "account_id", true
	case grantClient:
		return "", true
	case grantCode:
		return "code", true
	case grantRefresh:
		return "refresh_token", true
	case grantDevice:
		return "device_code", true
	default:
		return "", false
	}
}

// A grantAnswer is the answer to a grant. Existing clients want every member, and scope
// even if it is empty.
type grantAnswer struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int    `json:"expires_in"`
	Scope        string `json:"scope"`
	RefreshToken string `json:"refresh_token,omitempty"`
	APIURL       string `json:"api_url"`
}

// token answers POST /oauth/token.
func (e *API) token(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	grant := form.get("grant_type")
	needs, known := required(grant)
	switch {
	case grant == "":
		return missing("grant_type")
	case !known:
		return refuse("unsupported_grant_type", reasonBadGrant)
	case needs != "" && form.get(needs) == "":
		return missing(needs)
	}
	account, app, err := e.client(w, r, form)
	if err != nil {
		return err
	}
	asker := &asker{account: account, app: &app, form: form}
	if grant == grantAccount || grant == grantClient {
		return e.grantItself(w, r, asker)
	}
	return e.grantForUser(w, r, asker, grant)
}

// An asker is an authenticated app with its request.
type asker struct {
	account presence.AccountID // "" for an app that every account has
	app     *auth.App
	form    *oauthForm
}

// grantItself gives an app a token of its own. The grant client_credentials gives the same
// as account_credentials, without naming the account.
func (e *API) grantItself(w http.ResponseWriter, r *http.Request, x *asker) error {
	if x.app.Public { // anybody could be it
		return refuse("unauthorized_client", "A public app cannot get tokens of its own; use the grant authorization_code")
	}
	if asked := x.form.get("account_id"); asked != "" && asked != string(x.account) {
		return refuse("invalid_request", reasonNoAccount)
	}
	scopes, err := e.narrow(x.app.Scopes, x.form.get("scope"))
	if err != nil {
		return err
	}
	if err := e.admit(w, x); err != nil {
		return err
	}
	_, text, err := e.Authority.Issue(r.Context(), x.account, auth.Token{App: x.app.ID, Scopes: scopes, Granted: true}, auth.AccessLasts)
	if errors.Is(err, auth.ErrNoApp) { // deleted just now
		return refuse("invalid_client", reasonBadClient)
	}
	if err != nil {
		return err
	}
	if e.Audit != nil {
		by := wire.Actor(w, &auth.Principal{App: x.app.ID, AccountLevel: true})
		e.Audit.Repeated(x.account, &audit.Event{Action: "token.issue", Target: "app/" + string(x.app.ID), By: by}, audit.EachHour)
	}
	e.writeGrant(w, text, "", scopes)
	return nil
}

// admit counts a request for a token. Anybody can name a public app: it counts for the
// client's address alone, so that nobody uses up what the app's other users may have.
func (e *API) admit(w http.ResponseWriter, x *asker) error {
	switch {
	case e.Admit == nil:
		return nil
	case x.app.Public:
		return e.Admit(w, Grantee{})
	}
	return e.Admit(w, Grantee{x.account, x.app.ID})
}

func (e *API) writeGrant(w http.ResponseWriter, token, refresh string, scopes auth.Scopes) {
	writeJSON(w, http.StatusOK, grantAnswer{token, "bearer", int(auth.AccessLasts / time.Second), scopes.String(), refresh, e.BaseURL(w)})
}

// grantForUser gives an app a token that acts for a person who allowed it.
func (e *API) grantForUser(w http.ResponseWriter, r *http.Request, x *asker, grant string) error {
	if err := e.admit(w, x); err != nil {
		return err
	}
	var access *auth.Access
	var err error
	ctx, form := r.Context(), x.form
	switch grant {
	case grantCode:
		access, err = e.Authority.RedeemCode(ctx, x.app.ID, form.get("code"), form.get("redirect_uri"), form.get("code_verifier"))
	case grantRefresh:
		access, err = e.Authority.Refresh(ctx, x.app.ID, form.get("refresh_token"), func(granted auth.Scopes) (auth.Scopes, error) {
			return e.narrow(granted, form.get("scope"))
		})
	default:
		if err := e.admitPoll(form.get("device_code")); err != nil {
			return err
		}
		access, err = e.Authority.RedeemDevice(ctx, x.app.ID, form.get("device_code"))
	}
	if err != nil {
		return e.grantFailure(ctx, w, err)
	}
	e.writeGrant(w, access.Text, access.Refresh, access.Token.Scopes)
	return nil
}

// grantFailure is the error of a code or a refresh token that gives no access. It records a
// second use, after which somebody should ask who else has them.
func (e *API) grantFailure(ctx context.Context, w http.ResponseWriter, err error) error {
	if reuse, ok := errors.AsType[*auth.ReuseError](err); ok {
		if e.Audit == nil {
			return refuse("invalid_grant", reuse.Error())
		}
		by := wire.Actor(w, nil)
		by.App = reuse.App
		recorded := e.Audit.Record(ctx, reuse.Account, &audit.Event{
			Action: "grant.reuse", Target: "grant/" + string(reuse.User) + "/" + string(reuse.App), By: by, After: audit.Fields{"reused": reuse.What},
		})
		return errors.Join(refuse("invalid_grant", reuse.Error()), recorded)
	}
	switch refused, ok := errors.AsType[*auth.GrantError](err); {
	case !ok:
		return err
	case errors.Is(err, auth.ErrPending):
		return refuse("authorization_pending", refused.Reason)
	case errors.Is(err, auth.ErrDenied):
		return refuse("access_denied", refused.Reason)
	case errors.Is(err, auth.ErrCodeExpired):
		return refuse("expired_token", refused.Reason)
	default:
		return refuse("invalid_grant", refused.Reason)
	}
}

// narrow is the scopes that a client asks for, which must be among those granted; all of
// them if it asks for none.
func (e *API) narrow(granted auth.Scopes, asked string) (auth.Scopes, error) {
	if strings.TrimSpace(asked) == "" {
		return granted, nil
	}
	scopes, err := e.Authority.ParseScopes(asked)
	if unknown, ok := errors.AsType[*auth.ScopeError](err); ok {
		return auth.Scopes{}, refuse("invalid_scope", fmt.Sprintf("Unknown scope %q", unknown.Name))
	}
	if scopes.Within(granted) {
		return scopes, nil
	}
	for _, name := range scopes.Names() {
		if one, err := e.Authority.ParseScopes(name); err != nil || !one.Within(granted) {
			return auth.Scopes{}, refuse("invalid_scope", "The app was not granted the scope "+name)
		}
	}
	return auth.Scopes{}, refuse("invalid_scope", "The app was not granted these scopes")
}

// revoke answers POST /oauth/revoke: it ends an access or refresh token that was issued to
// the app that asks, with those that were made with it. Another app's token is treated as
// unknown. The token may be in the query, where existing clients have it: one that got
// there had better end.
func (e *API) revoke(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	token := form.get("token")
	if token == "" {
		return missing("token")
	}
	_, app, err := e.client(w, r, form)
	if err != nil {
		return err
	}
	err = e.Authority.RevokeByText(r.Context(), app.ID, token)
	if errors.Is(err, auth.ErrNoSuchToken) {
		err = e.Authority.RevokeRefresh(r.Context(), app.ID, token)
	}
	if errors.Is(err, auth.ErrNoSuchToken) {
		return refuse("invalid_request", reasonBadToken)
	}
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, struct {
		Status string `json:"status"`
	}{"success"})
	return nil
}
