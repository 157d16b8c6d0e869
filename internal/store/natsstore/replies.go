package natsstore

import (
	"context"
	"errors"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
)

// replies collects answers of many messages, such as those of a direct get. One
// subscription serves all calls; each has a subject of its own below it.
type replies struct {
	conn   *nats.Conn
	prefix string

	mu    sync.Mutex // guards the fields below
	calls map[string]*reply
	next  uint64
}

// A reply is the answer to one call, as far as it has come.
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
	// What comes was asked for, so the callers are the limit.
	return r, sub.SetPendingLimits(-1, -1)
}

const statusHeader = "Status"

// take files a message. One with a status ends the answer.
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

// ask sends a request and waits for the whole answer.
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
	lastHeader    = "Nats-Last-Sequence" // of the message before it in the answer
	pendingHeader = "Nats-Num-Pending"
	upToHeader    = "Nats-UpTo-Sequence"
	sourceHeader  = "Nats-Stream-Source"
)

// A storedMsg is a stored message.
type storedMsg struct {
	subject string
	seq     uint64
	source  uint64 // in the stream that it was copied from
	data    []byte
}

// Why an answer is of no use.
var (
	errIncomplete = errors.New("incomplete response")
	errTooMany    = errors.New("more messages match than one response holds")
)

// number reads a header; what is no number is zero.
func uintHeader(m *nats.Msg, header string) uint64 {
	n, err := strconv.ParseUint(m.Header.Get(header), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// messages checks that none of the answer was lost on the way.
func (c *reply) messages() ([]storedMsg, error) {
	all := make([]storedMsg, len(c.msgs))
	var last uint64
	for i, m := range c.msgs {
		if uintHeader(m, lastHeader) != last {
			return nil, errIncomplete
		}
		all[i] = decodeMsg(m)
		last = all[i].seq
	}
	if uintHeader(c.end, lastHeader) != last {
		return nil, errIncomplete
	}
	return all, nil
}
