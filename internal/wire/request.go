package wire

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/form"
	"porchlight.dev/porchlight/internal/presence"
)

// Limits on bodies, in bytes.
const (
	MaxBody      = 64 << 10
	MaxQueryBody = 1 << 20 // of a presence query
)

// Authenticator finds the principal of a token; *auth.Authority is one.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (*auth.Principal, error)
}

// Principal is whom the request acts for, by its bearer token, or by the cookie of a
// person who signed in with this browser. A token in the query string is refused whatever
// else the request carries.
func Principal(w http.ResponseWriter, r *http.Request, a Authenticator) (*auth.Principal, error) {
	token, err := Bearer(r)
	if errors.Is(err, auth.ErrNoToken) && len(r.Header["Authorization"]) == 0 {
		return signedIn(w, r, a)
	}
	if err != nil {
		return nil, err
	}
	stage := spanOf(w).Child("authenticate")
	p, err := a.Authenticate(r.Context(), token)
	stage.End()
	if err != nil {
		return nil, err
	}
	RecordPrincipal(w, p)
	return p, nil
}

// Bearer is the token in the Authorization header of a request.
func Bearer(r *http.Request) (string, error) {
	if strings.Contains(r.URL.RawQuery, "access_token=") {
		return "", auth.ErrTokenInQuery
	}
	header := r.Header["Authorization"]
	if len(header) != 1 {
		return "", auth.ErrNoToken
	}
	scheme, token, ok := strings.Cut(header[0], " ")
	token = strings.Trim(token, " ")
	if !ok || !strings.EqualFold(scheme, "bearer") || token == "" {
		return "", auth.ErrNoToken
	}
	return token, nil
}

// ReadBody reads at most limit bytes, or ErrTooLarge. A compressed body is a
// MediaTypeError.
func ReadBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if coding := r.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return nil, &MediaTypeError{Given: "content-encoding " + coding, Accepted: "bodies that are not compressed"}
	}
	if r.ContentLength > limit {
		return nil, ErrTooLarge
	}
	if r.ContentLength > 0 {
		body := make([]byte, r.ContentLength)
		if _, err := io.ReadFull(r.Body, body); err != nil {
			return nil, &SyntaxError{Reason: "the request body ended early"}
		}
		return body, nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, ErrTooLarge
	case err != nil:
		return nil, &SyntaxError{Reason: "the request body could not be read"}
	}
	return body, nil
}

// MediaType is form.MediaType of the request.
func MediaType(r *http.Request) (string, map[string]string, error) {
	kind, params, err := form.MediaType(r.Header)
	if e, ok := errors.AsType[*form.TypeError](err); ok {
		return "", nil, &MediaTypeError{Reason: e.Reason}
	}
	if err != nil {
		return "", nil, &SyntaxError{Reason: err.Error()}
	}
	return kind, params, nil
}

// Query is the parameters of the URL.
func Query(r *http.Request) (url.Values, error) {
	values, err := form.Parse(r.URL.RawQuery)
	if err != nil {
		return nil, &SyntaxError{Reason: "the query of the URL " + err.Error()}
	}
	return values, nil
}

// MaxKeyBytes bounds an Idempotency-Key.
const MaxKeyBytes = 128

// Conditions reads Idempotency-Key, If-Match and If-None-Match. asked is the parsed body:
// with method and route it distinguishes requests of one key. The raw body would not do,
// because a repeated form has another boundary.
func Conditions(r *http.Request, p *auth.Principal, asked []byte) (presence.Request, error) {
	var c presence.Request
	if keys := r.Header["Idempotency-Key"]; len(keys) > 0 {
		key := keys[0]
		if len(keys) > 1 || key == "" || len(key) > MaxKeyBytes {
			return c, &SyntaxError{Reason: "Idempotency-Key must be given once and have 1 to 128 bytes"}
		}
		c.App = p.App
		c.Key = digest(string(p.App), key)
		c.Body = digest(r.Method+" "+r.Pattern, string(asked))
	}
	asks, err := ReadCondition(r)
	if err != nil {
		return c, err
	}
	c.IfMatch, c.IfNoneMatch = revisions(asks.match, false), revisions(asks.noneMatch, true)
	return c, nil
}

func digest(a, b string) [16]byte {
	h := sha256.New()
	_, _ = io.WriteString(h, strconv.Itoa(len(a))+" "+a+b) // a hash never fails
	return [16]byte(h.Sum(nil)[:16])
}

// ETag is the entity tag of a revision.
func ETag(r presence.Revision) string {
	var buf [24]byte
	return string(AppendETag(buf[:0], r))
}

// AppendETag appends the entity tag of a revision.
func AppendETag(b []byte, r presence.Revision) []byte {
	return append(strconv.AppendUint(append(b, '"'), uint64(r), 10), '"')
}

// QueryAddresses is the first readable parameter of a name in the query, in which a "+"
// remains a plus sign: it is common in addresses, where a space is not valid.
func QueryAddresses(r *http.Request, name string) string {
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		key, value, _ := strings.Cut(pair, "=")
		if key, err := url.QueryUnescape(key); err != nil || key != name {
			continue
		}
		text, _ := url.PathUnescape(value) // Query has read it
		return text
	}
	return ""
}

// UserRef is the user that a path names: an id, an e-mail or "me", percent-
// encoded or not.
func UserRef(r *http.Request, name string) string {
	ref := r.PathValue(name)
	// A client may encode an e-mail that its library then encodes again.
	if strings.Contains(ref, "%40") {
		if decoded, err := url.PathUnescape(ref); err == nil {
			return decoded
		}
	}
	return ref
}

type connKey struct{}

// WithConn is the ConnContext of a server whose handlers ask for Conn.
func WithConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// Conn is the connection of the request, or nil. Only net/http may read it or write to it.
func Conn(r *http.Request) net.Conn {
	c, _ := r.Context().Value(connKey{}).(net.Conn)
	return c
}
