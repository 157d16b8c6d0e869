package netns_test

import (
	"fmt"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
)

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// A network is a bridge, with hosts in network namespaces. The test itself is the host 1.
type network struct {
	testing.TB
	number int64
	hosts  int
}

// A host is a network namespace.
type host struct {
	network *network
	name    string // of the namespace
	address string
}

func newNetwork(tb testing.TB, count *atomic.Int64) *network {
	tb.Helper()
	n := &network{TB: tb, number: count.Add(1), hosts: 1}
	n.ip("link", "add", n.bridge(), "type", "bridge")
	n.ip("addr", "add", n.address(1)+"/24", "dev", n.bridge())
	n.ip("link", "set", n.bridge(), "up")
	return n
}

func (n *network) bridge() string { return fmt.Sprint("br", n.number) }

func (n *network) address(host int) string { return fmt.Sprintf("10.77.%d.%d", n.number, host) }

func (n *network) ip(args ...string) {
	n.Helper()
	if err := ip(args...); err != nil {
		n.Fatal(err)
	}
}

// add adds a host.
func (n *network) add() *host {
	n.hosts++
	h := &host{network: n, name: fmt.Sprintf("net%d-%d", n.number, n.hosts), address: n.address(n.hosts)}
	link := fmt.Sprintf("v%d-%d", n.number, n.hosts)
	n.ip("netns", "add", h.name)
	n.ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", h.name)
	n.ip("link", "set", link, "master", n.bridge(), "up")
	for _, args := range [][]string{{"addr", "add", h.address + "/24", "dev", "eth0"}, {"link", "set", "eth0", "up"}, {"link", "set", "lo", "up"}} {
		n.ip(append([]string{"-n", h.name}, args...)...)
	}
	return h
}

// drop discards what the host sends to others, until heal is called. What they send arrives.
func (h *host) drop(others ...*host) (heal func()) {
	change := func(action string) {
		for _, o := range others {
			h.network.ip("-n", h.name, "route", action, "blackhole", o.address+"/32")
		}
	}
	change("add")
	return func() { change("del") }
}

// isolate discards what the hosts send to the others and what these send to them.
func isolate(hosts, others []*host) (heal func()) {
	var heals []func()
	for _, h := range hosts {
		heals = append(heals, h.drop(others...))
	}
	for _, o := range others {
		heals = append(heals, o.drop(hosts...))
	}
	return func() {
		for _, heal := range heals {
			heal()
		}
	}
}
