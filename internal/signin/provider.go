package signin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
)

// Why a person cannot sign in through the provider.
var (
	ErrNoProvider = errors.New("this server has no OpenID provider")
	// ErrProviderDown: the provider does not answer, or not as OpenID Connect says.
	ErrProviderDown = errors.New("the OpenID provider cannot be reached")
	// ErrFlow: the answer of the provider does not belong to a sign-in that this browser
	// began, or is not valid.
	ErrFlow = errors.New("this sign-in is no longer valid: start again")
	// ErrIdentity: the provider's person is nobody here.
	ErrIdentity = errors.New("the provider knows you, but you may not sign in here")
)

// An IdentityError is ErrIdentity with the reason, which the person may know.
type IdentityError struct{ Reason string }

func (e *IdentityError) Error() string { return ErrIdentity.Error() + ": " + e.Reason }

// Unwrap returns ErrIdentity.
func (*IdentityError) Unwrap() error { return ErrIdentity }

// ProviderOptions describe an OpenID provider. Issuer, ClientID, Name and Registry are
// required.
type ProviderOptions struct {
	Issuer, ClientID, ClientSecret string
	Name                           string             // for people
	Account                        presence.AccountID // "": the only one
	GroupsClaim, AdminGroup        string             // "": none
	CreateUsers                    bool
	Domains                        []string // of e-mail addresses; none: all
	HTTP                           *http.Client
	Registry                       *Registry
	Users                          Users
}

// A Provider signs people in through OpenID Connect: the code flow with PKCE. The issuer is
// discovered when somebody first signs in, and again after a failure, so that the server
// starts without it.
type Provider struct {
	ProviderOptions

	mu    sync.Mutex
	found *discovered // guarded by mu; nil: not yet
	retry time.Time   // guarded by mu: no discovery before it
}

// A discovered is what an issuer publishes about itself.
type discovered struct {
	provider *oidc.Provider
	verifier *oidc.IDTokenVerifier
	// namesIssuer: its answers have the parameter iss (RFC 9207).
	namesIssuer bool
}

const (
	providerTimeout = 10 * time.Second
	discoverEvery   = 5 * time.Second
)

// NewProvider returns a provider.
func NewProvider(o ProviderOptions) *Provider {
	if o.HTTP == nil {
		o.HTTP = &http.Client{Timeout: providerTimeout}
	}
	return &Provider{ProviderOptions: o}
}

// algorithms are those of ID tokens. All are asymmetric: with HS256 the client's secret
// would be the key, and "none" has no key.
func algorithms() []string {
	return []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA}
}

// discover finds out about the issuer, once.
func (p *Provider) discover(ctx context.Context) (*discovered, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.Registry.clock()
	switch {
	case p.found != nil:
		return p.found, nil
	case now.Before(p.retry):
		return nil, ErrProviderDown
	}
	// The context outlives the request: the keys are fetched with it later.
	provider, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), p.HTTP), p.Issuer)
	if err != nil {
		p.retry = p.Registry.clock().Add(discoverEvery) // from now: those who waited for this do not try one after the other
		p.Registry.log.WarnContext(ctx, "the OpenID provider cannot be discovered; the next sign-in tries again", slog.String("issuer", p.Issuer), slog.Any("err", err))
		return nil, ErrProviderDown
	}
	var more struct {
		NamesIssuer bool `json:"authorization_response_iss_parameter_supported"`
	}
	if err := provider.Claims(&more); err != nil {
		return nil, ErrProviderDown
	}
	p.found = &discovered{
		provider: provider, namesIssuer: more.NamesIssuer,
		verifier: provider.Verifier(&oidc.Config{ClientID: p.ClientID, SupportedSigningAlgs: algorithms(), Now: p.Registry.clock}),
	}
	return p.found, nil
}

// A Flow is a sign-in that a browser has begun. The browser keeps it in a cookie.
type Flow struct {
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`
	Next     string `json:"next"` // the page to show afterwards
}

func (p *Provider) client(d *discovered, callback string) *oauth2.Config {
	return &oauth2.Config{
		ClientID: p.ClientID, ClientSecret: p.ClientSecret, Endpoint: d.provider.Endpoint(), RedirectURL: callback,
		Scopes: []string{oidc.ScopeOpenID, "email", "profile"},
	}
}

// Begin is a new flow, and the URL of the provider's page.
func (p *Provider) Begin(ctx context.Context, callback, next string) (flow Flow, url string, err error) {
	d, err := p.discover(ctx)
	if err != nil {
		return flow, "", err
	}
	flow = Flow{State: newSecret(), Nonce: newSecret(), Verifier: oauth2.GenerateVerifier(), Next: next}
	url = p.client(d, callback).AuthCodeURL(flow.State, oidc.Nonce(flow.Nonce), oauth2.S256ChallengeOption(flow.Verifier))
	return flow, url, nil
}

// An Answer has the parameters with which the provider sends the browser back.
type Answer struct{ Code, State, Issuer, Error string }

// Finish signs the person in whom the provider's answer to a flow is about.
func (p *Provider) Finish(ctx context.Context, callback string, flow *Flow, answer *Answer, from *From) (*SignedIn, error) {
	d, err := p.discover(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case flow.State == "" || answer.State != flow.State:
		return nil, ErrFlow
	case answer.Issuer != "" && answer.Issuer != p.Issuer, answer.Issuer == "" && d.namesIssuer:
		return nil, ErrFlow // of another provider (mix-up)
	case answer.Error != "":
		return nil, &IdentityError{Reason: "it refused the sign-in"}
	}
	ctx = oidc.ClientContext(ctx, p.HTTP)
	tokens, err := p.client(d, callback).Exchange(ctx, answer.Code, oauth2.VerifierOption(flow.Verifier))
	if err != nil {
		return nil, p.refused(ctx, "the code was not exchanged", err)
	}
	raw, _ := tokens.Extra("id_token").(string)
	claims, err := p.verify(ctx, d, raw, flow.Nonce)
	if err != nil {
		return nil, err
	}
	if claims, err = p.complete(ctx, d, tokens, claims); err != nil {
		return nil, err
	}
	return p.signIn(ctx, claims, from)
}

// complete adds what the provider says of the person at its UserInfo endpoint, if the ID
// token has no e-mail address: OpenID Connect Core 5.4 lets it have none. What the token
// says counts first.
func (p *Provider) complete(ctx context.Context, d *discovered, tokens *oauth2.Token, c *claims) (*claims, error) {
	if c.Email != "" || d.provider.UserInfoEndpoint() == "" {
		return c, nil
	}
	info, err := d.provider.UserInfo(ctx, oauth2.StaticTokenSource(tokens))
	if err != nil {
		p.Registry.log.WarnContext(ctx, "the OpenID provider does not say who the person is", slog.String("issuer", p.Issuer), slog.String("err", reasonOf(err)))
		return nil, ErrProviderDown
	}
	if info.Subject != c.Subject {
		return nil, ErrFlow // of another person (OpenID Connect Core 5.3.4)
	}
	all := make(map[string]any)
	if err := info.Claims(&all); err != nil {
		return nil, ErrFlow
	}
	delete(c.all, "email_verified") // of no address
	maps.Copy(all, c.all)
	return asClaims(all)
}

func asClaims(all map[string]any) (*claims, error) {
	text, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("write claims: %w", err)
	}
	c := &claims{all: all}
	if err := json.Unmarshal(text, c); err != nil {
		return nil, ErrFlow
	}
	return c, nil
}

// refused tells the operator why, and the person no more than that it failed.
func (p *Provider) refused(ctx context.Context, what string, err error) error {
	p.Registry.log.WarnContext(ctx, "sign-in through the OpenID provider refused", slog.String("reason", what), slog.String("issuer", p.Issuer), slog.String("err", reasonOf(err)))
	if answer, ok := errors.AsType[*oauth2.RetrieveError](err); ok && answer.Response.StatusCode < http.StatusInternalServerError {
		return ErrFlow
	}
	return ErrProviderDown
}

var (
	// statusLine begins the errors of package oidc that go on with the body of a response.
	statusLine = regexp.MustCompile(`^[1-5][0-9]{2}[A-Za-z -]*`)
	errorCode  = regexp.MustCompile(`^[a-z_]{1,40}$`)
)

// reasonOf says why a request to the provider failed, without the text of the response: some
// providers repeat the request there, with the client secret, the code or the token.
func reasonOf(err error) string {
	if refusal, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		reason := statusLine.FindString(refusal.Response.Status)
		if errorCode.MatchString(refusal.ErrorCode) {
			reason += ": " + refusal.ErrorCode
		}
		return reason
	}
	return cmp.Or(statusLine.FindString(err.Error()), err.Error())
}

// claims are what an ID token says of a person.
type claims struct {
	Subject       string         `json:"sub"`
	Authorized    string         `json:"azp"`
	Email         string         `json:"email"`
	EmailVerified verified       `json:"email_verified"`
	Name          string         `json:"name"`
	GivenName     string         `json:"given_name"`
	FamilyName    string         `json:"family_name"`
	Elsewhere     map[string]any `json:"_claim_names"` // claims that are too long for the token
	all           map[string]any
}

// verified is a boolean that some providers send as a string.
type verified bool

// UnmarshalJSON reads true and "true" as true, and everything else as false.
func (v *verified) UnmarshalJSON(text []byte) error {
	*v = string(text) == "true" || string(text) == `"true"`
	return nil
}

// verify checks an ID token: its signature by a key of the issuer, the issuer, the
// audience, the expiry and the nonce.
func (p *Provider) verify(ctx context.Context, d *discovered, raw, nonce string) (*claims, error) {
	token, err := d.verifier.Verify(ctx, raw)
	if err != nil {
		p.Registry.log.WarnContext(ctx, "ID token refused", slog.String("issuer", p.Issuer), slog.Any("err", err))
		return nil, ErrFlow
	}
	c := new(claims)
	if err := errors.Join(token.Claims(c), token.Claims(&c.all)); err != nil {
		return nil, ErrFlow
	}
	switch {
	case token.Nonce == "" || token.Nonce != nonce:
		return nil, ErrFlow
	case len(token.Audience) > 1 && c.Authorized == "", c.Authorized != "" && c.Authorized != p.ClientID:
		return nil, ErrFlow // made for another client
	case c.Subject == "":
		return nil, ErrFlow
	}
	return c, nil
}

// groups are those that the token has; known is false if it cannot name them.
func (p *Provider) groups(c *claims) (groups []string, known bool) {
	if p.GroupsClaim == "" {
		return nil, false
	}
	if _, elsewhere := c.Elsewhere[p.GroupsClaim]; elsewhere {
		return nil, false
	}
	switch value := c.all[p.GroupsClaim].(type) {
	case string:
		groups = []string{value}
	case []any:
		for _, item := range value {
			if name, ok := item.(string); ok && !slices.Contains(groups, name) {
				groups = append(groups, name)
			}
		}
	}
	return slices.DeleteFunc(groups, func(name string) bool { return !isGroup(name) }), true
}

// isGroup reports whether a group can have the name.
func isGroup(name string) bool {
	return (&directory.User{Email: "user@example.com", Groups: []string{name}}).Clean(&directory.User{}) == nil
}

// allows reports whether people with an address may be users here.
func (p *Provider) allows(email string) bool {
	_, domain, _ := strings.Cut(email, "@")
	return len(p.Domains) == 0 || slices.ContainsFunc(p.Domains, func(d string) bool { return strings.EqualFold(d, domain) })
}

// account is the account whose people the provider has.
func (p *Provider) account(ctx context.Context) (presence.AccountID, error) {
	if p.Account != "" {
		return p.Account, nil
	}
	some, err := p.Registry.directory.Accounts(ctx, "", 2)
	if err != nil {
		return "", fmt.Errorf("find the account of the provider: %w", err)
	}
	if len(some) != 1 {
		p.Registry.log.ErrorContext(ctx, "there are several accounts: set oidc-account to the one whose people the OpenID provider has")
		return "", &IdentityError{Reason: "the server has several accounts, and its operator has to choose one for the provider"}
	}
	return some[0].ID, nil
}
