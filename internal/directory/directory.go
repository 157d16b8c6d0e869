// Package directory keeps accounts, their users and groups: who exists, under which
// e-mail, and in which state; whom each user follows, and what each declared
// about who may see it.
//
// It is separate from presence because who exists is not whether they are
// available, and from auth because a user is not a credential. Everything is in
// documents of the store; an e-mail is unique in its account, can be used again
// after its user is gone, and an id never is.
//
// It must not decide anything about presence: the caller publishes a change of
// state and rules of visibility to the user's record.
package directory

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/cache"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// Errors of lookups and changes. An invalid field is a [presence.FieldError]; a
// concurrent change is [store.ErrConflict].
var (
	ErrNoUser     = errors.New("no such user in this account")
	ErrNoAccount  = errors.New("no such account")
	ErrEmailTaken = errors.New("the e-mail address is used by another user of this account")
	// Of the identifiers that an identity provider gives.
	ErrExternalIDTaken = errors.New("the external id is used by another user of this account")
	ErrUserNameTaken   = errors.New("the user name is used by another user of this account")
)

// MaxStale is how long another node may resolve an e-mail address to its previous
// user. This node's own changes take effect at once.
const MaxStale = 5 * time.Second

// An Account is a tenant.
type Account struct {
	ID      presence.AccountID
	Name    string
	Owner   presence.UserID // "" until SetOwner
	Created time.Time
	// HistoryDays is how many days back users' histories are shown; 0: not at all.
	HistoryDays int
	// Plan is the word of the rate limits' plan of this account; "" is the server's.
	Plan string
	// Suspended: nobody may sign in or call the API, and tokens are refused.
	Suspended bool
	Limits    Limits
	Version   string // of the document, for UpdateAccount; opaque
}

// Limits are how many an account may have; zero is no limit beside those of the server.
// Users who are deactivated count.
type Limits struct {
	Users         int `json:"users,omitempty"`
	Apps          int `json:"apps,omitempty"`
	Subscriptions int `json:"subscriptions,omitempty"`
	Streams       int `json:"streams,omitempty"` // open ones, on each node
}

// A LimitError: the account has as many as it may have.
type LimitError struct {
	Name string // such as "users-per-account"
	Most int
	What string // such as "users"
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("the account may have at most %d %s", e.Most, e.What)
}

// MaxHistoryDays is the default of HistoryDays: everything that the log keeps.
const MaxHistoryDays = 3650

// A User is a person of an account.
type User struct {
	ID          presence.UserID // 22 characters of base64url, made by Create
	Email       string          // as given; compared case-insensitively
	FirstName   string
	LastName    string
	DisplayName string
	Department  string
	Groups      []string // names, each once; see GroupKey
	Active      bool     // false: deactivated
	Role        Role
	ExternalID  string // of the identity provider that manages the user, unique; "" for none
	UserName    string // of the identity provider, unique; "" if it is the e-mail address
	Created     time.Time
	Modified    time.Time // of this document
	Version     string    // of the document, for Update; opaque
}

// documents is what the directory needs of a store.
type documents interface {
	Write(ctx context.Context, account presence.AccountID, docs ...store.Doc) error
	Load(ctx context.Context, account presence.AccountID, keys ...store.Key) ([]store.Doc, error)
	List(ctx context.Context, account presence.AccountID, collection, after string, limit int) ([]store.Doc, error)
}

// Directory reads and changes accounts and users.
type Directory struct {
	docs             documents
	clock            func() time.Time
	emails           *cache.Table[address, presence.UserID]
	onContactsChange func(presence.AccountID, presence.UserID) // or nil
	onUserState      func(presence.AccountID, presence.UserID) // or nil
	adopted          sync.Map                                  // presence.AccountID to true; see adoptGroups
	adopting         sync.Mutex                                // one at a time
	// counting is locked while a user of an account with a limit is created.
	counting sync.Mutex
}

// emailSlots is how many addresses the directory remembers the users of, for MaxStale.
const emailSlots = 1 << 16

// An address is an e-mail in its form, in an account.
type address struct {
	account presence.AccountID
	form    string
}

// New is a directory on the documents of st.
func New(st store.Store, clock func() time.Time) *Directory {
	return &Directory{docs: st, clock: clock, emails: cache.New[address, presence.UserID](maphash.MakeSeed(), emailSlots)}
}

// OnUserState has fn called after each change that was made here of what tokens depend
// on: whether a user is there and active, its role, and, with the user "", what is known of
// an account. Set it once, before anything is served. fn must not wait.
func (d *Directory) OnUserState(fn func(presence.AccountID, presence.UserID)) { d.onUserState = fn }

func (d *Directory) notifyUserState(account presence.AccountID, user presence.UserID) {
	if d.onUserState != nil {
		d.onUserState(account, user)
	}
}

// now is the instant of a change, as documents keep it.
func (d *Directory) now() time.Time { return d.clock().UTC().Truncate(time.Millisecond) }
