package signin_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"testing"

	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/signin"
	"porchlight.dev/porchlight/internal/store"
)

// A pausedStore does something when the users of an address are read, which a sign-in does
// after it checked the password.
type pausedStore struct {
	store.Store

	meanwhile func()
}

func (s *pausedStore) Load(ctx context.Context, account presence.AccountID, keys ...store.Key) ([]store.Doc, error) {
	if do := s.meanwhile; do != nil && keys[0].Collection == "sign-in-email" {
		s.meanwhile = nil
		do()
	}
	return s.Store.Load(ctx, account, keys...)
}

// TestResetWhileSigningIn: a reset ends what the old password gives, also if it comes
// between the check of the password and the sign-in.
func TestResetWhileSigningIn(t *testing.T) {
	s := newSite(t, nil)
	paused := &pausedStore{Store: s.store}
	registry := signin.New(signin.Options{
		Store: paused, Directory: s.Directory, Authority: s.Authority, Audit: audit.New(s.store, s.Now), Clock: s.Now,
		Log: slog.New(slog.DiscardHandler), Params: signin.Params{MemoryKiB: 64, Passes: 1, Lanes: 1},
	})
	from := signin.From{Network: netip.MustParsePrefix("192.0.2.1/32")}
	choose := func(password string) {
		s.Advance(1)
		secret, _, err := registry.Invite(t.Context(), s.account, s.owner.ID, signin.Reset, true, audit.Actor{})
		apptest.Check(t, err)
		_, err = registry.Accept(t.Context(), secret, password, &from)
		apptest.Check(t, err)
	}
	signIn := func() (*signin.SignedIn, error) {
		return registry.SignIn(t.Context(), &signin.Attempt{Email: "owner@example.com", Password: "correct horse battery", Account: s.account, From: from})
	}
	choose("correct horse battery")
	_, err := signIn()
	apptest.Check(t, err)
	paused.meanwhile = func() { choose("another horse battery") }
	if _, err := signIn(); !errors.Is(err, signin.ErrRefused) {
		t.Errorf("signed in with a password that was replaced: %v", err)
	}
	all, _, err := s.Authority.SignIns(t.Context(), s.account, s.owner.ID)
	apptest.Check(t, err)
	if len(all) != 1 { // of the link
		t.Errorf("%d sign-ins", len(all))
	}
}
