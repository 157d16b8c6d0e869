package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// A Kind is what went wrong with a request.
type Kind string

// The kinds.
const (
	Invalid    Kind = "url"      // the URL is malformed, or has a port that is refused
	Refused    Kind = "refused"  // the address is not permitted
	Unresolved Kind = "name"     // the name has no permitted address
	Connect    Kind = "connect"  // no connection
	TLS        Kind = "tls"      // the handshake failed
	Timeout    Kind = "timeout"  // it took too long
	Closed     Kind = "closed"   // the connection ended before the answer
	Protocol   Kind = "protocol" // the answer is not valid HTTP
	Canceled   Kind = "canceled" // by the caller
	Internal   Kind = "internal" // this side made no request: it had too many at the time
)

// An Error says why there is no answer. Its text can be shown to whoever chose the URL:
// about addresses that are not permitted, it tells nothing that the URL did not contain.
type Error struct {
	Kind Kind
	Text string // a clause without a period
}

// Error is the text.
func (e *Error) Error() string { return e.Text }

func invalid(text string) error { return &Error{Invalid, text} }

func refusedPort(port uint16) error {
	return invalid(fmt.Sprintf("port %d is refused: of the ports below 1024, only 80 and 443 are permitted", port))
}

// refuse says that an address is not permitted.
func (r *rule) refuse(what string) error {
	text := what + " is private, local or reserved"
	if r.setting != "" {
		text += "; the operator of this server can allow its network with " + r.setting
	}
	return &Error{Refused, text}
}

// A progress follows a request, so that an error can say how far it came.
type progress struct {
	began         time.Time
	host, setting string
	step          atomic.Int32 // may still be set by a connection that nobody waits for
}

// The steps of a request.
const (
	resolving int32 = iota
	connecting
	handshaking
	sending
	waiting
	answering
)

func (p *progress) trace(ctx context.Context) context.Context {
	reach := p.step.Store
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		ConnectStart:      func(string, string) { reach(connecting) },
		TLSHandshakeStart: func() { reach(handshaking) },
		GotConn:           func(httptrace.GotConnInfo) { reach(sending) },
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				reach(waiting)
			}
		},
		GotFirstResponseByte: func() { reach(answering) },
	})
}

// describe puts an error of net/http into words.
func (p *progress) describe(ctx context.Context, err error) *Error {
	var own *Error
	var name *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &own) && own.Kind == Refused, errors.As(err, &name) && name.IsNotFound:
		return p.notPermitted(own)
	case own != nil:
		return own
	case errors.Is(ctx.Err(), context.Canceled):
		return &Error{Canceled, "the request was canceled"}
	case ctx.Err() != nil, errors.As(err, &timeout) && timeout.Timeout():
		return &Error{Timeout, p.late()}
	case name != nil:
		return &Error{Unresolved, "the name of the host cannot be resolved at the moment"}
	default:
		return p.broken(err)
	}
}

// busy is why a request was not made that waited for others.
func busy(ctx context.Context) *Error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return &Error{Canceled, "the request was canceled"}
	}
	return &Error{Internal, "the server makes too many requests at the moment"}
}

// notPermitted is the same for a name that does not exist and for one that has only
// addresses that are not permitted, so that it does not tell which names exist in the
// operator's network.
func (p *progress) notPermitted(refusal *Error) *Error {
	if refusal != nil && net.ParseIP(p.host) != nil {
		return refusal
	}
	text := "the name of the host does not exist, or has no public address"
	if p.setting != "" {
		text += "; the operator of this server can allow other networks with " + p.setting
	}
	return &Error{Unresolved, text}
}

// late says what did not happen in time.
func (p *progress) late() string {
	what := map[int32]string{
		resolving:   "no connection",
		connecting:  "no connection",
		handshaking: "no end of the TLS handshake",
		sending:     "the endpoint did not read the request",
		waiting:     "no answer",
		answering:   "no end of the answer's head",
	}[p.step.Load()]
	return fmt.Sprintf("%s within %s", what, time.Since(p.began).Round(100*time.Millisecond))
}

// broken describes a failure of the connection or of what came over it.
func (p *progress) broken(err error) *Error {
	var certificate *tls.CertificateVerificationError
	var plain tls.RecordHeaderError
	step := p.step.Load()
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return &Error{Connect, "the connection was refused"}
	case errors.As(err, &certificate):
		return &Error{TLS, "the certificate cannot be verified: " + clip(certificate.Err)}
	case errors.As(err, &plain):
		return &Error{TLS, "the endpoint does not speak TLS"}
	case step == handshaking, remoteAlert(err):
		return &Error{TLS, "the TLS handshake failed: " + clip(err)}
	case step < handshaking:
		return &Error{Connect, "no connection: " + clip(err)}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET), strings.Contains(err.Error(), "server closed idle connection"):
		return &Error{Closed, "the endpoint closed the connection without an answer"}
	case strings.Contains(err.Error(), "readLoopPeekFail"):
		return &Error{Protocol, "the endpoint sent an answer before it was asked"}
	default:
		return &Error{Protocol, "the answer is not valid HTTP: " + clip(err)}
	}
}

// remoteAlert reports whether the endpoint ended TLS with an alert, which may come after
// the handshake.
func remoteAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// lastCause is the error of the operating system, which has no addresses in it.
func lastCause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return op.Err
	}
	return err
}

// clip shortens an error that may contain what the endpoint sent.
func clip(err error) string {
	const most = 200
	text := strings.ToValidUTF8(strings.TrimPrefix(lastCause(err).Error(), "net/http: "), "\uFFFD")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
