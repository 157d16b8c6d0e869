package telemetry

import (
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/trace"
)

// A Commit identifies a commit to a user. It stays in memory and is never sent.
type Commit struct {
	Account, User string
	Revision      uint64
}

// maxLinks bounds how many commits are remembered: those of the last seconds, or of minutes
// with a low rate of samples.
const maxLinks = 4096

// links are the spans of the commits of traced requests, the newest maxLinks. They are in
// memory alone: the log does not have them, so work on another node, or after a restart, is
// not connected to the request.
type links struct {
	count atomic.Int64 // so that nothing is looked up while nothing is traced

	mu    sync.Mutex
	spans map[Commit]trace.SpanContext
	order []Commit // a ring
	next  int
}

// Commits records that the span's request makes a commit. It is called before the commit
// is durable, because readers of the log may be quicker than the answer.
func (s *Span) Commits(c Commit) {
	if s != nil {
		s.tracer.links.add(c, s.span.SpanContext())
	}
}

func (l *links) add(c Commit, from trace.SpanContext) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.spans == nil {
		l.spans, l.order = make(map[Commit]trace.SpanContext), make([]Commit, maxLinks)
	}
	if _, ok := l.spans[c]; !ok {
		delete(l.spans, l.order[l.next])
		l.order[l.next] = c
		l.next = (l.next + 1) % maxLinks
	}
	l.spans[c] = from
	l.count.Store(int64(len(l.spans)))
}

func (l *links) find(c Commit) trace.SpanContext {
	if l.count.Load() == 0 {
		return trace.SpanContext{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.spans[c]
}

// Any reports whether commits of traced requests are remembered.
func (t *Tracer) Any() bool { return t != nil && t.links.count.Load() > 0 }
