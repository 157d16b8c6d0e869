package natsstore

import (
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"

	"porchlight.dev/porchlight/internal/store"
)

var _ store.Messenger = (*Store)(nil)

// Headers of messages to other nodes.
const (
	senderHeader   = "Porchlight-Sender"   // the store that sent it
	epochHeader    = "Porchlight-Epoch"    // of the sequence
	sequenceHeader = "Porchlight-Sequence" // what the sender had stored or read
)

// Broadcast implements store.Messenger with a message of core NATS, which no stream keeps.
func (s *Store) Broadcast(topic string, payload []byte) error {
	m := nats.NewMsg(s.names.message(topic))
	m.Header.Set(senderHeader, s.sender)
	m.Header.Set(epochHeader, s.epoch)
	m.Header.Set(sequenceHeader, strconv.FormatUint(s.lastSeq.Load(), 10))
	m.Data = payload
	if err := s.conn.PublishMsg(m); err != nil {
		return fmt.Errorf("send a message to the other nodes: %w", err)
	}
	return nil
}

// Subscribe implements store.Messenger.
func (s *Store) Subscribe(topic string, fn func(payload []byte)) (stop func(), err error) {
	sub, err := s.conn.Subscribe(s.names.message(topic), func(m *nats.Msg) {
		if m.Header.Get(senderHeader) != s.sender && s.caughtUp(m) {
			fn(m.Data)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("subscribe to messages of other nodes: %w", err)
	}
	return func() { _ = sub.Unsubscribe() }, nil // it fails only if the connection is closed
}

// caughtUp makes later reads at least as new as what the sender of m had read or stored. It
// reports false for a message of another epoch, whose sequences mean nothing in this one.
func (s *Store) caughtUp(m *nats.Msg) bool {
	seq, err := strconv.ParseUint(m.Header.Get(sequenceHeader), 10, 64)
	if err != nil || m.Header.Get(epochHeader) != s.epoch {
		return false
	}
	s.advanceSeq(seq)
	return true
}
