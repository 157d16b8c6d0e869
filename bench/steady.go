package main

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// steadyRetention makes the server drop log entries every minute of the run. It is the
// smallest value that the settings allow.
const steadyRetention = "1m"

// steady measures PUTs at a constant rate for a long time, while tables are flushed and
// compacted and old log entries are dropped. The latency of a PUT is measured from its
// scheduled time, so that a stalled request counts for all requests that it delays.
func (r *run) steady(b *binary) error {
	large, err := r.seed(r.mostUsers())
	if err != nil {
		return err
	}
	p, err := b.serve(large.dir, "--log-retention", steadyRetention)
	if err != nil {
		return err
	}
	defer p.stop(syscall.SIGTERM)
	before, err := p.cpu()
	if err != nil {
		return err
	}
	fmt.Printf("\n%d PUTs a second for %v, %d users, %d connections\n", r.rate, r.long, r.mostUsers(), r.mostConns())
	o := openLoop{load: load{address: p.address, conns: r.mostConns(), status: http.StatusNoContent, request: large.put}, rate: r.rate}
	var all []time.Duration
	for left := r.long; left > 0; left -= time.Minute {
		o.duration = min(left, time.Minute)
		latencies, err := o.run()
		if err != nil {
			return err
		}
		slices.Sort(latencies)
		fmt.Printf("minute %2d: p50 %v  p99 %v  p99.9 %v  worst %v\n", (r.long-left)/time.Minute+1,
			at(latencies, .5), at(latencies, .99), at(latencies, .999), latencies[len(latencies)-1].Round(10*time.Microsecond))
		all = append(all, latencies...)
	}
	after, err := p.cpu()
	if err != nil {
		return err
	}
	slices.Sort(all)
	for _, percentile := range []float64{.5, .99, .999} {
		report(fmt.Sprintf("steady PUTs, p%g", 100*percentile), "-", "ms", []float64{at(all, percentile).Seconds() * 1000})
	}
	report("steady PUTs, worst", "-", "ms", []float64{all[len(all)-1].Seconds() * 1000})
	report("steady PUTs, server CPU", "-", "µs", []float64{float64((after - before).Microseconds()) / float64(len(all))})
	return p.reportCounters("stalls_total", "flushes_total", "compactions_total", "trimmed_position", "last_position")
}

// reportCounters prints counters of the store.
func (p *process) reportCounters(names ...string) error {
	response, err := http.Get("http://" + p.admin + "/metrics")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	found := 0
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		name, text, _ := strings.Cut(strings.TrimPrefix(lines.Text(), "porchlight_store_"), " ")
		if !slices.Contains(names, name) {
			continue
		}
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return err
		}
		found++
		report("store: "+name, "-", "", []float64{value})
	}
	if found != len(names) {
		return fmt.Errorf("found %d of the counters %v", found, names)
	}
	return nil
}

func at(sorted []time.Duration, percentile float64) time.Duration {
	return sorted[min(len(sorted)-1, int(percentile*float64(len(sorted))))].Round(10 * time.Microsecond)
}

// An openLoop sends requests at their scheduled times, regardless of earlier responses.
type openLoop struct {
	load
	rate int // a second
}

func (o *openLoop) run() ([]time.Duration, error) {
	begun := time.Now()
	n := int64(o.duration.Seconds() * float64(o.rate))
	var next atomic.Int64
	var mu sync.Mutex // guards the next two variables
	var all []time.Duration
	var failure error
	var group sync.WaitGroup
	for i := range o.conns {
		group.Go(func() {
			latencies, err := o.connection(rand.New(rand.NewPCG(uint64(i), uint64(begun.UnixNano()))), func() (due time.Time, more bool) {
				k := next.Add(1) - 1
				return begun.Add(time.Duration(k) * time.Second / time.Duration(o.rate)), k < n
			})
			mu.Lock()
			defer mu.Unlock()
			all = append(all, latencies...)
			failure = errors.Join(failure, err)
		})
	}
	group.Wait()
	if failure == nil && len(all) == 0 {
		failure = errors.New("no requests were sent")
	}
	return all, failure
}

func (o *openLoop) connection(random *rand.Rand, next func() (time.Time, bool)) ([]time.Duration, error) {
	conn, err := net.Dial("tcp", o.address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	reader := bufio.NewReaderSize(conn, 4096)
	var request []byte
	var latencies []time.Duration
	for due, more := next(); more; due, more = next() {
		time.Sleep(time.Until(due))
		request = o.request(request[:0], random)
		if _, err := conn.Write(request); err != nil {
			return nil, err
		}
		if err := o.answer(reader); err != nil {
			return nil, err
		}
		latencies = append(latencies, time.Since(due))
	}
	return latencies, nil
}
