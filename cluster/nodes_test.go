package cluster

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/membership"
	"porchlight.dev/porchlight/internal/server"
	"porchlight.dev/porchlight/internal/store/enginetest"
)

func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "5"); err != nil { // these tests mostly wait
		panic(err)
	}
	enginetest.Main(m)
}

// TestNodes runs the scenarios in which the NATS servers are well.
func TestNodes(t *testing.T) {
	t.Parallel()
	s := startServers(t, 3)
	for name, test := range map[string]func(*cluster){
		"one store":                testOneStore,
		"once over nodes":          testOnce,
		"audit chain":              testAuditChain,
		"death of nodes":           testDeath,
		"expiry at a node's death": testExpiryAtDeath,
		"rolling restart":          testRollingRestart,
		"event socket":             testEventSocket,
		"surfaces":                 testSurfaces,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(start(t, s, 3))
		})
	}
	t.Run("minute", func(t *testing.T) {
		t.Parallel()
		testMinute(start(t, s, 3, func(cfg *config.Config) { cfg.MinUpdateInterval = time.Minute }))
	})
	t.Run("webhooks", func(t *testing.T) {
		t.Parallel()
		testWebhooks(start(t, s, 3, func(cfg *config.Config) { cfg.WebhookAllow = "127.0.0.0/8" }))
	})
	t.Run("isolated node", func(t *testing.T) {
		t.Parallel()
		testIsolated(start(t, s, 0))
	})
	t.Run("levels", func(t *testing.T) {
		t.Parallel()
		testLevels(start(t, s, 0))
	})
}

// set sets the user's own status through a node.
func (n *node) set(user string, status api.Status, opts ...client.Option) error {
	_, err := n.client.SetClaim(n.t.Context(), user, "manual", api.SetClaim{Source: "manual", Status: status}, opts...)
	return err
}

// signIn signs a user in through a node, without a connection.
func (n *node) signIn(user string) {
	n.t.Helper()
	lease := 3600
	if _, err := n.client.SignIn(n.t.Context(), user, api.SignIn{ClientType: "desktop", LeaseSeconds: &lease}); err != nil {
		n.t.Fatal(err)
	}
}

// at calls do once for each of several callers of every node, all at the same time.
func (c *cluster) at(each int, do func(n *node, i int)) {
	begin := make(chan struct{})
	var calling sync.WaitGroup
	for i := range each * len(c.nodes) {
		calling.Go(func() {
			<-begin
			do(c.nodes[i%len(c.nodes)], i)
		})
	}
	close(begin)
	calling.Wait()
}

// testOneStore: what one node acknowledged is read from another one, and reaches the streams
// of a third.
func testOneStore(c *cluster) {
	t := c.t
	user, _ := c.user("grace")
	c.nodes[0].signIn(user)
	third := follow(t, c.nodes[2].client, client.StreamOptions{Users: []string{user}})
	for i, status := range []api.Status{api.Busy, api.Away, api.DoNotDisturb} {
		writer, reader := c.nodes[i%3], c.nodes[(i+1)%3]
		if err := writer.set(user, status); err != nil {
			t.Fatal(err)
		}
		p, err := reader.client.Presence(t.Context(), user, client.Strong())
		if err != nil || p.Status != status {
			t.Errorf("a strong read on another node is %s, %v, want %s", p.Status, err, status)
		}
		eventually(t, "the stream shows the status", func() bool {
			p, ok := third.View().Get(user)
			return ok && p.Status == status
		})
	}
}

// testOnce: of requests that all nodes get at the same time, those with one Idempotency-Key
// are carried out once, and of those with one If-Match one succeeds.
func testOnce(c *cluster) {
	t := c.t
	user, _ := c.user("grace")
	c.nodes[0].signIn(user)
	c.at(3, func(n *node, _ int) {
		if err := n.set(user, api.Busy, client.IdempotencyKey("the same")); err != nil {
			t.Errorf("a repeated request: %v", err)
		}
	})
	p, err := c.nodes[1].client.Presence(t.Context(), user, client.Strong())
	if err != nil {
		t.Fatal(err)
	}
	var accepted atomic.Int64
	c.at(3, func(n *node, i int) {
		claim := api.SetClaim{Source: "test", Status: api.Away}
		switch _, err := n.client.SetClaim(t.Context(), user, fmt.Sprint("claim", i), claim, client.IfMatch(p.Revision)); {
		case err == nil:
			accepted.Add(1)
		case !client.Is(err, &api.PreconditionFailed):
			t.Errorf("with If-Match: %v", err)
		}
	})
	if n := accepted.Load(); n != 1 {
		t.Errorf("%d of 9 requests with one If-Match were accepted", n)
	}
	if got, want := c.statuses(user), []api.Status{api.Available, api.Busy}; !slices.Equal(got[len(got)-2:], want) {
		t.Errorf("the log shows %v, and its end is to be %v", got, want)
	}
}

// testMinute: of updates through all nodes at the same time, one is accepted in a minute.
func testMinute(c *cluster) {
	t := c.t
	user, _ := c.user("grace")
	c.nodes[0].signIn(user)
	var accepted atomic.Int64
	c.at(5, func(n *node, i int) {
		status := []string{"Away", "Do_Not_Disturb"}[i%2]
		if _, err := n.client.SetZoomStatus(t.Context(), user, status, 0); err == nil {
			accepted.Add(1)
		}
	})
	if n := accepted.Load(); n != 1 {
		t.Errorf("%d of 15 updates were accepted within a minute", n)
	}
}

// testAuditChain: nodes that audit at the same time continue one chain.
func testAuditChain(c *cluster) {
	t := c.t
	c.at(5, func(n *node, i int) {
		if _, err := n.client.CreateToken(t.Context(), api.CreateToken{Name: fmt.Sprint(i), Scopes: []string{"presence:read"}}); err != nil {
			t.Errorf("creating a token: %v", err)
		}
	})
	var log bytes.Buffer
	if err := c.nodes[1].client.ExportAudit(t.Context(), &log); err != nil {
		t.Fatal(err)
	}
	report, err := new(audit.Verifier).Verify(&log)
	if err != nil || report.Problem != nil || report.Events < 15 {
		t.Errorf("the audit log of three nodes: %+v, %v", report, err)
	}
}

// bind signs a user in with a connection to a node.
func (c *cluster) bind(n *node, token string) {
	c.t.Helper()
	own, _ := connect(c.t, "http://"+n.front.Addr().String(), token)
	s := follow(c.t, own, client.StreamOptions{SignIn: &api.SignIn{ClientType: "desktop"}})
	eventually(c.t, "the connection has a session", func() bool { return s.Session() != "" })
}

// sessions are how many sessions a user has.
func (c *cluster) sessions(user string) (count int) {
	for _, err := range c.client.Sessions(c.t.Context(), user) {
		if err != nil {
			return -1
		}
		count++
	}
	return count
}

// testDeath: the death of one of two nodes that hold sessions of a user shows nobody anything.
// That of the other one shows the user offline, once.
func testDeath(c *cluster) {
	t := c.t
	user, token := c.user("grace")
	c.bind(c.nodes[0], token)
	c.bind(c.nodes[1], token)
	eventually(t, "the user has two sessions", func() bool { return c.sessions(user) == 2 })
	c.nodes[0].die()
	eventually(t, "the session of the dead node has ended", func() bool { return c.sessions(user) == 1 })
	if got, want := c.statuses(user), []api.Status{api.Offline, api.Available}; !slices.Equal(got, want) {
		t.Errorf("after the death of one of two nodes the log shows %v, want %v", got, want)
	}
	begun := time.Now()
	c.nodes[1].die()
	c.awaitStatus(user, api.Offline)
	if took := time.Since(begun); took < shortTimes().DeadAfter {
		t.Errorf("the user was shown offline %v after the death of the node", took)
	}
	if got, want := c.statuses(user), []api.Status{api.Offline, api.Available, api.Offline}; !slices.Equal(got, want) {
		t.Errorf("after the death of both nodes the log shows %v, want %v", got, want)
	}
}

// testExpiryAtDeath: what expires at the instant at which a node dies expires once.
func testExpiryAtDeath(c *cluster) {
	t := c.t
	const users = 20
	var ids []string
	for i := range users {
		user, _ := c.user(fmt.Sprint("user", i))
		ids = append(ids, user)
		c.nodes[i%3].signIn(user)
	}
	at := time.Now().Add(20 * time.Second)
	var claims sync.WaitGroup
	for i, user := range ids {
		claims.Go(func() {
			claim := api.SetClaim{Source: "test", Status: api.Busy, Until: api.At(at)}
			if _, err := c.nodes[i%3].client.SetClaim(t.Context(), user, "c", claim); err != nil {
				t.Error(err)
			}
		})
	}
	claims.Wait()
	time.Sleep(time.Until(at))
	c.nodes[0].die()
	for _, user := range ids {
		c.awaitStatus(user, api.Available)
		if got, want := c.statuses(user), []api.Status{api.Offline, api.Available, api.Busy, api.Available}; !slices.Equal(got, want) {
			t.Errorf("the log shows %v, want %v", got, want)
		}
	}
}

// testRollingRestart: while every node is replaced by another one, no request fails and nobody
// is shown offline.
func testRollingRestart(c *cluster) {
	t := c.t
	user, token := c.user("grace")
	balancer := startProxy(t, c.next)
	own, _ := connect(t, "http://"+balancer.Addr().String(), token)
	follow(t, own, client.StreamOptions{SignIn: &api.SignIn{ClientType: "desktop"}})
	c.awaitStatus(user, api.Available)
	other, _ := c.user("ada2")
	c.nodes[0].signIn(other)

	ctx, stop := context.WithCancel(t.Context())
	var answered atomic.Int64
	var stalled atomic.Bool // the machine, for half a second or more
	var load sync.WaitGroup
	load.Go(func() {
		for ctx.Err() == nil {
			from := time.Now()
			time.Sleep(10 * time.Millisecond)
			if time.Since(from) > time.Second/2 {
				stalled.Store(true)
			}
		}
	})
	for i := range 4 {
		load.Go(func() {
			mine, _ := connect(t, "http://"+balancer.Addr().String(), c.made.AccessToken)
			for ctx.Err() == nil {
				err := oneRequest(t.Context(), mine, other, i%2 == 0)
				if _, lost := errors.AsType[*client.TransportError](err); lost {
					time.Sleep(100 * time.Millisecond) // until a stall that has just ended was noticed
					if stalled.Load() {
						continue // a drain leaves a second for the next request on a connection
					}
				}
				if err != nil {
					t.Errorf("a request during the restart: %v", err)
				}
				answered.Add(1)
			}
		})
	}
	for _, n := range slices.Clone(c.nodes) {
		seen := answered.Load()
		eventually(t, "requests are answered", func() bool { return answered.Load() > seen+20 })
		c.add(server.Options{})
		eventually(t, "the stream is connected", c.hasStream) // so that it has DeadAfter to come back from each drain
		n.leave()
		if n.err != nil {
			t.Errorf("a node that drained: %v", n.err)
		}
	}
	stop()
	load.Wait()
	c.awaitStatus(user, api.Available)
	time.Sleep(shortTimes().DeadAfter + 2*time.Second) // the last one is declared dead
	if got, want := c.statuses(user), []api.Status{api.Offline, api.Available}; !slices.Equal(got, want) {
		t.Errorf("after a rolling restart the log shows %v, want %v", got, want)
	}
}

// hasStream reports whether a node that is not out has the only stream.
func (c *cluster) hasStream() bool {
	return slices.ContainsFunc(c.nodes, func(n *node) bool {
		return !n.out.Load() && strings.Contains(n.metrics(), "porchlight_stream_open 1\n")
	})
}

func oneRequest(ctx context.Context, c *client.Client, user string, write bool) error {
	if !write {
		_, err := c.Presence(ctx, user)
		return err
	}
	_, err := c.SetNote(ctx, user, api.SetNote{Text: time.Now().String()})
	return err
}

// testIsolated: a node that is cut off from the store says so, and its clients come back
// through another one before anybody sees them offline. It serves again by itself.
func testIsolated(c *cluster) {
	t := c.t
	times := shortTimes()
	times.DeadAfter = times.IsolatedAfter + 15*time.Second // as long to come back as with the default times
	for range 3 {
		c.add(server.Options{NodeTimes: times})
	}
	user, token := c.user("grace")
	only := atomic.Bool{}
	only.Store(true)
	balancer := startProxy(t, func() string {
		if only.Load() {
			return c.nodes[0].front.Addr().String()
		}
		return c.next()
	})
	own, _ := connect(t, "http://"+balancer.Addr().String(), token)
	follow(t, own, client.StreamOptions{SignIn: &api.SignIn{ClientType: "desktop"}})
	c.awaitStatus(user, api.Available)
	only.Store(false)
	c.nodes[0].back.cut()
	eventually(t, "the node is isolated", func() bool {
		status, body := c.nodes[0].ready()
		return status == http.StatusServiceUnavailable && strings.Contains(body, "isolated")
	})
	if m := c.nodes[0].metrics(); strings.Contains(m, "porchlight_node_isolated_seconds 0\n") {
		t.Error("the metrics do not say that the node is isolated")
	}
	eventually(t, "the node is declared dead", func() bool {
		m := c.nodes[1].metrics() // on a machine that is too busy, others are dead too
		return strings.Contains(m, `porchlight_nodes{state="dead"} `) && !strings.Contains(m, `porchlight_nodes{state="dead"} 0`)
	})
	c.nodes[0].back.heal()
	eventually(t, "the node is ready again", func() bool {
		status, _ := c.nodes[0].ready()
		return status == http.StatusOK
	})
	c.awaitStatus(user, api.Available)
	if got, want := c.statuses(user), []api.Status{api.Offline, api.Available}; !slices.Equal(got, want) {
		t.Errorf("the log shows %v, want %v", got, want)
	}
}

// testEventSocket: a client of the events of a subscription, connected to a node that does not
// deliver them, gets every event in order over one connection, also across the death of the node
// that does.
func testEventSocket(c *cluster) {
	t := c.t
	user, _ := c.user("grace")
	delivers := func(n *node) bool {
		return !n.out.Load() && strings.Contains(n.metrics(), `porchlight_consumer_lag_entries{consumer="webhook"}`)
	}
	eventually(t, "one node delivers", func() bool { return slices.ContainsFunc(c.nodes, delivers) })
	i := slices.IndexFunc(c.nodes, delivers)
	deliverer, other := c.nodes[i], c.nodes[(i+1)%3]
	s, err := other.client.CreateSubscription(t.Context(), api.CreateSubscription{Events: []string{"presence.changed"}, Users: []string{user}})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var bodies []string
	ctx, stop := context.WithCancel(t.Context())
	var listening sync.WaitGroup
	listening.Go(func() {
		_ = other.client.Listen(ctx, s.ID, client.ListenOptions{
			OnEvent: func(_ context.Context, f *api.EventFrame) error {
				mu.Lock()
				defer mu.Unlock()
				bodies = append(bodies, f.Body)
				return nil
			},
			OnState: func(s client.State) {
				if s.Err != nil && !other.wasIsolated() { // as it is if the machine stands still
					t.Errorf("the connection was lost: %v", s.Err)
				}
			},
		})
	})
	defer listening.Wait()
	defer stop()
	other.signIn(user)
	const events = 30
	for n := range events {
		if n == events/2 {
			deliverer.die()
		}
		if _, err := other.client.SetNote(t.Context(), user, api.SetNote{Text: fmt.Sprintf("note %d.", n)}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the first event", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(bodies) > 0
		})
	}
	eventually(t, "every event, in order", func() bool {
		mu.Lock()
		defer mu.Unlock()
		next := 0
		for _, body := range bodies {
			if next < events && strings.Contains(body, fmt.Sprintf("note %d.", next)) {
				next++
			}
		}
		return next == events
	})
}

// testLevels: nodes of two successive versions run together; the level rises when the last
// older one has ended, and from then on the older version does not start.
func testLevels(c *cluster) {
	t := c.t
	older := server.Options{Levels: membership.Levels{Oldest: 1, Newest: 1}}
	newer := server.Options{Levels: membership.Levels{Oldest: 1, Newest: 2}}
	old, new1 := c.add(older), c.add(newer)
	made, err := server.SystemTokens(t.Context(), c.config, server.SystemTokenRequest{Create: true, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	operator, _ := connect(t, "http://"+new1.front.Addr().String(), made[0].Secret)
	if up, err := operator.UpgradeNodes(t.Context()); err != nil || up.Level != 1 || up.Prevented == "" {
		t.Errorf("beside a node that does not read level 2: %+v, %v", up, err)
	}
	user, _ := c.user("grace")
	old.signIn(user)
	c.awaitStatus(user, api.Available)
	old.leave()
	eventually(t, "the level rises", func() bool {
		up, err := operator.UpgradeNodes(t.Context())
		return err == nil && up.Level == 2
	})
	before, err := operator.SystemNodes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.tryAdd(older); !errors.Is(err, membership.ErrLevel) {
		t.Errorf("the older version starts: %v", err)
	}
	after, err := operator.SystemNodes(t.Context())
	if err != nil || len(after.Nodes) != len(before.Nodes) {
		t.Errorf("the node that was refused is among the nodes: %+v, %v", after, err)
	}
	c.add(newer)
}
