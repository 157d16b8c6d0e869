package cli

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"porchlight.dev/porchlight/client"
)

// refreshMargin is how long before it expires a token is replaced.
const refreshMargin = time.Minute

// loginTokens provides the access tokens of a profile's login. It refreshes them in the
// profile's file, which processes share: a refresh token works once.
type loginTokens struct {
	store profiles
	name  string
	app   *client.LoginApp

	mu    sync.Mutex // held during a request, so that there is one at a time
	saved profile
}

// Token implements client.TokenSource.
func (l *loginTokens) Token(ctx context.Context) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.usable("") {
		return l.saved.AccessToken, nil
	}
	return l.refresh(ctx, "")
}

// Renew implements client.Renewer.
func (l *loginTokens) Renew(ctx context.Context, refused string) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.usable(refused) {
		return l.saved.AccessToken, nil // another call has renewed it
	}
	return l.refresh(ctx, refused)
}

// usable reports whether the token that l has is valid, and not the refused one.
func (l *loginTokens) usable(refused string) bool {
	return l.saved.AccessToken != refused && time.Now().Before(l.saved.Expires.Add(-refreshMargin))
}

// refresh takes the token that another process obtained, or else obtains one. l.mu is held.
func (l *loginTokens) refresh(ctx context.Context, refused string) (string, error) {
	err := l.store.locked(ctx, func() error {
		p, err := l.store.load(l.name)
		switch {
		case err != nil:
			return err
		case p.RefreshToken == "" || !p.isFor(l.saved.URL):
			return notLoggedIn(l.name, p)
		}
		l.saved = *p
		if l.usable(refused) {
			return nil
		}
		return l.exchange(ctx)
	})
	return l.saved.AccessToken, err
}

// exchange replaces the tokens in the file. It does not stop half-way, since a refresh token
// that is lost ends the login. l.mu and the lock of the profiles are held.
func (l *loginTokens) exchange(ctx context.Context) error {
	if err := l.store.save(l.name, &l.saved); err != nil { // a file that cannot be written must not cost the login
		return err
	}
	ctx = context.WithoutCancel(ctx)
	login, err := l.app.Refresh(ctx, l.saved.RefreshToken)
	if _, lost := errors.AsType[*client.TransportError](err); lost {
		login, err = l.app.Refresh(ctx, l.saved.RefreshToken) // the server answers the same again for a few seconds
	}
	if errors.Is(err, client.ErrLoginEnded) {
		text := fmt.Sprintf("the login to %s (profile %s) has expired or was revoked", l.saved.URL, l.name)
		return &advice{client.ErrLoginEnded, text, fmt.Sprintf("To log in again, run \"porchlight login --profile %s\".", l.name)}
	}
	if err != nil {
		return err
	}
	l.saved.storeTokens(login)
	return l.store.save(l.name, &l.saved)
}

// notLoggedIn is the error for a profile without tokens.
func notLoggedIn(name string, p *profile) error {
	return &usageError{fmt.Sprintf("you are not logged in to %s (profile %s): run \"porchlight login --profile %s\"", p.URL, name, name)}
}
