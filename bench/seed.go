package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
)

// A seeded is a store with one account, an app, and users with a session and a claim of
// a calendar each.
type seeded struct {
	dir      string
	Account  presence.AccountID
	Token    string
	IDs      []presence.UserID
	SignedIn time.Time // when all of them were, last
	// Tokens has tokens of the first users, so that every stream has its own.
	Tokens []string
}

// seed creates a store of n users below r.dir, or takes an existing one. Its sessions are
// renewed if their leases might end during a measurement.
func (r *run) seed(n int) (*seeded, error) {
	dir := filepath.Join(r.dir, fmt.Sprintf("store-%d", n))
	notes := dir + ".json"
	s := &seeded{dir: dir}
	begun := time.Now()
	known, err := os.ReadFile(notes)
	if err == nil {
		if err := json.Unmarshal(known, s); err != nil {
			return nil, err
		}
		if begun.Sub(s.SignedIn) < presence.MaxLease/2 {
			return s, nil
		}
	}
	// With a small cache every look-up of a new user would read the filters of all tables.
	st, err := pebblestore.Open(filepath.Join(dir, "store"), pebblestore.Options{Durability: pebblestore.OS, BlockBytes: 1 << 30})
	if err != nil {
		return nil, err
	}
	defer st.Close()
	if known == nil {
		if err := s.create(st, n); err != nil {
			return nil, err
		}
	}
	s.SignedIn = begun
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
	account, app, err := found(st)
	if err != nil {
		return err
	}
	s.Account = account
	dir := directory.New(st, time.Now)
	authority := auth.New(st, dir, time.Now)
	if _, s.Token, err = authority.Issue(context.Background(), account, auth.Token{App: app.ID, Scopes: app.Scopes, Name: "bench"}, 0); err != nil {
		return err
	}
	return s.createUsers(st, dir, n)
}

// createUsers creates the first user through the directory, and the others as copies of
// its documents with other ids and addresses, many in a write: that takes a tenth of the
// time.
func (s *seeded) createUsers(st store.Store, dir *directory.Directory, n int) error {
	ctx := context.Background()
	const email = "user0@example.com"
	first, err := dir.Create(ctx, s.Account, directory.User{Email: email, FirstName: "User", Active: true})
	if err != nil {
		return err
	}
	documents, err := st.Load(ctx, s.Account, store.Key{Collection: "user", Key: string(first.ID)}, store.Key{Collection: "email", Key: email})
	if err != nil {
		return err
	}
	if len(documents) != 2 {
		return fmt.Errorf("a user has %d documents, want 2", len(documents))
	}
	s.IDs = make([]presence.UserID, n)
	s.IDs[0] = first.ID
	const each = store.MaxWrite / 2
	return inParallel((n+each-1)/each, func(group int) error {
		var copies []store.Doc
		for i := max(1, group*each); i < min(n, (group+1)*each); i++ {
			s.IDs[i] = presence.UserID(directory.NewID())
			other := strings.NewReplacer(string(first.ID), string(s.IDs[i]), email, fmt.Sprintf("user%d@example.com", i))
			for k := range documents {
				d := &documents[k]
				copies = append(copies, store.Doc{
					Key:   store.Key{Collection: d.Key.Collection, Key: other.Replace(d.Key.Key)},
					Value: []byte(other.Replace(string(d.Value))),
				})
			}
		}
		return st.Write(ctx, s.Account, copies...)
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

// signIn records a session and a claim of each user, in one update.
func (s *seeded) signIn(st store.Store) error {
	policy := presence.DefaultPolicy()
	policy.IdleAfter = 0
	now := time.Now()
	events := []presence.Event{
		presence.SignIn{Session: "bench", Client: presence.Desktop, Lease: presence.MaxLease},
		presence.SetClaim{ID: "calendar", Source: presence.Schedule, Status: presence.InCalendarEvent, Until: presence.InstantOf(now.Add(day))},
	}
	return inParallel(len(s.IDs), func(i int) error {
		u := store.User{Account: s.Account, ID: s.IDs[i]}
		_, err := st.Update(context.Background(), u, func(was presence.Recorded) (store.Change, error) {
			next, errs, err := presence.ApplyEach(was, events, policy, presence.InstantOf(now))
			return store.Change{Change: next, By: store.By{Cause: store.CauseSignIn}}, errors.Join(append(errs, err)...)
		})
		return err
	})
}

// inParallel calls do n times, 1,024 at a time.
func inParallel(n int, do func(int) error) error {
	var next atomic.Int64
	var group sync.WaitGroup
	var once sync.Once
	var failure error
	for range 1024 {
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
