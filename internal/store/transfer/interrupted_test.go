package transfer_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"porchlight.dev/porchlight/internal/leveltest"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/store/transfer"
	"porchlight.dev/porchlight/internal/tail"
)

var errInterrupted = errors.New("interrupted")

// An interrupted source fails after so many items.
type interrupted struct {
	transfer.Source
	left int
}

func (i *interrupted) next() error {
	if i.left--; i.left < 0 {
		return errInterrupted
	}
	return nil
}

func (i *interrupted) Records(ctx context.Context, each func(*transfer.Record) error) error {
	return i.Source.Records(ctx, func(r *transfer.Record) error { return errors.Join(i.next(), each(r)) })
}

func (i *interrupted) Entries(ctx context.Context, each func(*transfer.Entry) error) error {
	return i.Source.Entries(ctx, func(e *transfer.Entry) error { return errors.Join(i.next(), each(e)) })
}

func (i *interrupted) Documents(ctx context.Context, each func(*transfer.Doc) error) error {
	return i.Source.Documents(ctx, func(d *transfer.Doc) error { return errors.Join(i.next(), each(d)) })
}

func (i *interrupted) Check(ctx context.Context) error {
	return errors.Join(i.next(), i.Source.Check(ctx))
}

func accept(context.Context, transfer.Source) error { return nil }

// TestInterrupted: a migration to NATS that is interrupted anywhere leaves a store that is
// refused, and an unchanged source; the next one succeeds.
func TestInterrupted(t *testing.T) {
	enginetest.Embedded(t)
	n := enginetest.StartNATS(t)
	source, target := place{dir: filepath.Join(t.TempDir(), "source")}, place{nats: n, name: "half"}
	fill(t, source.dir)
	want := describePlace(t, source)
	before := fingerprint(t, source.dir)
	from := mustSource(t, source)
	points := leveltest.Count(t, "interruptions of a migration", 8, 8, 80)
	total, refused := 4*users, 0
	for i := range points {
		err := target.fill(t.Context(), &interrupted{from, i * total / points}, accept)
		if !errors.Is(err, errInterrupted) {
			t.Fatalf("point %d: %v", i, err)
		}
		refused += mustRefuse(t, target)
	}
	unequal := errors.New("not the same")
	if err := target.fill(t.Context(), from, func(context.Context, transfer.Source) error { return unequal }); !errors.Is(err, unequal) {
		t.Fatal(err)
	}
	if refused += mustRefuse(t, target); refused < points/2 {
		t.Errorf("INVALID: only %d of %d interruptions left an incomplete store", refused, points+1)
	}
	if err := from.Close(); err != nil {
		t.Fatal(err)
	}
	if after := fingerprint(t, source.dir); after != before {
		t.Errorf("the source was changed:\n%s\n%s", before, after)
	}
	move(t, source, target)
	// As if it had been killed between two of its last steps.
	for _, streams := range [][]string{{"half-state"}, {"half-state", "half-history"}} {
		for _, stream := range streams {
			mark(t, n, stream)
		}
		mustRefuse(t, target)
		move(t, source, target)
	}
	diff(t, "after interruptions", describePlace(t, target), want)
	if err := target.fill(t.Context(), mustSource(t, source), accept); !errors.Is(err, natsstore.ErrOccupied) {
		t.Errorf("a migration to an existing store: %v", err)
	}
}

// mustRefuse opens an incomplete store, and returns 1 if it is one, and 0 if there is none.
func mustRefuse(t *testing.T, p place) int {
	t.Helper()
	if _, err := p.source(t.Context()); errors.Is(err, natsstore.ErrMissing) {
		return 0
	} else if !errors.Is(err, natsstore.ErrMigrating) {
		t.Fatalf("as a source: %v", err)
	}
	o := p.options()
	for _, o.MustExist = range []bool{false, true} {
		st, err := natsstore.Open(t.Context(), p.nats.URL(), o)
		if err == nil {
			closeStore(t, st)
			t.Fatal("an incomplete store was opened")
		}
		if !errors.Is(err, natsstore.ErrMigrating) || !strings.Contains(err.Error(), `run "porchlight migrate" again`) {
			t.Fatal(err)
		}
	}
	return 1
}

// mark makes a stream one of an incomplete store.
func mark(t *testing.T, n enginetest.NATS, name string) {
	t.Helper()
	conn, err := nats.Connect(n.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.Metadata["porchlight-migration"] = "run"
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
}

// fingerprint is of the names and contents of all files in a directory.
func fingerprint(t *testing.T, dir string) string {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range files {
		content, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(content)
		lines = append(lines, f.Name()+" "+hex.EncodeToString(sum[:4]))
	}
	return strings.Join(lines, "\n")
}

// TestDroppedEntries: the servers drop the entries of erased users. In a directory, an entry
// that is marked takes their place, so that the log is consistent; back on NATS, it is gone.
func TestDroppedEntries(t *testing.T) {
	enginetest.Embedded(t)
	n := enginetest.StartNATS(t)
	first, second, third := place{nats: n, name: "first"}, place{dir: filepath.Join(t.TempDir(), "second")}, place{nats: n, name: "third"}
	o := first.options()
	st, err := natsstore.Open(t.Context(), n.URL(), o)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for i := range 40 {
		touch(t, st, user(i%10), now, "before", 0)
	}
	for _, i := range []int{2, 4} {
		if err := st.Erase(t.Context(), user(i)); err != nil {
			t.Fatal(err)
		}
	}
	touch(t, st, user(2), now, "after", 0) // user 4 has no entry left
	write(t, st, "", doc("k", "v", time.Time{}))
	closeStore(t, st)
	want := describePlace(t, first)
	content := move(t, first, second)
	if content.Entries.Count != 33 {
		t.Errorf("%d entries were copied, want 33", content.Entries.Count)
	}
	if _, err := pebblestore.Verify(t.Context(), second.dir, pebblestore.VerifyOptions{}); err != nil {
		t.Error(err)
	}
	dir := second.open(t)
	for i, wantErased := range map[int][]bool{2: {false, true}, 4: {true}, 5: {false, false, false, false}} {
		entries, err := dir.History(t.Context(), user(i), 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		var erased []bool
		for _, e := range entries {
			erased = append(erased, e.Erased && e.Gap)
		}
		if !slices.Equal(erased, wantErased) {
			t.Errorf("user %d: %+v", i, entries)
		}
	}
	closeStore(t, dir)
	if again := move(t, second, third); again != content {
		t.Errorf("%+v, want %+v", again, content)
	}
	diff(t, "on NATS again", describePlace(t, third), want)
}

// TestSourceInUse: a store that a node serves is refused, and one that is used while it is
// read is noticed.
func TestSourceInUse(t *testing.T) {
	enginetest.Embedded(t)
	n := enginetest.StartNATS(t)
	dir, onNATS := place{dir: filepath.Join(t.TempDir(), "dir")}, place{nats: n, name: "used"}
	st := openDir(t, dir.dir, pebblestore.Options{})
	touch(t, st, user(1), time.Now(), "", 0)
	if _, err := dir.source(t.Context()); !errors.Is(err, pebblestore.ErrLocked) {
		t.Errorf("a directory in use: %v", err)
	}
	closeStore(t, st)
	move(t, dir, onNATS)
	for what, change := range map[string]func(store.Store){
		"nothing":   func(store.Store) {},
		"a record":  func(st store.Store) { touch(t, st, user(1), time.Now(), "again", 0) },
		"documents": func(st store.Store) { write(t, st, "", doc("new", "", time.Time{})) },
	} {
		from := mustSource(t, onNATS)
		if err := from.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		st := onNATS.open(t)
		if what == "nothing" {
			if _, err := onNATS.source(t.Context()); !errors.Is(err, natsstore.ErrLeaseHeld) {
				t.Errorf("a store that a node serves: %v", err)
			}
		}
		change(st)
		closeStore(t, st)
		if err := from.Check(t.Context()); !errors.Is(err, transfer.ErrChanged) {
			t.Errorf("a node changed %s: %v", what, err)
		}
		if err := from.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A reader keeps what it was given.
type reader struct {
	seen   []store.Position
	want   int
	enough context.CancelFunc
}

func (r *reader) Handle(_ context.Context, entries []store.Entry) error {
	for i := range entries {
		r.seen = append(r.seen, entries[i].At)
	}
	if len(r.seen) >= r.want {
		r.enough()
	}
	return nil
}

// TestConsumersContinue: a consumer of the log gets each entry once, on whichever engine the
// store is.
func TestConsumersContinue(t *testing.T) {
	enginetest.Embedded(t)
	n := enginetest.StartNATS(t)
	root := t.TempDir()
	places := []place{{dir: filepath.Join(root, "first")}, {nats: n, name: "moved"}, {dir: filepath.Join(root, "back")}}
	closeStore(t, openDir(t, places[0].dir, pebblestore.Options{}))
	r := &reader{}
	written := 0
	for i, p := range places {
		if i > 0 {
			move(t, places[i-1], p)
		}
		st := p.open(t)
		for range 7 {
			touch(t, st, user(written%5), time.Now(), "", 0)
			written++
		}
		ctx, cancel := context.WithCancel(t.Context())
		r.want, r.enough = written, cancel
		run := tail.New(tail.Options{Store: st, Clock: time.Now, Log: slog.New(slog.DiscardHandler)}, tail.Consumer{Name: "reader", Handler: r})
		if err := run.Run(ctx); !errors.Is(err, context.Canceled) && err != nil {
			t.Fatal(err)
		}
		for range 3 { // the next engine gives these
			touch(t, st, user(written%5), time.Now(), "", 0)
			written++
		}
		closeStore(t, st)
	}
	if want := written - 3; len(r.seen) != want || !slices.IsSorted(r.seen) || len(slices.Compact(slices.Clone(r.seen))) != want {
		t.Errorf("of %d entries the consumer got %v", want, r.seen)
	}
}

// TestTwoMigrations: of two migrations to one place at once, one is refused, and the other
// one's copy is whole.
func TestTwoMigrations(t *testing.T) {
	enginetest.Embedded(t)
	n := enginetest.StartNATS(t)
	source := place{dir: filepath.Join(t.TempDir(), "source")}
	fill(t, source.dir)
	want := describePlace(t, source)
	from := mustSource(t, source)
	for name, target := range map[string]place{"NATS": {nats: n, name: "contested"}, "a data directory": {dir: filepath.Join(t.TempDir(), "contested")}} {
		t.Run(name, func(t *testing.T) {
			var second error
			first := target.fill(t.Context(), from, func(ctx context.Context, _ transfer.Source) error {
				second = target.fill(ctx, from, accept) // when the first one has copied everything
				return nil
			})
			if (first == nil) == (second == nil) {
				t.Fatalf("the first: %v; the second: %v", first, second)
			}
			if got := describePlace(t, target); got != want {
				t.Errorf("the copy is\n%s\nwant\n%s", got, want)
			}
			if err := target.fill(t.Context(), from, accept); err == nil {
				t.Error("a third migration replaced the copy")
			}
		})
	}
}
