package server

import (
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/acme"

	"porchlight.dev/porchlight/internal/certificate"
	"porchlight.dev/porchlight/internal/config"
)

// openCertificates opens the source of certificates that the settings name; nil: TLS is
// off.
func openCertificates(cfg *config.Config, log *slog.Logger) (certificate.Source, error) {
	var (
		source certificate.Source
		err    error
	)
	switch {
	case cfg.TLSCertFile != "":
		source, err = certificate.LoadFiles(cfg.TLSCertFile, cfg.TLSKeyFile, log)
	case cfg.ACME:
		source, err = openACME(cfg, log)
	case cfg.TLSSelfSigned:
		source, err = certificate.LoadSelfSigned(cfg.DataDir, cfg.SelfSignedNames(), time.Now, log)
	}
	if err != nil {
		return nil, err
	}
	return source, nil
}

func openACME(cfg *config.Config, log *slog.Logger) (*certificate.ACME, error) {
	roots, err := cfg.ACMERoots()
	if err != nil {
		return nil, err
	}
	key, err := cfg.ACMEBindingKey()
	if err != nil {
		return nil, err
	}
	var binding *acme.ExternalAccountBinding
	if key != nil {
		binding = &acme.ExternalAccountBinding{KID: cfg.ACMEEABKeyID, Key: key}
	}
	return certificate.LoadACME(certificate.ACMEOptions{
		DataDir: cfg.DataDir, Names: cfg.CertificateNames(), Directory: cfg.ACMEDirectory, Email: cfg.ACMEEmail,
		Challenge: cfg.ACMEChallenge, RootCAs: roots, Binding: binding, Now: time.Now, Log: log,
	}), nil
}

// ListCertificates lists the certificates that a server with these settings uses, as they
// are on disk. It needs no running server, writes nothing and asks no CA.
func ListCertificates(cfg config.Config) ([]certificate.Info, error) {
	cfg = cfg.Filled()
	if cfg.TLSCertFile == "" && !cfg.ACME && cfg.TLSSelfSigned {
		stored, err := certificate.StoredSelfSigned(cfg.DataDir, cfg.SelfSignedNames())
		if err != nil {
			return nil, err
		}
		return withClientCAs(&cfg, stored)
	}
	source, err := openCertificates(&cfg, slog.New(slog.DiscardHandler))
	if source == nil || err != nil {
		return nil, err
	}
	return withClientCAs(&cfg, source.Certificates())
}

func withClientCAs(cfg *config.Config, all []certificate.Info) ([]certificate.Info, error) {
	if cfg.AdminClientCAFile == "" {
		return all, nil
	}
	clients, err := certificate.StoredClientCAs(cfg.AdminClientCAFile)
	return append(all, clients...), err
}

// certificates are the sources that the server uses.
func (s *Server) certificates() []certificate.Source {
	var all []certificate.Source
	if s.tls != nil {
		all = append(all, s.tls)
	}
	if s.adminTLS != nil {
		all = append(all, s.adminTLS)
	}
	return all
}

// Certificates lists the certificates in use, and the names that have none yet.
func (s *Server) Certificates() []certificate.Info {
	var all []certificate.Info
	for _, source := range s.certificates() {
		all = append(all, source.Certificates()...)
	}
	return all
}

// urlOf is where a listener is reached on this machine.
func urlOf(l net.Listener, source certificate.Source) string {
	scheme := "http"
	if source != nil {
		scheme = "https"
	}
	return scheme + "://" + reachable(l.Addr())
}

// certificateNotes says what is wrong with certificates, for /readyz.
func certificateNotes(all []certificate.Info, now time.Time) string {
	var notes strings.Builder
	for _, c := range all {
		left := c.NotAfter.Sub(now)
		switch {
		case c.NotAfter.IsZero():
			fmt.Fprintf(&notes, "; no certificate for %s yet", c.Name())
		case left <= 0:
			fmt.Fprintf(&notes, "; the certificate for %s has expired", c.Name())
		case left < certificate.ExpiresSoon && c.Problem != "":
			fmt.Fprintf(&notes, "; the certificate for %s expires in %s", c.Name(), left.Round(time.Minute))
		}
		if c.Problem != "" {
			fmt.Fprintf(&notes, "; the last renewal of %s failed: %s", c.Name(), c.Problem)
		}
	}
	return notes.String()
}

// logCertificates logs the certificates with the keys that clients pin.
func (s *Server) logCertificates() {
	for _, c := range s.Certificates() {
		if c.NotAfter.IsZero() || c.Source == certificate.ClientCA {
			continue
		}
		s.log.Info("certificate in use", slog.String("source", c.Source), slog.String("name", c.Name()), slog.Time("expires", c.NotAfter),
			slog.String("fingerprint_sha256", c.Fingerprint), slog.String("public_key", c.PublicKey))
	}
}

// A certificateCollector tells when certificates expire.
type certificateCollector struct {
	sources            func() []certificate.Source
	notAfter, failures *prometheus.Desc
}

func newCertificateCollector(sources func() []certificate.Source) *certificateCollector {
	return &certificateCollector{
		sources:  sources,
		notAfter: prometheus.NewDesc("porchlight_certificate_not_after_seconds", "When a certificate expires, in seconds since 1970; 0: there is none yet.", []string{"source", "name"}, nil),
		failures: prometheus.NewDesc("porchlight_certificate_failures_total", "Attempts to load, obtain or renew a certificate that failed.", nil, nil),
	}
}

func (c *certificateCollector) Describe(to chan<- *prometheus.Desc) {
	to <- c.notAfter
	to <- c.failures
}

func (c *certificateCollector) Collect(to chan<- prometheus.Metric) {
	type key struct{ source, name string }
	first := make(map[key]time.Time) // two CAs can have one name: the earlier expiry counts
	var failures uint64
	for _, source := range c.sources() {
		failures += source.Failures()
		for _, info := range source.Certificates() {
			k := key{info.Source, info.Name()}
			if at, ok := first[k]; !ok || info.NotAfter.Before(at) {
				first[k] = info.NotAfter
			}
		}
	}
	for k, at := range first {
		seconds := 0.0
		if !at.IsZero() {
			seconds = float64(at.Unix())
		}
		to <- prometheus.MustNewConstMetric(c.notAfter, prometheus.GaugeValue, seconds, k.source, k.name)
	}
	to <- prometheus.MustNewConstMetric(c.failures, prometheus.CounterValue, float64(failures))
}
