package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestCSharpOverTLS sets up a production server with "init", "serve" and a certificate,
// and runs the guide's C# program to update a user.
func TestCSharpOverTLS(t *testing.T) {
	dir, env := t.TempDir(), storeEnv(t)
	cert, key := writeCertificate(t, dir)

	var made struct {
		AccountID    string `json:"account_id"`
		ClientID     string `json:"client_id"`
		ClientSecret string `json:"client_secret"`
	}
	output, err := run(t, env, binary, "init", "--json", "--data-dir", filepath.Join(dir, "data"))
	if err != nil {
		t.Fatalf("porchlight init: %v\n%s", err, output)
	}
	if err := json.Unmarshal([]byte(output), &made); err != nil {
		t.Fatalf("porchlight init printed %q: %v", output, err)
	}
	var served struct{ URL string }
	accessLog := filepath.Join(dir, "access.log")
	t.Cleanup(func() { checkAccessLog(t, accessLog, made.ClientSecret) }) // after the server has stopped
	start(t, &served, env, "serve", "--json", "--data-dir", filepath.Join(dir, "data"), "--access-log", accessLog,
		"--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--tls-cert-file", cert, "--tls-key-file", key)
	if !strings.HasPrefix(served.URL, "https://127.0.0.1:") {
		t.Fatalf("serving on %q, want HTTPS on loopback", served.URL)
	}

	// Create a token, a user and a session with curl.
	ask := func(line string) string {
		status, body := curl(t, "curl --cacert "+cert+" "+line)
		if status[0] != '2' {
			t.Fatalf("%s: %s %s", line, status, body)
		}
		return body
	}
	var token struct {
		AccessToken string `json:"access_token"`
	}
	body := ask(served.URL + "/oauth/token -u " + made.ClientID + ":" + made.ClientSecret +
		" -d grant_type=account_credentials -d account_id=" + made.AccountID)
	if err := json.Unmarshal([]byte(body), &token); err != nil || token.AccessToken == "" {
		t.Fatalf("the token endpoint returns %s", body)
	}
	bearer := " -H 'Authorization: Bearer " + token.AccessToken + "' -H 'Content-Type: application/json' "
	ask(served.URL + "/v1/users" + bearer + `-d '{"email":"grace@example.com"}'`)
	ask(served.URL + "/v1/users/grace@example.com/sessions" + bearer + `-d '{"client_type":"desktop","lease_seconds":3600}'`)

	// The program trusts the certificate in Mono's store of the user, which is in the
	// test's directory.
	home := []string{"HOME=" + dir, "XDG_CONFIG_HOME=" + dir, "PORCHLIGHT_TOKEN=" + token.AccessToken}
	program := filepath.Join(dir, "UpdatePresence.exe")
	if output, err := run(t, home, "mcs", "-r:System.Net.Http.dll", "-out:"+program, "csharp/UpdatePresence.cs"); err != nil {
		t.Fatalf("mcs: %v\n%s", err, output)
	}
	if output, err := run(t, home, "cert-sync", "--user", cert); err != nil {
		t.Fatalf("cert-sync: %v\n%s", err, output)
	}
	named := strings.Replace(served.URL, "127.0.0.1", "localhost", 1) // Mono checks names, not addresses
	output, err = run(t, home, "mono", program, named, "grace@example.com", "Do_No_Disturb", "20")
	if err != nil || strings.TrimSpace(output) != "204" {
		t.Errorf("the C# program printed %q: %v; want 204", output, err)
	}
	if body := ask(served.URL + "/v2/users/grace@example.com/presence_status" + bearer); !strings.Contains(body, `"Do_Not_Disturb"`) {
		t.Errorf("shown: %s, want Do_Not_Disturb", body)
	}
	output, err = run(t, home, "mono", program, named, ":userId", "Available")
	if err == nil || !strings.HasPrefix(output, "404") || !strings.Contains(output, `"code":1001`) {
		t.Errorf("for :userId the C# program printed %q: %v; want 404 with code 1001", output, err)
	}
}

// checkAccessLog decodes every line as JSON, and checks that the log contains no
// secret.
func checkAccessLog(t *testing.T, file, secret string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Error(err)
		return
	}
	if strings.Contains(string(data), secret) || strings.Contains(string(data), "Bearer") {
		t.Errorf("the access log contains a secret:\n%s", data)
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	if len(lines) < 6 {
		t.Errorf("the access log has %d lines, want one for each request:\n%s", len(lines), data)
	}
	for _, line := range lines {
		var fields struct {
			RequestID     string `json:"request_id"`
			Method, Route string
			Status        int
		}
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("a line of the access log is not JSON: %v: %s", err, line)
		}
		if fields.RequestID == "" || fields.Method == "" || fields.Route == "" || fields.Status == 0 {
			t.Errorf("a line of the access log lacks a field: %s", line)
		}
	}
}

// writeCertificate writes a self-signed certificate for loopback that is valid for an
// hour.
func writeCertificate(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, data []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", secret)
}
