package zoomapi

import (
	"errors"
	"fmt"
	"net/http"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/wire"
)

// withRemedy adds what the operator can do about a refusal. Zoom's response is the same
// for several reasons, so only the access log shows which one it is.
func withRemedy(err error) error {
	switch {
	case errors.Is(err, presence.ErrSignedOut):
		return fmt.Errorf("%w: sign the user in, or set signed-in-rule to off", err)
	case errors.Is(err, presence.ErrTransition):
		return fmt.Errorf("%w: update the client, or set legacy-transitions to false", err)
	default:
		return err
	}
}

// putStatus is Zoom's "Update a user's presence status". It checks, in this order, the
// token, scope, account limit, body, user and permission. Then, inside the store's update,
// presence checks the rest.
func (a *API) putStatus(w http.ResponseWriter, r *http.Request) error {
	p, err := a.admit(w, r, &mayUpdate)
	if err != nil {
		return err
	}
	asked, err := readUpdate(w, r)
	if err != nil {
		return err
	}
	var buf [32]byte
	request, err := wire.Conditions(r, p, asked.appendTo(buf[:0]))
	if err != nil {
		return err
	}
	id, err := a.user(r, p)
	if err != nil {
		return err
	}
	if !p.MayFor(auth.ClaimWrite, id) {
		return a.refuse(r, p, id)
	}
	result, err := a.Publisher.Publish(r.Context(), store.User{Account: p.Account, ID: id}, p.Actor(), claimOf(p, asked, request))
	if err != nil {
		return withRemedy(err)
	}
	w.Header()["Etag"] = []string{wire.ETag(result.Revision())}
	if result.Answer != nil {
		w.Header()["Idempotency-Replayed"] = []string{"true"}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// claimOf is the claim that an update makes.
func claimOf(p *auth.Principal, asked update, request presence.Request) presence.SetClaim {
	request.Update = true
	claim := presence.SetClaim{
		Request: request, ID: presence.ManualClaim, Source: presence.Manual, Status: asked.status, Lasts: asked.lasts,
	}
	claim.App, claim.Via = p.Origin()
	return claim
}

// refuse returns the error for a missing permission, or for an unknown user, which takes
// precedence. Users of other accounts are unknown.
func (a *API) refuse(r *http.Request, p *auth.Principal, id presence.UserID) error {
	if _, _, err := a.Views.Read(r.Context(), p.Account, id, p); err != nil {
		return err
	}
	return wire.ErrPermission
}
