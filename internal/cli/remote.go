package cli

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"

	"github.com/alecthomas/kong"

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
	from config.Origins
}

// connect returns a client for the server that the flags and the environment name.
func (r *Remote) connect(s *shell) (*client.Client, error) {
	c, from, err := config.LoadConnection(r.Connection, s.given, s.getenv)
	if err != nil {
		return nil, err
	}
	s.target = &target{c, from}
	made, err := s.target.dial(s.getenv)
	if err != nil {
		return nil, &usageError{err.Error()}
	}
	return made, nil
}

func (t *target) dial(getenv func(string) string) (*client.Client, error) {
	var transport *http.Client
	var err error
	if t.CAFile != "" {
		if transport, err = client.NewHTTPClient(t.CAFile); err != nil {
			return nil, fmt.Errorf("%s: %w", t.from["ca-file"], err)
		}
	}
	if t.Token != "" {
		return client.New(t.URL, client.StaticToken(t.Token), transport)
	}
	tokens, err := client.NewAccountCredentials(t.URL, client.App{AccountID: t.AccountID, ClientID: t.ClientID, ClientSecret: t.ClientSecret}, transport)
	if err != nil {
		return nil, err
	}
	if dir := cacheDir(getenv); dir != "" {
		tokens.Cache = newTokenFile(dir, t.Connection)
	}
	return client.New(t.URL, tokens, transport)
}

// server names the server, and where its URL comes from.
func (t *target) server() string { return t.from.URL(t.Connection) }

// refusal says which credentials the server refused, and where they come from.
func (t *target) refusal() string {
	if t.Token == "" {
		return fmt.Sprintf("The server is %s. The credentials are those of the app %s (%s), with the secret from %s.", t.server(), t.ClientID, t.from["client-id"], t.from["client-secret"])
	}
	text := fmt.Sprintf("The server is %s. The token is from %s.", t.server(), t.from["token"])
	if t.ClientSecret != "" {
		text += " The app's credentials are set too, and would be used without the token."
	}
	return text
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
		return text, server + " If you trust this certificate, set --ca-file to a PEM file that contains it or the certificate of its authority."
	case misnamed:
		return text, server + " Use a name from the certificate in the URL, or install a certificate for this name on the server."
	case invalid:
		return text, server + " Renew the server's certificate, or correct this machine's clock."
	case errors.Is(lost, http.ErrSchemeMismatch):
		return text, server
	default:
		return fmt.Sprintf("no response from the server: %v", lost.Err), fmt.Sprintf("Is the server running at %s? To use another one, set --url.", t.server())
	}
}

// adviceFor says what to do about refused credentials, and about a response that is not
// one of Porchlight's API.
func (t *target) adviceFor(refused *client.Error) string {
	switch {
	case refused.Path == "/oauth/token" && refused.Status < http.StatusNotFound && refused.RequestID != "": // an answer of Porchlight
		return t.refusal() + "\nCheck the account id, client id and client secret. If the secret is lost, see \"porchlight app rotate --help\"."
	case refused.Status == http.StatusNotFound:
		return fmt.Sprintf("Is %s the URL of a Porchlight server? To use another one, set --url.", t.server())
	default:
		return fmt.Sprintf("The server is %s.", t.server())
	}
}
