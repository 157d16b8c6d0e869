package client

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"
)

// NewHTTPClient returns an HTTP client for [New] and [NewAccountCredentials] that trusts
// the certificates in a PEM file in place of the system's: the authority that signed the
// server's certificate, or a self-signed certificate itself. It has a timeout of 30
// seconds.
func NewHTTPClient(caFile string) (*http.Client, error) {
	data, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("read the trusted certificates: %w", err)
	}
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s has no certificate: expected one or more in PEM format", caFile)
	}
	return newHTTPClient(&tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}), nil
}

// NewPinnedHTTPClient returns an HTTP client for [New] and [NewAccountCredentials] that
// trusts only a server with one key, whatever its certificate says: that of a self-signed
// certificate, also after its renewal. pin is the SHA-256 of the public key in the form of
// curl's --pinnedpubkey, "sha256//" and base64, as "porchlight certificate" prints it. The
// client has a timeout of 30 seconds.
func NewPinnedHTTPClient(pin string) (*http.Client, error) {
	text, ok := strings.CutPrefix(pin, "sha256//")
	want, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(want) != sha256.Size {
		return nil, fmt.Errorf("%q is not the pin of a key: expected sha256// and 44 characters of base64, as \"porchlight certificate\" prints it", pin)
	}
	return newHTTPClient(&tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // the key is compared instead
		VerifyConnection: func(state tls.ConnectionState) error {
			key := sha256.Sum256(state.PeerCertificates[0].RawSubjectPublicKeyInfo)
			if bytes.Equal(key[:], want) {
				return nil
			}
			return &connectError{"the server's key is not the pinned one, but sha256//" + base64.StdEncoding.EncodeToString(key[:]), ErrPinMismatch}
		},
	}), nil
}

// ErrPinMismatch is the cause of an error of a client of [NewPinnedHTTPClient]: the server
// has another key. Either it was replaced, or somebody intercepts the connection.
var ErrPinMismatch = errors.New("the server's key is not the pinned one")

func newHTTPClient(config *tls.Config) *http.Client {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	if standard, ok := http.DefaultTransport.(*http.Transport); ok {
		transport = standard.Clone()
	}
	transport.TLSClientConfig = config
	return &http.Client{Timeout: timeout, Transport: transport}
}

// A connectError describes in operators' terms why a connection failed.
type connectError struct {
	text string
	err  error
}

func (e *connectError) Error() string { return e.text }
func (e *connectError) Unwrap() error { return e.err }

// explainTLS describes an error that a certificate or a wrong URL scheme caused. It
// returns other errors unchanged.
func explainTLS(err error) error {
	if text := describeTLS(err, time.Now()); text != "" {
		return &connectError{text, err}
	}
	return err
}

func describeTLS(err error, now time.Time) string {
	if unknown, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return describeUntrusted(unknown.Cert)
	}
	if wrong, ok := errors.AsType[x509.HostnameError](err); ok {
		return fmt.Sprintf("the server's certificate is not valid for %s, but for %s", wrong.Host, names(wrong.Certificate))
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return describePeriod(invalid.Cert, now)
	}
	_, noTLS := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case errors.Is(err, http.ErrSchemeMismatch):
		return "the server's port speaks plain HTTP, not TLS: use http:// in the URL, or the server's TLS port"
	case noTLS:
		return "the server's port does not speak TLS"
	case strings.Contains(err.Error(), `malformed HTTP response "\x15\x03`): // an alert of TLS
		return plainToTLS
	}
	return ""
}

const plainToTLS = "the server's port speaks TLS, not plain HTTP: use https:// in the URL"

// refusesPlain reports whether a response is a web server's refusal of plain HTTP on a
// TLS port.
func refusesPlain(resp *http.Response, body []byte) bool {
	return resp.StatusCode == http.StatusBadRequest && resp.Request.URL.Scheme != "https" &&
		(strings.Contains(string(body), "HTTP request to an HTTPS server") || strings.Contains(string(body), "HTTP request was sent to HTTPS port"))
}

func describeUntrusted(cert *x509.Certificate) string {
	if cert == nil {
		return "the server's certificate cannot be verified: its authority is not trusted"
	}
	if cert.Issuer.String() == cert.Subject.String() {
		return fmt.Sprintf("the server's certificate cannot be verified: it is self-signed (%s) and not trusted", cert.Subject)
	}
	return fmt.Sprintf("the server's certificate cannot be verified: it is signed by %s, which is not trusted", cert.Issuer)
}

func describePeriod(cert *x509.Certificate, now time.Time) string {
	if now.Before(cert.NotBefore) {
		return "the server's certificate is not valid yet: it is valid from " + cert.NotBefore.UTC().Format(time.RFC3339)
	}
	return "the server's certificate has expired: it was valid until " + cert.NotAfter.UTC().Format(time.RFC3339)
}

// names lists the host names and addresses that a certificate is valid for.
func names(cert *x509.Certificate) string {
	all := append([]string{}, cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		return "no host name"
	}
	return strings.Join(all, ", ")
}
