package netns_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// The environment of this program when it runs again.
const (
	insideVariable = "CLUSTER_TEST_INSIDE" // in namespaces of its own; the value is a directory with what was built
	serverVariable = "CLUSTER_TEST_NATS"   // as a NATS server, with this configuration file
)

// TestMain runs the tests in namespaces of network, mounts and processes that end with this
// program, however it ends: the kernel then kills their processes and removes their links and
// mounts.
func TestMain(m *testing.M) {
	var code int
	var err error
	switch config, built := os.Getenv(serverVariable), os.Getenv(insideVariable); {
	case config != "":
		err = runServer(config)
	case built == "":
		code, err = enter()
	default:
		if err = prepare(built); err == nil {
			code = m.Run()
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code) //nolint:forbidigo // as main does
}

// enter builds the programs and runs this one again in new namespaces.
func enter() (code int, err error) {
	if os.Geteuid() != 0 {
		return 0, errors.New("these tests make network namespaces, which needs root: run \"sudo make cluster-test\"")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return 0, errors.New("these tests need the command ip: apt-get install iproute2")
	}
	dir, err := os.MkdirTemp("", "cluster-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if err := build(dir, "../../cmd/porchlight", "./node"); err != nil {
		return 0, err
	}
	runtime.LockOSThread() // Pdeathsig is sent when the thread ends that started the process
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideVariable+"="+dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	err = cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); ended {
		return max(cmd.ProcessState.ExitCode(), 1), nil
	}
	return 0, err
}

// build builds programs into a directory, each under the name of its package.
func build(dir string, packages ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	args := append([]string{"build", "-o", dir + string(filepath.Separator)}, packages...)
	if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// prepare makes the namespaces usable: their own /proc, loopback, and an empty directory of
// names of network namespaces. The data of all servers is in memory.
func prepare(built string) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("the mounts cannot be made private: %w", err)
	}
	data := dataDir(built)
	for _, dir := range []string{"/run/netns", data} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	for dir, kind := range map[string]string{"/proc": "proc", "/run/netns": "tmpfs", data: "tmpfs"} {
		if err := syscall.Mount(kind, dir, kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	return ip("link", "set", "lo", "up")
}

func dataDir(built string) string { return filepath.Join(built, "data") }

func program(name string) string { return filepath.Join(os.Getenv(insideVariable), name) }
