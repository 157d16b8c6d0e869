package backup

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// names lists the files of a directory.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func write(t *testing.T, f *File, text string) {
	t.Helper()
	if _, err := f.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func contents(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestFile: a file gets its name only when it is complete.
func TestFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "b")
	if err := os.WriteFile(path+".partial", []byte("what a killed backup left, which is longer"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := Create(path, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	write(t, f, "whole")
	if got := names(t, dir); got != "b.partial" {
		t.Errorf("before Commit the directory has %q", got)
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 || contents(t, path) != "whole" || names(t, dir) != "b" {
		t.Errorf("%v, %v, %q in %q", info.Mode(), err, contents(t, path), names(t, dir))
	}

	if _, err := Create(path, false, nil); !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), "--force") {
		t.Errorf("an existing file: %v", err)
	}
	if _, err := Create(dir, true, nil); !errors.Is(err, ErrExists) {
		t.Errorf("a directory: %v", err)
	}
	if _, err := Create(filepath.Join(dir, "none", "b"), true, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("in a missing directory: %v", err)
	}
	if err := os.Symlink(os.DevNull, filepath.Join(dir, "c.partial")); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(filepath.Join(dir, "c"), false, nil); !errors.Is(err, ErrExists) {
		t.Errorf("a link to a valid path: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "c.partial")); err != nil {
		t.Fatal(err)
	}
	f, err = Create(path, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	write(t, f, "other")
	if contents(t, path) != "whole" {
		t.Error("the old file changed before the new one was complete")
	}
	if err := f.Discard(); err != nil || contents(t, path) != "whole" || names(t, dir) != "b" {
		t.Errorf("discarded: %v, %q", err, names(t, dir))
	}
}

// TestFileExists: Commit does not replace a file that was created meanwhile.
func TestFileExists(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "b")
	f, err := Create(path, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("another's"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(); !errors.Is(err, ErrExists) || contents(t, path) != "another's" || names(t, dir) != "b" {
		t.Errorf("%v; the directory has %q", err, names(t, dir))
	}
}

// TestFileBusy: of two backups to one file, the second is refused.
func TestFileBusy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "b")
	f, err := Create(path, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	write(t, f, "first")
	if _, err := Create(path, false, nil); !errors.Is(err, ErrBusy) {
		t.Errorf("a second backup: %v", err)
	}
	if err := f.Commit(); err != nil || contents(t, path) != "first" {
		t.Errorf("%v, %q", err, contents(t, path))
	}
	if f, err = Create(path, true, nil); err != nil {
		t.Fatalf("after the first backup: %v", err)
	}
	if err := f.Discard(); err != nil {
		t.Error(err)
	}
}

// TestFileSpaceLimit: a write that would leave too little free space fails.
func TestFileSpaceLimit(t *testing.T) {
	dir := t.TempDir()
	available := uint64(5)
	f, err := Create(filepath.Join(dir, "b"), false, func() (uint64, error) { return available, nil })
	if err != nil {
		t.Fatal(err)
	}
	write(t, f, "12345")
	available = 0
	if _, err := f.Write([]byte("6")); !errors.Is(err, ErrNoSpace) {
		t.Errorf("one byte more: %v", err)
	}
	if err := f.Discard(); err != nil || names(t, dir) != "" {
		t.Errorf("%v, the directory has %q", err, names(t, dir))
	}
}
