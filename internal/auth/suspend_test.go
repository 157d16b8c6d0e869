package auth_test

import (
	"errors"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/apptest"
	. "porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/zoomapi"
)

// setAccount changes the account of the fixture.
func (f *fixture) setAccount(t *testing.T, change directory.AccountChange) {
	t.Helper()
	account, err := f.users.Account(t.Context(), f.account)
	check(t, err)
	_, err = f.users.UpdateAccount(t.Context(), account, change)
	check(t, err)
}

// TestSuspended: while an account is suspended, every kind of its tokens is refused, no
// new one is made, and its apps are refused: at once on this node, and within MaxStale on
// others. Tokens of other accounts go on, and afterwards its own do.
func TestSuspended(t *testing.T) {
	f := newFixture(t)
	other := New(f.docs, directory.New(f.docs, f.clock.Now), f.clock.Now, zoomapi.Scopes()...)
	_, personal := f.people.Token(f.account, f.app.ID, f.ann.ID, "presence:read", 0)
	_, general := f.people.Token(f.account, f.app.ID, "", "presence:read", 0)
	_, signIn, err := f.SignIn(t.Context(), f.account, f.ann.ID, Browser{}, time.Hour)
	check(t, err)
	second, _ := f.people.Account("owner@example.net")
	app, _ := f.people.App(second, "presence:read")
	_, foreign := f.people.Token(second, app.ID, "", "presence:read", 0)

	want := func(a *Authority, node string, wanted error) {
		t.Helper()
		for _, text := range []string{personal, general, signIn} {
			p, err := a.Authenticate(t.Context(), text)
			if !errors.Is(err, wanted) {
				t.Errorf("%s: %v, want %v", node, err, wanted)
			}
			if err == nil && p.Plan != "" {
				t.Errorf("%s: the plan is %q", node, p.Plan)
			}
		}
		if _, err := a.Authenticate(t.Context(), foreign); err != nil {
			t.Errorf("%s: another account's token: %v", node, err)
		}
	}
	want(f.Authority, "this node", nil)
	want(other, "another node", nil)
	p, err := other.Authenticate(t.Context(), personal)
	check(t, err)

	suspended := true
	f.setAccount(t, directory.AccountChange{Suspended: &suspended})
	want(f.Authority, "this node", ErrSuspended)
	f.clock.Advance(MaxStale)
	want(other, "another node", ErrSuspended)
	if err := other.Recheck(t.Context(), []*Principal{p})[0]; !errors.Is(err, ErrSuspended) || !Refused(err) {
		t.Errorf("a stream is not ended: %v", err)
	}
	if _, _, err := f.AuthenticateClient(t.Context(), f.app.ID, f.secret); !errors.Is(err, ErrSuspended) {
		t.Errorf("the app: %v", err)
	}
	if _, _, err := f.AuthenticateClient(t.Context(), f.app.ID, "wrong"); !errors.Is(err, ErrBadClient) {
		t.Errorf("who does not know the secret: %v", err)
	}
	if _, _, err := f.SignIn(t.Context(), f.account, f.ann.ID, Browser{}, time.Hour); !errors.Is(err, ErrSuspended) {
		t.Errorf("a new sign-in: %v", err)
	}

	suspended = false
	f.setAccount(t, directory.AccountChange{Suspended: &suspended})
	want(f.Authority, "this node", nil)
	f.clock.Advance(MaxStale)
	want(other, "another node", nil)
}

// TestPlanReachesPrincipal: a change of the plan and the limits holds at once here, and
// within MaxStale elsewhere.
func TestPlanReachesPrincipal(t *testing.T) {
	f := newFixture(t)
	f.OnlyWriter()
	other := New(f.docs, directory.New(f.docs, f.clock.Now), f.clock.Now)
	_, text := f.people.Token(f.account, f.app.ID, f.ann.ID, "presence:read", 0)
	for _, a := range []*Authority{f.Authority, other} {
		_, err := a.Authenticate(t.Context(), text)
		check(t, err)
	}
	plan := "pro"
	f.setAccount(t, directory.AccountChange{Plan: &plan, Limits: &directory.Limits{Streams: 7}})
	for _, a := range []*Authority{f.Authority, other} {
		p, err := a.Authenticate(t.Context(), text)
		check(t, err)
		if p.Plan != "pro" || p.MaxStreams != 7 {
			t.Errorf("the plan is %q, with %d streams", p.Plan, p.MaxStreams)
		}
		f.clock.Advance(MaxStale)
	}
}

// TestAppLimit: an account has no more apps than its limit.
func TestAppLimit(t *testing.T) {
	f := newFixture(t)
	f.setAccount(t, directory.AccountChange{Limits: &directory.Limits{Apps: 2}})
	second, _ := f.newApp(t, f.account, "presence:read")
	_, _, err := f.CreateApp(t.Context(), f.account, "third", f.people.Scopes("presence:read"))
	var limit *directory.LimitError
	if !errors.As(err, &limit) || limit.Name != "apps-per-account" || limit.Most != 2 {
		t.Errorf("past the limit: %v", err)
	}
	apptest.Check(t, f.DeleteApp(t.Context(), f.account, second.ID))
	f.newApp(t, f.account, "presence:read")
}
