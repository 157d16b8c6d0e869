package cluster

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
)

const password = "seven green bottles"

// A browser is that of a person. A load balancer may send each of its requests to another node.
type browser struct {
	t      *testing.T
	cookie *http.Cookie // nil: nobody has signed in
}

// An answer is what a node answered.
type answer struct {
	status int
	header http.Header
	body   map[string]any
}

// text is a member of the answer; "": there is none.
func (a *answer) text(name string) string {
	text, _ := a.body[name].(string)
	return text
}

// call sends a request to a node. Its body is a form, or else is sent as JSON.
func (n *node) call(t *testing.T, method, path string, body any, header http.Header) answer {
	t.Helper()
	var sent []byte
	kind := "application/json"
	switch values := body.(type) {
	case nil:
	case url.Values:
		sent, kind = []byte(values.Encode()), "application/x-www-form-urlencoded"
	default:
		var err error
		if sent, err = json.Marshal(body); err != nil {
			t.Fatal(err)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+n.front.Addr().String()+path, bytes.NewReader(sent))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	r.Header.Set("Content-Type", kind)
	resp, err := n.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header}
	_ = json.Unmarshal(text, &a.body) // pages are no JSON
	return a
}

// do sends a request of one of the server's pages to a node.
func (b *browser) do(n *node, method, path string, body any) answer {
	b.t.Helper()
	header := http.Header{"Sec-Fetch-Site": {"same-origin"}}
	if b.cookie != nil {
		header.Set("Cookie", b.cookie.String())
	}
	for end := time.Now().Add(waitLimit); ; time.Sleep(100 * time.Millisecond) {
		a := n.call(b.t, method, path, body, header)
		if a.status != http.StatusServiceUnavailable || time.Now().After(end) { // a slow machine: it asks to try again
			return a
		}
	}
}

// keep takes the cookie of a sign-in, as a browser does.
func (b *browser) keep(a *answer) {
	b.t.Helper()
	cookies := (&http.Response{Header: a.header}).Cookies()
	if a.status != http.StatusCreated || len(cookies) != 1 {
		b.t.Fatalf("signing in: %d %v", a.status, a.body)
	}
	b.cookie = &http.Cookie{Name: cookies[0].Name, Value: cookies[0].Value}
}

// isSignedIn reports whether a node knows who uses the browser.
func (b *browser) isSignedIn(n *node) bool {
	b.t.Helper()
	a := b.do(n, http.MethodGet, "/v1/me", nil)
	if a.status != http.StatusOK && a.status != http.StatusUnauthorized {
		b.t.Errorf("GET /v1/me: %d %v", a.status, a.body)
	}
	return a.status == http.StatusOK
}

// A person has a password and a browser.
type person struct {
	*browser
	id, email string
}

// person makes a user through one node, who chooses a password through another one.
func (c *cluster) person(name string) *person {
	c.t.Helper()
	id, _ := c.user(name)
	u, err := c.client.User(c.t.Context(), id)
	if err != nil {
		c.t.Fatal(err)
	}
	invited, err := c.nodes[0].client.InviteUser(c.t.Context(), id)
	if err != nil {
		c.t.Fatal(err)
	}
	_, secret, _ := strings.Cut(invited.URL, "#")
	c.catchUp(id)
	p := &person{&browser{t: c.t}, id, u.Email}
	a := p.do(c.nodes[1], http.MethodPost, "/v1/invitations/accept", api.AcceptInvitation{Secret: secret, Password: password})
	p.keep(&a)
	return p
}

// signIn signs the person in through a node.
func (p *person) signIn(n *node) {
	p.t.Helper()
	a := p.do(n, http.MethodPost, "/v1/sign-ins", api.CreateSignIn{Email: p.email, Password: password})
	p.keep(&a)
}

// Limits of what is promised of other nodes.
const promptly = 500 * time.Millisecond

// eventuallyPrompt repeats a round until other nodes followed it promptly. On a machine that is
// too busy, a round may take longer; without messages between the nodes, each takes seconds.
func eventuallyPrompt(t *testing.T, what string, round func() (change func(), followed func() bool)) {
	t.Helper()
	eventually(t, what+", in less than "+promptly.String(), func() bool {
		change, followed := round()
		began := time.Now()
		followed()
		allowed := promptly + 3*time.Since(began) // of which some is spent on asking
		change()
		began = time.Now()
		eventually(t, what, followed)
		took := time.Since(began)
		if took >= allowed {
			t.Logf("%s took %v; trying again", what, took)
		}
		return took < allowed
	})
}
