package natsstore_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"porchlight.dev/porchlight/internal/porttest"
	"porchlight.dev/porchlight/internal/store/enginetest"
)

// The environment of a server process; see TestMain.
const (
	serverEnv     = "NATSSTORE_TEST_CONFIG" // its configuration file
	serverPortEnv = "NATSSTORE_TEST_PORT"
)

// runServer runs a server until its standard input ends.
func runServer(config string) error {
	o, err := server.ProcessConfigFile(config)
	if err == nil {
		o.Port, err = strconv.Atoi(os.Getenv(serverPortEnv))
	}
	if err != nil {
		return err
	}
	o.NoLog, o.NoSigs = true, true
	o.AuthTimeout = waitLimit.Seconds()
	s, err := server.NewServer(o)
	if err != nil {
		return err
	}
	go s.Start()
	if !s.ReadyForConnections(waitLimit) {
		return errors.New("the server did not start")
	}
	if _, err := os.Stdout.WriteString("ready\n"); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	s.Shutdown()
	s.WaitForShutdown()
	return err
}

// A process is a server process, which can be killed.
type process struct {
	config string
	port   int
	cmd    *exec.Cmd
}

func startProcess(tb testing.TB) *process {
	tb.Helper()
	dir := enginetest.DirInMemory(tb)
	p := &process{config: dir + "/nats.conf", port: porttest.Free(tb, 1)[0]}
	if err := os.WriteFile(p.config, fmt.Appendf(nil, serverConfig, dir+"/data", always), 0o600); err != nil {
		tb.Fatal(err)
	}
	p.start(tb)
	tb.Cleanup(p.kill)
	return p
}

func (p *process) start(tb testing.TB) {
	tb.Helper()
	// Not with the context of the test: it ends before the cleanups run.
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), serverEnv+"="+p.config, serverPortEnv+"="+strconv.Itoa(p.port))
	p.cmd.Stderr = os.Stderr
	if _, err := p.cmd.StdinPipe(); err != nil {
		tb.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "ready" {
		tb.Fatalf("the server process printed %q, %v", line, err)
	}
}

// kill ends the process like a crash.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	_ = p.cmd.Wait()
	p.cmd = nil
}

func (p *process) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)) }

func (p *process) url() string { return "nats://" + user + ":" + password + "@" + p.addr() }

func (p *process) systemURL() string { return "nats://" + sysUser + ":" + sysSecret + "@" + p.addr() }
