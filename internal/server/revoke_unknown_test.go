package server_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// lateWrites returns ErrUnknown, and applies the write later.
type lateWrites struct {
	store.Store
	late []func() error
	on   bool
}

func (s *lateWrites) Write(ctx context.Context, account presence.AccountID, docs ...store.Doc) error {
	if !s.on {
		return s.Store.Write(ctx, account, docs...)
	}
	s.late = append(s.late, func() error { return s.Store.Write(context.Background(), account, docs...) })
	return store.ErrUnknown
}

// TestRepeatedRevocation: a client that got no response to a revocation repeats it. The
// token is then invalid, even though it was used while the first revocation was in
// flight.
func TestRepeatedRevocation(t *testing.T) {
	runTokenTest(t, func(n *tokenNode) {
		h := n.open("ada@example.com")
		late := &lateWrites{Store: n.docs}
		a := auth.New(late, n.users, time.Now)
		a.OnlyWriter()
		revoke := func() error {
			return a.RevokeByText(n.Context(), n.app.ID, h.text)
		}
		late.on = true
		if err := revoke(); !errors.Is(err, store.ErrUnknown) {
			n.Fatal(err)
		}
		_, err := a.Authenticate(n.Context(), h.text) // cached before the write is applied
		n.check(err)
		late.on = false
		for _, write := range late.late {
			n.check(write())
		}
		if err := revoke(); errors.Is(err, store.ErrUnknown) { // ErrNoSuchToken is a success
			n.Fatal(err)
		}
		if _, err := a.Authenticate(n.Context(), h.text); !errors.Is(err, auth.ErrInvalidToken) {
			n.Errorf("the revoked token: %v", err)
		}
	})
}
