// Package certificate provides the certificates of the server's listeners: from files,
// from a certificate authority (CA) by ACME, or self-signed.
//
// It is separate from server, so that the command can list the certificates of a stopped
// server, and so that each source can be tested without a store. Server knows only the
// interface Source.
//
// It guarantees that a handshake never waits for a file or for a CA; that a certificate
// which cannot be renewed stays in use; that open connections do not notice a new one; and
// that only the server's user can read a private key that it stores. It must not listen,
// and must not decide which source is used.
package certificate

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"time"
)

// A Source has the certificates of a listener, and renews them.
type Source interface {
	// Config is for a listener. The certificate of a handshake is the newest one.
	Config() *tls.Config
	// Certificates lists those in use, and the names that have none yet.
	Certificates() []Info
	// Failures counts the attempts to load, obtain or renew a certificate that failed.
	Failures() uint64
	// Reload checks for new certificates now.
	Reload()
	// Run renews the certificates until ctx ends.
	Run(ctx context.Context)
}

// The values of Info.Source.
const (
	FromFile   = "file"
	FromACME   = "acme"
	SelfSigned = "self-signed"
	ClientCA   = "client-ca"
)

// ExpiresSoon is how long before its expiry a certificate should have been renewed.
const ExpiresSoon = 14 * 24 * time.Hour

// Info describes a certificate in use.
type Info struct {
	Source      string    `json:"source"`
	Names       []string  `json:"names"` // host names and addresses; of a CA its own name
	Issuer      string    `json:"issuer,omitempty"`
	NotAfter    time.Time `json:"not_after,omitzero"` // zero: there is no certificate yet
	Fingerprint string    `json:"fingerprint,omitempty"`
	PublicKey   string    `json:"public_key,omitempty"` // the pin of the key, as curl takes it
	File        string    `json:"file,omitempty"`
	Problem     string    `json:"problem,omitempty"` // why the last attempt to renew it failed
}

// Name is the first of the names, which tells certificates of a source apart.
func (i *Info) Name() string {
	if len(i.Names) == 0 {
		return ""
	}
	return i.Names[0]
}

// describe lists what a certificate says of itself.
func describe(source, file string, cert *x509.Certificate) Info {
	sum := sha256.Sum256(cert.Raw)
	return Info{
		Source: source, Names: namesOf(cert), Issuer: cmp.Or(cert.Issuer.CommonName, cert.Issuer.String()),
		NotAfter: cert.NotAfter, Fingerprint: formatFingerprint(sum[:]), PublicKey: Pin(cert), File: file,
	}
}

// Pin is the SHA-256 of a certificate's public key, in the form of curl's --pinnedpubkey.
// It stays the same when a certificate is renewed with the same key.
func Pin(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return "sha256//" + base64.StdEncoding.EncodeToString(sum[:])
}

// formatFingerprint separates the bytes by colons, as browsers and openssl do.
func formatFingerprint(sum []byte) string {
	text := strings.ToUpper(hex.EncodeToString(sum))
	pairs := make([]string, 0, len(sum))
	for ; len(text) > 1; text = text[2:] {
		pairs = append(pairs, text[:2])
	}
	return strings.Join(pairs, ":")
}

func namesOf(cert *x509.Certificate) []string {
	all := append([]string{}, cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		all = append(all, cmp.Or(cert.Subject.CommonName, cert.Subject.String()))
	}
	return all
}

// baseConfig is the TLS configuration that all sources share.
func baseConfig(get func(*tls.ClientHelloInfo) (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: get}
}

// runEvery calls do at intervals until ctx ends.
func runEvery(ctx context.Context, interval time.Duration, do func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			do()
		case <-ctx.Done():
			return
		}
	}
}
