package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/certificate"
	"porchlight.dev/porchlight/internal/doctor"
)

const (
	probeTimeout = 5 * time.Second
	// maxProbe is more than the metadata of a server has.
	maxProbe = 64 << 10
	// metadataPath is public, and has the server's own URL.
	metadataPath = "/.well-known/oauth-authorization-server"
)

// probe looks at public-url as a client would: where its name leads, and who answers there.
func probe(ctx context.Context, p *doctor.Public) {
	u, err := url.Parse(p.URL)
	if err != nil || u.Hostname() == "" {
		p.URL = ""
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*probeTimeout)
	defer cancel()
	if p.Addresses, err = lookup(ctx, u.Hostname()); err != nil {
		p.NoAddress = err.Error()
		return
	}
	if err := ask(ctx, p, u.Hostname()); err != nil {
		p.NoAnswer = cause(err).Error()
	}
}

// lookup resolves a name, within half of the time.
func lookup(ctx context.Context, host string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	all, err := new(net.Resolver).LookupHost(ctx, host)
	if failed, ok := errors.AsType[*net.DNSError](err); ok {
		err = errors.New(failed.Err) // without the address of the DNS server
	}
	return all, err
}

// ask requests the metadata at public-url. Whether the certificate is trusted is a fact and
// no error, because a self-signed one can be this server's.
func ask(ctx context.Context, p *doctor.Public, host string) error {
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
		ServerName:         host,
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // seen verifies it, and nothing is sent that is secret
		VerifyConnection:   func(c tls.ConnectionState) error { seen(p, c, host); return nil },
	}}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(p.URL, "/")+metadataPath, http.NoBody)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var metadata struct {
		Issuer string `json:"issuer"`
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxProbe))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	// Other programs have such metadata as well, and no request id.
	if json.Unmarshal(body, &metadata) == nil && response.Header.Get("X-Request-Id") != "" {
		p.Issuer = metadata.Issuer
	}
	return nil
}

// seen records the certificate of a connection.
func seen(p *doctor.Public, c tls.ConnectionState, host string) {
	leaf := c.PeerCertificates[0]
	p.Key = certificate.Pin(leaf)
	options := x509.VerifyOptions{DNSName: host, Intermediates: x509.NewCertPool()}
	for _, other := range c.PeerCertificates[1:] {
		options.Intermediates.AddCert(other)
	}
	if _, err := leaf.Verify(options); err != nil {
		p.Untrusted = err.Error()
	}
}
