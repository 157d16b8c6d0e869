package cli

import (
	"fmt"
	"os"
	"strings"

	"porchlight.dev/porchlight/api"
)

// endpointAuth has the flags with which the server authenticates itself to an endpoint.
type endpointAuth struct {
	Auth       string `name:"auth" placeholder:"none|basic|header|oauth" help:"How the server authenticates itself to the endpoint, besides the signature. The flags that begin with --auth- have the credentials."`
	Username   string `name:"auth-username" placeholder:"NAME" help:"With --auth basic, the user name."`
	Header     string `name:"auth-header" placeholder:"NAME" help:"With --auth header, the name of the header."`
	TokenURL   string `name:"auth-token-url" placeholder:"URL" help:"With --auth oauth, the token endpoint, from which the server obtains access tokens with the client credentials grant."`
	ClientID   string `name:"auth-client-id" placeholder:"ID" help:"With --auth oauth, the client id."`
	Scope      string `name:"auth-scope" placeholder:"SCOPE" help:"With --auth oauth, the scope to ask for."`
	AuthSecret string `name:"auth-secret-file" placeholder:"FILE" help:"File with the password, the value of the header, or the client secret."`
}

// authentication returns what the flags say, or nil if none is given.
func (f *endpointAuth) authentication() (*api.Authentication, error) {
	if *f == (endpointAuth{}) {
		return nil, nil //nolint:nilnil // nil changes nothing
	}
	kind := map[string]endpointAuth{
		"none":   {Auth: f.Auth},
		"basic":  {Auth: f.Auth, Username: f.Username, AuthSecret: f.AuthSecret},
		"header": {Auth: f.Auth, Header: f.Header, AuthSecret: f.AuthSecret},
		"oauth":  {Auth: f.Auth, TokenURL: f.TokenURL, ClientID: f.ClientID, Scope: f.Scope, AuthSecret: f.AuthSecret},
	}
	allowed, known := kind[f.Auth]
	switch {
	case !known:
		return nil, &usageError{"--auth must be none, basic, header or oauth"}
	case *f != allowed:
		return nil, &usageError{fmt.Sprintf("a flag that begins with --auth- does not belong to --auth %s; see --help", f.Auth)}
	case f.Auth == "none":
		return &api.Authentication{Kind: "none"}, nil
	case f.AuthSecret == "":
		return nil, &usageError{fmt.Sprintf("--auth %s needs --auth-secret-file", f.Auth)}
	}
	secret, err := readSecret("--auth-secret-file", f.AuthSecret)
	a := &api.Authentication{Kind: f.Auth, Username: f.Username, HeaderName: f.Header, TokenURL: f.TokenURL, ClientID: f.ClientID, Scope: f.Scope}
	switch f.Auth {
	case "basic":
		a.Password = secret
	case "header":
		a.HeaderValue = secret
	default:
		a.ClientSecret = secret
	}
	return a, err
}

// readSecret reads the secret in the file that a flag names.
func readSecret(flag, file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", &usageError{fmt.Sprintf("%s: %v", flag, err)}
	}
	secret := strings.TrimSpace(string(text))
	if secret == "" {
		return "", &usageError{fmt.Sprintf("%s: %s is empty", flag, file)}
	}
	return secret, nil
}
