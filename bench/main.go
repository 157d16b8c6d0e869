// Command bench measures the performance budgets on this machine and prints the
// results, most of them as ratios to a bare baseline.
//
// The server under test is the real binary, with authentication, access log and
// metrics on, min-update-interval 0, and users drawn at random. The baseline is a bare
// net/http handler in a separate process (bare.go). This process loads both in
// alternating rounds over loopback, and reads their CPU time from the kernel. Figures
// without "×" depend on the machine.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// A run holds the values of the flags.
type run struct {
	users   int
	conns   int
	seconds time.Duration
	rounds  int
	long    time.Duration // of the steady load
	rate    int           // requests per second of the steady load
	dir     string

	streaming time.Duration // duration of the changes with many streams
	part      string        // of streams; "" for all
	what      []string
}

func main() {
	var r run
	flag.IntVar(&r.users, "users", 1_000_000, "number of users in the large store")
	flag.IntVar(&r.conns, "conns", 256, "number of connections")
	flag.DurationVar(&r.seconds, "time", 5*time.Second, "duration of each measurement in a round")
	flag.IntVar(&r.rounds, "rounds", 5, "number of rounds; the result is their median")
	flag.DurationVar(&r.long, "long", 10*time.Minute, "duration of the steady load")
	flag.IntVar(&r.rate, "rate", 5000, "PUTs a second in the steady load")
	flag.StringVar(&r.dir, "dir", "", "directory for the seeded stores, which are reused (default: a temporary directory)")
	flag.DurationVar(&r.streaming, "streaming", 20*time.Second, "duration of the load on 2,000 streams")
	flag.StringVar(&r.part, "part", "", "part of the streams benchmark: one, memory, idle, slow, dense, wide or herd (default: all)")
	bare := flag.String("bare", "", "serve the bare baseline on this address (used internally)")
	sockets := flag.String("bare-streams", "", "serve the bare baseline of streams on this address (used internally)")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: go run ./bench [flags] [idle start http query expiry backup steady streams profile]")
		flag.PrintDefaults()
	}
	flag.Parse()
	r.what = flag.Args()
	var err error
	switch {
	case *bare != "":
		err = serveBare(*bare)
	case *sockets != "":
		err = serveBareStreams(*sockets)
	default:
		err = r.all()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
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
		{"http", r.http},
		{"query", r.query},
		{"expiry", r.expiry},
		{"backup", r.backup},
		{"steady", r.steady},
		{"streams", r.streams},
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
