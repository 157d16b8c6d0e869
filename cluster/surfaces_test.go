package cluster

import (
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/server"
)

// testSurfaces runs the scenarios that stop nothing, all on the same nodes.
func testSurfaces(c *cluster) {
	for name, test := range map[string]func(*cluster){
		"long polls":        testLongPolls,
		"sign-ins":          testSignIns,
		"codes":             testCodes,
		"a code twice":      testCodeTwice,
		"a refresh twice":   testRefreshTwice,
		"the end of access": testEndOfAccess,
		"devices":           testDevice,
		"tickets":           testTickets,
		"watches":           testWatches,
		"erasure":           testErasure,
		"SCIM":              testSCIM,
		"displays":          testDisplays,
		"pages":             testPages,
		"scheduled backups": testScheduledBackups,
	} {
		c.t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(c.in(t))
		})
	}
}

// in is the cluster as a subtest uses it, beside others.
func (c *cluster) in(t *testing.T) *cluster {
	return &cluster{t: t, servers: c.servers, config: c.config, made: c.made, nodes: c.nodes, client: c.client}
}

// testLongPolls: a long poll at one node is answered when another node makes a change, and its
// cursor continues on a third one.
func testLongPolls(c *cluster) {
	for name, x := range map[string]struct {
		change func(n *node, user string) error
		shows  func(*api.Changes) bool
	}{
		"a status": {
			func(n *node, user string) error { return n.set(user, api.Busy) },
			shows(func(p *api.Presence) bool { return p.Status == api.Busy }),
		},
		"a note": {
			func(n *node, user string) error {
				_, err := n.client.SetNote(n.t.Context(), user, api.SetNote{Text: "at lunch"})
				return err
			},
			shows(func(p *api.Presence) bool { return p.Note == "at lunch" }),
		},
		"a deletion": {
			func(n *node, user string) error { return n.client.DeleteUser(n.t.Context(), user) },
			func(changes *api.Changes) bool { return len(changes.Gone) == 1 },
		},
	} {
		c.t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := c.in(t)
			user, _ := c.user("grace")
			c.nodes[0].signIn(user)
			cursor := c.poll(c.nodes[0], user, "", shows(func(p *api.Presence) bool { return p.Status == api.Available }))
			changed := make(chan error, 1)
			go func() { changed <- x.change(c.nodes[1], user) }()
			cursor = c.poll(c.nodes[0], user, cursor, x.shows)
			if err := <-changed; err != nil {
				t.Error(err)
			}
			again, err := c.nodes[2].client.Changes(t.Context(), client.ChangesQuery{Users: []string{user}, Cursor: cursor})
			if err != nil || again.Reset {
				t.Errorf("the cursor of another node: %+v, %v", again, err)
			}
		})
	}
}

// testWatches: a watch that was made through one node fires once when another one makes the
// change, and its owner's stream at a third one is told.
func testWatches(c *cluster) {
	owner, _ := c.user("ada")
	made, err := c.client.CreateToken(c.t.Context(), api.CreateToken{User: owner, Name: "test", Scopes: []string{"presence:read", "contact:read", "contact:write"}})
	if err != nil {
		c.t.Fatal(err)
	}
	user, _ := c.user("grace")
	own, _ := connect(c.t, "http://"+c.nodes[0].front.Addr().String(), made.Secret)
	watch, err := own.CreateWatch(c.t.Context(), api.CreateWatch{User: user})
	if err != nil {
		c.t.Fatal(err)
	}
	third, _ := connect(c.t, "http://"+c.nodes[2].front.Addr().String(), made.Secret)
	fired := make(chan api.Watch, 10)
	s := follow(c.t, third, client.StreamOptions{Users: []string{user}, OnWatch: func(w api.Watch) { fired <- w }})
	c.nodes[1].signIn(user)
	var w api.Watch
	select {
	case w = <-fired:
		if w.ID != watch.ID || w.Status != api.Available {
			c.t.Errorf("%+v fired", w)
		}
	case <-time.After(waitLimit):
		c.t.Fatal("the watch did not fire")
	}
	for _, n := range c.nodes {
		eventually(c.t, "a watch that was delivered is gone", func() bool {
			mine, _ := connect(c.t, "http://"+n.front.Addr().String(), made.Secret)
			_, err := mine.Watch(c.t.Context(), watch.ID)
			return client.Is(err, &api.NoWatch)
		})
	}
	if err := c.nodes[0].set(user, api.Busy); err != nil {
		c.t.Fatal(err)
	}
	if err := c.nodes[1].client.EndClaim(c.t.Context(), user, "manual"); err != nil {
		c.t.Fatal(err)
	}
	eventually(c.t, "the stream shows that the user is available again", func() bool {
		p, ok := s.View().Get(user)
		return ok && p.Status == api.Available
	})
	for len(fired) > 0 {
		if again := <-fired; again != w { // a stream that opens at the firing may be told twice
			c.t.Errorf("the watch fired again: %+v after %+v", again, w)
		}
	}
}

// testErasure: an erasure that several nodes are asked for is one, and when it is done, no node
// has anything of the user.
func testErasure(c *cluster) {
	user, _ := c.user("grace")
	c.nodes[1].signIn(user)
	if err := c.nodes[2].set(user, api.Busy); err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.nodes[0].client.EraseUser(c.t.Context(), user); err != nil {
		c.t.Fatal(err)
	}
	var done [3]api.Erasure
	for i, n := range c.nodes {
		eventually(c.t, "the erasure is done", func() bool {
			e, err := n.client.Erasure(c.t.Context(), user)
			done[i] = e
			return err == nil && e.State == api.ErasureDone
		})
	}
	if done[1] != done[0] || done[2] != done[0] {
		c.t.Errorf("nodes know different erasures: %+v", done)
	}
	for i, n := range c.nodes {
		_, ofUser := n.client.User(c.t.Context(), user)
		_, ofPresence := n.client.Presence(c.t.Context(), user, client.Strong())
		for what, err := range map[string]error{"user": ofUser, "presence": ofPresence} {
			if !client.Is(err, &api.NoUser) {
				c.t.Errorf("the %s at node %d: %v", what, i, err)
			}
		}
	}
}

// scim sends a request of an identity provider to a node.
func (c *cluster) scim(n *node, method, path string, body any) answer {
	c.t.Helper()
	return n.asApp(c.t, method, "/scim/v2"+path, body)
}

// testSCIM: a user whom an identity provider creates through one node is listed there at once,
// and by the others soon. No other node creates the same user again, and when the provider
// deactivates the user, every node refuses the user's tokens within half a second.
func testSCIM(c *cluster) {
	user := map[string]any{"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:User"}, "userName": "scim@example.com", "active": true}
	made := c.scim(c.nodes[0], http.MethodPost, "/Users", user)
	if made.status != http.StatusCreated {
		c.t.Fatalf("%d %v", made.status, made.body)
	}
	if again := c.scim(c.nodes[1], http.MethodPost, "/Users", user); again.status != http.StatusConflict {
		c.t.Errorf("the same user through another node: %d %v", again.status, again.body)
	}
	listed := func(n *node) bool {
		a := c.scim(n, http.MethodGet, "/Users?filter="+url.QueryEscape(`userName eq "scim@example.com"`), nil)
		return a.body["totalResults"] == 1.0
	}
	if !listed(c.nodes[0]) {
		c.t.Error("the node that created the user does not list the user")
	}
	for _, n := range c.nodes {
		eventually(c.t, "the nodes list the user", func() bool { return listed(n) })
	}
	id := made.text("id")
	eventuallyPrompt(c.t, "the tokens of a deactivated user are refused", func() (change func(), followed func() bool) {
		c.setActive(id, true)
		c.catchUp(id)
		token, err := c.nodes[0].client.CreateToken(c.t.Context(), api.CreateToken{User: id, Name: "test", Scopes: []string{"presence:read"}})
		if err != nil {
			c.t.Fatal(err)
		}
		accepted := func(n *node) bool {
			return n.call(c.t, http.MethodGet, "/v1/me", nil, http.Header{"Authorization": {"Bearer " + token.Secret}}).status == http.StatusOK
		}
		for _, n := range c.nodes {
			if !accepted(n) {
				c.t.Error("the token of an active user is refused")
			}
		}
		return func() { c.setActive(id, false) }, func() bool { return !accepted(c.nodes[0]) && !accepted(c.nodes[1]) }
	})
}

// setActive activates or deactivates a user, as an identity provider does.
func (c *cluster) setActive(id string, active bool) {
	c.t.Helper()
	patch := map[string]any{
		"schemas":    []string{"urn:ietf:params:scim:api:messages:2.0:PatchOp"},
		"Operations": []any{map[string]any{"op": "replace", "path": "active", "value": active}},
	}
	if a := c.scim(c.nodes[2], http.MethodPatch, "/Users/"+id, patch); a.status != http.StatusOK {
		c.t.Errorf("%d %v", a.status, a.body)
	}
}

// testDisplays: a link for a display that was made through one node works at all of them, until
// another node revokes it.
func testDisplays(c *cluster) {
	made := c.nodes[0].asApp(c.t, http.MethodPost, "/v1/signage-links", api.CreateSignageLink{Name: "Entrance"})
	_, secret, _ := strings.Cut(made.text("url"), "/signage/")
	shows := func(status int) func() bool {
		return func() bool {
			return !slices.ContainsFunc(c.nodes, func(n *node) bool {
				return n.call(c.t, http.MethodGet, "/v1/signage/"+secret, nil, nil).status != status
			})
		}
	}
	eventually(c.t, "all nodes show the display", shows(http.StatusOK))
	if a := c.nodes[1].asApp(c.t, http.MethodDelete, "/v1/signage-links/"+made.text("id"), nil); a.status != http.StatusNoContent {
		c.t.Fatalf("%d %v", a.status, a.body)
	}
	eventually(c.t, "all nodes refuse the link", shows(http.StatusNotFound))
}

// testPages: a page of one node finds its scripts and style sheets at the others.
func testPages(c *cluster) {
	link := regexp.MustCompile(`(?:src|href)="(/[^"]+\.(?:js|css))"`)
	for _, path := range []string{"/", "/signin", "/me", "/account", "/admin"} {
		_, page := c.get(c.nodes[0], path)
		found := link.FindAllStringSubmatch(page, -1)
		if len(found) == 0 {
			c.t.Errorf("%s has no script: %.200s", path, page)
		}
		for _, of := range found {
			_, want := c.get(c.nodes[0], of[1])
			for _, n := range c.nodes[1:] {
				if status, got := c.get(n, of[1]); status != http.StatusOK || got != want {
					c.t.Errorf("%s at another node: %d, and %d bytes instead of %d", of[1], status, len(got), len(want))
				}
			}
		}
	}
}

// get fetches a page.
func (c *cluster) get(n *node, path string) (status int, body string) {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, "http://"+n.front.Addr().String()+path, http.NoBody)
	if err != nil {
		c.t.Fatal(err)
	}
	resp, err := n.http.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// testScheduledBackups: no node makes backups of a store on NATS, and each says what does.
func testScheduledBackups(c *cluster) {
	c.config.BackupDir = c.t.TempDir()
	if _, err := c.tryAdd(server.Options{}); err == nil || !strings.Contains(err.Error(), "nats account backup") {
		c.t.Errorf("a node with backup-dir: %v", err)
	}
}

// poll polls from a cursor until the changes show something, and returns the last cursor. The
// server may repeat a change of the last minute.
func (c *cluster) poll(n *node, user, cursor string, shows func(*api.Changes) bool) string {
	c.t.Helper()
	for {
		began := time.Now()
		changes, err := n.client.Changes(c.t.Context(), client.ChangesQuery{Users: []string{user}, Cursor: cursor, Wait: api.MaxWaitSeconds * time.Second})
		if err != nil {
			c.t.Fatal(err)
		}
		if shows(&changes) {
			return changes.Cursor
		}
		if time.Since(began) >= api.MaxWaitSeconds*time.Second {
			c.t.Fatal("a long poll waited although there was a change")
		}
		cursor = changes.Cursor
	}
}

func shows(is func(*api.Presence) bool) func(*api.Changes) bool {
	return func(changes *api.Changes) bool {
		return slices.ContainsFunc(changes.Presences, func(p api.Presence) bool { return is(&p) })
	}
}
