package auth

import (
	"encoding/json"
	"slices"

	"porchlight.dev/porchlight/internal/presence"
)

// A Revocation is why tokens of an account are no longer valid: they were removed, their app
// or user was deleted, or the account was suspended or deleted. It covers either the tokens
// that it lists, or those of one field that is set beside Account and Why.
type Revocation struct {
	Account presence.AccountID
	Family  string // see Token
	App     presence.AppID
	User    presence.UserID
	All     bool // the account's
	// Why a token that it ended is refused: ErrInvalidToken, or ErrSuspended.
	Why error

	tokens []digest
}

// Covers reports whether it ended the token of p.
func (r *Revocation) Covers(p *Principal) bool {
	if len(r.tokens) > 0 {
		return slices.Contains(r.tokens, p.digest)
	}
	if p.Account != r.Account {
		return false
	}
	switch {
	case r.All:
		return true
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

// OnChange has fn called with each revocation, and with each other change here that makes what
// other nodes cache of tokens stale: they are to call Forget with it. The tokens that such a
// change covers may still be valid. Set it once, before anything is served. fn must not wait.
func (a *Authority) OnChange(fn func(*Revocation)) { a.onChange = fn }

func (a *Authority) announce(r *Revocation) {
	if a.onChange != nil {
		a.onChange(r)
	}
}

// announceIssued makes other nodes accept at once what was issued here. The message covers no
// token: its position alone makes their next read new enough (see store.Messenger).
func (a *Authority) announceIssued() { a.announce(new(Revocation)) }

// Forget evicts the tokens that a change on another node covers from the cache.
func (a *Authority) Forget(r *Revocation) { a.cache.evict(r) }

// CoversAny reports whether r may cover a token.
func (r *Revocation) CoversAny() bool {
	return len(r.tokens) > 0 || r.All || r.Family != "" || r.App != "" || r.User != ""
}

// A revocationMessage is a Revocation as other nodes get it.
type revocationMessage struct {
	Account presence.AccountID `json:"account,omitempty"`
	Digests []string           `json:"sha256,omitempty"` // of tokens
	Family  string             `json:"family_sha256,omitempty"`
	App     presence.AppID     `json:"app,omitempty"`
	User    presence.UserID    `json:"user,omitempty"`
	All     bool               `json:"all,omitempty"`
}

// MarshalJSON encodes r for other nodes. They read the reason from the store.
func (r *Revocation) MarshalJSON() ([]byte, error) {
	m := revocationMessage{Account: r.Account, Family: r.Family, App: r.App, User: r.User, All: r.All}
	for i := range r.tokens {
		m.Digests = append(m.Digests, r.tokens[i].hex())
	}
	return json.Marshal(m)
}

// UnmarshalJSON decodes what MarshalJSON encoded.
func (r *Revocation) UnmarshalJSON(b []byte) error {
	var m revocationMessage
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	*r = Revocation{Account: m.Account, Family: m.Family, App: m.App, User: m.User, All: m.All}
	for _, text := range m.Digests {
		r.tokens = append(r.tokens, digestOfHex(text))
	}
	return nil
}

// RevokeAccount reports that the tokens of an account are refused from now on: with
// ErrSuspended if it was suspended, or ErrInvalidToken if it was deleted.
func (a *Authority) RevokeAccount(account presence.AccountID, why error) {
	r := &Revocation{Account: account, All: true, Why: why}
	a.cache.evict(r)
	a.revoked(r)
}

func (a *Authority) revoked(r *Revocation) {
	if r.Why == nil {
		r.Why = ErrInvalidToken
	}
	if a.onRevoke != nil {
		a.onRevoke(r)
	}
	a.announce(r)
}
