package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// A storeModel records what the callers of a store know: every state that was made, in
// the order of the committer, and how much of it was acknowledged or shown. It collects
// what the store does wrong as failures.
type storeModel struct {
	base    *storeModel // the model before the crash, of which the first baseLen commits remain
	baseLen int
	// baseVersions is how many versions of base are older than this model. Base may go on, and give
	// a version to another value than this model.
	baseVersions int

	mu                sync.Mutex // guards the fields below
	commits           []*commit
	commitNumbers     map[revisionKey]int // index in commits, from 1, by user and revision
	newest            [crashUsers]int     // likewise
	expired           map[string]int      // likewise, by what expired
	acknowledged      int                 // all commits up to here were acknowledged or shown
	consumed          int                 // the reader of the log has confirmed all commits up to here
	consumedAt        store.Position      // likewise
	writes            []map[string]val    // the documents after each attempted write
	acknowledgedWrite int                 // the last acknowledged one of them
	// versions has the value of every document version that was ever loaded.
	versions map[string]version
	cursors  []savedCursor
	// Up to these commits a user's entries may be redacted, and must be.
	mayBeRedacted, mustBeRedacted [crashUsers]int
	failures                      []string
	refused                       int // updates
	expiries                      int // acknowledged
	conflicts                     int // of writes
	gaps                          int
}

type revisionKey struct {
	user     int
	revision presence.Revision
}

// A commit is a state that an update function made.
type commit struct {
	user   int
	state  presence.State
	by     store.By
	shown  presence.Presence
	before int            // number of the same user's previous commit
	at     store.Position // as acknowledged or shown; zero: neither
}

// A val is a document's value and its expiry.
type val struct {
	value string
	until time.Time
}

// A version is the value of a document's version, and how many versions were loaded before it.
type version struct {
	value string
	order int
}

// A savedCursor is a cursor with the revisions that were read with it.
type savedCursor struct {
	cursor    store.Cursor
	revisions [crashUsers]presence.Revision
}

func newStoreModel() *storeModel {
	return &storeModel{commitNumbers: make(map[revisionKey]int), expired: make(map[string]int), versions: make(map[string]version), writes: []map[string]val{{}}}
}

// continueFrom is the model of a store that continues from the first n commits and the
// given write.
func (b *storeModel) continueFrom(n int, newest [crashUsers]int, write int) *storeModel {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := newStoreModel()
	q.base, q.baseLen, q.baseVersions = b, n, len(b.versions)
	q.commits, q.newest = append(q.commits, b.commits[:n]...), newest
	q.writes, q.acknowledgedWrite = append(q.writes[:0], b.writes[:write+1]...), write
	q.acknowledged = n
	q.mayBeRedacted = b.mayBeRedacted
	return q
}

// maxFaults is how many are kept: one is enough to fail.
const maxFailures = 10

func (b *storeModel) addFailure(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addFailureLocked(format, args...)
}

func (b *storeModel) addFailureLocked(format string, args ...any) {
	if len(b.failures) < maxFailures {
		b.failures = append(b.failures, fmt.Sprintf(format, args...))
	}
}

// commitNumber is the number of the commit with user i's revision, or zero.
func (b *storeModel) commitNumber(i int, r presence.Revision) int {
	if n := b.commitNumbers[revisionKey{i, r}]; n != 0 || b.base == nil {
		return n
	}
	b.base.mu.Lock()
	defer b.base.mu.Unlock()
	if n := b.base.commitNumbers[revisionKey{i, r}]; n <= b.baseLen {
		return n
	}
	return 0
}

func (b *storeModel) expiryCommit(id string) int {
	if n := b.expired[id]; n != 0 || b.base == nil {
		return n
	}
	b.base.mu.Lock()
	defer b.base.mu.Unlock()
	if n := b.base.expired[id]; n <= b.baseLen {
		return n
	}
	return 0
}

// usedBeforeCrash reports whether a revision was made before the crash, kept or not.
func (b *storeModel) usedBeforeCrash(i int, r presence.Revision) bool {
	if b.base == nil {
		return false
	}
	b.base.mu.Lock()
	defer b.base.mu.Unlock()
	return b.base.commitNumbers[revisionKey{i, r}] != 0
}

// userIndex is the inverse of crashUser, or -1.
func userIndex(u store.User) int {
	i, err := strconv.Atoi(strings.TrimPrefix(string(u.ID), "user"))
	if err != nil || i < 0 || i >= crashUsers || crashUser(i) != u {
		return -1
	}
	return i
}

// update changes user i's state. change returns the ids of what expired.
func (b *storeModel) update(s *Store, i int, by store.By, change func(*presence.State) (ended []string, err error)) error {
	var st store.Store = s
	if i%2 == 1 { // so half of the users are updated through Begin
		st = storetest.Begun(s)
	}
	r, err := st.Update(context.Background(), crashUser(i), storetest.UpdateFunc(by, func(was presence.State) (presence.State, error) {
		st := was
		st.At = max(st.At, s.now())
		ended, err := change(&st)
		if err != nil {
			return was, err
		}
		st.Revision = max(st.Revision+1, presence.Revision(st.At))
		b.recordCommit(i, &was, st, by, ended)
		return st, nil
	}))
	switch {
	case err == nil, errors.Is(err, errRefused), errors.Is(err, presence.ErrNoChange):
		b.acknowledge(r)
	}
	return err
}

// recordCommit records the state that an update function made. The function must have
// been given the newest state.
func (b *storeModel) recordCommit(i int, was *presence.State, st presence.State, by store.By, ended []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := b.newest[i]; n > 0 && b.commits[n-1].state.Revision != was.Revision {
		b.addFailureLocked("an update of %s was given revision %d, but %d is the newest", crashUser(i).ID, was.Revision, b.commits[n-1].state.Revision)
	}
	if b.commitNumber(i, st.Revision) != 0 || b.usedBeforeCrash(i, st.Revision) {
		b.addFailureLocked("revision %d of %s is used again", st.Revision, crashUser(i).ID)
	}
	c := &commit{user: i, state: st, by: by, before: b.newest[i]}
	c.shown, _ = presence.Compose(st, st.At)
	b.commits = append(b.commits, c)
	n := len(b.commits)
	b.commitNumbers[revisionKey{i, st.Revision}] = n
	b.newest[i] = n
	for _, id := range ended {
		if b.expiryCommit(id) != 0 {
			b.addFailureLocked("the expiry of %s of %s is committed twice", id, crashUser(i).ID)
		}
		b.expired[id] = n
		b.expiries++
	}
}

// acknowledge records that a record was acknowledged or shown. This commit and all
// before it must be durable.
func (b *storeModel) acknowledge(r store.Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.State == nil || r.State.Revision == 0 {
		return
	}
	n := b.acknowledgeLocked(r.User, r.State.Revision, r.At)
	if n == 0 {
		return
	}
	if c := b.commits[n-1]; !reflect.DeepEqual(c.state, *r.State) || c.shown != r.Shown {
		b.addFailureLocked("%s was shown as %+v, want %+v", r.User.ID, *r.State, c.state)
	}
}

func (b *storeModel) acknowledgeLocked(u store.User, revision presence.Revision, at store.Position) (n int) {
	i := userIndex(u)
	if i < 0 {
		b.addFailureLocked("unknown user %q was shown", u.ID)
		return 0
	}
	if n = b.commitNumber(i, revision); n == 0 {
		b.addFailureLocked("%s was shown with revision %d, which no update made", u.ID, revision)
		return 0
	}
	if c := b.commits[n-1]; n > b.baseLen { // earlier commits belong to the other model
		if c.at != 0 && c.at != at {
			b.addFailureLocked("revision %d of %s is at %d and at %d", revision, u.ID, c.at, at)
		}
		c.at = at
	}
	b.acknowledged = max(b.acknowledged, n)
	return n
}

// receiveEntries records entries that the reader of the log is given. The reader may
// miss entries that were dropped.
func (b *storeModel) receiveEntries(s *Store, entries []store.Entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	last := 0
	for _, e := range entries {
		n := b.acknowledgeLocked(e.User, e.Revision, e.At)
		if n == 0 {
			continue
		}
		dropped := n > 1 && s.now().Sub(b.commits[n-2].state.At) >= scriptRetention
		if n > max(last, b.consumed)+1 && !dropped || last > 0 && n != last+1 {
			b.addFailureLocked("the reader got entry %d after %d: entries are missing or repeated", n, max(last, b.consumed))
		}
		if e.Gap {
			b.gaps++
		}
		last = n
		b.checkEntry(n, &e)
	}
}

// confirmEntries records that the reader returned nil for entries.
func (b *storeModel) confirmEntries(entries []store.Entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := entries[len(entries)-1]
	b.consumed, b.consumedAt = max(b.consumed, b.commitNumber(userIndex(e.User), e.Revision)), max(b.consumedAt, e.At)
}

// checkEntry compares a log entry with the commit of that number.
func (b *storeModel) checkEntry(n int, e *store.Entry) {
	if want := b.wantEntry(n, e); !reflect.DeepEqual(any(*e), any(want)) && (!reflect.DeepEqual(any(*e), any(store.Anonymize(want))) || n > b.mayBeRedacted[b.commits[n-1].user]) {
		b.addFailureLocked("entry %d is %+v, want %+v", n, *e, want)
	}
}

// wantEntry is the log entry of a commit, with the position and gap of e.
func (b *storeModel) wantEntry(n int, e *store.Entry) store.Entry {
	c := b.commits[n-1]
	want := store.Entry{
		At: e.At, User: crashUser(c.user), Revision: c.state.Revision, Time: c.state.At.Time(), By: c.by, Gap: e.Gap,
		After: c.shown, UserAfter: userFacts(&c.state),
	}
	before := new(commit)
	if c.before > 0 {
		before = b.commits[c.before-1]
		want.Before, want.UserBefore = before.shown, userFacts(&before.state)
	}
	want.Began, want.Ended = sessionsOnlyIn(&c.state, &before.state), sessionsOnlyIn(&before.state, &c.state)
	return want
}

// sessionsOnlyIn gives the sessions of st that other does not have.
func sessionsOnlyIn(st, other *presence.State) (only []store.SessionFacts) {
	for _, s := range st.Sessions {
		same := func(o presence.Session) bool { return o.ID == s.ID && o.Since == s.Since }
		if !slices.ContainsFunc(other.Sessions, same) {
			only = append(only, store.SessionFacts{ID: s.ID, Client: s.Client, Version: s.Version, App: s.App})
		}
	}
	return only
}

func userFacts(st *presence.State) store.UserFacts {
	return store.UserFacts{State: st.UserState, Note: st.Note.Text}
}

// followLog reads the log from the last confirmed position.
func (b *storeModel) followLog(ctx context.Context, s *Store, fn func([]store.Entry) error) error {
	b.mu.Lock()
	from := b.consumedAt
	b.mu.Unlock()
	return s.Feed(ctx, from, fn)
}

// eraseUser erases a user.
func (b *storeModel) eraseUser(s *Store, i int) error {
	b.mu.Lock()
	upTo := b.newest[i]
	b.mayBeRedacted[i] = math.MaxInt
	b.mu.Unlock()
	err := s.Erase(context.Background(), crashUser(i))
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mayBeRedacted[i] = len(b.commits)
	if err == nil {
		b.mustBeRedacted[i] = upTo
	}
	return err
}

// expireUser drops claims and sessions of a user that have expired.
func (b *storeModel) expireUser(s *Store, i int) error {
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

// runDue expires users that are due, until ctx ends.
func (b *storeModel) runDue(ctx context.Context, s *Store) error {
	return s.Due(ctx, func(us []store.User) error {
		var group sync.WaitGroup
		for _, u := range us {
			group.Go(func() { _ = b.expireUser(s, userIndex(u)) })
		}
		group.Wait()
		return nil
	})
}

// saveCursor saves a cursor while nothing is being written.
func (b *storeModel) saveCursor(s *Store) error {
	records, cursor, err := s.Read(context.Background(), allUsers(), store.Freshness{})
	if err != nil {
		return err
	}
	k := savedCursor{cursor: cursor}
	for _, r := range records {
		b.acknowledge(r)
		k.revisions[userIndex(r.User)] = r.State.Revision
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cursors = append(b.cursors, k)
	return nil
}

func allUsers() []store.User {
	us := make([]store.User, crashUsers)
	for i := range us {
		us[i] = crashUser(i)
	}
	return us
}

// checkCursors checks that each saved cursor selects the records that are newer, and no
// others.
func (b *storeModel) checkCursors(s *Store, cursors []savedCursor) {
	records, _, err := s.Read(context.Background(), allUsers(), store.Freshness{})
	if err != nil {
		b.addFailure("Read: %v", err)
		return
	}
	for i := range cursors {
		b.checkCursor(s, &cursors[i], records)
	}
}

func (b *storeModel) checkCursor(s *Store, k *savedCursor, records []store.Record) {
	at, err := k.cursor.Position(s.Epoch())
	if err != nil {
		b.addFailure("a cursor of this store is refused: %v", err)
		return
	}
	for _, r := range records {
		i := userIndex(r.User)
		if newer := r.State.Revision != k.revisions[i]; newer != (r.At > at) {
			b.addFailure("%s had revision %d when the cursor at %d was saved and has %d at %d", r.User.ID, k.revisions[i], at, r.State.Revision, r.At)
		}
	}
}

const modelCollection = "c"

// writeDocs writes documents and records their values.
func (b *storeModel) writeDocs(s *Store, change func(docs map[string]val)) error {
	b.mu.Lock()
	now := make(map[string]val)
	for k, v := range b.writes[len(b.writes)-1] {
		now[k] = v
	}
	before := b.writes[len(b.writes)-1]
	change(now)
	b.mu.Unlock()
	held, err := s.List(context.Background(), "acme", modelCollection, "", 100)
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
	b.acknowledgedWrite = len(b.writes) - 1
	b.mu.Unlock()
	return b.checkDocs(s)
}

func changedDocs(before, now map[string]val, versions map[string]string) []store.Doc {
	var docs []store.Doc
	for k := range before {
		if _, ok := now[k]; !ok && versions[k] != "" {
			docs = append(docs, store.Doc{Key: store.Key{Collection: modelCollection, Key: k}, Version: versions[k]})
		}
	}
	for k, v := range now {
		if v != before[k] {
			docs = append(docs, store.Doc{
				Key: store.Key{Collection: modelCollection, Key: k}, Version: versions[k], Value: []byte(v.value), Until: v.until,
			})
		}
	}
	return docs
}

// checkDocs lists the documents and checks that each version has one value for ever.
func (b *storeModel) checkDocs(s *Store) error {
	docs, err := s.List(context.Background(), "acme", modelCollection, "", 100)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range docs {
		b.checkVersion(d)
	}
	return nil
}

func (b *storeModel) checkVersion(d store.Doc) {
	key := d.Key.Key + " " + d.Version
	v, known := b.versions[key]
	if !known && b.base != nil {
		b.base.mu.Lock()
		defer b.base.mu.Unlock()
		v, known = b.base.versions[key]
		known = known && v.order < b.baseVersions
	}
	if known && v.value != string(d.Value) {
		b.addFailureLocked("version %q of document %s has two values: %.20q and %.20q", d.Version, d.Key.Key, v.value, d.Value)
	}
	if _, loaded := b.versions[key]; !loaded {
		b.versions[key] = version{string(d.Value), len(b.versions)}
	}
}

// writeConflict attempts a write with a wrong document version.
func (b *storeModel) writeConflict(s *Store, key string) error {
	err := s.Write(context.Background(), "acme",
		store.Doc{Key: store.Key{Collection: modelCollection, Key: "new"}, Value: []byte("must not be")},
		store.Doc{Key: store.Key{Collection: modelCollection, Key: key}, Version: "nonsense", Value: []byte("must not be")})
	if !errors.Is(err, store.ErrConflict) {
		b.addFailure("a write with a wrong version returned %v, want ErrConflict", err)
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conflicts++
	return nil
}

// findWrite is the number of the newest write whose documents are exactly those of the
// store.
func (b *storeModel) findWrite(s *Store) (write int, found bool) {
	docs, err := s.List(context.Background(), "acme", modelCollection, "", 100)
	if err != nil {
		b.addFailure("List: %v", err)
		return 0, false
	}
	held := make(map[string]val)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range docs {
		held[d.Key.Key] = val{string(d.Value), d.Until}
		b.checkVersion(d)
	}
	now := s.now().Time()
	for n := len(b.writes) - 1; n >= 0; n-- {
		if sameDocs(b.writes[n], held, now) {
			return n, true
		}
	}
	b.addFailureLocked("the documents match no write, or half of one: %v", held)
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
