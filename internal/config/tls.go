package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
)

// HTTP01 is the value of acme-challenge that needs http-listen.
const HTTP01 = "http-01"

// TLS reports whether the server terminates TLS itself.
func (c *Config) TLS() bool { return c.TLSCertFile != "" || c.ACME || c.TLSSelfSigned }

// CertificateNames are the host names that get a certificate by ACME, in lower case: that
// of public-url, then those of acme-names.
func (c *Config) CertificateNames() []string {
	var all []string
	if u, err := url.Parse(c.PublicURL); err == nil && u.Host != "" {
		all = append(all, strings.ToLower(u.Hostname()))
	}
	for _, name := range items(c.ACMENames) {
		if name = strings.ToLower(name); !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// SelfSignedNames are the names and addresses of the self-signed certificate: those of
// the settings, of the machine and of loopback.
func (c *Config) SelfSignedNames() []string {
	all := []string{}
	if u, err := url.Parse(c.PublicURL); err == nil && u.Host != "" {
		all = append(all, strings.ToLower(u.Hostname()))
	}
	all = append(all, c.Hosts()...)
	if machine, err := os.Hostname(); err == nil && hostName(strings.ToLower(machine)) {
		all = append(all, strings.ToLower(machine))
	}
	all = append(all, "localhost", "127.0.0.1", "::1")
	var unique []string
	for _, name := range all {
		ip := net.ParseIP(name)
		if !slices.Contains(unique, name) && (ip == nil || !ip.IsUnspecified()) {
			unique = append(unique, name)
		}
	}
	return unique
}

// ACMERoots are the certificates of acme-ca-file; nil: the system's.
func (c *Config) ACMERoots() (*x509.CertPool, error) {
	if c.ACMECAFile == "" {
		return nil, nil //nolint:nilnil // the documented answer
	}
	data, err := os.ReadFile(c.ACMECAFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s has no certificate: expected one or more in PEM format", c.ACMECAFile)
	}
	return roots, nil
}

// ACMEBindingKey is the HMAC key of the external account binding; nil: there is none.
func (c *Config) ACMEBindingKey() ([]byte, error) {
	if c.ACMEEABHMACKeyFile == "" {
		return nil, nil
	}
	data, err := os.ReadFile(c.ACMEEABHMACKeyFile)
	if err != nil {
		return nil, err
	}
	key, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(string(data)), "="))
	if err != nil || len(key) == 0 {
		return nil, fmt.Errorf("%s is not a key in base64url: write the HMAC key into it as the CA gives it", c.ACMEEABHMACKeyFile)
	}
	return key, nil
}

// certificates checks where certificates come from, and who needs them.
func (k *checker) certificates() {
	c := k.config
	k.certificateFiles()
	if c.ACME && (c.TLSCertFile != "" || c.TLSKeyFile != "") {
		k.add("acme", "is set, but tls-cert-file and tls-key-file are too: the server cannot use both; keep the files, or acme")
	}
	if c.TLSSelfSigned && (c.TLSCertFile != "" || c.TLSKeyFile != "") {
		k.add("tls-self-signed", "is set, but tls-cert-file and tls-key-file are too: the server cannot use both; keep the files, or tls-self-signed")
	}
	if c.TLSSelfSigned && c.ACME {
		k.add("tls-self-signed", "is set, but acme is too: the server cannot use both; use acme if the CA can reach this server, else tls-self-signed")
	}
	k.stored("acme", c.ACME)
	k.stored("tls-self-signed", c.TLSSelfSigned)
	k.acme()
	k.plainHTTP()
	k.adminClients()
}

// stored checks that there is a place for certificates that the server keeps.
func (k *checker) stored(setting string, on bool) {
	if on && k.config.DataDir == "" {
		k.add(setting, "needs data-dir, where the server keeps the certificate and its key: set data-dir in addition to store")
	}
}

func (k *checker) certificateFiles() {
	cert, key := k.config.TLSCertFile, k.config.TLSKeyFile
	switch {
	case cert == "" && key == "":
		return
	case cert == "":
		k.add("tls-cert-file", "is not set, but tls-key-file is: set both, or neither for plain HTTP")
		return
	case key == "":
		k.add("tls-key-file", "is not set, but tls-cert-file is: set both, or neither for plain HTTP")
		return
	}
	readable := k.readable("tls-cert-file", cert)
	if !k.secret("tls-key-file", key) || !readable {
		return
	}
	if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
		k.add("tls-cert-file", "%s and %s are not a certificate and its key: %v", cert, key, err)
	}
}

func (k *checker) acme() {
	c := k.config
	k.acmeNames()
	if u, err := url.Parse(c.ACMEDirectory); c.ACMEDirectory != "" && (err != nil || u.Host == "" || u.Scheme != "https") {
		k.add("acme-directory", "%q is not the directory URL of a CA: expected a form such as https://ca.example.com/acme/directory", c.ACMEDirectory)
	}
	if c.ACMEEmail != "" && (strings.Count(c.ACMEEmail, "@") != 1 || strings.ContainsAny(c.ACMEEmail, " ,:?")) {
		k.add("acme-email", "%q is not an e-mail address: expected a form such as admin@example.com", c.ACMEEmail)
	}
	if c.ACME && c.ACMEChallenge == HTTP01 && c.HTTPListen == "" {
		k.add("acme-challenge", "is http-01, but http-listen is not set: set http-listen to :80, or acme-challenge to tls-alpn-01")
	}
	if c.ACMECAFile != "" && k.readable("acme-ca-file", c.ACMECAFile) {
		if _, err := c.ACMERoots(); err != nil {
			k.add("acme-ca-file", "%v", err)
		}
	}
	k.acmeBinding()
}

// acmeNames checks that there are names, and that a CA can validate them.
func (k *checker) acmeNames() {
	c := k.config
	for _, name := range items(c.ACMENames) {
		if k.asciiHost("acme-names", name) && !hostName(strings.ToLower(name)) {
			k.add("acme-names", "%q is not a host name: expected a form such as presence.example.com, without scheme, port and *", name)
		}
	}
	if !c.ACME {
		return
	}
	u, err := url.Parse(c.PublicURL)
	switch {
	case c.PublicURL == "":
		k.add("acme", "needs public-url, whose host gets the certificate: set it to a form such as https://presence.example.com")
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"): // public-url has a problem of its own
	case u.Scheme != "https":
		k.add("acme", "is set, but public-url begins with http: set it to https://%s", u.Host)
	case isASCII(u.Hostname()) && !hostName(strings.ToLower(u.Hostname())):
		k.add("acme", "needs a host name in public-url, not %s: use a name with a DNS record, or tls-self-signed for an address", u.Hostname())
	}
}

func (k *checker) acmeBinding() {
	id, file := k.config.ACMEEABKeyID, k.config.ACMEEABHMACKeyFile
	switch {
	case id == "" && file == "":
		return
	case id == "":
		k.add("acme-eab-key-id", "is not set, but acme-eab-hmac-key-file is: set both, as the CA gives them")
		return
	case file == "":
		k.add("acme-eab-hmac-key-file", "is not set, but acme-eab-key-id is: set both, as the CA gives them")
		return
	}
	if !k.secret("acme-eab-hmac-key-file", file) {
		return
	}
	if _, err := k.config.ACMEBindingKey(); err != nil {
		k.add("acme-eab-hmac-key-file", "%v", err)
	}
}

func (k *checker) plainHTTP() {
	c := k.config
	if c.HTTPListen == "" {
		return
	}
	k.address("http-listen", c.HTTPListen)
	filled := c.Filled()
	_, port, _ := net.SplitHostPort(c.HTTPListen)
	switch {
	case !c.TLS():
		k.add("http-listen", "is set, but the server has no certificate to redirect to: set acme, tls-cert-file or tls-self-signed, or use listen for plain HTTP")
	case port != "0" && (c.HTTPListen == filled.Listen || c.HTTPListen == filled.AdminListen):
		k.add("http-listen", "is the same address as listen or admin-listen: use another port")
	case c.PublicURL == "":
		k.add("http-listen", "needs public-url, to which it redirects: set it to a form such as https://presence.example.com")
	}
}

func (k *checker) adminClients() {
	c := k.config
	if c.AdminClientCAFile == "" {
		return
	}
	switch {
	case c.Filled().AdminListen == "" || c.AdminOff():
		k.add("admin-client-ca-file", "is set, but admin-listen is off: set an address for it, or remove admin-client-ca-file")
	case !c.TLS():
		k.add("admin-client-ca-file", "needs a certificate of the server: set tls-cert-file and tls-key-file, acme or tls-self-signed")
	}
	if !k.readable("admin-client-ca-file", c.AdminClientCAFile) {
		return
	}
	data, err := os.ReadFile(c.AdminClientCAFile)
	if err != nil || !x509.NewCertPool().AppendCertsFromPEM(data) {
		k.add("admin-client-ca-file", "%s has no certificate: expected one or more in PEM format", c.AdminClientCAFile)
	}
}

// hostName reports whether a name in lower case can be that of a certificate: labels of
// letters, digits and hyphens.
func hostName(name string) bool {
	labels := strings.Split(name, ".")
	return len(name) <= 253 && net.ParseIP(name) == nil && !slices.ContainsFunc(labels, func(label string) bool {
		return label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || label[0] == '-' || label[len(label)-1] == '-'
	})
}
