package main_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/leveltest"
)

// TestDemoKilled: a demo that is killed at any time, during setup or later, starts
// again on the same directory, any number of times.
func TestDemoKilled(t *testing.T) {
	// Half of the runs of the last demo are ready: more than the limit of sessions of a user
	// by one app.
	kills := leveltest.Count(t, "kills of a demo", 64, 64, 500)
	setups := leveltest.Count(t, "kills of a demo during its setup", 12, 32, 250)
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(kills+setups)*30*time.Second)
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
	mustBeReady := func(p *process, when string) {
		t.Helper()
		if !ready(p, time.Minute) {
			t.Fatalf("%s: the demo is not ready after a minute: %s", when, p.errs.String())
		}
	}
	setup := time.Hour
	for i := range 3 { // the shortest: the machine may be busy during one
		dir = filepath.Join(all, fmt.Sprint("first", i))
		began := time.Now()
		p := demo()
		mustBeReady(p, "the first run")
		setup = min(setup, time.Since(began))
		p.kill()
	}
	early := 0
	for i := range setups { // kill the first run at different times during setup
		dir = filepath.Join(all, fmt.Sprint("demo", i))
		after := setup * time.Duration(i) / time.Duration(setups)
		p := demo()
		if !ready(p, after) {
			early++
		}
		p.kill()
		again := demo()
		mustBeReady(again, fmt.Sprint("after a kill at ", after))
		again.kill()
	}
	for i := range kills { // kill runs that continue the last demo, half of them when they are ready
		p := demo()
		if i%2 == 0 {
			mustBeReady(p, "a later run")
			time.Sleep(rand.N(200 * time.Millisecond))
		} else if !ready(p, rand.N(setup)) {
			early++
		}
		p.kill()
	}
	p := demo()
	mustBeReady(p, "the last run")
	p.kill()
	t.Logf("%d of %d were killed before they were ready", early, setups+kills)
	if early < kills/8 {
		t.Error("INVALID: the kills did not hit both setup and later runs")
	}
}
