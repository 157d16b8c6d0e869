package watch

import (
	"context"
	"crypto/rand"
	"slices"
	"sync"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/store"
)

// Nodes that share a store announce changes of watches to each other in one document,
// which each node reads every second. The node that fires watches finds there those that
// were made on other nodes; each node finds those that fired elsewhere, whose owner may
// have a stream on it. A node that missed some changes lists all watches.

// maxChangesBytes keeps the document below its bound. Some 400 changes fit.
const (
	maxChangesBytes = 40 << 10
	changeOverhead  = 48 // of a change besides its key, roughly
)

// changesKey is beside the watches, in a collection of its own.
var changesKey = store.Key{Collection: "watch-changes", Key: "newest"}

// A change is a watch that was made, or fired.
type change struct {
	Key   string `json:"key"`
	Fired bool   `json:"fired,omitempty"`
	By    string `json:"by"` // the node
}

type changesValue struct {
	document.Format

	Next    uint64   `json:"next"` // the number of the next change
	Changes []change `json:"changes"`
}

// changes holds what this node has read of the document and has yet to write to it. The
// zero value has done neither.
type changes struct {
	writing sync.Mutex // one write at a time from here
	mu      sync.Mutex // guards the fields below
	node    string
	queued  []change
	begun   bool   // it has read once; reload and Pending find earlier changes
	read    uint64 // changes below it were read
}

func (r *Registry) queueChange(c change) {
	r.changes.mu.Lock()
	defer r.changes.mu.Unlock()
	if r.changes.node == "" {
		r.changes.node = rand.Text()[:8]
	}
	c.By = r.changes.node
	r.changes.queued = append(r.changes.queued, c)
}

// flushChanges writes what is queued.
func (r *Registry) flushChanges(ctx context.Context) error {
	r.changes.writing.Lock()
	defer r.changes.writing.Unlock()
	r.changes.mu.Lock()
	queued := r.changes.queued
	r.changes.queued = nil
	r.changes.mu.Unlock()
	if len(queued) == 0 {
		return nil
	}
	err := document.Again(func() error {
		v, version, err := r.loadChanges(ctx)
		if err != nil {
			return err
		}
		v.Format, v.Next = document.Current(), v.Next+uint64(len(queued))
		v.Changes = newestChanges(append(v.Changes, queued...))
		return r.Store.Write(ctx, watchAccount, document.New(changesKey, version, v))
	})
	if err != nil {
		r.changes.mu.Lock()
		defer r.changes.mu.Unlock()
		r.changes.queued = slices.Concat(queued, r.changes.queued)
		return err
	}
	if r.OnChange != nil {
		r.OnChange()
	}
	return nil
}

func newestChanges(all []change) []change {
	size := 0
	for i := len(all) - 1; i >= 0; i-- {
		if size += len(all[i].Key) + changeOverhead; size > maxChangesBytes {
			return all[i+1:]
		}
	}
	return all
}

func (r *Registry) loadChanges(ctx context.Context) (v changesValue, version string, err error) {
	docs, err := r.Store.Load(ctx, watchAccount, changesKey)
	if err != nil || len(docs) == 0 {
		return v, "", err
	}
	err = document.Decode(&docs[0], &v)
	return v, docs[0].Version, err
}

// readChanges applies the changes that other nodes made.
func (r *Registry) readChanges(ctx context.Context) error {
	v, _, err := r.loadChanges(ctx)
	if err != nil {
		return err
	}
	r.changes.mu.Lock()
	begun, read, node := r.changes.begun, r.changes.read, r.changes.node
	r.changes.begun = true
	r.changes.mu.Unlock()
	first := v.Next - uint64(len(v.Changes))
	if v.Next == read {
		return nil
	}
	if begun && read < first {
		err = r.reload(ctx, r.deliver)
	} else {
		others := slices.DeleteFunc(v.Changes[max(read, first)-first:], func(c change) bool { return c.By == node })
		err = r.apply(ctx, others)
	}
	if err != nil {
		return err
	}
	r.changes.mu.Lock()
	defer r.changes.mu.Unlock()
	r.changes.read = v.Next
	return nil
}

// apply delivers the watches that fired, and evaluates the new ones if this node fires
// watches.
func (r *Registry) apply(ctx context.Context, others []change) error {
	firing := r.index.active()
	var keys []store.Key
	for _, c := range others {
		if c.Fired || firing {
			keys = append(keys, watchKey(c.Key))
		}
	}
	if len(keys) == 0 {
		return nil
	}
	docs, err := r.Store.Load(ctx, watchAccount, keys...)
	if err != nil {
		return err
	}
	var made []store.User
	for i := range docs {
		w, err := watchOf(&docs[i])
		switch {
		case err != nil: // reload logs it
		case !w.Fired.IsZero():
			r.deliver(ctx, &w)
		default:
			r.index.add(&w)
			if u := w.target(); !slices.Contains(made, u) {
				made = append(made, u)
			}
		}
	}
	return r.transient(ctx, r.evaluate(ctx, made))
}
