package main_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestDemoKilled: a demo that is killed at any time, during setup or later, starts
// again on the same directory, any number of times.
func TestDemoKilled(t *testing.T) {
	kills := 64 // half of them after it is ready: more than the limit of sessions of a user by one app
	if soak() {
		kills = 500
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(kills)*30*time.Second)
	defer cancel()
	all := t.TempDir()
	dir := filepath.Join(all, "demo")
	demo := func() *process {
		p := &process{ended: make(chan struct{}), out: output{grown: make(chan struct{}, 1)}}
		p.Cmd = exec.CommandContext(ctx, binary, "demo", "--data-dir", dir, "--listen", "127.0.0.1:0", "--quiet-users", "--json")
		p.Stdout, p.Stderr = &p.out, &p.errs
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
	ready := func(p *process, limit time.Duration) bool {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		for !p.out.hasLine() {
			select {
			case <-p.out.grown:
			case <-timer.C:
				return false
			case <-p.ended:
				t.Fatalf("the demo exited at its start: %v\n%s", p.ProcessState, p.errs.String())
			}
		}
		return true
	}
	early := 0
	for i := range kills / 2 { // kill the first run at different times during setup
		dir = filepath.Join(all, fmt.Sprint("demo", i))
		p := demo()
		if !ready(p, time.Duration(i+1)*6*time.Millisecond) {
			early++
		}
		p.kill()
		again := demo()
		if !ready(again, time.Minute) {
			t.Fatalf("after %d ms: the demo is not ready after a minute: %s", (i+1)*6, again.errs.String())
		}
		again.kill()
	}
	for range kills { // kill runs that continue an existing demo
		p := demo()
		if !ready(p, 200*time.Millisecond+rand.N(3*time.Second)) {
			early++
		}
		p.kill()
	}
	p := demo()
	if !ready(p, time.Minute) {
		t.Fatalf("the demo is not ready after a minute: %s", p.errs.String())
	}
	p.kill()
	t.Logf("%d of %d were killed before they were ready", early, kills)
	if early < kills/8 {
		t.Error("INVALID: the kills did not hit both setup and later runs")
	}
}
