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
	"porchlight.dev/porchlight/internal/leveltest"
)

// inNamespace is set when a test runs in its own mount namespace.
const inNamespace = "TEST_NAMESPACE"

// Time limits of TestFullDisk.
const (
	refusedWithin   = 30 * time.Second // after the disk became full
	recoveredWithin = 30 * time.Second // after space became available
	fullFor         = 1500 * time.Millisecond
)

// TestFullDisk: when another program fills a small disk, gradually or in one step,
// writes are refused with 507, reads still work, and the process keeps running. When
// space becomes available, writes resume without a restart. Everything acknowledged is
// present after a kill.
func TestFullDisk(t *testing.T) {
	if os.Getenv(inNamespace) == "" {
		runInNamespace(t)
		return
	}
	cycles := leveltest.Count(t, "times that the disk is full", 2, 4, 50)
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(cycles)*2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	in := install(ctx, t, dir, "--low-disk", "8MiB", "--write-buffer-size", "1MiB", "--drain-delay", "0s")
	f := &fullDisk{in: in, disk: mountTmpfs(t, filepath.Join(dir, "disk"), "96m")}
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
		if err := f.checkReads(work, p); err != nil {
			t.Error(err)
		}
	})
	for cycle := range cycles {
		time.Sleep(300*time.Millisecond + rand.N(400*time.Millisecond))
		awaitCount(ctx, p, &f.acked, f.acked.Load()+500)
		f.cycle(ctx, t, p, cycle%2 == 0)
	}
	stop()
	wait()
	reads.Wait()
	f.checkAllAnswered(t)
	fillDisk(t, f.ballast(), true)
	in.keepToken = true // issuing a new token is a write
	p.kill()
	p = in.start(ctx, t) // starts on the full disk
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
}

// Limits of a store on a small disk beyond its data.
const (
	smallChanges = 5000
	smallLimit   = 32 << 20 // including the reserve of 16 MiB
)

// TestSmallDisk: with default settings a server works on a disk of 200 MiB. The disk
// never becomes full, and after a clean stop the directory is small.
func TestSmallDisk(t *testing.T) {
	if os.Getenv(inNamespace) == "" {
		runInNamespace(t)
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	dir := t.TempDir()
	in := install(ctx, t, dir, "--drain-delay", "0s")
	var f ledger
	disk := mountTmpfs(t, filepath.Join(dir, "disk"), "200m")
	in.moveTo(t, disk)
	for range 2 { // the second start uses the directory of the first
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

// usedBytes returns the used space of a mounted disk.
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
	disk           string // mount point
	user           string // a signed-in user whom no other worker changes
	reads          atomic.Int64
	refusing, back time.Duration // maximum
}

func (f *fullDisk) ballast() string { return filepath.Join(f.disk, "ballast") }

// cycle fills the disk, checks the server, and frees the space.
func (f *fullDisk) cycle(ctx context.Context, t *testing.T, p *process, atOnce bool) {
	t.Helper()
	fillDisk(t, f.ballast(), atOnce)
	full := time.Now()
	var err error
	for err == nil && time.Since(full) < refusedWithin {
		err = f.put(ctx, p)
	}
	refusing, refused, reads := time.Now(), f.refused.Load(), f.reads.Load()
	f.refusing = max(f.refusing, refusing.Sub(full))
	expectDiskFull(t, "PUT presence_status", err)
	_, err = p.SetNote(ctx, f.user, api.SetNote{Text: "there is no space"})
	expectDiskFull(t, "PUT note", err)
	if !client.Is(err, &api.DiskFull) {
		t.Errorf("PUT note: %v, want a problem %s", err, api.DiskFull.Slug)
	}
	time.Sleep(fullFor)
	awaitCount(ctx, p, &f.refused, refused+50)
	awaitCount(ctx, p, &f.reads, reads+500)
	if began := f.began.time(); began.After(refusing) {
		t.Errorf("a change was acknowledged that was requested %v after one was refused", began.Sub(refusing))
	}
	status, body := p.readyz(ctx) // which waits for the store for a second
	for end := time.Now().Add(time.Minute); status != http.StatusOK && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		status, body = p.readyz(ctx)
	}
	if status != http.StatusOK || !strings.HasPrefix(body, "ready for reads") {
		t.Errorf("/readyz is %d %q", status, body)
	}
	if err := os.Remove(f.ballast()); err != nil {
		t.Fatal(err)
	}
	freed := time.Now()
	for err = f.put(ctx, p); err != nil && time.Since(freed) < recoveredWithin; err = f.put(ctx, p) {
		time.Sleep(5 * time.Millisecond)
	}
	f.back = max(f.back, time.Since(freed))
	if err != nil {
		t.Errorf("%v after space became available: %v", time.Since(freed), err)
	}
	if !p.alive() {
		t.Fatalf("the server ended: %v\n%s", p.ProcessState, p.errs.String())
	}
}

func (f *fullDisk) put(ctx context.Context, p *process) error {
	_, err := p.SetZoomStatus(ctx, f.user, "Busy", 0)
	return err
}

// expectDiskFull checks a refusal and that it has Retry-After.
func expectDiskFull(t *testing.T, what string, err error) {
	t.Helper()
	e, ok := errors.AsType[*client.Error](err)
	if !ok || e.Status != http.StatusInsufficientStorage || e.RetryAfter <= 0 {
		t.Errorf("%s on a full disk: %v, want 507 with Retry-After", what, err)
	}
	if ok && e.Problem == nil && e.Code != http.StatusInsufficientStorage {
		t.Errorf("%s on a full disk: the code is %d, want 507", what, e.Code)
	}
}

// checkReads reads over every route and expects success.
func (f *fullDisk) checkReads(ctx context.Context, p *process) error {
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

// checkAllAnswered checks that every request was answered, except for those in flight
// at the end of the test.
func (f *fullDisk) checkAllAnswered(t *testing.T) {
	t.Helper()
	open := 0
	for _, all := range f.things {
		for _, th := range all {
			if th.doubt != "" && !th.needsSeveralWrites() {
				open++
			}
		}
	}
	if open > workers { // each may have had one request in flight
		t.Errorf("%d changes have no answer", open)
	}
}

// fillDisk fills the disk of a file: gradually, as fast as the disk allows, or in one
// step.
func fillDisk(t *testing.T, ballast string, atOnce bool) {
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

// mountTmpfs mounts a disk of a given size. It disappears with the namespace.
func mountTmpfs(t *testing.T, at, size string) string {
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

// runInNamespace runs this test again in a mount namespace of its own.
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
