package server_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/server"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
)

// A slowLoads is a store that counts reads of documents and delays each.
type slowLoads struct {
	store.Store
	loads atomic.Int64
	delay atomic.Int64 // a time.Duration
}

func (s *slowLoads) Load(ctx context.Context, account presence.AccountID, keys ...store.Key) ([]store.Doc, error) {
	s.loads.Add(1)
	select {
	case <-time.After(time.Duration(s.delay.Load())):
		return s.Store.Load(ctx, account, keys...)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// An endingSink is a connection that accepts everything and records its end.
type endingSink struct {
	mu    sync.Mutex // guards the fields below
	pings int
	ended *hub.Close
}

func (e *endingSink) Append(b []byte, d hub.Delivery) []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	if d.Event == (hub.Ping{}) {
		e.pings++
	}
	return append(b, '.')
}

func (*endingSink) TryWrite(b []byte) (int, error) { return len(b), nil }
func (*endingSink) Write([]byte, *hub.Pace) error  { return nil }
func (*endingSink) AnswersPings() bool             { return false }
func (*endingSink) TakesBroadcasts() bool          { return false }
func (*endingSink) Finish(_ bool, done func())     { done() }
func (e *endingSink) End(why hub.Close, _ time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = &why
}

func (e *endingSink) state() (pings int, unauthorized bool) {
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.pings, e.ended != nil && *e.ended == hub.CloseUnauthorized
}

// A tokenNode is a hub with an authenticator, on a fake clock.
type tokenNode struct {
	*testing.T
	docs      *slowLoads
	users     *directory.Directory
	authority *auth.Authority
	hub       *hub.Hub
	account   presence.AccountID
	app       auth.App
}

func runTokenTest(t *testing.T, test func(n *tokenNode)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		st, err := pebblestore.Open("store", pebblestore.Options{FS: vfs.NewMem(), Clock: time.Now, MinFreeBytes: -1})
		n := &tokenNode{T: t, docs: &slowLoads{Store: st}}
		n.check(err)
		n.users = directory.New(n.docs, time.Now)
		n.authority = auth.New(n.docs, n.users, time.Now)
		n.hub = server.NewHub(n.docs, n.users, n.authority, nil, time.Now, slog.New(slog.DiscardHandler), nil)
		account, err := n.users.CreateAccount(t.Context(), "Example")
		n.check(err)
		n.account = account.ID
		n.app, _, err = n.authority.CreateApp(t.Context(), n.account, "App", n.scopes())
		n.check(err)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- n.hub.Run(ctx) }()
		defer func() {
			stop()
			if err := errors.Join(<-ended, st.Close()); err != nil {
				t.Error(err)
			}
		}()
		test(n)
	})
}

func (n *tokenNode) check(err error) {
	n.Helper()
	if err != nil {
		n.Fatal(err)
	}
}

func (n *tokenNode) scopes() auth.Scopes {
	n.Helper()
	scopes, err := n.authority.ParseScopes("presence:read contact:read")
	n.check(err)
	return scopes
}

// A holder is a user with a token and a stream.
type holder struct {
	user  directory.User
	token auth.Token
	text  string
	sink  *endingSink
}

func (n *tokenNode) open(email string) *holder {
	n.Helper()
	h := &holder{sink: new(endingSink)}
	var err error
	h.user, err = n.users.Create(n.Context(), n.account, directory.User{Email: email, Active: true})
	n.check(err)
	h.token, h.text, err = n.authority.Issue(n.Context(), n.account, auth.Token{App: n.app.ID, User: h.user.ID, Name: "t", Scopes: n.scopes()}, 15*time.Minute)
	n.check(err)
	p, err := n.authority.Authenticate(n.Context(), h.text)
	n.check(err)
	s, err := n.hub.Open(n.Context(), n.account, h.user.ID, p, h.sink)
	n.check(err)
	n.Cleanup(func() { s.End(hub.CloseGone, 0) })
	return h
}

// TestIdleStreamsBatchTokenReads: many streams, each with its own token, on a store
// with slow reads. Tokens are checked at the documented interval, and keepalives are
// sent on time.
func TestIdleStreamsBatchTokenReads(t *testing.T) {
	const streams, minutes = 300, 2
	runTokenTest(t, func(n *tokenNode) {
		all := make([]*holder, streams)
		for i := range all {
			all[i] = n.open(fmt.Sprintf("user%d@example.com", i))
		}
		n.docs.delay.Store(int64(100 * time.Millisecond)) // sequential reads would take 90 s
		before := n.docs.loads.Load()
		time.Sleep(minutes * time.Minute)
		if n, most := n.docs.loads.Load()-before, int64(minutes*60*3); n > most {
			t.Errorf("%d reads for %d streams in %d minutes, want at most %d", n, streams, minutes, most)
		}
		for _, h := range all {
			if pings, _ := h.sink.state(); pings < minutes*60/26 {
				t.Fatalf("%d keepalives in %d minutes", pings, minutes)
			}
		}
		other := auth.New(n.docs, directory.New(n.docs, time.Now), time.Now) // of another node
		n.check(other.Revoke(n.Context(), n.account, all[streams/2].token.ID))
		time.Sleep(auth.MaxStale)
		for i, h := range all {
			if _, unauthorized := h.sink.state(); unauthorized != (i == streams/2) {
				t.Errorf("stream %d: ended %v", i, unauthorized)
			}
		}
	})
}

// TestKeepalivesDoNotWaitForTheStore: a store that does not answer neither ends streams
// nor delays keepalives.
func TestKeepalivesDoNotWaitForTheStore(t *testing.T) {
	runTokenTest(t, func(n *tokenNode) {
		h := n.open("ada@example.com")
		n.docs.delay.Store(int64(time.Hour))
		time.Sleep(5 * time.Minute)
		if pings, unauthorized := h.sink.state(); pings < 11 || unauthorized {
			t.Errorf("%d keepalives in five minutes, ended %v", pings, unauthorized)
		}
	})
}

// TestRevocationEndsStreamsImmediately: when a token becomes invalid on this node for
// any reason, its streams end immediately, and streams of other tokens stay open. No
// time passes in the test.
func TestRevocationEndsStreamsImmediately(t *testing.T) {
	deactivate := func(n *tokenNode, h *holder) error {
		u := h.user
		u.Active = false
		_, err := n.users.Update(n.Context(), n.account, u)
		return err
	}
	for name, end := range map[string]func(*tokenNode, *holder) error{
		"the token is revoked": func(n *tokenNode, h *holder) error {
			return n.authority.Revoke(n.Context(), n.account, h.token.ID)
		},
		"the app revokes the token": func(n *tokenNode, h *holder) error {
			return n.authority.RevokeByText(n.Context(), n.app.ID, h.text)
		},
		"all tokens of the user are revoked": func(n *tokenNode, h *holder) error {
			return errors.Join(deactivate(n, h), n.authority.RevokeUser(n.Context(), n.account, h.user.ID))
		},
	} {
		t.Run(name, func(t *testing.T) {
			runTokenTest(t, func(n *tokenNode) {
				h, other := n.open("ada@example.com"), n.open("grace@example.com")
				n.check(end(n, h))
				if _, unauthorized := h.sink.state(); !unauthorized {
					t.Error("the stream of the invalid token is still open")
				}
				if _, unauthorized := other.sink.state(); unauthorized {
					t.Error("the stream of another token ended")
				}
			})
		})
	}
	t.Run("the app is deleted", func(t *testing.T) {
		runTokenTest(t, func(n *tokenNode) {
			h := n.open("ada@example.com")
			n.check(n.authority.DeleteApp(n.Context(), n.account, n.app.ID))
			if _, unauthorized := h.sink.state(); !unauthorized {
				t.Error("the stream of the invalid token is still open")
			}
		})
	})
}

// TestSingleWriterDoesNotReloadTokens: if no other node changes the store, cached
// tokens are not read again. A stream still ends when its token expires, or when its
// user was deactivated by a server that stopped before it revoked the tokens.
func TestSingleWriterDoesNotReloadTokens(t *testing.T) {
	runTokenTest(t, func(n *tokenNode) {
		n.authority.OnlyWriter()
		ada, grace, late := n.open("ada@example.com"), n.open("grace@example.com"), n.open("late@example.com")
		before := n.docs.loads.Load()
		time.Sleep(10 * time.Minute)
		if n := n.docs.loads.Load() - before; n != 0 {
			t.Errorf("%d reads", n)
		}
		u := ada.user
		u.Active = false
		_, err := n.users.Update(n.Context(), n.account, u)
		n.check(err)
		n.check(n.users.Delete(n.Context(), n.account, grace.user.ID))
		time.Sleep(4 * time.Second)
		for _, h := range []*holder{ada, grace} {
			if _, unauthorized := h.sink.state(); !unauthorized {
				t.Errorf("the stream of %s is still open", h.user.Email)
			}
		}
		if _, unauthorized := late.sink.state(); unauthorized {
			t.Error("the stream of another token ended")
		}
		time.Sleep(15 * time.Minute)
		if _, unauthorized := late.sink.state(); !unauthorized {
			t.Error("a stream outlived its token")
		}
	})
}
