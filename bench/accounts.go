package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
)

// manyAccounts is how many accounts a server with many has.
const manyAccounts = 1000

// accounts measures the start with many accounts, each with an owner and an app, against
// that with one.
func (r *run) accounts(b *binary) error {
	one, err := r.seedAccounts(1)
	if err != nil {
		return err
	}
	many, err := r.seedAccounts(manyAccounts)
	if err != nil {
		return err
	}
	var alone, among, ratios []float64
	for round := range r.rounds + 1 {
		a, err := b.timeStart(one)
		if err != nil {
			return err
		}
		m, err := b.timeStart(many)
		if err != nil {
			return err
		}
		if round > 0 { // the first one warms the caches of the system
			alone, among, ratios = append(alone, a.Seconds()), append(among, m.Seconds()), append(ratios, m.Seconds()/a.Seconds())
		}
	}
	report("start with 1 account", "-", "s", alone)
	report(fmt.Sprintf("start with %d accounts", manyAccounts), "-", "s", among)
	report(fmt.Sprintf("start with %d accounts against 1", manyAccounts), "-", "×", ratios)
	return nil
}

// timeStart starts and stops a server on a directory.
func (b *binary) timeStart(dir string) (time.Duration, error) {
	p, err := b.serve(dir)
	if err != nil {
		return 0, err
	}
	return p.ready, p.stop(syscall.SIGTERM)
}

// seedAccounts creates a store of n accounts below r.dir, or takes an existing one.
func (r *run) seedAccounts(n int) (dir string, err error) {
	dir = filepath.Join(r.dir, fmt.Sprintf("accounts-%d", n))
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return dir, err
	}
	st, err := pebblestore.Open(filepath.Join(dir, "store"), pebblestore.Options{Durability: pebblestore.OS})
	if err != nil {
		return "", err
	}
	defer st.Close()
	for range n {
		if _, _, err := found(st); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// found creates an account with an owner and an app.
func found(st store.Store) (account presence.AccountID, app auth.App, err error) {
	ctx, dir := context.Background(), directory.New(st, time.Now)
	made, err := dir.CreateAccount(ctx, "bench")
	if err != nil {
		return "", app, err
	}
	owner, err := dir.Create(ctx, made.ID, directory.User{Email: "owner@example.com", Active: true})
	if err != nil {
		return "", app, err
	}
	if err := dir.SetOwner(ctx, made.ID, owner.ID); err != nil {
		return "", app, err
	}
	authority := auth.New(st, dir, time.Now)
	scopes, err := authority.ParseScopes("claim:write:admin presence:read:admin subscription:write:admin directory:write:admin")
	if err != nil {
		return "", app, err
	}
	app, _, err = authority.CreateApp(ctx, made.ID, "bench", scopes)
	return made.ID, app, err
}
