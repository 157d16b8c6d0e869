// Command bench measures the performance budgets on this machine and prints the
// results, most of them as ratios to a bare baseline.
//
// The server under test is the real binary, with authentication, access log and
// metrics on, min-update-interval 0, and users drawn at random. It is compared with
// servers in processes of their own: a bare net/http handler (bare.go), a service on
// Redis (redisservice.go) and NATS. This process loads all of them in turn over
// loopback, and reads their CPU time from the kernel. Figures without "×" depend on the
// machine.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A run holds the values of the flags.
type run struct {
	users    []int // in the stores, ascending
	conns    []int // ascending
	servers  []string
	grid     bool
	markdown bool
	seconds  time.Duration
	rounds   int
	long     time.Duration // of the steady load
	rate     int           // requests per second of the steady load
	dir      string

	idleConns int
	idleFor   time.Duration
	streaming time.Duration // duration of the changes with many streams
	requests  int           // of each kind to each route, to compare times
	part      string        // of streams or webhooks; "" for all
	what      []string
}

// mostUsers is the number of users where only one is measured.
func (r *run) mostUsers() int { return r.users[len(r.users)-1] }

// mostConns is the number of connections where only one is measured.
func (r *run) mostConns() int { return r.conns[len(r.conns)-1] }

// reference is the number of users that is measured with every number of connections.
func (r *run) reference() int { return r.users[len(r.users)/2] }

func (r *run) wantsServer(server string) bool { return slices.Contains(r.servers, server) }

// A baseline is a server of a comparison, which this program is if a flag says so.
type baseline struct {
	bare, streams, nats, redisService string // addresses
	posts                             string // address to post to
	redis, redisClient                string
}

func main() {
	var r run
	var s baseline
	r.flags()
	s.flags()
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: go run ./bench [flags] [idle start http connections query expiry backup steady streams webhooks timing sign-ins overload profile]")
		flag.PrintDefaults()
	}
	flag.Parse()
	r.what = flag.Args()
	if err := s.serveOr(r.all); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (r *run) flags() {
	r.users, r.conns, r.servers = []int{thousand, fiftyThousand, million}, []int{1, 8, 32, 64, 256}, serverNames()
	flag.Func("users", "numbers of users (default 1000,50000,1000000): http takes the middle one, and all of them with the largest number of connections; the other parts take the largest", numbers(&r.users))
	flag.Func("conns", "numbers of connections (default 1,8,32,64,256): the other parts take the largest", numbers(&r.conns))
	flag.Func("servers", "servers of http and connections (default "+strings.Join(r.servers, ",")+")", func(text string) error {
		r.servers = strings.Split(text, ",")
		for _, name := range r.servers {
			if !slices.Contains(serverNames(), name) {
				return fmt.Errorf("no server %q", name)
			}
		}
		return nil
	})
	flag.BoolVar(&r.grid, "grid", false, "http: measure every number of users with every number of connections")
	flag.BoolVar(&r.markdown, "markdown", false, "http: print the tables in Markdown")
	flag.DurationVar(&r.seconds, "time", 3*time.Second, "duration of each measurement in a round")
	flag.IntVar(&r.rounds, "rounds", 5, "number of rounds; the result is their median")
	flag.DurationVar(&r.long, "long", 10*time.Minute, "duration of the steady load")
	flag.IntVar(&r.rate, "rate", 5000, "PUTs a second in the steady load and of sign-ins")
	flag.StringVar(&r.dir, "dir", "", "directory for the seeded stores, which are reused (default: a temporary directory)")
	flag.IntVar(&r.idleConns, "idle-conns", 10_000, "number of idle connections; a process may have 20,000 files open")
	flag.DurationVar(&r.idleFor, "idle-for", 20*time.Second, "how long they are idle before garbage is collected; with 20 s more, less than the minute after which the server closes them")
	flag.DurationVar(&r.streaming, "streaming", 20*time.Second, "duration of the load on 2,000 streams, and of changes with webhooks")
	flag.IntVar(&r.requests, "requests", 10_000, "timing: number of requests for another account's object, and for an absent one, to each route")
	flag.StringVar(&r.part, "part", "", "part of the streams benchmark (one, memory, idle, slow, dense, wide or herd) or of webhooks (put, latency, drain or dead) (default: all)")
}

// numbers parses a list of positive numbers and sorts it.
func numbers(to *[]int) func(string) error {
	return func(text string) error {
		*to = nil
		for part := range strings.SplitSeq(text, ",") {
			n, err := strconv.Atoi(part)
			if err != nil || n < 1 {
				return fmt.Errorf("%q is not a positive number", part)
			}
			*to = append(*to, n)
		}
		slices.Sort(*to)
		*to = slices.Compact(*to)
		return nil
	}
}

func (s *baseline) flags() {
	flag.StringVar(&s.bare, "bare", "", "serve the bare baseline on this address (used internally)")
	flag.StringVar(&s.streams, "bare-streams", "", "serve the bare baseline of streams on this address (used internally)")
	flag.StringVar(&s.posts, "bare-posts", "", "post the bare baseline of webhooks to this address (used internally)")
	flag.StringVar(&s.nats, "nats", "", "run a NATS server on this address (used internally)")
	flag.StringVar(&s.redisService, "redis-service", "", "serve the service on Redis on this address (used internally)")
	flag.StringVar(&s.redis, "redis", "", "address of redis-server (used internally)")
	flag.StringVar(&s.redisClient, "redis-client", redis, "client of the service on Redis: redis or pipeline (used internally)")
}

// serveOr runs the server that the flags name, or else the benchmark.
func (s *baseline) serveOr(benchmark func() error) error {
	switch {
	case s.bare != "":
		return serveBare(s.bare)
	case s.streams != "":
		return serveBareStreams(s.streams)
	case s.posts != "":
		return postBare(s.posts)
	case s.nats != "":
		return serveNATS(s.nats)
	case s.redisService != "":
		return serveRedis(s.redisService, s.redis, s.redisClient)
	}
	return benchmark()
}

func (r *run) wants(what string) bool {
	if len(r.what) == 0 {
		return what != "profile" // it measures nothing
	}
	return slices.Contains(r.what, what)
}

func (r *run) all() error {
	if r.dir == "" {
		dir, err := os.MkdirTemp("", "porchlight-bench")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		r.dir = dir
	}
	b, err := build(r.dir)
	if err != nil {
		return err
	}
	for _, part := range []struct {
		name string
		run  func(*binary) error
	}{
		{"idle", r.idle},
		{"start", r.start},
		{"accounts", r.accounts},
		{"http", r.http},
		{"connections", r.connections},
		{"query", r.query},
		{"expiry", r.expiry},
		{"backup", r.backup},
		{"steady", r.steady},
		{"streams", r.streams},
		{"webhooks", r.webhooks},
		{"timing", r.timing},
		{"sign-ins", r.signIns},
		{"overload", r.overload},
		{"profile", r.profile},
	} {
		if !r.wants(part.name) {
			continue
		}
		if err := part.run(b); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// report prints the median of the rounds, the budget and the rounds.
func report(what, budget, unit string, rounds []float64) {
	sorted := slices.Clone(rounds)
	slices.Sort(sorted)
	texts := make([]string, len(rounds))
	for i, f := range rounds {
		texts[i] = fmt.Sprintf("%.2f", f)
	}
	fmt.Printf("%-58s %8.2f %-4s budget %-8s rounds %s\n", what, sorted[len(sorted)/2], unit, budget, strings.Join(texts, " "))
}
