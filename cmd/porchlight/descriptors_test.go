package main_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/leveltest"
)

// Parameters of TestDescriptors.
const (
	descriptors   = 256
	floodSize     = 1000            // connections
	floodFor      = 2 * time.Second // minimum; continues until the store has opened files
	floodTimeout  = 3 * time.Minute
	recoveryLimit = 30 * time.Second // until new connections are served again
	minAccepted   = 60               // connections that the server must accept at a time
	moreStatuses  = 16               // for each worker
)

// TestDescriptors: more connections than the process has descriptors neither terminate
// it nor keep the store from opening files. Established connections are served, and new
// ones are served again after the flood.
func TestDescriptors(t *testing.T) {
	rounds := leveltest.Count(t, "floods of connections", 1, 1, 100)
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rounds)*5*time.Minute)
	defer cancel()
	if _, err := exec.LookPath("prlimit"); err != nil {
		t.Fatal("prlimit is needed: apt-get install util-linux")
	}
	// A small write buffer, so that tables are flushed and compacted during the flood;
	// and one address may use every connection.
	in := install(ctx, t, t.TempDir(), "--write-buffer-size", "1MiB", "--max-connections-per-address", "1000")
	in.under = []string{"prlimit", fmt.Sprintf("--nofile=%d:%d", descriptors, descriptors)}
	p := in.start(ctx, t)
	l := new(ledger)
	l.fill(ctx, t, p)
	// On a slow machine, the flood may evict a worker's connection while a request is on its way,
	// which leaves the thing in doubt. Nobody may run out of things.
	for w := range workers {
		l.addStatuses(ctx, t, p, w, statuses, statuses+moreStatuses)
	}
	work, stop := context.WithCancel(ctx)
	defer stop()
	wait := l.workAll(work, t, p)
	var most, during int64
	var slowest time.Duration
	for range rounds {
		awaitCount(ctx, p, &l.acked, l.acked.Load()+10*workers)
		before := l.acked.Load()
		closeAll := openFlood(ctx, t, p)
		most = max(most, int64(countSockets(t, p)))
		waitForFiles(t, p, filepath.Join(in.dir, "store"))
		during += l.acked.Load() - before
		closeAll()
		slowest = max(slowest, connectLatency(ctx, t, p))
	}
	doubtful := l.doubtful.Load()
	stop()
	wait()
	if text := p.errs.String(); strings.Contains(text, "too many open files") {
		t.Errorf("the process ran out of descriptors:\n%s", text)
	}
	p.kill()
	p = in.start(ctx, t)
	if err := l.verify(ctx, p); err != nil {
		t.Error(err)
	}
	p.stop(t)
	t.Logf("%d rounds of %d connections: %d sockets at most, %d changes acknowledged meanwhile and %d in doubt; a new connection was served after at most %v",
		rounds, floodSize, most, during, doubtful, slowest)
	// While the machine stalls for a moment, the flood may evict all of them.
	if limit := int64(5 * workers * rounds); doubtful > limit {
		t.Errorf("%d changes are in doubt, at most %d were expected: connections that were in use were closed", doubtful, limit)
	}
	if most < minAccepted || during < int64(100*rounds) {
		t.Errorf("INVALID: the server had %d sockets, and acknowledged %d changes", most, during)
	}
}

// waitForFiles waits until the store has created three files in dir, at least a log and
// a table.
func waitForFiles(t *testing.T, p *process, dir string) {
	t.Helper()
	began, first := time.Now(), lastFile(t, dir)
	for time.Since(began) < floodFor || lastFile(t, dir) < first+3 {
		if !p.alive() {
			t.Fatalf("the server ended: %v", p.ProcessState)
		}
		if time.Since(began) > floodTimeout {
			t.Fatal("INVALID: the store opened no files during the flood")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// openFlood opens connections that send only the beginning of a request. The returned
// function closes them.
func openFlood(ctx context.Context, t *testing.T, p *process) (closeAll func()) {
	t.Helper()
	address := strings.TrimPrefix(p.url, "http://")
	var all []net.Conn
	for range floodSize {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			_, err = c.Write([]byte("GET /v1/me HTTP/1.1\r\nHost: "))
		}
		if err != nil {
			t.Fatalf("connection %d: %v", len(all), err)
		}
		all = append(all, c)
	}
	for began := time.Now(); countSockets(t, p) < minAccepted && time.Since(began) < floodTimeout; {
		time.Sleep(10 * time.Millisecond) // until the server has accepted connections
	}
	return func() {
		for _, c := range all {
			_ = c.Close() // the server may have closed it
		}
	}
}

// countSockets counts the open sockets of the process.
func countSockets(t *testing.T, p *process) int {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", p.Process.Pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatalf("cannot list the open files of the server: %v\n%s", err, p.errs.String())
	}
	n := 0
	for _, e := range entries {
		if to, err := os.Readlink(dir + "/" + e.Name()); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// connectLatency returns the time until a new connection is served.
func connectLatency(ctx context.Context, t *testing.T, p *process) time.Duration {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, recoveryLimit)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("GET /v1/me HTTP/1.1\r\nHost: localhost\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(began.Add(recoveryLimit)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Errorf("a new connection is not served %v after the flood: %v", time.Since(began), err)
	}
	return time.Since(began)
}
