package wire

import (
	"context"

	"porchlight.dev/porchlight/internal/auth"
)

// An Arrival is a request that is answered outside net/http, when it comes.
type Arrival struct {
	Method string
	Path   []byte // used until End
	Remote string // the address of the connection's other end
	Peer   Client // the same, as Peer gives it
	// Forwarded is what the peer reports of its client; nil if the peer is not a trusted
	// proxy.
	Forwarded  *Forwarded
	Connection Connection // nil: unknown
	Meter      *Meter     // of its route
	// Parents are its headers traceparent, and States those tracestate, if requests are
	// traced.
	Parents, States []string
}

// Begin starts the facts of a request that is answered outside net/http. Unless End
// follows, nothing is counted or logged.
func (o *Observer) Begin(f *Facts, a *Arrival) {
	*f = Facts{method: a.Method, path: a.Path, remote: a.Remote, connection: a.Connection}
	o.identify(f, a.Peer, a.Forwarded)
	f.trace(o, a.Meter, a.Parents, a.States)
}

// End counts and logs the answer of a request.
func (o *Observer) End(f *Facts, m *Meter, status, bytes int) {
	ctx := context.Background() // a request outside net/http has none
	f.bytes = int64(bytes)
	if f.err != nil {
		o.logFailure(ctx, f)
		o.recordDenial(f, m)
	}
	o.record(ctx, f, m, status)
}

// Panicked logs what a handler outside net/http panicked with, and returns it as an error.
func (o *Observer) Panicked(v any) error { return o.panicked(context.Background(), v) }

// RequestID is the request's id.
func (f *Facts) RequestID() string { return f.requestID }

// Client is the request's sender.
func (f *Facts) Client() *Client { return &f.client }

// SetPrincipal records who the request acts for, and that its connection is authenticated.
func (f *Facts) SetPrincipal(p *auth.Principal) {
	f.principal = p
	f.authenticated()
}

// SetError records why the request was refused.
func (f *Facts) SetError(err error) { f.err = err }

// SetCode records the code of the error in the response, in the dialect's terms.
func (f *Facts) SetCode(code string) { f.code = code }
