package certificate

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"golang.org/x/crypto/acme"
)

// ChallengePath is where a CA asks for the answer to an http-01 challenge.
const ChallengePath = "/.well-known/acme-challenge/"

// challengeResponses has the responses to the challenges that are open at a CA.
type challengeResponses struct {
	mu    sync.Mutex
	certs map[string]*tls.Certificate // of tls-alpn-01, by name
	texts map[string]string           // of http-01, by path
}

// present makes the answer to a challenge available until withdraw is called.
func (a *challengeResponses) present(client *acme.Client, challenge *acme.Challenge, name string) (withdraw func(), err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if challenge.Type == TLSALPN01 {
		cert, err := client.TLSALPN01ChallengeCert(challenge.Token, name)
		if err != nil {
			return nil, err
		}
		set(&a.certs, name, &cert)
		return func() { a.remove(name, "") }, nil
	}
	text, err := client.HTTP01ChallengeResponse(challenge.Token)
	if err != nil {
		return nil, err
	}
	path := client.HTTP01ChallengePath(challenge.Token)
	set(&a.texts, path, text)
	return func() { a.remove("", path) }, nil
}

func set[V any](all *map[string]V, key string, value V) {
	if *all == nil {
		*all = make(map[string]V)
	}
	(*all)[key] = value
}

func (a *challengeResponses) remove(name, path string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.certs, name)
	delete(a.texts, path)
}

// certificate answers a tls-alpn-01 challenge.
func (a *challengeResponses) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if cert := a.certs[strings.ToLower(hello.ServerName)]; cert != nil {
		return cert, nil
	}
	return nil, fmt.Errorf("no tls-alpn-01 challenge for %q", hello.ServerName)
}

// ServeHTTP answers http-01 challenges, with 404 for others.
func (a *ACME) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.responses.mu.Lock()
	text, ok := a.responses.texts[r.URL.Path]
	a.responses.mu.Unlock()
	if !ok {
		http.Error(w, "there is no such challenge", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, text) // the CA reports it if it did not arrive
}

// newCSR makes a certificate signing request.
func newCSR(name string, key *ecdsa.PrivateKey) ([]byte, error) {
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{name}}, key)
}
