package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCertificateSettings: combinations of settings about certificates that cannot work are
// refused, once each, with what to do.
func TestCertificateSettings(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(name, []byte(text), 0o600), os.Chmod(name, 0o600)); err != nil {
			t.Fatal(err)
		}
		return name
	}
	text, hmac := file("text", "not PEM, nor base64url!"), file("hmac", "c2VjcmV0\n")
	acme := func(change func(*Config)) func(*Config) {
		return func(c *Config) {
			c.ACME, c.PublicURL = true, "https://presence.example.com"
			change(c)
		}
	}
	for name, c := range map[string]struct {
		set     func(*Config)
		setting string // "": accepted
		text    string
	}{
		"none":                          {func(*Config) {}, "", ""},
		"self-signed":                   {func(c *Config) { c.TLSSelfSigned = true }, "", ""},
		"ACME":                          {acme(func(*Config) {}), "", ""},
		"a certificate without its key": {func(c *Config) { c.TLSCertFile = text }, "tls-key-file", "is not set, but tls-cert-file is"},
		"a key without its certificate": {func(c *Config) { c.TLSKeyFile = text }, "tls-cert-file", "is not set, but tls-key-file is"},
		"files that are no pair":        {func(c *Config) { c.TLSCertFile, c.TLSKeyFile = text, text }, "tls-cert-file", "are not a certificate and its key"},
		"a file that is missing":        {func(c *Config) { c.TLSCertFile, c.TLSKeyFile = filepath.Join(dir, "missing"), text }, "tls-cert-file", "missing"},
		"ACME and self-signed":          {acme(func(c *Config) { c.TLSSelfSigned = true }), "tls-self-signed", "is set, but acme is too"},
		"ACME without a name":           {acme(func(c *Config) { c.PublicURL = "" }), "acme", "needs public-url"},
		"ACME for plain HTTP":           {acme(func(c *Config) { c.PublicURL = "http://presence.example.com" }), "acme", "set it to https://presence.example.com"},
		"ACME for an address":           {acme(func(c *Config) { c.PublicURL = "https://192.0.2.1" }), "acme", "needs a host name in public-url"},
		"ACME for a pattern":            {acme(func(c *Config) { c.ACMENames = "*.example.com" }), "acme-names", "is not a host name"},
		"ACME without a directory":      {acme(func(c *Config) { c.DataDir, c.Store = "", "nats://127.0.0.1" }), "acme", "needs data-dir"},
		"self-signed without one":       {func(c *Config) { c.TLSSelfSigned, c.DataDir, c.Store = true, "", "nats://127.0.0.1" }, "tls-self-signed", "needs data-dir"},
		"http-01 without a listener":    {acme(func(c *Config) { c.ACMEChallenge = HTTP01 }), "acme-challenge", "set http-listen to :80"},
		"http-01":                       {acme(func(c *Config) { c.ACMEChallenge, c.HTTPListen = HTTP01, ":80" }), "", ""},
		"a CA without TLS":              {acme(func(c *Config) { c.ACMEDirectory = "http://ca.example.com/directory" }), "acme-directory", "is not the directory URL of a CA"},
		"two e-mail addresses":          {acme(func(c *Config) { c.ACMEEmail = "a@example.com,b@example.com" }), "acme-email", "is not an e-mail address"},
		"CA certificates":               {acme(func(c *Config) { c.ACMECAFile = text }), "acme-ca-file", "has no certificate"},
		"a binding without its key":     {acme(func(c *Config) { c.ACMEEABKeyID = "kid" }), "acme-eab-hmac-key-file", "is not set, but acme-eab-key-id is"},
		"a binding without its id":      {acme(func(c *Config) { c.ACMEEABHMACKeyFile = hmac }), "acme-eab-key-id", "is not set, but acme-eab-hmac-key-file is"},
		"a binding":                     {acme(func(c *Config) { c.ACMEEABKeyID, c.ACMEEABHMACKeyFile = "kid", hmac }), "", ""},
		"a binding with another key":    {acme(func(c *Config) { c.ACMEEABKeyID, c.ACMEEABHMACKeyFile = "kid", text }), "acme-eab-hmac-key-file", "is not a key in base64url"},
	} {
		t.Run(name, func(t *testing.T) {
			config := Config{DataDir: dir}
			c.set(&config)
			problems := config.Check()
			if c.setting == "" && len(problems) > 0 {
				t.Errorf("refused: %v", problems)
			}
			if c.setting != "" && (len(problems) != 1 || problems[0].Setting != c.setting || !strings.Contains(problems[0].Text, c.text)) {
				t.Errorf("problems %v, want one of %s: %s", problems, c.setting, c.text)
			}
		})
	}
}

// TestCertificateFilesAndAnother: files cannot be combined with a certificate that the server
// gets or makes.
func TestCertificateFilesAndAnother(t *testing.T) {
	for _, setting := range []string{"acme", "tls-self-signed"} {
		config := Config{DataDir: t.TempDir(), TLSCertFile: "cert.pem", TLSKeyFile: "key.pem", PublicURL: "https://presence.example.com"}
		config.ACME, config.TLSSelfSigned = setting == "acme", setting != "acme"
		var found bool
		for _, p := range config.Check() {
			found = found || p.Setting == setting && strings.Contains(p.Text, "tls-cert-file and tls-key-file are too: the server cannot use both")
		}
		if !found {
			t.Errorf("%s with files: %v", setting, config.Check())
		}
	}
}
