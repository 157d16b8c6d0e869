package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// A load is one closed-loop measurement: every connection sends its next request after
// it has read the response.
type load struct {
	address  string
	conns    int
	duration time.Duration
	status   int
	// request appends a complete HTTP/1.1 request.
	request func(b []byte, random *rand.Rand) []byte
	// greet prepares a new connection, and receive reads a response, of a protocol
	// other than HTTP; nil: HTTP.
	greet   func(net.Conn, *bufio.Reader) error
	receive func(*bufio.Reader) error
}

// A result of a load.
type result struct {
	requests  int
	perSecond float64
	latencies []time.Duration // sorted
}

func (r *result) percentile(p float64) time.Duration {
	if len(r.latencies) == 0 {
		return 0
	}
	return r.latencies[min(len(r.latencies)-1, int(p*float64(len(r.latencies))))]
}

func (l *load) run() (result, error) {
	var mu sync.Mutex
	var total result
	var failure error
	var group sync.WaitGroup
	begun := time.Now()
	end := begun.Add(l.duration)
	for i := range l.conns {
		group.Go(func() {
			latencies, err := l.connection(rand.New(rand.NewPCG(uint64(i), uint64(begun.UnixNano()))), end)
			mu.Lock()
			defer mu.Unlock()
			total.latencies = append(total.latencies, latencies...)
			failure = errors.Join(failure, err)
		})
	}
	group.Wait()
	if failure != nil {
		return result{}, failure
	}
	total.requests = len(total.latencies)
	total.perSecond = float64(total.requests) / time.Since(begun).Seconds()
	slices.Sort(total.latencies)
	return total, nil
}

func (l *load) connection(random *rand.Rand, end time.Time) ([]time.Duration, error) {
	conn, err := net.Dial("tcp", l.address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	reader := bufio.NewReaderSize(conn, 4096)
	if l.greet != nil {
		if err := l.greet(conn, reader); err != nil {
			return nil, err
		}
	}
	receive := l.receive
	if receive == nil {
		receive = l.answer
	}
	var request []byte
	var latencies []time.Duration
	for now := time.Now(); now.Before(end); {
		request = l.request(request[:0], random)
		if _, err := conn.Write(request); err != nil {
			return nil, err
		}
		if err := receive(reader); err != nil {
			return nil, err
		}
		done := time.Now()
		latencies = append(latencies, done.Sub(now))
		now = done
	}
	return latencies, nil
}

// answer reads one response that has a Content-Length.
func (l *load) answer(reader *bufio.Reader) error {
	line, err := reader.ReadSlice('\n')
	if err != nil {
		return err
	}
	if len(line) < 12 || string(line[9:12]) != strconv.Itoa(l.status) {
		rest, _ := io.ReadAll(io.LimitReader(reader, 600))
		return fmt.Errorf("unexpected response %q %q, want %d", line, rest, l.status)
	}
	length := 0
	for {
		line, err = reader.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	_, err = reader.Discard(length)
	return err
}
