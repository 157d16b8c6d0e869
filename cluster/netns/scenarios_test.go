package netns_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/cluster/check"
)

// How long clients work before a fault, and after it until the ends of what was lost.
const (
	warmUp      = 6 * time.Second
	coolDown    = 12 * time.Second // after faults that end nothing
	endings     = 44 * time.Second // after faults that end sessions, which takes 30 to 40 s
	afterOutage = 25 * time.Second
)

// nobody is what people notice of most faults: nothing.
func nobody() allowance {
	return allowance{losses: func(*person) int { return 0 }, lost: func(*person, int) bool { return false }}
}

// without is what people notice if nodes are gone for good: those who stay lose the devices
// on these nodes, and are shown offline once if they have no other.
func without(nodes ...int) allowance {
	lost := func(p *person, device int) bool { return !p.moves && slices.Contains(nodes, p.homes[device]) }
	return allowance{lost: lost, losses: func(p *person) int {
		for device := range p.homes {
			if !lost(p, device) {
				return 0
			}
		}
		return 1
	}}
}

// A scenario is a fault while clients work, and what it may end.
type scenario struct {
	fault func(*workload)
	after time.Duration
	allowance
}

// run runs a scenario on servers and nodes of its own.
func (s *scenario) run(t *testing.T) {
	t.Parallel()
	s.runOn(newWorld(t))
}

func (s *scenario) runOn(w *world) {
	w.Helper()
	for _, problem := range s.problems(w) {
		w.Error(problem)
	}
}

// problems are what the checks find.
func (s *scenario) problems(w *world) []string {
	w.Helper()
	l := newWorkload(w)
	l.start()
	time.Sleep(warmUp)
	began := time.Now()
	s.fault(l)
	time.Sleep(s.after)
	return l.finish(check.Span{From: began, To: time.Now()}, s.allowance)
}

// TestFaults: whatever happens to a node or a server, updates and strong reads are
// linearizable, the minute is kept over all nodes, no session ends before an end that was
// acknowledged or while a live node holds it, who loses the last session is shown offline once,
// streams that move between nodes miss nothing and are never reset, and a subscription gets
// every change.
func TestFaults(t *testing.T) {
	for name, s := range map[string]*scenario{
		"a node is killed": {func(l *workload) { l.nodes[0].kill() }, endings, without(0)},
		"two nodes are killed": {func(l *workload) {
			l.nodes[0].kill()
			l.nodes[1].kill()
		}, endings, without(0, 1)},
		"a node is paused briefly":              {pauseNode(10 * time.Second), coolDown, nobody()},
		"a node is paused until it is isolated": {pauseNode(20 * time.Second), coolDown, nobody()},
		"a node cannot send to the servers":     {cut(func(l *workload) func() { return l.nodes[0].drop(l.serverHosts()...) }), coolDown, nobody()},
		"the servers cannot send to a node": {cut(func(l *workload) func() {
			heals := make([]func(), 0, len(l.servers))
			for _, s := range l.servers {
				heals = append(heals, s.drop(l.nodes[0].host))
			}
			return func() {
				for _, heal := range heals {
					heal()
				}
			}
		}), coolDown, nobody()},
		"a node is cut off from the servers": {cut(func(l *workload) func() {
			return isolate([]*host{l.nodes[0].host}, l.serverHosts())
		}), coolDown, nobody()},
		"the leader of the stream is killed": {func(l *workload) {
			leader := l.leader()
			leader.kill()
			time.Sleep(12 * time.Second)
			leader.run(l)
		}, coolDown, nobody()},
		"a node restarts without a server that crashed": {func(l *workload) {
			leader := l.leader()
			leader.kill()
			l.restart(l.nodes[0])
			leader.run(l)
		}, coolDown, nobody()},
		"the leader of the stream is cut off from the other servers":                           {cutLeader, coolDown, nobody()},
		"the leader of the stream and another server reach each other through the third alone": {cutPair, coolDown, nobody()},
		"a server loses its data": {func(l *workload) {
			s := l.leader()
			s.kill()
			if err := os.RemoveAll(s.dir); err != nil {
				l.Error(err)
			}
			time.Sleep(3 * time.Second)
			s.run(l)
		}, 20 * time.Second, nobody()},
		"the servers have no majority": {noMajority, afterOutage, nobody()},
		"a node is paused until it is dead": {pauseNode(36 * time.Second), coolDown, allowance{
			lost:   nobody().lost, // they sign in again
			losses: without(0).losses,
		}},
		"the nodes restart one after another": {func(l *workload) {
			for _, n := range l.nodes {
				l.restart(n)
			}
		}, coolDown, nobody()},
	} {
		t.Run(name, s.run)
	}
}

// restart stops a node as an operator does, and starts it again.
func (w *world) restart(n *node) {
	w.Helper()
	w.stop(n)
	w.startNode(n)
	w.awaitNodes(n)
	time.Sleep(time.Second)
}

// TestClocks: the same while a node is killed and the clocks of the nodes are up to 2 s
// apart.
func TestClocks(t *testing.T) {
	t.Parallel()
	a := without(0)
	a.clocks = 2 * time.Second
	s := &scenario{func(l *workload) { l.nodes[0].kill() }, endings, a}
	s.runOn(newWorldWith(t, func(i int, n *node) {
		n.program, n.env = program("node"), []string{"NODE_SKEW=" + []string{"-1s", "0s", "1s"}[i]}
	}))
}

// TestUpgrade: nodes are upgraded to a version that reads one more level of formats, back
// to the one before, and again, one after another, while clients work. When the level has
// risen, a node of the version before refuses to start and changes nothing.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	upgrades().runOn(newWorldWith(t, func(_ int, n *node) { n.program, n.env = program("node"), []string{older} }))
}

func upgrades() *scenario {
	return &scenario{func(l *workload) {
		for _, version := range []string{newer, older, newer} {
			for _, n := range l.nodes {
				n.env = []string{version}
				l.restart(n)
			}
		}
		l.raiseLevel()
		l.refusesOlder()
	}, coolDown, nobody()}
}

// Two successive versions, by the levels that they read.
const (
	older = "NODE_LEVELS=1,1"
	newer = "NODE_LEVELS=1,2"
)

// operator is a client with a system token.
func (w *world) operator(n *node) *client.Client {
	w.Helper()
	var made struct {
		Secret string `json:"secret"`
	}
	w.retry("porchlight system token create", func() error {
		out, err := w.command("system", "token", "create", "test", "--json")
		if err == nil {
			err = json.Unmarshal(out, &made)
		}
		if err == nil && made.Secret == "" {
			err = fmt.Errorf("it printed %s", out)
		}
		return err
	})
	c, err := client.New(n.url(), client.StaticToken(made.Secret), n.http)
	if err != nil {
		w.Fatal(err)
	}
	return c
}

// raiseLevel lets the nodes write the newer level.
func (l *workload) raiseLevel() {
	l.Helper()
	c := l.operator(l.nodes[0])
	waitFor(l, "level 2", func() bool { // a node that was stopped counts until it is dead
		after, err := c.UpgradeNodes(l.Context())
		return err == nil && after.Level == 2
	})
}

// refusesOlder starts a node of the older version, which must not serve.
func (l *workload) refusesOlder() {
	l.Helper()
	n := l.nodes[0]
	l.stop(n)
	n.env = []string{older}
	l.startNode(n)
	select {
	case <-n.ended:
	case <-time.After(waitLimit):
	}
	if n.alive() {
		l.addProblem("a node started that cannot read the level")
		l.stop(n)
	} else if text := n.tail(5); n.ProcessState.ExitCode() == 0 || !strings.Contains(text, "cannot read the store") {
		l.addProblem("a node that cannot read the level ended with %v:\n%s", n.ProcessState, text)
	}
	n.env = []string{newer}
	l.startNode(n)
	l.awaitNodes(n)
}

// noMajority leaves one server for longer than it takes until a silent node is dead.
func noMajority(l *workload) {
	for _, s := range l.servers[:2] {
		s.kill()
	}
	time.Sleep(36 * time.Second)
	for _, s := range l.servers[:2] {
		s.run(l)
	}
}

func cutLeader(l *workload) {
	leader := l.leader()
	others := slices.DeleteFunc(l.serverHosts(), func(h *host) bool { return h == leader.host })
	heal := isolate([]*host{leader.host}, others)
	time.Sleep(14 * time.Second)
	heal()
}

// cutServers cuts one server after another off from the others, so that each node is once connected
// to a server that is behind.
func cutServers(l *workload) {
	for _, h := range l.serverHosts() {
		others := slices.DeleteFunc(l.serverHosts(), func(other *host) bool { return other == h })
		heal := isolate([]*host{h}, others)
		time.Sleep(14 * time.Second)
		heal()
		time.Sleep(2 * time.Second)
	}
}

// cutPair cuts the leader off from one of the other servers: each of both has a majority with
// the third one.
func cutPair(l *workload) {
	leader := l.leader()
	others := slices.DeleteFunc(l.serverHosts(), func(h *host) bool { return h == leader.host })
	heal := isolate([]*host{leader.host}, others[:1])
	time.Sleep(14 * time.Second)
	heal()
}

// pauseNode stops the first node's process for a while.
func pauseNode(while time.Duration) func(*workload) {
	return func(l *workload) {
		l.nodes[0].signal(l, syscall.SIGSTOP)
		time.Sleep(while)
		l.nodes[0].signal(l, syscall.SIGCONT)
	}
}

// cut cuts the first node off for longer than it takes until it is isolated.
func cut(off func(*workload) (heal func())) func(*workload) {
	return func(l *workload) {
		heal := off(l)
		time.Sleep(19 * time.Second)
		heal()
	}
}
