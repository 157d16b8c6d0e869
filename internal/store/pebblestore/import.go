package pebblestore

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/transfer"
)

// MigratingSuffix is the suffix of the working directory of Import, beside the new
// directory.
const MigratingSuffix = ".migrating"

// importBytes is how much Import writes at a time.
const importBytes = 1 << 20

// Import creates the store in dir, which is missing or empty, from the content of another
// one. Positions, versions of documents and the epoch stay the same. Where the source
// dropped a log entry, there is one that counts as erased: see isDropped.
//
// Like Restore, it works in a directory beside dir, and calls check before it renames that
// to dir.
func Import(ctx context.Context, dir string, from transfer.Source, o Options, check transfer.Verify) error {
	o = o.withDefaults()
	o.MustExist, o.NewEpoch, o.Durability = true, from.Info().Epoch == "", Fsync // for opening it at the end
	m := &importing{staging: staging{o: o, what: "migration", dir: dir, workDir: dir + MigratingSuffix}, from: from}
	if err := m.checkVacant(); err != nil {
		return err
	}
	if err := m.lockWorkDir(); err != nil {
		return err
	}
	return m.end(m.run(ctx, check))
}

// An importing is one run of Import.
type importing struct {
	staging

	from      transfer.Source
	s         *Store // the new store, whose database alone is open
	batch     *pebble.Batch
	unchecked int // bytes written since the free space was measured

	unlinked []link // of entries in the batch: their predecessors may be missing
	missing  []link
}

// A link is a position at which a user's entry or record expects an entry.
type link struct {
	user store.User
	at   store.Position
}

func (m *importing) run(ctx context.Context, check transfer.Verify) error {
	if err := m.o.FS.MkdirAll(m.storeDir(), 0o700); err != nil {
		return err
	}
	if err := m.fill(ctx); err != nil {
		return err
	}
	if err := m.initialize(); err != nil { //nolint:contextcheck // a store outlives the call that opens it
		return err
	}
	if err := m.check(ctx, check); err != nil {
		return err
	}
	return m.publish()
}

// check lets the caller read the new store.
func (m *importing) check(ctx context.Context, check transfer.Verify) error {
	stored, err := OpenSource(m.storeDir(), m.o)
	if err != nil {
		return err
	}
	return errors.Join(check(ctx, stored), stored.Close())
}

// fill writes the content into a new database.
func (m *importing) fill(ctx context.Context) error {
	if err := m.checkSpace(); err != nil {
		return err
	}
	m.s = newStore(m.storeDir(), m.o)
	if err := m.s.openDB(); err != nil {
		return err
	}
	m.batch = m.s.db.NewBatch()
	err := m.s.runIsolated(func() error { return m.content(ctx) })
	return errors.Join(err, m.s.closeDB())
}

// content writes everything. The format comes last: a database without it is not a store.
func (m *importing) content(ctx context.Context) error {
	for _, write := range []func(context.Context) error{m.entries, m.records, m.documents, m.placeholders} {
		if err := write(ctx); err != nil {
			return err
		}
	}
	if err := m.from.Check(ctx); err != nil {
		return err
	}
	info := m.from.Info()
	pairs := [][2][]byte{
		{[]byte(metaSeq), appendNumber(nil, uint64(info.Last))},
		{[]byte(metaTrim), appendNumber(nil, uint64(info.First-1))},
		{[]byte(metaFormat), []byte(strconv.Itoa(m.s.newestFormat()))},
	}
	if info.Epoch != "" {
		pairs = append(pairs, [2][]byte{[]byte(metaEpoch), []byte(info.Epoch)})
	}
	for _, pair := range pairs {
		if err := m.set(pair[0], pair[1]); err != nil {
			return err
		}
	}
	return m.s.commitNow(m.batch)
}

func (m *importing) set(key, value []byte) error {
	if err := m.batch.Set(key, value, nil); err != nil {
		return err
	}
	if m.batch.Len() < importBytes {
		return nil
	}
	return m.flush()
}

// flush writes the batch, which need not be on the disk yet, and finds the entries in it
// whose predecessors are missing.
func (m *importing) flush() error {
	if m.unchecked += m.batch.Len(); m.unchecked >= tableBytes {
		m.unchecked = 0
		if err := m.checkSpace(); err != nil {
			return err
		}
	}
	if err := m.batch.Commit(pebble.NoSync); err != nil {
		return err
	}
	m.batch = m.s.db.NewBatch()
	for _, l := range m.unlinked {
		if found, err := m.s.hasEntry(l.at); err != nil {
			return err
		} else if !found {
			m.missing = append(m.missing, l)
		}
	}
	m.unlinked = m.unlinked[:0]
	return nil
}

// link notes that an entry or record expects an entry at a position, unless that is before
// the log.
func (m *importing) link(u store.User, at store.Position) {
	if at >= m.from.Info().First {
		m.unlinked = append(m.unlinked, link{u, at})
	}
}

func (m *importing) entries(ctx context.Context) error {
	return m.from.Entries(ctx, func(e *transfer.Entry) error {
		if e.Dropped {
			return nil // what refers to it follows
		}
		m.link(e.User, e.Previous)
		return m.set(appendLogKey(nil, e.At), appendEntry(nil, &e.Entry, e.Previous))
	})
}

func (m *importing) records(ctx context.Context) error {
	return m.from.Records(ctx, func(r *transfer.Record) error {
		m.link(r.User, r.At)
		it := &item{user: r.User, Recorded: r.Recorded, at: r.At, armed: r.Next}
		if !it.armed.IsZero() {
			if err := m.set(appendExpiryKey(nil, it.armed, it.user), nil); err != nil {
				return err
			}
		}
		return m.set(appendRecordKey(nil, it.user), appendItem(nil, it))
	})
}

func (m *importing) documents(ctx context.Context) error {
	return m.from.Documents(ctx, func(d *transfer.Doc) error {
		key := appendDocKey(nil, d.Account, d.Doc.Key)
		head := docHead{seq: d.Written, until: presence.InstantOf(d.Until)}
		if !head.until.IsZero() {
			if err := m.set(appendDocExpiryKey(nil, head.until, key), nil); err != nil {
				return err
			}
		}
		return m.set(key, appendDoc(nil, head, d.Value))
	})
}

// placeholders writes an entry wherever one is missing, so that every entry and record has
// its predecessor. It reads the log once more, and keeps what is missing in memory: engines
// drop few entries within the log.
func (m *importing) placeholders(ctx context.Context) error {
	if err := m.flush(); err != nil || len(m.missing) == 0 {
		return err
	}
	slices.SortFunc(m.missing, func(a, b link) int { return cmp.Compare(a.at, b.at) })
	m.missing = slices.Compact(m.missing)
	last := make(map[store.User]store.Position, len(m.missing)) // the last entry of each of their users
	for _, l := range m.missing {
		last[l.user] = 0
	}
	rest, t := m.missing, time.Time{}
	put := func(until store.Position) error {
		for ; len(rest) > 0 && rest[0].at < until; rest = rest[1:] {
			e := store.Entry{User: rest[0].user, Time: t, Erased: true}
			if err := m.set(appendLogKey(nil, rest[0].at), appendEntry(nil, &e, last[e.User])); err != nil {
				return err
			}
			last[e.User] = rest[0].at
		}
		return nil
	}
	err := m.from.Entries(ctx, func(e *transfer.Entry) error {
		if e.Dropped {
			return nil
		}
		if t.IsZero() {
			t = e.Time
		}
		if err := put(e.At); err != nil {
			return err
		}
		if _, ok := last[e.User]; ok {
			last[e.User] = e.At
		}
		t = e.Time
		return nil
	})
	if err != nil {
		return err
	}
	return put(m.from.Info().Last + 1)
}
