package auth_test

import (
	"context"
	"errors"
	"testing"
	"time"

	. "porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// A laggingStore is the store of a node whose replica may be behind: it then has only what the
// node read before, until the node writes, or asks for a strong read.
type laggingStore struct {
	store.Store
	read   map[string][]store.Doc
	behind bool
}

func (s *laggingStore) Load(ctx context.Context, account presence.AccountID, keys ...store.Key) (all []store.Doc, err error) {
	for _, k := range keys {
		name := string(account) + " " + k.Collection + " " + k.Key
		if !s.behind {
			if s.read[name], err = s.Store.Load(ctx, account, k); err != nil {
				return nil, err
			}
		}
		all = append(all, s.read[name]...)
	}
	return all, nil
}

func (s *laggingStore) Read(ctx context.Context, us []store.User, fresh store.Freshness) ([]store.Record, store.Cursor, error) {
	s.behind = s.behind && !fresh.Strong
	return s.Store.Read(ctx, us, fresh)
}

func (s *laggingStore) Write(ctx context.Context, account presence.AccountID, docs ...store.Doc) error {
	s.behind = false
	return s.Store.Write(ctx, account, docs...)
}

// TestIssuedByAnotherNode: a node accepts what another one has just issued, although its replica
// does not have it yet.
func TestIssuedByAnotherNode(t *testing.T) {
	f := newFixture(t)
	docs := &laggingStore{Store: f.docs, read: make(map[string][]store.Doc)}
	there := New(docs, directory.New(docs, f.clock.Now), f.clock.Now)
	ctx := t.Context()
	for name, issue := range map[string]func() (use func() error){
		"an access token": func() func() error {
			_, text := f.people.Token(f.account, f.app.ID, f.ann.ID, "presence:read", time.Hour)
			return func() error { _, err := there.Authenticate(ctx, text); return err }
		},
		"an access token that the app revokes": func() func() error {
			_, text := f.people.Token(f.account, f.app.ID, f.ann.ID, "presence:read", time.Hour)
			return func() error { return there.RevokeByText(ctx, f.app.ID, text) }
		},
		"a ticket": func() func() error {
			_, text := f.people.Token(f.account, f.app.ID, f.ann.ID, "presence:read", time.Hour)
			p, err := f.Authenticate(ctx, text)
			check(t, err)
			ticket, _, err := f.NewTicket(ctx, p)
			check(t, err)
			return func() error { _, err := there.Redeem(ctx, ticket); return err }
		},
		"an authorization code": func() func() error {
			code := f.code(t, "presence:read")
			return func() error { _, err := there.RedeemCode(ctx, f.app.ID, code, redirect, verifier); return err }
		},
		"the code that a device shows": func() func() error {
			made, err := f.NewDeviceCode(ctx, f.account, f.app.ID, scopes(t, "presence:read"))
			check(t, err)
			return func() error { _, err := there.DeviceRequest(ctx, f.account, made.User); return err }
		},
		"a refresh token": func() func() error {
			got := f.access(t, "presence:read")
			return func() error { _, err := there.Refresh(ctx, f.app.ID, got.Refresh, all); return err }
		},
		"the next refresh token": func() func() error {
			first := f.access(t, "presence:read")
			second, err := there.Refresh(ctx, f.app.ID, first.Refresh, all)
			check(t, err)
			third, err := f.refresh(t, second.Refresh)
			check(t, err)
			fourth, err := f.refresh(t, third.Refresh)
			check(t, err)
			return func() error { _, err := there.Refresh(ctx, f.app.ID, fourth.Refresh, all); return err }
		},
		"the secret of an app": func() func() error {
			app, secret := f.newApp(t, f.account, "presence:read")
			return func() error { _, _, err := there.AuthenticateClient(ctx, app.ID, secret); return err }
		},
		"a public app": func() func() error {
			app, _, err := f.AddApp(ctx, f.account, App{Name: "Phone", Scopes: scopes(t, "presence:read"), Public: true})
			check(t, err)
			return func() error { _, _, err := there.FindClient(ctx, app.ID); return err }
		},
	} {
		t.Run(name, func(t *testing.T) {
			use := issue()
			docs.behind = true
			if err := use(); err != nil {
				t.Error(err)
			}
		})
	}
	for name, c := range map[string]struct {
		use  func() error
		want error
	}{
		"an unknown token":  {func() error { _, err := there.Authenticate(ctx, f.code(t, "presence:read")); return err }, ErrInvalidToken},
		"an unknown ticket": {func() error { _, err := there.Redeem(ctx, "0123456789012345678901234567890123456789012"); return err }, ErrTicket},
		"a wrong secret":    {func() error { _, _, err := there.AuthenticateClient(ctx, f.app.ID, "wrong"); return err }, ErrBadClient},
	} {
		docs.behind = true
		if err := c.use(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
