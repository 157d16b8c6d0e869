package pebblestore

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/cockroachdb/pebble/v2"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// checkEvery is how many keys are read between two looks at the context.
const checkEvery = 4096

// A contradiction is between things that are each well formed, so no single file
// can be named.
func (v *verifier) contradiction(format string, args ...any) error {
	return damaged(v.s.dir, fmt.Errorf(format, args...))
}

// data decodes every key and value, and checks them against each other.
func (v *verifier) data() error {
	v.newest = make(map[store.User]store.Position)
	return inOrder(
		v.numbers,
		v.part("the log", logPrefix, v.entry),
		v.part("the records", recordPrefix, v.record),
		v.everyUserHasRecord,
		v.part("the expiry index", expiryPrefix, v.expiry),
		v.part("the documents", documentPrefix, v.document),
		v.part("the ends of documents", endPrefix, v.end),
		v.part("the positions of readers", readerPrefix, v.reader),
		v.onlyKnownKeys,
	)
}

// inOrder runs steps up to the first that fails.
func inOrder(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) part(name string, prefix byte, each func(key, value []byte) error) func() error {
	return func() error {
		if err := v.scanPart([]byte{prefix}, each); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	}
}

func (v *verifier) scanPart(prefix []byte, each func(key, value []byte) error) error {
	n := 0
	return v.s.scan(prefix, upperBound(prefix), func(key, value []byte) (bool, error) {
		if n++; n%checkEvery == 0 {
			if err := v.ctx.Err(); err != nil {
				return false, err
			}
		}
		v.advance(int64(len(key) + len(value)))
		return true, each(key, value)
	})
}

// numbers reads what the store knows of itself.
func (v *verifier) numbers() error {
	format, err := v.s.meta(metaFormat)
	if err != nil {
		return err
	}
	if v.report.Format, err = strconv.Atoi(format); err != nil {
		return v.contradiction("it says no format, but %q", format)
	}
	if v.report.Format > v.s.newest() {
		return v.s.newerError(format)
	}
	if v.report.Epoch, err = v.s.meta(metaEpoch); err != nil {
		return err
	}
	if v.report.Epoch == "" {
		return v.contradiction("it has no epoch")
	}
	if err := v.s.loadNumbers(); errors.Is(err, ErrDamaged) {
		return err
	} else if err != nil {
		return damaged(v.s.dir, err)
	}
	v.report.Last, v.report.Trimmed = v.s.progress.durableAt(), v.s.trimmedTo()
	return v.s.checkWatermark(v.report.Last)
}

// entry: each follows the one of its user before it, which is there or was
// dropped.
func (v *verifier) entry(key, value []byte) error {
	at, ok := cutLogKey(key)
	if !ok {
		return v.contradiction("the key %q", key)
	}
	e, previous, err := decodeEntry(at, value)
	if err != nil {
		return damaged(v.s.dir, err)
	}
	if at <= v.report.Trimmed || at > v.report.Last {
		return v.contradiction("an entry at %d, and there is none but from %d to %d", at, v.report.Trimmed+1, v.report.Last)
	}
	before, has := v.newest[e.User]
	if has && previous != before || !has && previous > v.report.Trimmed {
		return v.contradiction("the entry at %d of user %q follows the one at %d, which is missing", at, e.User.ID, previous)
	}
	v.newest[e.User] = at
	v.report.Entries++
	return nil
}

func (v *verifier) everyUserHasRecord() error {
	for u := range v.newest {
		return v.contradiction("user %q has log entries and no record", u.ID)
	}
	return nil
}

func (v *verifier) record(key, value []byte) error {
	u, ok := cutUser(key[1:])
	if !ok {
		return v.contradiction("the key %q", key)
	}
	it, err := decodeItem(u, value)
	if err != nil {
		return damaged(v.s.dir, err)
	}
	v.report.Users++
	newest, has := v.newest[u]
	delete(v.newest, u)
	if has && newest != it.at || !has && it.at > v.report.Trimmed {
		return v.contradiction("the record of user %q is of %d, and the log has the user's last entry at %d", u.ID, it.at, newest)
	}
	if has {
		if err := v.lastEntry(it); err != nil {
			return err
		}
	}
	return v.armed(it)
}

// lastEntry: the log's last word on a user is the record.
func (v *verifier) lastEntry(it *item) error {
	return v.s.get(appendLogKey(nil, it.at), func(value []byte) error {
		e, _, err := decodeEntry(it.at, value)
		if err != nil {
			return damaged(v.s.dir, err)
		}
		if e.Revision != it.State.Revision || presence.InstantOf(e.Time) != it.State.At {
			return v.contradiction("the record of user %q has revision %d, and the log's last entry has %d", it.user.ID, it.State.Revision, e.Revision)
		}
		return nil
	})
}

// armed: the expiry index has the record's entry, which is no later than its next.
func (v *verifier) armed(it *item) error {
	if !it.Next.IsZero() && (it.armed.IsZero() || it.armed > it.Next) {
		return v.contradiction("the record of user %q is armed for %d, and changes at %d", it.user.ID, it.armed, it.Next)
	}
	if it.armed.IsZero() {
		return nil
	}
	v.armedUsers++
	return v.mustHave(appendExpiryKey(nil, it.armed, it.user), "the expiry index has no entry for user %q", it.user.ID)
}

func (v *verifier) mustHave(key []byte, format string, args ...any) error {
	_, closer, err := v.s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return v.contradiction(format, args...)
	}
	if err != nil {
		return v.s.readError(err)
	}
	return closer.Close()
}

// expiry runs after the records: each has its entry, so there is one too many if
// there are more.
func (v *verifier) expiry(key, _ []byte) error {
	_, u, ok := cutExpiryKey(key)
	if !ok {
		return v.contradiction("the key %q", key)
	}
	if v.armedUsers--; v.armedUsers < 0 {
		return v.contradiction("more entries than armed records, up to that of user %q", u.ID)
	}
	return nil
}

func (v *verifier) document(key, value []byte) error {
	head, _, err := decodeDoc(value)
	if err != nil {
		return damaged(v.s.dir, err)
	}
	name, ok := documentName(key)
	if !ok {
		return v.contradiction("the key %q", key)
	}
	if head.seq > v.report.Last {
		return v.contradiction("document %q is of %d, and the last number is %d", name, head.seq, v.report.Last)
	}
	v.report.Documents++
	if head.until.IsZero() {
		return nil
	}
	v.endingDocs++
	return v.mustHave(appendEndKey(nil, head.until, key), "there is no end for document %q", name)
}

// documentName reads the key of a document.
func documentName(key []byte) (name string, ok bool) {
	_, rest, ok := cutID(key[1:])
	if !ok {
		return "", false
	}
	_, rest, ok = cutID(rest)
	return string(rest), ok && len(rest) > 0
}

func (v *verifier) end(key, _ []byte) error {
	_, doc, ok := cutEndKey(key)
	if !ok {
		return v.contradiction("the key %q", key)
	}
	if v.endingDocs--; v.endingDocs < 0 {
		return v.contradiction("more ends than documents that end, up to that of %q", doc)
	}
	return nil
}

func (v *verifier) reader(key, value []byte) error {
	at, err := cutNumber(value)
	if err != nil {
		return damaged(v.s.dir, fmt.Errorf("the position of reader %q: %w", key[1:], err))
	}
	if store.Position(at) > v.report.Last {
		return v.contradiction("reader %q is at %d, and the last number is %d", key[1:], at, v.report.Last)
	}
	v.report.Readers++
	return nil
}

// onlyKnownKeys: nothing is left over.
func (v *verifier) onlyKnownKeys() error {
	known := map[byte]bool{
		recordPrefix: true, logPrefix: true, expiryPrefix: true, documentPrefix: true, endPrefix: true, readerPrefix: true, metaPrefix: true,
	}
	it, err := v.s.db.NewIter(nil)
	if err != nil {
		return v.s.readError(err)
	}
	for ok := it.First(); ok; {
		prefix := it.Key()[0]
		if !known[prefix] {
			return errors.Join(v.contradiction("a key with the prefix %q", prefix), it.Close())
		}
		ok = it.SeekGE([]byte{prefix + 1})
	}
	return v.s.readError(it.Close())
}
