package auth

import (
	"slices"

	"porchlight.dev/porchlight/internal/presence"
)

// A Revocation is why tokens of an account are valid no more: they were removed, their
// app or user was deleted, or the account was suspended or deleted. One of its fields is
// set beside Account and Why.
type Revocation struct {
	Account presence.AccountID
	Tokens  []string // ids
	Family  string   // see Token
	App     presence.AppID
	User    presence.UserID
	All     bool // the account's
	// Why a token that it ended is refused: ErrInvalidToken, or ErrSuspended.
	Why error
}

// Covers reports whether it ended the token of p.
func (r *Revocation) Covers(p *Principal) bool {
	if p.Account != r.Account {
		return false
	}
	switch {
	case r.All:
		return true
	case len(r.Tokens) > 0:
		return slices.Contains(r.Tokens, p.TokenID)
	case r.Family != "":
		return p.Family == r.Family
	case r.App != "":
		return p.App == r.App
	default:
		return !p.AccountLevel && p.User == r.User
	}
}

// OnRevoke has fn called after each revocation that was made here; those of other
// nodes show in Recheck only. Set it once, before anything is served. fn must not
// wait.
func (a *Authority) OnRevoke(fn func(*Revocation)) { a.onRevoke = fn }

// RevokeAccount reports that the tokens of an account are refused from now on: with
// ErrSuspended if it was suspended, or ErrInvalidToken if it was deleted.
func (a *Authority) RevokeAccount(account presence.AccountID, why error) {
	a.cache.invalidateAll()
	a.revoked(&Revocation{Account: account, All: true, Why: why})
}

func (a *Authority) revoked(r *Revocation) {
	if r.Why == nil {
		r.Why = ErrInvalidToken
	}
	if a.onRevoke != nil {
		a.onRevoke(r)
	}
}
