package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// binary is the program under test.
type binary struct{ path string }

func build(dir string) (*binary, error) {
	path := filepath.Join(dir, "porchlight")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", path, "./cmd/porchlight")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return &binary{path}, nil
}

// A process that the bench started.
type process struct {
	cmd     *exec.Cmd
	address string
	admin   string
	ready   time.Duration // from exec until it answered
	output  *bytes.Buffer
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// serve starts the server on a data directory and waits until it is ready.
func (b *binary) serve(dir string, flags ...string) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	admin, err := freeAddress()
	if err != nil {
		return nil, err
	}
	return b.serveAt(dir, address, admin, flags...)
}

func (b *binary) serveAt(dir, address, admin string, flags ...string) (*process, error) {
	args := []string{
		"serve", "--data-dir", dir, "--listen", address, "--admin-listen", admin,
		"--min-update-interval", "0s", "--rate-limit-plan", "off", "--idle-after", "0s",
		"--max-connections-per-address", "1000000", "--stream-limits", "user=none,app=none,account=none,address=none",
		"--access-log", filepath.Join(filepath.Dir(dir), "access.log"),
	}
	cmd := exec.Command(b.path, append(args, flags...)...)
	return launch(cmd, address, admin, "http://"+admin+"/readyz")
}

// bareServer starts the baseline of HTTP requests.
func bareServer() (*process, error) { return startBare("-bare") }

// bareStreams starts the baseline of streams.
func bareStreams() (*process, error) { return startBare("-bare-streams") }

func startBare(kind string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	return launch(exec.Command(self, kind, address), address, "", "http://"+address+"/v2/users/x/presence_status")
}

func launch(cmd *exec.Cmd, address, admin, probe string) (*process, error) {
	p := &process{cmd: cmd, address: address, admin: admin, output: new(bytes.Buffer)}
	cmd.Stdout, cmd.Stderr = io.Discard, p.output
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	for time.Since(begun) < 30*time.Second {
		if answers(probe) {
			p.ready = time.Since(begun)
			return p, nil
		}
		time.Sleep(2 * time.Millisecond)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return nil, fmt.Errorf("%s was not ready within 30 s: %s", cmd.Path, p.output)
}

func answers(url string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func (p *process) stop(signal syscall.Signal) error {
	if err := p.cmd.Process.Signal(signal); err != nil {
		return err
	}
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

// cpu returns the CPU time that the process has used.
func (p *process) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond, err
}

// rss returns the memory of the process in MiB.
func (p *process) rss() (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.Atoi(strings.Fields(value)[0])
			return float64(kib) / 1024, err
		}
	}
	return 0, errors.New("no VmRSS")
}
