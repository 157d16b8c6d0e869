package server_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/server"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/backup"
	"porchlight.dev/porchlight/internal/store/pebblestore"
)

// heavy makes a data directory whose backup is larger than what lies between a
// writer and a reader of the control socket.
func heavy(t *testing.T, cfg config.Config) server.Credentials {
	t.Helper()
	made, err := server.Init(t.Context(), cfg, founding)
	if err != nil {
		t.Fatal(err)
	}
	st, err := pebblestore.Open(filepath.Join(cfg.DataDir, "store"), pebblestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		doc := store.Doc{Key: store.Key{Collection: "heavy", Key: strconv.Itoa(i)}, Value: make([]byte, 60<<10)}
		if err := st.Write(t.Context(), "heavy", doc); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	return made
}

// takeBackup makes a backup of a running or a stopped server.
func takeBackup(t *testing.T, dir string, online bool) []byte {
	t.Helper()
	var b bytes.Buffer
	report, err := server.Backup{DataDir: dir, To: &b}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if report.Online != online || report.Bytes != int64(b.Len()) {
		t.Errorf("%+v of %d bytes, want online: %v", report, b.Len(), online)
	}
	return b.Bytes()
}

// TestBackupAndRestore: what a running server acknowledged is in its backup, and in
// the server that is restored from it, where old cursors are of another epoch.
func TestBackupAndRestore(t *testing.T) {
	cfg := settings(t)
	r := start(t, cfg, server.Options{})
	if _, err := r.client.CreateUser(t.Context(), api.CreateUser{Email: "grace@example.com"}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.SignIn(t.Context(), "grace@example.com", api.SignIn{ClientType: "desktop"}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.SetZoomStatus(t.Context(), "grace@example.com", "Do_Not_Disturb", 60); err != nil {
		t.Fatal(err)
	}
	want, err := r.client.Presence(t.Context(), "grace@example.com")
	if err != nil {
		t.Fatal(err)
	}
	data := takeBackup(t, cfg.DataDir, true)
	if _, err := server.Verify(t.Context(), server.BackupFile{From: bytes.NewReader(data)}); err != nil {
		t.Error(err)
	}

	other := settings(t)
	other.DataDir = filepath.Join(t.TempDir(), "new", "data")
	report, err := server.Restore(t.Context(), other.DataDir, server.BackupFile{From: bytes.NewReader(data)})
	if err != nil {
		t.Fatal(err)
	}
	verified, err := server.VerifyDir(t.Context(), other.DataDir, nil)
	if err != nil || verified.Epoch == report.Epoch || verified.Records != report.Records || verified.Position != report.Position {
		t.Errorf("verified %+v, %v; restored %+v", verified, err, report)
	}
	again := run(t, other, server.Options{}, r.made)
	got, err := again.client.Presence(t.Context(), "grace@example.com")
	want.Cursor, got.Cursor = "", ""
	if err != nil || got != want {
		t.Errorf("restored is\n%+v, %v; want\n%+v", got, err, want)
	}
	again.stop(server.ErrInterrupted)
	if err := again.wait(t); err != nil {
		t.Error(err)
	}
	takeBackup(t, other.DataDir, false)
}

// TestControlSocket: it is there while the server runs, for its owner alone, also
// where the path is longer than the system takes, and after a server that was
// killed.
func TestControlSocket(t *testing.T) {
	for name, dir := range map[string]string{
		"short": filepath.Join(t.TempDir(), "data"),
		"long":  filepath.Join(t.TempDir(), strings.Repeat("long", 30), "data"),
	} {
		t.Run(name, func(t *testing.T) {
			cfg := settings(t)
			cfg.DataDir = dir
			r := start(t, cfg, server.Options{})
			path := filepath.Join(dir, "control.sock")
			info, err := os.Lstat(path)
			if err != nil || info.Mode() != fs.ModeSocket|0o600 {
				t.Fatalf("%v, %v", info, err)
			}
			takeBackup(t, dir, true)
			r.stop(server.ErrInterrupted)
			if err := r.wait(t); err != nil {
				t.Error(err)
			}
			if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("after the server: %v", err)
			}
			takeBackup(t, dir, false)
			if name == "short" {
				leaveSocket(t, path)
				takeBackup(t, dir, false)
			}
			run(t, cfg, server.Options{}, r.made)
			takeBackup(t, dir, true)
		})
	}
}

// leaveSocket leaves what a killed server does.
func leaveSocket(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestNoControlSocket: a server that cannot have one runs all the same, and one
// whose store is not in its data directory has none.
func TestNoControlSocket(t *testing.T) {
	cfg := settings(t)
	made, err := server.Init(t.Context(), cfg, founding)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(cfg.DataDir, "control.sock")
	if err := os.WriteFile(path, []byte("a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := run(t, cfg, server.Options{}, made)
	if !strings.Contains(r.log.String(), "no control socket") || !strings.Contains(r.log.String(), "is not a socket: remove it") {
		t.Errorf("the log does not say so:\n%s", r.log)
	}
	if _, err := r.client.Me(t.Context()); err != nil {
		t.Error(err)
	}
	_, err = server.Backup{DataDir: cfg.DataDir, To: io.Discard}.Run(t.Context())
	if !errors.Is(err, pebblestore.ErrLocked) || !strings.Contains(err.Error(), "does not answer on") {
		t.Errorf("a backup: %v", err)
	}
	r.stop(server.ErrInterrupted)
	if err := r.wait(t); err != nil {
		t.Error(err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "a file" {
		t.Errorf("the file: %q, %v", data, err)
	}

	st, err := pebblestore.Open(filepath.Join(cfg.DataDir, "store"), pebblestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	given := run(t, cfg, server.Options{Store: st}, made)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("with a store that was given: %v", err)
	}
	given.stop(server.ErrInterrupted)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestBackupAtTheEnd: a backup that runs when the server stops ends with
// the reason, or is cut off if nobody reads it; neither looks like a backup.
func TestBackupAtTheEnd(t *testing.T) {
	for name, c := range map[string]struct {
		reads bool
		want  string
	}{
		"a reader":  {true, "the server is stopping"},
		"no reader": {false, "the server cut the backup short"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := settings(t)
			r := run(t, cfg, server.Options{}, heavy(t, cfg))
			var b bytes.Buffer
			var once sync.Once
			to := writerFunc(func(p []byte) (int, error) {
				if b.Len() > 100<<10 {
					once.Do(func() {
						r.stop(server.ErrInterrupted)
						if c.reads {
							eventually(t, 5*time.Second, "stopping", func() bool { return strings.Contains(r.log.String(), "msg=stopping") })
							time.Sleep(50 * time.Millisecond) // until the backup is cancelled, which nothing shows
						} else if err := r.wait(t); err != nil {
							t.Error(err)
						}
					})
				}
				return b.Write(p)
			})
			_, err := server.Backup{DataDir: cfg.DataDir, To: to}.Run(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if _, err := server.Verify(t.Context(), server.BackupFile{From: &b}); !errors.Is(err, backup.ErrDamaged) {
				t.Errorf("what came of it: %v", err)
			}
			if err := r.wait(t); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestBackupRefused: what cannot be backed up leaves no file, and says why.
func TestBackupRefused(t *testing.T) {
	cfg := settings(t)
	made := heavy(t, cfg)
	small := cfg
	small.LowDisk = 1 << 60
	out := t.TempDir()
	file := filepath.Join(out, "b")
	onDisk := func(file string, force bool) error {
		_, err := server.Backup{DataDir: cfg.DataDir, File: file, Force: force}.Run(t.Context())
		return err
	}
	nothing := func(what string) {
		t.Helper()
		if entries, err := os.ReadDir(out); err != nil || len(entries) != 0 {
			t.Errorf("%s: %v is left, %v", what, entries, err)
		}
	}
	r := run(t, small, server.Options{}, made)
	if err := onDisk(file, false); !errors.Is(err, backup.ErrNoSpace) || !strings.Contains(err.Error(), "to another disk") {
		t.Errorf("a disk that is almost full: %v", err)
	}
	nothing("a disk that is almost full")
	ended, end := context.WithCancelCause(t.Context())
	end(server.ErrInterrupted)
	if _, err := (server.Backup{DataDir: cfg.DataDir, File: file}).Run(ended); !errors.Is(err, server.ErrInterrupted) {
		t.Errorf("interrupted: %v", err)
	}
	nothing("interrupted")

	// Two at once.
	var inner error
	var once sync.Once
	to := writerFunc(func(p []byte) (int, error) {
		once.Do(func() { inner = onDisk(file, false) })
		return len(p), nil
	})
	if _, err := (server.Backup{DataDir: cfg.DataDir, To: to}).Run(t.Context()); err != nil {
		t.Error(err)
	}
	if inner == nil || !strings.Contains(inner.Error(), "another backup is being made") {
		t.Errorf("a second one: %v", inner)
	}
	nothing("a second one")
	if _, err := (server.Backup{DataDir: out, File: file}).Run(t.Context()); !errors.Is(err, pebblestore.ErrMissing) {
		t.Errorf("no data directory: %v", err)
	}
	r.stop(server.ErrInterrupted)
	if err := r.wait(t); err != nil {
		t.Error(err)
	}

	if err := onDisk(file, false); err != nil {
		t.Error(err)
	}
	if err := onDisk(file, false); !errors.Is(err, backup.ErrExists) {
		t.Errorf("a file that is there: %v", err)
	}
	if err := onDisk(file, true); err != nil {
		t.Errorf("replaced: %v", err)
	}
}

// TestBackupProgress: the caller learns how far the backup is.
func TestBackupProgress(t *testing.T) {
	cfg := settings(t)
	r := run(t, cfg, server.Options{}, heavy(t, cfg))
	var calls int
	var last, of int64
	var b bytes.Buffer
	report, err := server.Backup{DataDir: cfg.DataDir, To: &b, Progress: func(done, total int64) {
		if done < last || done > total {
			t.Errorf("%d of %d after %d", done, total, last)
		}
		calls, last, of = calls+1, done, total
	}}.Run(t.Context())
	if err != nil || calls < 5 || last != report.Bytes || of != report.Bytes {
		t.Errorf("%v; %d calls, the last with %d of %d, want %d", err, calls, last, of, report.Bytes)
	}
	r.stop(server.ErrInterrupted)
}

// TestRestoreRefused: a restore makes a data directory and changes none; one that
// was cut short is no data directory.
func TestRestoreRefused(t *testing.T) {
	cfg := settings(t)
	if _, err := server.Init(t.Context(), cfg, founding); err != nil {
		t.Fatal(err)
	}
	data := takeBackup(t, cfg.DataDir, false)
	restore := func(dir string) error {
		_, err := server.Restore(t.Context(), dir, server.BackupFile{From: bytes.NewReader(data)})
		return err
	}
	if err := restore(cfg.DataDir); !errors.Is(err, pebblestore.ErrOccupied) {
		t.Errorf("a data directory: %v", err)
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "demo.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := restore(other); !errors.Is(err, pebblestore.ErrOccupied) || !strings.Contains(err.Error(), "demo.json") {
		t.Errorf("a directory with something else: %v", err)
	}

	short := settings(t)
	left := filepath.Join(short.DataDir, "store.restoring")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	_, serve := server.New(short, server.Options{})
	_, initialise := server.Init(t.Context(), short, founding)
	_, verify := server.VerifyDir(t.Context(), short.DataDir, nil)
	for what, err := range map[string]error{"serve": serve, "init": initialise, "verify": verify} {
		if !errors.Is(err, server.ErrRestoring) || !strings.Contains(err.Error(), `run "porchlight restore" again`) {
			t.Errorf("%s after a restore that was cut short: %v", what, err)
		}
	}
	if err := restore(short.DataDir); err != nil {
		t.Errorf("the next restore: %v", err)
	}
	// Killed when all was done but cleaning up.
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	run(t, short, server.Options{}, server.Credentials{AccessToken: "of nobody"})
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what it left: %v", err)
	}
}
