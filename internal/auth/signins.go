package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// How long a sign-in lasts.
const (
	// SignInLasts is when a sign-in ends at the latest.
	SignInLasts = 30 * 24 * time.Hour
	// SignInIdle is when a sign-in ends that is not used.
	SignInIdle = 14 * 24 * time.Hour
	// renewEvery is how exactly the last use of a sign-in is known: each is a write.
	renewEvery = time.Hour
	// maxSignIns bounds the sign-ins of a user. A new one ends the oldest.
	maxSignIns = 50
)

// A Browser is where a person signs in, as lists of sign-ins show it.
type Browser struct{ Name, Address string }

// SignIn makes the token of a person who has proved who they are: a sign-in. Its scopes
// follow the person's role while it lasts: at most for lasts, and SignInIdle after its last
// use. The text goes into a cookie.
func (a *Authority) SignIn(ctx context.Context, account presence.AccountID, user presence.UserID, from Browser, lasts time.Duration) (Token, string, error) {
	t := Token{App: SignInApp, User: user, Name: from.Name, Address: from.Address, SignIn: true}
	return a.Issue(ctx, account, t, lasts)
}

// SignIns are those of a user, the newest first. Expires is when each ends if it is not
// used any more; used is by id.
func (a *Authority) SignIns(ctx context.Context, account presence.AccountID, user presence.UserID) (all []Token, used map[string]time.Time, err error) {
	live, err := a.signIns(ctx, account, user)
	if err != nil || len(live) == 0 {
		return nil, nil, err
	}
	keys := make([]store.Key, len(live))
	for i := range live {
		keys[i] = secretKey(live[i].digest)
	}
	docs, err := a.docs.Load(ctx, system, keys...)
	if err != nil {
		return nil, nil, fmt.Errorf("list sign-ins: %w", err)
	}
	values := make(map[string]secretValue, len(docs))
	for i := range docs {
		var v secretValue
		if err := document.Decode(&docs[i], &v); err != nil {
			return nil, nil, err
		}
		values[v.ID] = v
	}
	used = make(map[string]time.Time, len(values))
	for i := range live {
		t := live[i].Token
		v, valid := values[t.ID]
		if !valid || !a.clock().Before(v.Expires) {
			continue
		}
		t.Expires, used[t.ID] = v.Expires, v.Used
		all = append(all, t)
	}
	slices.SortFunc(all, func(x, y Token) int { return y.Created.Compare(x.Created) })
	return all, used, nil
}

func (a *Authority) signIns(ctx context.Context, account presence.AccountID, user presence.UserID) ([]liveToken, error) {
	live, err := a.liveTokens(ctx, account, &Token{User: user})
	return slices.DeleteFunc(live, func(t liveToken) bool { return !t.SignIn }), err
}

// RevokeSignIns ends what a person has by signing in: the sign-ins, the logins of the command
// line with their refresh tokens, and the tokens that were made with either. except is the
// id of the token that stays; "" ends all. It returns how many tokens there were. What other
// apps have stays.
func (a *Authority) RevokeSignIns(ctx context.Context, account presence.AccountID, user presence.UserID, except string) (int, error) {
	live, err := a.liveTokens(ctx, account, &Token{User: user})
	if err != nil {
		return 0, err
	}
	live = slices.DeleteFunc(live, func(t liveToken) bool { return t.ID == except || !a.BuiltIn(t.App) })
	if err := a.RevokeGrant(ctx, account, user, CommandApp); err != nil && !errors.Is(err, ErrNoGrant) {
		return 0, err
	}
	return a.end(ctx, account, live)
}

// RevokeSignIn ends one sign-in of a user. ErrNoSuchSignIn if the user has no such sign-in.
func (a *Authority) RevokeSignIn(ctx context.Context, account presence.AccountID, user presence.UserID, id string) error {
	live, err := a.signIns(ctx, account, user)
	if err != nil {
		return err
	}
	live = slices.DeleteFunc(live, func(t liveToken) bool { return t.ID != id })
	if len(live) == 0 {
		return ErrNoSuchSignIn
	}
	_, err = a.end(ctx, account, live)
	return err
}

// end removes tokens.
func (a *Authority) end(ctx context.Context, account presence.AccountID, live []liveToken) (ended int, err error) {
	for batch := range slices.Chunk(live, store.MaxWrite) {
		docs := make([]store.Doc, 0, len(batch))
		for i := range batch {
			docs = append(docs, batch[i].doc)
		}
		if err := document.Again(func() error { return a.removeRemaining(ctx, account, docs) }); err != nil {
			return ended, fmt.Errorf("end sign-ins: %w", err)
		}
		ended += len(batch)
	}
	return ended, nil
}

// makeRoom ends the oldest sign-ins of a user who has too many for another one, so that a
// person can always sign in. It returns the tokens that remain.
func (a *Authority) makeRoom(ctx context.Context, account presence.AccountID, live []liveToken, most int) ([]liveToken, error) {
	signIns := slices.DeleteFunc(slices.Clone(live), func(t liveToken) bool { return !t.SignIn })
	over := max(len(live)-most, len(signIns)-maxSignIns) + 1
	if over <= 0 || len(signIns) == 0 {
		return live, nil
	}
	slices.SortFunc(signIns, func(x, y liveToken) int { return x.Created.Compare(y.Created) })
	oldest := signIns[:min(over, len(signIns))]
	_, err := a.end(ctx, account, oldest)
	return slices.DeleteFunc(live, func(t liveToken) bool {
		return slices.ContainsFunc(oldest, func(o liveToken) bool { return o.ID == t.ID })
	}), err
}

// idleEnd is when a sign-in ends that was used at v.Used for the last time.
func (v *secretValue) idleEnd() time.Time {
	if end := v.Used.Add(SignInIdle); end.Before(v.Ends) {
		return end
	}
	return v.Ends
}

// renewAt is when the next use of a sign-in is worth a write.
func (v *secretValue) renewAt() time.Time {
	if !v.SignIn || v.Used.IsZero() {
		return time.Time{}
	}
	return v.Used.Add(renewEvery)
}

// renewIfDue notes that a sign-in is used. What fails is tried at a later use.
func (a *Authority) renewIfDue(ctx context.Context, p *Principal, now time.Time) {
	if p.renewAt.IsZero() || now.Before(p.renewAt) {
		return
	}
	if err := a.renew(ctx, p); err == nil || errors.Is(err, store.ErrConflict) {
		a.cache.invalidate(&p.digest)
	}
}

func (a *Authority) renew(ctx context.Context, p *Principal) error {
	docs, err := a.docs.Load(ctx, system, secretKey(p.digest.hex()))
	if err != nil || len(docs) == 0 {
		return err
	}
	var v secretValue
	if err := document.Decode(&docs[0], &v); err != nil {
		return err
	}
	v.Used = a.now()
	v.Expires = v.idleEnd()
	return a.docs.Write(ctx, system, v.doc(p.digest.hex(), docs[0].Version))
}
