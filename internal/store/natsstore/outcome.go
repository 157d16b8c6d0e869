package natsstore

import (
	"context"
	"errors"

	"porchlight.dev/porchlight/internal/store"
)

// An outcome is the result of a write whose acknowledgement was lost.
type outcome int

const (
	unchanged  outcome = iota // not stored yet: the version to replace is still the newest
	superseded                // not stored, and never will be: another write came first
	stored
)

// replacedOutcome returns the outcome function of a write whose messages do not identify
// their writer: any new message counts as that of another write.
func (s *Store) replacedOutcome(subject string, prev uint64) func(context.Context) (outcome, uint64, error) {
	return func(ctx context.Context) (outcome, uint64, error) {
		last, err := s.leaderLastOnce(ctx, subject)
		if err != nil || last == nil || last.seq <= prev { // or the leader was replaced
			return unchanged, 0, err
		}
		return superseded, 0, nil
	}
}

// errSuperseded: another write came first, and this one was not stored.
var errSuperseded = errors.New("another write came first")

// updateOutcome determines whether operation op replaced prev. The answer of a leader would not
// do: one that was replaced without knowing it has an older record than prev.
func (s *Store) updateOutcome(ctx context.Context, prev *record, op uint64) (outcome, uint64, error) {
	present, _, err := s.readLast(ctx, s.queryFresh, s.names.all(prev.user))
	if err != nil {
		return 0, 0, err
	}
	last, ok := s.names.newestOf(prev.user, present)
	if !ok || last.seq == prev.seq {
		return unchanged, 0, nil
	}
	now, err := decodeRecord(prev.user, last)
	if err != nil {
		return 0, 0, err
	}
	return outcomeFromOps(now.ops, op, store.Position(prev.seq))
}

// outcomeFromOps searches for operation id among those after a position.
func outcomeFromOps(ops writeOps, id uint64, after store.Position) (outcome, uint64, error) {
	if at, ok := ops.at(id); ok {
		return stored, uint64(at), nil
	}
	if !ops.cover(after) {
		return 0, 0, errOpEvicted
	}
	return superseded, 0, nil
}

// errOpEvicted: so many operations followed that the record does not list this one
// any more.
var errOpEvicted = errors.New("the record was changed too often since to determine the result")

// maxOps is how many of its last write operations a record or document lists.
const maxOps = 4

// A writeOp identifies the operation that wrote a version, and the version's position.
// The position is zero in the message that the operation itself stored, since it was not
// known yet.
type writeOp struct {
	id uint64
	at store.Position
}

// writeOps are the last operations, newest first.
type writeOps []writeOp

// at is the position that an operation wrote, if it is listed.
func (ops writeOps) at(id uint64) (store.Position, bool) {
	for _, op := range ops {
		if op.id == id {
			return op.at, true
		}
	}
	return 0, false
}

// after is the list in a message of operation id that replaces one with ops.
func (ops writeOps) after(id uint64) writeOps {
	return append(writeOps{{id: id}}, ops[:min(len(ops), maxOps-1)]...)
}

// cover reports whether ops includes every operation after a position.
func (ops writeOps) cover(at store.Position) bool {
	return len(ops) < maxOps || ops[len(ops)-1].at <= at
}

// setNewest sets the position of the newest operation, which its own message does not
// include.
func (ops writeOps) setNewest(at store.Position) {
	if len(ops) > 0 && ops[0].at == 0 {
		ops[0].at = at
	}
}
