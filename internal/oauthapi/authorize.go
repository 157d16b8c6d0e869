package oauthapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/form"
	"porchlight.dev/porchlight/internal/presence"
)

// challengeMethod is the one of PKCE: plain is refused (RFC 9700 §2.1.1).
const challengeMethod = "S256"

// A RequestError is an authorization request whose app or redirect URI is not known. It is
// shown to the person, and never sent to the redirect URI, which may be anybody's.
type RequestError struct{ Reason string }

func (e *RequestError) Error() string { return e.Reason }

// authorize answers GET /oauth/authorize. A link of another site opens it, so the browser's
// cookie does not count; the page asks for it by a request of its own.
func (e *API) authorize(w http.ResponseWriter, r *http.Request) error {
	if _, err := e.Read(r.Context(), r.URL.RawQuery); err != nil {
		return err
	}
	return e.Consent(w, r)
}

// A Request is an authorization request of a known app with a known redirect URI.
type Request struct {
	App    auth.App
	Scopes auth.Scopes // asked for

	account   presence.AccountID
	redirect  string
	named     bool // the redirect URI
	state     string
	challenge string
	prompt    []string
	fault     *fault
}

// A fault is an error that the app is told by a redirect (RFC 6749 §4.1.2.1).
type fault struct{ code, description string }

// Read reads the query of an authorization request. A *RequestError if it names no app
// or no redirect URI of it; all other mistakes are for the app to know.
func (e *API) Read(ctx context.Context, query string) (*Request, error) {
	values, err := form.Parse(query)
	if err != nil {
		return nil, &RequestError{"The request's query " + err.Error()}
	}
	for _, name := range []string{"client_id", "redirect_uri"} {
		if len(values[name]) > 1 {
			return nil, &RequestError{"The request has the parameter " + name + " more than once"}
		}
	}
	account, app, err := e.Authority.FindClient(ctx, presence.AppID(values.Get("client_id")))
	if errors.Is(err, auth.ErrNoApp) {
		return nil, &RequestError{"No app that you can use has the client_id of this request"}
	}
	if err != nil {
		return nil, err
	}
	redirect, ok := app.Redirect(values.Get("redirect_uri"))
	if !ok {
		return nil, &RequestError{"The redirect_uri of this request is not one of the app's"}
	}
	q := &Request{
		App: app, account: account, redirect: redirect, named: values.Get("redirect_uri") != "", state: values.Get("state"),
		challenge: values.Get("code_challenge"), prompt: strings.Fields(values.Get("prompt")),
	}
	q.fault = q.check(values)
	if q.fault == nil {
		q.Scopes, q.fault = e.askedScopes(&app, values.Get("scope"))
	}
	return q, nil
}

func (q *Request) check(values url.Values) *fault {
	for name, all := range values {
		if len(all) > 1 {
			return &fault{"invalid_request", "Parameter given twice: " + auth.Shorten(name)}
		}
	}
	method := values.Get("code_challenge_method")
	switch kind, mode := values.Get("response_type"), values.Get("response_mode"); {
	case kind == "":
		return &fault{"invalid_request", "Missing required parameter: response_type"}
	case kind != "code":
		return &fault{"unsupported_response_type", "response_type must be code"}
	case mode != "" && mode != "query":
		return &fault{"invalid_request", "response_mode must be query"}
	case q.challenge == "" && (q.App.Public || method != ""):
		return &fault{"invalid_request", "Missing required parameter: code_challenge (PKCE)"}
	case q.challenge != "" && method != challengeMethod:
		return &fault{"invalid_request", "code_challenge_method must be S256"}
	case q.challenge != "" && !auth.CheckChallenge(q.challenge):
		return &fault{"invalid_request", "code_challenge must be the base64url of a SHA-256, 43 characters"}
	default:
		return nil
	}
}

func (e *API) askedScopes(app *auth.App, names string) (auth.Scopes, *fault) {
	scopes, err := e.narrow(app.Scopes, names)
	if refusal, ok := errors.AsType[*oauthError](err); ok {
		return scopes, &fault{refusal.Code, refusal.Reason}
	}
	return scopes, nil
}

// A Question is what a signed-in person is asked, or where the browser goes without a
// question.
type Question struct {
	Scopes   auth.Scopes // that the app gets
	Redirect string      // with an error; "": there is a question
	// Remembered: the person has allowed all this before, and need not be asked again.
	Remembered bool
}

// Ask is the question that a request puts to a person. A *RequestError for an app of
// another account. issuer is the server's.
func (e *API) Ask(ctx context.Context, p *auth.Principal, q *Request, issuer string) (*Question, error) {
	if q.account != p.Account {
		return nil, &RequestError{"No app that you can use has the client_id of this request"}
	}
	if q.fault != nil {
		return &Question{Redirect: q.refused(q.fault, issuer)}, nil
	}
	scopes, err := e.Authority.Consentable(ctx, p.Account, p.User, &q.App, q.Scopes)
	if errors.Is(err, auth.ErrNothingToAllow) {
		return &Question{Redirect: q.refused(&fault{"access_denied", "The user's role allows nothing that the app asks for"}, issuer)}, nil
	}
	if err != nil {
		return nil, err
	}
	question := &Question{Scopes: scopes}
	switch remembered, err := e.remembered(ctx, p, q, scopes); {
	case err != nil:
		return nil, err
	case remembered:
		question.Remembered = true
	case slices.Contains(q.prompt, "none"):
		question.Redirect = q.refused(&fault{"consent_required", "The user has not allowed this yet"}, issuer)
	}
	return question, nil
}

// remembered reports whether the person allowed the app all this before. Any program can
// pretend to be a public app, so those always ask (RFC 6749 §10.2).
func (e *API) remembered(ctx context.Context, p *auth.Principal, q *Request, scopes auth.Scopes) (bool, error) {
	if q.App.Public || slices.Contains(q.prompt, "consent") {
		return false, nil
	}
	given, err := e.Authority.Granted(ctx, p.Account, p.User, q.App.ID)
	return err == nil && !given.Created.IsZero() && scopes.Within(given.Scopes), err
}

// Decide is where the browser goes after the person's decision, and what the app was
// allowed.
func (e *API) Decide(ctx context.Context, p *auth.Principal, q *Request, allow bool, issuer string) (string, auth.Scopes, error) {
	question, err := e.Ask(ctx, p, q, issuer)
	switch {
	case err != nil:
		return "", auth.Scopes{}, err
	case question.Redirect != "":
		return question.Redirect, auth.Scopes{}, nil
	case !allow:
		return q.refused(&fault{"access_denied", "The user denied the request"}, issuer), auth.Scopes{}, nil
	}
	redirect, err := e.allow(ctx, p, q, question.Scopes, issuer)
	return redirect, question.Scopes, err
}

// Returns names where the browser goes afterwards, for the person to judge: the host, or
// the scheme of an app on the person's device.
func (q *Request) Returns() string {
	u, err := url.Parse(q.redirect)
	if err != nil || u.Host == "" {
		return strings.SplitN(q.redirect, ":", 2)[0]
	}
	return u.Host
}

func (e *API) allow(ctx context.Context, p *auth.Principal, q *Request, scopes auth.Scopes, issuer string) (string, error) {
	code, err := e.Authority.NewCode(ctx, &auth.Authorization{
		Account: p.Account, User: p.User, App: q.App.ID, Scopes: scopes, Redirect: q.redirect, NamedRedirect: q.named, Challenge: q.challenge,
	})
	if err != nil {
		return "", fmt.Errorf("authorize app: %w", err)
	}
	return q.back(url.Values{"code": {code}}, issuer), nil
}

// SignedOut is where the browser goes if nobody is signed in and the app does not want the
// person to be asked; "" if they are to sign in.
func (q *Request) SignedOut(issuer string) string {
	if !slices.Contains(q.prompt, "none") {
		return ""
	}
	return q.refused(&fault{"login_required", "The user is not signed in"}, issuer)
}

func (q *Request) refused(f *fault, issuer string) string {
	return q.back(url.Values{"error": {f.code}, "error_description": {describe(f.description)}}, issuer)
}

// back adds parameters to the redirect URI, whose own ones stay (RFC 6749 §3.1.2), with the
// issuer, so that an app that knows several servers is not confused (RFC 9207).
func (q *Request) back(values url.Values, issuer string) string {
	if q.state != "" {
		values.Set("state", q.state)
	}
	values.Set("iss", issuer)
	separator := "?"
	if strings.Contains(q.redirect, "?") {
		separator = "&"
	}
	return q.redirect + separator + values.Encode()
}
