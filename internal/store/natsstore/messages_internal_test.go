package natsstore

import (
	"testing"

	"github.com/nats-io/nats.go"
)

// TestMessageRaisesReads: after a message, reads use no replica that lacks what the sender
// had stored. A message from before the store got another epoch says nothing of its
// sequences, and is ignored.
func TestMessageRaisesReads(t *testing.T) {
	for name, c := range map[string]struct {
		epoch    string
		seq      string
		accepted bool
		lastSeq  uint64
	}{
		"the sender is ahead":  {"now", "12", true, 12},
		"the sender is behind": {"now", "5", true, 10},
		"of another epoch":     {"then", "12", false, 10},
		"without a sequence":   {"now", "", false, 10},
	} {
		s := newStore("", Options{}.withDefaults())
		s.epoch = "now"
		s.advanceSeq(10)
		m := nats.NewMsg("")
		m.Header.Set(epochHeader, c.epoch)
		m.Header.Set(sequenceHeader, c.seq)
		if got := s.caughtUp(m); got != c.accepted || s.lastSeq.Load() != c.lastSeq {
			t.Errorf("%s: %v, and reads are at least at %d; want %v and %d",
				name, got, s.lastSeq.Load(), c.accepted, c.lastSeq)
		}
	}
}
