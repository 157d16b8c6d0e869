package main_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/leveltest"
)

// A fault is an error that strace injects in place of the result of a system call.
type fault struct {
	calls string // system calls, separated by commas
	errno string
	files string // the kind of store files that it applies to
	when  int    // the nth call of a thread
}

func (f fault) String() string {
	return fmt.Sprintf("%s of %s %s %d", f.errno, f.files, f.calls, f.when)
}

const (
	syncs  = "fsync,fdatasync"
	writes = "write,pwrite64"

	logs      = "logs"      // written and synced before anything is acknowledged
	directory = "directory" // synced when a log is created
	tables    = "tables"    // created by a flush of the logs
	manifests = "manifests" // appended to by a flush
)

// grace is how long changes may be acknowledged after the failing call: the time until
// the store learns of the failure, if changes do not depend on the failing operation.
func (f fault) grace() time.Duration {
	if f.files == tables || f.files == manifests {
		return redWithin
	}
	return 0
}

// faults returns the faults of TestInjectedFaults.
func faults(t *testing.T) []fault {
	t.Helper()
	nth, errors := leveltest.Count(t, "system calls that fail", 4, 10, 50), []string{"EIO"}
	if nth == 50 {
		errors = []string{"EIO", "ENOSPC", "EDQUOT"}
	}
	var all []fault
	for _, errno := range errors {
		for n := 1; n <= nth; n++ {
			all = append(all, fault{syncs, errno, logs, n})
			if errno == "EIO" {
				all = append(all, fault{writes, errno, logs, n})
			}
		}
	}
	for _, files := range []string{tables, manifests} {
		all = append(all, fault{syncs, "EIO", files, 1}, fault{writes, "EIO", files, 1})
	}
	return append(all, fault{syncs, "EIO", directory, 1})
}

// Time limits after a failing call. The contract of /readyz is a second: the test logs
// what it measured, which a slow machine prolongs.
const (
	redWithin  = 20 * time.Second
	endsWithin = time.Minute // from the start of the load, which makes the call
)

// TestInjectedFaults: when the nth write or sync of the store fails, no later change is
// acknowledged, and /readyz soon reports 503 or the process has exited. The process
// exits by itself with a failure status and a message that tells the operator
// what to do, and after a restart everything acknowledged is present.
func TestInjectedFaults(t *testing.T) {
	all := faults(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(len(all))*30*time.Second)
	defer cancel()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal("strace is needed: apt-get install strace, or run tools/test-tools")
	}
	// With a small write buffer the store flushes after some hundred changes.
	x := &faulty{in: install(ctx, t, t.TempDir(), "--write-buffer-size", "1MiB"), strace: strace}
	p := x.in.start(ctx, t)
	x.fill(ctx, t, p)
	for _, f := range all {
		x.runUntilExit(ctx, t, p, f)
		p = x.in.start(ctx, t)
		if err := x.verify(ctx, p); err != nil {
			t.Fatalf("after %v: %v", f, err)
		}
	}
	p.stop(t)
	t.Logf("%d faults, injected %d times; %d changes acknowledged, %d in doubt; /readyz reported 503 after at most %v, the process exited after at most %v",
		len(all), x.fired, x.acked.Load(), x.doubtful.Load(), x.red, x.ended)
	if n := x.acked.Load(); n < int64(10*len(all)) {
		t.Errorf("INVALID: only %d changes were acknowledged", n)
	}
}

type faulty struct {
	ledger
	in         *installation
	strace     string
	fired      int           // number of injections
	red, ended time.Duration // maximum
}

// runUntilExit runs the workers until the fault has terminated the process.
func (x *faulty) runUntilExit(ctx context.Context, t *testing.T, p *process, f fault) {
	t.Helper()
	injected := inject(ctx, t, x.strace, p, filepath.Join(x.in.dir, "store"), f)
	red := watchReady(ctx, p)
	wait := x.workAll(ctx, t, p)
	select {
	case <-p.ended:
	case <-time.After(endsWithin):
		t.Fatalf("%v: the process did not exit", f)
	}
	ended := time.Now()
	wait()
	at, n := injected()
	if n == 0 {
		t.Fatalf("INVALID: %v: strace injected nothing, and the process ended with %v\n%s", f, p.ProcessState, p.errs.String())
	}
	x.fired += n
	after, late := x.began.time().Sub(at), (<-red).Sub(at)
	x.red, x.ended = max(x.red, late), max(x.ended, ended.Sub(at))
	if after > f.grace() {
		t.Errorf("%v: ACKNOWLEDGED a change that was requested %v after it", f, after)
	}
	if late > redWithin {
		t.Errorf("%v: /readyz reported 503 only after %v", f, late)
	}
	if code := p.ProcessState.ExitCode(); code <= 0 {
		t.Errorf("%v: the process ended with %v", f, p.ProcessState)
	}
	if last := lastLine(p.errs.String()); !strings.Contains(last, "check the disk under "+x.in.dir+", then restart it") {
		t.Errorf("%v: the last message does not tell the operator what to do: %s", f, last)
	}
}

// inject attaches strace to the process. The returned function waits for strace to end,
// and returns the time of the first injected error and the number of errors.
func inject(ctx context.Context, t *testing.T, strace string, p *process, dir string, f fault) func() (first time.Time, n int) {
	t.Helper()
	record := filepath.Join(t.TempDir(), "strace")
	args := []string{
		"-f", "-qq", "-ttt", "-p", strconv.Itoa(p.Process.Pid), "-o", record,
		"-e", "trace=" + f.calls, "-e", fmt.Sprintf("inject=%s:error=%s:when=%d", f.calls, f.errno, f.when),
	}
	for _, name := range storeFiles(t, dir, f.files) {
		args = append(args, "-P", name)
	}
	cmd := exec.CommandContext(ctx, strace, args...)
	stderr := new(output)
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // strace exits as the process does
		close(ended)
	}()
	for !traced(t, p.Process.Pid) {
		select {
		case <-ended:
			t.Fatalf("strace cannot attach to the program: %s; allow ptrace to this user (kernel.yama.ptrace_scope=0, or CAP_SYS_PTRACE in a container)", stderr.String())
		case <-time.After(time.Millisecond):
		}
	}
	return func() (time.Time, int) {
		<-ended
		return readInjected(t, record)
	}
}

// storeFiles returns the paths of a kind of store files: existing ones, and those that
// the store may create next.
func storeFiles(t *testing.T, dir, kind string) []string {
	t.Helper()
	suffix := map[string]string{logs: ".log", tables: ".sst"}[kind]
	if kind == directory {
		return []string{dir}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "MANIFEST-") == (kind == manifests) && strings.HasSuffix(e.Name(), suffix) {
			found = append(found, filepath.Join(dir, e.Name()))
		}
	}
	last := lastFile(t, dir)
	for n := last + 1; n < last+100 && suffix != ""; n++ {
		found = append(found, filepath.Join(dir, fmt.Sprintf("%06d%s", n, suffix)))
	}
	return found
}

// lastFile returns the number of the newest log or table of the store.
func lastFile(t *testing.T, dir string) int {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	last := 0
	for _, e := range entries {
		var number int
		if _, err := fmt.Sscanf(e.Name(), "%d.", &number); err == nil {
			last = max(last, number)
		}
	}
	return last
}

// traced reports whether every thread of a process has a tracer.
func traced(t *testing.T, pid int) bool {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("the threads of %d cannot be listed: %v", pid, err)
	}
	for _, task := range tasks {
		if text, err := os.ReadFile(task); err == nil && strings.Contains(string(text), "TracerPid:\t0\n") {
			return false
		}
	}
	return true
}

// readInjected returns the time of the first error that strace injected, and the number
// of errors.
func readInjected(t *testing.T, record string) (first time.Time, n int) {
	t.Helper()
	file, err := os.Open(record)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if !strings.Contains(lines.Text(), "(INJECTED)") {
			continue
		}
		var pid int
		var at float64
		if _, err := fmt.Sscan(lines.Text(), &pid, &at); err != nil {
			t.Fatalf("strace wrote %q: %v", lines.Text(), err)
		}
		if n++; n == 1 {
			first = time.UnixMicro(int64(at * 1e6))
		}
	}
	return first, n
}

// watchReady sends the time at which /readyz first reported 503 or the process had
// exited.
func watchReady(ctx context.Context, p *process) <-chan time.Time {
	red := make(chan time.Time, 1)
	go func() {
		for p.alive() {
			if status, _ := p.readyz(ctx); status != http.StatusOK {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		red <- time.Now()
	}()
	return red
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
