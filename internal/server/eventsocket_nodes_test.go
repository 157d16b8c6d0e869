package server_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/membership"
	"porchlight.dev/porchlight/internal/server"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// delivers reports whether a server runs the consumer of webhooks.
func (r *running) delivers(t *testing.T) bool {
	return r.metric(t, `porchlight_consumer_lag_entries{consumer="webhook"}`) != ""
}

// TestEventSocketOverNodes: a client receives events from a node that does not deliver them, as
// from one that does: while the delivery moves to another node it stays connected and misses
// nothing, and it ends with its token, with a newer client on another node, and with its
// subscription.
func TestEventSocketOverNodes(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	made, st := initStore(t, cfg)
	t.Cleanup(func() { _ = st.Close() })
	var bus storetest.Bus
	times := membership.Times{Interval: 50 * time.Millisecond, IsolatedAfter: 20 * time.Second, DeadAfter: 40 * time.Second}
	node := func() *running {
		own := cfg
		own.DataDir = filepath.Join(t.TempDir(), "data")
		return run(t, own, server.Options{Store: &messagingStore{guestStore{sharedStore{Store: st}}, bus.Node()}, NodeTimes: times}, made)
	}
	here, there := node(), node()
	eventually(t, "one node delivers", func() bool { return here.delivers(t) != there.delivers(t) })
	if there.delivers(t) {
		here, there = there, here
	}
	ids := here.createUsers(t, 1)
	s := here.waitingSubscription(t, made.AccessToken)
	token := there.createToken(t, "", "subscription:write:admin")
	c := there.receiveEvents(t, s.ID, token.Secret)
	n := 0
	claim := func(at *running) {
		t.Helper()
		n++
		if _, err := at.client.SetClaim(t.Context(), ids[0], "test", api.SetClaim{Source: "app", Status: api.Busy, Note: fmt.Sprint("claim ", n)}); err != nil {
			t.Fatal(err)
		}
	}
	claim(here)
	c.readNote("claim 1")

	here.stop(server.ErrInterrupted) // in the middle of deliveries
	for range 20 {
		claim(there)
	}
	if err := here.wait(t); err != nil {
		t.Fatal(err)
	}
	third := node()
	claim(third)
	for i := 2; i <= n; i++ {
		c.readNote(fmt.Sprint("claim ", i))
	}

	if err := third.client.RevokeToken(t.Context(), token.ID); err != nil {
		t.Fatal(err)
	}
	c.wantClose(api.CloseUnauthorized, `{"reason":"unauthorized"}`)
	first := there.receiveEvents(t, s.ID, made.AccessToken)
	second := third.receiveEvents(t, s.ID, made.AccessToken)
	first.wantClose(api.CloseReplaced, `{"reason":"replaced"}`)
	first = there.receiveEvents(t, s.ID, made.AccessToken)
	second.wantClose(api.CloseReplaced, `{"reason":"replaced"}`)
	if err := third.client.DeleteSubscription(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	first.wantClose(api.CloseEnded, `{"reason":"ended"}`)
}

// readNote reads the event of a claim with a note. Earlier ones may come again before it.
func (c *eventClient) readNote(note string) {
	c.t.Helper()
	c.readTo(func(f *api.EventFrame) bool {
		text, err := json.Marshal(note)
		return err == nil && strings.Contains(f.Body, `"note":`+string(text))
	})
}
