package cluster

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"porchlight.dev/porchlight/api"
)

// An oauthClient is an app, with a person who allows it what it asks for.
type oauthClient struct {
	*cluster
	app    api.App
	person *person
}

func (c *cluster) oauthClient() *oauthClient {
	c.t.Helper()
	app, err := c.nodes[0].client.CreateApp(c.t.Context(), api.CreateApp{
		Name: "Calendar", Scopes: []string{"presence:read"}, RedirectURIs: []string{"https://app.example.com/callback"},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return &oauthClient{c, app, c.person("grace")}
}

// code is what the app gets when the person allows its request through a node.
func (o *oauthClient) code(n *node) string {
	o.t.Helper()
	query := url.Values{"response_type": {"code"}, "client_id": {o.app.ID}, "scope": {"presence:read"}}
	a := o.person.do(n, http.MethodPost, "/v1/oauth/authorization", map[string]any{"request": query.Encode(), "allow": true})
	to, err := url.Parse(a.text("redirect"))
	if err != nil || to.Query().Get("code") == "" {
		o.t.Fatalf("allowing: %d %v, %v", a.status, a.body, err)
	}
	return to.Query().Get("code")
}

// post sends a request of the app to one of the endpoints of OAuth.
func (o *oauthClient) post(n *node, path string, form ...string) answer {
	values := url.Values{}
	for i := 0; i < len(form); i += 2 {
		values.Set(form[i], form[i+1])
	}
	basic := base64.StdEncoding.EncodeToString([]byte(o.app.ID + ":" + o.app.Secret))
	return n.call(o.t, http.MethodPost, path, values, http.Header{"Authorization": {"Basic " + basic}})
}

func (o *oauthClient) redeem(n *node, code string) answer {
	return o.post(n, "/oauth/token", "grant_type", "authorization_code", "code", code)
}

func (o *oauthClient) refresh(n *node, token string) answer {
	return o.post(n, "/oauth/token", "grant_type", "refresh_token", "refresh_token", token)
}

// acts reports whether a node accepts an access token.
func (o *oauthClient) acts(n *node, token string) bool {
	return n.call(o.t, http.MethodGet, "/v1/me", nil, http.Header{"Authorization": {"Bearer " + token}}).status == http.StatusOK
}

// both calls do with two nodes at the same time.
func (c *cluster) both(do func(n *node) answer) (answers [2]answer) {
	var calling sync.WaitGroup
	for i := range answers {
		calling.Go(func() { answers[i] = do(c.nodes[i+1]) })
	}
	calling.Wait()
	return answers
}

// testCodes: whichever nodes an app and a person use, an authorization code gives tokens once,
// and they are valid at all nodes at once.
func testCodes(c *cluster) {
	o := c.oauthClient()
	for i := range 30 {
		first, second, third := c.nodes[i%3], c.nodes[(i+1)%3], c.nodes[(i+2)%3]
		got := o.redeem(second, o.code(first))
		if got.status != http.StatusOK {
			c.t.Fatalf("a code of another node: %d %v", got.status, got.body)
		}
		if !o.acts(third, got.text("access_token")) {
			c.t.Fatal("the access token of another node is refused")
		}
		if next := o.refresh(third, got.text("refresh_token")); next.status != http.StatusOK || !o.acts(first, next.text("access_token")) {
			c.t.Fatalf("the refresh token of another node: %d %v", next.status, next.body)
		}
	}
}

// testCodeTwice: of two requests with one code to two nodes at the same time one gets tokens,
// and as on one node these are revoked, because somebody else may have the code.
func testCodeTwice(c *cluster) {
	o := c.oauthClient()
	for range 5 {
		code := o.code(c.nodes[0])
		c.checkOnce(o, c.both(func(n *node) answer { return o.redeem(n, code) }))
	}
	code := o.code(c.nodes[0])
	c.checkOnce(o, [2]answer{o.redeem(c.nodes[1], code), o.redeem(c.nodes[2], code)})
}

// checkOnce checks that one of two answers has tokens, and that no node accepts them.
func (c *cluster) checkOnce(o *oauthClient, answers [2]answer) {
	c.t.Helper()
	var granted int
	for _, a := range answers {
		switch {
		case a.status == http.StatusOK:
			granted++
			eventually(c.t, "the tokens of a code that was used twice are revoked", func() bool {
				return !o.acts(c.nodes[0], a.text("access_token")) && !o.acts(c.nodes[1], a.text("access_token")) && !o.acts(c.nodes[2], a.text("access_token"))
			})
			if next := o.refresh(c.nodes[0], a.text("refresh_token")); next.text("error") != "invalid_grant" {
				c.t.Errorf("the refresh token of a code that was used twice: %d %v", next.status, next.body)
			}
		case a.text("error") != "invalid_grant":
			c.t.Errorf("%d %v", a.status, a.body)
		}
	}
	if granted != 1 {
		c.t.Errorf("%d of two requests with one code got tokens: %v", granted, answers)
	}
}

// testRefreshTwice: two processes of an app that refresh at the same time through two nodes get
// the same next refresh token, and both access tokens are valid.
func testRefreshTwice(c *cluster) {
	o := c.oauthClient()
	got := o.redeem(c.nodes[1], o.code(c.nodes[0]))
	token := got.text("refresh_token")
	for range 5 {
		answers := c.both(func(n *node) answer { return o.refresh(n, token) })
		next := answers[0].text("refresh_token")
		if next == "" || next != answers[1].text("refresh_token") {
			c.t.Fatalf("%v", answers)
		}
		for _, a := range answers {
			if !o.acts(c.nodes[0], a.text("access_token")) {
				c.t.Error("an access token is refused")
			}
		}
		token = next
	}
}

// testEndOfAccess: whatever ends the access of an app through one node ends it at all of them
// within half a second.
func testEndOfAccess(c *cluster) {
	for name, end := range map[string]func(o *oauthClient, n *node, got *answer) answer{
		"the app revokes its access token": func(o *oauthClient, n *node, got *answer) answer {
			return o.post(n, "/oauth/revoke", "token", got.text("access_token"))
		},
		"the app revokes its refresh token": func(o *oauthClient, n *node, got *answer) answer {
			return o.post(n, "/oauth/revoke", "token", got.text("refresh_token"))
		},
		"the person ends the access": func(o *oauthClient, n *node, _ *answer) answer {
			return o.person.do(n, http.MethodDelete, "/v1/grants/"+o.app.ID, nil)
		},
		"an administrator revokes the tokens of the person": func(o *oauthClient, n *node, _ *answer) answer {
			return n.asApp(o.t, http.MethodDelete, "/v1/tokens?app="+o.app.ID+"&user="+o.person.id, nil)
		},
	} {
		c.t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := c.in(t).oauthClient()
			o.catchUp(o.person.id) // with the password
			eventuallyPrompt(t, "the access ends at all nodes", func() (change func(), followed func() bool) {
				o.person.signIn(c.nodes[0])
				got := o.redeem(c.nodes[1], o.code(c.nodes[0]))
				for _, n := range c.nodes {
					if !o.acts(n, got.text("access_token")) {
						t.Error("a node refuses the access token")
					}
				}
				change = func() {
					if a := end(o, c.nodes[2], &got); a.status >= 300 {
						t.Errorf("%d %v", a.status, a.body)
					}
				}
				return change, func() bool {
					token := got.text("access_token")
					return !o.acts(c.nodes[0], token) && !o.acts(c.nodes[1], token) && !o.acts(c.nodes[2], token)
				}
			})
		})
	}
}

// testDevice: a device asks one node, the person decides through another one, and the device
// learns of it from a third one. Its code gives tokens once.
func testDevice(c *cluster) {
	o := c.oauthClient()
	shown := o.post(c.nodes[0], "/oauth/devicecode")
	poll := func(n *node) answer {
		return o.post(n, "/oauth/token", "grant_type", "urn:ietf:params:oauth:grant-type:device_code", "device_code", shown.text("device_code"))
	}
	if a := poll(c.nodes[0]); a.text("error") != "authorization_pending" {
		c.t.Errorf("before the decision: %d %v", a.status, a.body)
	}
	if a := o.person.do(c.nodes[1], http.MethodPost, "/v1/oauth/device", map[string]any{"user_code": shown.text("user_code"), "allow": true}); a.status != http.StatusNoContent {
		c.t.Fatalf("allowing: %d %v", a.status, a.body)
	}
	c.catchUp(o.person.id) // a device that asks too soon must ask again
	c.checkOnce(o, c.both(poll))
}

// testTickets: of three requests with one ticket to three nodes at the same time one opens a
// stream, whichever node made the ticket.
func testTickets(c *cluster) {
	for i := range 10 {
		made, err := c.nodes[i%3].client.Ticket(c.t.Context())
		if err != nil {
			c.t.Fatal(err)
		}
		var opened atomic.Int64
		c.at(1, func(n *node, _ int) {
			if n.opensStream(c.t, made.Ticket) {
				opened.Add(1)
			}
		})
		if n := opened.Load(); n != 1 {
			c.t.Errorf("a ticket opened %d streams", n)
		}
	}
}

// opensStream opens a stream with a ticket, and ends it.
func (n *node) opensStream(t *testing.T, ticket string) bool {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+n.front.Addr().String()+"/v1/stream?ticket="+ticket, http.NoBody)
	if err != nil {
		t.Error(err)
		return false
	}
	r.Header.Set("Accept", "text/event-stream")
	resp, err := n.http.Do(r)
	if err != nil {
		t.Error(err)
		return false
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a stream by ticket: %s", resp.Status)
	}
	return resp.StatusCode == http.StatusOK
}
