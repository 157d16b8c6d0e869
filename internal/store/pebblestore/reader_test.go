package pebblestore_test

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
)

// TestReader reads a store that was killed, without any change to its files, and refuses
// one that is open or missing.
func TestReader(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	if _, err := pebblestore.OpenReader(dir, pebblestore.Options{}); !errors.Is(err, pebblestore.ErrMissing) {
		t.Errorf("a missing directory: %v", err)
	}
	st, err := pebblestore.Open(dir, pebblestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	key := store.Key{Collection: "c", Key: "k"}
	if err := st.Write(t.Context(), "", store.Doc{Key: key, Value: []byte("value")}); err != nil {
		t.Fatal(err)
	}
	if _, err := pebblestore.OpenReader(dir, pebblestore.Options{}); !errors.Is(err, pebblestore.ErrLocked) {
		t.Errorf("an open store: %v", err)
	}
	killed := filepath.Join(t.TempDir(), "killed")
	if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"stopped": dir, "killed": killed} {
		before := contents(t, dir)
		r, err := pebblestore.OpenReader(dir, pebblestore.Options{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		docs, err := r.Load(t.Context(), "", key)
		if err != nil || len(docs) != 1 || string(docs[0].Value) != "value" {
			t.Errorf("%s: %v, %v", name, docs, err)
		}
		if listed, err := r.List(t.Context(), "", "c", "", 10); err != nil || len(listed) != 1 {
			t.Errorf("%s: listed %v, %v", name, listed, err)
		}
		if at, err := r.PositionAt(t.Context(), time.Now()); err != nil || at != 0 {
			t.Errorf("%s: position %d, %v", name, at, err)
		}
		if entries, err := r.Log(t.Context(), 0, 1); err != nil || len(entries) != 0 {
			t.Errorf("%s: %v, %v", name, entries, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if after := contents(t, dir); !maps.Equal(before, after) {
			t.Errorf("%s: the files changed from %v to %v", name, before, after)
		}
	}
}

// contents are the digests of the files in a directory.
func contents(t *testing.T, dir string) map[string][32]byte {
	t.Helper()
	all := make(map[string][32]byte)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		all[path] = sha256.Sum256(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
