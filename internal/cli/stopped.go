package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/server"
)

// stopped has the flags of a command that can use the store of a stopped server instead
// of calling a running one. Only flags select the store, because the environment of a
// server also has the variables.
type stopped struct {
	DataDir string `name:"data-dir" placeholder:"DIR" help:"Data directory of a stopped server, to use instead of calling a running server."`
	Store   string `name:"store" placeholder:"URL" help:"URL of a store on NATS whose server is stopped (nats://HOST:4222), to use instead of calling a running server."`
	storeAccess
}

func (d *stopped) isGiven(s *shell) bool { return s.given("data-dir") || s.given("store") }

func (d *stopped) load(s *shell) (config.Config, error) {
	variables := []string{"PORCHLIGHT_DURABILITY", "PORCHLIGHT_LOG_RETENTION"}
	if s.given("store") {
		variables = append(variables, placeVariables()...)
	}
	return config.Load(config.Sources{
		Base: config.Default(), Getenv: only(s.getenv, variables...),
		Flags: place{d.Store, d.storeAccess}.settings(config.Config{DataDir: d.DataDir}), Given: s.given,
	})
}

func (d *stopped) storedApps(s *shell) ([]server.App, error) {
	cfg, err := d.load(s)
	if err != nil {
		return nil, err
	}
	apps, err := server.Apps(s.ctx, cfg)
	return apps, inUse(err)
}

func (d *stopped) rotateSecret(s *shell, id string) (secret string, err error) {
	cfg, err := d.load(s)
	if err != nil {
		return "", err
	}
	secret, err = server.RotateSecret(s.ctx, cfg, id)
	return secret, inUse(err)
}

// inUse says what to do about a store that a server uses.
func inUse(err error) error {
	if errors.Is(err, server.ErrInUse) {
		return &advice{err, err.Error(), "Stop the server first. If you have credentials for it, you can also run the command against the running server, without --data-dir and --store: \"porchlight app list\", \"porchlight app rotate CLIENT_ID\"."}
	}
	return err
}

// connectionVariables are the variables that a new server's credentials replace.
func connectionVariables() []string {
	var all []string
	for _, setting := range config.ConnectionSettings() {
		all = append(all, setting.Env)
	}
	return all
}

// credentialVariables are the variables that take precedence over an app's credentials.
func credentialVariables() []string {
	return []string{"PORCHLIGHT_TOKEN", "PORCHLIGHT_TOKEN_FILE", "PORCHLIGHT_CLIENT_SECRET_FILE"}
}

// exports returns the shell commands that set the credentials of an app, and unset those
// of the variables that are set.
func (s *shell) exports(accountID, clientID, clientSecret string, variables []string) string {
	var b strings.Builder
	if unset := slices.DeleteFunc(variables, func(name string) bool { return s.getenv(name) == "" }); len(unset) > 0 {
		b.WriteString("  unset " + strings.Join(unset, " ") + "\n")
	}
	fmt.Fprintf(&b, "  export PORCHLIGHT_ACCOUNT_ID=%s\n  export PORCHLIGHT_CLIENT_ID=%s\n  export PORCHLIGHT_CLIENT_SECRET=%s\n", accountID, clientID, clientSecret)
	return b.String()
}
