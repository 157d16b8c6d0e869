package pebblestore

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"porchlight.dev/porchlight/internal/store"
)

const (
	queueLength = 1024
	// maxGroup bounds a batch, and with it the wait of its first caller.
	maxGroup = 512
	// maxGroupBytes keeps a batch far below the size that Pebble treats as a large batch.
	maxGroupBytes = 4 << 20
)

// A committer orders all changes. Only its own goroutine uses it.
type committer struct {
	s   *Store
	seq store.Position // the last sequence number assigned
	g   group
	// The newest version of each user and document in the group.
	users map[store.User]stagedItem
	docs  map[string]stagedDoc

	key, value []byte // scratch
}

type stagedItem struct {
	item *item
	seq  store.Position
}

type stagedDoc struct {
	docHead
	deleted bool
}

// run processes the queue until the store closes. It ends early only if an update
// function exits the goroutine or panics, which fails the store.
func (c *committer) run() {
	defer close(c.s.committerDone)
	exited := true
	defer func() {
		if p := recover(); p != nil {
			c.s.failure.abandon()
			c.s.fail(fmt.Errorf("the committer panicked: %v", p))
		} else if exited {
			c.s.fail(errors.New("an update function exited the committer's goroutine"))
		}
	}()
	for {
		select {
		case o := <-c.s.queue:
			c.gather(o)
		case <-c.s.closing:
			c.drain()
			exited = false
			return
		}
	}
}

// gather commits o together with the other queued operations. It lets callers queue theirs
// first that could run now, such as those whose last one was just answered. What comes
// while it waits for the disk is the next group: with more groups on their way they would
// only be smaller, and each costs the same.
func (c *committer) gather(o *op) {
	clear(c.users)
	clear(c.docs)
	runtime.Gosched()
	c.serve(o)
	for n := 1; n < maxGroup && !c.isFull(); n++ {
		select {
		case o := <-c.s.queue:
			c.serve(o)
			continue
		default:
		}
		break
	}
	c.commit()
}

func (c *committer) isFull() bool {
	return c.g.batch != nil && c.g.batch.Len()+len(c.g.values) > maxGroupBytes
}

func (c *committer) serve(o *op) {
	switch {
	case !o.start():
	case c.s.isHalted():
		o.fail(c.s.haltedError())
		c.s.answer(o)
	case o.work != nil:
		c.writeRecords() // work may write to their keys
		o.err = o.work(c)
		c.answer(o, c.seq)
	default:
		c.update(o)
	}
}

// drain rejects queued operations when the store closes.
func (c *committer) drain() {
	for {
		select {
		case o := <-c.s.queue:
			if o.start() {
				o.fail(store.ErrClosed)
				c.s.answer(o)
			}
		default:
			return
		}
	}
}

// answer answers o once everything up to seen is durable: o's result depends on it,
// and no caller may learn of a change before that is durable.
func (c *committer) answer(o *op, seen store.Position) {
	if c.s.progress.durableAt() >= seen {
		c.s.answer(o)
		return
	}
	c.g.answers = append(c.g.answers, o)
}

// commit makes the group durable, then publishes it and answers its operations.
func (c *committer) commit() {
	g := &c.g
	defer g.reset()
	g.last = c.seq
	c.writeRecords()
	if g.batch != nil {
		c.apply(g)
	}
	if c.s.isFailed() {
		c.s.refuse(g)
		return
	}
	c.s.publish(g)
}

// apply writes a batch and syncs it.
func (c *committer) apply(g *group) {
	c.stageNumber(g)
	c.s.progress.staged.Store(uint64(c.seq))
	if g.unlogged != nil {
		c.s.progress.unlogged.Store(&unloggedUsers{g.unlogged, c.seq})
	}
	start := time.Now()
	// On most errors Pebble calls Fatalf, which fails the store and does not return, or
	// it panics, which run recovers. This handles the others.
	if err := c.s.db.Apply(g.batch, pebble.Sync); err != nil {
		c.s.fail(fmt.Errorf("write: %w", err))
		return
	}
	c.s.stats.commits.Observe(uint64(time.Since(start)))
	c.s.stats.groupSizes.Observe(uint64(g.updates))
	c.s.batchDone(g)
}

// stageNumber stores the last sequence number with a group.
func (c *committer) stageNumber(g *group) {
	c.value = appendNumber(c.value[:0], uint64(c.seq))
	if err := g.batch.Set([]byte(metaSeq), c.value, nil); err != nil {
		panic(err)
	}
}

// batch returns the group's batch, created by the first write.
func (c *committer) batch() *pebble.Batch {
	if c.g.batch == nil {
		c.g.batch = c.s.db.NewBatch()
	}
	return c.g.batch
}

// A write to a batch that is not applied yet only touches memory. It fails only if
// the batch is already closed or applied, which would be a bug here.

func (c *committer) set(key, value []byte) {
	if err := c.batch().Set(key, value, nil); err != nil {
		panic(err)
	}
}

func (c *committer) delete(key []byte) {
	if err := c.batch().Delete(key, nil); err != nil {
		panic(err)
	}
}

func (c *committer) deleteRange(from, to []byte) {
	if err := c.batch().DeleteRange(from, to, nil); err != nil {
		panic(err)
	}
}

// newest gives the newest record of u, staged or stored, nil for none, and the
// sequence number that must be durable before a caller may learn of it.
func (c *committer) newest(u store.User, o *op) (*item, store.Position, error) {
	if st, ok := c.users[u]; ok {
		return st.item, st.seq, nil
	}
	if o != nil && o.hasPrefetched && c.s.cache.unchanged(u, o.prefetchInstalls) {
		return o.prefetched, 0, nil
	}
	it, installs := c.s.cache.get(u)
	if it != nil {
		return it, 0, nil
	}
	it, err := c.s.readItem(u)
	if it != nil && err == nil {
		c.s.cache.offer(it, installs)
	}
	return it, 0, err
}

// update executes a call of Update.
func (c *committer) update(o *op) {
	was, seen, err := c.newest(o.user, o)
	if err != nil {
		o.fail(err)
		c.s.answer(o)
		return
	}
	if was == nil {
		was = &item{user: o.user}
	}
	next, err := call(o.fn, was.Recorded)
	if p, ok := errors.AsType[*store.PanicError](err); ok {
		c.s.log.Error("panic", slog.Any("value", p.Value), slog.String("stack", string(p.Stack)))
	}
	if err == nil && next.State.Revision <= was.State.Revision {
		err = fmt.Errorf("the update function made revision %d from %d; it must be higher", next.State.Revision, was.State.Revision)
	}
	if err != nil {
		o.record, o.err = was.record(), err
		c.answer(o, seen)
		return
	}
	c.seq++
	it := &item{user: o.user, Recorded: next.Recorded, at: c.seq}
	c.arm(was, it)
	if next.Unlogged && was.at != 0 {
		it.at = was.at
		c.g.addUnlogged(it.user)
	} else {
		c.log(&next, was, it)
	}
	c.g.updates++
	c.stage(it)
	o.record, o.err = it.record(), nil
	c.g.answers = append(c.g.answers, o)
}

// arm ensures that the expiry index has one entry for the record, no later than its
// Next. An entry that is early enough and still in the future stays as it is.
func (c *committer) arm(was, it *item) {
	it.armed = was.armed
	inFuture := it.armed > it.State.At
	if inFuture && (it.Next.IsZero() || it.armed <= it.Next) {
		return
	}
	c.rearm(it)
}

// rearm moves the record's entry in the expiry index to its Next.
func (c *committer) rearm(it *item) {
	if !it.armed.IsZero() {
		c.key = appendExpiryKey(c.key[:0], it.armed, it.user)
		c.delete(c.key)
	}
	it.armed = it.Next
	if it.armed.IsZero() {
		return
	}
	c.key = appendExpiryKey(c.key[:0], it.armed, it.user)
	c.set(c.key, nil)
	if c.g.earliest.IsZero() || it.armed < c.g.earliest {
		c.g.earliest = it.armed
	}
}

func (c *committer) log(change *store.Change, was, it *item) {
	e := change.Entry(it.user, &was.Recorded)
	e.At = it.at
	c.key = appendLogKey(c.key[:0], e.At)
	c.value = appendEntry(c.value[:0], &e, was.at)
	c.set(c.key, c.value)
	c.g.entries = append(c.g.entries, chainedEntry{Entry: e, previous: was.at})
}

// stage makes the record the newest of its user, under the last sequence number.
func (c *committer) stage(it *item) {
	c.batch()
	c.g.addItem(it)
	c.users[it.user] = stagedItem{item: it, seq: c.seq}
}

// writeRecords writes the staged records that are not in the batch yet. They come after
// the entries of the log, whose keys follow each other: Pebble inserts a key next to the
// last one without a search.
func (c *committer) writeRecords() {
	g := &c.g
	for ; g.written < len(g.items); g.written++ {
		c.key = appendRecordKey(c.key[:0], g.items[g.written].user)
		c.set(c.key, g.stored[g.written])
	}
}
