package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"syscall"
	"time"
)

var bodies = []string{
	`{"status":"Busy"}`,
	`{"status":"Away"}`,
	`{"status":"Do_Not_Disturb","duration":30}`,
	`{"status":"Available"}`,
}

func (s *seeded) put(b []byte, random *rand.Rand) []byte {
	body := bodies[random.IntN(len(bodies))]
	b = s.head(b, "PUT", random)
	b = append(b, "Content-Type: application/json\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	b = append(b, "\r\n\r\n"...)
	return append(b, body...)
}

func (s *seeded) get(b []byte, random *rand.Rand) []byte {
	return append(s.head(b, "GET", random), "\r\n"...)
}

func (s *seeded) head(b []byte, method string, random *rand.Rand) []byte {
	b = append(b, method...)
	b = append(b, " /v2/users/"...)
	b = append(b, s.IDs[random.IntN(len(s.IDs))]...)
	b = append(b, "/presence_status HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer "...)
	b = append(b, s.Token...)
	return append(b, "\r\n"...)
}

// A sample is one measurement of one server.
type sample struct {
	cpu  float64 // µs per request
	rate float64 // requests per second
	p50  time.Duration
	p99  time.Duration
}

// sample measures a server, all of whose processes count, under a load.
func (r *run) sample(p interface{ cpu() (time.Duration, error) }, l load) (sample, error) {
	before, err := p.cpu()
	if err != nil {
		return sample{}, err
	}
	l.duration = r.seconds
	got, err := l.run()
	if err != nil {
		return sample{}, err
	}
	after, err := p.cpu()
	cpu := float64((after - before).Microseconds()) / float64(got.requests)
	return sample{cpu, got.perSecond, got.percentile(.5), got.percentile(.99)}, err
}

// query measures one bulk read of 10,000 users.
func (r *run) query(b *binary) error {
	large, err := r.seed(r.mostUsers())
	if err != nil {
		return err
	}
	p, err := b.serve(large.dir)
	if err != nil {
		return err
	}
	defer p.stop(syscall.SIGTERM)
	n := min(10_000, len(large.IDs))
	body, err := json.Marshal(map[string]any{"users": large.IDs[:n]})
	if err != nil {
		return err
	}
	var rounds []float64
	for round := range 5 * r.rounds {
		request, err := http.NewRequest(http.MethodPost, "http://"+p.address+"/v1/presence/query", bytes.NewReader(body))
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", "Bearer "+large.Token)
		request.Header.Set("Content-Type", "application/json")
		begun := time.Now()
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		size, err := io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		if err != nil {
			return err
		}
		if response.StatusCode != http.StatusOK || size < int64(n) {
			return fmt.Errorf("status %d, %d bytes", response.StatusCode, size)
		}
		if round > 0 { // the first round fills the caches
			rounds = append(rounds, float64(time.Since(begun).Microseconds())/1000)
		} else {
			fmt.Printf("first query of %d users, with empty caches: %v\n", n, time.Since(begun).Round(100*time.Microsecond))
		}
	}
	report(fmt.Sprintf("bulk read of %d users, measured at the client", n), "10", "ms", rounds)
	return nil
}

// start measures from exec to ready on the large store, after a clean stop and
// after kill -9.
func (r *run) start(b *binary) error {
	large, err := r.seed(r.mostUsers())
	if err != nil {
		return err
	}
	for _, kind := range []struct {
		name   string
		signal syscall.Signal
	}{{"after a clean stop", syscall.SIGTERM}, {"after kill -9", syscall.SIGKILL}} {
		var rounds []float64
		for round := range r.rounds + 1 {
			p, err := b.serve(large.dir)
			if err != nil {
				return err
			}
			if round > 0 {
				rounds = append(rounds, p.ready.Seconds())
			}
			if err := p.stop(kind.signal); err != nil {
				return err
			}
		}
		report(fmt.Sprintf("start with %d users %s", r.mostUsers(), kind.name), "2", "s", rounds)
	}
	return nil
}

// idle measures the memory of a server with an empty store.
func (r *run) idle(b *binary) error {
	empty, err := r.seed(1)
	if err != nil {
		return err
	}
	p, err := b.serve(empty.dir)
	if err != nil {
		return err
	}
	defer p.stop(syscall.SIGTERM)
	time.Sleep(5 * time.Second)
	memory, err := p.rss()
	report("idle RSS", "40", "MiB", []float64{memory})
	report("start, empty store", "-", "s", []float64{p.ready.Seconds()})
	return err
}
