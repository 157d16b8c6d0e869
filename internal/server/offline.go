package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/zoomapi"
)

// ErrInUse means that a server or another process uses the store.
var ErrInUse = errors.New("the store is in use")

// keepLog is a log retention that drops nothing, because the server's setting is not known
// here.
const keepLog = 50 * 365 * 24 * time.Hour

// An App is an OAuth client of a store that no server uses.
type App struct {
	AccountID string
	ID        string
	Name      string
	Scopes    []string
	Created   time.Time
}

// Apps lists the apps of a store that no server uses.
func Apps(ctx context.Context, cfg config.Config) (all []App, err error) {
	err = offline(ctx, cfg, func(authority *auth.Authority, account presence.AccountID) error {
		for after, more := presence.AppID(""), true; more; {
			page, err := authority.Apps(ctx, account, after, store.MaxWrite)
			if err != nil {
				return err
			}
			for _, app := range page {
				all = append(all, App{string(account), string(app.ID), app.Name, app.Scopes.Names(), app.Created})
				after = app.ID
			}
			more = len(page) > 0
		}
		return nil
	})
	return all, err
}

// RotateSecret replaces the secret of an app in a store that no server uses. As in a
// running server, the tokens of the app stay valid.
func RotateSecret(ctx context.Context, cfg config.Config, id string) (secret string, err error) {
	err = offline(ctx, cfg, func(authority *auth.Authority, account presence.AccountID) error {
		secret, err = authority.RotateSecret(ctx, account, presence.AppID(id))
		return err
	})
	return secret, err
}

// offline calls work on the apps of the store's account. No server can use the store
// meanwhile.
func offline(ctx context.Context, cfg config.Config, work func(*auth.Authority, presence.AccountID) error) (err error) {
	cfg = cfg.Filled()
	if problems := cfg.Check(); len(problems) > 0 {
		return problems
	}
	if cfg.Store == "" {
		if err := checkOwner(storeDir(cfg.DataDir), os.Geteuid()); err != nil {
			return err
		}
		cfg.LogRetention = keepLog
	}
	opts := Options{}.withDefaults()
	st, err := openEngine(ctx, &cfg, &opts, openExclusively, 0)
	switch {
	case errors.Is(err, pebblestore.ErrLocked) && isServed(ctx, cfg.DataDir):
		return fmt.Errorf("%w: a server is running on the %s", ErrInUse, cfg.StoreDescription())
	case errors.Is(err, pebblestore.ErrLocked), errors.Is(err, natsstore.ErrLeaseHeld):
		return fmt.Errorf("%w: %w", ErrInUse, err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	dir := directory.New(st, opts.Clock)
	accounts, err := dir.Accounts(ctx, "", 1)
	if err != nil {
		return err
	}
	if len(accounts) == 0 {
		return notInitialised(&cfg)
	}
	return work(auth.New(st, dir, opts.Clock, zoomapi.Scopes()...), accounts[0].ID)
}
