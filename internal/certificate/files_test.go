package certificate_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/internal/certificate"
)

// newPair makes a certificate and its key, in PEM format.
func newPair(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
}

// replace writes a file at once, as programs that renew certificates do.
func replace(t *testing.T, name string, data []byte) {
	t.Helper()
	err := os.WriteFile(name+".new", data, 0o600)
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestFilesChange: a certificate and key that are replaced one after the other count no
// failure, and files that are missing count one, until they are back.
func TestFilesChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		certFile, keyFile, caFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "ca.pem")
		cert, key := newPair(t, "one.test")
		replace(t, certFile, cert)
		replace(t, keyFile, key)
		replace(t, caFile, cert)
		l := newLog()
		files, err := certificate.LoadFiles(certFile, keyFile, l.logger())
		if err != nil {
			t.Fatal(err)
		}
		clients, err := certificate.LoadClientCAs(caFile, files, l.logger())
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		defer running.Wait()
		defer stop()
		running.Go(func() { files.Run(ctx) })
		running.Go(func() { clients.Run(ctx) })
		check := func(what, name string, failures uint64) {
			t.Helper()
			for _, s := range []certificate.Source{files, clients} {
				all := s.Certificates()
				if all[0].Name() != name || s.Failures() != failures || (all[0].Problem != "") != (name == "two.test" && failures == 1) {
					t.Errorf("%s: %d failures, %+v\n%s", what, s.Failures(), all, l)
				}
			}
		}

		cert, key = newPair(t, "two.test")
		time.Sleep(time.Second) // now between two checks of the files
		replace(t, certFile, cert)
		replace(t, caFile, cert)
		time.Sleep(2 * time.Second)
		replace(t, keyFile, key)
		time.Sleep(4 * time.Second)
		check("replaced one after the other", "two.test", 0)

		for _, name := range []string{certFile, caFile} {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		check("missing", "two.test", 1)
		cert, key = newPair(t, "three.test")
		replace(t, keyFile, key)
		replace(t, certFile, cert)
		replace(t, caFile, cert)
		time.Sleep(4 * time.Second)
		check("back", "three.test", 1)
	})
}

// TestStoredSecrets: keys that other users can read are not used, and the certificate of
// a name never replaces the key of the account.
func TestStoredSecrets(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a mode does not tell who can read a file on Windows")
	}
	open := func(pattern string) string {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) != 1 {
			t.Fatalf("%s: %q, %v", pattern, found, err)
		}
		if err := os.Chmod(found[0], 0o604); err != nil {
			t.Fatal(err)
		}
		return found[0]
	}
	dir, l := t.TempDir(), newLog()
	selfSigned := func() error {
		_, err := certificate.LoadSelfSigned(dir, []string{"presence.test"}, time.Now, l.logger())
		return err
	}
	if err := selfSigned(); err != nil {
		t.Fatal(err)
	}
	_, keyFile := certificate.SelfSignedFiles(dir)
	open(keyFile)
	if err := selfSigned(); err == nil || !strings.Contains(err.Error(), "run chmod o= "+keyFile) {
		t.Errorf("a self-signed certificate with a key for everybody: %v", err)
	}

	o := certificate.ACMEOptions{DataDir: dir, Names: []string{"account-key"}, Directory: "https://127.0.0.1:0/", Now: time.Now, Log: l.logger()}
	certificate.LoadACME(o).Renew(t.Context()) // fails, with a new key of the account
	account := open(certificate.Directory(dir) + "/acme/*/*")
	if filepath.Base(account) == o.Names[0]+".pem" {
		t.Errorf("the certificate of %s would replace the key %s of the account", o.Names[0], account)
	}
	source := certificate.LoadACME(o)
	source.Renew(t.Context())
	if all := source.Certificates(); !strings.Contains(all[0].Problem, "run chmod o= "+account) {
		t.Errorf("an account with a key for everybody: %+v", all)
	}
	cert, key := newPair(t, o.Names[0])
	file := filepath.Join(filepath.Dir(account), o.Names[0]+".pem")
	replace(t, file, append(cert, key...))
	if all := certificate.LoadACME(o).Certificates(); all[0].NotAfter.IsZero() || all[0].Problem != "" {
		t.Errorf("a stored certificate: %+v", all)
	}
	open(file)
	if all := certificate.LoadACME(o).Certificates(); !all[0].NotAfter.IsZero() || !strings.Contains(all[0].Problem, "run chmod o= "+file) {
		t.Errorf("a stored certificate with a key for everybody: %+v", all)
	}
}
