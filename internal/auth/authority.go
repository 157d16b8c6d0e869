package auth

import (
	"context"
	"time"

	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// An App is an OAuth client of an account.
type App struct {
	ID      presence.AppID // the client_id
	Name    string
	Scopes  Scopes
	Created time.Time
}

// A Token as lists show it: never the secret.
type Token struct {
	ID      string
	App     presence.AppID
	User    presence.UserID // "" for an account-level token
	Scopes  Scopes
	Name    string
	Created time.Time
	Expires time.Time // zero: never
}

// Authority knows apps and tokens.
type Authority struct {
	docs      store.Store
	directory *directory.Directory
	clock     func() time.Time
}

// New is an authority on the documents of st.
func New(st store.Store, dir *directory.Directory, clock func() time.Time) *Authority {
	return &Authority{docs: st, directory: dir, clock: clock}
}

// ParseScopes reads names separated by spaces, native or Zoom's (classic and
// granular); an unknown name is an error that lists what is known.
func ParseScopes(names string) (Scopes, error) { panic("unbuilt") }

// Authenticate finds the principal of an access token. Verified tokens are
// cached for at most 5 s; a cached answer allocates nothing.
func (a *Authority) Authenticate(ctx context.Context, token string) (*Principal, error) {
	panic("unbuilt")
}

// CreateApp makes an app and its secret, which is shown here and never again.
func (a *Authority) CreateApp(ctx context.Context, account presence.AccountID, name string, scopes Scopes) (App, string, error) {
	panic("unbuilt")
}
func (a *Authority) Apps(ctx context.Context, account presence.AccountID, after presence.AppID, limit int) ([]App, error) {
	panic("unbuilt")
}
func (a *Authority) App(ctx context.Context, account presence.AccountID, id presence.AppID) (App, error) {
	panic("unbuilt")
}

// DeleteApp removes an app; its tokens stop within 5 s.
func (a *Authority) DeleteApp(ctx context.Context, account presence.AccountID, id presence.AppID) error {
	panic("unbuilt")
}

// RotateSecret gives an app a new secret; the old one stops at once.
func (a *Authority) RotateSecret(ctx context.Context, account presence.AccountID, id presence.AppID) (string, error) {
	panic("unbuilt")
}

// Issue makes a token and returns its secret text. user "" makes an
// account-level token of the app; lasts 0 makes one that never expires.
func (a *Authority) Issue(ctx context.Context, account presence.AccountID, t Token, lasts time.Duration) (Token, string, error) {
	panic("unbuilt")
}
func (a *Authority) Tokens(ctx context.Context, account presence.AccountID, after string, limit int) ([]Token, error) {
	panic("unbuilt")
}

// Revoke ends a token by its id; it stops within 5 s on every node.
func (a *Authority) Revoke(ctx context.Context, account presence.AccountID, id string) error {
	panic("unbuilt")
}
