package membership

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/store"
)

// The levels that this version reads and can write. A level says what nodes may write that
// earlier versions cannot read: raise NewestLevel with the first such thing, and write it
// only while Members.Level is at least that. OldestLevel may be raised a release after.
const (
	OldestLevel = 1
	NewestLevel = 1
)

// RaiseAfter is how long every live node must have read the next level before the level
// rises by itself: until then the earlier version can be installed again.
const RaiseAfter = 10 * time.Minute

// Levels are a range of levels that a node reads.
type Levels struct {
	Oldest int `json:"oldest"`
	Newest int `json:"newest"`
}

// ThisVersion are the levels of this version.
func ThisVersion() Levels { return Levels{OldestLevel, NewestLevel} }

func (l Levels) include(level int) bool { return l.Oldest <= level && level <= l.Newest }

func (l Levels) String() string {
	if l.Oldest == l.Newest {
		return fmt.Sprintf("level %d", l.Oldest)
	}
	return fmt.Sprintf("levels %d to %d", l.Oldest, l.Newest)
}

// ErrLevel: this version cannot read what the nodes of the store write.
var ErrLevel = errors.New("this version cannot read the store")

// ErrNotUnderstood: a node does not read the next level.
var ErrNotUnderstood = errors.New("a node cannot read the next level")

// A levelValue is the level in force. It rises only together with the version of its
// document, which every node that joins changes: no node can join unseen while it rises.
type levelValue struct {
	document.Format

	Level   int    `json:"level"`
	Version string `json:"version"` // of the program that raised it
	Join    uint64 `json:"join"`    // counts the incarnations
}

// levelState is what this node knows of the level.
type levelState struct {
	value levelValue
	// agreed is since when every live node reads the next level; zero: not all do.
	agreed time.Time
}

// observe takes note of the level, which the caller has read, or not found.
func (l *levelState) observe(doc *store.Doc, reads Levels) error {
	if doc == nil {
		l.value = levelValue{Level: reads.Oldest}
		return nil
	}
	var v levelValue
	if err := document.Decode(doc, &v); err != nil {
		return err
	}
	if !reads.include(v.Level) {
		return fmt.Errorf("%w: its nodes write level %d since version %s, and this version reads %v: use version %s or a later one", ErrLevel, v.Level, v.Version, reads, v.Version)
	}
	l.value = v
	return nil
}

// Level is what nodes may write now. It never falls. It may rise after the call: whoever
// reads must be able to read up to the newest level of its version.
func (m *Members) Level() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.level.value.Level
}

// levelDoc is the document of the level, changed by a node that joins.
func (m *Members) levelDoc(read *reading) store.Doc {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := m.level.value
	v.Join++
	if read.level == nil {
		v.Version = m.opts.Facts.Version
	}
	return v.doc(read.level)
}

func (v levelValue) doc(before *store.Doc) store.Doc {
	v.Format = document.Current()
	version := ""
	if before != nil {
		version = before.Version
	}
	return document.New(store.Key{Collection: collection, Key: levelKey}, version, v)
}

// raise raises the level when every live node has read the next one for long enough.
func (m *Members) raise(ctx context.Context, read *reading) error {
	m.mu.Lock()
	next := m.level.value.Level + 1
	switch {
	case read.level == nil || m.self.givenUp || m.cannotRead(next) != nil:
		m.level.agreed = time.Time{}
	case m.level.agreed.IsZero():
		m.level.agreed = read.at
	}
	agreed := m.level.agreed
	m.mu.Unlock()
	if agreed.IsZero() || read.at.Sub(agreed) < RaiseAfter {
		return nil
	}
	return m.raiseTo(ctx, read, next)
}

// cannotRead is a node that does not read a level, or nil; the caller holds mu.
func (m *Members) cannotRead(level int) *nodeValue {
	for _, v := range m.liveValues() {
		if !v.Reads.include(level) {
			return &v
		}
	}
	return nil
}

// raiseTo stores the level, if no node joined and none raised it since the reading.
func (m *Members) raiseTo(ctx context.Context, read *reading, level int) error {
	m.mu.Lock()
	v := m.level.value
	m.level.agreed = time.Time{}
	m.mu.Unlock()
	v.Level, v.Version = level, m.opts.Facts.Version
	err := m.write(ctx, v.doc(read.level))
	if conflict(err) {
		return nil
	}
	if err == nil {
		m.opts.Log.InfoContext(ctx, "level of the store raised", slog.Int("level", level))
	}
	return err
}

// Upgrade raises the level at once as far as every live node reads it, and returns it. It
// returns ErrNotUnderstood with the node that prevents the next one.
func (m *Members) Upgrade(ctx context.Context) (int, error) {
	m.rounds.lock()
	defer m.rounds.unlock()
	for {
		read, err := m.read(ctx)
		if err != nil {
			return 0, err
		}
		if err := m.observe(read); err != nil {
			return 0, err
		}
		m.mu.Lock()
		level := m.level.value.Level
		lagging := m.cannotRead(level + 1)
		m.mu.Unlock()
		switch {
		case level >= m.opts.Facts.Reads.Newest:
			return level, nil
		case lagging != nil:
			return level, fmt.Errorf("%w: host %q with version %s reads %v", ErrNotUnderstood, lagging.Host, lagging.Version, lagging.Reads)
		}
		if err := m.raiseTo(ctx, read, level+1); err != nil {
			return level, err
		}
	}
}
