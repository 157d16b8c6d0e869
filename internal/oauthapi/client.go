package oauthapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/wire"
)

// client authenticates the app of a request; one that is public has nothing to prove. After
// too many failures it answers with Retry-After, but it always accepts the right secret:
// otherwise anybody who knows an app's id could lock the app out. Secrets are too long to
// be guessed.
func (e *API) client(w http.ResponseWriter, r *http.Request, form *oauthForm) (presence.AccountID, auth.App, error) {
	id, secret, err := credentials(r, form)
	if err != nil {
		return "", auth.App{}, err
	}
	wire.RecordClientID(w, string(id))
	account, app, err := e.authenticate(r.Context(), id, secret)
	if !errors.Is(err, auth.ErrBadClient) {
		return account, app, err
	}
	wait := e.countFailure(id)
	if wait == 0 {
		return "", auth.App{}, &oauthError{Status: http.StatusBadRequest, Code: "invalid_client", Reason: reasonBadClient, Cause: err}
	}
	seconds := int((wait + time.Second - 1) / time.Second)
	return "", auth.App{}, &oauthError{
		Status: http.StatusTooManyRequests, Code: "invalid_client", RetryAfter: seconds, Cause: err,
		Reason: fmt.Sprintf("%s; it failed too often, try again in %d seconds", reasonBadClient, seconds),
	}
}

// authenticate finds the app with an id and a secret, or a public app, which has none.
func (e *API) authenticate(ctx context.Context, id presence.AppID, secret string) (presence.AccountID, auth.App, error) {
	if secret != "" {
		return e.Authority.AuthenticateClient(ctx, id, secret)
	}
	account, app, err := e.Authority.FindClient(ctx, id)
	if errors.Is(err, auth.ErrNoApp) || err == nil && !app.Public {
		return "", auth.App{}, auth.ErrBadClient
	}
	return account, app, err
}

// maxFailures is how often a client may fail in a minute before it must wait.
const maxFailures = 20

// countFailure counts a failure of a client, and returns how long the client must wait:
// zero while it does not fail too often.
func (e *API) countFailure(id presence.AppID) time.Duration {
	now := e.Clock()
	e.mu.Lock()
	defer e.mu.Unlock()
	b := e.failures.Get(id)
	_, wait := b.Take(1, maxFailures, time.Minute, now)
	e.failures.Set(id, b, now)
	return wait
}
