package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// linux is the platform of the packages and the image that tests make.
var linux = platform{"linux", runtime.GOARCH}

// fixture has what all tests use: the binaries of two versions, built once.
var fixture struct {
	version, newer      string
	binary, newerBinary string
	shared, newerShared sharedFiles
	root                string
	made                time.Time
	release             func(*testing.T, string) *release
}

func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m)) //nolint:forbidigo // TestMain is the main of a test
}

func buildAndRun(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "release-test-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = buildFixture(ctx, dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func buildFixture(ctx context.Context, dir string) error {
	f := &fixture
	f.version, f.newer, f.root, f.made = "0.0.8", "0.0.9", "../..", time.Unix(1_700_000_000, 0).UTC()
	f.release = func(t *testing.T, version string) *release {
		shared := f.shared
		if version == f.newer {
			shared = f.newerShared
		}
		return &release{root: f.root, out: t.TempDir(), version: version, made: f.made, shared: shared}
	}
	for _, v := range []struct {
		version string
		binary  *string
		shared  *sharedFiles
	}{{f.version, &f.binary, &f.shared}, {f.newer, &f.newerBinary, &f.newerShared}} {
		r := &release{root: f.root, version: v.version, made: f.made}
		*v.binary = filepath.Join(dir, v.version, "porchlight")
		if err := r.build(ctx, linux, *v.binary); err != nil {
			return err
		}
		var err error
		if *v.shared, err = r.collectShared(ctx, *v.binary, filepath.Join(dir, v.version)); err != nil {
			return err
		}
	}
	f.newerShared.settings.body = append(f.newerShared.settings.body, "\n# A comment of the newer version.\n"...)
	return nil
}

func mebibytes(n int64) float64 { return float64(n) / (1 << 20) }

// firstPort is different in each process, as others look for ports at the same time.
var firstPort = rand.Uint32N(10_000) //nolint:gosec // no secret

// askedPorts counts the ports that freeAddress tried, so that it gives none twice.
var askedPorts atomic.Uint32

// freeAddress returns a free address of loopback, with a port below the ephemeral range: no
// other listener or connection gets it by chance before a server listens there.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		address := fmt.Sprint("127.0.0.1:", 10_000+(firstPort+askedPorts.Add(1))%10_000)
		l, err := net.Listen("tcp", address)
		if err == nil {
			l.Close()
			return address
		}
	}
	t.Fatal("no free port")
	return ""
}

// full reports whether tests run at full length, as internal/leveltest does for the server.
func full() bool { return os.Getenv("TEST_LEVEL") != "" }

// A service is a server that a test runs as systemd does.
type service struct {
	command []string
	env     []string
	dir     string
	user    *syscall.Credential // or that of the test

	process *exec.Cmd
	ended   chan struct{}
	log     strings.Builder // after ended
}

// start runs the server and returns how long it took until it was ready.
func (s *service) start(t *testing.T) time.Duration {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := os.Chmod(socket, 0o777); err != nil { // another user writes to it
		t.Fatal(err)
	}
	s.log.Reset()
	s.process, s.ended = exec.Command(s.command[0], s.command[1:]...), make(chan struct{})
	s.process.Env, s.process.Dir, s.process.Stderr, s.process.Stdout = append(s.env, "NOTIFY_SOCKET="+socket), s.dir, &s.log, &s.log
	s.process.SysProcAttr = &syscall.SysProcAttr{Credential: s.user}
	began := time.Now()
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	go func(process *exec.Cmd, ended chan struct{}) {
		_ = process.Wait() // ProcessState has the result
		close(ended)
		_ = conn.Close() // ends the wait below
	}(s.process, s.ended)
	t.Cleanup(func() {
		_ = s.process.Process.Kill() // it may have ended
		<-s.ended
	})
	var buf [512]byte
	n, err := conn.Read(buf[:])
	if err != nil || !strings.HasPrefix(string(buf[:n]), "READY=1") {
		_ = s.process.Process.Kill()
		<-s.ended
		t.Fatalf("the server is not ready: %q, %v\n%s", buf[:n], err, s.log.String())
	}
	return time.Since(began)
}

// stop ends the server as systemd does.
func (s *service) stop(t *testing.T) {
	t.Helper()
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	<-s.ended
	if !s.process.ProcessState.Success() {
		t.Errorf("the server ended with %v\n%s", s.process.ProcessState, s.log.String())
	}
}

// other runs another command in the same environment.
func (s *service) other(t *testing.T, command ...string) ([]byte, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Env, cmd.Dir, cmd.SysProcAttr = s.env, s.dir, &syscall.SysProcAttr{Credential: s.user}
	return cmd.CombinedOutput()
}
