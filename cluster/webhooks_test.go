package cluster

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
)

// An endpoint records the notes that the events of a subscription have, by user.
type endpoint struct {
	*httptest.Server
	t     *testing.T
	mu    sync.Mutex // guards notes
	notes map[string][]string
}

func newEndpoint(t *testing.T) *endpoint {
	e := &endpoint{t: t, notes: make(map[string][]string)}
	e.Server = httptest.NewServer(e)
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	var event struct {
		Type     string `json:"type"`
		User     string `json:"user"`
		Presence struct {
			Note string `json:"note"`
		} `json:"presence"`
	}
	if err := json.NewDecoder(r.Body).Decode(&event); err != nil {
		e.t.Errorf("an event cannot be read: %v", err)
	}
	switch event.Type {
	case api.EventPresenceChanged:
		e.mu.Lock()
		defer e.mu.Unlock()
		e.notes[event.User] = append(e.notes[event.User], event.Presence.Note)
	case api.EventGap:
		e.t.Error("the subscription has a gap")
	}
}

// of are the notes of a user, in the order of their arrival.
func (e *endpoint) of(user string) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.notes[user])
}

// firsts are notes without those that were delivered before.
func firsts(notes []string) (all []string) {
	for _, note := range notes {
		if !slices.Contains(all, note) {
			all = append(all, note)
		}
	}
	return all
}

// delivers is the node that delivers webhooks, or nil.
func (c *cluster) delivers() *node {
	i := slices.IndexFunc(c.nodes, func(n *node) bool {
		return !n.out.Load() && strings.Contains(n.metrics(), `porchlight_consumer_lag_entries{consumer="webhook"}`)
	})
	if i < 0 {
		return nil
	}
	return c.nodes[i]
}

// leaveUnfinished stops a node, and reports whether the next one may repeat what it delivered: a
// stop abandons attempts that take 2 s more, and does not wait longer for the state to be saved.
func (n *node) leaveUnfinished() bool {
	begun := time.Now()
	n.leave()
	return time.Since(begun) >= 2*time.Second || strings.Contains(n.log.String(), "events will be delivered again")
}

// testWebhooks: the endpoint of a subscription that was made through one node gets each change
// once and in order, whichever nodes make them, also when the node stops that delivers. What that
// node could not finish in time may be repeated.
func testWebhooks(c *cluster) {
	t := c.t
	e := newEndpoint(t)
	user, _ := c.user("grace")
	other, _ := c.user("joan")
	c.subscribe(e, user, other)
	var want []string
	write := func(nodes []*node, notes int) {
		for i := range notes {
			note := fmt.Sprint("note ", len(want))
			want = append(want, note)
			for _, u := range []string{user, other} {
				if _, err := nodes[i%len(nodes)].client.SetNote(t.Context(), u, api.SetNote{Text: note}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	mayRepeat := false
	check := func() {
		t.Helper()
		for _, u := range []string{user, other} {
			eventually(t, "the events arrive", func() bool { return len(firsts(e.of(u))) >= len(want) })
			got := e.of(u)
			if mayRepeat || slices.ContainsFunc(c.nodes, (*node).wasIsolated) { // another node repeats what was not saved
				got = firsts(got)
			}
			if !slices.Equal(got, want) {
				t.Errorf("the endpoint got %v, want %v", got, want)
			}
		}
	}
	write(c.nodes, 9)
	check()

	var delivers *node
	eventually(t, "a node delivers", func() bool {
		delivers = c.delivers()
		return delivers != nil
	})
	others := slices.DeleteFunc(slices.Clone(c.nodes), func(n *node) bool { return n == delivers })
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		mayRepeat = delivers.leaveUnfinished()
	}()
	for running := true; running; {
		write(others, 2)
		select {
		case <-stopped:
			running = false
		default:
		}
	}
	write(others, 2)
	check()
}

// subscribe subscribes the endpoint to what users do, through the first node. It returns when
// the node that delivers knows that.
func (c *cluster) subscribe(e *endpoint, users ...string) {
	c.t.Helper()
	_, err := c.nodes[0].client.CreateSubscription(c.t.Context(), api.CreateSubscription{
		URL: e.URL, Form: "native", Events: []string{api.EventPresenceChanged}, Users: users,
	})
	if err != nil {
		c.t.Fatal(err)
	}
}
