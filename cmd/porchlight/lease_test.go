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

// TestServersOnNATS: servers start beside each other on a store on NATS, also after kill -9 of
// one. A command that uses the store exclusively is refused while one runs.
func TestServersOnNATS(t *testing.T) {
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
	ready(second)
	first.kill()
	third := launch()
	ready(third)
	listed := exec.CommandContext(ctx, binary, "app", "list", "--store", "nats://"+nats.Host)
	listed.Env = env
	if out, err := listed.CombinedOutput(); err == nil || !strings.Contains(string(out), "another porchlight uses the store") || !strings.Contains(string(out), "stop all nodes") {
		t.Errorf("a command that uses the store exclusively: %v\n%s", err, out)
	}
	for _, p := range []*process{second, third} {
		if err := p.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		<-p.ended
		if code := p.ProcessState.ExitCode(); code != 0 {
			t.Errorf("a server exited with %d: %s", code, p.errs.String())
		}
	}
}
