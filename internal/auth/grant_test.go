package auth_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	. "porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/quota"
)

const (
	verifier = "a-verifier-of-forty-three-characters-and-more"
	redirect = "https://app.example.com/callback"
)

func challengeOf(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// authorization is Ann's consent to the fixture's app.
func (f *fixture) authorization(tb testing.TB, names string) *Authorization {
	return &Authorization{
		Account: f.account, User: f.ann.ID, App: f.app.ID, Scopes: scopes(tb, names),
		Redirect: redirect, NamedRedirect: true, Challenge: challengeOf(verifier),
	}
}

func (f *fixture) code(tb testing.TB, names string) string {
	tb.Helper()
	code, err := f.NewCode(tb.Context(), f.authorization(tb, names))
	check(tb, err)
	return code
}

// access is what the app gets for Ann.
func (f *fixture) access(tb testing.TB, names string) *Access {
	tb.Helper()
	got, err := f.RedeemCode(tb.Context(), f.app.ID, f.code(tb, names), redirect, verifier)
	check(tb, err)
	return got
}

func all(s Scopes) (Scopes, error) { return s, nil }

func (f *fixture) refresh(tb testing.TB, text string) (*Access, error) {
	return f.Refresh(tb.Context(), f.app.ID, text, all)
}

// valid reports whether a token is accepted.
func (f *fixture) valid(tb testing.TB, text string) bool {
	tb.Helper()
	_, err := f.Authenticate(tb.Context(), text)
	if err != nil && !Refused(err) {
		tb.Fatal(err)
	}
	return err == nil
}

func wantGrantError(tb testing.TB, err error) {
	tb.Helper()
	if _, ok := errors.AsType[*GrantError](err); !ok {
		tb.Errorf("got %v, want a GrantError", err)
	}
}

func wantReuse(tb testing.TB, err error) {
	tb.Helper()
	if _, ok := errors.AsType[*ReuseError](err); !ok {
		tb.Errorf("got %v, want a ReuseError", err)
	}
}

func TestCode(t *testing.T) {
	f := newFixture(t)
	got := f.access(t, "presence:read claim:write")
	p, err := f.Authenticate(t.Context(), got.Text)
	check(t, err)
	if p.User != f.ann.ID || p.AccountLevel || p.App != f.app.ID || p.Scopes.String() != "presence:read claim:write" ||
		!p.Expires.Equal(f.clock.Now().Add(time.Hour)) {
		t.Errorf("%+v", p)
	}
	if !strings.HasPrefix(got.Refresh, "pl_refresh_") {
		t.Error(got.Refresh)
	}
}

func TestCodeRefused(t *testing.T) {
	f := newFixture(t)
	other, _ := f.newApp(t, f.account, everything)
	plain := f.authorization(t, "presence:read")
	plain.Challenge = ""
	unnamed := f.authorization(t, "presence:read")
	unnamed.NamedRedirect = false
	for name, c := range map[string]struct {
		of                 *Authorization
		app                presence.AppID
		redirect, verifier string
		later              time.Duration
		ok                 bool
	}{
		"as asked":               {f.authorization(t, "presence:read"), f.app.ID, redirect, verifier, 0, true},
		"at the last moment":     {f.authorization(t, "presence:read"), f.app.ID, redirect, verifier, CodeLasts - time.Millisecond, true},
		"expired":                {f.authorization(t, "presence:read"), f.app.ID, redirect, verifier, CodeLasts, false},
		"another app":            {f.authorization(t, "presence:read"), other.ID, redirect, verifier, 0, false},
		"another redirect":       {f.authorization(t, "presence:read"), f.app.ID, redirect + "/", verifier, 0, false},
		"no redirect":            {f.authorization(t, "presence:read"), f.app.ID, "", verifier, 0, false},
		"no redirect, unnamed":   {unnamed, f.app.ID, "", verifier, 0, true},
		"unnamed, named now":     {unnamed, f.app.ID, redirect, verifier, 0, true},
		"unnamed, another":       {unnamed, f.app.ID, redirect + "/", verifier, 0, false},
		"no verifier":            {f.authorization(t, "presence:read"), f.app.ID, redirect, "", 0, false},
		"wrong verifier":         {f.authorization(t, "presence:read"), f.app.ID, redirect, verifier + "x", 0, false},
		"challenge as verifier":  {f.authorization(t, "presence:read"), f.app.ID, redirect, challengeOf(verifier), 0, false},
		"no challenge":           {plain, f.app.ID, redirect, "", 0, true},
		"verifier, no challenge": {plain, f.app.ID, redirect, verifier, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			code, err := f.NewCode(t.Context(), c.of)
			check(t, err)
			f.clock.Advance(c.later)
			_, err = f.RedeemCode(t.Context(), c.app, code, c.redirect, c.verifier)
			if c.ok {
				check(t, err)
				return
			}
			wantGrantError(t, err)
		})
	}
	for _, code := range []string{"", "x", "pl_code_", "pl_code_" + strings.Repeat("a", 43), f.access(t, "presence:read").Text} {
		_, err := f.RedeemCode(t.Context(), f.app.ID, code, redirect, verifier)
		wantGrantError(t, err)
	}
}

// TestSecondUseOfCode: it ends what the first use gave, even of a refreshed token.
func TestSecondUseOfCode(t *testing.T) {
	f := newFixture(t)
	code := f.code(t, "presence:read")
	first, err := f.RedeemCode(t.Context(), f.app.ID, code, redirect, verifier)
	check(t, err)
	unrelated := f.access(t, "presence:read")
	f.clock.Advance(time.Hour)
	second, err := f.refresh(t, first.Refresh)
	check(t, err)
	_, err = f.RedeemCode(t.Context(), f.app.ID, code, redirect, verifier)
	wantReuse(t, err)
	if f.valid(t, second.Text) {
		t.Error("the token of a code that was used twice is still valid")
	}
	_, err = f.refresh(t, second.Refresh)
	wantGrantError(t, err)
	if _, err := f.refresh(t, unrelated.Refresh); err != nil {
		t.Errorf("another family ended: %v", err)
	}
}

// TestConcurrentUsesOfCode: at most one gets tokens, and none of them are valid
// afterwards.
func TestConcurrentUsesOfCode(t *testing.T) {
	f := newFixture(t)
	code := f.code(t, "presence:read")
	var mu sync.Mutex
	var got []*Access
	var uses sync.WaitGroup
	for range 8 {
		uses.Go(func() {
			access, err := f.RedeemCode(t.Context(), f.app.ID, code, redirect, verifier)
			if err != nil {
				wantOneOf(t, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			got = append(got, access)
		})
	}
	uses.Wait()
	if len(got) > 1 {
		t.Errorf("%d uses of one code succeeded", len(got))
	}
	for _, access := range got {
		if f.valid(t, access.Text) {
			t.Error("the token is valid although the code was used again")
		}
		_, err := f.refresh(t, access.Refresh)
		wantGrantError(t, err)
	}
}

func wantOneOf(tb testing.TB, err error) {
	tb.Helper()
	if _, ok := errors.AsType[*GrantError](err); !ok {
		wantReuse(tb, err)
	}
}

func TestRefresh(t *testing.T) {
	f := newFixture(t)
	got := f.access(t, "presence:read claim:write")
	f.clock.Advance(50 * 24 * time.Hour)
	next, err := f.refresh(t, got.Refresh)
	check(t, err)
	if next.Refresh == got.Refresh || next.Text == got.Text || next.Token.Scopes.String() != "presence:read claim:write" {
		t.Errorf("%+v", next)
	}
	f.clock.Advance(RefreshLasts - time.Millisecond) // it slides
	last, err := f.refresh(t, next.Refresh)
	check(t, err)
	f.clock.Advance(RefreshLasts)
	_, err = f.refresh(t, last.Refresh)
	wantGrantError(t, err)
}

func TestRefreshNarrows(t *testing.T) {
	f := newFixture(t)
	got := f.access(t, "presence:read claim:write")
	refused := errors.New("refused")
	_, err := f.Refresh(t.Context(), f.app.ID, got.Refresh, func(Scopes) (Scopes, error) { return Scopes{}, refused })
	if !errors.Is(err, refused) {
		t.Error(err)
	}
	narrow, err := f.Refresh(t.Context(), f.app.ID, got.Refresh, func(Scopes) (Scopes, error) { return scopes(t, "presence:read"), nil })
	check(t, err)
	if narrow.Token.Scopes.String() != "presence:read" {
		t.Error(narrow.Token.Scopes)
	}
	wide, err := f.refresh(t, narrow.Refresh) // the grant is not narrower
	check(t, err)
	if wide.Token.Scopes.String() != "presence:read claim:write" {
		t.Error(wide.Token.Scopes)
	}
}

// TestLostAnswer: a client that lost the answer repeats its refresh token, and so do two
// processes that refresh at once. Both get the same one.
func TestLostAnswer(t *testing.T) {
	f := newFixture(t)
	got := f.access(t, "presence:read")
	var mu sync.Mutex
	next := make(map[string]int)
	var calls sync.WaitGroup
	for range 4 {
		calls.Go(func() {
			access, err := f.refresh(t, got.Refresh)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			next[access.Refresh]++
		})
	}
	calls.Wait()
	if len(next) != 1 {
		t.Fatalf("%d different refresh tokens", len(next))
	}
	f.clock.Advance(RefreshRetry - time.Millisecond)
	again, err := f.refresh(t, got.Refresh)
	check(t, err)
	if next[again.Refresh] != 4 {
		t.Error("the repeated answer has another refresh token")
	}
	if _, err := f.refresh(t, again.Refresh); err != nil {
		t.Error(err)
	}
}

// TestReuse: a refresh token that was used ends the family, whenever it comes.
func TestReuse(t *testing.T) {
	for name, later := range map[string]time.Duration{"soon": RefreshRetry, "late": 80 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			got := f.access(t, "presence:read")
			next, err := f.refresh(t, got.Refresh)
			check(t, err)
			f.clock.Advance(later)
			if later > AccessLasts {
				next, err = f.refresh(t, next.Refresh)
				check(t, err)
			}
			_, err = f.refresh(t, got.Refresh)
			wantReuse(t, err)
			if f.valid(t, next.Text) {
				t.Error("the access token is still valid")
			}
			_, err = f.refresh(t, next.Refresh)
			wantGrantError(t, err)
		})
	}
	t.Run("two generations back, at once", func(t *testing.T) {
		f := newFixture(t)
		got := f.access(t, "presence:read")
		next, err := f.refresh(t, got.Refresh)
		check(t, err)
		_, err = f.refresh(t, next.Refresh)
		check(t, err)
		_, err = f.refresh(t, got.Refresh)
		wantReuse(t, err)
	})
	t.Run("an invented part", func(t *testing.T) {
		f := newFixture(t)
		got := f.access(t, "presence:read")
		_, err := f.refresh(t, got.Refresh[:len(got.Refresh)-1]+"_")
		wantReuse(t, err)
		for _, text := range []string{"", "pl_refresh_", "pl_refresh_" + strings.Repeat("a", 86), got.Text} {
			_, err := f.refresh(t, text)
			wantGrantError(t, err)
		}
	})
	t.Run("by another app", func(t *testing.T) {
		f := newFixture(t)
		other, _ := f.newApp(t, f.account, everything)
		got := f.access(t, "presence:read")
		_, err := f.Refresh(t.Context(), other.ID, got.Refresh, all)
		wantGrantError(t, err)
		if _, err := f.refresh(t, got.Refresh); err != nil {
			t.Errorf("another app ended the family: %v", err)
		}
	})
}

// TestAccessFollowsRole: an app's token has no more rights than the person, from the moment
// at which the person has fewer.
func TestAccessFollowsRole(t *testing.T) {
	f := newFixture(t)
	f.OnlyWriter() // cached for ever
	admin := f.ann
	admin.Role = directory.Admin
	admin, err := f.users.Update(t.Context(), f.account, admin)
	check(t, err)
	got := f.access(t, "presence:read:admin directory:write:admin")
	if p, err := f.Authenticate(t.Context(), got.Text); err != nil || !p.Scopes.HasAdmin(DirectoryWrite) {
		t.Fatalf("%+v, %v", p, err)
	}
	far := f.otherNode()
	_, err = far.Authenticate(t.Context(), got.Text)
	check(t, err)

	member := admin
	member.Role = directory.Member
	_, err = f.users.Update(t.Context(), f.account, member)
	check(t, err)
	f.clock.Advance(MaxStale)
	for _, node := range []*Authority{f.Authority, far} {
		p, err := node.Authenticate(t.Context(), got.Text)
		check(t, err)
		if p.Scopes.HasAdmin(DirectoryWrite) || p.Scopes.HasAdmin(PresenceRead) || p.Scopes.String() != "presence:read directory:write" {
			t.Errorf("a member's app may %v", p.Scopes)
		}
	}
	next, err := f.refresh(t, got.Refresh)
	check(t, err)
	if next.Token.Scopes.String() != "presence:read directory:write" {
		t.Errorf("refreshed: %v", next.Token.Scopes)
	}
}

// TestAccessEnds lists what ends an app's access for a person.
func TestAccessEnds(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *fixture, *Access) error{
		"the grant is revoked": func(t *testing.T, f *fixture, _ *Access) error {
			return f.RevokeGrant(t.Context(), f.account, f.ann.ID, f.app.ID)
		},
		"the access token is revoked": func(t *testing.T, f *fixture, a *Access) error {
			return f.RevokeByText(t.Context(), f.app.ID, a.Text)
		},
		"the refresh token is revoked": func(t *testing.T, f *fixture, a *Access) error {
			return f.RevokeRefresh(t.Context(), f.app.ID, a.Refresh)
		},
		"the person's tokens are revoked": func(t *testing.T, f *fixture, _ *Access) error {
			return f.RevokeUser(t.Context(), f.account, f.ann.ID)
		},
		"the app is deleted": func(t *testing.T, f *fixture, _ *Access) error {
			return f.DeleteApp(t.Context(), f.account, f.app.ID)
		},
		"the person is deactivated": func(t *testing.T, f *fixture, _ *Access) error {
			ann := f.ann
			ann.Active = false
			_, err := f.users.Update(t.Context(), f.account, ann)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.OnlyWriter()
			far := f.otherNode()
			got := f.access(t, "presence:read")
			p, err := far.Authenticate(t.Context(), got.Text)
			check(t, err)
			if !f.valid(t, got.Text) {
				t.Fatal("not valid at first")
			}
			check(t, end(t, f, got))
			if f.valid(t, got.Text) {
				t.Error("the access token is still valid here")
			}
			_, err = f.refresh(t, got.Refresh)
			wantGrantError(t, err)
			f.clock.Advance(MaxStale)
			if err := far.Recheck(t.Context(), []*Principal{p})[0]; !errors.Is(err, ErrInvalidToken) {
				t.Errorf("on another node after %v: %v", MaxStale, err)
			}
		})
	}
}

// TestMadeTokensEnd: tokens that an app made with those that it was given end with the
// grant, and those of built-in apps never allow more than the role.
func TestMadeTokensEnd(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	f.access(t, "presence:read")
	issue := func(app presence.AppID) string {
		_, text, err := f.Issue(ctx, f.account, Token{App: app, User: f.ann.ID, Scopes: scopes(t, "presence:read:admin")}, 0)
		check(t, err)
		return text
	}
	made, other := issue(f.app.ID), issue(SignInApp)
	check(t, f.RevokeGrant(ctx, f.account, f.ann.ID, f.app.ID))
	if f.valid(t, made) || !f.valid(t, other) {
		t.Error("not the tokens of the app ended")
	}
	for _, app := range []presence.AppID{SignInApp, CommandApp} {
		p, err := f.Authenticate(ctx, issue(app))
		check(t, err)
		if p.Scopes.HasAdmin(PresenceRead) || !p.Scopes.Has(PresenceRead) {
			t.Errorf("a member's token of %s may %v", app, p.Scopes)
		}
		if _, _, err := f.Issue(ctx, f.account, Token{App: app, Scopes: scopes(t, "presence:read:admin")}, 0); !errors.Is(err, ErrNoApp) {
			t.Errorf("a token of %s for the account: %v", app, err)
		}
	}
}

// TestRevokedWhileRefreshing: a token that is issued as its family ends is not valid.
func TestRevokedWhileRefreshing(t *testing.T) {
	f := newFixture(t)
	got := f.access(t, "presence:read")
	var once sync.Once
	next, err := f.Refresh(t.Context(), f.app.ID, got.Refresh, func(s Scopes) (Scopes, error) {
		once.Do(func() { check(t, f.RevokeGrant(t.Context(), f.account, f.ann.ID, f.app.ID)) })
		return s, nil
	})
	if err == nil && f.valid(t, next.Text) {
		t.Error("access after it was revoked")
	}
}

func TestGrants(t *testing.T) {
	f := newFixture(t)
	f.access(t, "presence:read")
	f.clock.Advance(time.Minute)
	f.access(t, "claim:write")
	other, _ := f.newApp(t, f.account, everything)
	check(t, f.Consent(t.Context(), f.account, f.ann.ID, other.ID, scopes(t, "presence:read")))
	check(t, f.Consent(t.Context(), f.account, f.owner, other.ID, scopes(t, "presence:read")))
	grants, err := f.Grants(t.Context(), f.account, f.ann.ID)
	check(t, err)
	if len(grants) != 2 {
		t.Fatalf("%+v", grants)
	}
	i := slices.IndexFunc(grants, func(g Grant) bool { return g.App == f.app.ID })
	if g := grants[i]; g.Scopes.String() != "presence:read claim:write" || !g.Changed.Equal(g.Created.Add(time.Minute)) {
		t.Errorf("%+v", g)
	}
	check(t, f.RevokeGrant(t.Context(), f.account, f.ann.ID, other.ID))
	if err := f.RevokeGrant(t.Context(), f.account, f.ann.ID, other.ID); !errors.Is(err, ErrNoGrant) {
		t.Error(err)
	}
	if g, err := f.Granted(t.Context(), f.account, f.owner, other.ID); err != nil || g.Scopes.String() != "presence:read" {
		t.Errorf("%+v, %v", g, err)
	}
}

// TestFamiliesAreBounded: the oldest access ends, and a client that refreshes all the time
// has few tokens.
func TestFamiliesAreBounded(t *testing.T) {
	f := newFixture(t)
	first := f.access(t, "presence:read")
	var last *Access
	for range 20 {
		last = f.access(t, "presence:read")
	}
	if f.valid(t, first.Text) || !f.valid(t, last.Text) {
		t.Error("not the oldest access has ended")
	}
	f.Live.User = &quota.Limit{Name: "live-tokens-per-user", Most: 100}
	for range 20 {
		var err error
		last, err = f.refresh(t, last.Refresh)
		check(t, err)
	}
	tokens, err := f.Tokens(t.Context(), f.account, "", 1000)
	check(t, err)
	family := 0
	for i := range tokens {
		if tokens[i].Family == last.Token.Family {
			family++
		}
	}
	if family != 5 {
		t.Errorf("%d tokens of one family", family)
	}
}

func TestDevice(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	begin := func() DeviceCode {
		made, err := f.NewDeviceCode(ctx, f.account, f.app.ID, scopes(t, "presence:read claim:write"))
		check(t, err)
		return made
	}
	redeem := func(made DeviceCode) error {
		_, err := f.RedeemDevice(ctx, f.app.ID, made.Code)
		return err
	}
	made := begin()
	if len(made.User) != 9 || made.User[4] != '-' || strings.Trim(made.User, "BCDFGHJKLMNPQRSTVWXZ-") != "" {
		t.Errorf("user code %q", made.User)
	}
	if err := redeem(made); !errors.Is(err, ErrPending) {
		t.Error(err)
	}
	request, err := f.DeviceRequest(ctx, f.account, " "+strings.ToLower(strings.ReplaceAll(made.User, "-", " ")))
	check(t, err)
	if request.App.ID != f.app.ID || request.Scopes.String() != "presence:read claim:write" {
		t.Errorf("%+v", request)
	}
	if _, err := f.DeviceRequest(ctx, f.newAccount(t), made.User); !errors.Is(err, ErrNoUserCode) {
		t.Errorf("from another account: %v", err)
	}
	check(t, f.DecideDevice(ctx, f.account, f.ann.ID, made.User, true, scopes(t, "presence:read")))
	if _, err := f.DeviceRequest(ctx, f.account, made.User); !errors.Is(err, ErrNoUserCode) {
		t.Errorf("after the decision: %v", err)
	}
	if err := f.DecideDevice(ctx, f.account, f.owner, made.User, true, scopes(t, "presence:read")); !errors.Is(err, ErrNoUserCode) {
		t.Errorf("a second decision: %v", err)
	}
	other, _ := f.newApp(t, f.account, everything)
	_, err = f.RedeemDevice(ctx, other.ID, made.Code)
	wantGrantError(t, err)
	got, err := f.RedeemDevice(ctx, f.app.ID, made.Code)
	check(t, err)
	if got.Token.User != f.ann.ID || got.Token.Scopes.String() != "presence:read" {
		t.Errorf("%+v", got.Token)
	}
	wantReuse(t, redeem(made))
	if f.valid(t, got.Text) {
		t.Error("valid after a second use of the device code")
	}

	made = begin()
	check(t, f.DecideDevice(ctx, f.account, f.ann.ID, made.User, false, Scopes{}))
	if err := redeem(made); !errors.Is(err, ErrDenied) {
		t.Error(err)
	}
	made = begin()
	f.clock.Advance(DeviceLasts)
	if err := redeem(made); !errors.Is(err, ErrCodeExpired) {
		t.Error(err)
	}
	if err := f.DecideDevice(ctx, f.account, f.ann.ID, made.User, true, Scopes{}); !errors.Is(err, ErrNoUserCode) {
		t.Error(err)
	}
}

// TestDeviceOfEveryAccount: the command line's app works in the account of whoever allows
// it, and nothing else can be an app of every account.
func TestDeviceOfEveryAccount(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	account, app, err := f.FindClient(ctx, CommandApp)
	check(t, err)
	made, err := f.NewDeviceCode(ctx, account, app.ID, app.Scopes)
	check(t, err)
	allowed, err := f.Grantable(ctx, f.account, f.ann.ID, &app, app.Scopes)
	check(t, err)
	check(t, f.DecideDevice(ctx, f.account, f.ann.ID, made.User, true, allowed))
	got, err := f.RedeemDevice(ctx, CommandApp, made.Code)
	check(t, err)
	p, err := f.Authenticate(ctx, got.Text)
	check(t, err)
	if p.Account != f.account || p.User != f.ann.ID || p.Scopes.HasAdmin(PresenceRead) || !p.Scopes.Has(ClaimWrite) {
		t.Errorf("%+v", p)
	}
	for _, id := range []presence.AppID{SignInApp, "", "x", "porchlight-CLI"} {
		if _, _, err := f.FindClient(ctx, id); !errors.Is(err, ErrNoApp) {
			t.Errorf("%q: %v", id, err)
		}
	}
	if _, _, err := f.AuthenticateClient(ctx, CommandApp, ""); !errors.Is(err, ErrBadClient) {
		t.Errorf("without a secret: %v", err)
	}
}

func TestRedirect(t *testing.T) {
	app := App{RedirectURIs: []string{"https://app.example.com/cb?x=1", "http://127.0.0.1/cb", "http://[::1]:7/", "http://localhost:8080/cb", "com.example.app:/cb"}}
	for uri, ok := range map[string]bool{
		"https://app.example.com/cb?x=1": true, "https://app.example.com/cb": false, "https://app.example.com/cb?x=1&y": false,
		"https://APP.example.com/cb?x=1": false, "https://app.example.com:443/cb?x=1": false, "https://app.example.com/cb?x=1#f": false,
		"https://app.example.com/cb/../cb?x=1": false, "https://evil.example.com/cb?x=1": false, "https://app.example.com.evil.com/cb?x=1": false,
		"http://127.0.0.1/cb": true, "http://127.0.0.1:49152/cb": true, "http://127.0.0.1:49152/cb/": false, "http://127.0.0.1:1/cb?x": false,
		"http://127.0.0.2:49152/cb": false, "http://127.0.0.1:49152@evil.com/cb": false, "http://127.0.0.1:x/cb": false, "https://127.0.0.1/cb": false,
		"http://[::1]:9/": true, "http://[::1]/": true, "http://localhost:1/cb": true, "http://localhost.evil.com:1/cb": false,
		"http://u@127.0.0.1:1/cb": false, "http://127.0.0.1:1/cb#x": false, "com.example.app:/cb": true, "com.example.app:/cb2": false, "": false, "x": false,
	} {
		if got, found := app.Redirect(uri); found != ok || ok && got != uri {
			t.Errorf("%q: %q, %v", uri, got, found)
		}
	}
	app.RedirectURIs = app.RedirectURIs[:1]
	if got, ok := app.Redirect(""); !ok || got != app.RedirectURIs[0] {
		t.Error("the only redirect URI is not the default")
	}
}

func TestRegisteredRedirects(t *testing.T) {
	f := newFixture(t)
	for uri, ok := range map[string]bool{
		"https://app.example.com/cb": true, "http://127.0.0.1/cb": true, "http://[::1]/": true, "http://localhost:80/": true, "com.example.app:/cb": true,
		"http://app.example.com/cb": false, "javascript:alert(1)": false, "data:text/html,x": false, "https:///cb": false, "/cb": false, "": false,
		"https://u:p@example.com/": false, "https://example.com/#f": false, "https://example.com/ x": false, "myapp:/cb": false, "https:example.com": false,
		"https://example.com/" + strings.Repeat("a", 2048): false, "https://*.example.com/": false,
	} {
		_, _, err := f.AddApp(t.Context(), f.account, App{Name: "x", RedirectURIs: []string{uri}})
		if (err == nil) != ok {
			t.Errorf("%q: %v", uri, err)
		}
	}
	app, secret, err := f.AddApp(t.Context(), f.account, App{Name: "x", Public: true, RedirectURIs: []string{redirect}})
	check(t, err)
	if secret != "" {
		t.Error("a public app has a secret")
	}
	if _, _, err := f.AuthenticateClient(t.Context(), app.ID, ""); !errors.Is(err, ErrBadClient) {
		t.Errorf("without a secret: %v", err)
	}
	if _, err := f.RotateSecret(t.Context(), f.account, app.ID); !errors.Is(err, ErrPublicApp) {
		t.Errorf("rotate: %v", err)
	}
}

// TestWords: every scope can be described to a person, and in its own words.
func TestWords(t *testing.T) {
	native := New(nil, directory.New(nil, time.Now), time.Now) // aliases make some names mean more
	seen := make(map[string]string)
	for _, scope := range AllScopes() {
		for _, name := range []string{scope.String(), scope.String() + ":admin"} {
			one, err := native.ParseScopes(name)
			check(t, err)
			lines := Describe(one)
			if len(lines) != 1 || lines[0] == "" || seen[lines[0]] != "" {
				t.Errorf("%s: %q, which is also %q", name, lines, seen[lines[0]])
				continue
			}
			seen[lines[0]] = name
		}
	}
	for _, name := range scopeParser().ScopeNames() {
		if s := scopes(t, name); len(Describe(s)) == 0 && !s.Within(Scopes{}) {
			t.Errorf("%s has no words", name)
		}
	}
}

// TestNewSecretsAreRedacted: whatever an app gets is hidden from logs.
func TestNewSecretsAreRedacted(t *testing.T) {
	f := newFixture(t)
	device, err := f.NewDeviceCode(t.Context(), f.account, f.app.ID, Scopes{})
	check(t, err)
	got := f.access(t, "presence:read")
	for _, secret := range []string{device.Code, f.code(t, "presence:read"), got.Refresh, got.Text} {
		for _, text := range []string{secret, "https://app.example.com/cb?code=" + secret + "&state=x", `{"refresh_token":"` + secret + `"}`} {
			if out := Redact(text); strings.Contains(out, secret[len(secret)-20:]) {
				t.Errorf("%q shows a secret", out)
			}
		}
	}
}
