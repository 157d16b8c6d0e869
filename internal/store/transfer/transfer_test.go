package transfer_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/store/storetest"
	"porchlight.dev/porchlight/internal/store/transfer"
)

// users is how many users the stores of the tests have. More than the servers accept in a
// batch, and pages of the log.
const users = 700

func user(i int) store.User {
	return store.User{Account: presence.AccountID([]string{"acme", "", "über"}[i%3]), ID: presence.UserID(fmt.Sprint("user.", i))}
}

func touch(t *testing.T, st store.Store, u store.User, now time.Time, text string, expires time.Duration) {
	t.Helper()
	_, err := st.Update(t.Context(), u, storetest.UpdateFunc(store.By{Cause: store.CauseNote, Actor: store.Actor{User: u.ID}}, func(s presence.State) (presence.State, error) {
		s.At = max(s.At, presence.InstantOf(now))
		s.Revision = max(s.Revision+1, presence.Revision(s.At))
		s.Note.Text, s.Note.Until = text, 0
		if expires > 0 {
			s.Note.Until = s.At.Add(expires)
		}
		s.Answers = append(s.Answers[:0:0], presence.Answer{App: "app", Key: [16]byte{1}, At: s.At, Revision: s.Revision, Result: text})
		return s, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, st store.Store, account presence.AccountID, docs ...store.Doc) {
	t.Helper()
	if err := st.Write(t.Context(), account, docs...); err != nil {
		t.Fatal(err)
	}
}

func doc(key, value string, until time.Time) store.Doc {
	return store.Doc{Key: store.Key{Collection: "c", Key: key}, Value: []byte(value), Until: until}
}

// fill makes a store with everything that can be transferred: users whose entries are gone,
// users with many versions, erased users, timers in the past and in the future, documents that
// expire, have expired or were deleted.
func fill(t *testing.T, dir string) {
	t.Helper()
	now := time.Now()
	old := now.Add(-40 * 24 * time.Hour)
	st := openDir(t, dir, pebblestore.Options{Clock: func() time.Time { return old }})
	for i := range users / 2 {
		touch(t, st, user(i), old, "old", 0)
		if i%10 == 0 {
			write(t, st, "acme", doc(fmt.Sprint("old", i), "value", time.Time{}))
		}
	}
	closeStore(t, st)

	st = openDir(t, dir, pebblestore.Options{})
	touch(t, st, user(users), now, "first kept", 0)
	awaitTrim(t, st)
	for i := users / 4; i < users; i++ {
		touch(t, st, user(i), now, fmt.Sprint("note ", i), time.Duration(i%4)*time.Hour)
	}
	for i := range 50 {
		touch(t, st, user(3), now, fmt.Sprint("version ", i), 0)
	}
	for i := range 30 { // each takes a position in the log
		write(t, st, "acme", doc(fmt.Sprint("new", i), "value", time.Time{}))
	}
	touch(t, st, user(5), now, "soon", 2*time.Second)
	if err := st.Erase(t.Context(), user(6)); err != nil {
		t.Fatal(err)
	}
	if err := st.Erase(t.Context(), user(users/2)); err != nil {
		t.Fatal(err)
	}
	write(t, st, "acme", doc("a", "", time.Time{}), doc("b", "together", now.Add(48*time.Hour)), doc("ä/.*>", "x", time.Time{}))
	write(t, st, "", doc("gone", "x", now.Add(time.Millisecond)), doc("deleted", "x", time.Time{}), doc("large", strings.Repeat("x", store.MaxDocBytes), time.Time{}))
	docs, err := st.Load(t.Context(), "", store.Key{Collection: "c", Key: "deleted"})
	if err != nil || len(docs) != 1 {
		t.Fatal(docs, err)
	}
	docs[0].Value = nil
	write(t, st, "", docs[0])
	closeStore(t, st)
}

// awaitTrim waits until the entries that are past the retention are dropped.
func awaitTrim(t *testing.T, st store.Store) {
	t.Helper()
	for {
		entries, err := st.Log(t.Context(), 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 1 && entries[0].User == user(users) {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("the log was not trimmed")
		}
	}
}

func openDir(t *testing.T, dir string, o pebblestore.Options) *pebblestore.Store {
	t.Helper()
	o.MinFreeBytes = -1
	st, err := pebblestore.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func closeStore(t *testing.T, st store.Store) {
	t.Helper()
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
}

// A place is where a store is.
type place struct {
	dir  string
	nats enginetest.NATS
	name string
}

func (p place) options() natsstore.Options {
	return natsstore.Options{Prefix: p.name, Replicas: 1, SystemURL: p.nats.SystemURL(), Timeout: enginetest.Timeout}
}

func (p place) open(t *testing.T) store.Store {
	t.Helper()
	if p.dir != "" {
		return openDir(t, p.dir, pebblestore.Options{MustExist: true})
	}
	o := p.options()
	o.MustExist, o.Exclusive = true, true
	st, err := natsstore.Open(t.Context(), p.nats.URL(), o)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

type source interface {
	transfer.Source
	Close() error
}

func (p place) source(ctx context.Context) (source, error) {
	if p.dir != "" {
		return pebblestore.OpenSource(p.dir, pebblestore.Options{MinFreeBytes: -1})
	}
	return natsstore.OpenSource(ctx, p.nats.URL(), p.options())
}

func (p place) fill(ctx context.Context, from transfer.Source, check transfer.Verify) error {
	if p.dir != "" {
		return pebblestore.Import(ctx, p.dir, from, pebblestore.Options{MinFreeBytes: -1}, check)
	}
	return natsstore.Import(ctx, p.nats.URL(), from, p.options(), check)
}

func mustSource(t *testing.T, p place) source {
	t.Helper()
	from, err := p.source(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return from
}

// move imports a store, compares the two summaries, and returns the common content.
func move(t *testing.T, from, to place) transfer.Content {
	t.Helper()
	source := mustSource(t, from)
	defer source.Close()
	var content transfer.Content
	err := to.fill(t.Context(), source, func(ctx context.Context, stored transfer.Source) error {
		was, err := transfer.Summarize(ctx, source)
		if err != nil {
			return err
		}
		is, err := transfer.Summarize(ctx, stored)
		if err == nil {
			content, err = transfer.Compare(was, is, time.Now())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// describe gives all that a store answers.
func describe(t *testing.T, st store.Store) string {
	t.Helper()
	ctx := t.Context()
	var b strings.Builder
	fmt.Fprintln(&b, "epoch", st.Epoch())
	for i := range users + 1 {
		records, _, err := st.Read(ctx, []store.User{user(i)}, store.Freshness{})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			fmt.Fprintf(&b, "record %v at %d: %x\n", r.User, r.At, store.AppendState(nil, r.State))
		}
	}
	for _, i := range []int{0, 3, 5, 6, users / 4, users / 2, users - 1, users} {
		for before, page := store.Position(0), []store.Entry{{}}; len(page) > 0; {
			var err error
			if page, err = st.History(ctx, user(i), before, 7); err != nil {
				t.Fatal(err)
			}
			for _, e := range page {
				fmt.Fprintf(&b, "history %+v\n", e)
				before = e.At
			}
		}
	}
	for after, page := store.Position(0), []store.Entry{{}}; len(page) > 0; {
		var err error
		if page, err = st.Log(ctx, after, 100); err != nil {
			t.Fatal(err)
		}
		for i := range page {
			fmt.Fprintf(&b, "log %+v\n", page[i])
			after = page[i].At
		}
		if len(page) > 0 {
			// A reader that continues after an entry reads on from the position of its time.
			at, err := st.PositionAt(ctx, page[len(page)-1].Time)
			if err != nil {
				t.Fatal(err)
			}
			next, err := st.Log(ctx, at, 1)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "from %v: %+v\n", page[len(page)-1].Time, next)
		}
	}
	for _, account := range []presence.AccountID{"", "acme"} {
		names, err := st.Collections(ctx, account)
		if err != nil {
			t.Fatal(err)
		}
		docs, err := st.List(ctx, account, "c", "", 1000)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "documents of %q in %q\n", account, names)
		for _, d := range docs {
			fmt.Fprintf(&b, "%q %q until %v: %.40q\n", d.Key.Key, d.Version, d.Until, d.Value)
		}
	}
	return b.String()
}

func describePlace(t *testing.T, p place) string {
	t.Helper()
	st := p.open(t)
	defer closeStore(t, st)
	return describe(t, st)
}

func diff(t *testing.T, what, got, want string) {
	t.Helper()
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			t.Fatalf("%s: line %d:\n got %.400s\nwant %.400s", what, i, g[i], w[i])
		}
	}
	if len(g) != len(w) {
		t.Fatalf("%s: %d lines, want %d", what, len(g), len(w))
	}
}

// TestRoundTrip: a store answers the same on each engine, and again after it has moved back.
// Each one can be used.
func TestRoundTrip(t *testing.T) {
	enginetest.Embedded(t)
	n := enginetest.StartNATS(t)
	root := t.TempDir()
	first, second, third := place{dir: filepath.Join(root, "first")}, place{nats: n, name: "copy"}, place{dir: filepath.Join(root, "third")}
	fill(t, first.dir)
	want := describePlace(t, first)
	content := move(t, first, second)
	if content.Records.Count != users+1 || content.Entries.Count < users/2 || content.Documents.Count < 30 {
		t.Fatalf("INVALID: %+v", content)
	}
	diff(t, "on NATS", describePlace(t, second), want)
	if again := move(t, second, third); again != content {
		t.Errorf("on the way back: %+v, want %+v", again, content)
	}
	diff(t, "in a directory again", describePlace(t, third), want)
	if report, err := pebblestore.Verify(t.Context(), third.dir, pebblestore.VerifyOptions{}); err != nil {
		t.Errorf("verify: %v, %+v", err, report)
	}
	for _, p := range []place{second, third} {
		use(t, p)
	}
}

// use changes a store that was imported: positions rise, versions match, and timers fire.
func use(t *testing.T, p place) {
	t.Helper()
	st := p.open(t)
	defer closeStore(t, st)
	due, cancel := context.WithCancelCause(t.Context())
	fired := errors.New("fired")
	err := st.Due(due, func(us []store.User) error {
		for _, u := range us {
			if u == user(5) {
				cancel(fired)
				return fired
			}
		}
		return nil
	})
	if !errors.Is(err, fired) {
		t.Fatalf("Due: %v", err)
	}
	before, err := st.Log(t.Context(), 0, store.MaxFeedGroup)
	if err != nil {
		t.Fatal(err)
	}
	last := before[len(before)-1].At
	touch(t, st, user(3), time.Now(), "after", 0)
	entries, err := st.Log(t.Context(), last, 10)
	if err != nil || len(entries) != 1 || entries[0].Gap || entries[0].User != user(3) {
		t.Errorf("after %d: %+v, %v", last, entries, err)
	}
	docs, err := st.Load(t.Context(), "acme", store.Key{Collection: "c", Key: "a"})
	if err != nil || len(docs) != 1 {
		t.Fatal(docs, err)
	}
	was := docs[0].Version
	write(t, st, "acme", docs[0])
	if err := st.Write(t.Context(), "acme", docs[0]); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a version that was replaced: %v", err)
	}
	if docs, err = st.Load(t.Context(), "acme", docs[0].Key); err != nil || len(docs) != 1 || docs[0].Version == was {
		t.Error(docs, err)
	}
	if err := st.Erase(t.Context(), user(3)); err != nil {
		t.Error(err)
	}
}
