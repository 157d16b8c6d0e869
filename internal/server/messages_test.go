package server_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/server"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// runNodesTest runs a test of nodes that share a store and exchange messages, on a fake
// clock. All nodes have the account and the app of the first.
func runNodesTest(t *testing.T, n int, faults storetest.Faults, test func(nodes []*tokenNode)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		st, err := pebblestore.Open("store", pebblestore.Options{FS: vfs.NewMem(), Clock: time.Now, MinFreeBytes: -1})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		var bus storetest.Bus
		bus.SetFaults(faults)
		nodes := make([]*tokenNode, n)
		for i := range nodes {
			node := &tokenNode{T: t, docs: &slowLoads{Store: st}}
			node.users = directory.New(node.docs, time.Now)
			node.authority = auth.New(node.docs, node.users, time.Now)
			node.hub = server.NewHub(node.docs, node.users, node.authority, nil, time.Now, slog.New(slog.DiscardHandler), nil)
			run := server.ConnectNode(ctx, bus.Node(), node.users, node.authority, node.hub)
			for _, part := range []func() error{run, func() error { return node.hub.Run(ctx) }} {
				running.Go(func() {
					if err := part(); err != nil {
						t.Error(err)
					}
				})
			}
			nodes[i] = node
		}
		account, err := nodes[0].users.CreateAccount(ctx, "Example")
		nodes[0].check(err)
		nodes[0].account = account.ID
		app, _, err := nodes[0].authority.CreateApp(ctx, account.ID, "App", nodes[0].scopes())
		nodes[0].check(err)
		for _, node := range nodes {
			node.account, node.app = account.ID, app
		}
		defer func() {
			stop()
			running.Wait()
			time.Sleep(time.Second) // for messages that are delayed
			if err := st.Close(); err != nil {
				t.Error(err)
			}
		}()
		test(nodes)
	})
}

// endsOfAccess are the ways in which access ends, on one node.
var endsOfAccess = map[string]func(*tokenNode, *holder) error{
	"the token is revoked": func(n *tokenNode, h *holder) error {
		return n.authority.Revoke(n.Context(), n.account, h.token.ID)
	},
	"the app revokes the token": func(n *tokenNode, h *holder) error {
		return n.authority.RevokeByText(n.Context(), n.app.ID, h.text)
	},
	"all tokens of the user are revoked": func(n *tokenNode, h *holder) error {
		_, err := n.authority.RevokeTokens(n.Context(), n.account, auth.TokenFilter{User: h.user.ID})
		return err
	},
	"the user is deactivated": func(n *tokenNode, h *holder) error {
		u := h.user
		u.Active = false
		_, err := n.users.Update(n.Context(), n.account, u)
		return err
	},
	"the user is deleted": func(n *tokenNode, h *holder) error {
		return n.users.Delete(n.Context(), n.account, h.user.ID)
	},
	"the app loses a scope": func(n *tokenNode, _ *holder) error {
		less, err := n.authority.ParseScopes("contact:read")
		n.check(err)
		app, err := n.authority.App(n.Context(), n.account, n.app.ID)
		n.check(err)
		app.Scopes = less
		_, err = n.authority.UpdateApp(n.Context(), n.account, app)
		return err
	},
	"the app is deleted": func(n *tokenNode, _ *holder) error {
		return n.authority.DeleteApp(n.Context(), n.account, n.app.ID)
	},
	"the account is suspended": func(n *tokenNode, _ *holder) error {
		yes := true
		before, err := n.users.Account(n.Context(), n.account)
		n.check(err)
		_, err = n.users.UpdateAccount(n.Context(), before, directory.AccountChange{Suspended: &yes})
		n.authority.RevokeAccount(n.account, auth.ErrSuspended)
		return err
	},
}

// TestChangesReachOtherNodes: whatever ends access on one node ends it on every other within
// 0.5 s, also if messages are late, overtake each other and arrive twice, and within 5 s if
// all are lost: requests are refused, and streams end.
func TestChangesReachOtherNodes(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // no secret
	for kind, c := range map[string]struct {
		faults storetest.Faults
		within time.Duration
	}{
		"messages arrive":   {storetest.Faults{Delay: 10 * time.Millisecond, Jitter: 300 * time.Millisecond, Repeat: storetest.Sometimes(0.5, random)}, 500 * time.Millisecond},
		"messages are lost": {storetest.Faults{Lose: func() bool { return true }}, 5 * time.Second},
	} {
		for name, end := range endsOfAccess {
			t.Run(kind+"/"+name, func(t *testing.T) {
				runNodesTest(t, 3, c.faults, func(nodes []*tokenNode) {
					here, there := nodes[0], nodes[2]
					time.Sleep(10*time.Second + rand.N(3*time.Second)) //nolint:gosec // no secret; anywhere between two checks
					h := there.open("ada@example.com")
					other := there.open("grace@example.com")
					last := there.open("joan@example.com")
					here.check(end(here, h))
					time.Sleep(c.within)
					if there.may(h) {
						t.Error("the token is accepted")
					}
					if !h.sink.hasEnded() {
						t.Error("the stream is open")
					}
					all := name == "the app loses a scope" || name == "the app is deleted" || name == "the account is suspended"
					for _, o := range []*holder{other, last} {
						if o.sink.hasEnded() != all || there.may(o) == all {
							t.Errorf("of others: the stream ended %v, the token is accepted %v", o.sink.hasEnded(), there.may(o))
						}
					}
				})
			})
		}
	}
}

// may reports whether a token allows to read presence.
func (n *tokenNode) may(h *holder) bool {
	p, err := n.authority.Authenticate(n.Context(), h.text)
	if err != nil && !auth.Refused(err) {
		n.Error(err)
	}
	return err == nil && p.May(auth.PresenceRead)
}

func (e *endingSink) hasEnded() bool {
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.ended != nil
}

// TestDelayedMessageEndsNoValidStream: a message that arrives late ends nothing that is valid
// by then, because the receiver reads the token.
func TestDelayedMessageEndsNoValidStream(t *testing.T) {
	runNodesTest(t, 2, storetest.Faults{Delay: 20 * time.Second}, func(nodes []*tokenNode) {
		here, there := nodes[0], nodes[1]
		first := there.open("ada@example.com")
		u := first.user
		u.Active = false
		_, err := here.users.Update(here.Context(), here.account, u)
		here.check(errors.Join(err, here.authority.RevokeUser(here.Context(), here.account, u.ID)))
		u, err = here.users.User(here.Context(), here.account, u.ID)
		here.check(err)
		u.Active = true
		_, err = here.users.Update(here.Context(), here.account, u)
		here.check(err)
		_, text, err := here.authority.Issue(here.Context(), here.account, auth.Token{App: here.app.ID, User: u.ID, Scopes: here.scopes()}, time.Hour)
		here.check(err)
		p, err := there.authority.Authenticate(there.Context(), text)
		there.check(err)
		sink := new(endingSink)
		s, err := there.hub.Open(there.Context(), there.account, u.ID, p, sink)
		there.check(err)
		time.Sleep(time.Minute)
		if sink.hasEnded() {
			t.Error("a valid stream ended")
		}
		s.End(hub.CloseGone, 0)
	})
}

// TestMessagesHaveNoSecrets: what is sent has digests of tokens, and neither a token nor an
// address.
func TestMessagesHaveNoSecrets(t *testing.T) {
	runNodesTest(t, 1, storetest.Faults{}, func(nodes []*tokenNode) {
		n := nodes[0]
		h := n.open("ada@example.com")
		var sent []string
		record := func(r *auth.Revocation) {
			b, err := r.MarshalJSON()
			n.check(err)
			sent = append(sent, string(b))
		}
		n.authority.OnChange(record)
		for _, name := range []string{"the app revokes the token", "all tokens of the user are revoked", "the user is deleted", "the app is deleted"} {
			err := endsOfAccess[name](n, h)
			if errors.Is(err, auth.ErrNoSuchToken) {
				err = nil
			}
			n.check(err)
		}
		if len(sent) == 0 {
			t.Fatal("INVALID: nothing was sent")
		}
		for _, m := range sent {
			for _, secret := range []string{h.text, h.text[3:20], "ada@example.com"} {
				if strings.Contains(m, secret) {
					t.Errorf("a message has %q: %s", secret, m)
				}
			}
		}
	})
}
