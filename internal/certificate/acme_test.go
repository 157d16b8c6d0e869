package certificate_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/acme"

	"porchlight.dev/porchlight/internal/certificate"
	"porchlight.dev/porchlight/internal/certificate/acmetest"
	"porchlight.dev/porchlight/internal/config"
)

// A clock stands still until it is advanced.
type clock struct {
	start time.Time
	ahead atomic.Int64
}

func newClock() *clock { return &clock{start: time.Now()} }

func (c *clock) now() time.Time           { return c.start.Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(by time.Duration) { c.ahead.Add(int64(by)) }

// A log collects what is logged.
type log struct {
	mu    sync.Mutex
	text  bytes.Buffer
	wrote chan struct{} // closed by the next line
}

func newLog() *log { return &log{wrote: make(chan struct{})} }

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.wrote)
	l.wrote = make(chan struct{})
	return l.text.Write(p)
}

// next returns a channel that the next line closes.
func (l *log) next() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wrote
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *log) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// options are those of the first name presence.test and the second name www.test.
func options(t *testing.T, ca *acmetest.CA, c *clock, l *log) certificate.ACMEOptions {
	t.Helper()
	roots, err := (&config.Config{ACMECAFile: ca.RootFile}).ACMERoots()
	if err != nil {
		t.Fatal(err)
	}
	return certificate.ACMEOptions{
		DataDir: t.TempDir(), Names: []string{"presence.test", "www.test"}, Directory: ca.Directory, Email: "ada@example.com",
		Challenge: certificate.TLSALPN01, RootCAs: roots, Now: c.now, Log: l.logger(),
	}
}

// serve answers each line with itself over TLS, until the test ends.
func serve(t *testing.T, source certificate.Source) (port int) {
	t.Helper()
	config := source.Config()
	config.NextProtos = []string{"http/1.1"} // as the server does
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer func() { _ = conn.Close() }()
				lines := bufio.NewScanner(conn)
				for lines.Scan() {
					_, _ = fmt.Fprintln(conn, lines.Text()) // the client reports it
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		running.Wait()
	})
	return portOf(l)
}

func portOf(l net.Listener) int { return int(netip.MustParseAddrPort(l.Addr().String()).Port()) }

// dial connects as a client that verifies the name.
func dial(t *testing.T, ca *acmetest.CA, port int, name string) (*tls.Conn, error) {
	t.Helper()
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), &tls.Config{ServerName: name, RootCAs: ca.Roots()})
	if err == nil {
		t.Cleanup(func() { _ = conn.Close() })
	}
	return conn, err
}

func echo(conn *tls.Conn) error {
	if _, err := fmt.Fprintln(conn, "hello"); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && line != "hello\n" {
		return fmt.Errorf("got %q", line)
	}
	return err
}

func serial(conn *tls.Conn) string {
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// TestACME obtains certificates by both challenges, with validation, and renews them. A
// connection that was open before stays open. A restart uses the stored certificates.
func TestACME(t *testing.T) {
	for _, challenge := range []string{certificate.TLSALPN01, certificate.HTTP01} {
		t.Run(challenge, func(t *testing.T) {
			ca, c, l := acmetest.Start(t), newClock(), newLog()
			o := options(t, ca, c, l)
			o.Challenge = challenge
			source := certificate.LoadACME(o)
			port := serve(t, source)
			plain := httptest.NewServer(source)
			defer plain.Close()
			ca.Validate(acmetest.Front{TLSPort: port, HTTPPort: portOf(plain.Listener)})
			if _, err := dial(t, ca, port, "presence.test"); err == nil {
				t.Error("a handshake succeeds before there is a certificate")
			}
			source.Renew(t.Context())
			first, err := dial(t, ca, port, "presence.test")
			if err != nil {
				t.Fatalf("%v\n%s", err, l)
			}
			if err := echo(first); err != nil {
				t.Fatal(err)
			}
			if second, err := dial(t, ca, port, "WWW.test"); err != nil || serial(second) == serial(first) {
				t.Errorf("the second name has no certificate of its own: %v", err)
			}
			if _, err := dial(t, ca, port, "other.test"); err == nil || !strings.Contains(err.Error(), "tls: ") {
				t.Errorf("a handshake for another name: %v", err)
			}
			source.Renew(t.Context()) // nothing is due
			if ca.Orders() != 2 {
				t.Errorf("%d orders for two names", ca.Orders())
			}

			ca.Stop()
			again := certificate.LoadACME(o)
			again.Renew(t.Context())
			if all := again.Certificates(); len(all) != 2 || all[0].NotAfter.IsZero() || all[0].Problem != "" || all[0].Name() != "presence.test" {
				t.Errorf("a restart has %+v", all)
			}

			ca.Validate(acmetest.Front{TLSPort: port, HTTPPort: portOf(plain.Listener)})
			c.advance(61 * 24 * time.Hour) // of 90 days
			source.Renew(t.Context())
			renewed, err := dial(t, ca, port, "presence.test")
			if err != nil || serial(renewed) == serial(first) {
				t.Errorf("not renewed: %v\n%s", err, l)
			}
			if err := echo(first); err != nil {
				t.Errorf("the old connection: %v", err)
			}
			if source.Failures() != 0 {
				t.Errorf("%d failures:\n%s", source.Failures(), l)
			}
			checkModes(t, o.DataDir)
		})
	}
}

// checkModes: only the owner can read what is stored.
func checkModes(t *testing.T, dir string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(certificate.Directory(dir), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has the mode %v", path, info.Mode())
		}
		if !e.IsDir() {
			files++
		}
		return err
	})
	if err != nil || files < 2 {
		t.Errorf("%d files: %v", files, err)
	}
}

// TestACMEFails: a CA that cannot be reached, refuses, or cannot validate is asked again
// after a delay that grows, and the problem says what to do.
func TestACMEFails(t *testing.T) {
	ca, c, l := acmetest.Start(t), newClock(), newLog()
	o := options(t, ca, c, l)
	o.Names = o.Names[:1]
	source := certificate.LoadACME(o)
	try := func(want string) {
		t.Helper()
		source.Renew(t.Context())
		if all := source.Certificates(); len(all) != 1 || !all[0].NotAfter.IsZero() || !strings.Contains(all[0].Problem, want) {
			t.Errorf("%+v\nwant the problem %q", all, want)
		}
	}
	try("check acme-directory, acme-ca-file")
	if got := source.Failures(); got != 1 || !strings.Contains(l.String(), "retry_in=30s") {
		t.Errorf("%d failures:\n%s", got, l)
	}
	c.advance(29 * time.Second)
	try("check acme-directory")
	if got := source.Failures(); got != 1 {
		t.Errorf("%d attempts within the delay", got)
	}
	c.advance(2 * time.Second)
	try("check acme-directory")
	if got := source.Failures(); got != 2 || !strings.Contains(l.String(), "retry_in=1m0s") {
		t.Errorf("%d failures:\n%s", got, l)
	}

	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := portOf(nobody)
	_ = nobody.Close()
	ca.Validate(acmetest.Front{TLSPort: closed})
	c.advance(time.Hour)
	try("the CA must reach listen of this server at port 443 of presence.test")
	if !strings.Contains(l.String(), "retry_in=20m0s") {
		t.Errorf("after a failed validation:\n%s", l)
	}
	c.advance(19 * time.Minute)
	try("port 443")
	if got := source.Failures(); got != 3 {
		t.Errorf("%d attempts: one within the delay", got)
	}

	ca.Validate(acmetest.Front{TLSPort: serve(t, source)})
	source.Reload()
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	attempted := l.next() // an attempt is bounded, and its end is logged
	running.Go(func() { source.Run(ctx) })
	<-attempted
	stop()
	running.Wait()
	if all := source.Certificates(); all[0].Problem != "" || all[0].NotAfter.IsZero() {
		t.Errorf("after the cause has ended and a reload: %+v\n%s", all, l)
	}
}

// TestACMEBinding: a CA that requires an external account binding gets it.
func TestACMEBinding(t *testing.T) {
	ca, l := acmetest.Start(t), newLog()
	o := options(t, ca, newClock(), l)
	o.Names = o.Names[:1]
	key, err := base64.RawURLEncoding.DecodeString(acmetest.BindingKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, binding := range map[string]*acme.ExternalAccountBinding{"none": nil, "right": {KID: acmetest.BindingID, Key: key}, "wrong": {KID: acmetest.BindingID, Key: key[1:]}} {
		o.Binding, o.DataDir = binding, t.TempDir()
		source := certificate.LoadACME(o)
		ca.Validate(acmetest.Front{TLSPort: serve(t, source), Binding: true})
		source.Renew(t.Context())
		if got := !source.Certificates()[0].NotAfter.IsZero(); got != (name == "right") {
			t.Errorf("%s: obtained is %v\n%s", name, got, l)
		}
	}
}

var _ http.Handler = (*certificate.ACME)(nil)
