package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/server"
)

// writeCertificate writes a certificate with a serial number, and its key.
func writeCertificate(t *testing.T, certFile, keyFile string, serial int64) {
	t.Helper()
	writeCertificateUntil(t, certFile, keyFile, serial, time.Now().Add(time.Hour))
}

func writeCertificateUntil(t *testing.T, certFile, keyFile string, serial int64, notAfter time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "porchlight test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: notAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	replaceFile(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	replaceFile(t, certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
}

// replaceFile writes a file at once: the server never reads a part of it.
func replaceFile(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := errors.Join(os.WriteFile(name+".new", data, 0o600), os.Rename(name+".new", name)); err != nil {
		t.Fatal(err)
	}
}

// TestTLS: HTTPS with HTTP/2 and at least TLS 1.2. A changed certificate is loaded, a
// broken one is not, and open connections continue.
func TestTLS(t *testing.T) {
	cfg := settings(t)
	dir := t.TempDir()
	cfg.TLSCertFile, cfg.TLSKeyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, cfg.TLSCertFile, cfg.TLSKeyFile, 1)
	r := start(t, cfg, server.Options{})
	serial := func() int64 {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(r.URL(), "https://"), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if got := serial(); got != 1 {
		t.Fatalf("the first certificate has serial %d", got)
	}
	if conn, err := tls.Dial("tcp", strings.TrimPrefix(r.URL(), "https://"), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil {
		_ = conn.Close()
		t.Error("the server accepts TLS 1.1")
	}

	writeCertificate(t, cfg.TLSCertFile, cfg.TLSKeyFile, 2)
	eventually(t, "the new certificate is in use", func() bool { return serial() == 2 })
	replaceFile(t, cfg.TLSCertFile, []byte("not a certificate"))
	r.Reload() // as on SIGHUP
	if got := serial(); got != 2 {
		t.Errorf("after writing a broken file, the certificate has serial %d", got)
	}
	if !strings.Contains(r.log.String(), "keeping the old one") {
		t.Errorf("the log does not report the broken certificate:\n%s", r.log)
	}
	writeCertificate(t, cfg.TLSCertFile, cfg.TLSKeyFile, 3)
	r.Reload()
	if got := serial(); got != 3 {
		t.Errorf("after a reload, the certificate has serial %d", got)
	}

	modern := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true,
	}}
	defer modern.CloseIdleConnections()
	r.http.Transport = modern.Transport
	resp, err := modern.Get(r.URL() + "/v1/me")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.ProtoMajor != 2 || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("%s %d", resp.Proto, resp.StatusCode)
	}
	if _, err := r.client.Me(t.Context()); err != nil {
		t.Error(err)
	}
}
