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
	"regexp"
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
	ended   chan struct{} // closed when the process has ended
	end     error         // set before ended is closed
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
	p, err := launch(cmd, address, admin, func() bool { return answers("http://" + admin + "/readyz") })
	if err != nil {
		if found := unknownFlag.FindString(err.Error()); found != "" {
			return nil, &errMissing{found}
		}
	}
	return p, err
}

var unknownFlag = regexp.MustCompile(`unknown flag --[a-z-]+`)

// An errMissing says what a measurement needs and does not find. The others go on.
type errMissing struct{ what string }

func (e *errMissing) Error() string { return e.what }

func isMissing(err error) bool {
	missing := (*errMissing)(nil)
	return errors.As(err, &missing)
}

// startSelf starts this program as a server of a comparison: with the flag kind, whose
// value is the server's address.
func startSelf(kind string, flags ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, append([]string{kind, address}, flags...)...)
	return launch(cmd, address, "", func() bool { return accepts(address) })
}

// launch starts a process and waits until it is ready.
func launch(cmd *exec.Cmd, address, admin string, ready func() bool) (*process, error) {
	p := &process{cmd: cmd, address: address, admin: admin, output: new(bytes.Buffer), ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = io.Discard, p.output
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.end = cmd.Wait()
		close(p.ended)
	}()
	for time.Since(begun) < 30*time.Second {
		if ready() {
			p.ready = time.Since(begun)
			return p, nil
		}
		select {
		case <-p.ended:
			return nil, fmt.Errorf("%s ended at once: %s", cmd, p.output)
		case <-time.After(2 * time.Millisecond):
		}
	}
	_ = p.stop(syscall.SIGKILL)
	return nil, fmt.Errorf("%s was not ready within 30 s: %s", cmd, p.output)
}

func accepts(address string) bool {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
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
	<-p.ended
	var exit *exec.ExitError
	if errors.As(p.end, &exit) {
		return nil
	}
	return p.end
}

// cpu returns the CPU time that the process and its children that have ended have used.
func (p *process) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	ticks := 0
	for _, field := range fields[11:15] { // utime, stime, cutime, cstime
		n, err := strconv.Atoi(field)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
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
