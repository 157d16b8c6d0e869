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

// initLargeDataDir initialises a data directory whose backup is larger than the buffers
// between the writer and the reader of the control socket.
func initLargeDataDir(t *testing.T, cfg config.Config) server.Credentials {
	t.Helper()
	made, err := server.Init(t.Context(), cfg, testFounding)
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
		t.Errorf("got %+v and %d bytes, want online: %v", report, b.Len(), online)
	}
	return b.Bytes()
}

// TestBackupAndRestore: a backup contains every write that the running server
// acknowledged. The restored server has the same data and another epoch, so that old
// cursors get a reset.
func TestBackupAndRestore(t *testing.T) {
	cfg := settings(t)
	r := start(t, cfg, server.Options{})
	if _, err := r.client.CreateUser(t.Context(), api.CreateUser{Email: "grace@example.com"}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.SignIn(t.Context(), "grace@example.com", longSignIn("desktop")); err != nil {
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
		t.Errorf("the restored server has\n%+v, %v; want\n%+v", got, err, want)
	}
	again.stop(server.ErrInterrupted)
	if err := again.wait(t); err != nil {
		t.Error(err)
	}
	takeBackup(t, other.DataDir, false)
}

// TestControlSocket: the socket exists while the server runs and only its owner may use
// it, also if its path is longer than the system allows or a killed server left a
// socket there.
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
				t.Errorf("after the server stopped: %v", err)
			}
			takeBackup(t, dir, false)
			if name == "short" {
				createStaleSocket(t, path)
				takeBackup(t, dir, false)
			}
			run(t, cfg, server.Options{}, r.made)
			takeBackup(t, dir, true)
		})
	}
}

// createStaleSocket leaves a socket behind, as a killed server does.
func createStaleSocket(t *testing.T, path string) {
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

// TestNoControlSocket: a server that cannot create its control socket runs without one,
// and so does a server whose store is not in its data directory.
func TestNoControlSocket(t *testing.T) {
	cfg := settings(t)
	made, err := server.Init(t.Context(), cfg, testFounding)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(cfg.DataDir, "control.sock")
	if err := os.WriteFile(path, []byte("a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := run(t, cfg, server.Options{}, made)
	if !strings.Contains(r.log.String(), "no control socket") || !strings.Contains(r.log.String(), "is not a socket: remove it") {
		t.Errorf("the log does not report the missing control socket:\n%s", r.log)
	}
	if _, err := r.client.Me(t.Context()); err != nil {
		t.Error(err)
	}
	_, err = server.Backup{DataDir: cfg.DataDir, To: io.Discard}.Run(t.Context())
	if !errors.Is(err, pebblestore.ErrLocked) || !strings.Contains(err.Error(), "does not answer on") {
		t.Errorf("a backup without the socket: %v", err)
	}
	r.stop(server.ErrInterrupted)
	if err := r.wait(t); err != nil {
		t.Error(err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "a file" {
		t.Errorf("the file has %q, %v", data, err)
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
		t.Errorf("with a store passed as an option: %v", err)
	}
	given.stop(server.ErrInterrupted)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestBackupDuringShutdown: a backup that is running when the server stops reports the
// reason, or is cut off if the client does not read. Neither leaves a valid backup.
func TestBackupDuringShutdown(t *testing.T) {
	const cutShort = "the server cut the backup short"
	for name, c := range map[string]struct {
		reads bool
		want  string
	}{
		"a reader":  {true, "the server is stopping"},
		"no reader": {false, cutShort},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := settings(t)
			r := run(t, cfg, server.Options{}, initLargeDataDir(t, cfg))
			var b bytes.Buffer
			var stopped time.Time
			to := writerFunc(func(p []byte) (int, error) {
				switch {
				case b.Len() <= 100<<10:
				case stopped.IsZero():
					stopped = time.Now()
					r.stop(server.ErrInterrupted)
					if c.reads {
						eventually(t, "stopping", func() bool { return strings.Contains(r.log.String(), "msg=stopping") })
					} else if err := r.wait(t); err != nil {
						t.Error(err)
					}
				case c.reads: // slowly, because it is not observable when the backup is cancelled
					time.Sleep(10 * time.Millisecond)
				}
				return b.Write(p)
			})
			_, err := server.Backup{DataDir: cfg.DataDir, To: to}.Run(t.Context())
			slow := time.Since(stopped) > time.Second // the server does not wait longer than two
			wanted := func(text string) bool { return err != nil && strings.Contains(err.Error(), text) }
			if !wanted(c.want) && (!slow || !wanted(cutShort)) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if _, err := server.Verify(t.Context(), server.BackupFile{From: &b}); !errors.Is(err, backup.ErrDamaged) {
				t.Errorf("verifying the partial backup: %v", err)
			}
			if err := r.wait(t); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestBackupRefused: a refused or failed backup leaves no file and reports the reason.
func TestBackupRefused(t *testing.T) {
	cfg := settings(t)
	made := initLargeDataDir(t, cfg)
	small := cfg
	small.LowDisk = 1 << 60
	out := t.TempDir()
	file := filepath.Join(out, "b")
	onDisk := func(file string, force bool) error {
		_, err := server.Backup{DataDir: cfg.DataDir, File: file, Force: force}.Run(t.Context())
		return err
	}
	expectNoFiles := func(after string) {
		t.Helper()
		if entries, err := os.ReadDir(out); err != nil || len(entries) != 0 {
			t.Errorf("after %s the directory has %v, %v", after, entries, err)
		}
	}
	r := run(t, small, server.Options{}, made)
	full := server.Backup{DataDir: cfg.DataDir, File: file}.ToLargeDisk()
	if _, err := full.Run(t.Context()); !errors.Is(err, backup.ErrNoSpace) || !strings.Contains(err.Error(), "to another disk") {
		t.Errorf("on an almost full disk: %v", err)
	}
	expectNoFiles("a backup to an almost full disk")
	ended, end := context.WithCancelCause(t.Context())
	end(server.ErrInterrupted)
	if _, err := (server.Backup{DataDir: cfg.DataDir, File: file}).Run(ended); !errors.Is(err, server.ErrInterrupted) {
		t.Errorf("an interrupted backup: %v", err)
	}
	expectNoFiles("an interrupt")

	// Two concurrent backups.
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
		t.Errorf("a concurrent second backup: %v", inner)
	}
	expectNoFiles("a concurrent second backup")
	if _, err := (server.Backup{DataDir: out, File: file}).Run(t.Context()); !errors.Is(err, pebblestore.ErrMissing) {
		t.Errorf("without a data directory: %v", err)
	}
	r.stop(server.ErrInterrupted)
	if err := r.wait(t); err != nil {
		t.Error(err)
	}

	if err := onDisk(file, false); err != nil {
		t.Error(err)
	}
	if err := onDisk(file, false); !errors.Is(err, backup.ErrExists) {
		t.Errorf("the file exists: %v", err)
	}
	if err := onDisk(file, true); err != nil {
		t.Errorf("replacing the file: %v", err)
	}
}

// TestBackupProgress: Progress reports how much of the backup is done.
func TestBackupProgress(t *testing.T) {
	cfg := settings(t)
	r := run(t, cfg, server.Options{}, initLargeDataDir(t, cfg))
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

// TestRestoreRefused: a restore creates a data directory and never changes an existing
// one. A directory of an interrupted restore cannot be opened.
func TestRestoreRefused(t *testing.T) {
	cfg := settings(t)
	if _, err := server.Init(t.Context(), cfg, testFounding); err != nil {
		t.Fatal(err)
	}
	data := takeBackup(t, cfg.DataDir, false)
	restore := func(dir string) error {
		_, err := server.Restore(t.Context(), dir, server.BackupFile{From: bytes.NewReader(data)})
		return err
	}
	if err := restore(cfg.DataDir); !errors.Is(err, pebblestore.ErrOccupied) {
		t.Errorf("into an existing data directory: %v", err)
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "demo.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := restore(other); !errors.Is(err, pebblestore.ErrOccupied) || !strings.Contains(err.Error(), "demo.json") {
		t.Errorf("into a directory with other files: %v", err)
	}

	short := settings(t)
	left := filepath.Join(short.DataDir, "store.restoring")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	_, serve := server.New(short, server.Options{})
	_, initialise := server.Init(t.Context(), short, testFounding)
	_, verify := server.VerifyDir(t.Context(), short.DataDir, nil)
	for what, err := range map[string]error{"serve": serve, "init": initialise, "verify": verify} {
		if !errors.Is(err, server.ErrRestoring) || !strings.Contains(err.Error(), `run "porchlight restore" again`) {
			t.Errorf("%s after an interrupted restore: %v", what, err)
		}
	}
	if err := restore(short.DataDir); err != nil {
		t.Errorf("repeating the restore: %v", err)
	}
	// Killed before the last step, cleaning up.
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	run(t, short, server.Options{}, server.Credentials{AccessToken: "of nobody"})
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the restored directory: %v", err)
	}
}
