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
)

// What TestDescriptors does.
const (
	descriptors  = 256
	crowd        = 1000            // connections
	crowdFor     = 2 * time.Second // at least, and until the store has opened files
	crowdLimit   = 40 * time.Second
	crowdGoneBy  = 5 * time.Second // new connections are served again
	leastInCrowd = 60              // connections that the server took of it
)

// TestDescriptors: more connections than the process may have descriptors neither
// end it nor keep the store from opening files, who is connected is served, and new
// connections are again when the crowd has gone.
func TestDescriptors(t *testing.T) {
	rounds := 1
	if soak() {
		rounds = 100
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rounds)*time.Minute)
	defer cancel()
	if _, err := exec.LookPath("prlimit"); err != nil {
		t.Fatal("prlimit is needed: apt-get install util-linux")
	}
	// A small write buffer, so that tables are made and merged meanwhile; and one
	// address may take every connection.
	in := install(ctx, t, t.TempDir(), "--write-buffer-size", "1MiB", "--max-connections-per-address", "1000")
	in.under = []string{"prlimit", fmt.Sprintf("--nofile=%d:%d", descriptors, descriptors)}
	p := in.start(ctx, t)
	l := new(ledger)
	l.fill(ctx, t, p)
	work, stop := context.WithCancel(ctx)
	defer stop()
	wait := l.workAll(work, t, p)
	var most, during int64
	var slowest time.Duration
	for range rounds {
		time.Sleep(300 * time.Millisecond)
		before := l.acked.Load()
		gone := gather(ctx, t, p)
		most = max(most, int64(sockets(t, p)))
		awaitFiles(t, p, filepath.Join(in.dir, "store"))
		during += l.acked.Load() - before
		gone()
		slowest = max(slowest, newcomer(ctx, t, p))
	}
	stop()
	wait()
	if text := p.errs.String(); strings.Contains(text, "too many open files") {
		t.Errorf("the process wanted more descriptors than it may have:\n%s", text)
	}
	p.kill()
	p = in.start(ctx, t)
	if err := l.verify(ctx, p); err != nil {
		t.Error(err)
	}
	p.stop(t)
	t.Logf("%d rounds of %d connections: %d sockets at most, %d changes acknowledged meanwhile; a newcomer was served %v after at most",
		rounds, crowd, most, during, slowest)
	if most < leastInCrowd || during < int64(100*rounds) {
		t.Errorf("INVALID: the server had %d sockets, and acknowledged %d changes", most, during)
	}
}

// awaitFiles waits until the store has made some files in dir, a log and a table at
// least.
func awaitFiles(t *testing.T, p *process, dir string) {
	t.Helper()
	began, first := time.Now(), lastFile(t, dir)
	for time.Since(began) < crowdFor || lastFile(t, dir) < first+8 {
		if !p.alive() {
			t.Fatalf("the server ended: %v", p.ProcessState)
		}
		if time.Since(began) > crowdLimit {
			t.Fatal("INVALID: the store opened no files meanwhile")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// gather opens connections that say nothing but the beginning of a request. What it
// gives closes them.
func gather(ctx context.Context, t *testing.T, p *process) (gone func()) {
	t.Helper()
	address := strings.TrimPrefix(p.url, "http://")
	var all []net.Conn
	for range crowd {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			_, err = c.Write([]byte("GET /v1/me HTTP/1.1\r\nHost: "))
		}
		if err != nil {
			t.Fatalf("connection %d: %v", len(all), err)
		}
		all = append(all, c)
	}
	time.Sleep(200 * time.Millisecond) // for the server to take what it takes
	return func() {
		for _, c := range all {
			_ = c.Close() // the server may have closed it
		}
	}
}

// sockets counts those that the process has open.
func sockets(t *testing.T, p *process) int {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", p.Process.Pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatalf("what the server has open: %v\n%s", err, p.errs.String())
	}
	n := 0
	for _, e := range entries {
		if to, err := os.Readlink(dir + "/" + e.Name()); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// newcomer gives the time until a new connection is served.
func newcomer(ctx context.Context, t *testing.T, p *process) time.Duration {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, crowdGoneBy)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("GET /v1/me HTTP/1.1\r\nHost: localhost\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(began.Add(crowdGoneBy)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Errorf("a newcomer is not served %v after the crowd has gone: %v", time.Since(began), err)
	}
	return time.Since(began)
}
