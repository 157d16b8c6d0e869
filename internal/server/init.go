package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/signin"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/zoomapi"
)

// A Founding describes the first account of a store.
type Founding struct {
	Account    string // its name
	OwnerEmail string
	OwnerName  string // first and last
	AppName    string
	// WithToken also makes an account-level access token of the app, which expires after
	// TokenLasts; zero: never.
	WithToken  bool
	TokenLasts time.Duration
}

// Credentials are the result of a founding. The secrets are stored nowhere else.
type Credentials struct {
	AccountID    string `json:"account_id"`
	OwnerID      string `json:"owner_id"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	AccessToken  string `json:"access_token,omitempty"`
	Invitation   string `json:"invitation"` // the secret of the link /welcome#SECRET, with which the owner chooses a password
	OwnerEmail   string `json:"-"`
	OwnerName    string `json:"-"`
}

// ErrInitialised: the store has an account already.
var ErrInitialised = errors.New("initialised already")

// A FieldError refuses a field of a Founding.
type FieldError = presence.FieldError

// Init prepares the store of cfg for a server: it creates an account, its owner, and an
// app with every scope. It does not change a store that has them, and completes an
// interrupted Init. It returns a *FieldError before it creates anything.
func Init(ctx context.Context, cfg config.Config, f Founding) (made Credentials, err error) {
	cfg = cfg.Filled()
	if problems := cfg.Check(); len(problems) > 0 {
		return made, problems
	}
	if err := f.check(); err != nil {
		return made, err
	}
	if err := createDataDir(&cfg); err != nil {
		return made, err
	}
	opts := Options{}.withDefaults()
	st, err := openEngine(ctx, &cfg, &opts, openToCreate, 0)
	if err != nil {
		return made, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	made, err = found(ctx, st, f)
	if errors.Is(err, ErrInitialised) {
		err = fmt.Errorf("%s was %w: start it with \"porchlight serve %s\", or choose another one", cfg.StoreDescription(), ErrInitialised, LocationFlag(cfg))
	}
	return made, err
}

// createDataDir makes the data directory, and says what to do if it cannot be made.
func createDataDir(cfg *config.Config) error {
	if cfg.Store != "" {
		return nil
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("cannot create the data directory: %w; create it, owned by the user of the server, or choose another one with data-dir", err)
	}
	return nil
}

// checkDataDir says what to do if the data directory cannot be written to, or made. It creates nothing.
func checkDataDir(cfg *config.Config) error {
	if cfg.Store != "" {
		return nil
	}
	dir, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		return err
	}
	err = writeError(dir)
	for parent := filepath.Dir(dir); errors.Is(err, fs.ErrNotExist) && dir != parent; parent = filepath.Dir(dir) {
		dir, err = parent, writeError(parent)
	}
	if err != nil {
		return fmt.Errorf("cannot use the data directory %s: %s is not writable by this user (%w); give the data directory to the user of the server, or choose another one with data-dir", cfg.DataDir, dir, err)
	}
	return nil
}

// initialised reports whether an app can get at an account.
func initialised(ctx context.Context, st store.Store, clock func() time.Time) (bool, error) {
	dir := directory.New(st, clock)
	accounts, err := dir.Accounts(ctx, "", 1)
	if err != nil || len(accounts) == 0 {
		return false, err
	}
	apps, err := auth.New(st, dir, clock).Apps(ctx, accounts[0].ID, "", 1)
	return len(apps) > 0, err
}

// check reports what is wrong with a founding before any part of it is stored.
func (f *Founding) check() error {
	owner, app := f.owner(), auth.App{Name: f.AppName}
	return cmp.Or(
		inField("account", (&directory.AccountChange{Name: &f.Account}).Check()),
		inField("name", owner.Clean(new(directory.User))),
		inField("app", app.Clean()),
	)
}

// inField names the field of a Founding in err, which has that of an account, a user or an app.
func inField(field string, err error) error {
	if wrong, ok := errors.AsType[*FieldError](err); ok && wrong.Field != "email" {
		return &FieldError{Field: field, Reason: wrong.Reason}
	}
	return err
}

func (f *Founding) owner() directory.User {
	first, last, _ := strings.Cut(f.OwnerName, " ")
	return directory.User{Email: f.OwnerEmail, FirstName: first, LastName: last, DisplayName: f.OwnerName, Role: directory.Admin, Active: true}
}

func found(ctx context.Context, st store.Store, f Founding) (Credentials, error) {
	switch ready, err := initialised(ctx, st, time.Now); {
	case err != nil:
		return Credentials{}, err
	case ready:
		return Credentials{}, ErrInitialised
	}
	dir := directory.New(st, time.Now)
	account, err := foundAccount(ctx, dir, f)
	if err != nil {
		return Credentials{}, err
	}
	authority := auth.New(st, dir, time.Now, zoomapi.Scopes()...)
	scopes, err := authority.ParseScopes(strings.Join(authority.ScopeNames(), " "))
	if err != nil {
		return Credentials{}, err
	}
	app, secret, err := authority.CreateApp(ctx, account.ID, f.AppName, scopes)
	if err != nil {
		return Credentials{}, err
	}
	owner, err := dir.User(ctx, account.ID, account.Owner)
	if err != nil {
		return Credentials{}, err
	}
	made := Credentials{
		AccountID: string(account.ID), OwnerID: string(account.Owner), OwnerEmail: owner.Email, OwnerName: owner.DisplayName,
		ClientID: string(app.ID), ClientSecret: secret,
	}
	if made.Invitation, err = inviteOwner(ctx, st, dir, authority, &account); err != nil {
		return made, err
	}
	if f.WithToken {
		_, made.AccessToken, err = authority.Issue(ctx, account.ID, auth.Token{App: app.ID, Scopes: scopes, Name: f.AppName}, f.TokenLasts)
	}
	return made, err
}

// inviteOwner makes the link with which the owner chooses a password. It is of no use on a
// server without passwords.
func inviteOwner(ctx context.Context, st store.Store, dir *directory.Directory, authority *auth.Authority, account *directory.Account) (secret string, err error) {
	signIns := signin.New(signin.Options{
		Store: st, Directory: dir, Authority: authority, Audit: audit.New(st, time.Now), Clock: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	secret, _, err = signIns.Invite(ctx, account.ID, account.Owner, signin.Invitation, true, audit.Actor{})
	return secret, err
}

// foundAccount makes the account and its owner, or what of them is missing.
func foundAccount(ctx context.Context, dir *directory.Directory, f Founding) (directory.Account, error) {
	accounts, err := dir.Accounts(ctx, "", 1)
	if err != nil {
		return directory.Account{}, err
	}
	var account directory.Account
	if len(accounts) > 0 {
		account = accounts[0]
	} else if account, err = dir.CreateAccount(ctx, f.Account); err != nil {
		return account, err
	}
	if account.Owner != "" {
		return account, nil // only the app is missing
	}
	owner, err := foundOwner(ctx, dir, account.ID, f)
	if err != nil {
		return account, err
	}
	account.Owner = owner
	return account, dir.SetOwner(ctx, account.ID, owner)
}

func foundOwner(ctx context.Context, dir *directory.Directory, account presence.AccountID, f Founding) (presence.UserID, error) {
	u, err := dir.Create(ctx, account, f.owner())
	if errors.Is(err, directory.ErrEmailTaken) {
		u, err = dir.Find(ctx, account, f.OwnerEmail)
	}
	return u.ID, err
}
