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

// tooMany reports whether waiting does not help.
func tooMany(err error) bool {
	refused, ok := errors.AsType[*quota.Error](err)
	return ok && refused.RetryAfter == 0
}

// TestLiveTokensOfAUser: there are as many as the limit says, of each user, however
// they are asked for; one that ends makes room for another.
func TestLiveTokensOfAUser(t *testing.T) {
	const most = 5
	f := newFixture(t)
	f.Live = LiveTokens{User: &quota.Limit{Name: "live-tokens-per-user", Most: most}}
	issue := func(user presence.UserID, lasts time.Duration) (Token, error) {
		made, _, err := f.Issue(t.Context(), f.account, Token{App: f.app.ID, User: user, Scopes: scopes(t, "presence:read")}, lasts)
		return made, err
	}
	made := make([]atomic.Pointer[Token], 4*most)
	var all sync.WaitGroup
	for i := range made {
		all.Go(func() {
			switch token, err := issue(f.ann.ID, time.Hour); {
			case err == nil:
				made[i].Store(&token)
			case !tooMany(err):
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
		t.Fatalf("%d tokens were made at once, want %d", len(live), most)
	}
	if _, err := issue(f.owner, 0); err != nil {
		t.Errorf("another user: %v", err)
	}
	check(t, f.Revoke(t.Context(), f.account, live[0].ID))
	if _, err := issue(f.ann.ID, 0); err != nil {
		t.Errorf("in place of one that was revoked: %v", err)
	}
	if _, err := issue(f.ann.ID, 0); !tooMany(err) {
		t.Errorf("one more: %v", err)
	}
	f.clock.Advance(time.Hour)
	for range most - 1 { // one does not expire
		if _, err := issue(f.ann.ID, 0); err != nil {
			t.Errorf("in place of one that expired: %v", err)
		}
	}
	if _, err := issue(f.ann.ID, 0); !tooMany(err) {
		t.Errorf("one more: %v", err)
	}
}

// TestLiveTokensOfAnApp: the newest token of the token endpoint works, however many
// there were, and the oldest make way; those that somebody made by name stay.
func TestLiveTokensOfAnApp(t *testing.T) {
	const most = 20
	f := newFixture(t)
	limit := &quota.Limit{Name: "live-tokens-per-app", Most: most}
	f.Live = LiveTokens{App: limit}
	f.issue(t, f.ann.ID, 0) // does not count
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
		if i == most { // what a node remembers does not matter
			node = f.otherNode()
			node.Live = LiveTokens{App: limit}
		}
		_, text, err := node.Issue(t.Context(), f.account, Token{App: f.app.ID, Scopes: scopes(t, "presence:read"), Granted: true}, time.Hour)
		check(t, err)
		granted = append(granted, text)
		f.clock.Advance(10 * time.Second)
		accepts(t, node, text)
	}
	accepts(t, node, kept)
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
	if _, err := byName(other.ID); !tooMany(err) {
		t.Errorf("one more by name: %v", err)
	}
	if n := limit.Refused(); n != 1 {
		t.Errorf("%d refusals are counted", n)
	}
}
