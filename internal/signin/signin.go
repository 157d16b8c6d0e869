// Package signin is how people sign in: with a password, with a link that an
// administrator made for them, or through an OpenID provider.
//
// It is separate from auth, which stores and checks tokens and knows nothing of people's
// secrets, and from httpapi, which has the routes. It guarantees that a refused sign-in
// says nothing about who exists: an unknown e-mail address, a wrong password, a
// deactivated user and a suspended account get the same answer after the same work. The
// passwords' hashes take bounded memory and processor time, and guesses get slower while
// nobody can be locked out for good.
//
// It must not decide what a person may do: the scopes of a sign-in follow the role.
package signin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/store"
)

// system is the account of the documents that are looked up before the account is known.
const system presence.AccountID = ""

// Why a sign-in or a link is refused. A password that the rules refuse is a
// [presence.FieldError].
var (
	// ErrRefused says no more, whatever the reason is.
	ErrRefused = errors.New("the e-mail address or the password is wrong, or the user may not sign in")
	// ErrRefusedHere is ErrRefused on a server with several accounts, if none was named.
	ErrRefusedHere = fmt.Errorf("%w; if several accounts of this server have the address, name the account", ErrRefused)
	ErrBusy        = errors.New("too many people sign in at the same time")
	ErrPasswordOff = errors.New("this server does not accept passwords")

	ErrNoInvitation      = errors.New("this link is unknown, or was withdrawn")
	ErrInvitationUsed    = errors.New("this link was used already, or a newer one replaced it")
	ErrInvitationExpired = errors.New("this link has expired")
)

// A ThrottledError refuses an attempt because too many failed before it.
type ThrottledError struct{ RetryAfter time.Duration }

func (e *ThrottledError) Error() string { return "too many attempts to sign in failed" }

// documents is what the registry needs of a store.
type documents interface {
	Write(ctx context.Context, account presence.AccountID, docs ...store.Doc) error
	Load(ctx context.Context, account presence.AccountID, keys ...store.Key) ([]store.Doc, error)
}

// Options are what a registry works with. Store, Directory, Authority, Audit, Clock and Log
// are required.
type Options struct {
	Store     documents
	Directory *directory.Directory
	Authority *auth.Authority
	Audit     audit.Repeater
	Clock     func() time.Time
	Log       *slog.Logger
	// Params are those of new hashes. Hashes with others are replaced at the next sign-in.
	Params Params
	// AtOnce is how many hashes are computed at a time; 0: half as many as there are
	// processors.
	AtOnce int
	// NoPasswords: nobody can sign in with a password.
	NoPasswords bool
}

// Registry has people's passwords and invitations, and signs people in.
type Registry struct {
	docs        documents
	directory   *directory.Directory
	authority   *auth.Authority
	audit       audit.Repeater
	clock       func() time.Time
	log         *slog.Logger
	hasher      *hasher
	failures    *failures
	policy      policy
	noPasswords bool
}

// New returns a registry.
func New(o Options) *Registry {
	return &Registry{
		docs: o.Store, directory: o.Directory, authority: o.Authority, audit: o.Audit, clock: o.Clock, log: o.Log,
		hasher: newHasher(o.Params, o.AtOnce), failures: newFailures(o.Clock), policy: newPolicy(), noPasswords: o.NoPasswords,
	}
}

// Passwords reports whether people can sign in with passwords.
func (r *Registry) Passwords() bool { return !r.noPasswords }

// A From is where an attempt comes from.
type From struct {
	Browser string       // as lists of sign-ins show it
	Network netip.Prefix // the client, as limits count it
	By      audit.Actor  // the client's address and request
}

func (f *From) browser() auth.Browser {
	b := auth.Browser{Name: f.Browser}
	if f.By.Address.IsValid() {
		b.Address = f.By.Address.String()
	}
	return b
}

// A SignedIn is a sign-in that was made. Secret is for the cookie.
type SignedIn struct {
	Account presence.AccountID
	User    directory.User
	Token   auth.Token
	Secret  string
}

// begin makes the sign-in of a person who has proved who they are.
func (r *Registry) begin(ctx context.Context, who *person, from *From, method string) (*SignedIn, error) {
	token, secret, err := r.authority.SignIn(ctx, who.account, who.user.ID, from.browser(), auth.SignInLasts)
	if err != nil {
		return nil, err
	}
	by := from.By
	by.User, by.App, by.Token = who.user.ID, auth.SignInApp, token.ID
	err = r.audit.Record(ctx, who.account, &audit.Event{
		Action: "sign-in.create", Target: "sign-in/" + token.ID, By: by, After: audit.Fields{"method": method},
	})
	if err != nil {
		return nil, err
	}
	return &SignedIn{Account: who.account, User: who.user, Token: token, Secret: secret}, nil
}

// A limit of the queue for hashes, for callers of one address.
func waitingLimit(atOnce int) *quota.Limit {
	return &quota.Limit{Name: "waiting-sign-ins", Most: waitingEach * atOnce, Unit: "sign-ins that wait", Shared: true}
}

// newSecret is 256 random bits in base64url, like a ticket.
func newSecret() string {
	var raw [32]byte
	rand.Read(raw[:]) // it never fails: the process would end
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
