package certificate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
)

// ClientCAs requires of clients a certificate that one of the CAs in a file has signed
// (mutual TLS). The server's own certificate is that of another source. The file is read
// again when it changes; one that does not work leaves the old CAs in use.
type ClientCAs struct {
	Source

	file     string
	log      *slog.Logger
	current  atomic.Pointer[trust]
	failures atomic.Uint64
	problem  atomic.Pointer[string] // nil: the last attempt succeeded

	mu    sync.Mutex // locked while the file is read
	files watched
}

// trust is one version of the file. Its configuration is made once, because session
// tickets are valid for one configuration: a client of a removed CA cannot resume.
type trust struct {
	certs  []*x509.Certificate
	config *tls.Config
}

// LoadClientCAs reads the CAs of clients.
func LoadClientCAs(file string, server Source, log *slog.Logger) (*ClientCAs, error) {
	c := &ClientCAs{Source: server, file: file, log: log, files: watched{names: []string{file}}}
	c.files.record()
	found, err := c.load()
	if err != nil {
		return nil, fmt.Errorf("admin-client-ca-file: %w", err)
	}
	c.current.Store(found)
	return c, nil
}

func (c *ClientCAs) load() (*trust, error) {
	certs, err := ReadCAs(c.file)
	if err != nil {
		return nil, err
	}
	config := c.Source.Config()
	config.ClientAuth = tls.RequireAndVerifyClientCert
	config.ClientCAs = x509.NewCertPool()
	config.NextProtos = []string{"http/1.1"}
	for _, cert := range certs {
		config.ClientCAs.AddCert(cert)
	}
	return &trust{certs, config}, nil
}

// ReadCAs reads a PEM file of certificates, without anything else.
func ReadCAs(file string) ([]*x509.Certificate, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%s has a %s: expected only certificates", file, block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s has an invalid certificate: %w", file, err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%s has no certificate: expected one or more in PEM format", file)
	}
	return certs, nil
}

// Config implements Source.
func (c *ClientCAs) Config() *tls.Config {
	config := c.current.Load().config.Clone()
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current.Load().config, nil }
	return config
}

// Certificates implements Source. It lists the CAs only.
func (c *ClientCAs) Certificates() []Info {
	all := describeCAs(c.file, c.current.Load().certs)
	if problem := c.problem.Load(); problem != nil {
		for i := range all {
			all[i].Problem = *problem
		}
	}
	return all
}

// StoredClientCAs describes the CAs in a file.
func StoredClientCAs(file string) ([]Info, error) {
	certs, err := ReadCAs(file)
	return describeCAs(file, certs), err
}

func describeCAs(file string, certs []*x509.Certificate) []Info {
	all := make([]Info, 0, len(certs))
	for _, cert := range certs {
		all = append(all, describe(ClientCA, file, cert))
	}
	return all
}

// Failures implements Source.
func (c *ClientCAs) Failures() uint64 { return c.failures.Load() }

// Run implements Source. The server's own certificate is renewed by its source.
func (c *ClientCAs) Run(ctx context.Context) {
	runEvery(ctx, pollEvery, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.files.changed() {
			c.read()
		}
	})
}

// Reload implements Source.
func (c *ClientCAs) Reload() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read()
}

func (c *ClientCAs) read() {
	c.files.record()
	found, err := c.load()
	if err != nil {
		problem := err.Error()
		c.problem.Store(&problem)
		c.failures.Add(1)
		c.log.Error("new admin-client-ca-file cannot be used; keeping the old CAs: correct the file", slog.String("file", c.file), slog.Any("err", err))
		return
	}
	c.problem.Store(nil)
	c.current.Store(found)
	c.log.Info("CAs of admin clients reloaded", slog.String("file", c.file), slog.Int("certificates", len(found.certs)))
}
