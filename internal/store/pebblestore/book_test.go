package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// A book is what the callers of a store know, in their own memory: every state
// that was made, in the order of the committer, and how much of it was answered
// or shown. It finds fault with what the store does by it.
type book struct {
	base    *book // what this one goes on from, after a crash, up to baseLen
	baseLen int

	mu     sync.Mutex // guards the fields below
	made   []*commit
	places map[place]int    // in made, from 1, by user and revision
	newest [crashUsers]int  // likewise
	ended  map[string]int   // likewise, by what ended
	shown  int              // up to here everything was answered or shown
	seen   int              // up to here the reader of the log took everything
	seenAt store.Position   // likewise
	writes []map[string]val // the documents after each write that was tried
	wrote  int              // of them answered
	// versions are those of all documents that were ever loaded, with the write.
	versions map[string]string
	cursors  []kept
	// Up to here a user's entries may be redacted, and must be.
	mayBeErased, erased [crashUsers]int
	faults              []string
	refused             int // updates
	ends                int // answered
	conflict            int // answered writes
	gaps                int
}

type place struct {
	user     int
	revision presence.Revision
}

// A commit is a state that an update function made.
type commit struct {
	user   int
	state  presence.State
	by     store.By
	shown  presence.Presence
	before int            // the place of the one before it, of the same user
	at     store.Position // as answered or shown; zero: neither
}

// A val is a document's value, and its end.
type val struct {
	value string
	until time.Time
}

// A kept cursor, and what was given with it.
type kept struct {
	cursor    store.Cursor
	revisions [crashUsers]presence.Revision
}

func newBook() *book {
	return &book{places: make(map[place]int), ended: make(map[string]int), versions: make(map[string]string), writes: []map[string]val{{}}}
}

// sequel is for a store that goes on from the first n commits and the given
// write.
func (b *book) sequel(n int, newest [crashUsers]int, write int) *book {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := newBook()
	q.base, q.baseLen = b, n
	q.made, q.newest = append(q.made, b.made[:n]...), newest
	q.writes, q.wrote = append(q.writes[:0], b.writes[:write+1]...), write
	q.shown = n
	q.mayBeErased = b.mayBeErased
	return q
}

// maxFaults is how many are kept: one is enough to fail.
const maxFaults = 10

func (b *book) fault(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faultLocked(format, args...)
}

func (b *book) faultLocked(format string, args ...any) {
	if len(b.faults) < maxFaults {
		b.faults = append(b.faults, fmt.Sprintf(format, args...))
	}
}

// placeOf is where user i's revision was made, zero for nowhere.
func (b *book) placeOf(i int, r presence.Revision) int {
	if n := b.places[place{i, r}]; n != 0 || b.base == nil {
		return n
	}
	b.base.mu.Lock()
	defer b.base.mu.Unlock()
	if n := b.base.places[place{i, r}]; n <= b.baseLen {
		return n
	}
	return 0
}

func (b *book) endOf(id string) int {
	if n := b.ended[id]; n != 0 || b.base == nil {
		return n
	}
	b.base.mu.Lock()
	defer b.base.mu.Unlock()
	if n := b.base.ended[id]; n <= b.baseLen {
		return n
	}
	return 0
}

// crashed is how many revisions were made before the crash and came to nothing.
func (b *book) madeBefore(i int, r presence.Revision) bool {
	if b.base == nil {
		return false
	}
	b.base.mu.Lock()
	defer b.base.mu.Unlock()
	return b.base.places[place{i, r}] != 0
}

// indexOf is the inverse of crashUser, or -1.
func indexOf(u store.User) int {
	i, err := strconv.Atoi(strings.TrimPrefix(string(u.ID), "user"))
	if err != nil || i < 0 || i >= crashUsers || crashUser(i) != u {
		return -1
	}
	return i
}

// update changes user i's state at an instant. What change names has ended.
func (b *book) update(s *Store, i int, by store.By, change func(*presence.State) (ended []string, err error)) error {
	r, err := s.Update(context.Background(), crashUser(i), storetest.UpdateFunc(by, func(was presence.State) (presence.State, error) {
		st := was
		st.At = max(st.At, s.now())
		ended, err := change(&st)
		if err != nil {
			return was, err
		}
		st.Revision = max(st.Revision+1, presence.Revision(st.At))
		b.make(i, &was, st, by, ended)
		return st, nil
	}))
	switch {
	case err == nil, errors.Is(err, errNo), errors.Is(err, presence.ErrNoChange):
		b.show(r)
	}
	return err
}

// make notes what an update function made of a state. The newest is what it must
// have been given.
func (b *book) make(i int, was *presence.State, st presence.State, by store.By, ended []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := b.newest[i]; n > 0 && b.made[n-1].state.Revision != was.Revision {
		b.faultLocked("an update of %s was given revision %d, and %d is the newest", crashUser(i).ID, was.Revision, b.made[n-1].state.Revision)
	}
	if b.placeOf(i, st.Revision) != 0 || b.madeBefore(i, st.Revision) {
		b.faultLocked("revision %d of %s is used again", st.Revision, crashUser(i).ID)
	}
	c := &commit{user: i, state: st, by: by, before: b.newest[i]}
	c.shown, _ = presence.Compose(st, st.At)
	b.made = append(b.made, c)
	n := len(b.made)
	b.places[place{i, st.Revision}] = n
	b.newest[i] = n
	for _, id := range ended {
		if b.endOf(id) != 0 {
			b.faultLocked("the end of %s of %s is committed twice", id, crashUser(i).ID)
		}
		b.ended[id] = n
		b.ends++
	}
}

// show notes that a record was answered or shown, which makes it and all before
// it durable.
func (b *book) show(r store.Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.State == nil || r.State.Revision == 0 {
		return
	}
	n := b.showLocked(r.User, r.State.Revision, r.At)
	if n == 0 {
		return
	}
	if c := b.made[n-1]; !reflect.DeepEqual(c.state, *r.State) || c.shown != r.Shown {
		b.faultLocked("%s was shown as %+v, made was %+v", r.User.ID, *r.State, c.state)
	}
}

func (b *book) showLocked(u store.User, revision presence.Revision, at store.Position) (n int) {
	i := indexOf(u)
	if i < 0 {
		b.faultLocked("user %q was shown, whom nobody knows", u.ID)
		return 0
	}
	if n = b.placeOf(i, revision); n == 0 {
		b.faultLocked("%s was shown with revision %d, which nobody made", u.ID, revision)
		return 0
	}
	if c := b.made[n-1]; n > b.baseLen { // those below are the other book's
		if c.at != 0 && c.at != at {
			b.faultLocked("revision %d of %s is at %d and at %d", revision, u.ID, c.at, at)
		}
		c.at = at
	}
	b.shown = max(b.shown, n)
	return n
}

// take notes entries that the reader of the log is given. It may miss what was dropped.
func (b *book) take(s *Store, entries []store.Entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	last := 0
	for _, e := range entries {
		n := b.showLocked(e.User, e.Revision, e.At)
		if n == 0 {
			continue
		}
		dropped := n > 1 && s.now().Sub(b.made[n-2].state.At) >= scriptRetention
		if n > max(last, b.seen)+1 && !dropped || last > 0 && n != last+1 {
			b.faultLocked("the reader was given entry %d after %d: it skipped some, or was given one twice", n, max(last, b.seen))
		}
		if e.Gap {
			b.gaps++
		}
		last = n
		b.checkEntry(n, &e)
	}
}

// took notes that it returned nil for entries.
func (b *book) took(entries []store.Entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := entries[len(entries)-1]
	b.seen, b.seenAt = max(b.seen, b.placeOf(indexOf(e.User), e.Revision)), max(b.seenAt, e.At)
}

// checkEntry holds a log entry against what was made there.
func (b *book) checkEntry(n int, e *store.Entry) {
	if want := b.entry(n, e); *e != want && (*e != store.Anonymize(want) || n > b.mayBeErased[b.made[n-1].user]) {
		b.faultLocked("entry %d is %+v, made was %+v", n, *e, want)
	}
}

// entry is what was made at a place; its position and gap are those of e.
func (b *book) entry(n int, e *store.Entry) store.Entry {
	c := b.made[n-1]
	want := store.Entry{
		At: e.At, User: crashUser(c.user), Revision: c.state.Revision, Time: c.state.At.Time(), By: c.by, Gap: e.Gap,
		After: c.shown, UserAfter: userFacts(&c.state),
	}
	if c.before > 0 {
		before := b.made[c.before-1]
		want.Before, want.UserBefore = before.shown, userFacts(&before.state)
	}
	return want
}

func userFacts(st *presence.State) store.UserFacts {
	return store.UserFacts{State: st.UserState, Note: st.Note.Text}
}

// read reads the log from where the reader of it is.
func (b *book) read(ctx context.Context, s *Store, fn func([]store.Entry) error) error {
	b.mu.Lock()
	from := b.seenAt
	b.mu.Unlock()
	return s.Feed(ctx, from, fn)
}

// erase erases a user.
func (b *book) erase(s *Store, i int) error {
	b.mu.Lock()
	upTo := b.newest[i]
	b.mayBeErased[i] = math.MaxInt
	b.mu.Unlock()
	err := s.Erase(context.Background(), crashUser(i))
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mayBeErased[i] = len(b.made)
	if err == nil {
		b.erased[i] = upTo
	}
	return err
}

// tick ends what is past its end, as of now.
func (b *book) tick(s *Store, i int) error {
	now := s.now()
	return b.update(s, i, store.By{Cause: store.CauseTime}, func(st *presence.State) (ended []string, err error) {
		var claims []presence.Claim
		for _, c := range st.Claims {
			if !c.Until.IsZero() && c.Until <= now {
				ended = append(ended, string(c.ID))
			} else {
				claims = append(claims, c)
			}
		}
		var sessions []presence.Session
		for _, x := range st.Sessions {
			if x.EndsAt <= now {
				ended = append(ended, string(x.ID))
			} else {
				sessions = append(sessions, x)
			}
		}
		if len(ended) == 0 {
			return nil, presence.ErrNoChange
		}
		st.Claims, st.Sessions = claims, sessions
		return ended, nil
	})
}

// due ticks whoever is due, until ctx ends.
func (b *book) due(ctx context.Context, s *Store) error {
	return s.Due(ctx, func(us []store.User) error {
		var group sync.WaitGroup
		for _, u := range us {
			group.Go(func() { _ = b.tick(s, indexOf(u)) })
		}
		group.Wait()
		return nil
	})
}

// cut takes a cursor, at an instant when nothing is being written.
func (b *book) cut(s *Store) error {
	records, cursor, err := s.Read(context.Background(), everybody())
	if err != nil {
		return err
	}
	k := kept{cursor: cursor}
	for _, r := range records {
		b.show(r)
		k.revisions[indexOf(r.User)] = r.State.Revision
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cursors = append(b.cursors, k)
	return nil
}

func everybody() []store.User {
	us := make([]store.User, crashUsers)
	for i := range us {
		us[i] = crashUser(i)
	}
	return us
}

// resume holds kept cursors against the records of a store: each gives those that
// are newer, and no others.
func (b *book) resume(s *Store, cursors []kept) {
	records, _, err := s.Read(context.Background(), everybody())
	if err != nil {
		b.fault("Read: %v", err)
		return
	}
	for i := range cursors {
		b.resumeOne(s, &cursors[i], records)
	}
}

func (b *book) resumeOne(s *Store, k *kept, records []store.Record) {
	at, err := k.cursor.Position(s.Epoch())
	if err != nil {
		b.fault("a cursor that was given out is refused: %v", err)
		return
	}
	for _, r := range records {
		i := indexOf(r.User)
		if newer := r.State.Revision != k.revisions[i]; newer != (r.At > at) {
			b.fault("%s had revision %d when a cursor was given at %d and has %d at %d", r.User.ID, k.revisions[i], at, r.State.Revision, r.At)
		}
	}
}

const bookColl = "c"

// write makes a write of documents, and notes what the documents are after it.
func (b *book) write(s *Store, change func(docs map[string]val)) error {
	b.mu.Lock()
	now := make(map[string]val)
	for k, v := range b.writes[len(b.writes)-1] {
		now[k] = v
	}
	before := b.writes[len(b.writes)-1]
	change(now)
	b.mu.Unlock()
	held, err := s.List(context.Background(), "acme", bookColl, "", 100)
	if err != nil {
		return err
	}
	versions := make(map[string]string)
	for _, d := range held {
		versions[d.Key.Key] = d.Version
	}
	docs := changedDocs(before, now, versions)
	b.mu.Lock()
	b.writes = append(b.writes, now)
	b.mu.Unlock()
	if err := s.Write(context.Background(), "acme", docs...); err != nil {
		return err
	}
	b.mu.Lock()
	b.wrote = len(b.writes) - 1
	b.mu.Unlock()
	return b.list(s)
}

func changedDocs(before, now map[string]val, versions map[string]string) []store.Doc {
	var docs []store.Doc
	for k := range before {
		if _, ok := now[k]; !ok && versions[k] != "" {
			docs = append(docs, store.Doc{Key: store.Key{Collection: bookColl, Key: k}, Version: versions[k]})
		}
	}
	for k, v := range now {
		if v != before[k] {
			docs = append(docs, store.Doc{
				Key: store.Key{Collection: bookColl, Key: k}, Version: versions[k], Value: []byte(v.value), Until: v.until,
			})
		}
	}
	return docs
}

// list looks at the documents. Each version is of one value for ever.
func (b *book) list(s *Store) error {
	docs, err := s.List(context.Background(), "acme", bookColl, "", 100)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range docs {
		b.version(d)
	}
	return nil
}

func (b *book) version(d store.Doc) {
	versions := b.versions
	key := d.Key.Key + " " + d.Version
	value, known := versions[key]
	if !known && b.base != nil {
		b.base.mu.Lock()
		defer b.base.mu.Unlock()
		versions = b.base.versions
		value, known = versions[key]
	}
	if known && value != string(d.Value) {
		b.faultLocked("version %q of document %s is of %.20q and of %.20q", d.Version, d.Key.Key, value, d.Value)
	}
	b.versions[key] = string(d.Value)
}

// clash tries a write with a version that is not the document's.
func (b *book) clash(s *Store, key string) error {
	err := s.Write(context.Background(), "acme",
		store.Doc{Key: store.Key{Collection: bookColl, Key: "new"}, Value: []byte("must not be")},
		store.Doc{Key: store.Key{Collection: bookColl, Key: key}, Version: "nonsense", Value: []byte("must not be")})
	if !errors.Is(err, store.ErrConflict) {
		b.fault("a write of another version was answered with %v", err)
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conflict++
	return nil
}

// documents says which of the writes from wrote on the store has, whole.
func (b *book) documents(s *Store) (write int, found bool) {
	docs, err := s.List(context.Background(), "acme", bookColl, "", 100)
	if err != nil {
		b.fault("List: %v", err)
		return 0, false
	}
	held := make(map[string]val)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range docs {
		held[d.Key.Key] = val{string(d.Value), d.Until}
		b.version(d)
	}
	now := s.now().Time()
	for n := len(b.writes) - 1; n >= 0; n-- {
		if sameDocs(b.writes[n], held, now) {
			return n, true
		}
	}
	b.faultLocked("the documents are of no write, or of half of one: %v", held)
	return 0, false
}

func sameDocs(want, held map[string]val, now time.Time) bool {
	live := 0
	for k, v := range want {
		if !v.until.IsZero() && !now.Before(v.until) {
			continue
		}
		live++
		if h, ok := held[k]; !ok || h.value != v.value || !h.until.Equal(v.until) {
			return false
		}
	}
	return live == len(held)
}

func padding(n int) string { return strings.Repeat("x", n) }
