package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Words of the flag -servers.
const (
	fast     = "fast"
	slow     = "slow"
	bare     = "bare"
	redis    = "redis"
	pipeline = "pipeline"
	nats     = "nats"
)

// labels are the servers in the order of the tables.
var labels = []struct{ server, label string }{
	{bare, "bare `net/http`"},
	{fast, "**Porchlight**"},
	{slow, "Porchlight, fast path off"},
	{redis, "Go + Redis, pool"},
	{pipeline, "Go + Redis, pipeline"},
	{nats, "NATS core"},
}

func serverNames() []string {
	names := make([]string, len(labels))
	for i, l := range labels {
		names[i] = l.server
	}
	return names
}

// A contender is one server of the comparison.
type contender struct {
	server    string
	users     int // 0: its cost does not depend on their number
	address   string
	processes []*process // all that it costs
	seeded    *seeded
}

// cpu returns the CPU time of all its processes.
func (c *contender) cpu() (time.Duration, error) {
	var sum time.Duration
	for _, p := range c.processes {
		used, err := p.cpu()
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// A cell is what is sampled once in each round.
type cell struct {
	server string
	method string
	users  int
	conns  int
}

// A comparison has every server alive at once.
type comparison struct {
	*run
	contenders []*contender
	absent     map[string]string // why a server is not measured
	samples    map[cell][]sample // of each round
}

// http measures PUT and GET of Porchlight beside other servers: in each round one
// sample of each, in rotating order.
func (r *run) http(b *binary) error {
	c := &comparison{run: r, absent: make(map[string]string), samples: make(map[cell][]sample)}
	err := c.start(b)
	if err == nil {
		err = c.measure()
	}
	if err == nil {
		err = c.reportMemory()
	}
	c.stop()
	if err != nil {
		return err
	}
	c.print()
	return nil
}

func (c *comparison) start(b *binary) error {
	reference, err := c.seed(c.reference())
	if err != nil {
		return err
	}
	for _, kind := range []struct {
		server string
		start  func(server string) (address string, all []*process, err error)
	}{{bare, startBare}, {redis, c.startRedis}, {pipeline, c.startRedis}, {nats, startNATS}} {
		if !c.wantsServer(kind.server) {
			continue
		}
		address, all, err := kind.start(kind.server)
		if err := c.add(&contender{kind.server, 0, address, all, reference}, err); err != nil {
			return err
		}
	}
	for _, users := range c.users {
		if err := c.startPorchlight(b, users); err != nil {
			return err
		}
	}
	return nil
}

// startPorchlight starts the server on a store of users, and on a copy of it without the
// fast path.
func (c *comparison) startPorchlight(b *binary, users int) error {
	s, err := c.seed(users)
	if err != nil {
		return err
	}
	for _, kind := range []struct {
		server string
		flags  []string
	}{{slow, []string{"--fast-path=false"}}, {fast, nil}} {
		if !c.wantsServer(kind.server) {
			continue
		}
		dir := s.dir
		if kind.server == slow {
			if dir, err = copyOf(s.dir); err != nil {
				return err
			}
		}
		address, all, err := alone(b.serve(dir, append(kind.flags, noDrainDelay)...))
		if err := c.add(&contender{kind.server, users, address, all, s}, err); err != nil {
			return err
		}
	}
	return nil
}

// noDrainDelay makes a server end without waiting for load balancers.
const noDrainDelay = "--drain-delay=0s"

// add notes a contender that started, or why it cannot be measured.
func (c *comparison) add(contender *contender, err error) error {
	c.contenders = append(c.contenders, contender)
	if isMissing(err) {
		c.absent[contender.server] = err.Error()
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", contender.server, err)
	}
	return nil
}

// alone is a contender of one process.
func alone(p *process, err error) (string, []*process, error) {
	if err != nil {
		return "", nil, err
	}
	return p.address, []*process{p}, nil
}

// copyOf copies a seeded store beside it, without the socket of a killed server.
func copyOf(dir string) (string, error) {
	to := dir + "-copy"
	if err := os.RemoveAll(to); err != nil {
		return "", err
	}
	return to, os.CopyFS(filepath.Join(to, "store"), os.DirFS(filepath.Join(dir, "store")))
}

// stop ends all processes at once, because each drains.
func (c *comparison) stop() {
	var group sync.WaitGroup
	for _, contender := range c.contenders {
		for _, p := range contender.processes {
			group.Go(func() { _ = p.stop(syscall.SIGTERM) }) // nothing depends on how it ends
		}
	}
	group.Wait()
	_ = os.Remove(filepath.Join(c.dir, "access.log")) // gigabytes
}

// measure takes the samples, for one number of connections after the other.
func (c *comparison) measure() error {
	for _, conns := range c.conns {
		type turn struct {
			cell
			*contender
		}
		var turns []turn
		for _, contender := range c.contenders {
			for _, method := range contender.methods(c, conns) {
				turns = append(turns, turn{cell{contender.server, method, contender.users, conns}, contender})
			}
		}
		for round := range c.rounds + 1 { // the first round warms up
			for i := range turns {
				t := turns[(i+round)%len(turns)]
				s, err := c.sample(t.contender, t.contender.load(t.method, conns))
				if err != nil {
					return fmt.Errorf("%v: %w", t.cell, err)
				}
				if round > 0 {
					c.samples[t.cell] = append(c.samples[t.cell], s)
					fmt.Printf("round %d, %3d connections, %s %-8s %7d users: %7.1f µs CPU %8.0f/s  p50 %v p99 %v\n", round, conns,
						t.method, t.cell.server, t.cell.users, s.cpu, s.rate, s.p50.Round(10*time.Microsecond), s.p99.Round(10*time.Microsecond))
				}
			}
		}
	}
	return nil
}

// methods are what is measured of a server with a number of connections: with the
// largest number, and with -grid, every number of users.
func (c *contender) methods(of *comparison, conns int) []string {
	switch {
	case len(c.processes) == 0:
		return nil
	case c.users != 0 && c.users != of.reference() && conns != of.mostConns() && !of.grid:
		return nil
	case c.server == redis || c.server == pipeline || c.server == nats:
		return []string{http.MethodPut}
	}
	return []string{http.MethodPut, http.MethodGet}
}

func (c *contender) load(method string, conns int) load {
	l := load{address: c.address, conns: conns, status: http.StatusNoContent, request: c.seeded.put}
	switch {
	case c.server == nats:
		l.request, l.greet, l.receive = c.seeded.publish, greetNATS, receiveNATS
	case method == http.MethodGet:
		l.status, l.request = http.StatusOK, c.seeded.get
	}
	return l
}

// reportMemory prints the memory of the servers after the load.
func (c *comparison) reportMemory() error {
	for _, contender := range c.contenders {
		if contender.users == 0 || len(contender.processes) == 0 {
			continue
		}
		memory, err := contender.processes[0].rss()
		if err != nil {
			return err
		}
		report(fmt.Sprintf("RSS after the load, %d users, %s", contender.users, contender.server), "-", "MiB", []float64{memory})
	}
	return nil
}

func startBare(string) (string, []*process, error) { return alone(startSelf("-bare")) }

func startNATS(string) (string, []*process, error) { return alone(startSelf("-nats")) }

// publish appends the update as a message of NATS.
func (s *seeded) publish(b []byte, random *rand.Rand) []byte {
	body := bodies[random.IntN(len(bodies))]
	return fmt.Appendf(b, "PUB presence.%s %d\r\n%s\r\n", s.IDs[random.IntN(len(s.IDs))], len(body), body)
}

// greetNATS asks for an acknowledgment of each message.
func greetNATS(conn net.Conn, in *bufio.Reader) error {
	if _, err := conn.Write([]byte("CONNECT {\"verbose\":true,\"lang\":\"go\",\"version\":\"1\",\"protocol\":0}\r\n")); err != nil {
		return err
	}
	return receiveNATS(in)
}

// receiveNATS reads until an acknowledgment. The pings of a server are not answered: a
// measurement is shorter than its patience.
func receiveNATS(in *bufio.Reader) error {
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case err != nil:
			return err
		case string(line) == "+OK\r\n":
			return nil
		case string(line[:min(4, len(line))]) == "-ERR":
			return fmt.Errorf("NATS answered %q", line)
		}
	}
}
