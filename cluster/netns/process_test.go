package netns_test

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// waitLimit is how long tests wait for what must happen.
const waitLimit = time.Minute

// waitFor waits until ok.
func waitFor(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for end := time.Now().Add(waitLimit); !ok(); {
		if time.Now().After(end) {
			tb.Fatalf("timed out after %v waiting for %s", waitLimit, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// A process runs on a host.
type process struct {
	*exec.Cmd
	ended chan struct{}
	stdin io.Closer
	log   string // file of what it printed, in all its runs
}

// start starts a program on the host. What it prints is shown if the test fails.
func (h *host) start(tb testing.TB, log string, env []string, args ...string) *process {
	tb.Helper()
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		tb.Fatal(err)
	}
	defer out.Close()
	p := &process{ended: make(chan struct{}), log: log}
	p.Cmd = exec.Command("ip", append([]string{"netns", "exec", h.name}, args...)...) // it becomes the program
	p.Env, p.Stdout, p.Stderr = append(os.Environ(), env...), out, out
	if p.stdin, err = p.StdinPipe(); err != nil {
		tb.Fatal(err)
	}
	if err := p.Start(); err != nil {
		tb.Fatal(err)
	}
	go func() {
		_ = p.Wait() // ProcessState has the result
		close(p.ended)
	}()
	return p
}

func (p *process) signal(tb testing.TB, s syscall.Signal) {
	tb.Helper()
	if err := p.Process.Signal(s); err != nil {
		tb.Fatal(err)
	}
}

// kill ends the process as kill -9 does, also if it is stopped or has ended.
func (p *process) kill() {
	_ = p.Process.Kill()
	<-p.ended
}

func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// tail is the end of what the process printed.
func (p *process) tail(lines int) string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// serverConfig configures a NATS server that syncs every write, with a user of the system
// account.
const serverConfig = `
server_name: NAME
listen: "ADDRESS:4222"
jetstream: {store_dir: "DIR", sync_interval: always}
cluster: {name: test, listen: "ADDRESS:6222", routes: [ROUTES]}
accounts: {
  PORCHLIGHT: {jetstream: enabled, users: [{user: porchlight, password: secret}]}
  SYS: {users: [{user: system, password: topsecret}]}
}
system_account: SYS
`

// A natsServer is a NATS server on a host of its own.
type natsServer struct {
	*host
	*process
	name   string
	dir    string // of its data
	config string
}

// runServer runs a NATS server until it is killed.
func runServer(config string) error {
	o, err := server.ProcessConfigFile(config)
	if err != nil {
		return err
	}
	o.NoLog = true
	o.AuthTimeout = waitLimit.Seconds()
	s, err := server.NewServer(o)
	if err != nil {
		return err
	}
	go s.Start()
	if !s.ReadyForConnections(waitLimit) {
		return errors.New("the server did not start")
	}
	s.WaitForShutdown()
	return nil
}

func (s *natsServer) configure(tb testing.TB, all []*natsServer) {
	tb.Helper()
	var routes []string
	for _, o := range all {
		routes = append(routes, "nats://"+net.JoinHostPort(o.address, "6222"))
	}
	text := strings.NewReplacer("NAME", s.name, "ADDRESS", s.address, "DIR", s.dir, "ROUTES", strings.Join(routes, ", ")).Replace(serverConfig)
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}

func (s *natsServer) run(tb testing.TB) {
	tb.Helper()
	own, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	s.process = s.start(tb, filepath.Join(filepath.Dir(s.config), s.name+".log"), []string{serverVariable + "=" + s.config}, own)
}

func (s *natsServer) url(user string) string { return "nats://" + user + "@" + s.address + ":4222" }

func urls(servers []*natsServer, user string) string {
	var all []string
	for s := range slices.Values(servers) {
		all = append(all, s.url(user))
	}
	return strings.Join(all, ",")
}
