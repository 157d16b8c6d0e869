package auth_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	. "porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/zoomapi"
)

func expectRefused(tb testing.TB, a *Authority, text string, want error) {
	tb.Helper()
	if p, err := a.Authenticate(tb.Context(), text); p != nil || !errors.Is(err, want) {
		tb.Errorf("Authenticate = %+v, %v; want %v", p, err, want)
	}
}

func expectAccepted(tb testing.TB, a *Authority, text string) *Principal {
	tb.Helper()
	p, err := a.Authenticate(tb.Context(), text)
	if err != nil || p == nil {
		tb.Fatalf("Authenticate = %+v, %v", p, err)
	}
	return p
}

func TestAuthenticate(t *testing.T) {
	f := newFixture(t)
	of, text := f.issue(t, f.ann.ID, time.Hour)
	if !strings.HasPrefix(text, "pl_") || len(text) != 46 {
		t.Errorf("token %q", text)
	}
	want := Principal{
		Account: f.account, App: f.app.ID, User: f.ann.ID, Scopes: scopes(t, "presence:read"),
		Expires: f.clock.Now().Add(time.Hour), TokenID: of.ID,
	}
	for range 2 {
		if got := expectAccepted(t, f.Authority, text); got.WithoutDigest() != want {
			t.Errorf("principal %+v, want %+v", *got, want)
		}
	}
	of, text = f.issue(t, "", 0)
	want = Principal{
		Account: f.account, App: f.app.ID, User: f.owner, AccountLevel: true, Scopes: scopes(t, "presence:read"), TokenID: of.ID,
	}
	if got := expectAccepted(t, f.Authority, text); got.WithoutDigest() != want {
		t.Errorf("principal %+v, want %+v", *got, want)
	}
	f.clock.Advance(100 * 365 * 24 * time.Hour)
	expectAccepted(t, f.Authority, text)
}

func TestAuthenticateRefuses(t *testing.T) {
	f := newFixture(t)
	_, text := f.issue(t, "", time.Hour)
	sum := sha256.Sum256([]byte(text))
	expectRefused(t, f.Authority, "", ErrNoToken)
	for _, bad := range []string{
		"x", "pl_", text[:45], text + "x", "PL_" + text[3:], text[:45] + "!", strings.Repeat("a", 1<<16),
		"pl_" + strings.Repeat("A", 43), hex.EncodeToString(sum[:]),
	} {
		expectRefused(t, f.Authority, bad, ErrInvalidToken)
	}
	expectAccepted(t, f.Authority, text)
}

func TestExpiry(t *testing.T) {
	f := newFixture(t)
	_, text := f.issue(t, f.ann.ID, time.Hour)
	expectAccepted(t, f.Authority, text)
	f.clock.Advance(time.Hour - time.Second)
	expectAccepted(t, f.Authority, text)
	f.clock.Advance(time.Second) // the cached answer is one second old
	expectRefused(t, f.Authority, text, ErrExpiredToken)
	expectRefused(t, f.otherNode(), text, ErrExpiredToken)
	f.clock.Advance(23 * time.Hour)
	expectRefused(t, f.Authority, text, ErrExpiredToken)
	if tokens, err := f.Tokens(t.Context(), f.account, "", 10); err != nil || len(tokens) != 0 {
		t.Errorf("tokens %v, %v; want none", tokens, err)
	}
	f.clock.Advance(time.Hour)
	expectRefused(t, f.Authority, text, ErrInvalidToken)
}

func TestIssueRefuses(t *testing.T) {
	f := newFixture(t)
	other := f.newAccount(t)
	weak, _ := f.newApp(t, f.account, "presence:read")
	sleeper := f.newUser(t, "sleeper@example.com")
	sleeper.Active = false
	if _, err := f.users.Update(t.Context(), f.account, sleeper); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		account presence.AccountID
		token   Token
		want    error
	}{
		"no app":              {f.account, Token{}, ErrNoApp},
		"unknown app":         {f.account, Token{App: "nope"}, ErrNoApp},
		"other account's app": {other, Token{App: f.app.ID}, ErrNoApp},
		"unknown user":        {f.account, Token{App: f.app.ID, User: "nope"}, directory.ErrNoUser},
		"deactivated user":    {f.account, Token{App: f.app.ID, User: sleeper.ID}, presence.ErrDeactivated},
		"beyond the app":      {f.account, Token{App: weak.ID, Scopes: scopes(t, "presence:read:admin")}, ErrScope},
	} {
		if _, text, err := f.Issue(t.Context(), c.account, c.token, time.Hour); !errors.Is(err, c.want) || text != "" {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	var field *presence.FieldError
	if _, _, err := f.Issue(t.Context(), f.account, Token{App: f.app.ID}, -1); !errors.As(err, &field) {
		t.Errorf("a negative duration: %v", err)
	}
	if _, _, err := f.Issue(t.Context(), f.account, Token{App: f.app.ID, Name: "a\nb"}, 0); !errors.As(err, &field) {
		t.Errorf("a name of two lines: %v", err)
	}
}

func TestRevoke(t *testing.T) {
	f := newFixture(t)
	of, text := f.issue(t, f.ann.ID, time.Hour)
	_, kept := f.issue(t, f.ann.ID, time.Hour)
	node := f.otherNode()
	expectAccepted(t, f.Authority, text)
	expectAccepted(t, node, text)
	if err := f.Revoke(t.Context(), f.newAccount(t), of.ID); !errors.Is(err, ErrNoSuchToken) {
		t.Errorf("by another account: %v, want ErrNoSuchToken", err)
	}
	check(t, f.Revoke(t.Context(), f.account, of.ID))
	expectRefused(t, f.Authority, text, ErrInvalidToken)
	expectAccepted(t, f.Authority, kept)
	expectAccepted(t, node, text) // its cache
	f.clock.Advance(MaxStale)
	expectRefused(t, node, text, ErrInvalidToken)
	for _, id := range []string{of.ID, "", "nope", "a\x00b"} {
		if err := f.Revoke(t.Context(), f.account, id); !errors.Is(err, ErrNoSuchToken) {
			t.Errorf("Revoke(%q): %v, want ErrNoSuchToken", id, err)
		}
	}
}

func TestTokensStopWithTheirUserAndApp(t *testing.T) {
	f := newFixture(t)
	_, ofAnn := f.issue(t, f.ann.ID, 0)
	_, ofApp := f.issue(t, "", 0)
	expectAccepted(t, f.Authority, ofAnn)
	expectAccepted(t, f.Authority, ofApp)

	asleep := f.ann
	asleep.Active = false
	asleep, err := f.users.Update(t.Context(), f.account, asleep)
	check(t, err)
	f.clock.Advance(MaxStale)
	expectRefused(t, f.Authority, ofAnn, ErrInvalidToken)
	asleep.Active = true
	_, err = f.users.Update(t.Context(), f.account, asleep)
	check(t, err)
	f.clock.Advance(MaxStale)
	expectAccepted(t, f.Authority, ofAnn)

	check(t, f.users.Delete(t.Context(), f.account, f.ann.ID))
	f.clock.Advance(MaxStale)
	expectRefused(t, f.Authority, ofAnn, ErrInvalidToken)

	check(t, f.DeleteApp(t.Context(), f.account, f.app.ID))
	expectRefused(t, f.Authority, ofApp, ErrInvalidToken) // immediately
	if tokens, err := f.Tokens(t.Context(), f.account, "", 10); err != nil || len(tokens) != 0 {
		t.Errorf("tokens %v, %v; want none", tokens, err)
	}
}

func TestRevokeUser(t *testing.T) {
	f := newFixture(t)
	var texts []string
	for range 230 { // more than one page of the sweep
		_, text := f.issue(t, f.ann.ID, 0)
		texts = append(texts, text)
	}
	_, kept := f.issue(t, "", 0)
	expectAccepted(t, f.Authority, texts[7])
	check(t, f.RevokeUser(t.Context(), f.account, f.ann.ID))
	for _, text := range texts {
		expectRefused(t, f.Authority, text, ErrInvalidToken)
	}
	expectAccepted(t, f.Authority, kept)
}

func TestApps(t *testing.T) {
	f := newFixture(t)
	other := f.newAccount(t)
	second, _ := f.newApp(t, f.account, "presence:read")
	want := []App{f.app, second}
	slices.SortFunc(want, func(a, b App) int { return strings.Compare(string(a.ID), string(b.ID)) })
	apps, err := f.Apps(t.Context(), f.account, "", 10)
	if err != nil || !reflect.DeepEqual(apps, want) {
		t.Errorf("Apps = %+v, %v; want %+v", apps, err, want)
	}
	apps, err = f.Apps(t.Context(), f.account, want[0].ID, 10)
	if err != nil || !reflect.DeepEqual(apps, want[1:]) {
		t.Errorf("Apps above the first = %+v, %v", apps, err)
	}
	if app, err := f.App(t.Context(), f.account, f.app.ID); err != nil || !reflect.DeepEqual(app, f.app) {
		t.Errorf("App = %+v, %v", app, err)
	}
	for name, do := range map[string]func(presence.AccountID, presence.AppID) error{
		"App":       func(a presence.AccountID, id presence.AppID) error { _, err := f.App(t.Context(), a, id); return err },
		"DeleteApp": func(a presence.AccountID, id presence.AppID) error { return f.DeleteApp(t.Context(), a, id) },
		"RotateSecret": func(a presence.AccountID, id presence.AppID) error {
			_, err := f.RotateSecret(t.Context(), a, id)
			return err
		},
	} {
		if err := do(other, f.app.ID); !errors.Is(err, ErrNoApp) {
			t.Errorf("%s of another account's app: %v, want ErrNoApp", name, err)
		}
		if err := do(f.account, "nope"); !errors.Is(err, ErrNoApp) {
			t.Errorf("%s of no app: %v, want ErrNoApp", name, err)
		}
	}
	if _, _, err := f.CreateApp(t.Context(), "nowhere", "App", Scopes{}); !errors.Is(err, directory.ErrNoAccount) {
		t.Errorf("CreateApp in no account: %v", err)
	}
	var field *presence.FieldError
	if _, _, err := f.CreateApp(t.Context(), f.account, "", Scopes{}); !errors.As(err, &field) {
		t.Errorf("CreateApp without a name: %v", err)
	}
}

// TestRetiredScopes reads an app and a token that were stored with names of scopes
// that no longer exist. The names that exist still work, and the others open nothing.
func TestRetiredScopes(t *testing.T) {
	f := newFixture(t)
	retired := Alias{Name: "presence:write", Scopes: []Scope{DirectoryWrite}, Admin: true}
	older := New(f.docs, f.users, f.clock.Now, append(zoomapi.Scopes(), retired)...)
	for names, want := range map[string]string{
		"presence:read presence:write user:write": "presence:read user:write",
		"presence:write": "",
	} {
		granted, err := older.ParseScopes(names)
		check(t, err)
		app, secret, err := older.CreateApp(t.Context(), f.account, "old", granted)
		check(t, err)
		_, token, err := older.Issue(t.Context(), f.account, Token{App: app.ID, Scopes: granted}, 0)
		check(t, err)

		p, err := f.Authenticate(t.Context(), token)
		if err != nil || p.Scopes.String() != want || p.Scopes.Has(DirectoryWrite) {
			t.Errorf("a token with %q: %+v, %v; want %q", names, p, err, want)
		}
		if _, found, err := f.AuthenticateClient(t.Context(), app.ID, secret); err != nil || found.Scopes.String() != want {
			t.Errorf("an app with %q: %+v, %v; want %q", names, found, err, want)
		}
	}
	if _, err := f.ParseScopes("presence:write"); err == nil {
		t.Error("a retired scope can be granted")
	}
}

// TestRevocationOutlastsConcurrentRead: a read that began before a revocation does
// not put the token back into the cache after it.
func TestRevocationOutlastsConcurrentRead(t *testing.T) {
	f := newFixture(t)
	for range 30 {
		of, text := f.issue(t, f.ann.ID, 0)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						_, _ = f.Authenticate(context.Background(), text)
						f.clock.Advance(time.Millisecond)
					}
				}
			})
		}
		check(t, f.Revoke(t.Context(), f.account, of.ID))
		for range 20 {
			expectRefused(t, f.Authority, text, ErrInvalidToken)
		}
		close(stop)
		wg.Wait()
	}
}

func TestCacheReads(t *testing.T) {
	f := newFixture(t)
	_, text := f.issue(t, f.ann.ID, 0)
	loads := func(do func()) int64 {
		before := f.docs.loads.Load()
		do()
		return f.docs.loads.Load() - before
	}
	hit := func() { expectAccepted(t, f.Authority, text) }
	if n := loads(hit); n == 0 {
		t.Error("the first authentication does not read the store")
	}
	f.clock.Advance(MaxStale - time.Second - time.Millisecond)
	if n := loads(hit); n != 0 {
		t.Errorf("%d loads for a cached token", n)
	}
	f.clock.Advance(time.Millisecond) // one caller refreshes it
	if n := loads(hit); n == 0 {
		t.Error("the cached token is not refreshed")
	}
	if n := loads(hit); n != 0 {
		t.Errorf("%d loads after the refresh", n)
	}
	// A token that was refused at its refresh is not accepted from the cache.
	asleep := f.ann
	asleep.Active = false
	_, err := f.users.Update(t.Context(), f.account, asleep)
	check(t, err)
	f.clock.Advance(MaxStale - time.Second)
	for range 3 {
		expectRefused(t, f.Authority, text, ErrInvalidToken)
	}
	unknown := "pl_" + strings.Repeat("A", 43)
	expectRefused(t, f.Authority, unknown, ErrInvalidToken)
	if n := loads(func() { expectRefused(t, f.Authority, unknown, ErrInvalidToken) }); n != 0 {
		t.Errorf("%d loads for a guess that was just refused", n)
	}
}

// TestOthersStayCached: what is revoked of one account is not read again of another one.
func TestOthersStayCached(t *testing.T) {
	f := newFixture(t)
	_, text := f.issue(t, f.ann.ID, 0)
	account, owner := f.people.Account("owner@example.net")
	app, _ := f.newApp(t, account, everything)
	loads := func(node *Authority, changes ...Revocation) int64 {
		expectAccepted(t, node, text)
		before := f.docs.loads.Load()
		for i := range changes {
			node.Forget(&changes[i])
		}
		expectAccepted(t, node, text)
		return f.docs.loads.Load() - before
	}
	var read int64
	for range 10 { // they may share a slot on one node, by chance
		node := f.otherNode()
		if read = loads(node, Revocation{Account: account, All: true}, Revocation{Account: account, App: app.ID}, Revocation{Account: account, User: owner.ID}); read == 0 {
			break
		}
	}
	if read != 0 {
		t.Errorf("%d loads after changes in another account", read)
	}
	if loads(f.Authority, Revocation{Account: f.account, User: f.ann.ID}) == 0 {
		t.Error("not read again after a change of the user")
	}
}

// TestStoreFailureIsNotCached: a failure of the store says nothing about a token, and
// is not cached.
func TestStoreFailureIsNotCached(t *testing.T) {
	f := newFixture(t)
	_, text := f.issue(t, f.ann.ID, 0)
	failure := store.ErrFailed
	f.docs.failLoad.Store(&failure)
	expectRefused(t, f.Authority, text, store.ErrFailed)
	f.docs.failLoad.Store(nil)
	expectAccepted(t, f.Authority, text)
}

// TestInterruptedWrites: a crash between the two writes of Issue leaves a token that is
// listed and invalid, and can be revoked. A revocation interrupted between its writes
// can be repeated. The same holds for apps.
func TestInterruptedWrites(t *testing.T) {
	for _, apply := range []bool{false, true} {
		t.Run(fmt.Sprint("applied ", apply), func(t *testing.T) {
			f := newFixture(t)
			failSystem := func(account presence.AccountID, _ []store.Doc) (bool, error) {
				if account == "" {
					return apply, store.ErrUnknown
				}
				return false, nil
			}
			f.docs.failWrite = failSystem
			if _, text, err := f.Issue(t.Context(), f.account, Token{App: f.app.ID}, 0); !errors.Is(err, store.ErrUnknown) || text != "" {
				t.Fatalf("Issue: %v", err)
			}
			tokens, err := f.Tokens(t.Context(), f.account, "", 10)
			if err != nil || len(tokens) != 1 {
				t.Fatalf("Tokens = %v, %v", tokens, err)
			}
			err = f.Revoke(t.Context(), f.account, tokens[0].ID)
			if apply && !errors.Is(err, store.ErrUnknown) {
				t.Fatalf("Revoke: %v", err)
			}
			if apply {
				f.docs.failWrite = nil
				check(t, f.Revoke(t.Context(), f.account, tokens[0].ID))
				f.docs.failWrite = failSystem
			}
			err = f.DeleteApp(t.Context(), f.account, f.app.ID)
			if !errors.Is(err, store.ErrUnknown) {
				t.Fatalf("DeleteApp: %v", err)
			}
			f.docs.failWrite = nil
			check(t, f.DeleteApp(t.Context(), f.account, f.app.ID))
			if apps, err := f.Apps(t.Context(), f.account, "", 10); err != nil || len(apps) != 0 {
				t.Errorf("apps %v, %v; want none", apps, err)
			}
		})
	}
}

// TestSecretsAreNotStored: no stored document contains a secret, in any encoding.
func TestSecretsAreNotStored(t *testing.T) {
	f := newFixture(t)
	_, ofAnn := f.issue(t, f.ann.ID, 0)
	_, ofApp := f.issue(t, "", time.Hour)
	rotated, err := f.RotateSecret(t.Context(), f.account, f.app.ID)
	check(t, err)
	var secrets [][]byte
	for _, secret := range []string{f.secret, rotated, strings.TrimPrefix(ofAnn, "pl_"), strings.TrimPrefix(ofApp, "pl_")} {
		raw, err := base64.RawURLEncoding.DecodeString(secret)
		if err != nil || len(raw) != 32 {
			t.Fatalf("secret %q: %v", secret, err)
		}
		secrets = append(secrets, []byte(secret), raw, []byte(hex.EncodeToString(raw)))
	}
	seen := 0
	for _, account := range []presence.AccountID{"", f.account} {
		for _, collection := range []string{"account", "user", "email", "burnt", "app", "client", "token", "secret"} {
			docs, err := f.docs.List(t.Context(), account, collection, "", 1000)
			check(t, err)
			for _, doc := range docs {
				seen++
				text := append([]byte(doc.Key.Key+"\n"), doc.Value...)
				for _, secret := range secrets {
					if bytes.Contains(text, secret) {
						t.Errorf("%s/%s contains a secret", doc.Collection, doc.Key.Key)
					}
				}
			}
		}
	}
	if seen != 11 { // an account; 2 users, 2 e-mails; an app, its client; 2 tokens, twice
		t.Errorf("checked %d documents", seen)
	}
}

func TestAuthenticateConcurrently(t *testing.T) {
	f := newFixture(t)
	var texts []string
	for range 8 {
		_, text := f.issue(t, f.ann.ID, 0)
		texts = append(texts, text)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 500 {
				if _, err := f.Authenticate(context.Background(), texts[i%len(texts)]); err != nil {
					t.Error(err)
				}
				f.clock.Advance(10 * time.Millisecond)
			}
		})
	}
	wg.Wait()
}

func TestCachedAuthenticateDoesNotAllocate(t *testing.T) {
	f := newFixture(t)
	_, text := f.issue(t, f.ann.ID, 0)
	if n := testing.AllocsPerRun(100, func() { expectAccepted(t, f.Authority, text) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	f := newFixture(b)
	authority := New(f.docs, f.users, time.Now)
	_, text := f.issue(b, f.ann.ID, 0)
	b.Run("cached", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := authority.Authenticate(b.Context(), text); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("cached parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := authority.Authenticate(context.Background(), text); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f.clock.Advance(MaxStale)
			if _, err := f.Authenticate(b.Context(), text); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("guess", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := authority.Authenticate(b.Context(), fmt.Sprintf("pl_%043d", i)); !errors.Is(err, ErrInvalidToken) {
				b.Fatal(err)
			}
		}
	})
}
