package cluster

import (
	"net/http"
	"testing"

	"porchlight.dev/porchlight/api"
)

// testSignIns: a person who signs in through one node is signed in at all of them at once.
// Whatever ends the sign-in through one node ends it at all of them within half a second.
func testSignIns(c *cluster) {
	for name, end := range map[string]func(p *person, n *node) answer{
		"the person signs out": func(p *person, n *node) answer {
			return p.do(n, http.MethodDelete, "/v1/sign-ins/current", nil)
		},
		"the person signs out everywhere": func(p *person, n *node) answer {
			return p.do(n, http.MethodDelete, "/v1/sign-ins", nil)
		},
		"the person changes the password elsewhere": func(p *person, n *node) answer {
			other := &person{&browser{t: p.t}, p.id, p.email}
			other.signIn(n)
			return other.do(n, http.MethodPut, "/v1/me/password", api.SetPassword{Current: password, New: password})
		},
		"an administrator signs the person out": func(p *person, n *node) answer {
			return n.asApp(p.t, http.MethodDelete, "/v1/users/"+p.id+"/sign-ins", nil)
		},
		"the person is deactivated": func(p *person, n *node) answer {
			no := false
			return n.asApp(p.t, http.MethodPatch, "/v1/users/"+p.id, api.UpdateUser{Active: &no})
		},
	} {
		c.t.Run(name, func(t *testing.T) {
			t.Parallel()
			testEndOfSignIn(c.in(t), end)
		})
	}
}

func testEndOfSignIn(c *cluster, end func(p *person, n *node) answer) {
	p := c.person("grace")
	for _, n := range c.nodes {
		if !p.isSignedIn(n) {
			c.t.Error("who accepted an invitation through one node is not signed in at another one")
		}
	}
	eventuallyPrompt(c.t, "the sign-in ends at all nodes", func() (change func(), followed func() bool) {
		yes := true
		if a := c.nodes[0].asApp(c.t, http.MethodPatch, "/v1/users/"+p.id, api.UpdateUser{Active: &yes}); a.status != http.StatusOK {
			c.t.Fatalf("activating: %d %v", a.status, a.body)
		}
		p.signIn(c.nodes[0])
		for i, n := range c.nodes {
			if !p.isSignedIn(n) {
				c.t.Errorf("who signed in through the first node is not signed in at node %d", i)
			}
		}
		change = func() {
			if a := end(p, c.nodes[2]); a.status >= 300 {
				c.t.Errorf("%d %v", a.status, a.body)
			}
		}
		return change, func() bool {
			return !p.isSignedIn(c.nodes[0]) && !p.isSignedIn(c.nodes[1]) && !p.isSignedIn(c.nodes[2])
		}
	})
}

// asApp sends a request with the app's token.
func (n *node) asApp(t *testing.T, method, path string, body any) answer {
	t.Helper()
	return n.call(t, method, path, body, http.Header{"Authorization": {"Bearer " + n.token}})
}
