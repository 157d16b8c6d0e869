// Package acmetest runs a certificate authority for tests: Pebble, which validates names
// as a public one does, by connecting to them.
//
// It is separate from certificate's tests because those of server use it too. It
// guarantees that all traffic stays on loopback. It must not be imported by the program.
package acmetest

import (
	"crypto/x509"
	"encoding/pem"
	"io"
	"log" //nolint:depguard // what the CA takes
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
)

// BindingKey is the HMAC key of the external account binding BindingID, in base64url.
const (
	BindingID  = "kid-1"
	BindingKey = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
)

// A CA issues certificates. It answers nothing until Validate is called.
type CA struct {
	Directory string // URL
	RootFile  string // the certificate of the CA's own server

	dns     string
	orders  atomic.Int32
	handler atomic.Pointer[http.Handler] // nil: it is down
	db      *db.MemoryStore
	ca      *ca.CAImpl
}

// Start runs a CA until the test ends. It sets environment variables of the process.
func Start(t *testing.T) *CA {
	t.Helper()
	for name, value := range map[string]string{
		"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_VA_ALWAYS_VALID": "0", "PEBBLE_AUTHZREUSE": "0", "PEBBLE_WFE_NONCEREJECT": "0",
	} {
		t.Setenv(name, value)
	}
	made := &CA{db: db.NewMemoryStore(), dns: startDNS(t)}
	if err := made.db.AddExternalAccountKeyByID(BindingID, BindingKey); err != nil {
		t.Fatal(err)
	}
	made.ca = ca.New(quiet(), made.db, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {}})
	srv := httptest.NewUnstartedServer(http.HandlerFunc(made.serve))
	srv.Config.ErrorLog = quiet()
	srv.StartTLS()
	t.Cleanup(srv.Close)
	made.Directory, made.RootFile = srv.URL+wfe.DirectoryPath, filepath.Join(t.TempDir(), "ca-root.pem")
	if err := os.WriteFile(made.RootFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return made
}

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

// A Front is the addresses and requirements of a CA.
type Front struct {
	// TLSPort and HTTPPort are where the CA connects to validate any name, in place of 443
	// and 80.
	TLSPort, HTTPPort int
	// Binding makes the CA require an external account binding.
	Binding bool
}

// Validate makes the CA answer.
func (c *CA) Validate(f Front) {
	validator := va.New(quiet(), f.HTTPPort, f.TLSPort, false, c.dns, c.db)
	front := wfe.New(quiet(), c.db, validator, c.ca, []string{"ca.test"}, false, f.Binding, 1, 1)
	handler := front.Handler()
	c.handler.Store(&handler)
}

// Stop makes the CA answer nothing.
func (c *CA) Stop() { c.handler.Store(nil) }

func (c *CA) serve(w http.ResponseWriter, r *http.Request) {
	handler := c.handler.Load()
	if handler == nil {
		panic(http.ErrAbortHandler)
	}
	if r.URL.Path == "/order-plz" {
		c.orders.Add(1)
	}
	(*handler).ServeHTTP(w, r)
}

// Orders is how many certificates were ordered.
func (c *CA) Orders() int { return int(c.orders.Load()) }

// startDNS answers that every name is at 127.0.0.1.
func startDNS(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &dns.Server{Listener: l, Handler: dns.HandlerFunc(answer)}
	ended := make(chan struct{})
	started := make(chan struct{})
	srv.NotifyStartedFunc = func() { close(started) }
	go func() {
		defer close(ended)
		_ = srv.ActivateAndServe() // until Shutdown
	}()
	<-started
	t.Cleanup(func() {
		_ = srv.Shutdown() // it runs
		<-ended
	})
	return l.Addr().String()
}

func answer(w dns.ResponseWriter, asked *dns.Msg) {
	reply := new(dns.Msg)
	reply.SetReply(asked)
	for _, q := range asked.Question {
		if q.Qtype == dns.TypeA {
			reply.Answer = append(reply.Answer, &dns.A{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(127, 0, 0, 1)})
		}
	}
	_ = w.WriteMsg(reply) // the CA reports it
}

// Roots verify the certificates that the CA issues.
func (c *CA) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(c.ca.GetRootCert(0).PEM())
	return pool
}
