package server

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/wire"
)

// TestPlanDescriptors: connections and the store together fit within the process's
// limit of descriptors.
func TestPlanDescriptors(t *testing.T) {
	for _, c := range []struct {
		limit uint64
		asked int
		want  descriptorPlan
	}{
		{limit: 0, want: descriptorPlan{1<<20 - 1096 - 512, 1000, 512}},
		{limit: 65536, want: descriptorPlan{65536 - 1096 - 512, 1000, 512}},
		{limit: 1024, want: descriptorPlan{512 - 64, 416, 64}},
		{limit: 256, want: descriptorPlan{96 - 16, 64, 16}},
		{limit: 256, asked: 10, want: descriptorPlan{10, 64, 16}},
		{limit: 256, asked: 1000, want: descriptorPlan{96 - 16, 64, 16}},
		{limit: 100, want: descriptorPlan{1, 64, 8}},
	} {
		if got := planDescriptors(c.limit, c.asked); got != c.want {
			t.Errorf("planDescriptors(%d, %d) = %+v, want %+v", c.limit, c.asked, got, c.want)
		}
	}
}

// A tableTest is a connection table with fake connections.
type tableTest struct {
	*connections
	t *testing.T
}

func newTable(t *testing.T, most, each int, trusted ...string) *tableTest {
	var proxies wire.Proxies
	for _, text := range trusted {
		proxies = append(proxies, netip.MustParsePrefix(text))
	}
	return &tableTest{newConnections(
		&quota.Limit{Name: "connections", Most: most, Shared: true}, &quota.Limit{Name: "connections-per-address", Most: each}, proxies.Trusts,
	), t}
}

// connect adds a connection from an address.
func (t *tableTest) connect(address string) *connection {
	return t.admit(&fakeConn{remote: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), 1000))})
}

// A fakeConn counts how often it is closed.
type fakeConn struct {
	net.Conn
	remote net.Addr
	closed int
}

func (c *fakeConn) RemoteAddr() net.Addr { return c.remote }

func (c *fakeConn) Close() error {
	c.closed++
	return nil
}

func closeCount(c *connection) int {
	fake, _ := c.Conn.(*fakeConn) // the tests use no other kind
	return fake.closed
}

// check compares the states of connections with want: o for open, - for closed, and the
// name of the limit for a refused one.
func (t *tableTest) check(what, want string, all ...*connection) {
	t.t.Helper()
	var got []string
	for _, c := range all {
		switch {
		case c.refusal != nil:
			got = append(got, c.refusal.Name)
		case closeCount(c) > 0:
			got = append(got, "-")
		default:
			got = append(got, "o")
		}
	}
	if text := strings.Join(got, " "); text != want {
		t.t.Errorf("%s: %s, want %s", what, text, want)
	}
}

// TestEvictionOrder: a new connection evicts the oldest idle anonymous connection, or
// else the oldest other idle connection, unless it was in use just now. If there is none, it is
// refused.
func TestEvictionOrder(t *testing.T) { synctest.Test(t, testEvictionOrder) }

func testEvictionOrder(t *testing.T) {
	table := newTable(t, 5, 0)
	var all []*connection
	for i := range 5 {
		all = append(all, table.connect(fmt.Sprintf("192.0.2.%d", i)))
	}
	all[0].setState(http.StateActive) // an anonymous connection whose request is being served
	all[1].setState(http.StateActive)
	all[1].Authenticated()
	all[1].setState(http.StateIdle)
	all[2].setState(http.StateActive)
	all[2].Authenticated()
	all[2].setState(http.StateHijacked) // a stream
	add := func() { all = append(all, table.connect("192.0.2.9")) }
	add()
	table.check("the oldest idle anonymous connection", "o o o - o o", all...)
	all[5].setState(http.StateActive)
	add()
	table.check("the other idle anonymous connection", "o o o - - o o", all...)
	all[6].setState(http.StateActive)
	time.Sleep(inUseFor - 1)
	add()
	table.check("an authenticated connection that was in use just now", "o o o - - o o connections", all...)
	if table.full() == nil {
		t.Error("a table with connections that are in use is not full")
	}
	_ = all[7].Close() // a fakeConn
	all = all[:7]
	time.Sleep(time.Nanosecond)
	add()
	table.check("an idle authenticated connection", "o - o - - o o o", all...)
	if limit := table.full(); limit != nil {
		t.Errorf("a table with an idle connection is full: %s", limit.Name)
	}
	all[7].setState(http.StateActive)
	add()
	table.check("no connection is idle", "o - o - - o o o connections", all...)
	if table.full() == nil {
		t.Error("a table without an idle connection is not full")
	}
	all[0].setState(http.StateIdle)
	add()
	table.check("the anonymous connection after its request", "- - o - - o o o connections o", all...)
	if got := table.stats(); got != (connectionStats{open: 5, closedAnonymous: 3, closedIdle: 1}) {
		t.Errorf("the counters are %+v", got)
	}
	for _, c := range slices.Concat(all, all) {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if got := table.stats().open; got != 0 || len(table.addresses) != 0 || table.refused.Len() != 0 {
		t.Errorf("after closing all twice, the table has %d open connections, %d addresses and %d refused connections", got, len(table.addresses), table.refused.Len())
	}
}

// TestConnectionsPerAddress: an IPv4 address and an IPv6 /64 have a limit of
// connections; trusted proxies do not.
func TestConnectionsPerAddress(t *testing.T) {
	for name, c := range map[string]struct {
		idle bool
		from []string
		want string
	}{
		"an address":               {false, []string{"192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"}, "o o connections-per-address o"},
		"evicts its own":           {true, []string{"192.0.2.2", "192.0.2.1", "192.0.2.1", "192.0.2.1"}, "o - o o"},
		"one /64":                  {false, []string{"2001:db8::1", "2001:db8::ffff:1", "2001:db8::2:0:0:3", "2001:db8:0:1::1"}, "o o connections-per-address o"},
		"IPv4 as IPv6":             {false, []string{"192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"}, "o o connections-per-address"},
		"a trusted proxy":          {false, []string{"10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.1"}, "o o o o"},
		"total limit":              {false, []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5"}, "o o o o connections"},
		"total limit with proxies": {false, []string{"10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.1"}, "o o o o connections"},
	} {
		t.Run(name, func(t *testing.T) {
			table := newTable(t, 4, 2, "10.0.0.0/8")
			var all []*connection
			for _, address := range c.from {
				conn := table.connect(address)
				if !c.idle {
					conn.setState(http.StateActive)
				}
				all = append(all, conn)
			}
			table.check("the connections", c.want, all...)
		})
	}
}

// TestRefusedConnectionsAreBounded: the number of connections that are open only for
// sending a refusal is bounded.
func TestRefusedConnectionsAreBounded(t *testing.T) {
	table := newTable(t, 1, 0)
	table.connect("192.0.2.1").setState(http.StateActive)
	first := table.connect("192.0.2.2")
	for range maxRefused {
		table.connect("192.0.2.3")
	}
	if closeCount(first) != 1 || table.refused.Len() != maxRefused {
		t.Errorf("the table has %d refused connections, and the first was closed %d times", table.refused.Len(), closeCount(first))
	}
}

// TestEvictionSearchIsBounded: an idle connection is found behind any number of busy
// ones.
func TestEvictionSearchIsBounded(t *testing.T) {
	const most = 3*maxScanned + 10
	table := newTable(t, most, 0)
	for range most - 1 {
		table.connect("192.0.2.1").setState(http.StateActive)
	}
	idle := table.connect("192.0.2.1")
	refused := 0
	for table.connect("192.0.2.2").refusal != nil {
		refused++
	}
	if closeCount(idle) != 1 || refused > most/maxScanned {
		t.Errorf("evicted only after %d refusals", refused)
	}
}

// TestStalledAnonymousConnections: if no connection is idle, an anonymous connection
// that sends its request too slowly is evicted after a timeout; an authenticated one is
// not.
func TestStalledAnonymousConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newTable(t, 3, 2)
		slow, known, other := table.connect("192.0.2.1"), table.connect("192.0.2.1"), table.connect("192.0.2.2")
		known.Authenticated()
		for _, c := range []*connection{slow, known, other} {
			c.setState(http.StateActive)
		}
		time.Sleep(anonymousTimeout)
		table.check("before the timeout", "o o o connections-per-address connections",
			slow, known, other, table.connect("192.0.2.1"), table.connect("192.0.2.3"))
		if table.full() == nil {
			t.Error("the table is not full")
		}
		other.setState(http.StateIdle)
		other.setState(http.StateActive)
		time.Sleep(time.Nanosecond)
		if table.full() != nil {
			t.Error("the table is full")
		}
		next := table.connect("192.0.2.1")
		next.setState(http.StateActive)
		table.check("after the timeout", "- o o o connections-per-address connections",
			slow, known, other, next, table.connect("192.0.2.1"), table.connect("192.0.2.3"))
	})
}
