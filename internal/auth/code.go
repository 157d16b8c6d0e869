package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
)

// CodeLasts is how long an authorization code can be used.
const CodeLasts = 5 * time.Minute

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

type codeValue struct {
	oneTimeValue

	Redirect  string `json:"redirect_uri"`
	Named     bool   `json:"named_redirect_uri,omitempty"`
	Challenge string `json:"code_challenge,omitempty"`
}

var (
	errBadCode     = &GrantError{"The code is unknown or expired, or belongs to another app"}
	errBadRedirect = &GrantError{"redirect_uri is not that of the authorization request"}
	errBadVerifier = &GrantError{"code_verifier does not match the code_challenge of the authorization request"}
)

func authorizationCode() *oneTimeKind {
	return &oneTimeKind{name: "code", collection: "code", prefix: tokenPrefix + "code_", unknown: errBadCode}
}

// NewCode records the person's consent and makes a code that the app can exchange once.
func (a *Authority) NewCode(ctx context.Context, z *Authorization) (string, error) {
	if err := a.Consent(ctx, z.Account, z.User, z.App, z.Scopes); err != nil {
		return "", err
	}
	code, _, err := a.newOneTime(ctx, authorizationCode(), &codeValue{
		oneTimeValue: oneTimeValue{
			Format: document.Current(), Account: z.Account, User: z.User, App: z.App, Scopes: z.Scopes.String(), Expires: a.now().Add(CodeLasts),
		},
		Redirect: z.Redirect, Named: z.NamedRedirect, Challenge: z.Challenge,
	})
	return code, err
}

// RedeemCode uses a code up. redirect and verifier are as the app sent them, "" if it did
// not. A *GrantError, or a *ReuseError for a code that was used.
func (a *Authority) RedeemCode(ctx context.Context, app presence.AppID, code, redirect, verifier string) (*Access, error) {
	v := new(codeValue)
	return a.redeem(ctx, authorizationCode(), app, code, v, func() error { return a.checkCode(v, redirect, verifier) })
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
