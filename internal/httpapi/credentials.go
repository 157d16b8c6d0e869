package httpapi

import (
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/wire"
)

func (a *API) createApp(c *call, body *api.CreateApp) error {
	if err := a.checkMakesCredentials(c); err != nil {
		return err
	}
	if body.Name == "" {
		return Required("name")
	}
	scopes, err := a.scopesOf(body.Scopes)
	if err != nil {
		return err
	}
	if !mayGrant(c.p, scopes, "") {
		return errEscalation
	}
	if err := c.checkCreate(); err != nil {
		return err
	}
	asked := auth.App{Name: body.Name, Scopes: scopes, RedirectURIs: body.RedirectURIs, Public: body.Public}
	created, secret, err := a.Authority.AddApp(c.r.Context(), c.p.Account, asked)
	if err != nil {
		return err
	}
	signing, err := a.Subscriptions.AppSecrets(c.r.Context(), c.p.Account, created.ID)
	if err != nil {
		return err
	}
	wired := asApp(&created)
	if err := a.record(c, "app.create", "app/"+wired.ID, nil, appFields(&created)); err != nil {
		return err
	}
	wired.Secret, wired.WebhookSecret = secret, signing[0].Value
	header(c.w, "Location", "/v1/apps/"+wired.ID)
	header(c.w, "Etag", appTag(&created))
	return c.writeBody(http.StatusCreated, &wired)
}

// checkMakesCredentials refuses a caller that must not make apps, secrets, tokens or links.
func (a *API) checkMakesCredentials(c *call) error {
	if a.Authority.ActsByConsent(c.p) {
		return errByConsent
	}
	return nil
}

// scopesOf reads scopes of a body.
func (a *API) scopesOf(given []string) (auth.Scopes, error) {
	if len(given) == 0 {
		return auth.Scopes{}, &presence.FieldError{Field: "scopes", Reason: "is required: name at least one"}
	}
	for _, name := range given {
		if name == "" || strings.ContainsAny(name, " \t\r\n") {
			return auth.Scopes{}, &presence.FieldError{Field: "scopes", Reason: "must be a list of scopes, each an item of its own"}
		}
	}
	return a.Authority.ParseScopes(strings.Join(given, " "))
}

// mayGrant is auth.Principal.MayGrant.
func mayGrant(p *auth.Principal, scopes auth.Scopes, user presence.UserID) bool {
	return p.MayGrant(scopes, user)
}

func (a *API) listApps(c *call) error {
	pg, err := c.page()
	if err != nil {
		return err
	}
	apps, err := a.Authority.Apps(c.r.Context(), c.p.Account, presence.AppID(pg.After), pg.Limit+1)
	if err != nil {
		return err
	}
	var list api.Apps
	list.Apps, list.Next = Fill(pg, apps, asApp, func(x *api.App) string { return x.ID })
	return c.writeDigested(&list)
}

func (a *API) readApp(c *call) error {
	found, err := a.Authority.App(c.r.Context(), c.p.Account, presence.AppID(c.r.PathValue("app")))
	if err != nil {
		return err
	}
	return c.writeVersion(appTag(&found), asApp(&found))
}

func (a *API) deleteApp(c *call) error {
	ctx, id := c.r.Context(), presence.AppID(c.r.PathValue("app"))
	found, err := a.Authority.App(ctx, c.p.Account, id)
	if err != nil {
		return err
	}
	if err := c.checkConditions(appTag(&found), true); err != nil {
		return err
	}
	if a.Authority.BuiltIn(id) {
		return auth.ErrNoApp
	}
	// The app comes last, so that a client can repeat the request until all is done.
	if err := a.Subscriptions.DeleteApp(ctx, c.p.Account, id); err != nil {
		return err
	}
	if err := a.Authority.DeleteApp(ctx, c.p.Account, id); err != nil {
		return err
	}
	recorded := a.record(c, "app.delete", "app/"+string(id), appFields(&found), nil)
	// The app may have made more until its last token ended.
	if err := a.Subscriptions.DeleteApp(ctx, c.p.Account, id); err != nil {
		a.Log.WarnContext(ctx, "cannot delete what an app that was deleted had made", slog.String("app", string(id)), slog.Any("err", err))
	}
	return c.finish(recorded)
}

// updateApp serves PATCH /v1/apps/{app}. The caller needs the rights to create the app as it
// was and as it becomes: who changes where an app sends browsers back to can get its tokens.
func (a *API) updateApp(c *call, body *api.UpdateApp) error {
	if err := a.checkMakesCredentials(c); err != nil {
		return err
	}
	var before, after auth.App
	err := document.Again(func() (err error) {
		if before, err = a.Authority.App(c.r.Context(), c.p.Account, presence.AppID(c.r.PathValue("app"))); err != nil {
			return err
		}
		changed := before
		if err := a.mergeApp(&changed, body); err != nil {
			return err
		}
		if !mayGrant(c.p, before.Scopes, "") || !mayGrant(c.p, changed.Scopes, "") {
			return errEscalation
		}
		if err := c.checkConditions(appTag(&before), true); err != nil {
			return err
		}
		after, err = a.Authority.UpdateApp(c.r.Context(), c.p.Account, changed)
		return err
	})
	if err != nil {
		return err
	}
	if err := a.recordApp(c, &before, &after); err != nil {
		return err
	}
	header(c.w, "Etag", appTag(&after))
	return c.writeBody(http.StatusOK, asApp(&after))
}

// mergeApp changes the fields of an app that the body has.
func (a *API) mergeApp(x *auth.App, body *api.UpdateApp) (err error) {
	if body.Name != nil {
		x.Name = *body.Name
	}
	if body.Scopes != nil {
		x.Scopes, err = a.scopesOf(*body.Scopes)
	}
	if body.RedirectURIs != nil {
		x.RedirectURIs = *body.RedirectURIs
	}
	if body.Public != nil {
		x.Public = *body.Public
	}
	return err
}

// recordApp records the change of an app.
func (a *API) recordApp(c *call, before, after *auth.App) error {
	was, is := audit.Fields{}, audit.Fields{}
	for _, field := range []struct{ name, before, after string }{
		{"name", before.Name, after.Name},
		{"scopes", before.Scopes.String(), after.Scopes.String()},
		{"redirect_uris", strings.Join(before.RedirectURIs, " "), strings.Join(after.RedirectURIs, " ")},
		{"public", strconv.FormatBool(before.Public), strconv.FormatBool(after.Public)},
	} {
		if field.before != field.after {
			was[field.name], is[field.name] = field.before, field.after
		}
	}
	if len(is) == 0 {
		return nil
	}
	e := &audit.Event{Action: "app.update", Target: "app/" + string(after.ID), By: wire.Actor(c.w, c.p), Before: was, After: is}
	return a.Audit.Record(c.r.Context(), c.p.Account, e)
}

// rotateSecret serves POST /v1/apps/{app}/secret. The secret gives the app's scopes,
// so the caller needs the same rights as to create the app.
func (a *API) rotateSecret(c *call) error {
	if err := a.checkMakesCredentials(c); err != nil {
		return err
	}
	found, err := a.Authority.App(c.r.Context(), c.p.Account, presence.AppID(c.r.PathValue("app")))
	if err != nil {
		return err
	}
	if !mayGrant(c.p, found.Scopes, "") {
		return errEscalation
	}
	if err := c.checkConditions(appTag(&found), true); err != nil {
		return err
	}
	secret, err := a.Authority.RotateSecret(c.r.Context(), c.p.Account, found.ID)
	if err != nil {
		return err
	}
	if err := a.record(c, "app-secret.rotate", "app/"+string(found.ID), nil, nil); err != nil {
		return err
	}
	wired := asApp(&found)
	wired.Secret = secret
	return c.writeBody(http.StatusOK, &wired)
}

// rotateWebhookSecret serves POST /v1/apps/{app}/webhook-secret: the secret that signs what
// the app's subscriptions without a secret of their own are sent.
func (a *API) rotateWebhookSecret(c *call, body *api.RotateWebhookSecret) error {
	if err := a.checkMakesCredentials(c); err != nil {
		return err
	}
	found, err := a.Authority.App(c.r.Context(), c.p.Account, presence.AppID(c.r.PathValue("app")))
	if err != nil {
		return err
	}
	if err := c.checkConditions(appTag(&found), true); err != nil {
		return err
	}
	secret, err := a.Subscriptions.RotateAppSecret(c.r.Context(), c.p.Account, found.ID, overlapOf(body.OverlapSeconds))
	if err != nil {
		return err
	}
	if err := a.record(c, "webhook-secret.rotate", "app/"+string(found.ID), nil, nil); err != nil {
		return err
	}
	return c.writeBody(http.StatusOK, &api.WebhookSecret{WebhookSecret: secret})
}

func appTag(x *auth.App) string { return tagOf("", asApp(x)) }

func asApp(x *auth.App) api.App {
	return api.App{
		ID: string(x.ID), Name: x.Name, Scopes: names(x.Scopes), Created: api.At(x.Created),
		RedirectURIs: append([]string{}, x.RedirectURIs...), Public: x.Public,
	}
}

func (a *API) createToken(c *call, body *api.CreateToken) error {
	if err := a.checkMakesCredentials(c); err != nil {
		return err
	}
	scopes, err := a.scopesOf(body.Scopes)
	if err != nil {
		return err
	}
	lasts, err := a.tokenLifetime(c.p, body.ExpiresInSeconds)
	if err != nil {
		return err
	}
	app, err := tokenApp(c, body)
	if err != nil {
		return err
	}
	user, err := a.tokenUser(c, body)
	if err != nil {
		return err
	}
	if !mayGrant(c.p, scopes, user) {
		return errEscalation
	}
	if err := c.checkCreate(); err != nil {
		return err
	}
	asked := auth.Token{App: app, User: user, Scopes: scopes, Name: body.Name}
	issued, secret, err := a.Authority.Issue(c.r.Context(), c.p.Account, asked, lasts)
	if err != nil {
		return err
	}
	if err := a.record(c, "token.create", "token/"+issued.ID, nil, tokenFields(&issued)); err != nil {
		return err
	}
	wired := asToken(&issued)
	wired.Secret = secret
	return c.writeBody(http.StatusCreated, &wired)
}

// tokenApp is the app of a new token: the one that the body names, or the caller's own.
// A token of another app needs the :admin scope, with which one could replace the app's
// secret and get the token from the token endpoint.
func tokenApp(c *call, body *api.CreateToken) (presence.AppID, error) {
	if body.App == "" || body.App == string(c.p.App) {
		return c.p.App, nil
	}
	return presence.AppID(body.App), needsAdmin(auth.DirectoryWrite).check(c.p)
}

// tokenUser is the user of a new token: the one that the body names, or none for a token
// of an app that it names, or the caller's own. A token for another user needs the
// :admin scope.
func (a *API) tokenUser(c *call, body *api.CreateToken) (presence.UserID, error) {
	ref := body.User
	switch {
	case ref == "" && (c.p.AccountLevel || body.App != ""):
		return "", nil
	case ref == "":
		return c.p.User, nil
	}
	id, err := a.resolve(c, ref)
	if err != nil {
		return "", err
	}
	if _, err := a.Directory.User(c.r.Context(), c.p.Account, id); err != nil {
		return "", err
	}
	if !c.p.MayFor(auth.DirectoryWrite, id) {
		return "", &wire.PermissionError{Scope: auth.DirectoryWrite.String() + ":admin"}
	}
	return id, nil
}

// maxTokenLifetime is ten years.
const maxTokenLifetime = 10 * 366 * 24 * time.Hour

// tokenLifetime is how long a new token is valid; zero is for ever. Without the
// :admin scope the new token expires no later than the caller's, so that a leaked
// token of short life cannot be exchanged for a permanent one.
func (a *API) tokenLifetime(p *auth.Principal, asked *int64) (time.Duration, error) {
	bound := !p.Scopes.HasAdmin(auth.DirectoryWrite) && !p.Expires.IsZero()
	left := p.Expires.Sub(a.Clock()).Truncate(time.Second)
	switch {
	case asked == nil && bound:
		return max(left, time.Second), nil
	case asked == nil:
		return 0, nil
	case *asked < 1 || *asked > int64(maxTokenLifetime/time.Second):
		return 0, &presence.FieldError{Field: "expires_in_seconds", Reason: "must be between 1 and 316224000 (ten years)"}
	}
	wanted := time.Duration(*asked) * time.Second
	if bound && wanted > left {
		return 0, &presence.FieldError{Field: "expires_in_seconds", Reason: "must not outlive the caller's own token without the scope directory:write:admin"}
	}
	return wanted, nil
}

// A listing skips the tokens of other users. It reads the account's tokens in pages
// of scanPage, at most scanPages for each request.
const (
	scanPage  = api.MaxPage
	scanPages = 10
)

// listTokens serves GET /v1/tokens: the account's for administrators, the
// user's own for others.
func (a *API) listTokens(c *call) error {
	q, err := c.query("limit", "after", "user", "app")
	if err != nil {
		return err
	}
	pg, err := PageOf(q, "after")
	if err != nil {
		return err
	}
	filter, err := a.tokenFilter(c, q, auth.DirectoryRead)
	if err != nil {
		return err
	}
	list := &api.Tokens{Tokens: []api.Token{}}
	err = a.withTurn(c, pg.Limit, func() error {
		if filter.User != "" {
			return a.collectTokensOf(c, pg, &filter, list)
		}
		return a.collectTokens(c, pg, &filter, list)
	})
	if err != nil {
		return err
	}
	return c.writeDigested(list)
}

// tokenFilter reads ?user and ?app. A user without the :admin form of the scope can name
// nobody else.
func (a *API) tokenFilter(c *call, q url.Values, scope auth.Scope) (f auth.TokenFilter, err error) {
	f.App = presence.AppID(q.Get("app"))
	if err := checkFilters(q, "user", "app"); err != nil || !q.Has("user") {
		return f, err
	}
	f.User, err = a.resolve(c, q.Get("user"))
	if err == nil {
		_, err = a.Directory.User(c.r.Context(), c.p.Account, f.User)
	}
	// A name of nobody gets the answer of another user's, which would tell who exists.
	if unknown := errors.Is(err, directory.ErrNoUser); (err == nil || unknown) && !c.p.Scopes.HasAdmin(scope) && (unknown || !c.p.MayFor(scope, f.User)) {
		return f, &wire.PermissionError{Scope: scope.String() + ":admin"}
	}
	return f, err
}

// collectTokensOf fills a page with tokens of one user, whose number is limited.
func (a *API) collectTokensOf(c *call, pg Page, f *auth.TokenFilter, list *api.Tokens) error {
	tokens, err := a.Authority.TokensOf(c.r.Context(), c.p.Account, f.User)
	if err != nil {
		return err
	}
	tokens = slices.DeleteFunc(tokens, func(t auth.Token) bool { return !f.Matches(t.User, t.App) })
	tokens = itemsAbove(tokens, pg.After, func(t *auth.Token) string { return t.ID })
	list.Tokens, list.Next = Fill(pg, tokens, asToken, func(t *api.Token) string { return t.ID })
	return nil
}

// collectTokens fills a page with the tokens that the caller may see.
func (a *API) collectTokens(c *call, pg Page, f *auth.TokenFilter, list *api.Tokens) error {
	after := pg.After
	for range scanPages {
		tokens, err := a.Authority.Tokens(c.r.Context(), c.p.Account, after, scanPage)
		if err != nil {
			return err
		}
		for i := range tokens {
			if len(list.Tokens) == pg.Limit {
				list.Next = after
				return nil
			}
			after = tokens[i].ID
			if mayManage(c.p, auth.DirectoryRead, &tokens[i]) && f.Matches(tokens[i].User, tokens[i].App) {
				list.Tokens = append(list.Tokens, asToken(&tokens[i]))
			}
		}
		if len(tokens) < scanPage {
			return nil
		}
	}
	list.Next = after
	return nil
}

// mayManage reports whether p may see or revoke a token: any with the :admin scope,
// otherwise those of its own user.
func mayManage(p *auth.Principal, s auth.Scope, t *auth.Token) bool {
	return p.Scopes.HasAdmin(s) || (t.User == p.User && t.User != "") || t.ID == p.TokenID
}

// revokeToken serves DELETE /v1/tokens/{token}. A token of another user gets the
// same response as one that does not exist.
func (a *API) revokeToken(c *call) error {
	id := c.r.PathValue("token")
	if !c.p.Scopes.HasAdmin(auth.DirectoryWrite) || c.conditional() {
		if err := a.checkManagesToken(c, id); err != nil {
			return err
		}
	}
	if err := c.checkConditions("", true); err != nil { // a token has no representation of its own
		return err
	}
	if err := a.Authority.Revoke(c.r.Context(), c.p.Account, id); err != nil {
		return err
	}
	return c.finish(a.record(c, "token.revoke", "token/"+id, nil, nil))
}

// revokeTokens serves DELETE /v1/tokens, for the tokens of a user, an app, or both.
func (a *API) revokeTokens(c *call) error {
	q, err := c.query("user", "app")
	if err != nil {
		return err
	}
	filter, err := a.tokenFilter(c, q, auth.DirectoryWrite)
	switch {
	case err != nil:
		return err
	case filter == auth.TokenFilter{}:
		return &presence.FieldError{Field: "user", Reason: "is required: name a user or an app, or both"}
	case filter.User == "":
		err = needsAdmin(auth.DirectoryWrite).check(c.p)
	}
	if err == nil {
		err = c.checkConditions("", true)
	}
	if err != nil {
		return err
	}
	n, err := a.Authority.RevokeTokens(c.r.Context(), c.p.Account, filter)
	if err == nil || n > 0 { // those that ended are gone when the request is repeated
		err = errors.Join(err, a.recordRevoked(c, &filter, n))
	}
	if err != nil {
		return err
	}
	return c.writeBody(http.StatusOK, &api.RevokedTokens{Revoked: n})
}

func (a *API) recordRevoked(c *call, f *auth.TokenFilter, n int) error {
	after := audit.Fields{"revoked": n}
	target := "app/" + string(f.App)
	if f.User != "" {
		target = "user/" + string(f.User)
		if f.App != "" {
			after["app"] = string(f.App)
		}
	}
	return a.record(c, "token.revoke", target, nil, after)
}

// checkManagesToken returns an error unless the caller may revoke the token. Tokens
// are listed in order of their ids, so a page after the id without its last
// character has the token.
func (a *API) checkManagesToken(c *call, id string) error {
	if presence.CheckID("token", id) != nil {
		return auth.ErrNoSuchToken
	}
	near, err := a.Authority.Tokens(c.r.Context(), c.p.Account, id[:len(id)-1], scanPage)
	if err != nil {
		return err
	}
	for i := range near {
		if near[i].ID == id && mayManage(c.p, auth.DirectoryWrite, &near[i]) {
			return nil
		}
	}
	return auth.ErrNoSuchToken
}

func asToken(t *auth.Token) api.Token {
	return api.Token{
		ID: t.ID, Name: t.Name, App: string(t.App), User: string(t.User), Scopes: names(t.Scopes),
		Created: api.At(t.Created), Expires: api.At(t.Expires),
	}
}
