package tail

import (
	"context"
	"errors"
	"fmt"
	"time"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// The documents of all consumers are among those of the server itself.
const (
	account   = presence.AccountID("")
	positions = "consumer"
)

// A positionValue is the position of a consumer, and the node that runs it.
type positionValue struct {
	document.Format

	Position store.Position `json:"position"`
	Epoch    string         `json:"epoch"` // of the store that Position is of
	Holder   string         `json:"holder,omitempty"`
	LeaseMS  int64          `json:"lease_ms,omitempty"`
}

func decodePosition(doc *store.Doc) (positionValue, error) {
	var v positionValue
	err := document.Decode(doc, &v)
	return v, err
}

// errLost: another node runs the consumer.
var errLost = errors.New("another node took the consumer over")

// A lease is this node's hold on the position document of a consumer. The document's
// version is the fence: a node that does not know the newest one cannot write.
//
// Nodes do not compare clocks. A standby takes a lease over when the document did
// not change for the lease's time as the standby itself measured it; the holder
// counts from before the write that renewed it, and stops at two thirds.
type lease struct {
	store     Store
	key       store.Key
	holder    string
	exclusive bool
	begin     Begin
	time      time.Duration

	value   positionValue // as written last, or read
	version string
	renewed time.Time // before the last write that succeeded

	// What a standby read last.
	seenVersion string
	seenAt      time.Time
}

func newLease(o *Options, c Consumer, holder string) *lease {
	return &lease{
		store: o.Store, key: store.Key{Collection: positions, Key: c.Name},
		holder: holder, exclusive: o.Exclusive, begin: c.Begin, time: o.Lease,
	}
}

// load reads the document; without one the version is empty.
func (l *lease) load(ctx context.Context) error {
	docs, err := l.store.Load(ctx, account, l.key)
	if err != nil {
		return err
	}
	l.value, l.version = positionValue{}, ""
	if len(docs) == 0 {
		return nil
	}
	if l.value, err = decodePosition(&docs[0]); err != nil {
		return fmt.Errorf("read the position: %w", err)
	}
	l.version = docs[0].Version
	return nil
}

// take tries once to become the holder.
func (l *lease) take(ctx context.Context) (bool, error) {
	if err := l.load(ctx); err != nil {
		return false, err
	}
	if !l.free() {
		return false, nil
	}
	v := l.value
	if v.Epoch != l.store.Epoch() {
		v.Epoch, v.Position = l.store.Epoch(), 0
		if l.begin == Newest {
			at, err := newest(ctx, l.store)
			if err != nil {
				return false, err
			}
			v.Position = at
		}
	} else if l.exclusive {
		return true, nil // no other node reads it
	}
	err := l.write(ctx, v, true)
	if errors.Is(err, store.ErrConflict) {
		return false, nil
	}
	return err == nil, err
}

// free reports whether no other node holds the lease.
func (l *lease) free() bool {
	if l.exclusive || l.value.Holder == "" || l.value.Holder == l.holder {
		return true
	}
	if l.seenVersion != l.version {
		l.seenVersion, l.seenAt = l.version, time.Now()
	}
	return time.Since(l.seenAt) >= max(l.time, time.Duration(l.value.LeaseMS)*time.Millisecond)
}

// write replaces the document that was read or written last.
func (l *lease) write(ctx context.Context, v positionValue, hold bool) error {
	v.Format, v.Holder, v.LeaseMS = document.Current(), "", 0
	if hold && !l.exclusive {
		v.Holder, v.LeaseMS = l.holder, l.time.Milliseconds()
	}
	began := time.Now()
	if err := l.store.Write(ctx, account, document.New(l.key, l.version, v)); err != nil {
		return err
	}
	l.renewed = began
	if err := l.load(ctx); err != nil {
		return err
	}
	if hold && !l.exclusive && l.value.Holder != l.holder {
		return errLost // since the write
	}
	return nil
}

// save writes the consumer's position, which renews the lease. After an error other
// than errLost it may be retried.
func (l *lease) save(ctx context.Context, at store.Position, hold bool) error {
	v := l.value
	v.Position = at
	err := l.write(ctx, v, hold)
	if err == nil || !errors.Is(err, store.ErrConflict) {
		return err
	}
	// The answer to an earlier write may have been lost: then the document is ours.
	if err := l.load(ctx); err != nil {
		return err
	}
	if l.exclusive || l.value.Holder == l.holder {
		return l.write(ctx, v, hold)
	}
	return errLost
}

// deadline is when the holder must have stopped unless it renews the lease before.
func (l *lease) deadline() time.Time { return l.renewed.Add(l.time * 2 / 3) }

// renewEvery is the longest interval between two writes of the holder.
func (l *lease) renewEvery() time.Duration { return l.time / 4 }
