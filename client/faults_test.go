package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/api"
)

// TestNewNeedsTokens: a client without usable tokens is refused at once.
func TestNewNeedsTokens(t *testing.T) {
	for _, tokens := range []TokenSource{nil, StaticToken(""), (*AccountCredentials)(nil)} {
		if _, err := New("http://example.com", tokens, nil); err == nil || !strings.Contains(err.Error(), "token") {
			t.Errorf("%#v: %v", tokens, err)
		}
	}
	for _, app := range []App{{}, {AccountID: "a", ClientID: "c"}, {AccountID: "a", ClientSecret: "s"}, {ClientID: "c", ClientSecret: "s"}} {
		if _, err := NewAccountCredentials("http://example.com", app, nil); err == nil {
			t.Errorf("%+v is accepted", app)
		}
	}
}

// TestKindsOfProblems: errors.Is and errors.As recognize every kind of the catalogue.
func TestKindsOfProblems(t *testing.T) {
	for _, kind := range api.Kinds() {
		err := fmt.Errorf("call: %w", &Error{Status: kind.Status, Problem: &api.Problem{Type: "https://docs.example.com" + kind.Type()}})
		for _, other := range api.Kinds() {
			if errors.Is(err, other) != (other == kind) || Is(err, other) != (other == kind) {
				t.Errorf("%s is recognized as %s", kind.Slug, other.Slug)
			}
		}
		var got *api.Kind
		if !errors.As(err, &got) || got != kind {
			t.Errorf("%s as a kind: %v", kind.Slug, got)
		}
		if problem, ok := errors.AsType[*api.Problem](err); !ok || problem.Type == "" {
			t.Errorf("%s is not recognized as a problem", kind.Slug)
		}
	}
	var kind *api.Kind
	plain := &Error{Status: http.StatusBadGateway}
	if errors.Is(plain, &api.NoUser) || errors.As(plain, &kind) || errors.As(fmt.Errorf("%w", &Error{Problem: &api.Problem{Type: "/else"}}), &kind) {
		t.Error("an error without a kind has one")
	}
}

// TestActingAsTheOwner: an account token is of no user, so a stream with it follows no
// contacts and signs nobody in unless AsOwner is set.
func TestActingAsTheOwner(t *testing.T) {
	const account = StaticToken("token of the account")
	signIn := &api.SignIn{ClientType: "desktop"}
	for name, opts := range map[string]StreamOptions{"contacts": {Contacts: true}, "sign-in": {SignIn: signIn}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeServer(t)
				if err := f.client(account).Stream(opts).Run(t.Context()); !errors.Is(err, ErrActsAsOwner) {
					t.Errorf("%v", err)
				}
				opts.AsOwner = true
				startStream(t, f.client(account).Stream(opts))
				f.acceptHello().dropConn()
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer(t)
		var refused error
		s := f.client(account).Stream(StreamOptions{Users: []string{"ada"}, OnRefused: func(_ []string, err error) { refused = err }})
		startStream(t, s)
		c := f.acceptHello()
		id := c.wantFrame(`{"type":"follow","users":["ada"]}`)
		s.FollowContacts(true)
		c.sendReply(id, `{"type":"snapshot","id":"$","presences":[{"user":"ada","status":"away","revision":1}],"cursor":"c"}`)
		synctest.Wait()
		if !errors.Is(refused, ErrActsAsOwner) || viewText(s.View()) != "ada=away" {
			t.Errorf("%v, %s", refused, viewText(s.View()))
		}
		c.dropConn()
	})
}

// TestPollingAsTheOwner: a long poll is refused in the same case, before any request.
func TestPollingAsTheOwner(t *testing.T) {
	f := newFakeServer(t)
	app, err := NewAccountCredentials("http://fake.test", App{AccountID: "a", ClientID: "c", ClientSecret: "s"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.client(app).Changes(t.Context(), ChangesQuery{Contacts: true}); !errors.Is(err, ErrActsAsOwner) {
		t.Errorf("%v", err)
	}
}

// TestOnState: OnState is called for every connection that is opened and every one that
// is lost, for whatever reason.
func TestOnState(t *testing.T) {
	for name, c := range map[string]struct {
		tokens TokenSource
		play   func(f *fakeServer)
		want   string
	}{
		"cut":     {StaticToken("x"), func(f *fakeServer) { f.acceptHello().dropConn(); f.acceptHello().dropConn() }, "up down up down"},
		"expired": {&renewableTokens{}, func(f *fakeServer) { expireToken(f.acceptHello()); expireToken(f.acceptHello()) }, "up down up down"},
		"final":   {StaticToken("x"), func(f *fakeServer) { f.acceptHello().close(3501, `{"reason":"too_fast"}`) }, "up over"},
		"stopped": {StaticToken("x"), func(f *fakeServer) { f.acceptHello().keepReading() }, "up over"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeServer(t)
				var states []string
				stop := startStream(t, f.client(c.tokens).Stream(StreamOptions{OnState: func(s State) {
					if s.Connected {
						states = append(states, "up")
						return
					}
					states = append(states, map[bool]string{false: "down", true: "over"}[s.Ended])
					if s.Err == nil {
						t.Error("the connection is down without an error")
					}
				}}))
				c.play(f)
				synctest.Wait()
				_ = stop()
				if got := strings.Join(states, " "); got != c.want {
					t.Errorf("%s, want %s", got, c.want)
				}
			})
		})
	}
}

// expireToken closes a stream whose token was valid for five seconds.
func expireToken(c *socket) {
	c.keepReading()
	time.Sleep(5 * second)
	c.close(3500, `{"reason":"unauthorized"}`)
}

// A sharedTokens source has tokens that another party renews.
type sharedTokens struct{ tokens []string }

func (c *sharedTokens) Token(context.Context) (string, error) {
	token := c.tokens[0]
	if len(c.tokens) > 1 {
		c.tokens = c.tokens[1:]
	}
	return token, nil
}

// TestShortTokens: a stream outlasts any number of tokens that are valid for seconds,
// even if the source only returns the newest.
func TestShortTokens(t *testing.T) {
	for name, tokens := range map[string]TokenSource{"renewed": &renewableTokens{}, "given": &sharedTokens{strings.Split("a b c d e f g h", " ")}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeServer(t)
				began := time.Now()
				startStream(t, f.client(tokens).Stream(StreamOptions{}))
				var seen []string
				for range 3 {
					c := f.acceptHello()
					if slices.Contains(seen, c.token) {
						t.Errorf("%s is used again", c.token)
					}
					seen = append(seen, c.token)
					expireToken(c)
				}
				f.acceptHello().dropConn()
				if took := time.Since(began); took != 15*second {
					t.Errorf("it took %v, want no wait", took)
				}
			})
		})
	}
}

// TestViewFindsAddresses: a view finds addresses in any case of their ASCII letters,
// like the server.
func TestViewFindsAddresses(t *testing.T) {
	v := newView(nil)
	v.put(api.Presence{User: "u1", Revision: 1})
	v.put(api.Presence{User: "u2", Revision: 1})
	v.name("Ada@Example.com", "u1")
	v.name("ADA@example.com", "u1")
	v.name("k@example.com", "u2")
	found := func(name string) string {
		p := v.users[v.meant(name)]
		if p == nil {
			return ""
		}
		return p.User
	}
	for name, want := range map[string]string{
		"ada@example.com": "u1", "ADA@EXAMPLE.COM": "u1", "u1": "u1", "K@example.com": "u2", "\u212a@example.com": "", "bob@example.com": "",
	} {
		if got := found(name); got != want {
			t.Errorf("%q finds %q, want %q", name, got, want)
		}
	}
	v.name("Ada@Example.com", "")
	if found("ada@EXAMPLE.com") != "u1" {
		t.Error("unfollowing one of two names removed the other")
	}
	v.drop("u1")
	if found("ada@example.com") != "" {
		t.Error("a user who was removed is found")
	}
}
