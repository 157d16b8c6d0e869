// Package tail runs durable consumers of the log: each consumer gets every entry in
// order and at least once, across crashes, on one node at a time.
//
// It is separate from the engines so that ownership, backoff and quarantine exist once,
// and from the consumers so that each of them is only its Handle. Its state is in
// documents of the store: one for each consumer with its position and its holder, and
// one with its quarantined entries. It guarantees that a consumer that fails or hangs
// delays no other, and that it skips an entry only if it is damaged, its consumer
// declares a permanent failure, or three attempts with that entry alone failed. It must
// know nothing of what a consumer does.
package tail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// A Store is what a Runtime needs of a store.
type Store interface {
	store.Log
	Load(ctx context.Context, account presence.AccountID, keys ...store.Key) ([]store.Doc, error)
	List(ctx context.Context, account presence.AccountID, collection, after string, limit int) ([]store.Doc, error)
	Write(ctx context.Context, account presence.AccountID, docs ...store.Doc) error
	Epoch() string
}

// A Handler does what a consumer is for.
type Handler interface {
	// Handle gets entries in order, each at least once: after an error, a crash or a
	// takeover it gets some again. It should return soon after ctx ends, because
	// another node may then handle the same entries.
	//
	// After a PermanentError the entry that it names is quarantined, and Handle gets
	// the rest of the group again at once. After a Transient error it gets the same
	// group again, with backoff. After any other error, or a panic, it gets the entries
	// of the group one at a time, and one that fails three times is quarantined.
	Handle(ctx context.Context, entries []store.Entry) error
}

// A Starter is a Handler with a step that runs before the first Handle, each time this
// node begins to run its consumer.
type Starter interface {
	Start(ctx context.Context) error
}

// A Stopper is a Handler that works on after Handle has returned. Stop is called when the
// ctx of Start has ended, and returns when that work has ended or ctx ends: then another
// node may begin.
type Stopper interface {
	Stop(ctx context.Context)
}

// A Consumer is a durable reader of the log.
type Consumer struct {
	Name string // of the documents; one node runs a name at a time
	Handler
	// Begin is where a consumer without a position in this epoch begins: a new one,
	// or any after the store was restored.
	Begin Begin
	// Damaged asks for entries that cannot be decoded; otherwise they are
	// quarantined without being handled.
	Damaged bool
}

// Begin is where a consumer begins that has no position.
type Begin uint8

const (
	Oldest Begin = iota // at the oldest entry in the log
	Newest              // after the newest entry in the log
)

// A PermanentError reports that an entry can never be handled.
type PermanentError struct {
	At  store.Position // of the entry
	Err error
}

func (e *PermanentError) Error() string {
	return fmt.Sprintf("entry %d cannot be handled: %v", e.At, e.Err)
}

func (e *PermanentError) Unwrap() error { return e.Err }

// Options are what a Runtime is made of.
type Options struct {
	Store Store
	// Nodes are those that serve the store. Nil: no other process has it open.
	Nodes Nodes
	Clock func() time.Time
	Log   *slog.Logger
}

// A Runtime runs consumers.
type Runtime struct {
	opts    Options
	names   []string // of the consumers
	runners []*runner
}

// New is a runtime of these consumers, whose names differ. All nodes must list them in the
// same order: it decides which node runs which. A version may only append to the list, and
// must not rely on a new consumer before all nodes have that version.
func New(o Options, consumers ...Consumer) *Runtime {
	r := &Runtime{opts: o}
	for _, c := range consumers {
		r.names = append(r.names, c.Name)
		log := o.Log.With(slog.String("consumer", c.Name))
		r.runners = append(r.runners, &runner{
			Options: o, consumer: c, log: log, saving: make(chan struct{}, 1),
			own: newOwnership(o, c, func() string { return ownerOf(c.Name, r.names, o.Nodes.Serving()) }),
		})
	}
	return r
}

// Run runs all consumers until ctx ends or the store fails or closes. When it
// returns, no Handle is running; positions were saved and consumers given back unless
// the store failed.
func (r *Runtime) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, run := range r.runners {
		group.Go(func() error { return run.run(ctx) })
	}
	if err := group.Wait(); !errors.Is(err, store.ErrClosed) {
		return err
	}
	return nil
}

// Stats are the figures of one consumer on this node.
type Stats struct {
	Name string
	// Running says whether this node runs the consumer. The figures below it are
	// known only there.
	Running     bool
	Position    store.Position
	LagEntries  uint64        // upper bound: documents take positions in some logs as well
	Lag         time.Duration // age of the last entry that was handled, while there are newer ones
	Quarantined uint64
	Retries     uint64 // of groups and saves on this node, since it started
}

// Stats measures every consumer.
func (r *Runtime) Stats(ctx context.Context) ([]Stats, error) {
	newest, err := newest(ctx, r.opts.Store)
	all := make([]Stats, len(r.runners))
	for i, run := range r.runners {
		all[i] = run.stats(newest)
	}
	return all, err
}

// Running is how many consumers this node runs.
func (r *Runtime) Running() (n int) {
	for _, run := range r.runners {
		if run.isRunning() {
			n++
		}
	}
	return n
}

// never is later than any entry.
const never = 1 << 40 // seconds

func newest(ctx context.Context, st Store) (store.Position, error) {
	return st.PositionAt(ctx, time.Unix(never, 0))
}

// awaitPoll is how often AwaitConsumers looks at the positions.
const awaitPoll = 250 * time.Millisecond

// Erase erases the entries of u after AwaitConsumers.
func (r *Runtime) Erase(ctx context.Context, u store.User) error {
	if err := r.AwaitConsumers(ctx); err != nil {
		return err
	}
	return r.opts.Store.Erase(ctx, u)
}

// AwaitConsumers waits until every consumer, on all nodes, has passed the present end of
// the log. If ctx ends first, the error names a consumer that has not got that far, or
// that no node runs any more.
func (r *Runtime) AwaitConsumers(ctx context.Context) error {
	upTo, err := newest(ctx, r.opts.Store)
	if err != nil {
		return err
	}
	for {
		behind, err := r.behind(ctx, upTo)
		if err != nil || behind == "" {
			return err
		}
		if pause(ctx, awaitPoll); ctx.Err() != nil {
			return fmt.Errorf("consumer %q has not passed position %d: %w", behind, upTo, ctx.Err())
		}
	}
}

const listPage = 100

// behind names a consumer that has not passed a position, or none.
func (r *Runtime) behind(ctx context.Context, upTo store.Position) (string, error) {
	for after := ""; ; {
		docs, err := r.opts.Store.List(ctx, account, positions, after, listPage)
		if err != nil {
			return "", err
		}
		for i := range docs {
			after = docs[i].Key.Key
			p, err := decodePosition(&docs[i])
			if err != nil || p.Epoch != r.opts.Store.Epoch() || p.Position < upTo {
				return after, err
			}
		}
		if len(docs) < listPage {
			return "", nil
		}
	}
}
