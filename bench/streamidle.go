package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// idleFor is one interval of pings.
const idleFor = 25 * time.Second

// streamIdle measures the cost of streams without events, each with its own token:
// keepalives and token checks.
func (r *run) streamIdle(b *binary, s *seeded) error {
	p, err := b.serve(s.dir)
	if err != nil {
		return err
	}
	defer p.stop(syscall.SIGTERM)
	quiet, err := p.share(idleFor)
	if err != nil {
		return err
	}
	stop, err := watchAll(p.address, idleWatchers, 512, func(i int) string { return s.streamRequest(i, s.twenty(i), "", false) }, (*watcher).snapshot, idle)
	if err != nil {
		return err
	}
	defer stop()
	time.Sleep(idleFor) // let work from opening the streams finish
	var busy []float64
	for range 2 {
		share, err := p.share(idleFor)
		if err != nil {
			return err
		}
		busy = append(busy, share)
	}
	report("CPU without streams", "-", "%", []float64{quiet})
	report(fmt.Sprintf("CPU of %d idle WebSockets, each with its own token", idleWatchers), "2", "%", busy)
	return nil
}

// share returns the CPU usage of the process in per cent of a core.
func (p *process) share(over time.Duration) (float64, error) {
	used, err := p.during(func() error {
		time.Sleep(over)
		return nil
	})
	return used / float64(over.Microseconds()) * 100, err
}

const (
	slowReaders = 200
	slowFor     = 25 * time.Second // until all of them are disconnected
)

// streamSlow measures the kernel memory of slow consumers that read nothing, and the
// time until they are disconnected. The kernel's figure for TCP includes both ends.
func (r *run) streamSlow(b *binary, s *seeded) error {
	p, err := b.serve(s.dir)
	if err != nil {
		return err
	}
	defer p.stop(syscall.SIGTERM)
	readers := make([]net.Conn, slowReaders)
	for i := range readers {
		if readers[i], err = net.Dial("tcp", p.address); err != nil {
			return err
		}
		defer readers[i].Close()
	}
	before, err := tcpMemory()
	if err != nil {
		return err
	}
	began := time.Now()
	for i, conn := range readers {
		if _, err := io.WriteString(conn, s.streamRequest(i, s.IDs[:100], "", true)); err != nil {
			return err
		}
	}
	c := &changer{address: p.address, seeded: s, users: s.IDs[:100], conns: 16, rate: 500, duration: slowFor}
	var most atomic.Int64
	var ended atomic.Int64 // since began
	var watching sync.WaitGroup
	watching.Go(func() {
		for begun := false; time.Since(began) < slowFor; time.Sleep(100 * time.Millisecond) {
			if now, err := tcpMemory(); err == nil {
				most.Store(max(most.Load(), int64(now-before)))
			}
			open, err := p.streamsOpen()
			if begun = begun || open == slowReaders; begun && err == nil && open == 0 {
				ended.Store(int64(time.Since(began)))
				return
			}
		}
	})
	err = c.run()
	watching.Wait()
	if err != nil {
		return err
	}
	report(fmt.Sprintf("kernel memory of a stream that never reads, of %d", slowReaders), "1024", "KiB", []float64{float64(most.Load()) / slowReaders / 1024})
	report("the last of these was disconnected after", "-", "s", []float64{time.Duration(ended.Load()).Seconds()})
	return nil
}

var tcpPages = regexp.MustCompile(`(?m)^TCP:.* mem (\d+)$`)

// tcpMemory returns the system's memory for TCP in bytes.
func tcpMemory() (int, error) {
	text, err := os.ReadFile("/proc/net/sockstat")
	if err != nil {
		return 0, err
	}
	found := tcpPages.FindSubmatch(text)
	if found == nil {
		return 0, fmt.Errorf("unexpected sockstat %q", text)
	}
	pages, err := strconv.Atoi(string(found[1]))
	return pages * os.Getpagesize(), err
}

var openStreams = regexp.MustCompile(`(?m)^porchlight_stream_open (\d+)$`)

// streamsOpen returns the number of open streams of the process.
func (p *process) streamsOpen() (int, error) {
	response, err := http.Get("http://" + p.admin + "/metrics")
	if err != nil {
		return -1, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return -1, err
	}
	found := openStreams.FindSubmatch(text)
	if found == nil {
		return -1, errors.New("the metric of open streams is missing")
	}
	return strconv.Atoi(string(found[1]))
}
