package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// overloadClients is the number of clients that send requests at their own times, whatever
// the server does.
const overloadClients = 4000

// goodWithin is the latency up to which an answer counts as good.
const goodWithin = 250 * time.Millisecond

// warmUp is how long the server has to learn how much it can answer, before the measurement.
const warmUp = 3 * time.Second

// overload measures what the server answers when more requests come than it can answer, and
// compares it in each round with the peak of a server that refuses nothing. Both servers have
// one processor, and the clients have the others. The requests are expensive, of users with many
// claims, so that the clients are not what is saturated.
func (r *run) overload(b *binary) error {
	s, err := r.seed(r.reference())
	if err != nil {
		return err
	}
	if runtime.NumCPU() < 2 {
		return errors.New("this needs two processors")
	}
	if err := pin(os.Getpid(), 1, runtime.NumCPU()); err != nil {
		return err
	}
	defer func() { _ = pin(os.Getpid(), 0, runtime.NumCPU()) }() // as it was before
	fmt.Printf("%-32s %8s %8s %8s %8s %8s %9s %8s %8s\n", "", "sent/s", "good/s", "of peak", "p50, ms", "p99, ms", "refused/s", "p50, ms", "p99, ms")
	shares := make(map[string][]float64)
	for range r.rounds {
		if err := r.overloadRound(b, s, shares); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(shares)) {
		unit := "%"
		if strings.HasSuffix(name, "p99") {
			unit = "ms"
		}
		report(name, cmp.Or(overloadBudgets[name], "-"), unit, shares[name])
	}
	return nil
}

var overloadBudgets = map[string]string{
	"updates, refusing, 5×, of the best":         "≥ 80",
	"updates, refusing, 5×, refused within, p99": "50",
	"reads, refusing, 5×, of the best":           "≥ 80",
	"reads, refusing, 5×, refused within, p99":   "50",
}

// overloadRound adds the shares of the peak that were answered in time, in percent, and after how
// long requests were refused.
func (r *run) overloadRound(b *binary, s *seeded, shares map[string][]float64) error {
	dir, err := os.MkdirTemp(r.dir, "overload-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	refusing, err := overloadServer(b, s, filepath.Join(dir, "refusing"), "--max-queue-delay=50ms")
	if err != nil {
		return err
	}
	defer refusing.stop(syscall.SIGKILL)
	never, err := overloadServer(b, s, filepath.Join(dir, "never"), "--max-queue-delay=0s")
	if err != nil {
		return err
	}
	defer never.stop(syscall.SIGKILL)
	for _, kind := range []struct {
		name    string
		request func([]byte, *rand.Rand) []byte
	}{{"updates", s.putClaim}, {"reads", s.getClaims}} {
		peak, err := (&load{address: never.address, conns: peakConns, duration: 2 * r.seconds, status: 200, request: kind.request}).run()
		if err != nil {
			return err
		}
		fmt.Printf("%s: %.0f/s with %d connections that wait for each answer\n", kind.name, peak.perSecond, peakConns)
		best := 0.0
		for _, c := range []struct {
			server *process
			times  float64
			name   string
		}{{never, 5, "refusing nothing"}, {refusing, .75, "refusing"}, {refusing, 1, "refusing"}, {refusing, 2, "refusing"}, {refusing, 5, "refusing"}} {
			o := openLoad{address: c.server.address, rate: c.times * peak.perSecond, duration: 2 * r.seconds, request: kind.request}
			got, err := o.run()
			if err != nil {
				return err
			}
			name := fmt.Sprintf("%s, %s, %g×", kind.name, c.name, c.times)
			good := got.rate(got.good)
			best = max(best, good)
			shares[name+", of the peak"] = append(shares[name+", of the peak"], 100*good/peak.perSecond)
			if c.server == refusing {
				shares[name+", of the best"] = append(shares[name+", of the best"], 100*good/best)
				shares[name+", refused within, p99"] = append(shares[name+", refused within, p99"], percentile(got.refused, .99))
			}
			fmt.Printf("%-32s %8.0f %8.0f %7.0f%% %8.1f %8.1f %9.0f %8.1f %8.1f\n", name, got.rate(got.sent), good, 100*good/peak.perSecond,
				percentile(got.answered, .5), percentile(got.answered, .99), got.rate(len(got.refused)), percentile(got.refused, .5), percentile(got.refused, .99))
		}
	}
	return nil
}

// overloadServer starts a server on the first processor, with a copy of the store in which
// some users have many claims.
func overloadServer(b *binary, s *seeded, dir, flag string) (*process, error) {
	if err := os.CopyFS(dir, os.DirFS(s.dir)); err != nil {
		return nil, err
	}
	p, err := b.serve(dir, "--max-queue-delay=0s")
	if err != nil {
		return nil, err
	}
	err = s.addClaims(p.address)
	if stopped := p.stop(syscall.SIGKILL); err != nil || stopped != nil {
		return nil, cmp.Or(err, stopped)
	}
	if p, err = b.serve(dir, flag); err != nil {
		return nil, err
	}
	return p, pin(p.cmd.Process.Pid, 0, 1)
}

// percentile is in milliseconds.
func percentile(sorted []time.Duration, p float64) float64 {
	r := result{latencies: sorted}
	return ms(r.percentile(p))
}

const peakConns = 256

const (
	claimants     = 200 // users with many claims
	claimsPerUser = 60
)

// addClaims gives some users many claims.
func (s *seeded) addClaims(address string) error {
	next := make(chan int, claimants*claimsPerUser)
	for i := range cap(next) {
		next <- i
	}
	close(next)
	request := func(b []byte, _ *rand.Rand) []byte {
		i, ok := <-next
		if !ok {
			return s.appendClaim(b, 0, 0)
		}
		return s.appendClaim(b, i/claimsPerUser, i%claimsPerUser)
	}
	for len(next) > 0 { // a server that refuses ends the load
		if _, err := (&load{address: address, conns: 4, duration: time.Second, status: 200, request: request}).run(); err != nil {
			return err
		}
	}
	return nil
}

func (s *seeded) putClaim(b []byte, random *rand.Rand) []byte {
	return s.appendClaim(b, random.IntN(claimants), random.IntN(claimsPerUser))
}

// getClaims reads why a user has the status that is shown, from all claims.
func (s *seeded) getClaims(b []byte, random *rand.Rand) []byte {
	b = s.appendStart(b, "GET", random.IntN(claimants), "/presence/explain")
	return append(b, "\r\n"...)
}

func (s *seeded) appendClaim(b []byte, user, claim int) []byte {
	body := `{"source":"meeting","status":"in_meeting","note":"` + strings.Repeat("x", 280) + `"}`
	b = s.appendStart(b, "PUT", user, "/claims/c"+strconv.Itoa(claim))
	b = append(b, "Content-Type: application/json\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	return append(append(b, "\r\n\r\n"...), body...)
}

func (s *seeded) appendStart(b []byte, method string, user int, path string) []byte {
	b = append(append(b, method...), " /v1/users/"...)
	b = append(append(b, s.IDs[user]...), path...)
	b = append(b, " HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer "...)
	return append(append(b, s.Token...), "\r\n"...)
}

// An openLoad sends requests at random times, rate of them a second. A client whose request
// has no answer yet does not send the next one.
type openLoad struct {
	address  string
	rate     float64
	duration time.Duration
	request  func(b []byte, random *rand.Rand) []byte
}

// An openResult has latencies from sending to the answer, sorted.
type openResult struct {
	duration          time.Duration
	sent, good        int
	answered, refused []time.Duration
}

func (r *openResult) rate(n int) float64 { return float64(n) / r.duration.Seconds() }

func (o *openLoad) run() (*openResult, error) {
	total := &openResult{duration: o.duration}
	var mu sync.Mutex
	var failure error
	var group sync.WaitGroup
	conns, err := o.dial()
	if err != nil {
		return nil, err
	}
	begin := time.Now().Add(warmUp)
	end := begin.Add(o.duration)
	for i, conn := range conns {
		group.Go(func() {
			defer conn.Close()
			got, err := o.client(conn, rand.New(rand.NewPCG(uint64(i), uint64(end.UnixNano()))), begin, end)
			mu.Lock()
			defer mu.Unlock()
			failure = cmp.Or(failure, err)
			total.add(got)
		})
	}
	group.Wait()
	slices.Sort(total.answered)
	slices.Sort(total.refused)
	return total, failure
}

func (r *openResult) add(o openResult) {
	r.sent += o.sent
	r.good += o.good
	r.answered = append(r.answered, o.answered...)
	r.refused = append(r.refused, o.refused...)
}

// dial connects the clients one after another: the system refuses many at once. Each sends a
// request, because the server soon closes a new connection that sends nothing.
func (o *openLoad) dial() (conns []net.Conn, err error) {
	random := rand.New(rand.NewPCG(1, 1))
	for range overloadClients {
		conn, err := net.Dial("tcp", o.address)
		if err != nil {
			return nil, err
		}
		if _, err := conn.Write(o.request(nil, random)); err != nil {
			return nil, err
		}
		if _, _, err := readStatus(bufio.NewReader(conn)); err != nil {
			return nil, err
		}
		conns = append(conns, conn)
	}
	return conns, nil
}

func (o *openLoad) client(conn net.Conn, random *rand.Rand, begin, end time.Time) (got openResult, err error) {
	_ = conn.SetDeadline(end.Add(10 * time.Second))
	reader := bufio.NewReaderSize(conn, 4096)
	gap := func() time.Duration {
		return time.Duration(random.ExpFloat64() * overloadClients / o.rate * float64(time.Second))
	}
	var request []byte
	for next := time.Now().Add(time.Duration(random.Float64() * float64(gap()))); next.Before(end); next = next.Add(gap()) {
		time.Sleep(time.Until(next))
		request = o.request(request[:0], random)
		sent := time.Now()
		if _, err := conn.Write(request); err != nil {
			return got, err
		}
		status, wait, err := readStatus(reader)
		if err != nil {
			return got, err
		}
		now := time.Now()
		if now.After(next) {
			next = now // it has sent nothing meanwhile
		}
		next = next.Add(wait)
		if err := got.count(status, now.Sub(sent), sent.After(begin)); err != nil {
			return got, err
		}
	}
	return got, nil
}

// count adds an answer, if it is measured.
func (r *openResult) count(status int, took time.Duration, measured bool) error {
	switch {
	case status != 200 && status != 201 && status != 503:
		return fmt.Errorf("unexpected status %d", status)
	case !measured:
		return nil
	}
	r.sent++
	if status == 503 {
		r.refused = append(r.refused, took)
		return nil
	}
	r.answered = append(r.answered, took)
	if took <= goodWithin {
		r.good++
	}
	return nil
}

// readStatus reads one response that has a Content-Length or no body, and its Retry-After.
func readStatus(reader *bufio.Reader) (status int, wait time.Duration, err error) {
	length := 0
	for first := true; ; first = false {
		line, err := reader.ReadSlice('\n')
		switch {
		case err != nil:
			return 0, 0, err
		case first && len(line) < 12:
			return 0, 0, fmt.Errorf("unexpected response %q", line)
		case first:
			if status, err = strconv.Atoi(string(line[9:12])); err != nil {
				return 0, 0, err
			}
		case len(line) <= 2:
			_, err = io.CopyN(io.Discard, reader, int64(length))
			return status, wait, err
		}
		if value, ok := bytes.CutPrefix(line, []byte("Retry-After: ")); ok {
			seconds, err := strconv.Atoi(string(bytes.TrimSpace(value)))
			if err != nil {
				return 0, 0, err
			}
			wait = time.Duration(seconds) * time.Second
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, 0, err
			}
		}
	}
}
