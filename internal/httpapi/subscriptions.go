package httpapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/webhook"
	"porchlight.dev/porchlight/internal/wire"
)

// A subscription with an owner is accessible with the plain scopes of that user, all of
// the account with the :admin ones. Others do not learn that it exists.
func (a *API) subscriptionRoutes() []route {
	read, write := needsScope(auth.SubscriptionRead), needsScope(auth.SubscriptionWrite)
	return []route{
		{"POST", "/v1/subscriptions", write, withBody(a.createSubscription)},
		{"GET", "/v1/subscriptions", read, a.listSubscriptions},
		{"GET", "/v1/subscriptions/{subscription}", read, a.readSubscription},
		{"PATCH", "/v1/subscriptions/{subscription}", write, withBody(a.updateSubscription)},
		{"DELETE", "/v1/subscriptions/{subscription}", write, a.deleteSubscription},
		{"POST", "/v1/subscriptions/{subscription}/secret", write, withBody(a.rotateSubscriptionSecret)},
		{"POST", "/v1/subscriptions/{subscription}/enable", write, a.enableSubscription},
		{"GET", "/v1/subscriptions/{subscription}/deliveries", read, a.listDeliveries},
		{"POST", "/v1/subscriptions/{subscription}/test", write, withBody(a.testSubscription)},
		{"POST", "/v1/subscriptions/{subscription}/replay", write, withBody(a.replaySubscription)},
	}
}

func (a *API) createSubscription(c *call, body *api.CreateSubscription) error {
	s := &webhook.Subscription{
		Account: c.p.Account, App: c.p.App, Name: body.Name, URL: body.URL, Form: body.Form, Events: body.Events,
		Groups: body.Groups, Profile: body.Profile, LatestOnly: body.LatestOnly, Concurrency: body.Concurrency,
	}
	var err error
	if s.Auth, err = authenticationOf(body.Authentication); err != nil {
		return err
	}
	if s.Secrets, err = secretsOf(body); err != nil {
		return err
	}
	if s.Users, err = a.resolveFilter(c, body.Users); err != nil {
		return err
	}
	if err := ownSubscription(c, s, body.AppSecret); err != nil {
		return err
	}
	if s.Consent, err = a.consentOf(c); err != nil {
		return err
	}
	if err := c.checkCreate(); err != nil {
		return err
	}
	created, err := a.Subscriptions.Create(c.r.Context(), s)
	if err != nil {
		return err
	}
	if err := a.record(c, "subscription.create", "subscription/"+created.ID, nil, subscriptionFields(created)); err != nil {
		return err
	}
	header(c.w, "Location", "/v1/subscriptions/"+created.ID)
	return c.writeSubscription(http.StatusCreated, created, true)
}

// secretsOf are the secrets of a new subscription; none: the secret of the app signs.
func secretsOf(body *api.CreateSubscription) ([]webhook.Secret, error) {
	switch {
	case body.AppSecret && body.Secret != "":
		return nil, &presence.FieldError{Field: "secret", Reason: "cannot be given together with app_secret"}
	case body.AppSecret:
		return nil, nil
	case body.Secret == "":
		return []webhook.Secret{{Value: webhook.NewSecret()}}, nil
	default:
		return []webhook.Secret{{Value: body.Secret}}, webhook.CheckSecret("secret", body.Secret)
	}
}

// ownSubscription makes s one of the caller's user, who is then sent the own events alone,
// unless the caller may subscribe to everybody's. The secret of an app must not sign what
// anybody chooses who uses it.
func ownSubscription(c *call, s *webhook.Subscription, appSecret bool) error {
	if c.p.Scopes.HasAdmin(auth.SubscriptionWrite) {
		return nil
	}
	own := []presence.UserID{c.p.User}
	if c.p.User == "" || appSecret || s.Groups != nil || s.Users != nil && !slices.Equal(s.Users, own) {
		return &wire.PermissionError{Scope: auth.SubscriptionWrite.String() + ":admin"}
	}
	s.Owner, s.Users = c.p.User, own
	return nil
}

// resolveFilter finds the users that a filter names. nil does not filter.
func (a *API) resolveFilter(c *call, refs []string) ([]presence.UserID, error) {
	if refs == nil {
		return nil, nil
	}
	if err := webhook.CheckUserCount(len(refs)); err != nil {
		return nil, err
	}
	ids := make([]presence.UserID, len(refs))
	for i, ref := range refs {
		id, err := a.resolve(c, ref)
		if errors.Is(err, directory.ErrNoUser) {
			err = &presence.FieldError{Field: fmt.Sprintf("users[%d]", i), Reason: fmt.Sprintf("names %q, who is no user of this account", ref)}
		}
		if err != nil {
			return nil, err
		}
		ids[i] = id
	}
	return ids, nil
}

// consentOf is the consent by which the caller acts; zero: the caller needs none.
func (a *API) consentOf(c *call) (webhook.Consent, error) {
	if !a.Authority.ActsByConsent(c.p) {
		return webhook.Consent{}, nil
	}
	grant, err := a.Authority.Granted(c.r.Context(), c.p.Account, c.p.User, c.p.App)
	if err == nil && grant.Created.IsZero() {
		err = webhook.ErrEnded
	}
	return webhook.Consent{User: c.p.User, Since: grant.Created}, err
}

func authenticationOf(body *api.Authentication) (webhook.Authentication, error) {
	if body == nil {
		return webhook.Authentication{}, nil
	}
	of := webhook.Authentication{
		Username: body.Username, Password: body.Password,
		TokenURL: body.TokenURL, ClientID: body.ClientID, ClientSecret: body.ClientSecret, Scope: body.Scope,
		HeaderName: body.HeaderName, HeaderValue: body.HeaderValue,
	}
	switch kind := webhook.AuthenticationKind(body.Kind); kind {
	case noAuthentication:
		if of != (webhook.Authentication{}) {
			return of, &presence.FieldError{Field: "authentication", Reason: "has fields that its kind does not use"}
		}
	case webhook.AuthBasic, webhook.AuthOAuth, webhook.AuthHeader:
		of.Kind = kind
	default:
		return of, &presence.FieldError{Field: "authentication.kind", Reason: "must be none, basic, oauth or header"}
	}
	return of, nil
}

const noAuthentication = "none"

// subscription is the one that the path names, if the caller has the scope for it.
func (a *API) subscription(c *call, scope auth.Scope) (*webhook.Subscription, error) {
	return a.Subscription(c.r.Context(), c.p, scope, c.r.PathValue("subscription"))
}

// Subscription is the one with an id, if the principal has the scope for it.
func (a *API) Subscription(ctx context.Context, p *auth.Principal, scope auth.Scope, id string) (*webhook.Subscription, error) {
	s, err := a.Subscriptions.Get(ctx, p.Account, id)
	if err == nil && !mayAccess(p, scope, s) {
		err = webhook.ErrNoSubscription
	}
	return s, err
}

func mayAccess(p *auth.Principal, scope auth.Scope, s *webhook.Subscription) bool {
	return p.Scopes.HasAdmin(scope) || s.Owner != "" && p.MayFor(scope, s.Owner)
}

// subscriptionConditions checks whether the caller may change a subscription, and the
// conditions of the request.
func (c *call) subscriptionConditions(s *webhook.Subscription) error {
	if !mayAccess(c.p, auth.SubscriptionWrite, s) {
		return webhook.ErrNoSubscription
	}
	return c.checkConditions(subscriptionTag(s), true)
}

// changeConditions are those of a change that may outlive the caller's access: an app
// that acts by consent may change only what it made under that consent, which ends with it.
func (a *API) changeConditions(c *call) func(*webhook.Subscription) error {
	return func(s *webhook.Subscription) error {
		if err := c.subscriptionConditions(s); err != nil {
			return err
		}
		made := s.App == c.p.App && (s.Owner == c.p.User || s.Consent.User == c.p.User)
		if a.Authority.ActsByConsent(c.p) && !made {
			return errForeignSubscription
		}
		return nil
	}
}

func (a *API) listSubscriptions(c *call) error {
	pg, err := c.page()
	if err != nil {
		return err
	}
	all, err := a.Subscriptions.List(c.r.Context(), c.p.Account)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(s *webhook.Subscription) bool {
		return s.ID <= pg.After || !mayAccess(c.p, auth.SubscriptionRead, s)
	})
	var list api.Subscriptions
	list.Subscriptions, list.Next = Fill(pg, all,
		func(s **webhook.Subscription) api.Subscription { return *asSubscription(*s) }, func(s *api.Subscription) string { return s.ID })
	return c.writeDigested(&list)
}

func (a *API) readSubscription(c *call) error {
	s, err := a.subscription(c, auth.SubscriptionRead)
	if err != nil {
		return err
	}
	return c.writeVersion(subscriptionTag(s), asSubscription(s))
}

func (a *API) updateSubscription(c *call, body *api.UpdateSubscription) error {
	change, err := a.subscriptionChange(c, body)
	if err != nil {
		return err
	}
	var before audit.Fields
	s, err := a.Subscriptions.Update(c.r.Context(), c.p.Account, c.r.PathValue("subscription"), func(s *webhook.Subscription) error {
		if err := a.changeConditions(c)(s); err != nil {
			return err
		}
		before = subscriptionFields(s)
		return change(s)
	})
	if err == nil {
		err = a.recordChange(c, "subscription.update", "subscription/"+s.ID, before, subscriptionFields(s))
	}
	if err != nil {
		return err
	}
	return c.writeSubscription(http.StatusOK, s, false)
}

// subscriptionChange reads what a body changes.
func (a *API) subscriptionChange(c *call, body *api.UpdateSubscription) (func(*webhook.Subscription) error, error) {
	if body.AllEvents && body.Events != nil {
		return nil, &presence.FieldError{Field: "all_events", Reason: "cannot be given together with events"}
	}
	authentication, err := authenticationOf(body.Authentication)
	if err != nil {
		return nil, err
	}
	var users []presence.UserID
	if body.Users != nil {
		if users, err = a.resolveFilter(c, *body.Users); err != nil {
			return nil, err
		}
	}
	return func(s *webhook.Subscription) error {
		before := s.URL
		if body.AllUsers {
			s.Users, s.Groups = nil, nil // before the filters that replace them
		}
		set(&s.Name, body.Name)
		set(&s.URL, body.URL)
		set(&s.Events, body.Events)
		set(&s.Groups, body.Groups)
		set(&s.Profile, body.Profile)
		set(&s.LatestOnly, body.LatestOnly)
		set(&s.Concurrency, body.Concurrency)
		set(&s.Paused, body.Paused)
		if body.Users != nil {
			s.Users = users
		}
		if body.AllEvents {
			s.Events = nil
		}
		if body.Authentication != nil {
			s.Auth = authentication
		} else if !s.Auth.Follows(before, s.URL) {
			return &presence.FieldError{Field: "authentication", Reason: "must be given again, because the url has another scheme, host or port"}
		}
		return nil
	}, nil
}

// set sets a field that is given.
func set[T any](field, given *T) {
	if given != nil {
		*field = *given
	}
}

func (a *API) deleteSubscription(c *call) error {
	id := c.r.PathValue("subscription")
	if err := a.Subscriptions.Delete(c.r.Context(), c.p.Account, id, c.subscriptionConditions); err != nil {
		return err
	}
	return c.finish(a.record(c, "subscription.delete", "subscription/"+id, nil, nil))
}

// rotateSubscriptionSecret serves POST /v1/subscriptions/{subscription}/secret.
func (a *API) rotateSubscriptionSecret(c *call, body *api.RotateSecret) error {
	secret := body.Secret
	if secret == "" {
		secret = webhook.NewSecret()
	}
	s, err := a.Subscriptions.RotateSecret(
		c.r.Context(), c.p.Account, c.r.PathValue("subscription"), secret, overlapOf(body.OverlapSeconds), a.changeConditions(c))
	if err == nil {
		err = a.record(c, "subscription-secret.rotate", "subscription/"+s.ID, nil, nil)
	}
	if err != nil {
		return err
	}
	return c.writeSubscription(http.StatusOK, s, true)
}

// overlapOf is the overlap that a request asks for, in seconds.
func overlapOf(asked *int) time.Duration {
	if asked == nil {
		return webhook.DefaultOverlap
	}
	const most = int(webhook.MaxOverlap/time.Second) + 1 // which is refused
	return time.Duration(min(max(*asked, -1), most)) * time.Second
}

func (a *API) enableSubscription(c *call) error {
	s, err := a.Subscriptions.Enable(c.r.Context(), c.p.Account, c.r.PathValue("subscription"), c.subscriptionConditions)
	if err == nil {
		err = a.record(c, "subscription.enable", "subscription/"+s.ID, nil, nil)
	}
	if err != nil {
		return err
	}
	return c.writeSubscription(http.StatusOK, s, false)
}

func (c *call) writeSubscription(status int, s *webhook.Subscription, withSecret bool) error {
	wired := asSubscription(s)
	header(c.w, "Etag", subscriptionTag(s))
	if withSecret && len(s.Secrets) > 0 {
		wired.Secret = s.Secrets[0].Value
	}
	return c.writeBody(status, wired)
}

func subscriptionTag(s *webhook.Subscription) string { return tagOf(s.Version, asSubscription(s)) }

// asSubscription is s on the wire, without its secrets.
func asSubscription(s *webhook.Subscription) *api.Subscription {
	kind := string(s.Auth.Kind)
	if s.Auth.Kind == webhook.AuthNone {
		kind = noAuthentication
	}
	wired := &api.Subscription{
		ID: s.ID, Name: s.Name, App: string(s.App), Owner: string(s.Owner), URL: s.URL, Form: s.Form,
		Events: append([]string{}, s.Events...), Users: make([]string, len(s.Users)), Groups: append([]string{}, s.Groups...),
		Profile: s.Profile, LatestOnly: s.LatestOnly, Concurrency: cmp.Or(s.Concurrency, webhook.DefaultConcurrency), AppSecret: len(s.Secrets) == 0,
		Authentication: api.Authentication{
			Kind: kind, Username: s.Auth.Username, TokenURL: s.Auth.TokenURL, ClientID: s.Auth.ClientID, Scope: s.Auth.Scope, HeaderName: s.Auth.HeaderName,
		},
		Created: api.At(s.Created), Validated: api.At(s.Health.Validated), Failures: s.Health.Failures, Reason: s.Health.Reason,
		Disabled: api.At(s.Health.Disabled), Paused: s.Paused, ConsentBy: string(s.Consent.User),
	}
	for i, id := range s.Users {
		wired.Users[i] = string(id)
	}
	return wired
}
