package server_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/certificate"
	"porchlight.dev/porchlight/internal/certificate/acmetest"
	"porchlight.dev/porchlight/internal/server"
)

// TestServerACME: a server whose CA cannot be reached starts, says so, and gets a
// certificate when the CA answers. A restart uses the stored one.
func TestServerACME(t *testing.T) {
	ca := acmetest.Start(t)
	cfg := settings(t)
	cfg.ACME, cfg.PublicURL, cfg.ACMEDirectory, cfg.ACMECAFile = true, "https://presence.test", ca.Directory, ca.RootFile
	r := start(t, cfg, server.Options{})
	eventually(t, "/readyz names the problem", func() bool {
		status, body := r.get(t, r.AdminURL()+"/readyz")
		return status == http.StatusOK && strings.Contains(body, "ready; no certificate for presence.test yet") && strings.Contains(body, "check acme-directory")
	})
	_, metrics := r.get(t, r.AdminURL()+"/metrics")
	if !strings.Contains(metrics, `porchlight_certificate_not_after_seconds{name="presence.test",source="acme"} 0`) || certificateFailures(t, metrics) < 1 {
		t.Errorf("metrics without a certificate:\n%s", linesWith(metrics, "certificate"))
	}
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(r.URL(), "https://"))
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	ca.Validate(acmetest.Front{TLSPort: number})
	r.Reload() // ends the delay
	trusted := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Roots(), ServerName: "presence.test"}}
	defer trusted.CloseIdleConnections()
	r.http.Transport = trusted
	eventually(t, "the first certificate is in use", func() bool { _, err := r.client.Me(t.Context()); return err == nil })
	status, body := r.get(t, r.AdminURL()+"/readyz")
	if status != http.StatusOK || body != "ready\n" {
		t.Errorf("/readyz with a certificate: %d %s", status, body)
	}
	_, metrics = r.get(t, r.AdminURL()+"/metrics")
	if strings.Contains(metrics, `source="acme"} 0`) || !strings.Contains(metrics, `source="acme"} 1.`) {
		t.Errorf("metrics with a certificate:\n%s", linesWith(metrics, "certificate"))
	}

	ca.Stop()
	orders := ca.Orders()
	trusted.CloseIdleConnections()
	r.stop(server.ErrInterrupted)
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	again := run(t, cfg, server.Options{}, r.made)
	again.http.Transport = trusted
	if _, err := again.client.Me(t.Context()); err != nil || ca.Orders() != orders {
		t.Errorf("after a restart without the CA: %v, %d orders after %d", err, ca.Orders(), orders)
	}
	listed, err := server.ListCertificates(cfg)
	if err != nil || len(listed) != 1 || listed[0].NotAfter.IsZero() || listed[0].Source != certificate.FromACME {
		t.Errorf("listed: %+v, %v", listed, err)
	}
}

func certificateFailures(t *testing.T, metrics string) int {
	t.Helper()
	var failures int
	_, value, _ := strings.Cut(metrics, "\nporchlight_certificate_failures_total ")
	if _, err := fmt.Sscan(value, &failures); err != nil {
		t.Errorf("no count of failures: %v", err)
	}
	return failures
}

func linesWith(text, part string) string {
	var found []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) {
			found = append(found, line)
		}
	}
	return strings.Join(found, "")
}

// TestSelfSigned: the certificate is made at the first start and kept, and a client can
// pin its key.
func TestSelfSigned(t *testing.T) {
	cfg := settings(t)
	cfg.TLSSelfSigned = true
	if listed, err := server.ListCertificates(cfg); err != nil || len(listed) != 1 || !strings.Contains(listed[0].Problem, "when it starts") {
		t.Errorf("before the first start: %+v, %v", listed, err)
	}
	r := start(t, cfg, server.Options{})
	first := r.Certificates()
	eventually(t, "the log has the key and the fingerprint", func() bool {
		return strings.Contains(r.log.String(), first[0].PublicKey) && strings.Contains(r.log.String(), first[0].Fingerprint)
	})
	pinned, err := client.NewPinnedHTTPClient(first[0].PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	defer pinned.CloseIdleConnections()
	r.http.Transport = pinned.Transport
	if _, err := r.client.Me(t.Context()); err != nil {
		t.Error(err)
	}
	other, err := client.NewPinnedHTTPClient("sha256//" + strings.Repeat("A", 43) + "=")
	if err != nil {
		t.Fatal(err)
	}
	r.http.Transport = other.Transport
	if _, err := r.client.Me(t.Context()); err == nil || !strings.Contains(err.Error(), "not the pinned one") {
		t.Errorf("another pin: %v", err)
	}
	pinned.CloseIdleConnections()
	r.stop(server.ErrInterrupted)
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	again := run(t, cfg, server.Options{}, r.made)
	if second := again.Certificates(); second[0].Fingerprint != first[0].Fingerprint {
		t.Error("a restart makes another certificate")
	}
	if listed, err := server.ListCertificates(cfg); err != nil || listed[0].Fingerprint != first[0].Fingerprint {
		t.Errorf("listed: %+v, %v", listed, err)
	}
}

// TestAdminClientCA: with admin-client-ca-file, admin-listen refuses clients without a
// certificate of the CA, and a reload changes the CA.
func TestAdminClientCA(t *testing.T) {
	cfg := settings(t)
	dir := t.TempDir()
	cfg.TLSSelfSigned, cfg.AdminClientCAFile = true, filepath.Join(dir, "ca.pem")
	name := func(n int) (cert, key string) {
		return filepath.Join(dir, strconv.Itoa(n)+".pem"), filepath.Join(dir, strconv.Itoa(n)+"-key.pem")
	}
	for n := range 2 { // a self-signed client certificate is its own CA
		cert, key := name(n)
		writeCertificate(t, cert, key, int64(n+1))
	}
	trust := func(n int) {
		cert, _ := name(n)
		data, err := os.ReadFile(cert)
		if err := errors.Join(err, os.WriteFile(cfg.AdminClientCAFile, data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	trust(0)
	r := start(t, cfg, server.Options{})
	ask := func(n int) error {
		config := trustAnyServer()
		if n >= 0 {
			cert, key := name(n)
			pair, err := tls.LoadX509KeyPair(cert, key)
			if err != nil {
				t.Fatal(err)
			}
			config.Certificates = []tls.Certificate{pair}
		}
		transport := &http.Transport{TLSClientConfig: config}
		defer transport.CloseIdleConnections()
		resp, err := (&http.Client{Transport: transport}).Get(r.AdminURL() + "/livez")
		if err == nil {
			_ = resp.Body.Close()
		}
		return err
	}
	if !strings.HasPrefix(r.AdminURL(), "https://") {
		t.Errorf("the URL is %s", r.AdminURL())
	}
	if err := ask(0); err != nil {
		t.Errorf("a client of the CA: %v", err)
	}
	for _, n := range []int{-1, 1} {
		if err := ask(n); err == nil || !strings.Contains(err.Error(), "remote error: tls: ") {
			t.Errorf("client %d: %v, want a failed handshake", n, err)
		}
	}
	trust(1)
	r.Reload()
	if err := ask(1); err != nil {
		t.Errorf("a client of the new CA: %v", err)
	}
	if err := ask(0); err == nil {
		t.Error("a client of the old CA is accepted")
	}
	if err := os.WriteFile(cfg.AdminClientCAFile, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.Reload()
	if err := ask(1); err != nil || !strings.Contains(r.log.String(), "keeping the old CAs") {
		t.Errorf("after a broken file: %v\n%s", err, r.log)
	}
	if all := r.Certificates(); len(all) != 2 || all[1].Source != certificate.ClientCA || all[1].Problem == "" {
		t.Errorf("%+v", all)
	}
}

// reloads is how often TestReloadKeepsConnections replaces the certificate.
const reloads = 20

// TestReloadKeepsConnections: while the certificate is replaced again and again, and
// sometimes by a broken one, open connections of every kind stay, and new ones succeed.
func TestReloadKeepsConnections(t *testing.T) {
	cfg := settings(t)
	dir := t.TempDir()
	cfg.TLSCertFile, cfg.TLSKeyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, cfg.TLSCertFile, cfg.TLSKeyFile, 1)
	r := start(t, cfg, server.Options{})
	kept, closeIdle := dialer(neverCut, false) // it fails if the server ends the connection, unlike if net/http does
	defer closeIdle()
	keepAlive, _ := kept.Transport.(*http.Transport)
	modern := &http.Transport{TLSClientConfig: trustAnyServer(), ForceAttemptHTTP2: true}
	defer modern.CloseIdleConnections()
	other := &http.Transport{TLSClientConfig: trustAnyServer()}
	defer other.CloseIdleConnections()
	r.http.Transport = other
	user := r.createUsers(t, 1)

	ctx, stop := context.WithCancel(t.Context())
	var open sync.WaitGroup
	defer open.Wait()
	defer stop()
	watchers := make(map[string]*watcher)
	for kind, connect := range openStreams(ctx) {
		w := r.watcher(r.made.AccessToken, user)
		watchers[kind] = w
		open.Go(func() {
			if err := connect(w); err != nil && ctx.Err() == nil {
				t.Errorf("%s: %v", kind, err)
			} else if ctx.Err() == nil {
				t.Errorf("%s: the server ended the stream", kind)
			}
		})
		eventually(t, "the stream is open: "+kind, func() bool { return w.lastCursor() != "" })
	}

	ask(t, r, keepAlive, false)
	ask(t, r, modern, false)
	for n := range reloads {
		broken := n%5 == 4
		if broken {
			replaceFile(t, cfg.TLSCertFile, []byte("broken"))
		} else {
			writeCertificate(t, cfg.TLSCertFile, cfg.TLSKeyFile, int64(n+2))
		}
		r.Reload()
		ask(t, r, keepAlive, true)
		ask(t, r, modern, true)
		fresh := &http.Transport{TLSClientConfig: trustAnyServer()}
		want := int64(n + 2)
		if broken {
			want--
		}
		if got := ask(t, r, fresh, false).SerialNumber.Int64(); got != want {
			t.Errorf("reload %d: a new connection has the certificate %d, want %d", n, got, want)
		}
		fresh.CloseIdleConnections()
	}
	if _, err := r.client.SetNote(ctx, user[0], api.SetNote{Text: "still here"}); err != nil {
		t.Fatal(err)
	}
	for kind, w := range watchers {
		eventually(t, "the change is sent: "+kind, func() bool { return w.hasNote(user[0], "still here") })
	}
	_, metrics := r.get(t, r.AdminURL()+"/metrics")
	if got := certificateFailures(t, metrics); got < 4 { // more if the server checks the files before a reload
		t.Errorf("%d failures with 4 broken files", got)
	}
	if _, body := r.get(t, r.AdminURL()+"/readyz"); !strings.Contains(body, "the last renewal of 127.0.0.1 failed") {
		t.Errorf("/readyz: %s", body)
	}
}

// ask sends a request on a connection that must be new or not, and returns the server's
// certificate.
func ask(t *testing.T, r *running, transport *http.Transport, reused bool) *x509.Certificate {
	t.Helper()
	var got bool
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { got = info.Reused }})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL()+"/v1/me", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.made.AccessToken)
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(io.Discard, resp.Body) // so that the connection can be used again
	_ = resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK || got != reused && (!reused || resp.ProtoMajor == 2) {
		t.Errorf("%s %d, the connection was reused: %v", resp.Proto, resp.StatusCode, got)
	}
	return resp.TLS.PeerCertificates[0]
}
