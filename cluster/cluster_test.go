package cluster

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/membership"
	"porchlight.dev/porchlight/internal/server"
	"porchlight.dev/porchlight/internal/store/enginetest"
)

// shortTimes are those of the nodes here. A node that the machine does not run for seconds
// is not declared dead by one that stood still too.
func shortTimes() membership.Times {
	return membership.Times{Interval: 100 * time.Millisecond, IsolatedAfter: 10 * time.Second, DeadAfter: 20 * time.Second}
}

// A cluster is nodes that serve one store.
type cluster struct {
	t       *testing.T
	servers *servers
	config  config.Config
	made    server.Credentials
	mu      sync.Mutex // guards nodes against the load balancer
	nodes   []*node
	client  *client.Client // through a load balancer
}

// A node is one server of the product, behind a proxy to its clients and one to its store.
type node struct {
	*server.Server
	t           *testing.T
	client      *client.Client
	front, back *proxy
	http        *http.Client
	log         *lockedBuffer
	token       string // of the app
	stop        context.CancelFunc
	ended       chan struct{}
	err         error // of Run; read it when ended is closed
	out         atomic.Bool
}

// start creates a store of its own on the servers, and runs nodes on it until the test ends.
func start(t *testing.T, s *servers, nodes int, change ...func(*config.Config)) *cluster {
	t.Helper()
	c := &cluster{t: t, servers: s, config: config.Default()}
	c.config.Listen, c.config.AdminListen, c.config.AccessLog = "127.0.0.1:0", "127.0.0.1:0", "off"
	c.config.StoreCredentials, c.config.StoreReplicas = s.credentials, len(s.all)
	c.config.Durability = "os" // nobody asks for sync_interval, which the test sets
	c.config.MinUpdateInterval, c.config.MaxQueueDelay, c.config.DrainDelay = 0, 0, 500*time.Millisecond
	for _, f := range change {
		f(&c.config)
	}
	c.createStore()
	for range nodes {
		c.add(server.Options{})
	}
	balancer := startProxy(t, c.next)
	c.client, _ = connect(t, "http://"+balancer.Addr().String(), c.made.AccessToken)
	return c
}

// createStore creates the store. Servers that have just found each other refuse to create streams for
// a while, and what they have created then may be incomplete: the next attempt has another name.
func (c *cluster) createStore() {
	c.t.Helper()
	c.retry("create the streams of a store", func() (err error) {
		c.config.Store = fmt.Sprintf("nats://%s/s%d", c.servers.next(), c.servers.stores.Add(1))
		c.made, err = server.Init(c.t.Context(), c.config, server.Founding{
			Account: "Test", OwnerEmail: "ada@example.com", OwnerName: "Ada Okafor", AppName: "test", WithToken: true,
		})
		return err
	})
}

// add runs another node. Its start fails while the store elects a leader, as on any machine
// that is too busy.
func (c *cluster) add(o server.Options) (n *node) {
	c.t.Helper()
	c.retry("start a node", func() (err error) {
		n, err = c.tryAdd(o)
		return err
	})
	return n
}

// retry calls do until it succeeds.
func (c *cluster) retry(what string, do func() error) {
	c.t.Helper()
	eventually(c.t, what, func() bool {
		err := do()
		if err != nil {
			c.t.Logf("%s: %v; trying again", what, err)
		}
		return err == nil
	})
}

func (c *cluster) tryAdd(o server.Options) (*node, error) {
	c.t.Helper()
	n := &node{t: c.t, back: startProxy(c.t, c.servers.next), log: new(lockedBuffer), token: c.made.AccessToken, ended: make(chan struct{})}
	cfg := c.config
	_, name, _ := strings.Cut(strings.TrimPrefix(cfg.Store, "nats://"), "/")
	cfg.Store = "nats://" + n.back.Addr().String() + "/" + name
	o.Log, o.NodeTimes, o.StoreTimeout = server.NewLog(cfg, n.log), cmp.Or(o.NodeTimes, shortTimes()), enginetest.Timeout
	var err error
	if n.Server, err = server.New(cfg, o); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	go func() {
		defer close(n.ended)
		n.err = n.Run(ctx)
	}()
	address := strings.TrimPrefix(n.URL(), "http://")
	n.front = startProxy(c.t, func() string { return address })
	n.client, n.http = connect(c.t, "http://"+n.front.Addr().String(), n.token)
	c.t.Cleanup(func() {
		n.back.heal() // so that it ends quickly
		n.leave()
		if c.t.Failed() {
			c.t.Logf("log of the node at %s:\n%s", address, n.log)
		}
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes = append(c.nodes, n)
	return n, nil
}

// connect makes a client with connections of its own.
func connect(t *testing.T, url, token string) (*client.Client, *http.Client) {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	h := &http.Client{Transport: transport, Timeout: waitLimit}
	c, err := client.New(url, client.StaticToken(token), h)
	if err != nil {
		t.Fatal(err)
	}
	return c, h
}

// next is the address of a node that is ready, as a load balancer finds it. It waits until
// there is one, or the test ends.
func (c *cluster) next() string {
	for c.t.Context().Err() == nil {
		c.mu.Lock()
		n := c.nodes[int(c.servers.dials.Add(1))%len(c.nodes)]
		c.mu.Unlock()
		if status, _ := n.ready(); !n.out.Load() && status == http.StatusOK {
			return n.front.Addr().String()
		}
		time.Sleep(10 * time.Millisecond)
	}
	return ""
}

// leave stops the node as an operator does, and waits until it has ended.
func (n *node) leave() {
	n.t.Helper()
	n.out.Store(true)
	n.stop()
	select {
	case <-n.ended:
	case <-time.After(waitLimit):
		n.t.Error("the node did not stop")
	}
}

// die ends everything that the node has to do with others, at once.
func (n *node) die() {
	n.out.Store(true)
	n.back.cut()
	n.front.cut()
}

// wasIsolated reports whether the node gave its run up, as it also does if the machine stands still.
func (n *node) wasIsolated() bool { return strings.Contains(n.log.String(), "this node is isolated") }

// ready is what /readyz answers.
func (n *node) ready() (status int, body string) { return n.admin("/readyz") }

func (n *node) metrics() string {
	_, body := n.admin("/metrics")
	return body
}

// admin fetches a page of the admin listener, which is not behind the proxy.
func (n *node) admin(path string) (status int, body string) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, n.AdminURL()+path, http.NoBody)
	if err != nil {
		return 0, err.Error()
	}
	resp, err := n.http.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(text)
}

// user makes a user with a token for presence and sessions, whom every node knows.
func (c *cluster) user(name string) (id, token string) {
	c.t.Helper()
	c.retry("create a user", func() error { // who may exist after a failure
		u, err := c.client.CreateUser(c.t.Context(), api.CreateUser{Email: fmt.Sprintf("%s%d@example.com", name, c.servers.users.Add(1))})
		id = u.ID
		return err
	})
	c.retry("create a token", func() error {
		made, err := c.client.CreateToken(c.t.Context(), api.CreateToken{User: id, Name: "test", Scopes: []string{"presence:read", "session:write", "session:read"}})
		token = made.Secret
		return err
	})
	c.catchUp(id)
	return id, token
}

// catchUp makes later reads of each node that is not out see a user, and everything that any
// node stored before. An ordinary read may be older than a write through another node.
func (c *cluster) catchUp(user string) {
	c.t.Helper()
	for _, n := range c.nodes {
		if n.out.Load() {
			continue
		}
		c.retry("read a user", func() error { // a node may not find the user before it has caught up
			_, err := n.client.Presence(c.t.Context(), user, client.Strong())
			return err
		})
	}
}

// follow runs a stream until the test ends.
func follow(t *testing.T, c *client.Client, o client.StreamOptions) *client.Stream {
	t.Helper()
	s := c.Stream(o)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return s
}

// statuses are those that a user's log shows, oldest first. It is asked again while the
// store has no leader.
func (c *cluster) statuses(user string) (all []api.Status) {
	c.t.Helper()
	eventually(c.t, "the log of the user can be read", func() bool {
		all = nil
		for e, err := range c.client.History(c.t.Context(), user, client.HistoryOptions{}) {
			if err != nil {
				return false
			}
			if e.After != nil {
				all = append([]api.Status{e.After.Status}, all...)
			}
		}
		return true
	})
	return all
}

// awaitStatus waits until a strong read of each node that is not dead shows a status.
func (c *cluster) awaitStatus(user string, want api.Status) {
	c.t.Helper()
	for _, n := range c.nodes {
		if n.out.Load() {
			continue
		}
		eventually(c.t, fmt.Sprintf("user %s is %s", user, want), func() bool {
			p, err := n.client.Presence(c.t.Context(), user, client.Strong())
			return err == nil && p.Status == want
		})
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
