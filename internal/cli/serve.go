package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/server"
)

// settings are the flags of a command that takes all settings of the server.
type settings struct {
	File string `name:"config" placeholder:"FILE" help:"Settings file (YAML). Also PORCHLIGHT_CONFIG."`
	config.Config
}

// load reads the settings from all their sources.
func (f *settings) load(s *shell) (config.Config, config.Origins, error) {
	file := f.File
	if file == "" {
		file = s.getenv("PORCHLIGHT_CONFIG")
	}
	return config.LoadOrigins(config.Sources{
		Base: config.Default(), File: file, Getenv: s.getenv, Flags: f.Config, Given: s.given,
	})
}

// serveCommand is "porchlight serve".
type serveCommand struct{ settings }

func (*serveCommand) Help() string {
	return `If the store has no account yet, the server prints the address of a page and a code with which you create one.

Each flag has an environment variable (PORCHLIGHT_DATA_DIR for --data-dir) and a key in the settings file. "porchlight config doc" lists them.

On SIGTERM or Ctrl-C the server finishes requests in flight and stops. On SIGHUP it reloads the certificate, reopens the access log, and reads log-level again.

Example:

    porchlight serve --data-dir /var/lib/porchlight`
}

func (c *serveCommand) Run(s *shell) error {
	cfg, _, err := c.load(s)
	if err != nil {
		return err
	}
	level := new(slog.LevelVar)
	log := server.NewLogAt(level, cfg, s.stderr)
	for _, warning := range s.warnings {
		log.Warn("unknown environment variable", slog.String("detail", warning))
	}
	options := server.Options{
		Log: log, LogLevel: level, Getenv: s.getenv, AccessLog: s.stderr,
		NotifySocket: s.getenv("NOTIFY_SOCKET"), Watchdog: server.WatchdogInterval(s.getenv, os.Getpid()),
	}
	hangups, stop := catchHangups()
	defer stop()
	srv, err := s.newServer(cfg, options)
	if errors.Is(err, server.ErrNotInitialised) && cfg.Setup {
		if cfg.Listen, err = s.setUp(cfg, options, hangups); err != nil || cfg.Listen == "" {
			return err
		}
		srv, err = s.newServer(cfg, options)
	}
	if err != nil || srv == nil {
		return err
	}
	if s.json {
		if err := s.printJSON(map[string]string{"url": srv.URL(), "admin_url": srv.AdminURL()}); err != nil {
			return err
		}
	}
	defer onHangup(hangups, func() { c.reload(s, srv, log) })()
	return srv.Run(s.ctx)
}

// startGrace is how long a signal lets a start go on, so that the server can shut down in order.
const startGrace = 2 * time.Second

// newServer makes a server. That may wait for NATS for a minute. A signal ends the wait; then there is
// no server.
func (s *shell) newServer(cfg config.Config, options server.Options) (*server.Server, error) {
	type result struct {
		srv *server.Server
		err error
	}
	made := make(chan result, 1)
	go func() {
		srv, err := server.New(cfg, options)
		made <- result{srv, err}
	}()
	select {
	case r := <-made:
		return r.srv, r.err
	case <-s.ctx.Done():
	}
	select {
	case r := <-made:
		return r.srv, r.err
	case <-time.After(startGrace):
		return nil, nil //nolint:nilnil // none is an answer
	}
}

// reload takes from the settings what a running server can change, and reopens files.
func (c *serveCommand) reload(s *shell, srv *server.Server, log *slog.Logger) {
	cfg, _, err := c.load(s)
	if err != nil {
		log.Error("settings cannot be read again; continuing with the old ones", slog.Any("err", err))
	} else {
		srv.Reconfigure(cfg)
	}
	srv.Reload()
}

// setUp serves the set-up page until an account is made, and returns the address that it
// had; "" if the user stopped it before.
func (s *shell) setUp(cfg config.Config, options server.Options, hangups <-chan os.Signal) (address string, err error) {
	setup, err := server.NewSetup(cfg, options)
	if err != nil {
		return "", err
	}
	if s.json {
		err = s.printJSON(map[string]string{"setup_url": setup.URL(), "setup_code": setup.Code()})
	} else {
		_, err = fmt.Fprintf(s.stderr, "\nThe %s has no account yet. To set it up, open this page and enter the code:\n\n  %s\n  code  %s\n\nOr press Ctrl-C, and use \"%s init %s\".\n\n",
			cfg.StoreDescription(), setup.URL(), setup.Code(), callOf(s.program), server.LocationFlag(cfg))
	}
	if err != nil {
		return "", err
	}
	defer onHangup(hangups, setup.Reload)()
	made, err := setup.Run(s.ctx)
	if !made || err != nil {
		return "", err
	}
	return setup.Address(), nil
}

// catchHangups keeps SIGHUP from ending the process until stop is called. One that arrives
// while nobody receives is kept.
func catchHangups() (hangups <-chan os.Signal, stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	return signals, func() { signal.Stop(signals) }
}

// reloadTimeout is far more than a reload takes, unless it reads a file on a disk that hangs.
const reloadTimeout = 2 * time.Second

// onHangup calls fn at each SIGHUP until stop is called.
func onHangup(hangups <-chan os.Signal, fn func()) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-hangups:
				fn()
			case <-done:
				return
			}
		}
	}()
	return func() {
		close(done)
		select {
		case <-ended:
		case <-time.After(reloadTimeout):
		}
	}
}

// initCommand is "porchlight init".
type initCommand struct {
	DataDir string `name:"data-dir" placeholder:"DIR" help:"Directory to create. Also PORCHLIGHT_DATA_DIR."`
	place
	Account string `name:"account" default:"Porchlight" placeholder:"NAME" help:"Name of the account."`
	Email   string `name:"email" default:"owner@example.com" placeholder:"ADDRESS" help:"E-mail address of the account's owner."`
	Name    string `name:"name" default:"Owner" placeholder:"NAME" help:"Name of the owner."`
	App     string `name:"app" default:"default" placeholder:"NAME" help:"Name of the app."`
}

func (*initCommand) Help() string {
	return `The app has every scope in its account. Its secret is printed only once, and only a hash of it is stored. Keep it in a safe place, or create a new one later with "porchlight app rotate".

Example:

    porchlight init --data-dir /var/lib/porchlight --email ada@example.com --name "Ada Okafor"`
}

func (c *initCommand) Run(s *shell) error {
	cfg, err := config.Load(config.Sources{
		Base: config.Default(), Getenv: only(s.getenv, append(placeVariables(), "PORCHLIGHT_DATA_DIR", "PORCHLIGHT_DURABILITY")...),
		Flags: c.settings(config.Config{DataDir: c.DataDir}), Given: s.given,
	})
	if err != nil {
		return err
	}
	made, err := server.Init(s.ctx, cfg, server.Founding{Account: c.Account, OwnerEmail: c.Email, OwnerName: c.Name, AppName: c.App})
	if wrong, ok := errors.AsType[*server.FieldError](err); ok {
		return &usageError{fmt.Sprintf("%s %s; nothing was created", s.param(wrong.Field), wrong.Reason)}
	}
	if err != nil {
		return err
	}
	return s.print(made, `The %s is ready. The credentials are shown only once:

  account_id     %s
  client_id      %s
  client_secret  %s

The account's owner is %[8]s.

Next:

  %[7]s serve %[5]s

The owner chooses a password within 72 hours on this page of the server:

  http://127.0.0.1:8080/welcome#%[9]s

Then in another terminal:

%[6]s  %[7]s user add grace@example.com --name "Grace Mensah"
  %[7]s session keep grace@example.com
`, cfg.StoreDescription(), made.AccountID, made.ClientID, made.ClientSecret, server.LocationFlag(cfg), s.exports(made.AccountID, made.ClientID, made.ClientSecret, connectionVariables()), callOf(s.program), named(made.OwnerEmail, made.OwnerName), made.Invitation)
}

// place are the flags of a store outside the data directory, for commands that
// create a store.
type place struct {
	Store string `name:"store" placeholder:"URL" help:"URL of the store, if it is not in a data directory: nats://HOST:4222. Also PORCHLIGHT_STORE."`
	storeAccess
}

// storeAccess are the flags that a store on NATS needs.
type storeAccess struct {
	StoreCredentials       string `name:"store-credentials" placeholder:"FILE" help:"File with the credentials for NATS. Also PORCHLIGHT_STORE_CREDENTIALS."`
	StoreSystemCredentials string `name:"store-system-credentials" placeholder:"FILE" help:"File with the credentials of a user of the NATS system account. Also PORCHLIGHT_STORE_SYSTEM_CREDENTIALS."`
	StoreReplicas          int    `name:"store-replicas" default:"3" placeholder:"N" help:"Number of NATS servers that store each change: 3 or 5, or 1 for a single server. Also PORCHLIGHT_STORE_REPLICAS."`
}

func (p place) settings(c config.Config) config.Config {
	c.Store, c.StoreCredentials, c.StoreSystemCredentials, c.StoreReplicas = p.Store, p.StoreCredentials, p.StoreSystemCredentials, p.StoreReplicas
	return c
}

func placeVariables() []string {
	return []string{"PORCHLIGHT_STORE", "PORCHLIGHT_STORE_CREDENTIALS", "PORCHLIGHT_STORE_SYSTEM_CREDENTIALS", "PORCHLIGHT_STORE_REPLICAS"}
}

// only hides all variables except those named.
func only(getenv func(string) string, names ...string) func(string) string {
	return func(asked string) string {
		if !slices.Contains(names, asked) {
			return ""
		}
		return getenv(asked)
	}
}

// configCommands are "porchlight config …".
type configCommands struct {
	Check configCheck `cmd:"" warns:"result" help:"Check the settings and report every error." example:"config check --config /etc/porchlight.yaml"`
	Print configPrint `cmd:"" help:"Print the effective settings."`
	Doc   configDoc   `cmd:"" help:"Print the reference of all settings." example:"config doc > docs/settings.md"`
}

type configCheck struct{ settings }

func (c *configCheck) Run(s *shell) error {
	cfg, _, err := c.load(s)
	if err != nil {
		return err
	}
	warnings := append(s.warnings, cfg.Warnings()...)
	if s.json {
		return s.printJSON(map[string]any{"ok": true, "warnings": append([]string{}, warnings...)})
	}
	var b strings.Builder
	b.WriteString("The configuration is valid.\n")
	for _, w := range warnings {
		b.WriteString("Warning: " + w + ".\n")
	}
	_, err = fmt.Fprint(s.stdout, b.String())
	return err
}

type configPrint struct {
	settings
}

func (*configPrint) Help() string {
	return "The output is a settings file with the same effect. A comment after each value says where it comes from: a flag, an environment variable, the settings file with the line, or the default. Secrets are left out.\n\nExample:\n\n    porchlight config print --data-dir /var/lib/porchlight"
}

func (c *configPrint) Run(s *shell) error {
	cfg, from, err := c.load(s)
	if err != nil {
		return err
	}
	conn, connFrom, _ := config.LoadConnection(config.Connection{}, func(string) bool { return false }, s.getenv) // print it even if it is incomplete
	if s.json {
		return s.printJSON(map[string]any{"settings": cfg.Values(from), "connection": conn.Values(connFrom)})
	}
	_, err = fmt.Fprintf(s.stdout, "%s\n# Connection settings of commands: flags and environment variables only\n%s", cfg.Print(from), conn.Print(connFrom))
	return err
}

type configDoc struct{}

func (*configDoc) Run(s *shell) error {
	if s.json {
		return s.printJSON(map[string]any{"settings": config.Settings(), "connection": config.ConnectionSettings()})
	}
	_, err := fmt.Fprint(s.stdout, config.Reference())
	return err
}
