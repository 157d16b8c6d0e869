package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// CodeLasts is how long an authorization code can be used.
const CodeLasts = 5 * time.Minute

const (
	codePrefix = tokenPrefix + "code_"
	codeLen    = len(codePrefix) + secretLen
)

// An Authorization is what a person allows an app that asked through the browser.
type Authorization struct {
	Account presence.AccountID
	User    presence.UserID
	App     presence.AppID
	Scopes  Scopes
	// Redirect is where the code is sent. NamedRedirect: the app named it, and did not rely
	// on its only one; it must then name it again.
	Redirect      string
	NamedRedirect bool
	// Challenge is of PKCE with S256; "": the app, which has a secret, does not use it.
	Challenge string
}

// A codeValue is a document of the system whose key is the digest of an authorization code.
// It remains for a day after it was used, so that a second use can be told from a mistake
// and ends the tokens of the first.
type codeValue struct {
	document.Format
	Account   presence.AccountID `json:"account"`
	User      presence.UserID    `json:"user"`
	App       presence.AppID     `json:"app"`
	Scopes    string             `json:"scopes"`
	Redirect  string             `json:"redirect_uri"`
	Named     bool               `json:"named_redirect_uri,omitempty"`
	Challenge string             `json:"code_challenge,omitempty"`
	Expires   time.Time          `json:"expires"`
	Family    string             `json:"family_sha256,omitempty"` // once it was used
}

func codeKey(digest string) store.Key { return store.Key{Collection: "code", Key: digest} }

var (
	errBadCode     = &GrantError{"The code is unknown or expired, or belongs to another app"}
	errBadRedirect = &GrantError{"redirect_uri is not that of the authorization request"}
	errBadVerifier = &GrantError{"code_verifier does not match the code_challenge of the authorization request"}
)

// NewCode records the person's consent and makes a code that the app can exchange once.
func (a *Authority) NewCode(ctx context.Context, z *Authorization) (string, error) {
	if err := a.Consent(ctx, z.Account, z.User, z.App, z.Scopes); err != nil {
		return "", err
	}
	code := codePrefix + newSecret()
	v := codeValue{
		Format: document.Current(), Account: z.Account, User: z.User, App: z.App, Scopes: z.Scopes.String(),
		Redirect: z.Redirect, Named: z.NamedRedirect, Challenge: z.Challenge, Expires: a.now().Add(CodeLasts),
	}
	if err := a.docs.Write(ctx, system, v.doc(digestOf(code).hex(), "")); err != nil {
		return "", fmt.Errorf("make a code: %w", err)
	}
	return code, nil
}

func (v *codeValue) doc(digest, version string) store.Doc {
	doc := document.New(codeKey(digest), version, *v)
	doc.Until = v.Expires
	if v.Family != "" {
		doc.Until = v.Expires.Add(knownAfter)
	}
	return doc
}

// RedeemCode uses a code up. redirect and verifier are as the app sent them, "" if it did
// not. A *GrantError, or a *ReuseError for a code that was used.
func (a *Authority) RedeemCode(ctx context.Context, app presence.AppID, code, redirect, verifier string) (*Access, error) {
	if len(code) != codeLen || !strings.HasPrefix(code, codePrefix) {
		return nil, errBadCode
	}
	digest := digestOf(code).hex()
	v, doc, err := a.code(ctx, digest)
	if err != nil {
		return nil, err
	}
	if v.App != app {
		return nil, errBadCode
	}
	if v.Family != "" {
		return nil, a.reusedCode(ctx, v)
	}
	if err := a.checkCode(v, redirect, verifier); err != nil {
		return nil, err
	}
	f := &familyValue{Account: v.Account, App: v.App, User: v.User, Scopes: v.Scopes}
	return a.exchange(ctx, f, func(family string) error {
		v.Family = family
		return a.docs.Write(ctx, system, v.doc(digest, doc.Version))
	}, func() error {
		if v, _, err = a.code(ctx, digest); err != nil {
			return err
		}
		return a.reusedCode(ctx, v)
	})
}

// exchange begins a family for what can be used once, and marks that as used. Of
// concurrent calls one succeeds; the others call lost, which gives their error. The family
// is there before it is named, so that whoever finds it named can end it.
func (a *Authority) exchange(ctx context.Context, f *familyValue, mark func(family string) error, lost func() error) (*Access, error) {
	scopes, err := a.familyScopes(ctx, f)
	if err != nil {
		return nil, err
	}
	id, refresh, err := a.beginFamily(ctx, f)
	if err != nil {
		return nil, err
	}
	if err := mark(id); err != nil {
		if errors.Is(err, store.ErrConflict) {
			err = lost()
		}
		return nil, errors.Join(err, a.endFamily(ctx, f.Account, f.User, id))
	}
	return a.access(ctx, f, id, refresh, scopes)
}

func (a *Authority) code(ctx context.Context, digest string) (*codeValue, *store.Doc, error) {
	docs, err := a.docs.Load(ctx, system, codeKey(digest))
	if err != nil {
		return nil, nil, fmt.Errorf("read code: %w", err)
	}
	if len(docs) == 0 {
		return nil, nil, errBadCode
	}
	v := new(codeValue)
	return v, &docs[0], document.Decode(&docs[0], v)
}

func (a *Authority) checkCode(v *codeValue, redirect, verifier string) error {
	switch {
	case !a.clock().Before(v.Expires):
		return errBadCode
	case redirect != v.Redirect && (v.Named || redirect != ""):
		return errBadRedirect
	case v.Challenge == "" && verifier == "":
		return nil
	case !verifies(v.Challenge, verifier):
		return errBadVerifier
	default:
		return nil
	}
}

func (a *Authority) reusedCode(ctx context.Context, v *codeValue) error {
	reuse := &ReuseError{What: "code", Account: v.Account, User: v.User, App: v.App}
	return errors.Join(reuse, a.endFamily(ctx, v.Account, v.User, v.Family))
}

// verifies reports whether a challenge is that of a verifier (RFC 7636 §4.6). A verifier
// without a challenge is wrong: somebody may have removed it (RFC 9700 §4.8).
func verifies(challenge, verifier string) bool {
	if challenge == "" || !CheckVerifier(verifier) {
		return false
	}
	sum := sha256.Sum256([]byte(verifier))
	made := base64.RawURLEncoding.EncodeToString(sum[:])
	return subtle.ConstantTimeCompare([]byte(made), []byte(challenge)) == 1
}

// CheckVerifier reports whether text can be a code_verifier (RFC 7636 §4.1).
func CheckVerifier(text string) bool {
	if len(text) < 43 || len(text) > 128 {
		return false
	}
	return strings.Trim(text, secretAlphabet+".~") == ""
}

// CheckChallenge reports whether text can be a code_challenge of S256.
func CheckChallenge(text string) bool {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return err == nil && len(raw) == sha256.Size
}
