package config

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// DefaultURL is the default URL of the API for commands.
const DefaultURL = "http://127.0.0.1:8080"

// Connection is the URL of the API and the credentials of a command: a token, or the
// account, id and secret of an app. The zero Connection uses DefaultURL without
// credentials.
type Connection struct {
	Profile          string `name:"profile" group:"Connection" placeholder:"NAME" help:"Profile whose server and login to use. By default the one that \"porchlight login\" or \"porchlight profile use\" chose last."`
	URL              string `name:"url" group:"Connection" default:"http://127.0.0.1:8080" placeholder:"URL" help:"URL of the API."`
	CAFile           string `name:"ca-file" group:"Connection" placeholder:"FILE" help:"PEM file with the certificates to trust in place of the system's: the authority that signed the server's certificate, or a self-signed certificate itself."`
	PinnedPubkey     string `name:"pinned-pubkey" group:"Connection" placeholder:"sha256//KEY" help:"SHA-256 of the server's public key, as \"porchlight certificate\" prints it: trust a server with this key, and no other. For a self-signed certificate."`
	Token            string `name:"token" group:"Connection" secret:"yes" placeholder:"TOKEN" help:"Access token. Other users of this machine can read command lines: prefer the environment variable or token-file."`
	TokenFile        string `name:"token-file" group:"Connection" placeholder:"FILE" help:"File that contains the access token."`
	AccountID        string `name:"account-id" group:"Connection" placeholder:"ID" help:"Account of the app, if there is no token."`
	ClientID         string `name:"client-id" group:"Connection" placeholder:"ID" help:"Client id of the app."`
	ClientSecret     string `name:"client-secret" group:"Connection" secret:"yes" placeholder:"SECRET" help:"Client secret of the app. Prefer the environment variable or client-secret-file."`
	ClientSecretFile string `name:"client-secret-file" group:"Connection" placeholder:"FILE" help:"File that contains the client secret."`
}

// Origins says where the fields of a Connection come from, by name: a flag, a variable, or
// a file with the flag or variable that names it. A field with its default has no origin.
type Origins map[string]string

// URL describes the URL and its origin.
func (from Origins) URL(c Connection) string {
	if at := from["url"]; at != "" {
		return c.URL + " (" + at + ")"
	}
	return c.URL + " (the default)"
}

// Credentials reports whether any of the fields with credentials is set.
func (c *Connection) Credentials() bool {
	return c.Token != "" || c.AccountID != "" || c.ClientID != "" || c.ClientSecret != ""
}

// LoadConnection is ReadConnection for a Connection that must have credentials.
func LoadConnection(flags Connection, given func(name string) bool, getenv func(string) string) (Connection, Origins, error) {
	c, from, err := ReadConnection(flags, given, getenv)
	if err == nil {
		err = c.Check(from)
	}
	return c, from, err
}

// ReadConnection takes each field from the flag if given, else from the environment,
// and reads the secrets' files. The error is a Problems.
func ReadConnection(flags Connection, given func(name string) bool, getenv func(string) string) (Connection, Origins, error) {
	c := flags
	from := make(Origins)
	for _, f := range fields(&c) {
		if given(f.Name) {
			from[f.Name] = "--" + f.Name
			continue
		}
		if text := getenv(f.Env()); text != "" {
			from[f.Name] = f.Env()
			f.value.SetString(text)
			continue
		}
		f.reset()
	}
	var all Problems
	all = secretFile(all, &c.Token, c.TokenFile, "token", from)
	all = secretFile(all, &c.ClientSecret, c.ClientSecretFile, "client-secret", from)
	if len(all) > 0 {
		return c, from, all
	}
	return c, from, nil
}

// secretFile reads a secret from its file. A flag, for the secret or for the file,
// takes precedence over the environment.
func secretFile(all Problems, secret *string, file, name string, from Origins) Problems {
	if file == "" || (strings.HasPrefix(from[name], "--") && !strings.HasPrefix(from[name+"-file"], "--")) {
		return all
	}
	where := from[name+"-file"]
	data, err := os.ReadFile(file)
	if err != nil {
		return append(all, Problem{name + "-file", where, fmt.Sprintf("%s cannot be read: %s; correct the path or the permissions", file, reason(err))})
	}
	*secret = strings.TrimSpace(string(data))
	from[name] = fmt.Sprintf("the file %s (%s)", file, where)
	if *secret == "" {
		return append(all, Problem{name + "-file", where, file + " is empty: write the secret into it"})
	}
	return all
}

// Check reports missing and malformed credentials, as a Problems.
func (c *Connection) Check(from Origins) error {
	if all := c.check(from); len(all) > 0 {
		return all
	}
	return nil
}

func (c *Connection) check(from Origins) Problems {
	if strings.ContainsFunc(c.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return Problems{{"token", from["token"], "token contains white space or other characters that no token has: set only the token"}}
	}
	if c.Token != "" {
		return nil
	}
	if !c.Credentials() {
		return Problems{{Setting: "token", Text: "no credentials for " + from.URL(*c) + ": run \"porchlight login\", set PORCHLIGHT_TOKEN, or set PORCHLIGHT_ACCOUNT_ID, PORCHLIGHT_CLIENT_ID and PORCHLIGHT_CLIENT_SECRET to the values that \"porchlight init\" printed"}}
	}
	return c.incomplete(from)
}

// incomplete names the missing parts of an app's credentials, as the others are given: by
// variables or by flags.
func (c *Connection) incomplete(from Origins) Problems {
	parts := []struct{ name, value string }{{"account-id", c.AccountID}, {"client-id", c.ClientID}, {"client-secret", c.ClientSecret}}
	flags := slices.ContainsFunc(parts, func(part struct{ name, value string }) bool { return strings.HasPrefix(from[part.name], "--") })
	var all Problems
	for _, part := range parts {
		where := (&Field{Name: part.name}).Env()
		if flags {
			where = "--" + part.name
		}
		if part.value == "" {
			all = append(all, Problem{part.name, where, part.name + " is not set, but the app's credentials need all three of account id, client id and client secret"})
		}
	}
	return all
}

// Values returns the fields by name, without secrets.
func (c Connection) Values(from Origins) map[string]Value { return valuesOf(&c, from) }

// Print returns the fields as comments, a line each, without secrets.
func (c Connection) Print(from Origins) string {
	var b strings.Builder
	for _, f := range fields(&c) {
		fmt.Fprintf(&b, "# %s: %s  # %s\n", f.Name, yamlText(f.shown()), from.describe(&f))
	}
	return b.String()
}

// ConnectionSettings describes every field of Connection, in order.
func ConnectionSettings() []Setting { return describe(fields(new(Connection))) }
