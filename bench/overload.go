package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
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

// overload measures what the server answers when more requests come than it can answer. The
// server has one processor, and the clients have the others. Its requests are expensive, of
// users with many claims, so that the clients are not what is saturated.
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
	peaks := make(map[string]float64)                            // of the server that refuses nothing
	for _, mode := range []struct{ name, flag string }{{"never refusing", "--max-queue-delay=0s"}, {"refusing", "--max-queue-delay=50ms"}} {
		if err := r.overloadCurve(b, s, mode.name, mode.flag, peaks); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) overloadCurve(b *binary, s *seeded, name, flag string, peaks map[string]float64) error {
	p, err := b.serve(s.dir, flag)
	if err != nil {
		return err
	}
	defer p.stop(syscall.SIGTERM)
	if err := pin(p.cmd.Process.Pid, 0, 1); err != nil {
		return err
	}
	if len(peaks) == 0 {
		if err := s.addClaims(p.address); err != nil {
			return err
		}
	}
	for _, kind := range []struct {
		name    string
		status  int
		request func([]byte, *rand.Rand) []byte
	}{{"updates", 200, s.putClaim}, {"reads", 200, s.getClaims}} {
		if peaks[kind.name] == 0 {
			if peaks[kind.name], err = r.peak(p, kind.status, kind.request); err != nil {
				return err
			}
		}
		peak := peaks[kind.name]
		fmt.Printf("%s, %s: peak %.0f/s, with at most %d connections\n", kind.name, name, peak, peakConns)
		fmt.Printf("%8s %9s %9s %9s %9s %9s %9s %9s %9s\n", "offered", "sent/s", "good/s", "of peak", "p50, ms", "p99, ms", "refused/s", "p50, ms", "p99, ms")
		for _, times := range []float64{1, 2, 5} {
			o := openLoad{address: p.address, rate: times * peak, duration: 2 * r.seconds, request: kind.request}
			got, err := o.run()
			if err != nil {
				return err
			}
			fmt.Printf("%7.1f× %9.0f %9.0f %8.0f%% %9.1f %9.1f %9.0f %9.1f %9.1f\n", times, got.rate(got.sent), got.rate(got.good), 100*got.rate(got.good)/peak,
				percentile(got.answered, .5), percentile(got.answered, .99), got.rate(len(got.refused)), percentile(got.refused, .5), percentile(got.refused, .99))
		}
	}
	return nil
}

// percentile is in milliseconds.
func percentile(sorted []time.Duration, p float64) float64 {
	r := result{latencies: sorted}
	return ms(r.percentile(p))
}

const peakConns = 256

// peak is the highest number of requests that the server answers in a second.
func (r *run) peak(p *process, status int, request func([]byte, *rand.Rand) []byte) (best float64, err error) {
	for _, conns := range []int{64, peakConns} {
		got, err := (&load{address: p.address, conns: conns, duration: r.seconds, status: status, request: request}).run()
		if err != nil {
			return 0, err
		}
		best = max(best, got.perSecond)
	}
	return best, nil
}

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
	end := time.Now().Add(o.duration)
	for i, conn := range conns {
		group.Go(func() {
			defer conn.Close()
			got, err := o.client(conn, rand.New(rand.NewPCG(uint64(i), uint64(end.UnixNano()))), end)
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

func (o *openLoad) client(conn net.Conn, random *rand.Rand, end time.Time) (got openResult, err error) {
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
		got.sent++
		switch took := now.Sub(sent); status {
		case 200, 201, 204:
			got.answered = append(got.answered, took)
			if took <= goodWithin {
				got.good++
			}
		case 503:
			got.refused = append(got.refused, took)
			next = next.Add(wait)
		default:
			return got, fmt.Errorf("unexpected status %d", status)
		}
	}
	return got, nil
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
