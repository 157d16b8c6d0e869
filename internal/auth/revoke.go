package auth

import (
	"slices"

	"porchlight.dev/porchlight/internal/presence"
)

// A Revocation is why tokens of an account are valid no more: they were removed, or
// their app or user was deleted. One of its fields is set beside Account.
type Revocation struct {
	Account presence.AccountID
	Tokens  []string // ids
	App     presence.AppID
	User    presence.UserID
}

// Covers reports whether it ended the token of p.
func (r *Revocation) Covers(p *Principal) bool {
	if p.Account != r.Account {
		return false
	}
	switch {
	case len(r.Tokens) > 0:
		return slices.Contains(r.Tokens, p.TokenID)
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

func (a *Authority) revoked(r *Revocation) {
	if a.onRevoke != nil {
		a.onRevoke(r)
	}
}
