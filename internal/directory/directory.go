// Package directory keeps accounts and their users: who exists, under which
// e-mail, and in which standing. (Contacts come with realtime.)
//
// It is separate from presence because who exists is not whether they are
// available, and from auth because a user is not a credential. Everything is in
// documents of the store; an e-mail is unique in its account, can be used again
// after its user is gone, and an id never is.
//
// It must not decide anything about presence: a change of standing is carried to
// the user's record by publish, whom the caller asks.
package directory

import (
	"context"
	"errors"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// What a lookup or a change answers.
var (
	ErrNoUser     = errors.New("no such user in this account")
	ErrNoAccount  = errors.New("no such account")
	ErrEmailTaken = errors.New("the e-mail address is used by another user of this account")
)

// An Account is a tenant.
type Account struct {
	ID      presence.AccountID
	Name    string
	Owner   presence.UserID
	Created time.Time
}

// A User is a person of an account.
type User struct {
	ID          presence.UserID // 22 characters of base64url, made by Create
	Email       string          // as given; compared case-insensitively
	FirstName   string
	LastName    string
	DisplayName string
	Department  string
	Active      bool // false: deactivated
	Created     time.Time
	Version     string // of the document, for Update; opaque
}

// Directory reads and changes accounts and users.
type Directory struct {
	docs  store.Store
	clock func() time.Time
	// TODO(directory): caches
}

// New is a directory on the documents of st.
func New(st store.Store, clock func() time.Time) *Directory {
	return &Directory{docs: st, clock: clock}
}

func (d *Directory) CreateAccount(ctx context.Context, name string) (Account, error) {
	panic("unbuilt")
}
func (d *Directory) Account(ctx context.Context, id presence.AccountID) (Account, error) {
	panic("unbuilt")
}

// SetOwner makes a user the account's owner: S2S apps act as the owner for "me".
func (d *Directory) SetOwner(ctx context.Context, id presence.AccountID, owner presence.UserID) error {
	panic("unbuilt")
}

// Create adds a user and gives it an id. The caller then records its standing.
func (d *Directory) Create(ctx context.Context, account presence.AccountID, u User) (User, error) {
	panic("unbuilt")
}

// Resolve finds the id behind ref, an id or an e-mail (any case), without
// reading more than it must: an id is returned as it is, unchecked, when the
// presence record will show whether it exists. ErrNoUser for an unknown e-mail.
func (d *Directory) Resolve(ctx context.Context, account presence.AccountID, ref string) (presence.UserID, error) {
	panic("unbuilt")
}

// User reads a user by id; Find by id or e-mail.
func (d *Directory) User(ctx context.Context, account presence.AccountID, id presence.UserID) (User, error) {
	panic("unbuilt")
}
func (d *Directory) Find(ctx context.Context, account presence.AccountID, ref string) (User, error) {
	panic("unbuilt")
}

// Users pages by id: those above after, at most limit.
func (d *Directory) Users(ctx context.Context, account presence.AccountID, after presence.UserID, limit int) ([]User, error) {
	panic("unbuilt")
}

// Update replaces a user's document (names, e-mail, Active), under its Version.
func (d *Directory) Update(ctx context.Context, account presence.AccountID, u User) (User, error) {
	panic("unbuilt")
}

// Delete removes a user: the e-mail is free again, the id is burnt.
func (d *Directory) Delete(ctx context.Context, account presence.AccountID, id presence.UserID) error {
	panic("unbuilt")
}
