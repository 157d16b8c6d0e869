package pebblestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/leveltest"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/backup"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// fillStore fills a store with something of each kind: records of which some expire, a
// log whose beginning was trimmed, and documents with and without expiry, some of them
// changed or deleted.
func fillStore(t *testing.T, s *Store, users int) {
	t.Helper()
	ctx := context.Background()
	for i := range users {
		mustUpdate(t, s, crashUser(i))
	}
	for i := range users {
		doc := store.Doc{Key: store.Key{Collection: "users", Key: fmt.Sprint(i)}, Value: fmt.Appendf(nil, "user %d of them", i)}
		if i%3 == 0 {
			doc.Until = time.Now().Add(time.Duration(i+1) * time.Hour)
		}
		if err := s.Write(ctx, "acme", doc); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; i < users; i += 6 {
		docs, err := s.Load(ctx, "acme", store.Key{Collection: "users", Key: fmt.Sprint(i)})
		if err != nil || len(docs) != 1 {
			t.Fatal(docs, err)
		}
		docs[0].Until = docs[0].Until.Add(time.Hour)
		if i%12 == 0 {
			docs[0].Value = nil
		}
		if err := s.Write(ctx, "acme", docs[0]); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.submit(ctx, func(c *committer) error {
		c.deleteRange(appendLogKey(nil, 0), appendLogKey(nil, 3))
		c.set([]byte(metaTrim), appendNumber(nil, 2))
		c.s.trimmed.Store(2)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < users; i += 2 {
		_, err := s.Update(ctx, crashUser(i), storetest.UpdateFunc(store.By{Cause: store.CauseNote}, func(st presence.State) (presence.State, error) {
			st.Revision++
			st.Note.Text, st.Claims = "a note", nil
			return st, nil
		}))
		if err != nil {
			t.Fatal(err)
		}
	}
}

// takeBackup backs up s in chunks of chunkBytes.
func takeBackup(t *testing.T, s *Store, chunkBytes int) ([]byte, BackupInfo) {
	t.Helper()
	var b bytes.Buffer
	info, err := s.backup(context.Background(), &b, nil, chunkBytes)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), info
}

// pairs are all keys and values of a store except those that identify the store.
func pairs(t *testing.T, s *Store) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := s.scan(nil, nil, func(key, value []byte) (bool, error) {
		if isContent(key) {
			all[string(key)] = string(value)
		}
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestBackup: a restored store has the content of the original and a new epoch.
func TestBackup(t *testing.T) {
	const users = 40
	ctx := context.Background()
	s := mustOpen(t, "data", Options{FS: vfs.NewMem()})
	fillStore(t, s, users)
	var calls, last, total int64
	var b bytes.Buffer
	info, err := s.Backup(ctx, &b, func(done, of int64) {
		if done < last || done > of {
			t.Errorf("progress %d of %d after %d", done, of, last)
		}
		calls, last, total = calls+1, done, of
	})
	if err != nil {
		t.Fatal(err)
	}
	if calls == 0 || last != total || last == 0 {
		t.Errorf("progress ended at %d of %d after %d calls", last, total, calls)
	}
	want := BackupInfo{
		Header: backup.Header{
			Engine: backupEngine, Format: formatVersion, Epoch: s.Epoch(), Position: s.progress.durable.Load(), Created: info.Created,
		},
		Counts: backup.Counts{Records: users, Entries: users - 2 + users/2, Documents: users - 4},
		Chunks: 1, Bytes: int64(b.Len()), SHA256: info.SHA256,
	}
	if info != want {
		t.Errorf("the backup is\n%+v, want\n%+v", info, want)
	}
	if verified, err := VerifyBackup(ctx, bytes.NewReader(b.Bytes()), nil); err != nil || verified != info {
		t.Errorf("VerifyBackup: %+v, %v", verified, err)
	}

	fs := vfs.NewMem()
	read := int64(0)
	restored, err := Restore(ctx, "new/data", &b, Options{FS: fs}, func(done, _ int64) { read = done })
	if err != nil || restored != info || read == 0 {
		t.Fatalf("Restore: %+v, %v; %d bytes reported", restored, err, read)
	}
	if names, err := fs.List("new"); err != nil || !slices.Equal(names, []string{"data"}) {
		t.Errorf("the directory has %q, %v", names, err)
	}
	again := mustOpen(t, "new/data", Options{FS: fs, MustExist: true})
	compareStores(t, s, again, users)
}

// compareStores compares a restored store with the original.
func compareStores(t *testing.T, s, again *Store, users int) {
	t.Helper()
	ctx := context.Background()
	if was, is := pairs(t, s), pairs(t, again); !reflect.DeepEqual(was, is) {
		t.Errorf("%d keys in the original, %d restored, or they differ", len(was), len(is))
	}
	var us []store.User
	for i := range users {
		us = append(us, crashUser(i))
	}
	was, old, err := s.Read(ctx, us, store.Freshness{})
	if err != nil || len(was) != users {
		t.Fatal(len(was), err)
	}
	is, cursor, err := again.Read(ctx, us, store.Freshness{})
	if err != nil || !reflect.DeepEqual(was, is) {
		t.Errorf("the restored records differ: %v", err)
	}
	if again.Epoch() == s.Epoch() || again.Epoch() == "" {
		t.Errorf("epoch %q, after %q", again.Epoch(), s.Epoch())
	}
	if _, err := old.Position(again.Epoch()); !errors.Is(err, store.ErrEpoch) {
		t.Errorf("a cursor of the original: %v, want ErrEpoch", err)
	}
	if at, err := cursor.Position(again.Epoch()); err != nil || at != s.progress.durableAt() {
		t.Errorf("a cursor of the restored store: %d, %v", at, err)
	}
	unread, err := s.readLog(store.Position(users), 1)
	if err != nil || len(unread) != 1 {
		t.Fatal(len(unread), err)
	}
	if log, err := again.Log(ctx, store.Position(users), 1); err != nil || len(log) != 1 || !reflect.DeepEqual(any(log[0]), any(unread[0].Entry)) {
		t.Errorf("the log continues with %+v, %v; want %+v", log, err, unread[0].Entry)
	}
	// The restored store accepts changes.
	if r := mustUpdate(t, again, crashUser(0)); r.At != store.Position(s.progress.durable.Load())+1 {
		t.Errorf("the next change is at %d", r.At)
	}
}

// TestBackupLegs: nothing is lost between two iterators.
func TestBackupLegs(t *testing.T) {
	s := mustOpen(t, "data", Options{FS: vfs.NewMem()})
	fillStore(t, s, 40)
	for _, chunkBytes := range []int{1, 10, 100} {
		data, _ := takeBackup(t, s, chunkBytes)
		r, err := backup.NewReader(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string]string)
		for key, value, err := r.Next(); !errors.Is(err, io.EOF); key, value, err = r.Next() {
			if err != nil {
				t.Fatal(err)
			}
			got[string(key)] = string(value)
		}
		if want := pairs(t, s); !reflect.DeepEqual(got, want) {
			t.Errorf("chunks of %d bytes: %d keys, want %d, or they differ", chunkBytes, len(got), len(want))
		}
	}
}

// smallBackup backs up a store with something of each kind, in several chunks.
func smallBackup(t *testing.T) []byte {
	t.Helper()
	s := mustOpen(t, "data", Options{FS: vfs.NewMem()})
	fillStore(t, s, 13)
	data, info := takeBackup(t, s, 1<<10)
	if info.Chunks < 3 {
		t.Fatalf("INVALID: only %d chunks", info.Chunks)
	}
	return data
}

// TestBackupEveryByte: Verify detects a change of any byte of a backup, and so does
// Restore, which then leaves nothing.
func TestBackupEveryByte(t *testing.T) {
	data := smallBackup(t)
	ctx := context.Background()
	fs := vfs.NewMem()
	restores := 0
	for at := range data {
		changed := bytes.Clone(data)
		changed[at] ^= byte(1 + rand.IntN(255))
		if _, err := VerifyBackup(ctx, bytes.NewReader(changed), nil); err == nil {
			t.Fatalf("byte %d changed from %#x to %#x is not detected", at, data[at], changed[at])
		}
		if at%7 != 0 { // each restore creates a database
			continue
		}
		restores++
		if _, err := Restore(ctx, "data", bytes.NewReader(changed), Options{FS: fs}, nil); err == nil {
			t.Fatalf("byte %d changed from %#x to %#x is restored", at, data[at], changed[at])
		}
		if names, err := fs.List(""); err != nil || len(names) != 0 {
			t.Fatalf("%q remains, %v", names, err)
		}
	}
	for n := range data {
		if _, err := VerifyBackup(ctx, bytes.NewReader(data[:n]), nil); !errors.Is(err, backup.ErrDamaged) {
			t.Fatalf("the first %d of %d bytes: %v", n, len(data), err)
		}
		if n%29 != 0 {
			continue
		}
		restores++
		if _, err := Restore(ctx, "data", bytes.NewReader(data[:n]), Options{FS: fs}, nil); !errors.Is(err, backup.ErrDamaged) {
			t.Fatalf("the first %d of %d bytes: %v", n, len(data), err)
		}
	}
	t.Logf("%d bytes changed, %d lengths, %d restores refused", len(data), len(data), restores)
}

// TestBackupRandomBytes: the same for a backup with chunks of the usual size.
func TestBackupRandomBytes(t *testing.T) {
	changes := leveltest.Count(t, "bytes of a backup that change", 200, 500, 10_000)
	s := mustOpen(t, "data", Options{FS: vfs.NewMem()})
	for i := range 30 {
		value := bytes.Repeat([]byte{byte(i)}, 48<<10)
		if err := s.Write(t.Context(), "acme", store.Doc{Key: store.Key{Collection: "large", Key: strconv.Itoa(i)}, Value: value}); err != nil {
			t.Fatal(err)
		}
	}
	data, info := takeBackup(t, s, backup.ChunkBytes)
	if info.Chunks < 3 {
		t.Fatalf("INVALID: only %d chunks", info.Chunks)
	}
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	for range changes {
		at, mask := rng.IntN(len(data)), byte(1+rng.IntN(255))
		data[at] ^= mask
		if _, err := VerifyBackup(t.Context(), bytes.NewReader(data), nil); err == nil {
			t.Fatalf("seed %d: byte %d changed by %#x is not detected", seed, at, mask)
		}
		data[at] ^= mask
	}
	if _, err := VerifyBackup(t.Context(), bytes.NewReader(data), nil); err != nil {
		t.Errorf("unchanged: %v", err)
	}
	t.Logf("%d changes of random bytes of %d detected", changes, len(data))
}

// A slowWriter pauses after each chunk and calls begun for the first.
type slowWriter struct {
	io.Writer
	begun func()
	pause time.Duration
}

func (w *slowWriter) Write(p []byte) (int, error) {
	if w.begun != nil {
		w.begun()
		w.begun = nil
	}
	time.Sleep(w.pause)
	return w.Writer.Write(p)
}

// A backupLoad changes a store continuously. Each writer increments a number that two
// documents and its user's note share, in this order: documents a and b together, then
// the note.
type backupLoad struct {
	s       *Store
	acked   []atomic.Int64 // by writer: the number in the note
	stopped atomic.Bool
	group   sync.WaitGroup
	failure atomic.Value
}

func startLoad(s *Store, writers int) *backupLoad {
	l := &backupLoad{s: s, acked: make([]atomic.Int64, writers)}
	for w := range writers {
		l.group.Go(func() {
			for n := int64(1); !l.stopped.Load(); n++ {
				if err := l.step(w, n); err != nil {
					l.failure.Store(err)
					return
				}
				l.acked[w].Store(n)
			}
		})
	}
	return l
}

func loadKeys(w int) []store.Key {
	return []store.Key{{Collection: "a", Key: strconv.Itoa(w)}, {Collection: "z", Key: strconv.Itoa(w)}}
}

func (l *backupLoad) step(w int, n int64) error {
	ctx := context.Background()
	docs, err := l.s.Load(ctx, "acme", loadKeys(w)...)
	if err != nil {
		return err
	}
	if len(docs) == 0 {
		docs = []store.Doc{{Key: loadKeys(w)[0]}, {Key: loadKeys(w)[1]}}
	}
	for i := range docs {
		docs[i].Value = strconv.AppendInt(nil, n, 10)
		docs[i].Until = time.Now().Add(time.Duration(n) * time.Hour)
	}
	if err := l.s.Write(ctx, "acme", docs...); err != nil {
		return err
	}
	_, err = l.s.Update(ctx, crashUser(w), storetest.UpdateFunc(store.By{}, func(st presence.State) (presence.State, error) {
		st, err := benchState(st)
		st.Note.Text = strconv.FormatInt(n, 10)
		if n%3 == 0 {
			st.Claims = nil // its expiry changes
		}
		return st, err
	}))
	return err
}

func (l *backupLoad) known() []int64 {
	all := make([]int64, len(l.acked))
	for w := range l.acked {
		all[w] = l.acked[w].Load()
	}
	return all
}

func (l *backupLoad) stop(t *testing.T) {
	t.Helper()
	l.stopped.Store(true)
	l.group.Wait()
	if err, ok := l.failure.Load().(error); ok {
		t.Errorf("the load failed: %v", err)
	}
}

// TestBackupUnderLoad: a backup of a store under load has everything that was
// acknowledged before it began, is of one moment, and is consistent.
func TestBackupUnderLoad(t *testing.T) {
	const writers, backups = 8, 8
	s := mustOpen(t, "data", Options{FS: vfs.NewMem(), MemTableBytes: 256 << 10, CacheRecords: 4, CacheBytes: 1})
	load := startLoad(s, writers)
	defer func() { load.stop(t) }()
	overtaken := 0
	for i := range backups {
		for slices.Min(load.known()) < int64(20*(i+1)) && load.failure.Load() == nil {
			time.Sleep(time.Millisecond)
		}
		before := load.known()
		var during []int64
		var b bytes.Buffer
		to := &slowWriter{&b, func() { during = load.known() }, 200 * time.Microsecond}
		info, err := s.backup(context.Background(), to, nil, 4<<10)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Compare(load.known(), during) > 0 {
			overtaken++
		}
		if _, err := VerifyBackup(t.Context(), bytes.NewReader(b.Bytes()), nil); err != nil {
			t.Fatalf("backup %d: %v", i, err)
		}
		fs := vfs.NewMem()
		if _, err := Restore(t.Context(), "data", &b, Options{FS: fs}, nil); err != nil {
			t.Fatalf("backup %d: %v", i, err)
		}
		checkBackupContent(t, fs, info, before)
	}
	if overtaken < backups/2 {
		t.Errorf("INVALID: the store changed during %d of %d backups only", overtaken, backups)
	}
	t.Logf("the store changed during %d of %d backups, by then %v times", overtaken, backups, load.known())
}

// checkBackupContent compares a restored store with what was acknowledged before the
// backup began.
func checkBackupContent(t *testing.T, fs vfs.FS, info BackupInfo, before []int64) {
	t.Helper()
	s, err := Open("data", Options{FS: fs, MustExist: true})
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, s)
	for w, acked := range before {
		docs, err := s.Load(t.Context(), "acme", loadKeys(w)...)
		if err != nil || len(docs) != 2 || !bytes.Equal(docs[0].Value, docs[1].Value) || docs[0].Version != docs[1].Version {
			t.Fatalf("writer %d: %+v, %v, want two documents of one write", w, docs, err)
		}
		records, _, err := s.Read(t.Context(), []store.User{crashUser(w)}, store.Freshness{})
		if err != nil || len(records) != 1 {
			t.Fatalf("writer %d: %d records, %v", w, len(records), err)
		}
		inDocs, _ := strconv.ParseInt(string(docs[0].Value), 10, 64)
		inNote, _ := strconv.ParseInt(records[0].State.Note.Text, 10, 64)
		if inNote < acked || inDocs < inNote || inDocs > inNote+1 {
			t.Errorf("writer %d: documents %d, note %d, but %d was acknowledged before the backup", w, inDocs, inNote, acked)
		}
		if uint64(records[0].At) > info.Position {
			t.Errorf("writer %d: a record at %d, after the backup's position %d", w, records[0].At, info.Position)
		}
	}
}

// TestBackupWaitsForTheSync: a backup has no change that is applied but not yet on the
// disk.
func TestBackupWaitsForTheSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{FS: vfs.NewMem()}
		s := mustOpen(t, "data", Options{FS: g.wrap()})
		mustUpdate(t, s, crashUser(0))
		synctest.Wait()
		open := g.close()
		updated := make(chan error, 1)
		go func() {
			_, err := s.Update(t.Context(), crashUser(1), storetest.UpdateFunc(store.By{}, benchState))
			updated <- err
		}()
		synctest.Wait() // it is applied and waits for the disk
		opened, early := false, false
		var b bytes.Buffer
		done := make(chan error, 1)
		go func() {
			to := &slowWriter{Writer: &b, begun: func() { early = !opened }}
			_, err := s.Backup(t.Context(), to, nil)
			done <- err
		}()
		synctest.Wait()
		if len(done) > 0 {
			t.Error("the backup ended before the sync")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := s.Backup(ctx, io.Discard, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a backup whose context ended during the sync: %v", err)
		}
		opened = true
		open()
		if err := errors.Join(<-updated, <-done); err != nil {
			t.Fatal(err)
		}
		info, err := VerifyBackup(t.Context(), &b, nil)
		if err != nil || info.Records != 2 || early {
			t.Errorf("%+v, %v; begun before the sync: %v", info, err, early)
		}
	})
}

// TestBackupEnds: a backup ends when its context ends, when its writer fails, and when
// the store closes or fails.
func TestBackupEnds(t *testing.T) {
	full := errors.New("no space")
	for name, c := range map[string]struct {
		end  func(s *Store, cancel context.CancelCauseFunc) error
		want error
	}{
		"the context ends": {func(_ *Store, cancel context.CancelCauseFunc) error { cancel(errRefused); return nil }, errRefused},
		"the writer fails": {func(*Store, context.CancelCauseFunc) error { return full }, full},
		"the store fails":  {func(s *Store, _ context.CancelCauseFunc) error { s.fail(errDisk); return nil }, errDisk},
		"the store closes": {func(s *Store, _ context.CancelCauseFunc) error {
			go s.Close()
			<-s.closing
			return nil
		}, store.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			s := mustOpen(t, "data", Options{FS: vfs.NewMem()})
			fillStore(t, s, 40)
			ctx, cancel := context.WithCancelCause(context.Background())
			defer cancel(nil)
			var b bytes.Buffer
			n := 0
			to := writerFunc(func(p []byte) (int, error) {
				if n++; n == 4 {
					if err := c.end(s, cancel); err != nil {
						return 0, err
					}
				}
				return b.Write(p)
			})
			if _, err := s.backup(ctx, to, nil, 1<<10); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if _, err := VerifyBackup(context.Background(), &b, nil); !errors.Is(err, backup.ErrDamaged) {
				t.Errorf("Verify of the partial backup: %v, want ErrDamaged", err)
			}
		})
	}
	s, err := Open("data", Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	if _, err := s.Backup(t.Context(), io.Discard, nil); !errors.Is(err, store.ErrClosed) {
		t.Errorf("backup of a closed store: %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestBackupDir: the directory of a crashed store is backed up as it is, and none of
// its files changes.
func TestBackupDir(t *testing.T) {
	mem := vfs.NewCrashableMem()
	s := mustOpen(t, "data", Options{FS: mem, MemTableBytes: 64 << 10})
	fillStore(t, s, 40)
	want := pairs(t, s)
	left := mem.CrashClone(vfs.CrashCloneCfg{})
	before := left.String()
	var b bytes.Buffer
	info, err := BackupDir(t.Context(), "data", &b, Options{FS: left}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if info.Epoch != s.Epoch() || info.Records != 40 {
		t.Errorf("%+v", info)
	}
	if after := left.String(); !reflect.DeepEqual(before, after) {
		t.Error("the files have changed")
	}
	if _, err := VerifyBackup(t.Context(), bytes.NewReader(b.Bytes()), nil); err != nil {
		t.Error(err)
	}
	fs := vfs.NewMem()
	if _, err := Restore(t.Context(), "data", &b, Options{FS: fs}, nil); err != nil {
		t.Fatal(err)
	}
	if got := pairs(t, mustOpen(t, "data", Options{FS: fs})); !reflect.DeepEqual(want, got) {
		t.Errorf("%d keys in the original, %d restored, or they differ", len(want), len(got))
	}

	if _, err := BackupDir(t.Context(), "data", io.Discard, Options{FS: mem}, nil); !errors.Is(err, ErrLocked) {
		t.Errorf("backup of a directory in use: %v", err)
	}
	if _, err := BackupDir(t.Context(), "none", io.Discard, Options{FS: mem}, nil); !errors.Is(err, ErrMissing) {
		t.Errorf("backup of a missing directory: %v", err)
	}
}

// rewriteBackup writes a valid stream with other pairs or another header.
func rewriteBackup(t *testing.T, data []byte, header func(*backup.Header), change func(key, value []byte) (k, v []byte)) []byte {
	t.Helper()
	r, err := backup.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	h := r.Header()
	if header != nil {
		header(&h)
	}
	var b bytes.Buffer
	w, err := backup.NewWriter(&b, h, 0)
	if err != nil {
		t.Fatal(err)
	}
	var counts backup.Counts
	for {
		key, value, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if change != nil {
			key, value = change(key, value)
		}
		if key == nil {
			continue
		}
		count(&counts, key)
		if err := w.Add(key, value); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(counts); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// changeNth changes the nth pair whose key has a prefix.
func changeNth(prefix string, n int, to func(key, value []byte) (k, v []byte)) func(key, value []byte) (k, v []byte) {
	return func(key, value []byte) (k, v []byte) {
		if strings.HasPrefix(string(key), prefix) {
			if n--; n == 0 {
				return to(bytes.Clone(key), bytes.Clone(value))
			}
		}
		return key, value
	}
}

func dropPair([]byte, []byte) (k, v []byte) { return nil, nil }

func truncateValue(key, value []byte) (k, v []byte) { return key, value[:len(value)-1] }

// TestVerifyContent: Verify detects a valid stream whose store contradicts itself.
func TestVerifyContent(t *testing.T) {
	data := smallBackup(t)
	for name, c := range map[string]struct {
		change func(key, value []byte) (k, v []byte)
		text   string
	}{
		"a record is missing":        {changeNth("r", 2, dropPair), "do not match"},
		"a record is cut short":      {changeNth("r", 1, truncateValue), "cannot be read"},
		"a log entry is missing":     {changeNth("l", 5, dropPair), "do not match"},
		"the first entry is missing": {changeNth("l", 1, dropPair), "the log entry 3 is missing"},
		"the last entry is missing":  {changeNth("l", 18, dropPair), "do not match"},
		"a log entry is cut short":   {changeNth("l", 3, truncateValue), "cannot be read"},
		"a document is missing":      {changeNth("d", 5, dropPair), "do not match"},
		"a document is cut short":    {changeNth("d", 1, func(key, value []byte) (k, v []byte) { return key, value[:1] }), "damaged"},
		"an end is missing":          {changeNth("e", 2, dropPair), "do not match"},
		"an end is at another time":  {changeNth("e", 1, func(key, value []byte) (k, v []byte) { key[8] ^= 1; return key, value }), "do not match"},
		"an end has a value":         {changeNth("e", 1, func(key, _ []byte) (k, v []byte) { return key, []byte("x") }), "damaged"},
		"an expiry is missing":       {changeNth("x", 3, dropPair), "do not match"},
		"an expiry is of another":    {changeNth("x", 1, func(key, value []byte) (k, v []byte) { key[len(key)-1] ^= 1; return key, value }), "do not match"},
		"the last number is missing": {changeNth(metaSeq, 1, dropPair), "header says"},
		"the last number is too low": {changeNth(metaSeq, 1, func(key, _ []byte) (k, v []byte) { return key, appendNumber(nil, 7) }), "header says"},
		"the format is missing":      {changeNth(metaFormat, 1, dropPair), "format"},
		"the trim is further":        {changeNth(metaTrim, 1, func(key, _ []byte) (k, v []byte) { return key, appendNumber(nil, 5) }), "those up to 5 were dropped"},
		"a key of no kind":           {changeNth("x", 13, func(key, value []byte) (k, v []byte) { key[0] = 'y'; return key, value }), "unknown kind of key"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := rewriteBackup(t, data, nil, c.change)
			if bytes.Equal(changed, data) {
				t.Fatal("nothing was changed")
			}
			_, err := VerifyBackup(t.Context(), bytes.NewReader(changed), nil)
			if !errors.Is(err, ErrInconsistent) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v, want ErrInconsistent with %q", err, c.text)
			}
		})
	}
	if _, err := VerifyBackup(t.Context(), bytes.NewReader(rewriteBackup(t, data, nil, nil)), nil); err != nil {
		t.Errorf("nothing changed: %v", err)
	}
}

// TestBackupFormats: a backup of a newer format or engine is refused.
func TestBackupFormats(t *testing.T) {
	data := smallBackup(t)
	for name, header := range map[string]func(*backup.Header){
		"format": func(h *backup.Header) { h.Format = formatVersion + 1 },
		"engine": func(h *backup.Header) { h.Engine = "novel" },
	} {
		changed := rewriteBackup(t, data, header, nil)
		fs := vfs.NewMem()
		_, verify := VerifyBackup(t.Context(), bytes.NewReader(changed), nil)
		_, restore := Restore(t.Context(), "data", bytes.NewReader(changed), Options{FS: fs}, nil)
		for _, err := range []error{verify, restore} {
			if !errors.Is(err, backup.ErrNewer) || !strings.Contains(err.Error(), "use a newer porchlight") {
				t.Errorf("newer %s: %v", name, err)
			}
		}
		if names, err := fs.List(""); err != nil || len(names) != 0 {
			t.Errorf("newer %s: %q remains, %v", name, names, err)
		}
	}
}

// TestBackupGolden: a backup of a directory of an older format does not change the
// directory, and is restored to the newest format with the same content; also where
// values migrate.
func TestBackupGolden(t *testing.T) {
	for _, kind := range []string{"1/clean", "1/killed", "2/clean", "2/killed", "3/clean", "3/killed", "4/clean", "4/killed"} {
		t.Run(strings.ReplaceAll(kind, "/", " "), func(t *testing.T) {
			want := readGolden(t, kind)
			mem := copyFromDisk(t, filepath.Join(goldenDir, kind))
			before := mem.String()
			var b bytes.Buffer
			info, err := BackupDir(t.Context(), "data", &b, goldenOptions(mem, goldenNow), nil)
			if err != nil || strconv.Itoa(info.Format) != kind[:1] {
				t.Fatalf("%+v, %v", info, err)
			}
			if mem.String() != before {
				t.Error("the directory was changed")
			}
			if _, err := VerifyBackup(t.Context(), bytes.NewReader(b.Bytes()), nil); err != nil {
				t.Error(err)
			}
			for what, o := range map[string]Options{"now": goldenOptions(vfs.NewMem(), goldenNow), "to come": nextFormatOptions(vfs.NewMem())} {
				if _, err := Restore(t.Context(), "data", bytes.NewReader(b.Bytes()), o, nil); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				s := mustOpen(t, "data", o)
				epoch, got, _ := strings.Cut(goldenListing(t, s), "\n")
				was, listed, _ := strings.Cut(want, "\n")
				if got != listed || epoch == was {
					t.Errorf("%s: restored\n%s\n%s\nwant\n%s\nand an epoch other than %s", what, epoch, got, listed, was)
				}
			}
		})
	}
}

// TestBackupDirDamaged: a directory that has lost the end of its log is refused.
func TestBackupDirDamaged(t *testing.T) {
	disk := vfs.NewCrashableMem()
	s := mustOpen(t, "data", Options{FS: disk})
	fillStore(t, s, 13)
	s.advanceWatermark()
	mem := disk.CrashClone(vfs.CrashCloneCfg{})
	names, err := mem.List("data")
	if err != nil {
		t.Fatal(err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !isLog(name) })
	if len(names) == 0 {
		t.Fatal("INVALID: no log")
	}
	last := "data/" + slices.Max(names)
	whole, err := readAll(mem, last)
	whole = bytes.TrimRight(whole, "\x00") // what was written ahead
	if err != nil || len(whole) < 100 {
		t.Fatal(len(whole), err)
	}
	f, err := mem.Create(last, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(whole[:len(whole)/2]); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := BackupDir(t.Context(), "data", io.Discard, Options{FS: mem}, nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("%v, want ErrDamaged", err)
	}
}
