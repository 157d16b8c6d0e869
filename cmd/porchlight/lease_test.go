package main_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/store/enginetest"
)

// leaseWithin is how long a start may take on a store whose server was killed: the
// duration of the lease and a very slow start.
const leaseWithin = time.Minute

// TestOneServerOnNATS: a second server on a store on NATS is refused with a message
// that tells the operator what to do. After kill -9 of the first, the next one starts
// by itself.
func TestOneServerOnNATS(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	nats, dir := enginetest.StartNATS(t), t.TempDir()
	env := append(os.Environ(), "PORCHLIGHT_STORE=nats://"+nats.Host, "PORCHLIGHT_STORE_REPLICAS=1")
	for name, user := range map[string]string{"PORCHLIGHT_STORE_CREDENTIALS": nats.User, "PORCHLIGHT_STORE_SYSTEM_CREDENTIALS": nats.System} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(user+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		env = append(env, name+"="+file)
	}
	initialise := exec.CommandContext(ctx, binary, "init")
	initialise.Env = env
	if out, err := initialise.CombinedOutput(); err != nil {
		t.Fatalf("porchlight init: %v\n%s", err, out)
	}
	launch := func() *process {
		p := &process{ended: make(chan struct{}), out: output{grown: make(chan struct{}, 1)}}
		p.Cmd = exec.CommandContext(ctx, binary, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--json", "--access-log", "off", "--drain-delay", "0s")
		p.Env, p.Stdout, p.Stderr = env, &p.out, &p.errs
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		go func() {
			_ = p.Wait() // ProcessState has the result
			close(p.ended)
		}()
		t.Cleanup(p.kill)
		return p
	}
	ready := func(p *process) {
		t.Helper()
		for !p.out.hasLine() {
			select {
			case <-p.out.grown:
			case <-p.ended:
				t.Fatalf("the server exited at its start: %v\n%s", p.ProcessState, p.errs.String())
			}
		}
	}
	first := launch()
	ready(first)
	second := launch()
	<-second.ended
	if code, stderr := second.ProcessState.ExitCode(), second.errs.String(); code != 1 || !strings.Contains(stderr, "another porchlight uses the store") || !strings.Contains(stderr, "stop the other one") {
		t.Errorf("a second server exited with %d: %s", code, stderr)
	}
	if !first.alive() {
		t.Fatalf("the first server ended: %s", first.errs.String())
	}
	first.kill()
	begun := time.Now()
	third := launch()
	ready(third)
	if took := time.Since(begun); took > leaseWithin {
		t.Errorf("after kill -9 the next start took %v", took)
	}
	if err := third.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	<-third.ended
	ready(launch()) // immediately: the lease was released
}
