package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/store"
)

// systemPrefix begins the text of a system token. It is longer than the prefix of access
// tokens, so that neither kind is ever taken for the other, and scanners find both.
const systemPrefix = tokenPrefix + "sys_"

// A SystemToken lets an operator manage the accounts of the server. It is no access token:
// no account's routes accept it, and no access token is accepted in its place.
type SystemToken struct {
	ID      string
	Name    string
	Created time.Time
	Expires time.Time // zero: never
}

// ErrSystemToken is the ErrInvalidToken of routes that accept only system tokens.
var ErrSystemToken = fmt.Errorf("%w: only a valid system token is accepted here", ErrInvalidToken)

// A systemTokenValue is a document of the system, whose key is the digest of the token.
type systemTokenValue struct {
	document.Format
	ID      string    `json:"id"`
	Name    string    `json:"name,omitempty"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"`
}

const systemTokenCollection = "system-token"

// IssueSystem makes a system token and returns its text, which is shown here and never
// again. lasts 0 makes one that never expires.
func (a *Authority) IssueSystem(ctx context.Context, name string, lasts time.Duration) (SystemToken, string, error) {
	name, err := nameOf(name, false)
	if err != nil {
		return SystemToken{}, "", err
	}
	text := systemPrefix + newSecret()
	t := SystemToken{ID: newTokenID(&Token{App: systemTokenCollection}), Name: name, Created: a.now()}
	if lasts > 0 {
		t.Expires = t.Created.Add(lasts)
	}
	doc := document.New(systemTokenKey(text), "", systemTokenValue{document.Current(), t.ID, t.Name, t.Created, t.Expires})
	doc.Until = t.Expires
	if err := a.docs.Write(ctx, system, doc); err != nil {
		return SystemToken{}, "", fmt.Errorf("issue system token: %w", err)
	}
	return t, text, nil
}

func systemTokenKey(text string) store.Key {
	d := digest(sha256.Sum256([]byte(text)))
	return store.Key{Collection: systemTokenCollection, Key: d.hex()}
}

// AuthenticateSystem finds a system token by its text, or answers ErrNoToken or
// ErrSystemToken. Nothing is cached: a revocation holds at once on every node.
func (a *Authority) AuthenticateSystem(ctx context.Context, text string) (SystemToken, error) {
	switch {
	case text == "":
		return SystemToken{}, ErrNoToken
	case len(text) != len(systemPrefix)+secretLen, !strings.HasPrefix(text, systemPrefix):
		return SystemToken{}, ErrSystemToken
	}
	docs, err := a.docs.Load(ctx, system, systemTokenKey(text))
	if err != nil {
		return SystemToken{}, fmt.Errorf("read system token: %w", err)
	}
	if len(docs) == 0 {
		return SystemToken{}, ErrSystemToken
	}
	t, err := systemTokenOf(&docs[0])
	if err == nil && !t.Expires.IsZero() && !a.clock().Before(t.Expires) {
		err = ErrSystemToken
	}
	return t, err
}

func systemTokenOf(doc *store.Doc) (SystemToken, error) {
	var v systemTokenValue
	if err := document.Decode(doc, &v); err != nil {
		return SystemToken{}, err
	}
	return SystemToken{v.ID, v.Name, v.Created, v.Expires}, nil
}

// maxSystemTokens bounds the list of system tokens, which operators make by hand.
const maxSystemTokens = 1000

// SystemTokens lists the system tokens in no particular order, at most 1,000.
func (a *Authority) SystemTokens(ctx context.Context) ([]SystemToken, error) {
	docs, err := a.docs.List(ctx, system, systemTokenCollection, "", maxSystemTokens)
	if err != nil {
		return nil, fmt.Errorf("list system tokens: %w", err)
	}
	return document.All(docs, systemTokenOf)
}

var errNoSystemToken = errors.New("no such system token; \"porchlight system token list\" lists them")

// RevokeSystem ends a system token by its id, or answers errNoSystemToken.
func (a *Authority) RevokeSystem(ctx context.Context, id string) error {
	return document.Again(func() error {
		docs, err := a.docs.List(ctx, system, systemTokenCollection, "", maxSystemTokens)
		if err != nil {
			return fmt.Errorf("revoke system token %s: %w", id, err)
		}
		for i := range docs {
			t, err := systemTokenOf(&docs[i])
			if err == nil && t.ID == id {
				return a.docs.Write(ctx, system, document.Deletion(&docs[i]))
			}
		}
		return errNoSystemToken
	})
}
