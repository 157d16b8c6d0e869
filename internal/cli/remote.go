package cli

import (
	"github.com/alecthomas/kong"

	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/config"
)

// Remote is the flags of a command that calls a server.
type Remote struct {
	config.Connection `embed:""`
}

// whichUser is the flags and the argument of a command about one user.
type whichUser struct {
	Remote
	User string `arg:"" optional:"" default:"me" help:"Id, e-mail address or \"me\" (default)."`
}

// AfterApply lets the command's Run take the client as an argument. Kong makes it
// when all is parsed; a command that checks its own flags first calls connect.
func (r *Remote) AfterApply(parsed *kong.Context) error {
	return parsed.BindToProvider(r.connect)
}

// connect returns a client for the server that the flags and the environment name.
func (r *Remote) connect(s *shell) (*client.Client, error) {
	c, err := config.LoadConnection(r.Connection, s.given, s.getenv)
	if err != nil {
		return nil, err
	}
	var tokens client.TokenSource = client.StaticToken(c.Token)
	if c.Token == "" {
		credentials, err := client.NewAccountCredentials(c.URL, client.App{AccountID: c.AccountID, ClientID: c.ClientID, ClientSecret: c.ClientSecret}, nil)
		if err != nil {
			return nil, &usageError{err.Error()}
		}
		if dir := cacheDir(s.getenv); dir != "" {
			credentials.Cache = newTokenFile(dir, c)
		}
		tokens = credentials
	}
	made, err := client.New(c.URL, tokens, nil)
	if err != nil {
		return nil, &usageError{err.Error()}
	}
	return made, nil
}
