package audit

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// A Report is the result of a verification.
type Report struct {
	Account string `json:"account"`
	Events  uint64 `json:"events"`
	First   uint64 `json:"first"` // sequence; 0: there are no events
	Last    uint64 `json:"last"`
	// LastTime is that of the closing checkpoint.
	LastTime string `json:"last_time,omitempty"`
	// Checkpoints are those that agree with the events, Signed those of them whose signature
	// was verified, UnknownKey those that are signed by another key than was given.
	Checkpoints int `json:"checkpoints"`
	Signed      int `json:"signed"`
	UnknownKey  int `json:"unknown_key"`
	// SignedUpTo is the last event that a verified signature covers.
	SignedUpTo uint64 `json:"signed_up_to"`
	// Problem is the first thing that is wrong; nil: nothing is.
	Problem *Problem `json:"problem,omitempty"`
}

// A Problem is what is wrong with a log.
type Problem struct {
	Sequence uint64 `json:"sequence"` // the first event that is wrong or missing
	What     string `json:"what"`
}

func (p *Problem) Error() string { return fmt.Sprintf("event %d: %s", p.Sequence, p.What) }

// A Verifier verifies the lines of an export.
type Verifier struct {
	// Keys are public keys; checkpoints of other keys are not verified. None: no signature is.
	Keys []ed25519.PublicKey
	// Known are checkpoints from elsewhere, such as an earlier export. The log must agree
	// with them as well.
	Known []*Checkpoint

	report   Report
	begun    bool   // the first event is known
	dropped  uint64 // the events up to this one were dropped
	sequence uint64 // of the newest event
	hash     string
	time     string
	// The newest event with which a checkpoint agrees, and a known one.
	agreed, knownAgreed uint64
	seen                map[uint64]bool
	last                *Checkpoint
	closed              bool
	accounts            map[string]bool
}

const maxLine = 1 << 20

// Verify reads an export to its end, or to the first thing that is wrong. An error is about
// reading alone.
func (v *Verifier) Verify(r io.Reader) (*Report, error) {
	v.seen, v.accounts = make(map[uint64]bool), make(map[string]bool)
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	var problem *Problem
	for lines.Scan() {
		if err := v.line(lines.Bytes()); errors.As(err, &problem) {
			return v.result(problem), nil
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the export: %w", err)
	}
	if errors.As(v.end(), &problem) {
		return v.result(problem), nil
	}
	return v.result(nil), nil
}

func (v *Verifier) result(p *Problem) *Report {
	v.report.Last, v.report.Problem = v.sequence, p
	return &v.report
}

func (v *Verifier) line(line []byte) error {
	v.closed = false
	var kind struct {
		Kind string `json:"kind"`
	}
	if json.Unmarshal(line, &kind) == nil && kind.Kind == checkpointKind {
		c, err := parseCheckpoint(bytes.Clone(line))
		if err != nil {
			return &Problem{v.sequence + 1, "the checkpoint after it " + err.Error()}
		}
		return v.checkpoint(c)
	}
	r, intact, err := parseRecord(line)
	if err != nil {
		return &Problem{v.sequence + 1, err.Error()}
	}
	return v.record(&r, intact)
}

func (v *Verifier) record(r *Record, intact bool) error {
	next := v.sequence + 1
	switch {
	case r.Sequence > next && !v.begun:
		return &Problem{next, fmt.Sprintf("is missing, as are all before event %d, and no checkpoint states that they were dropped", r.Sequence)}
	case r.Sequence > next:
		return &Problem{next, missingUpTo(next, r.Sequence-1)}
	case r.Sequence < next:
		return &Problem{next, fmt.Sprintf("event %d is in its place: the order was changed, or an event is repeated", r.Sequence)}
	case !intact:
		return &Problem{r.Sequence, "was changed: its hash is that of other contents"}
	case r.Previous != v.hash:
		return &Problem{r.Sequence, "does not follow the event before it: one of the two was replaced"}
	case r.Time < v.time:
		return &Problem{r.Sequence, "is older than the event before it"}
	}
	if v.report.Events == 0 {
		v.report.First = r.Sequence
	}
	v.begun = true
	v.report.Events++
	v.sequence, v.hash, v.time = r.Sequence, r.Hash, r.Time
	for _, c := range v.Known {
		if c.Sequence == r.Sequence {
			if err := v.agrees(c, &v.knownAgreed); err != nil {
				return err
			}
		}
	}
	return nil
}

func missingUpTo(first, last uint64) string {
	if first == last {
		return "is missing"
	}
	return fmt.Sprintf("is missing, as are all up to event %d", last)
}

func (v *Verifier) checkpoint(c *Checkpoint) error {
	v.accounts[c.Account] = true
	switch signed, err := v.verifySignature(c); {
	case err != nil:
		return err
	case len(v.accounts) > 1:
		return &Problem{c.Sequence, "its checkpoint is that of another account"}
	case c.Reason == ReasonRetention && !v.begun:
		v.sequence, v.hash, v.begun = c.Sequence, c.Hash, true
		v.agreed, v.knownAgreed, v.dropped = c.Sequence, c.Sequence, c.Sequence
		return v.count(c, signed)
	case c.Reason == ReasonRetention && c.Sequence < v.sequence:
		return &Problem{c.Sequence, "the checkpoint about dropped events is not before the first event"}
	case c.Sequence < v.sequence:
		return &Problem{c.Sequence, "its checkpoint is not in its place"}
	case v.last != nil && bytes.Equal(v.last.line, c.line):
		return &Problem{c.Sequence, "its checkpoint is repeated"}
	case c.Previous > v.dropped && !v.seen[c.Previous]:
		return &Problem{c.Previous, fmt.Sprintf("its checkpoint is missing, which the one of event %d names", c.Sequence)}
	default:
		if err := v.agrees(c, &v.agreed); err != nil {
			return err
		}
		v.last, v.closed = c, c.Reason == ReasonExport
		return v.count(c, signed)
	}
}

// agrees is an error unless a checkpoint has the hash of the newest event. agreed is where
// the last one of its kind was.
func (v *Verifier) agrees(c *Checkpoint, agreed *uint64) error {
	switch {
	case c.Sequence > v.sequence:
		return &Problem{v.sequence + 1, missingUpTo(v.sequence+1, c.Sequence) + ", which the checkpoint of " + c.Time + " has"}
	case c.Hash != v.hash:
		return &Problem{*agreed + 1, fmt.Sprintf("is the first of those, up to event %d, of which one was replaced: the checkpoint of %s has another hash", c.Sequence, c.Time)}
	default:
		*agreed = c.Sequence
		return nil
	}
}

func (v *Verifier) count(c *Checkpoint, signed bool) error {
	v.seen[c.Sequence] = true
	v.report.Account = c.Account
	v.report.Checkpoints++
	if signed {
		v.report.Signed++
		v.report.SignedUpTo = c.Sequence
	}
	return nil
}

// verifySignature reports whether one of the keys signed a checkpoint.
func (v *Verifier) verifySignature(c *Checkpoint) (bool, error) {
	for _, key := range v.Keys {
		if c.Key != KeyID(key) {
			continue
		}
		if !c.signedBy(key) {
			return false, &Problem{c.Sequence, "the signature of its checkpoint is wrong"}
		}
		return true, nil
	}
	if c.Key != "" {
		v.report.UnknownKey++
	}
	return false, nil
}

// end checks what only the end of the lines shows.
func (v *Verifier) end() error {
	for _, c := range v.Known {
		if c.Sequence > v.sequence {
			return v.agrees(c, &v.knownAgreed)
		}
	}
	switch {
	case !v.closed:
		return &Problem{v.sequence + 1, "the export has no end: its last line must be the checkpoint of the export"}
	case len(v.Keys) > 0 && v.report.SignedUpTo < v.sequence:
		return &Problem{v.report.SignedUpTo + 1, "no checkpoint that is signed by the given key covers it"}
	}
	v.report.LastTime = v.last.Time
	return nil
}

// ReadCheckpoints reads the checkpoints among the lines of an export, of a log of the server
// or of both.
func ReadCheckpoints(r io.Reader) ([]*Checkpoint, error) {
	var all []*Checkpoint
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	for lines.Scan() {
		line := bytes.Clone(lines.Bytes())
		var logged struct {
			Checkpoint string `json:"checkpoint"`
		}
		if json.Unmarshal(line, &logged) == nil && logged.Checkpoint != "" {
			line = []byte(logged.Checkpoint)
		}
		if c, err := parseCheckpoint(line); err == nil {
			all = append(all, c)
		}
	}
	return all, lines.Err()
}
