package natsstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
)

// replies receives responses of many messages, such as those of a direct get. All calls
// share one subscription, and each has a reply subject of its own.
type replies struct {
	conn   *nats.Conn
	prefix string

	mu    sync.Mutex // guards the fields below
	calls map[string]*reply
	next  uint64
}

// A reply is the response to one call, as far as it has arrived.
type reply struct {
	msgs []*nats.Msg
	done chan struct{} // closed when end is set
	end  *nats.Msg
}

func subscribeReplies(conn *nats.Conn) (*replies, error) {
	r := &replies{conn: conn, prefix: conn.NewInbox() + ".", calls: make(map[string]*reply)}
	sub, err := conn.Subscribe(r.prefix+"*", r.receive)
	if err != nil {
		return nil, err
	}
	// No limit: the messages are those that callers requested.
	return r, sub.SetPendingLimits(-1, -1)
}

const (
	statusHeader      = "Status"
	descriptionHeader = "Description"
)

func (c *reply) status() string { return c.end.Header.Get(statusHeader) }

// err is nil if the status is that of a response with messages, or without.
func (c *reply) err() error {
	switch c.status() {
	case "204", "404":
		return nil
	case "413":
		return errTooMany
	}
	return fmt.Errorf("unexpected status %s of a direct get: %s", c.status(), c.end.Header.Get(descriptionHeader))
}

// receive assigns a message to its call. A message with a status ends the response.
func (r *replies) receive(m *nats.Msg) {
	r.mu.Lock()
	defer r.mu.Unlock()
	call := r.calls[m.Subject]
	if call == nil || call.end != nil {
		return
	}
	if m.Header.Get(statusHeader) == "" {
		call.msgs = append(call.msgs, m)
		return
	}
	call.end = m
	close(call.done)
}

// request publishes a request, and waits for the complete response.
func (r *replies) request(ctx context.Context, subject string, body []byte) (*reply, error) {
	call := &reply{done: make(chan struct{})}
	r.mu.Lock()
	r.next++
	inbox := r.prefix + strconv.FormatUint(r.next, 36)
	r.calls[inbox] = call
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.calls, inbox)
	}()
	if err := r.conn.PublishRequest(subject, inbox, body); err != nil {
		return nil, err
	}
	select {
	case <-call.done:
		return call, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Headers of a direct get.
const (
	subjectHeader = "Nats-Subject"
	seqHeader     = "Nats-Sequence"
	lastHeader    = "Nats-Last-Sequence" // of the previous message in the response
	pendingHeader = "Nats-Num-Pending"
	upToHeader    = "Nats-UpTo-Sequence"
	sourceHeader  = "Nats-Stream-Source"
)

// A storedMsg is a stored message.
type storedMsg struct {
	subject string
	seq     uint64
	source  uint64 // sequence in the stream that it was copied from
	data    []byte
}

// The reasons why a response is unusable.
var (
	errIncomplete = errors.New("incomplete response")
	errTooMany    = errors.New("more messages match than one response holds")
)

func uintHeader(m *nats.Msg, header string) uint64 { return parseUint(m.Header.Get(header)) }

// parseUint parses the number in a header. Zero: it is missing or invalid.
func parseUint(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// messages decodes the messages, and checks that none of them was lost.
func (c *reply) messages() ([]storedMsg, error) {
	all := make([]storedMsg, len(c.msgs))
	var last uint64
	for i, m := range c.msgs {
		if uintHeader(m, lastHeader) != last {
			return nil, errIncomplete
		}
		all[i] = storedMsg{subject: m.Header.Get(subjectHeader), seq: uintHeader(m, seqHeader), source: sourceSeq(m.Header), data: m.Data}
		last = all[i].seq
	}
	if uintHeader(c.end, lastHeader) != last {
		return nil, errIncomplete
	}
	return all, nil
}
