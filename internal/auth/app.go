package auth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// An App is an OAuth client of an account.
type App struct {
	ID      presence.AppID // the client_id
	Name    string
	Scopes  Scopes
	Created time.Time
	// RedirectURIs are where the authorization endpoint may send a browser back to.
	RedirectURIs []string
	// Public: the app cannot keep a secret and has none. It must use PKCE.
	Public  bool
	Version string // of the document, for UpdateApp; opaque
}

// An appValue is a document of the app's account. The secret is its digest.
type appValue struct {
	document.Format
	Name    string    `json:"name"`
	Scopes  string    `json:"scopes"`
	Secret  string    `json:"secret_sha256"`
	Created time.Time `json:"created"`

	RedirectURIs []string `json:"redirect_uris,omitempty"`
	Public       bool     `json:"public,omitempty"`
}

// A clientValue is a document of the system with the account of an app.
// It may outlive its app after a crash, never the other way round for long: an
// app without it cannot get tokens, and can be deleted.
type clientValue struct {
	document.Format
	Account presence.AccountID `json:"account"`
}

func appKey(id presence.AppID) store.Key    { return store.Key{Collection: "app", Key: string(id)} }
func clientKey(id presence.AppID) store.Key { return store.Key{Collection: "client", Key: string(id)} }

// ErrPublicApp: a public app cannot keep a secret.
var ErrPublicApp = errors.New("a public app has no secret")

// CreateApp is AddApp for an app with a secret and without redirect URIs.
func (a *Authority) CreateApp(ctx context.Context, account presence.AccountID, name string, scopes Scopes) (App, string, error) {
	return a.AddApp(ctx, account, App{Name: name, Scopes: scopes})
}

// AddApp makes an app and its secret, which is shown here and never again; a public app
// has none. It ignores ID, Created and Version of asked.
func (a *Authority) AddApp(ctx context.Context, account presence.AccountID, asked App) (App, string, error) {
	app := asked
	if err := app.Clean(); err != nil {
		return App{}, "", err
	}
	if err := a.admitApp(ctx, account); err != nil {
		return App{}, "", err
	}
	app.ID, app.Created = presence.AppID(directory.NewID()), a.now()
	var secret, stored string
	if !app.Public {
		secret = newSecret()
		stored = digestOf(secret).hex()
	}
	if err := a.docs.Write(ctx, account, app.doc("", stored)); err != nil {
		return App{}, "", fmt.Errorf("create app: %w", err)
	}
	client := document.New(clientKey(app.ID), "", clientValue{document.Current(), account})
	if err := a.docs.Write(ctx, system, client); err != nil {
		return App{}, "", fmt.Errorf("create app: %w", err)
	}
	app, err := a.App(ctx, account, app.ID)
	return app, secret, err
}

// Clean normalises and checks the fields of an app, as AddApp and UpdateApp do.
func (app *App) Clean() (err error) {
	if app.Name, err = nameOf(app.Name, true); err != nil {
		return err
	}
	app.RedirectURIs, err = cleanRedirectURIs(app.RedirectURIs)
	return err
}

// UpdateApp replaces an app's Name, Scopes, RedirectURIs and Public under its Version:
// store.ErrConflict if it has another by now. Tokens that were issued keep at most the
// app's scopes: at once here and within MaxStale on other nodes. Streams of the app end,
// so that their clients connect again with what they may do now. An app that becomes
// public loses its secret; one that is public no more gets one from RotateSecret.
func (a *Authority) UpdateApp(ctx context.Context, account presence.AccountID, app App) (App, error) {
	if err := app.Clean(); err != nil {
		return App{}, err
	}
	before, secret, doc, err := a.app(ctx, account, app.ID)
	if err != nil {
		return App{}, err
	}
	if doc.Version != app.Version {
		return App{}, fmt.Errorf("update app %s: %w", app.ID, store.ErrConflict)
	}
	if app.Public {
		secret = ""
	}
	app.Created = before.Created
	if before.Scopes.String() != app.Scopes.String() {
		changed := &Revocation{Account: account, App: app.ID}
		defer a.revoked(changed)
		defer a.cache.evict(changed)
	}
	if err := a.docs.Write(ctx, account, app.doc(doc.Version, secret)); err != nil {
		return App{}, fmt.Errorf("update app %s: %w", app.ID, err)
	}
	return a.App(ctx, account, app.ID)
}

// admitApp refuses a new app of an account that is not there, or may have no more.
func (a *Authority) admitApp(ctx context.Context, account presence.AccountID) error {
	found, err := a.directory.Account(ctx, account)
	if err != nil || found.Limits.Apps == 0 {
		return err
	}
	docs, err := a.docs.List(ctx, account, "app", "", found.Limits.Apps)
	if err != nil {
		return fmt.Errorf("count apps: %w", err)
	}
	if len(docs) >= found.Limits.Apps {
		return &directory.LimitError{Name: "apps-per-account", Most: found.Limits.Apps, What: "apps"}
	}
	return nil
}

// Apps pages by id: those above after, at most limit.
func (a *Authority) Apps(ctx context.Context, account presence.AccountID, after presence.AppID, limit int) ([]App, error) {
	docs, err := a.docs.List(ctx, account, "app", string(after), limit)
	if err != nil {
		return nil, fmt.Errorf("list apps: %w", err)
	}
	return document.All(docs, func(doc *store.Doc) (App, error) {
		app, _, err := a.appOf(doc)
		return app, err
	})
}

// App reads an app, or answers ErrNoApp.
func (a *Authority) App(ctx context.Context, account presence.AccountID, id presence.AppID) (App, error) {
	if app, ok := a.builtIn(id); ok {
		return app, nil
	}
	app, _, _, err := a.app(ctx, account, id)
	return app, err
}

// HasApp reports whether an account has an app, or every account.
func (a *Authority) HasApp(ctx context.Context, account presence.AccountID, id presence.AppID) (bool, error) {
	_, err := a.App(ctx, account, id)
	if errors.Is(err, ErrNoApp) {
		return false, nil
	}
	return err == nil, err
}

// app is App with the digest of the secret, and the document.
func (a *Authority) app(ctx context.Context, account presence.AccountID, id presence.AppID) (App, string, *store.Doc, error) {
	if presence.CheckID("id", string(id)) != nil {
		return App{}, "", nil, ErrNoApp
	}
	docs, err := a.docs.Load(ctx, account, appKey(id))
	if err != nil {
		return App{}, "", nil, fmt.Errorf("read app: %w", err)
	}
	if len(docs) == 0 {
		return App{}, "", nil, ErrNoApp
	}
	app, secret, err := a.appOf(&docs[0])
	return app, secret, &docs[0], err
}

// DeleteApp removes an app and its tokens. They stop at once here and within
// MaxStale on other nodes. After an error it can be called again.
func (a *Authority) DeleteApp(ctx context.Context, account presence.AccountID, id presence.AppID) error {
	if _, _, _, err := a.app(ctx, account, id); err != nil {
		return err
	}
	if _, err := a.RevokeTokens(ctx, account, TokenFilter{App: id}); err != nil {
		return fmt.Errorf("delete app %s: %w", id, err)
	}
	deleted := &Revocation{Account: account, App: id}
	defer a.revoked(deleted)
	defer a.cache.evict(deleted)
	err := document.Again(func() error { return a.deleteApp(ctx, account, id) })
	if err != nil && !errors.Is(err, ErrNoApp) {
		return fmt.Errorf("delete app %s: %w", id, err)
	}
	return err
}

// DeleteAll removes all tokens and apps of an account that is being deleted. After an
// error it can be called again.
func (a *Authority) DeleteAll(ctx context.Context, account presence.AccountID) error {
	if _, err := a.sweep(ctx, account, func(*Token) bool { return true }); err != nil {
		return fmt.Errorf("delete the tokens of account %s: %w", account, err)
	}
	for {
		apps, err := a.Apps(ctx, account, "", store.MaxWrite)
		if err != nil || len(apps) == 0 {
			return err
		}
		for i := range apps {
			err := document.Again(func() error { return a.deleteApp(ctx, account, apps[i].ID) })
			if err != nil && !errors.Is(err, ErrNoApp) {
				return fmt.Errorf("delete app %s: %w", apps[i].ID, err)
			}
		}
	}
}

// deleteApp removes the app last, so that it can be found again until then.
func (a *Authority) deleteApp(ctx context.Context, account presence.AccountID, id presence.AppID) error {
	_, _, app, err := a.app(ctx, account, id)
	if err != nil {
		return err
	}
	clients, err := a.docs.Load(ctx, system, clientKey(id))
	if err != nil {
		return err
	}
	for i := range clients {
		if err := a.docs.Write(ctx, system, document.Deletion(&clients[i])); err != nil {
			return err
		}
	}
	return a.docs.Write(ctx, account, document.Deletion(app))
}

// RotateSecret gives an app a new secret; the old one stops at once. Tokens that
// were issued go on.
func (a *Authority) RotateSecret(ctx context.Context, account presence.AccountID, id presence.AppID) (string, error) {
	secret := newSecret()
	err := document.Again(func() error {
		app, _, doc, err := a.app(ctx, account, id)
		if err != nil {
			return err
		}
		if app.Public {
			return ErrPublicApp
		}
		if err := a.docs.Write(ctx, account, app.doc(doc.Version, digestOf(secret).hex())); err != nil {
			return fmt.Errorf("rotate the secret of app %s: %w", id, err)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return secret, nil
}

// ErrBadClient: no app has this id and secret.
var ErrBadClient = errors.New("no app has this id and secret")

// FindClient finds an app by its id alone, which proves nothing, with its account: "" for
// CommandApp, which every account has. ErrNoApp if there is none.
func (a *Authority) FindClient(ctx context.Context, id presence.AppID) (presence.AccountID, App, error) {
	if app, ok := a.builtIn(id); ok {
		if id != CommandApp {
			return "", App{}, ErrNoApp // nothing but a sign-in gets its tokens
		}
		return "", app, nil
	}
	var account presence.AccountID
	var app App
	err := a.confirm(ctx, func() (err error) {
		if account, err = a.clientAccount(ctx, id); err == nil {
			app, _, _, err = a.app(ctx, account, id)
		}
		return err
	}, func(err error) bool { return errors.Is(err, ErrNoApp) })
	return account, app, err
}

// clientAccount is the account of an app, or the system account, which has no apps, for
// an unknown id.
func (a *Authority) clientAccount(ctx context.Context, id presence.AppID) (presence.AccountID, error) {
	if !validID(string(id)) {
		return system, nil
	}
	docs, err := a.docs.Load(ctx, system, clientKey(id))
	if err != nil {
		return system, fmt.Errorf("read client: %w", err)
	}
	var v clientValue
	if len(docs) > 0 {
		err = document.Decode(&docs[0], &v)
	}
	return v.Account, err
}

// AuthenticateClient finds the app with an id and a secret, or answers ErrBadClient, or
// ErrSuspended to who knows the secret. An unknown id takes the same
// reads and the same comparison as a wrong secret.
func (a *Authority) AuthenticateClient(ctx context.Context, id presence.AppID, secret string) (presence.AccountID, App, error) {
	if presence.CheckID("id", string(id)) != nil {
		return "", App{}, ErrBadClient
	}
	var account presence.AccountID
	var app App
	err := a.confirm(ctx, func() (err error) {
		account, app, err = a.clientOf(ctx, id, secret)
		return err
	}, func(err error) bool { return errors.Is(err, ErrBadClient) })
	if err != nil {
		return "", App{}, err
	}
	switch err := a.checkAccount(ctx, account); {
	case errors.Is(err, directory.ErrNoAccount): // it is being deleted
		return "", App{}, ErrBadClient
	case err != nil:
		return "", App{}, err
	}
	return account, app, nil
}

func (a *Authority) clientOf(ctx context.Context, id presence.AppID, secret string) (presence.AccountID, App, error) {
	account, err := a.clientAccount(ctx, id)
	if err != nil {
		return "", App{}, err
	}
	app, stored, _, err := a.app(ctx, account, id)
	if err != nil && !errors.Is(err, ErrNoApp) {
		return "", App{}, err
	}
	if !digestOf(secret).matches(stored) {
		return "", App{}, badClient(account, app.ID)
	}
	return account, app, nil
}

func badClient(account presence.AccountID, app presence.AppID) error {
	if app == "" {
		return ErrBadClient
	}
	return &RefusalError{Account: account, App: app, Err: ErrBadClient}
}

func (app *App) doc(version, secret string) store.Doc {
	return document.New(appKey(app.ID), version, appValue{
		Format: document.Current(), Name: app.Name, Scopes: app.Scopes.String(), Secret: secret, Created: app.Created,
		RedirectURIs: app.RedirectURIs, Public: app.Public,
	})
}

func (a *Authority) appOf(doc *store.Doc) (App, string, error) {
	var v appValue
	if err := document.Decode(doc, &v); err != nil {
		return App{}, "", err
	}
	scopes, _ := a.scopes.read(v.Scopes) // a name that is not known here allows nothing
	return App{
		ID: presence.AppID(doc.Key.Key), Name: v.Name, Scopes: scopes, Created: v.Created,
		RedirectURIs: v.RedirectURIs, Public: v.Public, Version: doc.Version,
	}, v.Secret, nil
}

func validID(id string) bool { return presence.CheckID("id", id) == nil }
