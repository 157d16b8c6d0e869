package certificate_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/internal/certificate"
)

// TestSelfSignedRenewal: 30 days before it expires, the certificate is replaced by one with the
// same key and names, in memory and on disk, and not before. An error leaves the old one in use.
func TestSelfSignedRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const day = 24 * time.Hour
		dir := t.TempDir()
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var later atomic.Int64 // how far the clock was advanced, without the checks of every minute of a year
		now := func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
		advance := func(d time.Duration) {
			later.Add(int64(d - 2*time.Minute))
			time.Sleep(2 * time.Minute)
			synctest.Wait()
		}
		s, err := certificate.LoadSelfSigned(dir, []string{"presence.example.com", "127.0.0.1"}, now, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		go s.Run(ctx)
		first := s.Certificates()[0]
		if left := first.NotAfter.Sub(now()); left != 365*day {
			t.Errorf("the certificate lasts %v", left)
		}
		advance(335*day - time.Minute)
		if kept := s.Certificates()[0]; kept.Fingerprint != first.Fingerprint {
			t.Fatalf("renewed %v before its end", first.NotAfter.Sub(now()))
		}
		advance(3 * time.Minute)
		second := s.Certificates()[0]
		if second.Fingerprint == first.Fingerprint || second.PublicKey != first.PublicKey || !slices.Equal(second.Names, first.Names) {
			t.Fatalf("%v before its end\n%+v was followed by\n%+v", first.NotAfter.Sub(now()), first, second)
		}
		if served, err := s.Config().GetCertificate(nil); err != nil || !served.Leaf.NotAfter.Equal(second.NotAfter) || second.NotAfter.Sub(first.NotAfter) < 334*day {
			t.Errorf("served: %+v, %v", served, err)
		}
		if stored := storedCertificate(t, dir); !stored.NotAfter.Equal(second.NotAfter) {
			t.Errorf("stored: until %v", stored.NotAfter)
		}

		// The next renewal cannot be stored.
		file, _ := certificate.SelfSignedFiles(dir)
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(file+"/x", 0o700); err != nil { // a directory, which a file cannot replace
			t.Fatal(err)
		}
		advance(336 * day)
		if kept := s.Certificates()[0]; kept.Fingerprint != second.Fingerprint || kept.Problem == "" || s.Failures() == 0 {
			t.Errorf("after a failure: %+v, %d failures", kept, s.Failures())
		}
		if err := os.RemoveAll(file); err != nil {
			t.Fatal(err)
		}
		advance(2 * time.Minute)
		if third := s.Certificates()[0]; third.Fingerprint == second.Fingerprint || third.Problem != "" {
			t.Errorf("after the failure: %+v", third)
		}
	})
}

func storedCertificate(t *testing.T, dir string) *x509.Certificate {
	t.Helper()
	file, _ := certificate.SelfSignedFiles(dir)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		t.Fatalf("%s is not PEM", file)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
