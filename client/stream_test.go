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

// wantView waits until all goroutines are idle and compares the view.
func wantView(t *testing.T, s *Stream, want string) {
	t.Helper()
	synctest.Wait()
	if got := viewText(s.View()); got != want {
		t.Fatalf("the view has %q, want %q", got, want)
	}
}

// TestResume: after a loss a stream follows the same users from its last cursor, and
// new ones without a cursor; the view stays meanwhile.
func TestResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer(t)
		var unknown []string
		s := f.client(StaticToken("secret")).Stream(StreamOptions{
			Users:     []string{"a", "b@x.test"},
			OnRefused: func(users []string, err error) { unknown = append(unknown, fmt.Sprint(users, Is(err, &api.NoUser))) },
		})
		wantView(t, s, "…")
		stop := startStream(t, s)
		c := f.acceptHello()
		if c.token != "Bearer secret" {
			t.Errorf("connected with %q", c.token)
		}
		id := c.wantFrame(`{"type":"follow","users":["a","b@x.test"]}`)
		c.sendReply(id, `{"type":"snapshot","id":"$","presences":[{"user":"a","status":"away","revision":1}],"more":true}`)
		wantView(t, s, "…")
		c.sendReply(id, `{"type":"snapshot","id":"$","presences":[{"user":"b","asked_as":"b@x.test","status":"busy","revision":1}],"unknown":[],"cursor":"c1"}`)
		wantView(t, s, "a=away b=busy")
		c.send(`{"type":"presence","user":"b","status":"available","revision":5,"cursor":"c2"}`)
		c.send(`{"type":"presence","user":"b","status":"busy","revision":3,"cursor":"c3"}`) // late
		c.send(`{"type":"presence","user":"z","status":"busy","revision":3}`)               // of a user who is not followed
		c.send(`{"type":"novel","user":"b"}`)
		wantView(t, s, "a=away b=available")
		if p, ok := s.View().Get("b@x.test"); !ok || p.User != "b" || p.AskedAs != "b@x.test" {
			t.Errorf("by e-mail: %+v, %v", p, ok)
		}
		s.Follow("d")
		c.wantFrame(`{"type":"follow","users":["d"]}`)
		c.send(`{"type":"presence","user":"a","status":"busy","revision":4,"cursor":"c4"}`)
		synctest.Wait()
		c.dropConn()
		s.Follow("e")
		s.Unfollow("a")
		wantView(t, s, "b=available …")

		c = f.acceptHello()
		c.wantFrame(`{"type":"follow","users":["b@x.test"],"cursor":"c4"}`)
		fresh := c.wantFrame(`{"type":"follow","users":["d","e"]}`)
		c.sendReply(fresh, `{"type":"snapshot","id":"$","presences":[{"user":"d","status":"busy","revision":1}],"unknown":["e"],"cursor":"c9"}`)
		wantView(t, s, "b=available d=busy")
		c.dropConn()

		c = f.acceptHello() // b cannot resume from c9
		id = c.wantFrame(`{"type":"follow","users":["b@x.test"],"cursor":"c4"}`)
		c.wantFrame(`{"type":"follow","users":["d"],"cursor":"c9"}`)
		c.sendReply(id, `{"type":"snapshot","id":"$","partial":true,"presences":[],"cursor":"c9"}`)
		wantView(t, s, "b=available d=busy")
		c.keepReading()
		if err := stop(); !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
		if !slices.Equal(unknown, []string{"[e] true"}) {
			t.Errorf("unknown: %v", unknown)
		}
		close(c.done)
	})
}

// TestReset: after a reset, known presences of the affected users are outdated, however
// high their revisions, and stay readable until the snapshot is complete.
func TestReset(t *testing.T) {
	for name, first := range map[string]string{
		"told":          `{"type":"reset","reason":"epoch"}`,
		"by another id": `{"type":"hello","epoch":"e2","cursor":"x","ping_seconds":20}`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeServer(t)
				s := f.client(StaticToken("x")).Stream(StreamOptions{Users: []string{"a", "b"}})
				startStream(t, s)
				c := f.acceptHello()
				id := c.wantFrame(`{"type":"follow","users":["a","b"]}`)
				c.sendReply(id, `{"type":"snapshot","id":"$","presences":[{"user":"a","status":"away","revision":7},{"user":"b","status":"away","revision":8}],"cursor":"c1"}`)
				wantView(t, s, "a=away b=away")
				c.dropConn()
				c = f.acceptHello()
				id = c.wantFrame(`{"type":"follow","users":["a","b"],"cursor":"c1"}`)
				c.send(first)
				synctest.Wait()
				c.sendReply(id, `{"type":"snapshot","id":"$","presences":[{"user":"a","status":"busy","revision":2}],"more":true}`)
				synctest.Wait()
				if got := viewText(s.View()); !strings.HasPrefix(got, "a=away b=away") || s.View().Complete() != (name != "told") {
					t.Errorf("half of the snapshot is visible: %s", got)
				}
				c.send(`{"type":"presence","user":"a","status":"on_call","revision":3}`) // live, and newer than the snapshot
				c.sendReply(id, `{"type":"snapshot","id":"$","presences":[],"unknown":["b"],"cursor":"d1"}`)
				wantView(t, s, "a=on_call")
				c.dropConn()
			})
		})
	}
}

// TestContacts: contacts that are added or removed, with or without a connection, are
// updated; a name keeps following a former contact.
func TestContacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer(t)
		s := f.client(StaticToken("x")).Stream(StreamOptions{Users: []string{"b"}, Contacts: true})
		startStream(t, s)
		c := f.acceptHello()
		contacts := c.wantFrame(`{"type":"follow","contacts":true}`)
		users := c.wantFrame(`{"type":"follow","users":["b"]}`)
		c.sendReply(contacts, `{"type":"snapshot","id":"$","presences":[{"user":"a","status":"away","revision":1},{"user":"b","status":"away","revision":1}],"cursor":"c1"}`)
		wantView(t, s, "a=away b=away …")
		c.sendReply(users, `{"type":"snapshot","id":"$","presences":[{"user":"b","status":"away","revision":1}],"cursor":"c2"}`)
		c.send(`{"type":"presence","user":"n","status":"busy","revision":1}`)
		c.send(`{"type":"gone","user":"b","reason":"contact_removed"}`)
		wantView(t, s, "a=away b=away n=busy")
		c.send(`{"type":"gone","user":"n","reason":"contact_removed"}`)
		wantView(t, s, "a=away b=away")
		c.dropConn()
		c = f.acceptHello()
		contacts = c.wantFrame(`{"type":"follow","contacts":true,"cursor":"c2"}`)
		c.wantFrame(`{"type":"follow","users":["b"],"cursor":"c2"}`)
		c.sendReply(contacts, `{"type":"snapshot","id":"$","partial":true,"presences":[{"user":"d","status":"busy","revision":1}],"gone":["a"],"cursor":"c3"}`)
		wantView(t, s, "b=away d=busy")

		// Only the server knows whether b is a contact.
		s.Unfollow("b")
		left := c.wantFrame(`{"type":"unfollow","users":["b"]}`)
		contacts = c.wantFrame(`{"type":"follow","contacts":true}`)
		c.send(`{"type":"presence","user":"b","status":"busy","revision":2}`)
		c.sendReply(left, `{"type":"done","id":"$"}`)
		wantView(t, s, "d=busy …")
		c.sendReply(contacts, `{"type":"snapshot","id":"$","presences":[{"user":"b","status":"busy","revision":2}],"cursor":"c4"}`)
		wantView(t, s, "b=busy")
		s.FollowContacts(false)
		wantView(t, s, "")
		c.wantFrame(`{"type":"unfollow","contacts":true}`)
		c.dropConn()
	})
}

// TestUserDeleted: a deleted user is removed from the view, and its name is followed again
// without a cursor.
func TestUserDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer(t)
		s := f.client(StaticToken("x")).Stream(StreamOptions{Users: []string{"a@x.test"}})
		startStream(t, s)
		c := f.acceptHello()
		id := c.wantFrame(`{"type":"follow","users":["a@x.test"]}`)
		c.send(`{"type":"presence","user":"a","status":"busy","revision":9}`) // before its name is known
		c.sendReply(id, `{"type":"snapshot","id":"$","presences":[{"user":"a","asked_as":"a@x.test","status":"away","revision":1}],"cursor":"c1"}`)
		wantView(t, s, "a=busy")
		var got []string
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			for change := range s.View().Changes(ctx) {
				got = append(got, fmt.Sprint(change.User, change.Gone))
			}
		}()
		synctest.Wait()
		c.send(`{"type":"gone","user":"a","reason":"deleted","cursor":"c2"}`)
		wantView(t, s, "")
		c.dropConn()
		c = f.acceptHello()
		c.wantFrame(`{"type":"follow","users":["a@x.test"]}`)
		if want := []string{"afalse", "atrue"}; !slices.Equal(got, want) {
			t.Errorf("changes: %v, want %v", got, want)
		}
		c.dropConn()
	})
}

// TestTwoNames: a user with two names is followed until both are unfollowed.
func TestTwoNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer(t)
		s := f.client(StaticToken("x")).Stream(StreamOptions{Users: []string{"a", "a@x.test"}})
		startStream(t, s)
		c := f.acceptHello()
		id := c.wantFrame(`{"type":"follow","users":["a","a@x.test"]}`)
		c.sendReply(id, `{"type":"snapshot","id":"$","presences":[{"user":"a","status":"away","revision":1},{"user":"a","asked_as":"a@x.test","status":"away","revision":1}],"cursor":"c1"}`)
		wantView(t, s, "a=away")
		s.Unfollow("a@x.test")
		wantView(t, s, "a=away")
		s.Unfollow("a", "never")
		c.wantFrame(`{"type":"unfollow","users":["a"]}`)
		wantView(t, s, "")
		s.Follow("a") // again, before the server has answered
		id = c.wantFrame(`{"type":"follow","users":["a"]}`)
		wantView(t, s, "…")
		c.sendReply(id, `{"type":"snapshot","id":"$","presences":[{"user":"a","status":"busy","revision":2}],"cursor":"c2"}`)
		wantView(t, s, "a=busy")
		c.dropConn()
	})
}

// TestChangesCoalesce: a slow reader of Changes delays nothing, gets only the newest
// changes, and ends with the stream.
func TestChangesCoalesce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer(t)
		s := f.client(StaticToken("x")).Stream(StreamOptions{Users: []string{"a", "b"}})
		stop := startStream(t, s)
		c := f.acceptHello()
		id := c.wantFrame(`{"type":"follow","users":["a","b"]}`)
		c.sendReply(id, `{"type":"snapshot","id":"$","presences":[{"user":"a","revision":1},{"user":"b","revision":1}],"cursor":"c1"}`)
		var got []string
		slow, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			for change := range s.View().Changes(t.Context()) {
				got = append(got, fmt.Sprint(change.User, change.Revision))
				<-slow
			}
		}()
		synctest.Wait()
		for i := range 100 {
			c.send(fmt.Sprintf(`{"type":"presence","user":"a","revision":%d}`, i+2))
		}
		synctest.Wait()
		close(slow)
		c.keepReading()
		_ = stop()
		<-ended
		if want := []string{"a1", "b1", "a101"}; !slices.Equal(got, want) {
			t.Errorf("changes: %v, want %v", got, want)
		}
		close(c.done)
	})
}

// TestSession: the session resumes after a loss, and reports activity only if the user
// is idle; when Run ends, the session is signed out.
func TestSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer(t)
		s := f.client(StaticToken("x")).Stream(StreamOptions{SignIn: &api.SignIn{ClientType: "desktop", ClientVersion: "1"}})
		stop := startStream(t, s)
		c := f.acceptHello()
		first := `{"type":"sign_in","client_type":"desktop","client_version":"1","session":"` + s.chosen + `"}`
		c.wantFrame(first)
		c.dropConn()
		c = f.acceptHello() // the answer was lost: the session is the same
		id := c.wantFrame(first)
		c.sendReply(id, `{"type":"done","id":"$","session":"s1"}`)
		synctest.Wait()
		s.SetActive(true)
		id = c.wantFrame(`{"type":"activity","active":true}`)
		s.SetActive(true) // while the first is in flight
		synctest.Wait()
		c.sendReply(id, `{"type":"done","id":"$"}`)
		id = c.wantFrame(`{"type":"activity","active":true}`)
		c.sendReply(id, `{"type":"done","id":"$"}`)
		synctest.Wait()
		c.dropConn()
		c = f.acceptHello()
		id = c.wantFrame(`{"type":"sign_in","client_type":"desktop","client_version":"1","session":"s1"}`)
		c.sendReply(id, `{"type":"done","id":"$","session":"s2"}`) // the session had expired
		synctest.Wait()
		if s.Session() != "s2" {
			t.Errorf("the session is %q", s.Session())
		}
		c.dropConn()
		s.SetActive(false)
		for range 2 {
			c = f.acceptHello()
			id = c.wantFrame(`{"type":"sign_in","client_type":"desktop","client_version":"1","session":"s2","active":false}`)
			c.sendReply(id, `{"type":"done","id":"$","session":"s2"}`)
			synctest.Wait()
			c.dropConn()
		}
		c = f.acceptHello()
		c.wantFrame(`{"type":"sign_in","client_type":"desktop","client_version":"1","session":"s2","active":false}`)
		go func() { _ = stop() }()
		c.wantFrame(`{"type":"sign_out"}`)
		c.keepReading()
		_ = stop()
		close(c.done)
	})
}

// TestSessionReplaced: the stream continues without a session, even over losses, until
// the user wants another one.
func TestSessionReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, idle, told := newFakeServer(t), false, 0
		s := f.client(StaticToken("x")).Stream(StreamOptions{
			Users: []string{"a"}, SignIn: &api.SignIn{ClientType: "web", Active: &idle}, OnReplaced: func() { told++ },
		})
		stop := startStream(t, s)
		c := f.acceptHello()
		before := s.chosen
		id := c.wantFrame(`{"type":"sign_in","client_type":"web","session":"` + before + `","active":false}`)
		c.sendReply(id, `{"type":"done","id":"$","session":"s1"}`)
		id = c.wantFrame(`{"type":"follow","users":["a"]}`)
		c.sendReply(id, `{"type":"snapshot","id":"$","presences":[],"unknown":[],"gone":[],"cursor":"1"}`)
		c.send(`{"type":"error","code":"session-replaced","detail":"Replaced."}`)
		synctest.Wait()
		s.SetActive(true) // sends nothing
		c.dropConn()
		c = f.acceptHello()
		id = c.wantFrame(`{"type":"follow","users":["a"],"cursor":"1"}`)
		c.sendReply(id, `{"type":"snapshot","id":"$","partial":true,"presences":[],"unknown":[],"gone":[],"cursor":"2"}`)
		synctest.Wait()
		if told != 1 || s.Session() != "" {
			t.Errorf("notified %d times, session %q", told, s.Session())
		}
		s.SignInAgain()
		if s.chosen == before {
			t.Error("the stream resumes the session that was replaced")
		}
		id = c.wantFrame(`{"type":"sign_in","client_type":"web","session":"` + s.chosen + `","active":true}`)
		c.sendReply(id, `{"type":"error","id":"$","code":"session-replaced","detail":"Replaced."}`) // immediately again
		synctest.Wait()
		if told != 2 {
			t.Errorf("notified %d times", told)
		}
		go func() { _ = stop() }()
		c.wantFrame(`{"type":"sign_out"}`)
		c.keepReading()
		_ = stop()
		close(c.done)
	})
}

// TestClaim: a call is repeated until it is answered, and a refusal is returned as the
// same error as over HTTP.
func TestClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer(t)
		s := f.client(StaticToken("x")).Stream(StreamOptions{})
		answers := make(chan error)
		go func() { answers <- s.Claim(t.Context(), "manual", api.SetClaim{Source: "manual", Status: api.Busy}) }()
		stop := startStream(t, s)
		c := f.acceptHello()
		c.wantFrame(`{"type":"claim","claim":"manual","source":"manual","status":"busy"}`)
		c.dropConn()
		c = f.acceptHello()
		id := c.wantFrame(`{"type":"claim","claim":"manual","source":"manual","status":"busy"}`)
		c.sendReply(id, `{"type":"done","id":"$"}`)
		if err := <-answers; err != nil {
			t.Error(err)
		}
		go func() { answers <- s.EndClaim(t.Context(), "other") }()
		id = c.wantFrame(`{"type":"end_claim","claim":"other"}`)
		c.sendReply(id, `{"type":"error","id":"$","code":"claim-not-found","detail":"Not there."}`)
		err := <-answers
		if _, again := Retry(err); !Is(err, &api.NoClaim) || again || !strings.HasSuffix(err.Error(), "Not there.") {
			t.Errorf("refused: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), second)
		defer cancel()
		go func() { answers <- s.EndClaim(ctx, "slow") }()
		c.wantFrame(`{"type":"end_claim","claim":"slow"}`)
		if err := <-answers; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("too late: %v", err)
		}
		c.dropConn()
		c = f.acceptHello() // it is not repeated
		go func() { answers <- s.EndClaim(t.Context(), "last") }()
		c.wantFrame(`{"type":"end_claim","claim":"last"}`)
		c.keepReading()
		_ = stop()
		if err := <-answers; !errors.Is(err, context.Canceled) || !errors.Is(s.EndClaim(t.Context(), "x"), context.Canceled) {
			t.Errorf("at the end: %v", err)
		}
		if err := s.Run(t.Context()); err == nil {
			t.Error("Run succeeded twice")
		}
		close(c.done)
	})
}

// TestRefused: the stream continues without users that cannot be followed; a stream
// that cannot sign in ends; temporary errors are retried.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer(t)
		var refused []string
		s := f.client(StaticToken("x")).Stream(StreamOptions{
			Users: []string{"a"}, Contacts: true, SignIn: &api.SignIn{ClientType: "web"},
			OnRefused: func(users []string, err error) {
				refused = append(refused, fmt.Sprint(users, Is(err, &api.InsufficientScope)))
			},
		})
		ended := make(chan error, 1)
		go func() { ended <- s.Run(t.Context()) }()
		c := f.acceptHello()
		c.wantFrame(`{"type":"sign_in","client_type":"web","session":"` + s.chosen + `"}`)
		contacts := c.wantFrame(`{"type":"follow","contacts":true}`)
		users := c.wantFrame(`{"type":"follow","users":["a"]}`)
		c.sendReply(contacts, `{"type":"error","id":"$","code":"insufficient-scope"}`)
		wantView(t, s, "…")
		c.sendReply(users, `{"type":"error","id":"$","code":"unavailable"}`)
		close(c.done)
		c = f.acceptHello()
		sign := c.wantFrame(`{"type":"sign_in","client_type":"web","session":"` + s.chosen + `"}`)
		users = c.wantFrame(`{"type":"follow","users":["a"]}`)
		c.sendReply(users, `{"type":"snapshot","id":"$","presences":[{"user":"a","status":"busy","revision":1}],"cursor":"c"}`)
		wantView(t, s, "a=busy")
		c.sendReply(sign, `{"type":"error","id":"$","code":"forbidden","detail":"No."}`)
		close(c.done)
		if err := <-ended; !Is(err, &api.Forbidden) || !slices.Equal(refused, []string{"[] true"}) {
			t.Errorf("ended with %v; refused %v", err, refused)
		}
	})
}

// A renewableTokens source issues numbered tokens.
type renewableTokens struct{ renewed int }

func (v *renewableTokens) Token(context.Context) (string, error) {
	return strings.Repeat("x", v.renewed+1), nil
}

func (v *renewableTokens) Renew(context.Context, string) (string, error) {
	v.renewed++
	return v.Token(context.Background())
}

// TestPermanentErrors: the errors that end a stream for good, with and without a source that
// can renew the token.
func TestPermanentErrors(t *testing.T) {
	unauthorized := `{"reason":"unauthorized"}`
	for name, c := range map[string]struct {
		tokens TokenSource
		play   func(f *fakeServer)
		want   string
	}{
		"the token is revoked": {StaticToken("x"), func(f *fakeServer) { f.acceptHello().close(3500, unauthorized) }, "the server closed the stream: unauthorized (3500)"},
		"another one, too": {&renewableTokens{}, func(f *fakeServer) {
			f.acceptHello().close(3500, unauthorized)
			if c := f.acceptHello(); c.token != "Bearer xx" {
				f.t.Errorf("reconnected with %q", c.token)
			} else {
				c.close(3500, unauthorized)
			}
		}, "unauthorized (3500)"},
		"each once a while": {&renewableTokens{}, func(f *fakeServer) {
			for range 3 {
				c := f.acceptHello()
				c.keepReading()
				time.Sleep(time.Hour) // the server never pings, and answers pings
				c.close(3500, unauthorized)
			}
			f.refuse(403, nil, "")
		}, "403: Forbidden"},
		"the handshake":  {&renewableTokens{}, func(f *fakeServer) { f.refuse(401, nil, ""); f.refuse(401, nil, "") }, "401: Unauthorized"},
		"too fast":       {StaticToken("x"), func(f *fakeServer) { f.acceptHello().close(3501, `{"reason":"too_fast"}`) }, "too_fast (3501)"},
		"our frames":     {StaticToken("x"), func(f *fakeServer) { f.acceptHello().close(1007, "bad UTF-8") }, "bad UTF-8 (1007)"},
		"their frames":   {StaticToken("x"), func(f *fakeServer) { c := f.acceptHello(); c.send(`[]`); close(c.done) }, "cannot unmarshal array"},
		"a missing page": {StaticToken("x"), func(f *fakeServer) { f.refuse(404, nil, "") }, "404: Not Found"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeServer(t)
				s := f.client(c.tokens).Stream(StreamOptions{})
				ended := make(chan error, 1)
				go func() { ended <- s.Run(t.Context()) }()
				c.play(f)
				err := <-ended
				if _, again := Retry(err); err == nil || !strings.Contains(err.Error(), c.want) || again {
					t.Errorf("ended with %v, retry: %v; want %s", err, again, c.want)
				}
			})
		})
	}
}

// TestReconnect: how long a stream waits before it reconnects. Its jitter is at the
// upper bound here.
func TestReconnect(t *testing.T) {
	after := func(seconds string) http.Header { return http.Header{"Retry-After": {seconds}} }
	for name, c := range map[string]struct {
		play    func(f *fakeServer)
		want    []time.Duration
		silence bool
	}{
		"cut off": {func(f *fakeServer) { f.acceptHello().dropConn() }, []time.Duration{1 * second}, false},
		"cut off again and again": {func(f *fakeServer) {
			for range 7 {
				f.acceptHello().dropConn()
			}
		}, []time.Duration{1 * second, 2 * second, 4 * second, 8 * second, 16 * second, 30 * second, 30 * second}, false},
		"after a while": {func(f *fakeServer) {
			f.acceptHello().dropConn()
			f.acceptHello().dropConn()
			c := f.acceptHello()
			time.Sleep(11 * second)
			c.dropConn()
		}, []time.Duration{1 * second, 2 * second, 1 * second}, false},
		"draining":             {func(f *fakeServer) { f.acceptHello().close(3000, `{"reason":"draining","retry_ms":4200}`) }, []time.Duration{5200 * time.Millisecond}, false},
		"a code to come":       {func(f *fakeServer) { f.acceptHello().close(3499, "") }, []time.Duration{1 * second}, false},
		"a proxy's goodbye":    {func(f *fakeServer) { f.acceptHello().close(1001, "") }, []time.Duration{1 * second}, false},
		"many come":            {func(f *fakeServer) { f.refuse(503, after("7"), "") }, []time.Duration{8 * second}, false},
		"a fault":              {func(f *fakeServer) { f.refuse(500, nil, "") }, []time.Duration{1 * second}, false},
		"nothing is heard":     {serveSilence, []time.Duration{1 * second}, true},
		"it never says hello":  {func(f *fakeServer) { c := f.open(); time.Sleep(31 * second); close(c.done) }, []time.Duration{1 * second}, true},
		"the server is not up": {func(f *fakeServer) { _ = f.Close(); time.Sleep(6 * second) }, []time.Duration{1 * second, 2 * second, 4 * second}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeServer(t)
				var waits []time.Duration
				s := f.client(StaticToken("x")).Stream(StreamOptions{OnState: func(state State) {
					if !state.Connected {
						waits = append(waits, state.RetryAfter)
						if strings.Contains(state.Err.Error(), "failed to") {
							t.Errorf("an internal message: %v", state.Err)
						}
						if isSilence := strings.Contains(state.Err.Error(), errSilent.Error()); isSilence != c.silence {
							t.Errorf("connection lost with %v", state.Err)
						}
					}
				}})
				s.random = func(below time.Duration) time.Duration { return below }
				stop := startStream(t, s)
				c.play(f)
				synctest.Wait()
				_ = stop()
				if !slices.Equal(waits, c.want) {
					t.Errorf("waited %v, want %v", waits, c.want)
				}
			})
		})
	}
}

// serveSilence pings for a while, then answers the client's ping, and then sends
// nothing.
func serveSilence(f *fakeServer) {
	c := f.acceptHello()
	c.keepReading()
	for range 10 {
		time.Sleep(39 * second)
		if err := c.ws.Ping(context.Background()); err != nil {
			f.t.Errorf("a client that gets pings: %v", err)
		}
	}
	time.Sleep(100 * second) // the client pings, and the server answers
	if err := c.ws.Ping(context.Background()); err != nil {
		f.t.Errorf("a client that got an answer: %v", err)
	}
	c.ignorePings.Store(true)
	time.Sleep(59 * second)
	if err := c.ws.Ping(context.Background()); err != nil {
		f.t.Errorf("a client that waits for an answer: %v", err)
	}
	time.Sleep(60*second + second/2)
	close(c.done)
}

// TestRateLimit: the client sends below the server's rate limit, however much there is to
// send, and follows large sets in parts.
func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer(t)
		users := make([]string, 2_500)
		for i := range users {
			users[i] = fmt.Sprintf("%026d", i)
		}
		s := f.client(StaticToken("x")).Stream(StreamOptions{Users: users})
		stop := startStream(t, s)
		c := f.acceptHello()
		for range 3 {
			_, data, err := c.ws.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(data) > 64<<10 {
				t.Errorf("a frame of %d bytes", len(data))
			}
		}
		began := time.Now()
		go func() {
			for range 1_000 {
				go func() { _ = s.EndClaim(context.Background(), "x") }()
			}
		}()
		for range 1_000 {
			if _, _, err := c.ws.Read(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took < 12*second || took > 20*second {
			t.Errorf("1,000 frames took %v", took)
		}
		c.keepReading()
		_ = stop()
		close(c.done)
	})
}
