package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// ErrOlder: the data directory has a format that only a server migrates.
var ErrOlder = errors.New("the data directory has an older format")

// A Reader reads a data directory that no server uses, and changes nothing in it.
type Reader struct{ s *Store }

// OpenReader locks the directory and opens it for reading. It uses only o's file system,
// clock and logger.
func OpenReader(dir string, o Options) (*Reader, error) {
	s := newStore(dir, o.withDefaults())
	exists, err := s.inspect()
	if err != nil {
		return nil, err
	}
	if !exists {
		return nil, fmt.Errorf("%w: %s holds no store; check the path", ErrMissing, dir)
	}
	if s.format != 0 && s.format < s.newestFormat() {
		return nil, fmt.Errorf("%w: %s has format %d and this version has %d; a server migrates it when it starts", ErrOlder, dir, s.format, s.newestFormat())
	}
	if err := s.openForBackup(); err != nil {
		return nil, err
	}
	if err := s.runIsolated(s.loadForReader); err != nil {
		return nil, errors.Join(s.openError(err), s.closeDB())
	}
	return &Reader{s}, nil
}

// loadForReader reads the metadata, as load does.
func (s *Store) loadForReader() (err error) {
	if err := s.loadNumbers(); err != nil {
		return err
	}
	if err := s.checkWatermark(s.progress.durableAt()); err != nil {
		return err
	}
	s.epoch, err = s.meta(metaEpoch)
	return err
}

// Close unlocks the directory.
func (r *Reader) Close() error { return r.s.closeDB() }

// Load is as in store.Store, and so are the following.
func (r *Reader) Load(ctx context.Context, account presence.AccountID, keys ...store.Key) ([]store.Doc, error) {
	return r.s.Load(ctx, account, keys...)
}

// List reads documents.
func (r *Reader) List(ctx context.Context, account presence.AccountID, collection, after string, limit int) ([]store.Doc, error) {
	return r.s.List(ctx, account, collection, after, limit)
}

// PositionAt reads the log.
func (r *Reader) PositionAt(ctx context.Context, t time.Time) (store.Position, error) {
	return r.s.PositionAt(ctx, t)
}

// Log reads the log.
func (r *Reader) Log(ctx context.Context, after store.Position, limit int) ([]store.Entry, error) {
	return r.s.Log(ctx, after, limit)
}
