package pebblestore

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/store"
)

// TestVerifyGolden: Verify counts the content and changes nothing.
func TestVerifyGolden(t *testing.T) {
	for _, kind := range []string{"clean", "killed"} {
		mem := copyFromDisk(t, filepath.Join(goldenDir, "1", kind))
		before := contents(t, mem)
		var last, total int64
		r, err := Verify(context.Background(), "data", VerifyOptions{FS: mem, Progress: func(done, all int64) { last, total = done, all }})
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if r.Users != 12 || r.Entries != 46 || r.Documents != 22 || r.Last != 59 || r.Trimmed != 3 || r.Format != 1 || r.Tables != 1 {
			t.Errorf("%s: %+v", kind, r)
		}
		if last != total || total < 2*r.Bytes || r.Bytes == 0 {
			t.Errorf("%s: progress ended at %d of %d", kind, last, total)
		}
		sameFiles(t, mem, before)
	}
}

// contents are the files of a directory.
func contents(t *testing.T, mem *vfs.MemFS) map[string]string {
	t.Helper()
	names, err := mem.List("data")
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for _, name := range names {
		files[name] = string(readFile(t, mem, name))
	}
	return files
}

// sameFiles checks that the files are unchanged, to the byte.
func sameFiles(t *testing.T, mem *vfs.MemFS, before map[string]string) {
	t.Helper()
	after := contents(t, mem)
	for name := range after {
		if was, ok := before[name]; !ok || was != after[name] {
			t.Errorf("file %s was changed or created", name)
		}
	}
	for name := range before {
		if _, ok := after[name]; !ok {
			t.Errorf("file %s was removed", name)
		}
	}
}

func readFile(t *testing.T, mem *vfs.MemFS, name string) []byte {
	t.Helper()
	data, err := mem.UnsafeGetFileDataBuffer("data/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestVerifyRefuses(t *testing.T) {
	if _, err := Verify(context.Background(), t.TempDir(), VerifyOptions{}); !errors.Is(err, ErrMissing) {
		t.Errorf("an empty directory: %v, want ErrMissing", err)
	}
	dir := t.TempDir()
	mustOpen(t, dir, Options{})
	_, err := Verify(context.Background(), dir, VerifyOptions{})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "make a backup and verify the backup") {
		t.Errorf("a directory in use: %v, want ErrLocked", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	mem := copyFromDisk(t, filepath.Join(goldenDir, "1", "clean"))
	if _, err := Verify(ctx, "data", VerifyOptions{FS: mem}); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that ended: %v", err)
	}
}

// TestVerifyContradictions: Verify detects well-formed content that is inconsistent.
func TestVerifyContradictions(t *testing.T) {
	user := goldenUser(0)
	cases := []struct {
		name, says string
		plant      func(t *testing.T, s *Store, b *pebble.Batch)
	}{
		{"an entry lost", "do not match", func(_ *testing.T, s *Store, b *pebble.Batch) {
			_ = b.Delete(appendLogKey(nil, item0(s, user).at-14), nil)
		}},
		{"a last entry lost", "do not match", func(_ *testing.T, s *Store, b *pebble.Batch) {
			_ = b.Delete(appendLogKey(nil, item0(s, user).at), nil)
		}},
		{"a record lost", "do not match", func(_ *testing.T, _ *Store, b *pebble.Batch) {
			_ = b.Delete(appendRecordKey(nil, user), nil)
		}},
		{"an older record", "do not match", func(_ *testing.T, s *Store, b *pebble.Batch) {
			it := *item0(s, user)
			it.at--
			_ = b.Set(appendRecordKey(nil, user), appendItem(nil, &it), nil)
		}},
		{"an index entry lost", "do not match", func(_ *testing.T, s *Store, b *pebble.Batch) {
			_ = b.Delete(appendExpiryKey(nil, item0(s, user).armed, user), nil)
		}},
		{"an index entry too many", "do not match", func(_ *testing.T, _ *Store, b *pebble.Batch) {
			_ = b.Set(appendExpiryKey(nil, 5, user), nil, nil)
		}},
		{"an end lost", "do not match", func(_ *testing.T, s *Store, b *pebble.Batch) {
			_ = s.scan([]byte{docExpiryPrefix}, nil, func(key, _ []byte) (bool, error) { return false, b.Delete(key, nil) })
		}},
		{"an end too many", "do not match", func(_ *testing.T, _ *Store, b *pebble.Batch) {
			_ = b.Set(appendDocExpiryKey(nil, 5, strangeKey()), nil, nil)
		}},
		{"a document from the future", "after the last", func(_ *testing.T, _ *Store, b *pebble.Batch) {
			_ = b.Set(strangeKey(), appendDoc(nil, docHead{seq: 1e6}, nil), nil)
		}},
		{"a number too low", "the last position assigned is 40", func(_ *testing.T, _ *Store, b *pebble.Batch) { _ = b.Set([]byte(metaSeq), appendNumber(nil, 40), nil) }},
		{"an entry that was dropped", "were dropped", func(_ *testing.T, _ *Store, b *pebble.Batch) { _ = b.Set([]byte(metaTrim), appendNumber(nil, 5), nil) }},
		{"no epoch", "the epoch is missing", func(_ *testing.T, _ *Store, b *pebble.Batch) { _ = b.Delete([]byte(metaEpoch), nil) }},
		{"no format", "invalid format", func(_ *testing.T, _ *Store, b *pebble.Batch) { _ = b.Delete([]byte(metaFormat), nil) }},
		{"a key of nothing", "unknown kind of key", func(_ *testing.T, _ *Store, b *pebble.Batch) { _ = b.Set([]byte("zebra"), nil, nil) }},
		{"a value of nothing", "cannot be read", func(_ *testing.T, _ *Store, b *pebble.Batch) {
			_ = b.Set(appendRecordKey(nil, user), []byte{1, 1, 1, 9}, nil)
		}},
		{"a record too short", "damaged", func(_ *testing.T, _ *Store, b *pebble.Batch) { _ = b.Set(appendRecordKey(nil, user), nil, nil) }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			mem := vfs.NewMem()
			s := mustOpen(t, "data", goldenOptions(mem, goldenNow))
			goldenContent(t, s)
			b := s.db.NewBatch()
			c.plant(t, s, b)
			if b.Empty() {
				t.Fatal("INVALID: nothing was changed")
			}
			if err := b.Commit(pebble.Sync); err != nil {
				t.Fatal(err)
			}
			mustClose(t, s)
			_, err := Verify(context.Background(), "data", VerifyOptions{FS: mem})
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "restore a backup into a new directory") {
				t.Errorf("Verify: %v, want ErrDamaged that contains %q", err, c.says)
			}
		})
	}
}

func item0(s *Store, u store.User) *item {
	it, err := s.readItem(u)
	if err != nil || it == nil {
		panic(err)
	}
	return it
}

// strangeKey is the key of a document that golden directories do not have.
func strangeKey() []byte {
	return appendDocKey(make([]byte, 0, 32), "acme", store.Key{Collection: "c", Key: "k"})
}
