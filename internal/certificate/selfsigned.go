package certificate

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// selfSignedLasts is the lifetime of a self-signed certificate: some clients refuse
	// one of more than 398 days.
	selfSignedLasts = 365 * 24 * time.Hour
	// selfSignedRenew is how long before its expiry it is renewed.
	selfSignedRenew = 30 * 24 * time.Hour
	// checkEvery is how often the time of renewal is checked.
	checkEvery = time.Minute
)

// A Signer is a certificate that the server signs itself. Renewals keep the key, and with
// it the pin.
type Signer struct {
	certFile string
	names    []string
	now      func() time.Time
	log      *slog.Logger
	key      *ecdsa.PrivateKey
	current  atomic.Pointer[tls.Certificate]
	failures atomic.Uint64
	problem  atomic.Pointer[string] // nil: the last attempt succeeded

	mu sync.Mutex // locked while a certificate is made
}

// SelfSignedFiles are where the certificate and the key are in a data directory.
func SelfSignedFiles(dataDir string) (certFile, keyFile string) {
	dir := Directory(dataDir)
	return filepath.Join(dir, "self-signed-cert.pem"), filepath.Join(dir, "self-signed-key.pem")
}

// LoadSelfSigned returns the self-signed certificate in a data directory, for names and
// addresses. It makes what is missing, and a new certificate if the old one expires soon
// or has other names.
func LoadSelfSigned(dataDir string, names []string, now func() time.Time, log *slog.Logger) (*Signer, error) {
	certFile, keyFile := SelfSignedFiles(dataDir)
	s := &Signer{certFile: certFile, names: names, now: now, log: log}
	var err error
	if s.key, err = keyAt(keyFile); err != nil {
		return nil, fmt.Errorf("the key of the self-signed certificate cannot be used: %w", err)
	}
	if pair, err := tls.LoadX509KeyPair(certFile, keyFile); err == nil {
		s.current.Store(&pair)
	}
	if err := s.renew(); err != nil {
		return nil, fmt.Errorf("the self-signed certificate %s cannot be written: %w", certFile, err)
	}
	return s, nil
}

// StoredSelfSigned describes the self-signed certificate in a data directory, and writes
// nothing.
func StoredSelfSigned(dataDir string, names []string) ([]Info, error) {
	certFile, keyFile := SelfSignedFiles(dataDir)
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	_, unread := errors.AsType[*fs.PathError](err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []Info{{Source: SelfSigned, Names: names, Problem: "the server makes it when it starts"}}, nil
	case unread:
		return nil, fmt.Errorf("the self-signed certificate cannot be read: %w; run this command as the server's user", err)
	case err != nil:
		return []Info{{Source: SelfSigned, Names: names, Problem: err.Error()}}, nil //nolint:nilerr // the server replaces it when it starts
	}
	return []Info{describe(SelfSigned, certFile, pair.Leaf)}, nil
}

// Config implements Source.
func (s *Signer) Config() *tls.Config { return baseConfig(s.get) }

func (s *Signer) get(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.current.Load(), nil }

// Certificates implements Source.
func (s *Signer) Certificates() []Info {
	info := describe(SelfSigned, s.certFile, s.current.Load().Leaf)
	if problem := s.problem.Load(); problem != nil {
		info.Problem = *problem
	}
	return []Info{info}
}

// Failures implements Source.
func (s *Signer) Failures() uint64 { return s.failures.Load() }

// Run implements Source.
func (s *Signer) Run(ctx context.Context) { runEvery(ctx, checkEvery, s.Reload) }

// Reload implements Source: it makes a new certificate if that is necessary.
func (s *Signer) Reload() {
	err := s.renew()
	if err == nil {
		s.problem.Store(nil)
		return
	}
	problem := err.Error()
	s.problem.Store(&problem)
	s.failures.Add(1)
	s.log.Error("self-signed certificate could not be renewed; keeping the old one", slog.Any("err", err))
}

// due reports whether a new certificate is necessary.
func (s *Signer) due() bool {
	pair := s.current.Load()
	return pair == nil || s.now().After(pair.Leaf.NotAfter.Add(-selfSignedRenew)) || !slices.Equal(namesOf(pair.Leaf), namesOf(s.template()))
}

// renew makes a certificate if one is due.
func (s *Signer) renew() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.due() {
		return nil
	}
	template := s.template()
	der, err := x509.CreateCertificate(rand.Reader, template, template, s.key.Public(), s.key)
	if err != nil {
		return err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	if err := writeFile(s.certFile, encodeChain([][]byte{der})); err != nil {
		return err
	}
	s.current.Store(&tls.Certificate{Certificate: [][]byte{der}, PrivateKey: s.key, Leaf: leaf})
	s.log.Info("self-signed certificate made", slog.Any("names", namesOf(leaf)), slog.Time("expires", leaf.NotAfter))
	return nil
}

// template is not a CA: whoever trusts the certificate trusts this server only.
func (s *Signer) template() *x509.Certificate {
	now := s.now()
	made := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: s.names[0], Organization: []string{"Porchlight, self-signed"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(selfSignedLasts),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	for _, name := range s.names {
		if ip := net.ParseIP(name); ip == nil {
			made.DNSNames = append(made.DNSNames, name)
		} else if !ip.IsUnspecified() {
			made.IPAddresses = append(made.IPAddresses, ip)
		}
	}
	return made
}
