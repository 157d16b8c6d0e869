package main_test

import (
	"cmp"
	"context"
	"math/rand/v2"
	"strconv"
	"syscall"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/leveltest"
)

// Parameters of TestKill, and what makes a run valid.
const (
	leastAcked     = 10 // per cycle, on average
	leastFast      = 5  // likewise
	leastLoaded    = 0.9
	leastStarting  = 0.25
	leastDraining  = 0.25
	killCycleLimit = 30 * time.Second // on average, on a very slow machine
)

// TestKill: kill -9 loses nothing that was acknowledged or shown, whether the server is
// running, starting or stopping. It invents nothing and reuses no revision. A change
// without an answer may or may not be present after the restart, and then stays so.
//
// Every cycle ends with a kill under load, one in ten of them after a SIGTERM; before
// one in five the server is killed while it starts as well. Statuses are set on the fast
// path, in one cycle of four without it.
func TestKill(t *testing.T) {
	cycles := leveltest.Count(t, "kills of a server", 30, 100, 5000)
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(cycles)*killCycleLimit)
	defer cancel()
	flags := []string{"--drain-delay", "20ms"}
	k := &killing{in: install(ctx, t, t.TempDir(), flags...)}
	for cycle := range cycles {
		k.in.flags = append(flags, "--fast-path="+strconv.FormatBool(cycle%4 != 1))
		if cycle%5 == 3 {
			k.killStart(ctx, t)
		}
		p := k.start(ctx, t)
		if cycle == 0 {
			k.fill(ctx, t, p)
		}
		k.check(ctx, t, p, cycle)
		k.load(ctx, t, p, cycle%10 == 7)
	}
	p := k.start(ctx, t)
	k.check(ctx, t, p, cycles)
	p.stop(t)
	t.Logf("%d cycles: %d changes acknowledged, %d in doubt, %d requests answered on the fast path; killed under load %d of %d, stopping %d of %d, starting %d of %d; slowest start %v",
		cycles, k.acked.Load(), k.doubtful.Load(), k.onFastPath, k.underLoad.did, k.underLoad.of, k.stopping.did, k.stopping.of, k.starting.did, k.starting.of, k.slowest)
	if n := k.acked.Load(); n < int64(leastAcked*cycles) {
		t.Errorf("INVALID: only %d changes were acknowledged", n)
	}
	if k.onFastPath < leastFast*cycles {
		t.Errorf("INVALID: only %d requests were answered on the fast path", k.onFastPath)
	}
	k.underLoad.atLeast(t, "killed under load", leastLoaded)
	k.stopping.atLeast(t, "killed while they stopped", leastDraining)
	k.starting.atLeast(t, "killed while they started", leastStarting)
}

type killing struct {
	ledger
	in                            *installation
	underLoad, stopping, starting tally
	slowest, fastest              time.Duration // start
	onFastPath                    int           // requests that were answered there
}

// A tally counts how often an attempt succeeded.
type tally struct{ did, of int }

func (n *tally) count(did bool) {
	n.of++
	if did {
		n.did++
	}
}

func (n *tally) atLeast(t *testing.T, what string, share float64) {
	t.Helper()
	if float64(n.did) < share*float64(n.of) || n.of == 0 {
		t.Errorf("INVALID: only %d of %d servers were %s", n.did, n.of, what)
	}
}

func (k *killing) start(ctx context.Context, t *testing.T) *process {
	t.Helper()
	began := time.Now()
	p := k.in.start(ctx, t)
	took := time.Since(began)
	k.slowest, k.fastest = max(k.slowest, took), min(cmp.Or(k.fastest, took), took)
	return p
}

// killStart kills a server during its start, possibly after it began to serve.
func (k *killing) killStart(ctx context.Context, t *testing.T) {
	t.Helper()
	p := k.in.launch(ctx, t)
	time.Sleep(rand.N(k.fastest))
	p.kill()
	k.starting.count(p.killed() && !p.out.hasLine())
}

func (k *killing) check(ctx context.Context, t *testing.T, p *process, cycle int) {
	t.Helper()
	if err := k.verify(ctx, p); err != nil {
		t.Fatalf("after cycle %d: %v", cycle, err)
	}
}

// load runs the workers until the server is killed, possibly while it stops.
func (k *killing) load(ctx context.Context, t *testing.T, p *process, stops bool) {
	t.Helper()
	doubtful := k.doubtful.Load()
	wait := k.workAll(ctx, t, p)
	awaitCount(ctx, p, &k.acked, k.acked.Load()+leastAcked)
	time.Sleep(20*time.Millisecond + rand.N(150*time.Millisecond))
	k.onFastPath += p.metric(ctx, "porchlight_fast_path_answered_total")
	if stops {
		if err := p.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		time.Sleep(rand.N(60 * time.Millisecond))
	}
	p.kill()
	wait()
	if stops {
		k.stopping.count(p.killed())
		if !p.killed() && p.ProcessState.ExitCode() != 0 {
			t.Errorf("after SIGTERM the server ended with %v\n%s", p.ProcessState, p.errs.String())
		}
	} else {
		k.underLoad.count(p.killed() && k.doubtful.Load() > doubtful)
	}
	if t.Failed() {
		t.FailNow()
	}
}
