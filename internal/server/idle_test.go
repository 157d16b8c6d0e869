package server_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/server"
)

// TestManyIdleConnections: the server answers while it has ten thousand idle connections,
// on them and on others, and ends them when it stops. The client is another process, so
// that neither needs more files than a process often may open.
func TestManyIdleConnections(t *testing.T) {
	if os.Getenv(idleClientEnv) != "" {
		runIdleClient(t)
		return
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	const others = 2500 // for the store and the test itself
	most := min(mostIdle, int(min(limit.Cur, 1<<20))-others)
	if most < mostIdle {
		t.Logf("only %d connections instead of %d, because a process may open %d files", most, mostIdle, limit.Cur)
	}
	cfg := settings(t)
	cfg.MaxConnectionsPerAddress, cfg.RateLimitPlan = most+100, "off"
	r := start(t, cfg, server.Options{Timeouts: server.Timeouts{Idle: 10 * time.Minute}})
	user := r.createUsers(t, 1)[0]
	r.closeClient(t)
	clients := r.startIdleClient(t, most, r.hotGet(user))
	clients.await("idle")
	if open := r.metric(t, "porchlight_connections_open"); open != strconv.Itoa(most) {
		t.Errorf("%s connections are open, want %d", open, most)
	}
	e := r.exchange(t)
	e.expect(t, r.hotPut(user, "Away"), http.StatusNoContent, "")
	e.close()
	clients.next()
	clients.await("answered")
	r.stop(server.ErrInterrupted)
	if err := r.wait(t); err != nil {
		t.Error(err)
	}
	clients.await("ended")
}

// idleClientEnv is set to the server's address in the client's process.
const (
	idleClientEnv   = "TEST_IDLE_CLIENT"
	idleRequestEnv  = "TEST_IDLE_REQUEST"
	idleConnsEnv    = "TEST_IDLE_CONNECTIONS"
	idleClientLimit = 10 * time.Minute
)

// An idleProcess is the client's process. It says what it has done in lines, and does the
// next when it reads one.
type idleProcess struct {
	t     *testing.T
	lines *bufio.Scanner
	stdin io.Writer
}

func (r *running) startIdleClient(t *testing.T, conns int, request string) *idleProcess {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), idleClientLimit)
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), ownProcessEnv+"=1", idleClientEnv+"="+strings.TrimPrefix(r.URL(), "http://"), idleRequestEnv+"="+request, idleConnsEnv+"="+strconv.Itoa(conns))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_, _ = io.Copy(io.Discard, stdout)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the client: %v", err)
		}
		cancel()
	})
	return &idleProcess{t, bufio.NewScanner(stdout), stdin}
}

// await waits until the client says that it has done something.
func (p *idleProcess) await(what string) {
	p.t.Helper()
	var other []string
	for p.lines.Scan() {
		if p.lines.Text() == what {
			return
		}
		other = append(other, p.lines.Text())
	}
	p.t.Fatalf("the client ended before %q: %s", what, strings.Join(other, "\n"))
}

func (p *idleProcess) next() {
	p.t.Helper()
	if _, err := io.WriteString(p.stdin, "\n"); err != nil {
		p.t.Fatal(err)
	}
}

// runIdleClient opens connections, makes a request on each, then another one, and then
// waits until the server closes them.
func runIdleClient(t *testing.T) {
	t.Helper()
	most, err := strconv.Atoi(os.Getenv(idleConnsEnv))
	if err != nil {
		t.Fatal(err)
	}
	all := make([]*exchange, most)
	forEachExchange(t, all, "answered a request", func(e **exchange) error {
		conn, err := (&net.Dialer{Timeout: exchangeTimeout}).DialContext(t.Context(), "tcp", os.Getenv(idleClientEnv))
		if err != nil {
			return err
		}
		*e = newExchange(conn)
		return (*e).idleRoundTrip()
	})
	say := func(what string) { _, _ = fmt.Fprintln(os.Stdout, what) } // the other process misses it
	say("idle")
	_, _ = io.ReadFull(os.Stdin, make([]byte, 1)) // the end of it will do
	forEachExchange(t, all, "answered another", func(e **exchange) error { return (*e).idleRoundTrip() })
	say("answered")
	forEachExchange(t, all, "ended", func(e **exchange) error {
		if err := (*e).conn.SetDeadline(time.Now().Add(waitLimit)); err != nil {
			return err
		}
		return (*e).waitForEnd()
	})
	say("ended")
}

func (e *exchange) idleRoundTrip() error {
	resp, body, err := e.roundTrip(os.Getenv(idleRequestEnv))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status + " " + body)
	}
	return err
}

// forEachExchange does something with all connections, several at a time.
func forEachExchange(t *testing.T, all []*exchange, what string, do func(**exchange) error) {
	t.Helper()
	const workers = 8
	var running sync.WaitGroup
	for part := range workers {
		running.Go(func() {
			for i := part; i < len(all); i += workers {
				if err := do(&all[i]); err != nil {
					t.Errorf("connection %d has not %s: %v", i, what, err)
					return
				}
			}
		})
	}
	running.Wait()
	if t.Failed() {
		t.FailNow()
	}
}
