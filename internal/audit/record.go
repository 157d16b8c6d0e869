package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/store"
)

// A Record is an event in the log. Its JSON is the line of an export; the last member is
// the hash.
type Record struct {
	document.Format

	Sequence uint64          `json:"sequence"`
	Time     string          `json:"time"`
	Action   string          `json:"action"`
	Target   string          `json:"target,omitempty"`
	User     string          `json:"user,omitempty"`
	App      string          `json:"app,omitempty"`
	Token    string          `json:"token,omitempty"`
	Address  string          `json:"address,omitempty"`
	Request  string          `json:"request,omitempty"`
	Denied   bool            `json:"denied,omitempty"`
	Reason   string          `json:"reason,omitempty"`
	Before   json.RawMessage `json:"before,omitempty"`
	After    json.RawMessage `json:"after,omitempty"`
	Count    int             `json:"count,omitempty"`
	Previous string          `json:"previous"`
	Hash     string          `json:"hash,omitempty"`

	// Line is the record as it was hashed.
	Line []byte `json:"-"`
}

// TimeLayout is how the log writes times, in UTC. Such times are in order as text.
const TimeLayout = "2006-01-02T15:04:05.000Z"

func timeText(t time.Time) string { return t.UTC().Format(TimeLayout) }

// A headValue says where the log of an account ends and begins.
type headValue struct {
	document.Format

	Sequence uint64 `json:"sequence"` // of the newest event; 0: none
	Hash     string `json:"hash"`     // of the newest event
	Time     string `json:"time"`     // of the newest event
	Dropped  uint64 `json:"dropped"`  // the events up to this one are past the retention
	// The newest checkpoint; 0: none.
	Checkpoint     uint64 `json:"checkpoint"`
	CheckpointTime string `json:"checkpoint_time"`
	CheckpointKey  string `json:"checkpoint_key"`
}

const (
	recordCollection     = "audit"
	checkpointCollection = "audit-checkpoint"
)

func headKey() store.Key { return store.Key{Collection: "audit-head", Key: "head"} }

func recordKey(sequence uint64) store.Key {
	return store.Key{Collection: recordCollection, Key: sequenceKey(sequence)}
}

// sequenceKey is a sequence as a key: keys are in the order of the sequences.
func sequenceKey(sequence uint64) string { return fmt.Sprintf("%016x", sequence) }

// Hashes and signatures are over the text of a line without its last member, so that they
// can be verified without writing JSON again.
const (
	hashMember      = `,"hash":"`
	signatureMember = `,"signature":"`
)

// seal appends the last member, whose value of sum, to a JSON object.
func seal(text []byte, member string, sum func(text []byte) string) []byte {
	value := sum(text)
	sealed := append(bytes.Clone(text[:len(text)-1]), member...)
	return append(append(sealed, value...), '"', '}')
}

// unseal is the inverse of seal: the object without its last member, and the member's value.
func unseal(line []byte, member string) (text []byte, value string, ok bool) {
	i := bytes.LastIndex(line, []byte(member))
	if i < 0 || !bytes.HasSuffix(line, []byte(`"}`)) || i+len(member) > len(line)-2 {
		return nil, "", false
	}
	value = string(line[i+len(member) : len(line)-2])
	return append(bytes.Clone(line[:i]), '}'), value, true
}

func hashOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// line is the record with its hash, which line sets.
func (r *Record) line() []byte {
	r.Hash = ""
	text, err := json.Marshal(r)
	if err != nil {
		panic(fmt.Sprintf("an audit event cannot be written as JSON: %v", err)) // only plain values are in it
	}
	r.Hash = hashOf(text)
	return seal(text, hashMember, func([]byte) string { return r.Hash })
}

var errDamagedRecord = errors.New("is damaged: it is not a record")

// parseRecord reads a line and reports whether its hash is right.
func parseRecord(line []byte) (r Record, intact bool, err error) {
	if err := json.Unmarshal(line, &r); err != nil {
		return r, false, errDamagedRecord
	}
	r.Line = line
	text, hash, ok := unseal(line, hashMember)
	return r, ok && hash == r.Hash && hash == hashOf(text), nil
}
