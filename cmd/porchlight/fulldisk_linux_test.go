package main_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

// inNamespace is set in the test that runs itself in a mount namespace of its own.
const inNamespace = "PORCHLIGHT_TEST_NAMESPACE"

// What a full disk may take.
const (
	refusedWithin = time.Second     // of there being no space
	backWithin    = 5 * time.Second // of there being space again
	fullFor       = 1500 * time.Millisecond
)

// TestFullDisk: when another program takes all of a small disk, bit by bit or at
// once, writes are refused with 507, reads and the process go on, and when it gives
// the space back writes come back by themselves. Everything acknowledged is there
// after a kill.
func TestFullDisk(t *testing.T) {
	if os.Getenv(inNamespace) == "" {
		runInNamespace(t)
		return
	}
	cycles := 4
	if soak() {
		cycles = 50
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(cycles)*15*time.Second)
	defer cancel()
	dir := t.TempDir()
	in := install(ctx, t, dir, "--low-disk", "8MiB", "--write-buffer-size", "1MiB", "--drain-delay", "0s")
	f := &fullDisk{in: in, disk: mountSmall(t, filepath.Join(dir, "disk"), "96m")}
	in.moveTo(t, f.disk)
	p := in.start(ctx, t)
	f.fill(ctx, t, p)
	f.user = newUser(ctx, t, p.Client, "probe@example.com")
	if _, err := p.SignIn(ctx, f.user, desktop()); err != nil {
		t.Fatal(err)
	}
	work, stop := context.WithCancel(ctx)
	defer stop()
	wait := f.workAll(work, t, p)
	var reads sync.WaitGroup
	reads.Go(func() {
		if err := f.readOn(work, p); err != nil {
			t.Error(err)
		}
	})
	for cycle := range cycles {
		time.Sleep(300*time.Millisecond + rand.N(400*time.Millisecond))
		f.cycle(ctx, t, p, cycle%2 == 0)
	}
	stop()
	wait()
	reads.Wait()
	f.noneLost(t)
	takeAll(t, f.ballast(), true)
	in.keepToken = true // a new one is a write
	p.kill()
	p = in.start(ctx, t) // on the full disk
	if _, err := p.ZoomStatus(ctx, f.user); err != nil {
		t.Errorf("a read after a start on a full disk: %v", err)
	}
	if err := f.verify(ctx, p); err != nil {
		t.Error(err)
	}
	if err := os.Remove(f.ballast()); err != nil {
		t.Error(err)
	}
	p.stop(t)
	t.Logf("%d cycles: %d changes acknowledged, %d refused, %d reads; 507 after %v at most, writes back after %v at most",
		cycles, f.acked.Load(), f.refused.Load(), f.reads.Load(), f.refusing, f.back)
	if f.acked.Load() < 1000 || f.refused.Load() < 100 || f.reads.Load() < 1000 {
		t.Error("INVALID: too little was done")
	}
}

// What a store on a small disk may take beside its data.
const (
	smallChanges = 5000
	smallLimit   = 32 << 20 // 16 MiB of which are the reserve
)

// TestSmallDisk: with the settings of an ordinary disk a server works on one of
// 200 MiB. It never finds that full, and after a clean stop the directory is small.
func TestSmallDisk(t *testing.T) {
	if os.Getenv(inNamespace) == "" {
		runInNamespace(t)
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	dir := t.TempDir()
	in := install(ctx, t, dir, "--drain-delay", "0s")
	var f ledger
	disk := mountSmall(t, filepath.Join(dir, "disk"), "200m")
	in.moveTo(t, disk)
	for range 2 { // the second start finds what the first left
		p := in.start(ctx, t)
		if f.acked.Load() == 0 {
			f.fill(ctx, t, p)
		}
		work, stop := context.WithCancel(ctx)
		wait := f.workAll(work, t, p)
		for want := f.acked.Load() + smallChanges; f.acked.Load() < want && f.refused.Load() == 0 && ctx.Err() == nil; {
			time.Sleep(10 * time.Millisecond)
		}
		stop()
		wait()
		if n := f.refused.Load(); n > 0 {
			t.Fatalf("%d changes were refused, %d acknowledged; the disk has %d MiB in use", n, f.acked.Load(), usedBytes(t, disk)>>20)
		}
		running := usedBytes(t, disk)
		p.stop(t)
		stopped := usedBytes(t, disk)
		t.Logf("%d changes acknowledged; %d MiB in use, %d after a clean stop", f.acked.Load(), running>>20, stopped>>20)
		if stopped > smallLimit {
			t.Errorf("after a clean stop %d MiB are in use, more than %d", stopped>>20, smallLimit>>20)
		}
	}
	p := in.start(ctx, t)
	if err := f.verify(ctx, p); err != nil {
		t.Error(err)
	}
	p.stop(t)
}

// usedBytes is what is in use on the disk that is mounted at a place.
func usedBytes(t *testing.T, at string) uint64 {
	t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(at, &s); err != nil {
		t.Fatal(err)
	}
	return (s.Blocks - s.Bfree) * uint64(s.Bsize)
}

type fullDisk struct {
	ledger
	in             *installation
	disk           string // where it is mounted
	user           string // who is signed in, and whom nobody else changes
	reads          atomic.Int64
	refusing, back time.Duration // the longest
}

func (f *fullDisk) ballast() string { return filepath.Join(f.disk, "ballast") }

// cycle fills the disk, looks, and frees it.
func (f *fullDisk) cycle(ctx context.Context, t *testing.T, p *process, atOnce bool) {
	t.Helper()
	takeAll(t, f.ballast(), atOnce)
	full := time.Now()
	var err error
	for err == nil && time.Since(full) < refusedWithin {
		err = f.put(ctx, p)
	}
	f.refusing = max(f.refusing, time.Since(full))
	wantFull(t, "PUT presence_status", err)
	_, err = p.SetNote(ctx, f.user, api.SetNote{Text: "there is no space"})
	wantFull(t, "PUT note", err)
	if !client.Is(err, &api.DiskFull) {
		t.Errorf("PUT note: %v, want a problem %s", err, api.DiskFull.Slug)
	}
	time.Sleep(fullFor)
	if began := f.began.time(); began.After(full.Add(refusedWithin)) {
		t.Errorf("a change was acknowledged that was asked for %v after there was no space", began.Sub(full))
	}
	if status, says := p.readyz(ctx); status != http.StatusOK || !strings.HasPrefix(says, "ready for reads") {
		t.Errorf("/readyz is %d %q", status, says)
	}
	if err := os.Remove(f.ballast()); err != nil {
		t.Fatal(err)
	}
	freed := time.Now()
	for err = f.put(ctx, p); err != nil && time.Since(freed) < backWithin; err = f.put(ctx, p) {
		time.Sleep(5 * time.Millisecond)
	}
	f.back = max(f.back, time.Since(freed))
	if err != nil {
		t.Errorf("%v after there is space: %v", time.Since(freed), err)
	}
	if !p.alive() {
		t.Fatalf("the server ended: %v\n%s", p.ProcessState, p.errs.String())
	}
}

func (f *fullDisk) put(ctx context.Context, p *process) error {
	_, err := p.SetZoomStatus(ctx, f.user, "Busy", 0)
	return err
}

// wantFull checks a refusal, and that it says when to come again.
func wantFull(t *testing.T, what string, err error) {
	t.Helper()
	e, ok := errors.AsType[*client.Error](err)
	if !ok || e.Status != http.StatusInsufficientStorage || e.RetryAfter <= 0 {
		t.Errorf("%s on a full disk: %v, want 507 with Retry-After", what, err)
	}
	if ok && e.Problem == nil && e.Code != http.StatusInsufficientStorage {
		t.Errorf("%s on a full disk: the code is %d, want 507", what, e.Code)
	}
}

// readOn reads in every way that there is, and expects all of it to succeed.
func (f *fullDisk) readOn(ctx context.Context, p *process) error {
	for ctx.Err() == nil && p.alive() {
		_, err := p.ZoomStatus(ctx, f.user)
		if err == nil {
			_, err = p.Query(ctx, []string{f.user})
		}
		for _, listed := range p.Users(ctx) {
			err = errors.Join(err, listed)
			break
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("a read failed: %w", err)
		}
		f.reads.Add(3)
	}
	return nil
}

// noneLost: nobody waits for an answer in vain, but for the end of the test.
func (f *fullDisk) noneLost(t *testing.T) {
	t.Helper()
	open := 0
	for _, all := range f.things {
		for _, th := range all {
			if th.doubt != "" && !th.severalSteps() {
				open++
			}
		}
	}
	if open > workers { // each may have had one under way
		t.Errorf("%d changes have no answer", open)
	}
}

// takeAll leaves no space on the disk of the file: bit by bit, as fast as the disk
// is, or at once.
func takeAll(t *testing.T, ballast string, atOnce bool) {
	t.Helper()
	file, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if !atOnce {
		for err == nil {
			_, err = file.Write(make([]byte, 64<<10))
		}
	}
	var at int64
	for size := int64(64 << 20); atOnce && size >= 4096; {
		if err = syscall.Fallocate(int(file.Fd()), 0, at, size); err != nil {
			size /= 2
			continue
		}
		at += size
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
}

// moveTo moves the data directory to another disk.
func (in *installation) moveTo(t *testing.T, disk string) {
	t.Helper()
	to := filepath.Join(disk, "data")
	if err := os.CopyFS(to, os.DirFS(in.dir)); err != nil {
		t.Fatal(err)
	}
	in.dir = to
}

// mountSmall mounts a disk of a size, which is gone with the namespace.
func mountSmall(t *testing.T, at, size string) string {
	t.Helper()
	err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")
	if err == nil {
		err = os.Mkdir(at, 0o700)
	}
	if err == nil {
		err = syscall.Mount("tmpfs", at, "tmpfs", 0, "size="+size+",mode=0700")
	}
	if err != nil {
		t.Fatalf("mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(at, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return at
}

// runInNamespace runs this test once more, where it may mount what nobody else
// sees.
func runInNamespace(t *testing.T) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespace+"=1", binaryVariable+"="+binary)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	switch {
	case errors.Is(err, os.ErrPermission):
		t.Fatalf("%v: this test mounts a small disk in a namespace of its own: run it as root, or allow user namespaces (kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0)", err)
	case err != nil:
		t.Fatal(err)
	case !strings.Contains(string(out), "--- PASS: "+t.Name()):
		t.Fatal("INVALID: the test did not run in its namespace")
	}
}
