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

// see waits until nothing happens any more, and compares the view.
func see(t *testing.T, s *Stream, want string) {
	t.Helper()
	synctest.Wait()
	if got := presences(s.View()); got != want {
		t.Fatalf("the view has %q, want %q", got, want)
	}
}

// TestResume: a stream that was cut off follows the same users from its last
// cursor, and those that were new without one; the view stands meanwhile.
func TestResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		var unknown []string
		s := f.client(StaticToken("secret")).Stream(StreamOptions{
			Users:     []string{"a", "b@x.test"},
			OnRefused: func(users []string, err error) { unknown = append(unknown, fmt.Sprint(users, Is(err, &api.NoUser))) },
		})
		see(t, s, "…")
		stop := run(t, s)
		c := f.accept()
		if c.token != "Bearer secret" {
			t.Errorf("came with %q", c.token)
		}
		id := c.want(`{"type":"follow","users":["a","b@x.test"]}`)
		c.reply(id, `{"type":"snapshot","id":"$","presences":[{"user":"a","status":"away","revision":1}],"more":true}`)
		see(t, s, "…")
		c.reply(id, `{"type":"snapshot","id":"$","presences":[{"user":"b","asked_as":"b@x.test","status":"busy","revision":1}],"unknown":[],"cursor":"c1"}`)
		see(t, s, "a=away b=busy")
		c.send(`{"type":"presence","user":"b","status":"available","revision":5,"cursor":"c2"}`)
		c.send(`{"type":"presence","user":"b","status":"busy","revision":3,"cursor":"c3"}`) // late
		c.send(`{"type":"presence","user":"z","status":"busy","revision":3}`)               // of nobody followed
		c.send(`{"type":"novel","user":"b"}`)
		see(t, s, "a=away b=available")
		if p, ok := s.View().Get("b@x.test"); !ok || p.User != "b" || p.AskedAs != "b@x.test" {
			t.Errorf("by e-mail: %+v, %v", p, ok)
		}
		s.Follow("d")
		c.want(`{"type":"follow","users":["d"]}`)
		c.send(`{"type":"presence","user":"a","status":"busy","revision":4,"cursor":"c4"}`)
		synctest.Wait()
		c.cut()
		s.Follow("e")
		s.Unfollow("a")
		see(t, s, "b=available …")

		c = f.accept()
		c.want(`{"type":"follow","users":["b@x.test"],"cursor":"c4"}`)
		fresh := c.want(`{"type":"follow","users":["d","e"]}`)
		c.reply(fresh, `{"type":"snapshot","id":"$","presences":[{"user":"d","status":"busy","revision":1}],"unknown":["e"],"cursor":"c9"}`)
		see(t, s, "b=available d=busy")
		c.cut()

		c = f.accept() // c9 is nothing that b may go on from
		id = c.want(`{"type":"follow","users":["b@x.test"],"cursor":"c4"}`)
		c.want(`{"type":"follow","users":["d"],"cursor":"c9"}`)
		c.reply(id, `{"type":"snapshot","id":"$","partial":true,"presences":[],"cursor":"c9"}`)
		see(t, s, "b=available d=busy")
		c.listen()
		if err := stop(); !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
		if !slices.Equal(unknown, []string{"[e] true"}) {
			t.Errorf("unknown: %v", unknown)
		}
		close(c.done)
	})
}

// TestReset: what is known of the users in question counts for nothing any more,
// however high its revision, and stays to be read until the snapshot is whole.
func TestReset(t *testing.T) {
	for name, first := range map[string]string{
		"told":          `{"type":"reset","reason":"epoch"}`,
		"by another id": `{"type":"hello","epoch":"e2","cursor":"x","ping_seconds":20}`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				s := f.client(StaticToken("x")).Stream(StreamOptions{Users: []string{"a", "b"}})
				run(t, s)
				c := f.accept()
				id := c.want(`{"type":"follow","users":["a","b"]}`)
				c.reply(id, `{"type":"snapshot","id":"$","presences":[{"user":"a","status":"away","revision":7},{"user":"b","status":"away","revision":8}],"cursor":"c1"}`)
				see(t, s, "a=away b=away")
				c.cut()
				c = f.accept()
				id = c.want(`{"type":"follow","users":["a","b"],"cursor":"c1"}`)
				c.send(first)
				synctest.Wait()
				c.reply(id, `{"type":"snapshot","id":"$","presences":[{"user":"a","status":"busy","revision":2}],"more":true}`)
				synctest.Wait()
				if got := presences(s.View()); !strings.HasPrefix(got, "a=away b=away") || s.View().Complete() != (name != "told") {
					t.Errorf("half of the snapshot shows: %s", got)
				}
				c.send(`{"type":"presence","user":"a","status":"on_call","revision":3}`) // live, and newer than the snapshot
				c.reply(id, `{"type":"snapshot","id":"$","presences":[],"unknown":["b"],"cursor":"d1"}`)
				see(t, s, "a=on_call")
				c.cut()
			})
		})
	}
}

// TestContacts: who is added or removed while the stream is away, or while it is
// there; a name keeps whom the contacts let go.
func TestContacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		s := f.client(StaticToken("x")).Stream(StreamOptions{Users: []string{"b"}, Contacts: true})
		run(t, s)
		c := f.accept()
		contacts := c.want(`{"type":"follow","contacts":true}`)
		users := c.want(`{"type":"follow","users":["b"]}`)
		c.reply(contacts, `{"type":"snapshot","id":"$","presences":[{"user":"a","status":"away","revision":1},{"user":"b","status":"away","revision":1}],"cursor":"c1"}`)
		see(t, s, "a=away b=away …")
		c.reply(users, `{"type":"snapshot","id":"$","presences":[{"user":"b","status":"away","revision":1}],"cursor":"c2"}`)
		c.send(`{"type":"presence","user":"n","status":"busy","revision":1}`)
		c.send(`{"type":"gone","user":"b","reason":"contact_removed"}`)
		see(t, s, "a=away b=away n=busy")
		c.send(`{"type":"gone","user":"n","reason":"contact_removed"}`)
		see(t, s, "a=away b=away")
		c.cut()
		c = f.accept()
		contacts = c.want(`{"type":"follow","contacts":true,"cursor":"c2"}`)
		c.want(`{"type":"follow","users":["b"],"cursor":"c2"}`)
		c.reply(contacts, `{"type":"snapshot","id":"$","partial":true,"presences":[{"user":"d","status":"busy","revision":1}],"gone":["a"],"cursor":"c3"}`)
		see(t, s, "b=away d=busy")

		// Whether b is a contact only the server knows.
		s.Unfollow("b")
		left := c.want(`{"type":"unfollow","users":["b"]}`)
		contacts = c.want(`{"type":"follow","contacts":true}`)
		c.send(`{"type":"presence","user":"b","status":"busy","revision":2}`)
		c.reply(left, `{"type":"done","id":"$"}`)
		see(t, s, "d=busy …")
		c.reply(contacts, `{"type":"snapshot","id":"$","presences":[{"user":"b","status":"busy","revision":2}],"cursor":"c4"}`)
		see(t, s, "b=busy")
		s.FollowContacts(false)
		see(t, s, "")
		c.want(`{"type":"unfollow","contacts":true}`)
		c.cut()
	})
}

// TestGone: a deleted user leaves the view, and its name is asked for from the
// beginning.
func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		s := f.client(StaticToken("x")).Stream(StreamOptions{Users: []string{"a@x.test"}})
		run(t, s)
		c := f.accept()
		id := c.want(`{"type":"follow","users":["a@x.test"]}`)
		c.send(`{"type":"presence","user":"a","status":"busy","revision":9}`) // before its name is known
		c.reply(id, `{"type":"snapshot","id":"$","presences":[{"user":"a","asked_as":"a@x.test","status":"away","revision":1}],"cursor":"c1"}`)
		see(t, s, "a=busy")
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
		see(t, s, "")
		c.cut()
		c = f.accept()
		c.want(`{"type":"follow","users":["a@x.test"]}`)
		if want := []string{"afalse", "atrue"}; !slices.Equal(got, want) {
			t.Errorf("changes: %v, want %v", got, want)
		}
		c.cut()
	})
}

// TestTwoNames: a user of two names is followed until neither is wanted.
func TestTwoNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		s := f.client(StaticToken("x")).Stream(StreamOptions{Users: []string{"a", "a@x.test"}})
		run(t, s)
		c := f.accept()
		id := c.want(`{"type":"follow","users":["a","a@x.test"]}`)
		c.reply(id, `{"type":"snapshot","id":"$","presences":[{"user":"a","status":"away","revision":1},{"user":"a","asked_as":"a@x.test","status":"away","revision":1}],"cursor":"c1"}`)
		see(t, s, "a=away")
		s.Unfollow("a@x.test")
		see(t, s, "a=away")
		s.Unfollow("a", "never")
		c.want(`{"type":"unfollow","users":["a"]}`)
		see(t, s, "")
		s.Follow("a") // again, before the server has answered
		id = c.want(`{"type":"follow","users":["a"]}`)
		see(t, s, "…")
		c.reply(id, `{"type":"snapshot","id":"$","presences":[{"user":"a","status":"busy","revision":2}],"cursor":"c2"}`)
		see(t, s, "a=busy")
		c.cut()
	})
}

// TestChangesCoalesce: a loop that is slow holds nobody up, gets the newest only,
// and ends with the stream.
func TestChangesCoalesce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		s := f.client(StaticToken("x")).Stream(StreamOptions{Users: []string{"a", "b"}})
		stop := run(t, s)
		c := f.accept()
		id := c.want(`{"type":"follow","users":["a","b"]}`)
		c.reply(id, `{"type":"snapshot","id":"$","presences":[{"user":"a","revision":1},{"user":"b","revision":1}],"cursor":"c1"}`)
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
		c.listen()
		_ = stop()
		<-ended
		if want := []string{"a1", "b1", "a101"}; !slices.Equal(got, want) {
			t.Errorf("changes: %v, want %v", got, want)
		}
		close(c.done)
	})
}

// TestSession: the session goes on after a loss, without a word of activity but
// that the person is idle; Run's end signs out.
func TestSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		s := f.client(StaticToken("x")).Stream(StreamOptions{SignIn: &api.SignIn{ClientType: "desktop", ClientVersion: "1"}})
		stop := run(t, s)
		c := f.accept()
		first := `{"type":"sign_in","client_type":"desktop","client_version":"1","session":"` + s.chosen + `"}`
		c.want(first)
		c.cut()
		c = f.accept() // the answer was lost: it is the same session
		id := c.want(first)
		c.reply(id, `{"type":"done","id":"$","session":"s1"}`)
		synctest.Wait()
		s.SetActive(true)
		id = c.want(`{"type":"activity","active":true}`)
		s.SetActive(true) // while the first is on its way
		synctest.Wait()
		c.reply(id, `{"type":"done","id":"$"}`)
		id = c.want(`{"type":"activity","active":true}`)
		c.reply(id, `{"type":"done","id":"$"}`)
		synctest.Wait()
		c.cut()
		c = f.accept()
		id = c.want(`{"type":"sign_in","client_type":"desktop","client_version":"1","session":"s1"}`)
		c.reply(id, `{"type":"done","id":"$","session":"s2"}`) // it was away for too long
		synctest.Wait()
		if s.Session() != "s2" {
			t.Errorf("the session is %q", s.Session())
		}
		c.cut()
		s.SetActive(false)
		for range 2 {
			c = f.accept()
			id = c.want(`{"type":"sign_in","client_type":"desktop","client_version":"1","session":"s2","active":false}`)
			c.reply(id, `{"type":"done","id":"$","session":"s2"}`)
			synctest.Wait()
			c.cut()
		}
		c = f.accept()
		c.want(`{"type":"sign_in","client_type":"desktop","client_version":"1","session":"s2","active":false}`)
		go func() { _ = stop() }()
		c.want(`{"type":"sign_out"}`)
		c.listen()
		_ = stop()
		close(c.done)
	})
}

// TestSessionReplaced: the stream goes on without a session, over losses too, until
// the person wants another.
func TestSessionReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, idle, told := newFake(t), false, 0
		s := f.client(StaticToken("x")).Stream(StreamOptions{
			Users: []string{"a"}, SignIn: &api.SignIn{ClientType: "web", Active: &idle}, OnReplaced: func() { told++ },
		})
		stop := run(t, s)
		c := f.accept()
		before := s.chosen
		id := c.want(`{"type":"sign_in","client_type":"web","session":"` + before + `","active":false}`)
		c.reply(id, `{"type":"done","id":"$","session":"s1"}`)
		id = c.want(`{"type":"follow","users":["a"]}`)
		c.reply(id, `{"type":"snapshot","id":"$","presences":[],"unknown":[],"gone":[],"cursor":"1"}`)
		c.send(`{"type":"error","code":"session-replaced","detail":"Replaced."}`)
		synctest.Wait()
		s.SetActive(true) // says nothing to the server
		c.cut()
		c = f.accept()
		id = c.want(`{"type":"follow","users":["a"],"cursor":"1"}`)
		c.reply(id, `{"type":"snapshot","id":"$","partial":true,"presences":[],"unknown":[],"gone":[],"cursor":"2"}`)
		synctest.Wait()
		if told != 1 || s.Session() != "" {
			t.Errorf("told %d times, the session is %q", told, s.Session())
		}
		s.SignInAgain()
		if s.chosen == before {
			t.Error("it asks for the session that was replaced")
		}
		id = c.want(`{"type":"sign_in","client_type":"web","session":"` + s.chosen + `","active":true}`)
		c.reply(id, `{"type":"error","id":"$","code":"session-replaced","detail":"Replaced."}`) // at once again
		synctest.Wait()
		if told != 2 {
			t.Errorf("told %d times", told)
		}
		go func() { _ = stop() }()
		c.want(`{"type":"sign_out"}`)
		c.listen()
		_ = stop()
		close(c.done)
	})
}

// TestClaim: a call is repeated until it is answered, and an answer that refuses
// it is the error that the request has.
func TestClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		s := f.client(StaticToken("x")).Stream(StreamOptions{})
		answers := make(chan error)
		go func() { answers <- s.Claim(t.Context(), "manual", api.SetClaim{Source: "manual", Status: api.Busy}) }()
		stop := run(t, s)
		c := f.accept()
		c.want(`{"type":"claim","claim":"manual","source":"manual","status":"busy"}`)
		c.cut()
		c = f.accept()
		id := c.want(`{"type":"claim","claim":"manual","source":"manual","status":"busy"}`)
		c.reply(id, `{"type":"done","id":"$"}`)
		if err := <-answers; err != nil {
			t.Error(err)
		}
		go func() { answers <- s.EndClaim(t.Context(), "other") }()
		id = c.want(`{"type":"end_claim","claim":"other"}`)
		c.reply(id, `{"type":"error","id":"$","code":"claim-not-found","detail":"Not there."}`)
		err := <-answers
		if _, again := Retry(err); !Is(err, &api.NoClaim) || again || !strings.HasSuffix(err.Error(), "Not there.") {
			t.Errorf("refused: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), second)
		defer cancel()
		go func() { answers <- s.EndClaim(ctx, "slow") }()
		c.want(`{"type":"end_claim","claim":"slow"}`)
		if err := <-answers; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("too late: %v", err)
		}
		c.cut()
		c = f.accept() // it is not repeated
		go func() { answers <- s.EndClaim(t.Context(), "last") }()
		c.want(`{"type":"end_claim","claim":"last"}`)
		c.listen()
		_ = stop()
		if err := <-answers; !errors.Is(err, context.Canceled) || !errors.Is(s.EndClaim(t.Context(), "x"), context.Canceled) {
			t.Errorf("at the end: %v", err)
		}
		if err := s.Run(t.Context()); err == nil {
			t.Error("it runs twice")
		}
		close(c.done)
	})
}

// TestRefused: the stream goes on without what cannot be followed; one that
// cannot sign in ends; what may work later is tried again.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		var refused []string
		s := f.client(StaticToken("x")).Stream(StreamOptions{
			Users: []string{"a"}, Contacts: true, SignIn: &api.SignIn{ClientType: "web"},
			OnRefused: func(users []string, err error) {
				refused = append(refused, fmt.Sprint(users, Is(err, &api.InsufficientScope)))
			},
		})
		ended := make(chan error, 1)
		go func() { ended <- s.Run(t.Context()) }()
		c := f.accept()
		c.want(`{"type":"sign_in","client_type":"web","session":"` + s.chosen + `"}`)
		contacts := c.want(`{"type":"follow","contacts":true}`)
		users := c.want(`{"type":"follow","users":["a"]}`)
		c.reply(contacts, `{"type":"error","id":"$","code":"insufficient-scope"}`)
		see(t, s, "…")
		c.reply(users, `{"type":"error","id":"$","code":"unavailable"}`)
		close(c.done)
		c = f.accept()
		sign := c.want(`{"type":"sign_in","client_type":"web","session":"` + s.chosen + `"}`)
		users = c.want(`{"type":"follow","users":["a"]}`)
		c.reply(users, `{"type":"snapshot","id":"$","presences":[{"user":"a","status":"busy","revision":1}],"cursor":"c"}`)
		see(t, s, "a=busy")
		c.reply(sign, `{"type":"error","id":"$","code":"forbidden","detail":"No."}`)
		close(c.done)
		if err := <-ended; !Is(err, &api.Forbidden) || !slices.Equal(refused, []string{"[] true"}) {
			t.Errorf("ended with %v; refused %v", err, refused)
		}
	})
}

// A vault gives out tokens, numbered.
type vault struct{ renewed int }

func (v *vault) Token(context.Context) (string, error) {
	return strings.Repeat("x", v.renewed+1), nil
}

func (v *vault) Renew(context.Context, string) (string, error) {
	v.renewed++
	return v.Token(context.Background())
}

// TestTerminal: what ends a stream for good, with and without a source that can
// renew the token.
func TestTerminal(t *testing.T) {
	unauthorized := `{"reason":"unauthorized"}`
	for name, c := range map[string]struct {
		tokens TokenSource
		play   func(f *fake)
		want   string
	}{
		"the token is revoked": {StaticToken("x"), func(f *fake) { f.accept().close(3500, unauthorized) }, "the server closed the stream: unauthorized (3500)"},
		"another one, too": {&vault{}, func(f *fake) {
			f.accept().close(3500, unauthorized)
			if c := f.accept(); c.token != "Bearer xx" {
				f.t.Errorf("came again with %q", c.token)
			} else {
				c.close(3500, unauthorized)
			}
		}, "unauthorized (3500)"},
		"each once a while": {&vault{}, func(f *fake) {
			for range 3 {
				c := f.accept()
				c.listen()
				time.Sleep(time.Hour) // it never pings, and is heard of by its pongs
				c.close(3500, unauthorized)
			}
			f.refuse(403, nil, "")
		}, "403: Forbidden"},
		"the handshake":  {&vault{}, func(f *fake) { f.refuse(401, nil, ""); f.refuse(401, nil, "") }, "401: Unauthorized"},
		"too fast":       {StaticToken("x"), func(f *fake) { f.accept().close(3501, `{"reason":"too_fast"}`) }, "too_fast (3501)"},
		"our frames":     {StaticToken("x"), func(f *fake) { f.accept().close(1007, "bad UTF-8") }, "bad UTF-8 (1007)"},
		"their frames":   {StaticToken("x"), func(f *fake) { c := f.accept(); c.send(`[]`); close(c.done) }, "cannot unmarshal array"},
		"a missing page": {StaticToken("x"), func(f *fake) { f.refuse(404, nil, "") }, "404: Not Found"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				s := f.client(c.tokens).Stream(StreamOptions{})
				ended := make(chan error, 1)
				go func() { ended <- s.Run(t.Context()) }()
				c.play(f)
				err := <-ended
				if _, again := Retry(err); err == nil || !strings.Contains(err.Error(), c.want) || again {
					t.Errorf("ended with %v, to be tried again: %v; want %s", err, again, c.want)
				}
			})
		})
	}
}

// TestReconnect: how long a stream waits before it comes back. Its random part is
// the whole bound here.
func TestReconnect(t *testing.T) {
	after := func(seconds string) http.Header { return http.Header{"Retry-After": {seconds}} }
	for name, c := range map[string]struct {
		play    func(f *fake)
		want    []time.Duration
		silence bool
	}{
		"cut off": {func(f *fake) { f.accept().cut() }, []time.Duration{1 * second}, false},
		"cut off again and again": {func(f *fake) {
			for range 7 {
				f.accept().cut()
			}
		}, []time.Duration{1 * second, 2 * second, 4 * second, 8 * second, 16 * second, 30 * second, 30 * second}, false},
		"after a while": {func(f *fake) {
			f.accept().cut()
			f.accept().cut()
			c := f.accept()
			time.Sleep(11 * second)
			c.cut()
		}, []time.Duration{1 * second, 2 * second, 1 * second}, false},
		"draining":             {func(f *fake) { f.accept().close(3000, `{"reason":"draining","retry_ms":4200}`) }, []time.Duration{5200 * time.Millisecond}, false},
		"a code to come":       {func(f *fake) { f.accept().close(3499, "") }, []time.Duration{1 * second}, false},
		"a proxy's goodbye":    {func(f *fake) { f.accept().close(1001, "") }, []time.Duration{1 * second}, false},
		"many come":            {func(f *fake) { f.refuse(503, after("7"), "") }, []time.Duration{8 * second}, false},
		"a fault":              {func(f *fake) { f.refuse(500, nil, "") }, []time.Duration{1 * second}, false},
		"nothing is heard":     {silent, []time.Duration{1 * second}, true},
		"it never says hello":  {func(f *fake) { c := f.open(); time.Sleep(31 * second); close(c.done) }, []time.Duration{1 * second}, true},
		"the server is not up": {func(f *fake) { _ = f.Close(); time.Sleep(6 * second) }, []time.Duration{1 * second, 2 * second, 4 * second}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				var waits []time.Duration
				s := f.client(StaticToken("x")).Stream(StreamOptions{OnState: func(state State) {
					if !state.Connected {
						waits = append(waits, state.RetryAfter)
						if strings.Contains(state.Err.Error(), "failed to") {
							t.Errorf("a message for whoever wrote the library: %v", state.Err)
						}
						if isSilence := strings.Contains(state.Err.Error(), errSilent.Error()); isSilence != c.silence {
							t.Errorf("lost because of %v", state.Err)
						}
					}
				}})
				s.random = func(below time.Duration) time.Duration { return below }
				stop := run(t, s)
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

// silent plays a server that is heard for a while by its pings, then by the answer
// to the client's ping, and then not at all.
func silent(f *fake) {
	c := f.accept()
	c.listen()
	for range 10 {
		time.Sleep(39 * second)
		if err := c.ws.Ping(context.Background()); err != nil {
			f.t.Errorf("a client that hears pings: %v", err)
		}
	}
	time.Sleep(100 * second) // it pings, and this side answers
	if err := c.ws.Ping(context.Background()); err != nil {
		f.t.Errorf("a client that heard an answer: %v", err)
	}
	c.mute.Store(true)
	time.Sleep(59 * second)
	if err := c.ws.Ping(context.Background()); err != nil {
		f.t.Errorf("a client that waits for an answer: %v", err)
	}
	time.Sleep(60*second + second/2)
	close(c.done)
}

// TestPace: what a client sends stays below what a server takes, however much
// there is to say, and large sets are followed in parts.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		users := make([]string, 2_500)
		for i := range users {
			users[i] = fmt.Sprintf("%026d", i)
		}
		s := f.client(StaticToken("x")).Stream(StreamOptions{Users: users})
		stop := run(t, s)
		c := f.accept()
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
		c.listen()
		_ = stop()
		close(c.done)
	})
}
