package cli

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/alecthomas/kong"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/config"
)

// Remote is the flags of a command that calls a server.
type Remote struct {
	config.Connection `embed:""`
}

// whichUser has the flags and the argument of a command about one user.
type whichUser struct {
	Remote
	User string `arg:"" optional:"" default:"me" help:"Id, e-mail address or \"me\" (default)."`
}

// AfterApply lets the command's Run take the client as an argument. Kong makes it
// when all is parsed; a command that checks its own flags first calls connect.
func (r *Remote) AfterApply(parsed *kong.Context) error {
	return parsed.BindToProvider(r.connect)
}

// A target is the server that a command calls, and the credentials that it uses.
type target struct {
	config.Connection
	from  config.Origins
	saved *profile // whose login or token is used; nil: other credentials
}

// connect returns a client for the server that the flags, the environment and the profile
// name.
func (r *Remote) connect(s *shell) (*client.Client, error) {
	t, err := s.resolve(r.Connection)
	if err != nil {
		return nil, err
	}
	s.target = t
	made, err := t.dial(s)
	if err != nil {
		return nil, &usageError{err.Error()}
	}
	return made, nil
}

// resolve applies the precedence of settings: a flag, else the environment, else the
// profile, else the default.
func (s *shell) resolve(flags config.Connection) (*target, error) {
	c, from, err := config.ReadConnection(flags, s.given, s.getenv)
	if err != nil {
		return nil, err
	}
	t := &target{Connection: c, from: from}
	if err := t.useProfile(s); err != nil {
		return nil, err
	}
	if t.saved == nil {
		err = t.Check(from)
	}
	return t, err
}

// useProfile takes the server and the login from the profile. Its login goes to its own
// server only. The current profile is not used with other credentials or another server,
// so that no server gets those that are meant for another one.
func (t *target) useProfile(s *shell) error {
	store, own, named := s.profiles(), t.Credentials(), t.Profile != ""
	if !named {
		if own {
			return nil
		}
		t.Profile = store.current()
	}
	if t.Profile == "" {
		return nil
	}
	p, err := store.load(t.Profile)
	if err != nil {
		return err
	}
	other := t.from["url"] != "" && !p.isFor(t.URL)
	switch {
	case other && named && !own:
		return &usageError{fmt.Sprintf("the profile %s is for %s, and its login is not sent to %s: omit one of the two", t.Profile, p.URL, t.server())}
	case other:
		t.Profile = ""
		return nil
	}
	t.fill(p)
	switch {
	case own && s.given("profile"):
		s.warnOf(fmt.Sprintf("the token or app credentials of %s are used in place of the login of the profile %s", t.credentialsOrigin(), t.Profile))
	case own:
	case p.AccessToken == "":
		return notLoggedIn(t.Profile, p)
	default:
		t.saved = p
	}
	return nil
}

// fill takes the server from a profile, as far as it is not given otherwise.
func (t *target) fill(p *profile) {
	if t.from["url"] == "" {
		t.URL, t.from["url"] = p.URL, profileOrigin(t.Profile)
	}
	if t.from["ca-file"] != "" || t.from["pinned-pubkey"] != "" {
		return
	}
	if p.CAFile != "" {
		t.CAFile, t.from["ca-file"] = p.CAFile, profileOrigin(t.Profile)
	}
	if p.PinnedPubkey != "" {
		t.PinnedPubkey, t.from["pinned-pubkey"] = p.PinnedPubkey, profileOrigin(t.Profile)
	}
}

// credentialsOrigin is where credentials come from that are not a profile's.
func (t *target) credentialsOrigin() string {
	return cmp.Or(t.from["token"], t.from["client-secret"], t.from["client-id"], t.from["account-id"])
}

// transport returns the HTTP client for the server, or nil for the default.
func (t *target) transport() (*http.Client, error) {
	switch {
	case t.CAFile != "" && t.PinnedPubkey != "":
		return nil, fmt.Errorf("both ca-file (%s) and pinned-pubkey (%s) are set: omit one", t.from["ca-file"], t.from["pinned-pubkey"])
	case t.PinnedPubkey != "":
		transport, err := client.NewPinnedHTTPClient(t.PinnedPubkey)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.from["pinned-pubkey"], err)
		}
		return transport, nil
	case t.CAFile == "":
		return nil, nil //nolint:nilnil // as client.New wants it
	}
	transport, err := client.NewHTTPClient(t.CAFile)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.from["ca-file"], err)
	}
	return transport, nil
}

func (t *target) dial(s *shell) (*client.Client, error) {
	transport, err := t.transport()
	if err != nil {
		return nil, err
	}
	tokens, err := t.tokens(s, transport)
	if err != nil {
		return nil, err
	}
	return client.New(t.URL, tokens, transport)
}

func (t *target) tokens(s *shell, transport *http.Client) (client.TokenSource, error) {
	switch {
	case t.saved != nil && t.saved.RefreshToken != "":
		app, err := client.NewLoginApp(t.URL, api.CommandLineApp, transport)
		if err != nil {
			return nil, err
		}
		return &loginTokens{store: s.profiles(), name: t.Profile, app: app, saved: *t.saved}, nil
	case t.saved != nil:
		return client.StaticToken(t.saved.AccessToken), nil
	case t.Token != "":
		return client.StaticToken(t.Token), nil
	}
	tokens, err := client.NewAccountCredentials(t.URL, client.App{AccountID: t.AccountID, ClientID: t.ClientID, ClientSecret: t.ClientSecret}, transport)
	if err != nil {
		return nil, err
	}
	if dir := cacheDir(s.getenv); dir != "" {
		tokens.Cache = newTokenFile(dir, t.Connection)
	}
	return tokens, nil
}

// server names the server, and where its URL comes from.
func (t *target) server() string { return t.from.URL(t.Connection) }

// refusal says which credentials the server refused, and where they come from.
func (t *target) refusal() string {
	if t.saved != nil {
		return fmt.Sprintf("The server is %s. The token is from the profile %s.", t.server(), t.Profile)
	}
	if t.Token == "" {
		return fmt.Sprintf("The server is %s. The credentials are those of the app %s (%s), with the secret from %s.", t.server(), t.ClientID, t.from["client-id"], t.from["client-secret"])
	}
	text := fmt.Sprintf("The server is %s. The token is from %s.", t.server(), t.from["token"])
	if t.ClientSecret != "" {
		text += " The app's credentials are set too: to use them, unset the token."
	}
	return text
}

// renewal says what to do about a token that is not valid any more.
func (t *target) renewal(action string) string {
	switch {
	case strings.HasPrefix(t.Token, "pl_sys_"):
		return "This is a system token, which is for \"porchlight system\", \"porchlight nodes\" and the server's audit log only. Use a token or an app of the account, or another system token if it was revoked."
	case t.saved == nil:
		return action
	case t.saved.RefreshToken != "":
		return fmt.Sprintf("To log in again, run \"porchlight login --profile %s\".", t.Profile)
	default:
		return fmt.Sprintf("Save another token with \"porchlight profile set %s --token-file FILE\", or run \"porchlight login --profile %s\".", t.Profile, t.Profile)
	}
}

// unreachable describes an error of the connection, and says what to do about it.
func (t *target) unreachable(lost *client.TransportError) (text, action string) {
	_, untrusted := errors.AsType[x509.UnknownAuthorityError](lost)
	_, misnamed := errors.AsType[x509.HostnameError](lost)
	_, invalid := errors.AsType[x509.CertificateInvalidError](lost)
	text = fmt.Sprintf("no connection to the server: %v", lost.Err)
	server := fmt.Sprintf("The server is %s.", t.server())
	switch {
	case untrusted && t.CAFile != "":
		return text, fmt.Sprintf("%s The trusted certificates are in %s (%s).", server, t.CAFile, t.from["ca-file"])
	case untrusted:
		return text, server + " If you trust this certificate, set --ca-file to a PEM file that contains it or the certificate of its authority, or --pinned-pubkey to the key that \"porchlight certificate\" prints on the server."
	case errors.Is(lost, client.ErrPinMismatch):
		return text, fmt.Sprintf("%s The pinned key is from %s. If the server's key was replaced, pin the new one, as \"porchlight certificate\" prints it on the server. Otherwise somebody may be intercepting the connection.", server, t.from["pinned-pubkey"])
	case misnamed:
		return text, server + " Use a name from the certificate in the URL, or install a certificate for this name on the server."
	case invalid:
		return text, server + " Renew the server's certificate, or correct this machine's clock."
	case errors.Is(lost, http.ErrSchemeMismatch):
		return text, server
	default:
		return fmt.Sprintf("no response from the server: %v", lost.Err), fmt.Sprintf("Start the server at %s, or use --url for another one.", t.server())
	}
}

// adviceFor says what to do about refused credentials, and about a response that is not
// one of Porchlight's API.
func (t *target) adviceFor(refused *client.Error) string {
	switch {
	case t.saved == nil && refused.Path == "/oauth/token" && refused.Status < http.StatusNotFound && refused.RequestID != "": // an answer of Porchlight
		return t.refusal() + "\nCheck the account id, client id and client secret. If the secret is lost, see \"porchlight app rotate --help\"."
	case refused.Status == http.StatusNotFound:
		return fmt.Sprintf("%s is probably not the URL of a Porchlight server: use --url for another one.", t.server())
	default:
		return fmt.Sprintf("The server is %s.", t.server())
	}
}
