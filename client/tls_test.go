package client

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An issuer is a certificate with its key.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue makes a certificate from a template, signed by by, or self-signed.
func issue(t *testing.T, by *issuer, template *x509.Certificate) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	made := &issuer{template, key}
	if by == nil {
		by = made
	}
	template.SerialNumber = big.NewInt(1)
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	if made.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return made
}

func (i *issuer) file(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// serveTLS answers "me" with the certificate until the test ends.
func (i *issuer) serveTLS(t *testing.T) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(answerMe))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{i.cert.Raw}, PrivateKey: i.key}}}
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv
}

func answerMe(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"user":"ada"}`) }

// TestTrust checks which certificates are trusted, and how an error describes the others.
func TestTrust(t *testing.T) {
	from, until := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	loopback := []net.IP{net.IPv4(127, 0, 0, 1)}
	authority := issue(t, nil, &x509.Certificate{
		Subject: pkix.Name{CommonName: "Example Authority"}, NotBefore: from, NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	named := func(c x509.Certificate) *x509.Certificate {
		c.Subject = pkix.Name{CommonName: "presence"}
		if c.NotAfter.IsZero() {
			c.NotBefore, c.NotAfter = from, until
		}
		return &c
	}
	signed := issue(t, authority, named(x509.Certificate{IPAddresses: loopback}))
	selfSigned := issue(t, nil, named(x509.Certificate{IPAddresses: loopback}))
	for name, c := range map[string]struct {
		server  *issuer
		trusted *issuer // nil: the system's
		want    string  // of the error; "": none
	}{
		"signed":               {signed, authority, ""},
		"self-signed":          {selfSigned, selfSigned, ""},
		"unknown authority":    {signed, nil, "cannot be verified: it is signed by CN=Example Authority, which is not trusted"},
		"another authority":    {signed, selfSigned, "cannot be verified: it is signed by CN=Example Authority"},
		"self-signed, unknown": {selfSigned, nil, "cannot be verified: it is self-signed (CN=presence)"},
		"another host":         {issue(t, authority, named(x509.Certificate{DNSNames: []string{"presence.test", "www.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 9)}})), authority, "is not valid for 127.0.0.1, but for presence.test, www.test, 127.0.0.9"},
		"no host":              {issue(t, authority, named(x509.Certificate{})), authority, "is not valid for 127.0.0.1, but for no host name"},
		"expired":              {issue(t, authority, named(x509.Certificate{IPAddresses: loopback, NotBefore: from.Add(-time.Hour), NotAfter: from})), authority, "has expired: it was valid until " + from.UTC().Format(time.RFC3339)},
		"not valid yet":        {issue(t, authority, named(x509.Certificate{IPAddresses: loopback, NotBefore: until, NotAfter: until.Add(time.Hour)})), authority, "not valid yet: it is valid from " + until.UTC().Format(time.RFC3339)},
	} {
		t.Run(name, func(t *testing.T) {
			var hc *http.Client
			if c.trusted != nil {
				var err error
				if hc, err = NewHTTPClient(c.trusted.file(t)); err != nil {
					t.Fatal(err)
				}
				defer hc.CloseIdleConnections()
			}
			cl, err := New(c.server.serveTLS(t).URL, StaticToken("x"), hc)
			if err != nil {
				t.Fatal(err)
			}
			me, err := cl.Me(t.Context())
			if c.want == "" {
				if err != nil || me.User != "ada" {
					t.Errorf("%+v, %v", me, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v\nwant %q", err, c.want)
			}
		})
	}
}

// TestWrongScheme checks the errors for plain HTTP on a port for TLS, and the reverse.
func TestWrongScheme(t *testing.T) {
	secure := issue(t, nil, &x509.Certificate{NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}).serveTLS(t)
	plain := httptest.NewServer(http.HandlerFunc(answerMe))
	defer plain.Close()
	alert := listen(t, "\x15\x03\x01\x00\x02\x02\x46")
	other := listen(t, "220 mail.example.com ESMTP\r\n")
	for name, c := range map[string]struct{ url, want string }{
		"TLS to plain HTTP":                  {strings.Replace(plain.URL, "http:", "https:", 1), "speaks plain HTTP, not TLS: use http://"},
		"plain HTTP to TLS":                  {strings.Replace(secure.URL, "https:", "http:", 1), "speaks TLS, not plain HTTP: use https://"},
		"plain HTTP, answered with an alert": {"http://" + alert, "speaks TLS, not plain HTTP: use https://"},
		"TLS to another protocol":            {"https://" + other, "does not speak TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			cl, err := New(c.url, StaticToken("x"), nil)
			if err != nil {
				t.Fatal(err)
			}
			for kind, ask := range map[string]func() error{
				"call": func() error { _, err := cl.Me(t.Context()); return err },
				"stream": func() error {
					return (&connection{stream: cl.Stream(StreamOptions{}), url: c.url}).dial(t.Context(), "x")
				},
			} {
				if err := ask(); err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s: %v\nwant %q", kind, err, c.want)
				}
			}
		})
	}
}

// listen sends greeting to each connection and closes it.
func listen(t *testing.T, greeting string) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1024)) // so that closing does not reset it
			_, _ = io.WriteString(conn, greeting)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
}

// TestNewHTTPClient checks the errors for files without certificates.
func TestNewHTTPClient(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"/nowhere.pem": "no such file", empty: "has no certificate"} {
		if _, err := NewHTTPClient(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", file, err, want)
		}
	}
}
