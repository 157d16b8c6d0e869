package tail

import (
	"context"
	"errors"
	"fmt"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// The documents of all consumers are among those of the server itself.
const (
	account   = presence.AccountID("")
	positions = "consumer"
)

// A positionValue is the position of a consumer, and the node that runs it. Earlier
// versions wrote the name of a process that nobody else knows as the holder, and the time
// of its lease: membership says that such a holder is dead.
type positionValue struct {
	document.Format

	Position store.Position `json:"position"`
	Epoch    string         `json:"epoch"`            // of the store that Position is of
	Holder   string         `json:"holder,omitempty"` // an incarnation; none: no node runs it, or there is only one
}

func decodePosition(doc *store.Doc) (positionValue, error) {
	var v positionValue
	err := document.Decode(doc, &v)
	return v, err
}

// errLost: another node runs the consumer, or may soon.
var errLost = errors.New("another node took the consumer over")

// An ownership is this node's hold on the position document of a consumer. The document's
// version is the fence: a node that does not know the newest one cannot write, and stops.
//
// A node acquires the document if it is the owner, and the holder gave it back or was declared
// dead. No clock and no silence decides that here: membership does, for all nodes. A node
// without others acquires it in any case.
type ownership struct {
	store Store
	key   store.Key
	begin Begin
	nodes Nodes         // nil: there are no others
	owner func() string // the node that is to run the consumer

	holder string // this node, as of the last attempt to acquire it
	// wrote has the incarnations of this process under which it may have written. None of them
	// runs the consumer while acquire is called.
	wrote map[string]bool

	value   positionValue // as written last, or read
	version string
}

func newOwnership(o Options, c Consumer, owner func() string) *ownership {
	return &ownership{
		store: o.Store, key: store.Key{Collection: positions, Key: c.Name}, begin: c.Begin,
		nodes: o.Nodes, owner: owner, wrote: make(map[string]bool),
	}
}

// isOwner reports whether the consumer is assigned to this node, and this node can run it.
func (o *ownership) isOwner() bool {
	return o.nodes == nil || o.nodes.Isolated() == 0 && o.owner() == o.nodes.Self()
}

// holds reports whether this node is still the incarnation that acquired the document, and is
// so well connected that no other node can have declared it dead.
func (o *ownership) holds() bool {
	return o.nodes == nil || o.nodes.Isolated() == 0 && o.nodes.Self() == o.holder
}

// load reads the document; without one the version is empty.
func (o *ownership) load(ctx context.Context) error {
	docs, err := o.store.Load(ctx, account, o.key)
	if err != nil {
		return err
	}
	o.value, o.version = positionValue{}, ""
	if len(docs) == 0 {
		return nil
	}
	if o.value, err = decodePosition(&docs[0]); err != nil {
		return fmt.Errorf("read the position: %w", err)
	}
	o.version = docs[0].Version
	return nil
}

// acquire tries once to become the holder. A node that is not the owner reads the document only
// to give back what it still has: an answer was lost, or it was isolated since.
func (o *ownership) acquire(ctx context.Context) (bool, error) {
	if o.nodes == nil {
		return o.acquireAlone(ctx)
	}
	owner := o.isOwner()
	if !owner && len(o.wrote) == 0 {
		return false, nil
	}
	if err := o.load(ctx); err != nil {
		return false, err
	}
	if other := o.value.Holder; other != "" && !o.wrote[other] {
		clear(o.wrote) // a late write of ours conflicts with that of the other node
	}
	switch {
	case owner && o.isFree():
		return o.acquireFree(ctx)
	case !owner && o.wrote[o.value.Holder]:
		return false, ignoreConflict(o.write(ctx, o.value, ""))
	default:
		return false, nil
	}
}

func (o *ownership) isFree() bool {
	holder := o.value.Holder
	return holder == "" || o.wrote[holder] || o.nodes.Dead(holder)
}

func (o *ownership) acquireFree(ctx context.Context) (bool, error) {
	v, _, err := o.inEpoch(ctx)
	if err != nil {
		return false, err
	}
	o.holder = o.nodes.Self()
	err = o.write(ctx, v, o.holder)
	return err == nil, ignoreConflict(err)
}

// acquireAlone writes the document only if its position must change.
func (o *ownership) acquireAlone(ctx context.Context) (bool, error) {
	if err := o.load(ctx); err != nil {
		return false, err
	}
	v, changed, err := o.inEpoch(ctx)
	if err == nil && changed {
		err = o.write(ctx, v, "")
	}
	return err == nil, ignoreConflict(err)
}

// inEpoch is the value with a position of the present epoch, and whether it differs.
func (o *ownership) inEpoch(ctx context.Context) (v positionValue, changed bool, err error) {
	v = o.value
	if v.Epoch == o.store.Epoch() {
		return v, false, nil
	}
	v.Epoch, v.Position = o.store.Epoch(), 0
	if o.begin == Newest {
		v.Position, err = newest(ctx, o.store)
	}
	return v, true, err
}

// ignoreConflict: another node was quicker, and the next attempt finds what it wrote.
func ignoreConflict(err error) error {
	if errors.Is(err, store.ErrConflict) || errors.Is(err, errLost) {
		return nil
	}
	return err
}

// write replaces the document that was read or written last.
func (o *ownership) write(ctx context.Context, v positionValue, holder string) error {
	v.Format, v.Holder = document.Current(), holder
	if holder != "" {
		o.wrote[holder] = true
	}
	if err := o.store.Write(ctx, account, document.New(o.key, o.version, v)); err != nil {
		return err
	}
	if err := o.load(ctx); err != nil {
		return err
	}
	if holder != "" && o.value.Holder != holder {
		return errLost // since the write
	}
	return nil
}

// save writes the consumer's position. After an error other than errLost it may be retried.
func (o *ownership) save(ctx context.Context, at store.Position) error {
	return o.saveAs(ctx, at, o.holder)
}

// release writes the consumer's position, and that no node runs the consumer.
func (o *ownership) release(ctx context.Context, at store.Position) error {
	return o.saveAs(ctx, at, "")
}

func (o *ownership) saveAs(ctx context.Context, at store.Position, holder string) error {
	v := o.value
	v.Position = at
	err := o.write(ctx, v, holder)
	if !errors.Is(err, store.ErrConflict) {
		return err
	}
	// The answer to an earlier write may have been lost: then the document is ours.
	if err := o.load(ctx); err != nil {
		return err
	}
	if o.nodes == nil || o.value.Holder == o.holder {
		return o.write(ctx, v, holder)
	}
	return errLost
}
