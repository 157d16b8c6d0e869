package auth

import (
	"context"
	"fmt"
	"time"

	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// A Token as lists show it: never the secret.
type Token struct {
	ID      string
	App     presence.AppID
	User    presence.UserID // "" for an account-level token
	Scopes  Scopes
	Name    string
	Created time.Time
	Expires time.Time // zero: never
	Granted bool      // by the token endpoint
	SignIn  bool      // of a person in a browser; Scopes is then empty, and follows the role
	Family  string    // of the tokens that follow from a person's consent, or ""
	Address string    // of the browser, for a sign-in
}

// knownAfter is how long an expired token is distinguished from an unknown one.
const knownAfter = 24 * time.Hour

// A secretValue is a document of the system whose key is the digest of a token:
// it makes the token valid. A tokenValue, of the token's account, lists it. The
// list is written first and removed last, so that what is valid can be revoked.
type secretValue struct {
	document.Format
	ID      string             `json:"id"`
	Account presence.AccountID `json:"account"`
	App     presence.AppID     `json:"app"`
	User    presence.UserID    `json:"user,omitempty"`
	Scopes  string             `json:"scopes"`
	Expires time.Time          `json:"expires,omitzero"`
	SignIn  bool               `json:"sign_in,omitempty"`
	Family  string             `json:"family_sha256,omitempty"`
	// Used is when a sign-in was last used, to renewEvery. Ends is when it ends, however
	// much it is used.
	Used time.Time `json:"used,omitzero"`
	Ends time.Time `json:"ends,omitzero"`
}

type tokenValue struct {
	document.Format
	Digest  string          `json:"sha256"`
	App     presence.AppID  `json:"app"`
	User    presence.UserID `json:"user,omitempty"`
	Scopes  string          `json:"scopes"`
	Name    string          `json:"name,omitempty"`
	Created time.Time       `json:"created"`
	Expires time.Time       `json:"expires,omitzero"`
	Granted bool            `json:"granted,omitempty"`
	SignIn  bool            `json:"sign_in,omitempty"`
	Family  string          `json:"family_sha256,omitempty"`
	Address string          `json:"address,omitempty"`
}

func secretKey(digest string) store.Key { return store.Key{Collection: "secret", Key: digest} }
func tokenKey(id string) store.Key      { return store.Key{Collection: "token", Key: id} }

// Issue makes a token of t.App and returns its secret text, which is shown here
// and never again. t.User "" makes an account-level token of the app; lasts 0
// makes one that never expires. ErrNoApp, directory.ErrNoUser,
// presence.ErrDeactivated, ErrSuspended, ErrScope for what the app may not do itself, or a
// quota.Error if there are too many.
func (a *Authority) Issue(ctx context.Context, account presence.AccountID, t Token, lasts time.Duration) (Token, string, error) {
	if err := a.checkToken(ctx, account, &t, lasts); err != nil {
		return Token{}, "", err
	}
	done, err := a.admitToken(ctx, account, &t)
	if err != nil {
		return Token{}, "", err
	}
	defer done()
	t.ID, t.Created, t.Expires = newTokenID(&t), a.now(), time.Time{}
	if lasts > 0 {
		t.Expires = t.Created.Add(lasts)
	}
	text := newToken()
	d, _ := tokenDigest(text)
	if err := a.docs.Write(ctx, account, t.doc(d.hex())); err != nil {
		return Token{}, "", fmt.Errorf("issue token: %w", err)
	}
	if err := a.docs.Write(ctx, system, t.secretDoc(account, d.hex())); err != nil {
		return Token{}, "", fmt.Errorf("issue token: %w", err)
	}
	a.announceIssued()
	return t, text, nil
}

func (a *Authority) checkToken(ctx context.Context, account presence.AccountID, t *Token, lasts time.Duration) error {
	var err error
	if t.Name, err = nameOf(t.Name, false); err != nil {
		return err
	}
	if lasts < 0 {
		return &presence.FieldError{Field: "expires", Reason: "must be in the future"}
	}
	if err := a.checkAccount(ctx, account); err != nil {
		return err
	}
	app, err := a.App(ctx, account, t.App)
	if err != nil {
		return err
	}
	if !t.Scopes.Within(app.Scopes) {
		return ErrScope
	}
	if t.User == "" {
		if _, builtIn := a.builtIn(t.App); builtIn {
			return ErrNoApp // it acts for people alone
		}
		return nil
	}
	u, err := a.directory.User(ctx, account, t.User)
	if err == nil && !u.Active {
		return presence.ErrDeactivated
	}
	return err
}

// checkAccount refuses a suspended account, and one that is not there.
func (a *Authority) checkAccount(ctx context.Context, account presence.AccountID) error {
	found, err := a.directory.Account(ctx, account)
	if err == nil && found.Suspended {
		return ErrSuspended
	}
	return err
}

// Tokens pages through the account's tokens that have not expired by id: those
// above after, at most limit.
func (a *Authority) Tokens(ctx context.Context, account presence.AccountID, after string, limit int) ([]Token, error) {
	docs, err := a.docs.List(ctx, account, "token", after, limit)
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	return document.All(docs, func(doc *store.Doc) (Token, error) {
		t, _, err := a.tokenOf(doc)
		return t, err
	})
}

// Revoke ends a token by its id: at once here, within MaxStale on other nodes.
// ErrNoSuchToken if there is none.
func (a *Authority) Revoke(ctx context.Context, account presence.AccountID, id string) error {
	if presence.CheckID("id", id) != nil {
		return ErrNoSuchToken
	}
	return document.Again(func() error {
		docs, err := a.docs.Load(ctx, account, tokenKey(id))
		if err != nil {
			return fmt.Errorf("revoke token %s: %w", id, err)
		}
		if len(docs) == 0 {
			return ErrNoSuchToken
		}
		if err := a.remove(ctx, account, docs); err != nil {
			return fmt.Errorf("revoke token %s: %w", id, err)
		}
		return nil
	})
}

// A TokenFilter selects tokens of a user, of an app, or of an app for a user.
type TokenFilter struct {
	User presence.UserID // "": any, and tokens that act for no user
	App  presence.AppID  // "": any
}

// Matches reports whether f selects the tokens of an app for a user, or for itself.
func (f *TokenFilter) Matches(user presence.UserID, app presence.AppID) bool {
	return (f.User == "" || f.User == user) && (f.App == "" || f.App == app)
}

// revocation covers the tokens that f selects, and perhaps others of the same user.
func (f *TokenFilter) revocation(account presence.AccountID) *Revocation {
	if f.User != "" {
		return &Revocation{Account: account, User: f.User}
	}
	return &Revocation{Account: account, App: f.App, All: f.App == ""}
}

// TokensOf are all tokens of a user that have not expired, by id.
func (a *Authority) TokensOf(ctx context.Context, account presence.AccountID, user presence.UserID) ([]Token, error) {
	live, err := a.liveTokens(ctx, account, &Token{User: user})
	tokens := make([]Token, len(live))
	for i := range live {
		tokens[i] = live[i].Token
	}
	return tokens, err
}

// RevokeTokens ends all tokens that f selects, sign-ins among them, and returns how many.
// The grants of apps that f selects end too, or their refresh tokens would bring new ones.
func (a *Authority) RevokeTokens(ctx context.Context, account presence.AccountID, f TokenFilter) (ended int, err error) {
	// Also tokens that are not found: an earlier attempt may have succeeded without an answer.
	defer a.cache.evict(f.revocation(account))
	ended, err = a.sweep(ctx, account, func(t *Token) bool { return f.Matches(t.User, t.App) })
	if err != nil {
		return ended, fmt.Errorf("revoke tokens: %w", err)
	}
	prefix := ""
	if f.User != "" {
		prefix = grantPrefix(f.User)
	}
	if err := a.revokeGrants(ctx, account, prefix, func(v *grantValue) bool { return f.Matches(v.User, v.App) }); err != nil {
		return ended, fmt.Errorf("revoke grants: %w", err)
	}
	return ended, nil
}

// RevokeUser ends every token of a user who was deleted or deactivated. A reactivation
// does not restore them.
func (a *Authority) RevokeUser(ctx context.Context, account presence.AccountID, user presence.UserID) error {
	_, err := a.RevokeTokens(ctx, account, TokenFilter{User: user})
	a.revoked(&Revocation{Account: account, User: user}) // what has ended, ends everywhere
	if err != nil {
		return fmt.Errorf("user %s: %w", user, err)
	}
	return nil
}

// RevokeBeyond ends the tokens that were made for a user and allow more than a role does.
// Those of sign-ins and grants follow the role by themselves.
func (a *Authority) RevokeBeyond(ctx context.Context, account presence.AccountID, user presence.UserID, role directory.Role) error {
	most := a.ScopesOf(role)
	_, err := a.sweep(ctx, account, func(t *Token) bool { return t.User == user && !t.Scopes.Within(most) && !t.SignIn && t.Family == "" })
	if err != nil {
		return fmt.Errorf("revoke the tokens of user %s: %w", user, err)
	}
	return nil
}

// RevokeByText ends a token of an app by its text, with the tokens of its family.
func (a *Authority) RevokeByText(ctx context.Context, app presence.AppID, text string) error {
	d, ok := tokenDigest(text)
	if !ok {
		return ErrNoSuchToken
	}
	// Even if it does not exist: an earlier revocation may have been made without an answer.
	defer func() {
		a.cache.invalidate(&d)
		a.announce(&Revocation{tokens: []digest{d}})
	}()
	return document.Again(func() error {
		doc, err := a.find(ctx, secretKey(d.hex()), ErrNoSuchToken)
		if err != nil {
			return err
		}
		var v secretValue
		if err := document.Decode(doc, &v); err != nil {
			return err
		}
		if v.App != app {
			return ErrNoSuchToken
		}
		if v.Family != "" {
			return a.endFamily(ctx, v.Account, v.User, v.Family)
		}
		if err := a.docs.Write(ctx, system, document.Deletion(doc)); err != nil {
			return fmt.Errorf("revoke token: %w", err)
		}
		a.revoked(&Revocation{Account: v.Account, tokens: []digest{d}})
		listed, err := a.docs.Load(ctx, v.Account, tokenKey(v.ID))
		if err == nil {
			err = a.remove(ctx, v.Account, listed)
		}
		return err
	})
}

// sweep removes the tokens of an account that match, and returns how many.
func (a *Authority) sweep(ctx context.Context, account presence.AccountID, match func(*Token) bool) (ended int, err error) {
	for after, more := "", true; more; {
		err := document.Again(func() error {
			docs, err := a.docs.List(ctx, account, "token", after, store.MaxWrite)
			if err != nil {
				return err
			}
			matching, err := a.filter(docs, match)
			if err != nil {
				return err
			}
			if err := a.remove(ctx, account, matching); err != nil {
				return err
			}
			ended += len(matching)
			if more = len(docs) > 0; more {
				after = docs[len(docs)-1].Key.Key
			}
			return nil
		})
		if err != nil {
			return ended, err
		}
	}
	return ended, nil
}

func (a *Authority) filter(docs []store.Doc, match func(*Token) bool) ([]store.Doc, error) {
	var matching []store.Doc
	for i := range docs {
		t, _, err := a.tokenOf(&docs[i])
		if err != nil {
			return nil, err
		}
		if match(&t) {
			matching = append(matching, docs[i])
		}
	}
	return matching, nil
}

// remove ends the tokens that are listed in documents of their account, at most
// store.MaxWrite: what makes them valid first.
func (a *Authority) remove(ctx context.Context, account presence.AccountID, listed []store.Doc) error {
	if len(listed) == 0 {
		return nil
	}
	keys, deletions := make([]store.Key, 0, len(listed)), make([]store.Doc, 0, len(listed))
	revocation := &Revocation{Account: account}
	for i := range listed {
		_, hex, err := a.tokenOf(&listed[i])
		if err != nil {
			return err
		}
		d := digestOfHex(hex)
		defer a.cache.invalidate(&d)
		keys = append(keys, secretKey(hex))
		deletions = append(deletions, document.Deletion(&listed[i]))
		revocation.tokens = append(revocation.tokens, d)
	}
	secrets, err := a.docs.Load(ctx, system, keys...)
	if err != nil {
		return err
	}
	for i := range secrets {
		secrets[i] = document.Deletion(&secrets[i])
	}
	if len(secrets) > 0 {
		if err := a.docs.Write(ctx, system, secrets...); err != nil {
			a.announce(revocation) // it may have been stored
			return err
		}
	}
	a.revoked(revocation)
	return a.docs.Write(ctx, account, deletions...)
}

func (t *Token) doc(digest string) store.Doc {
	doc := document.New(tokenKey(t.ID), "", tokenValue{
		Format: document.Current(), Digest: digest, App: t.App, User: t.User, Scopes: t.Scopes.String(),
		Name: t.Name, Created: t.Created, Expires: t.Expires, Granted: t.Granted, SignIn: t.SignIn, Family: t.Family, Address: t.Address,
	})
	doc.Until = t.Expires
	return doc
}

func (t *Token) secretDoc(account presence.AccountID, digest string) store.Doc {
	v := secretValue{
		Format: document.Current(), ID: t.ID, Account: account, App: t.App, User: t.User,
		Scopes: t.Scopes.String(), Expires: t.Expires, SignIn: t.SignIn, Family: t.Family,
	}
	if t.SignIn {
		v.Used, v.Ends = t.Created, t.Expires
		v.Expires = v.idleEnd()
	}
	return v.doc(digest, "")
}

func (v *secretValue) doc(digest, version string) store.Doc {
	doc := document.New(secretKey(digest), version, *v)
	if !v.Expires.IsZero() {
		doc.Until = v.Expires.Add(knownAfter)
	}
	return doc
}

func (a *Authority) tokenOf(doc *store.Doc) (Token, string, error) {
	var v tokenValue
	if err := document.Decode(doc, &v); err != nil {
		return Token{}, "", err
	}
	scopes, _ := a.scopes.read(v.Scopes) // a name that is not known here allows nothing
	t := Token{ID: doc.Key.Key, App: v.App, User: v.User, Scopes: scopes, Name: v.Name, Created: v.Created, Expires: v.Expires, Granted: v.Granted, SignIn: v.SignIn, Family: v.Family, Address: v.Address}
	return t, v.Digest, nil
}
