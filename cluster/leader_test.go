package cluster

import (
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

// TestLeaderDies: the death of the NATS server that leads the store's stream declares no node
// dead and shows nobody offline. Updates work again without a restart.
func TestLeaderDies(t *testing.T) {
	t.Parallel()
	s := startServers(t, 3)
	c := start(t, s, 3)
	user, token := c.user("grace")
	balancer := startProxy(t, c.next)
	own, _ := connect(t, "http://"+balancer.Addr().String(), token)
	follow(t, own, client.StreamOptions{SignIn: &api.SignIn{ClientType: "desktop"}})
	c.awaitStatus(user, api.Available)
	_, name, _ := strings.Cut(strings.TrimPrefix(c.config.Store, "nats://"), "/")
	leads := func(one *natsServer) bool { return one.JetStreamIsStreamLeader("PORCHLIGHT", name+"-state") }
	leader := -1 // while one is elected
	eventually(t, "a server leads the stream", func() bool {
		leader = slices.IndexFunc(s.all, leads)
		return leader >= 0
	})
	s.all[leader].Shutdown()
	for _, n := range c.nodes {
		eventually(t, "an update through each node", func() bool { return n.set(user, api.Busy) == nil })
	}
	c.awaitStatus(user, api.Busy)
	time.Sleep(shortTimes().DeadAfter + 2*time.Second)
	if got, want := c.statuses(user), []api.Status{api.Offline, api.Available, api.Busy}; !slices.Equal(got, want) {
		t.Errorf("the log shows %v, want %v", got, want)
	}
	declaresDead := func(n *node) bool { return strings.Contains(n.log.String(), "declared dead") }
	if slices.ContainsFunc(c.nodes, declaresDead) && !slices.ContainsFunc(c.nodes, (*node).wasIsolated) { // an election can outlast IsolatedAfter here
		t.Error("a node was declared dead")
	}
}
