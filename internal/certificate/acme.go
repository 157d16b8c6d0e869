package certificate

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"
)

// The types of challenges with which a CA validates a name.
const (
	TLSALPN01 = "tls-alpn-01"
	HTTP01    = "http-01"
)

// ACMEOptions are the settings of ACME.
type ACMEOptions struct {
	DataDir   string
	Names     []string                     // host names, in lower case: each gets a certificate of its own
	Directory string                       // URL of the CA's directory
	Email     string                       // "": none
	Challenge string                       // TLSALPN01 or HTTP01
	RootCAs   *x509.CertPool               // to trust for the CA's own server; nil: the system's
	Binding   *acme.ExternalAccountBinding // nil: none
	Now       func() time.Time
	Log       *slog.Logger
}

// ACME obtains certificates from a CA, and renews them.
type ACME struct {
	options   ACMEOptions
	client    *acme.Client
	names     map[string]*obtained
	responses challengeResponses
	failures  atomic.Uint64

	wake chan struct{} // has an element if the delays after failures are to end

	mu         sync.Mutex // locked while certificates are obtained
	registered bool
}

// obtained is the state of one name: its certificate and the attempts to renew it.
type obtained struct {
	name    string
	file    string
	current atomic.Pointer[tls.Certificate] // nil: none yet
	problem atomic.Pointer[string]          // nil: the last attempt succeeded
	tries   int                             // that failed since the last success
	next    time.Time                       // no attempt before
}

const (
	// checkDue is how often it is checked whether a certificate is due.
	checkDue = 10 * time.Second
	// attemptTimeout bounds one attempt to obtain a certificate.
	attemptTimeout = 2 * time.Minute
	// retryUnreachable is the first delay after the CA did not answer, and maxUnreachable
	// the longest.
	retryUnreachable = 30 * time.Second
	maxUnreachable   = 15 * time.Minute
	// retryRefused is the first delay after the CA refused or could not validate. CAs
	// allow few failures: Let's Encrypt five an hour for each name.
	retryRefused = 5 * time.Minute
	maxRefused   = 6 * time.Hour
)

// LoadACME reads the stored certificates of the names. It writes nothing and asks the CA
// for nothing: Run does, so that a server starts without its CA.
func LoadACME(o ACMEOptions) *ACME {
	dir := acmeDirectory(o.DataDir, o.Directory)
	a := &ACME{options: o, names: make(map[string]*obtained), wake: make(chan struct{}, 1)}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.RootCAs}, DisableKeepAlives: true}
	a.client = &acme.Client{DirectoryURL: o.Directory, UserAgent: "porchlight", HTTPClient: &http.Client{Transport: transport, Timeout: 30 * time.Second}}
	for _, name := range o.Names {
		n := &obtained{name: name, file: filepath.Join(dir, name+".pem")}
		n.load(o.Log)
		a.names[name] = n
	}
	return a
}

// load reads the stored certificate. Without one that can be used, a new one is ordered.
func (n *obtained) load(log *slog.Logger) {
	if err := checkSecret(n.file); errors.Is(err, fs.ErrNotExist) {
		return
	} else if err != nil {
		problem := err.Error()
		n.problem.Store(&problem)
		log.Warn("stored certificate is not used; a new one is ordered", slog.String("name", n.name), slog.Any("err", err))
		return
	}
	if pair, err := tls.LoadX509KeyPair(n.file, n.file); err == nil && pair.Leaf.VerifyHostname(n.name) == nil {
		n.current.Store(&pair)
	}
}

// accountKey is the name of the file with the key of the account. It does not end in .pem:
// NAME.pem has the certificate of NAME, which can be any host name.
const accountKey = "account.key"

// acmeDirectory is where the account and certificates of a CA are.
func acmeDirectory(dataDir, directory string) string {
	host := "ca"
	if u, err := url.Parse(directory); err == nil && u.Hostname() != "" {
		host = strings.ReplaceAll(u.Hostname(), ":", "-") // not of an IPv6 address
	}
	sum := sha256.Sum256([]byte(directory))
	return filepath.Join(Directory(dataDir), "acme", host+"-"+hex.EncodeToString(sum[:4]))
}

// Config implements Source. A CA that validates a name by tls-alpn-01 gets the
// certificate of the challenge.
func (a *ACME) Config() *tls.Config {
	config := baseConfig(a.get)
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if !slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto}) {
			return nil, nil //nolint:nilnil // the configuration of the listener
		}
		challenge := baseConfig(a.responses.certificate)
		challenge.NextProtos = []string{acme.ALPNProto}
		return challenge, nil
	}
	return config
}

// get returns the certificate of the name that a client asks for. A client that names
// none, such as one that uses an address, gets that of the first name.
func (a *ACME) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if name == "" {
		name = a.options.Names[0]
	}
	n := a.names[name]
	if n == nil {
		return nil, fmt.Errorf("no certificate for %q: it is neither the host of public-url nor in acme-names", name)
	}
	if pair := n.current.Load(); pair != nil {
		return pair, nil
	}
	return nil, fmt.Errorf("no certificate for %s yet", name)
}

// Certificates implements Source.
func (a *ACME) Certificates() []Info {
	all := make([]Info, 0, len(a.options.Names))
	for _, name := range a.options.Names {
		n := a.names[name]
		info := Info{Source: FromACME, Names: []string{name}}
		if pair := n.current.Load(); pair != nil {
			info = describe(FromACME, n.file, pair.Leaf)
		}
		if problem := n.problem.Load(); problem != nil {
			info.Problem = *problem
		}
		all = append(all, info)
	}
	return all
}

// Failures implements Source.
func (a *ACME) Failures() uint64 { return a.failures.Load() }

// Reload implements Source: it ends the delays after failures.
func (a *ACME) Reload() {
	select {
	case a.wake <- struct{}{}:
	default: // it is asked for already
	}
}

// Run implements Source.
func (a *ACME) Run(ctx context.Context) {
	ticker := time.NewTicker(checkDue)
	defer ticker.Stop()
	for {
		a.Renew(ctx)
		select {
		case <-ticker.C:
		case <-a.wake:
			a.endDelays()
		case <-ctx.Done():
			return
		}
	}
}

func (a *ACME) endDelays() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range a.names {
		n.next = time.Time{}
	}
}

// Renew obtains the certificates that are due now. It reports failures in the log and in
// Certificates.
func (a *ACME) Renew(ctx context.Context) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, name := range a.options.Names {
		if n := a.names[name]; n.due(a.options.Now()) && ctx.Err() == nil {
			a.renew(ctx, n)
		}
	}
}

// due reports whether a certificate is missing or has less than a third of its lifetime
// left, but not while a failure is recent.
func (n *obtained) due(now time.Time) bool {
	if now.Before(n.next) {
		return false
	}
	pair := n.current.Load()
	if pair == nil {
		return true
	}
	return pair.Leaf.NotAfter.Sub(now) < pair.Leaf.NotAfter.Sub(pair.Leaf.NotBefore)/3
}

func (a *ACME) renew(ctx context.Context, n *obtained) {
	limited, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	pair, err := a.obtain(limited, n)
	if ctx.Err() != nil {
		return // the server stops
	}
	log := a.options.Log.With(slog.String("name", n.name), slog.String("ca", a.options.Directory))
	if err != nil {
		a.failures.Add(1)
		a.registered = false // the CA may have lost the account
		wait := n.failed(a.options.Now(), err)
		problem := a.explain(n.name, err)
		n.problem.Store(&problem)
		log.ErrorContext(ctx, "certificate could not be obtained; will retry", slog.String("err", problem), slog.String("retry_in", wait.String()))
		return
	}
	n.tries, n.next = 0, time.Time{}
	n.problem.Store(nil)
	n.current.Store(pair)
	log.InfoContext(ctx, "certificate obtained", slog.Time("expires", pair.Leaf.NotAfter))
}

// failed sets the time of the next attempt, and returns the delay.
func (n *obtained) failed(now time.Time, err error) time.Duration {
	wait, most := retryUnreachable, maxUnreachable
	if refused(err) {
		wait, most = retryRefused, maxRefused
	}
	wait = min(wait<<min(n.tries, 16), most)
	if asked, limited := rateLimited(err); limited {
		wait = max(wait, min(asked, maxRefused)) // a wrong header must not end the renewals
	}
	n.tries++
	n.next = now.Add(wait)
	return wait
}

// refused reports whether the CA has answered.
func refused(err error) bool {
	_, problem := errors.AsType[*acme.Error](err)
	_, invalid := errors.AsType[*acme.AuthorizationError](err)
	_, failed := errors.AsType[*acme.OrderError](err)
	return problem || invalid || failed
}

// rateLimited is how long the CA asks to wait.
func rateLimited(err error) (time.Duration, bool) {
	if problem, ok := errors.AsType[*acme.Error](err); ok {
		return acme.RateLimit(problem)
	}
	return 0, false
}

// explain adds to an error what an operator can do about it.
func (a *ACME) explain(name string, err error) string {
	_, invalid := errors.AsType[*acme.AuthorizationError](err)
	switch {
	case invalid && a.options.Challenge == HTTP01:
		return fmt.Sprintf("%v; the CA must reach http-listen of this server at port 80 of %s: check the DNS records and the firewall", err, name)
	case invalid:
		return fmt.Sprintf("%v; the CA must reach listen of this server at port 443 of %s, without a proxy that terminates TLS: check the DNS records and the firewall", err, name)
	case refused(err):
		return err.Error()
	default:
		return fmt.Sprintf("%v; check acme-directory, acme-ca-file and the network connection from this machine to the CA", err)
	}
}

// obtain orders a certificate and stores it.
func (a *ACME) obtain(ctx context.Context, n *obtained) (*tls.Certificate, error) {
	if err := a.register(ctx); err != nil {
		return nil, err
	}
	order, err := a.client.AuthorizeOrder(ctx, acme.DomainIDs(n.name))
	if err != nil {
		return nil, err
	}
	for _, at := range order.AuthzURLs {
		if err := a.authorize(ctx, at, n.name); err != nil {
			return nil, err
		}
	}
	if order, err = a.client.WaitOrder(ctx, order.URI); err != nil {
		return nil, err
	}
	return a.finalize(ctx, order, n)
}

// register makes the account at the CA, or finds it, once.
func (a *ACME) register(ctx context.Context) error {
	if a.registered {
		return nil
	}
	if a.client.Key == nil {
		key, err := keyAt(filepath.Join(acmeDirectory(a.options.DataDir, a.options.Directory), accountKey))
		if err != nil {
			return fmt.Errorf("the key of the ACME account cannot be used: %w", err)
		}
		a.client.Key = key
	}
	account := &acme.Account{ExternalAccountBinding: a.options.Binding}
	if a.options.Email != "" {
		account.Contact = []string{"mailto:" + a.options.Email}
	}
	if _, err := a.client.Register(ctx, account, acme.AcceptTOS); err != nil && !errors.Is(err, acme.ErrAccountAlreadyExists) {
		return fmt.Errorf("the account at the CA cannot be registered: %w", err)
	}
	a.registered = true
	return nil
}

// authorize proves to the CA that this server has the name.
func (a *ACME) authorize(ctx context.Context, at, name string) error {
	z, err := a.client.GetAuthorization(ctx, at)
	if err != nil || z.Status == acme.StatusValid {
		return err
	}
	i := slices.IndexFunc(z.Challenges, func(c *acme.Challenge) bool { return c.Type == a.options.Challenge })
	if i < 0 {
		return fmt.Errorf("the CA does not offer %s for %s: change acme-challenge", a.options.Challenge, name)
	}
	withdraw, err := a.responses.present(a.client, z.Challenges[i], name)
	if err != nil {
		return err
	}
	defer withdraw()
	if _, err := a.client.Accept(ctx, z.Challenges[i]); err != nil {
		return err
	}
	_, err = a.client.WaitAuthorization(ctx, z.URI)
	return err
}

// finalize completes an order. Each certificate has a new key.
func (a *ACME) finalize(ctx context.Context, order *acme.Order, n *obtained) (*tls.Certificate, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	request, err := newCSR(n.name, key)
	if err != nil {
		return nil, err
	}
	chain, _, err := a.client.CreateCertFromOrder(ctx, order, request, true)
	if err != nil {
		return nil, err
	}
	private, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	stored := append(encodeChain(chain), private...)
	pair, err := tls.X509KeyPair(stored, stored)
	if err == nil {
		err = pair.Leaf.VerifyHostname(n.name)
	}
	if err != nil {
		return nil, fmt.Errorf("the CA issued a certificate that cannot be used: %w", err)
	}
	if err := writeFile(n.file, stored); err != nil {
		// To order it again would use up what the CA allows.
		a.options.Log.ErrorContext(ctx, "certificate in use could not be stored; the next start orders another one", slog.String("file", n.file), slog.Any("err", err))
	}
	return &pair, nil
}
