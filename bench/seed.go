package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
)

// A seeded is a store with one account, an app, and users with a session and a claim of
// a calendar each.
type seeded struct {
	dir     string
	Account presence.AccountID
	Token   string
	IDs     []presence.UserID
	// Tokens has tokens of the first users, so that every stream has its own.
	Tokens []string
}

// seed creates a store of n users below r.dir, or opens an existing one. An existing
// one gets new sessions, because leases expire.
func (r *run) seed(n int) (*seeded, error) {
	dir := filepath.Join(r.dir, fmt.Sprintf("store-%d", n))
	notes := dir + ".json"
	s := &seeded{dir: dir}
	begun := time.Now()
	st, err := pebblestore.Open(filepath.Join(dir, "store"), pebblestore.Options{Durability: pebblestore.OS})
	if err != nil {
		return nil, err
	}
	defer st.Close()
	if text, err := os.ReadFile(notes); err == nil {
		if err := json.Unmarshal(text, s); err != nil {
			return nil, err
		}
	} else if err := s.create(st, n); err != nil {
		return nil, err
	}
	if err := s.signIn(st); err != nil {
		return nil, err
	}
	if len(s.Tokens) == 0 {
		if err := s.issue(st, min(n, idleWatchers)); err != nil {
			return nil, err
		}
	}
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	fmt.Printf("seeded %d users in %v\n", n, time.Since(begun).Round(time.Second))
	return s, os.WriteFile(notes, text, 0o600)
}

func (s *seeded) create(st store.Store, n int) error {
	ctx := context.Background()
	dir := directory.New(st, time.Now)
	account, err := dir.CreateAccount(ctx, "bench")
	if err != nil {
		return err
	}
	s.Account = account.ID
	owner, err := dir.Create(ctx, account.ID, directory.User{Email: "owner@example.com", Active: true})
	if err != nil {
		return err
	}
	if err := dir.SetOwner(ctx, account.ID, owner.ID); err != nil {
		return err
	}
	authority := auth.New(st, dir, time.Now)
	scopes, err := authority.ParseScopes("claim:write:admin presence:read:admin")
	if err != nil {
		return err
	}
	app, _, err := authority.CreateApp(ctx, account.ID, "bench", scopes)
	if err != nil {
		return err
	}
	if _, s.Token, err = authority.Issue(ctx, account.ID, auth.Token{App: app.ID, Scopes: scopes, Name: "bench"}, 0); err != nil {
		return err
	}
	s.IDs = make([]presence.UserID, n)
	return inParallel(n, func(i int) error {
		u, err := dir.Create(ctx, account.ID, directory.User{Email: fmt.Sprintf("user%d@example.com", i), FirstName: "User", Active: true})
		s.IDs[i] = u.ID
		return err
	})
}

// issue creates tokens for streams.
func (s *seeded) issue(st store.Store, n int) error {
	ctx := context.Background()
	authority := auth.New(st, directory.New(st, time.Now), time.Now)
	scopes, err := authority.ParseScopes("presence:read")
	if err != nil {
		return err
	}
	app, _, err := authority.CreateApp(ctx, s.Account, "streams", scopes)
	if err != nil {
		return err
	}
	s.Tokens = make([]string, n)
	return inParallel(n, func(i int) error {
		_, text, err := authority.Issue(ctx, s.Account, auth.Token{App: app.ID, User: s.IDs[i], Scopes: scopes, Name: "stream"}, 0)
		s.Tokens[i] = text
		return err
	})
}

// day is longer than any run.
const day = 24 * time.Hour

func (s *seeded) signIn(st store.Store) error {
	policy := presence.DefaultPolicy()
	policy.IdleAfter = 0
	p := publish.New(publish.Options{
		Store: st, Policy: policy, Clock: time.Now, Log: slog.Default(),
		Known: func(context.Context, store.User) error { return nil },
	})
	return inParallel(len(s.IDs), func(i int) error {
		u := store.User{Account: s.Account, ID: s.IDs[i]}
		signIn := presence.SignIn{Session: "bench", Client: presence.Desktop, Lease: presence.MaxLease}
		if _, err := p.Publish(context.Background(), u, store.Actor{}, signIn); err != nil {
			return err
		}
		claim := presence.SetClaim{ID: "calendar", Source: presence.Schedule, Status: presence.InCalendarEvent, Until: presence.InstantOf(time.Now().Add(day))}
		_, err := p.Publish(context.Background(), u, store.Actor{}, claim)
		return err
	})
}

// inParallel calls do n times, 256 at a time.
func inParallel(n int, do func(int) error) error {
	var next atomic.Int64
	var group sync.WaitGroup
	var once sync.Once
	var failure error
	for range 256 {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					once.Do(func() { failure = err })
					return
				}
			}
		})
	}
	group.Wait()
	return failure
}
