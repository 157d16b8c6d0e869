package auth_test

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/quota"
)

// isPermanentLimit reports whether err is a limit at which retrying does not help.
func isPermanentLimit(err error) bool {
	refused, ok := errors.AsType[*quota.Error](err)
	return ok && refused.RetryAfter == 0
}

// TestLiveTokensPerUser: each user can have as many valid tokens as the limit, whatever
// way they are requested; a token that expires or is revoked frees one.
func TestLiveTokensPerUser(t *testing.T) {
	const most = 5
	f := newFixture(t)
	f.Live = LiveTokens{User: &quota.Limit{Name: "live-tokens-per-user", Most: most}}
	issue := func(user presence.UserID, lifetime time.Duration) (Token, error) {
		made, _, err := f.Issue(t.Context(), f.account, Token{App: f.app.ID, User: user, Scopes: scopes(t, "presence:read")}, lifetime)
		return made, err
	}
	made := make([]atomic.Pointer[Token], 4*most)
	var all sync.WaitGroup
	for i := range made {
		all.Go(func() {
			switch token, err := issue(f.ann.ID, time.Hour); {
			case err == nil:
				made[i].Store(&token)
			case !isPermanentLimit(err):
				t.Error(err)
			}
		})
	}
	all.Wait()
	var live []*Token
	for i := range made {
		if token := made[i].Load(); token != nil {
			live = append(live, token)
		}
	}
	if len(live) != most {
		t.Fatalf("%d tokens were created concurrently, want %d", len(live), most)
	}
	if _, err := issue(f.owner, 0); err != nil {
		t.Errorf("for another user: %v", err)
	}
	check(t, f.Revoke(t.Context(), f.account, live[0].ID))
	if _, err := issue(f.ann.ID, 0); err != nil {
		t.Errorf("after revoking one: %v", err)
	}
	if _, err := issue(f.ann.ID, 0); !isPermanentLimit(err) {
		t.Errorf("above the limit: %v", err)
	}
	f.clock.Advance(time.Hour)
	for range most - 1 { // all but one expire
		if _, err := issue(f.ann.ID, 0); err != nil {
			t.Errorf("after one expired: %v", err)
		}
	}
	if _, err := issue(f.ann.ID, 0); !isPermanentLimit(err) {
		t.Errorf("above the limit: %v", err)
	}
}

// TestLiveTokensPerApp: the newest token of the token endpoint is valid, however many
// were issued before it. The oldest ones are revoked, but tokens that were created by
// name are kept.
func TestLiveTokensPerApp(t *testing.T) {
	const most = 20
	f := newFixture(t)
	limit := &quota.Limit{Name: "live-tokens-per-app", Most: most}
	f.Live = LiveTokens{App: limit}
	f.issue(t, f.ann.ID, 0) // not counted
	other, _ := f.newApp(t, f.account, "presence:read")
	byName := func(app presence.AppID) (string, error) {
		_, text, err := f.Issue(t.Context(), f.account, Token{App: app, Name: "deploy", Scopes: scopes(t, "presence:read")}, 0)
		return text, err
	}
	kept, err := byName(f.app.ID)
	check(t, err)
	var granted []string
	node := f.Authority
	for i := range 3 * most {
		if i == most { // the result does not depend on a node's caches
			node = f.otherNode()
			node.Live = LiveTokens{App: limit}
		}
		_, text, err := node.Issue(t.Context(), f.account, Token{App: f.app.ID, Scopes: scopes(t, "presence:read"), Granted: true}, time.Hour)
		check(t, err)
		granted = append(granted, text)
		f.clock.Advance(10 * time.Second)
		expectAccepted(t, node, text)
	}
	expectAccepted(t, node, kept)
	f.clock.Advance(MaxStale)
	valid := slices.DeleteFunc(slices.Clone(granted), func(text string) bool {
		_, err := node.Authenticate(t.Context(), text)
		return err != nil
	})
	if n := len(valid); n >= most || n < most-most/5 || !slices.Equal(valid, granted[len(granted)-n:]) {
		t.Errorf("%d tokens are valid, of at most %d with the one by name", n, most-1)
	}
	listed, err := node.Tokens(t.Context(), f.account, "", 1000)
	check(t, err)
	if len(listed) != len(valid)+2 {
		t.Errorf("%d tokens are listed, want %d", len(listed), len(valid)+2)
	}
	for range most {
		_, err := byName(other.ID)
		check(t, err)
	}
	if _, err := byName(other.ID); !isPermanentLimit(err) {
		t.Errorf("by name, above the limit: %v", err)
	}
	if n := limit.Refused(); n != 1 {
		t.Errorf("%d refusals are counted", n)
	}
}
