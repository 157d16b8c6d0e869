package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/server"
)

// demoCommand is "porchlight demo".
type demoCommand struct {
	DataDir string `name:"data-dir" placeholder:"DIR" help:"Persistent data directory: the next start has the same account and users. By default a temporary directory is used and removed on exit."`
	place
	Listen            string        `name:"listen" default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Address of the API. Port 0 selects a free port."`
	AdminListen       string        `name:"admin-listen" default:"127.0.0.1:0" placeholder:"HOST:PORT" help:"Address of /readyz and /metrics, or \"off\"."`
	MinUpdateInterval time.Duration `name:"min-update-interval" default:"60s" placeholder:"TIME" help:"Minimum time between two accepted PUT presence_status requests for a user. 0 means no limit."`
	QuietUsers        bool          `name:"quiet-users" help:"Do not simulate activity."`
}

func (*demoCommand) Help() string {
	return `Starts a server with twenty users, twelve of them signed in, and with Zoom's account-wide rate limits off. The access token belongs to an app; "me" is the account's owner, who is signed in too. The demo is for trying Porchlight and for tests, not for production: it prints working credentials.

With --json, the demo prints one line for scripts when everything is ready.

Example:

    porchlight demo
    porchlight demo --listen 127.0.0.1:0 --min-update-interval 0 --quiet-users --json`
}

func (c *demoCommand) Run(s *shell) (err error) {
	dir, remove, err := c.directory()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	cfg, err := c.configure(s, dir)
	if err != nil {
		return err
	}
	keys, err := openKeys(s.ctx, cfg)
	if err != nil && s.ctx.Err() != nil {
		return errStopped
	}
	if err != nil {
		return err
	}
	token, warning := docsToken(&cfg, keys)
	if _, err := fmt.Fprint(s.stderr, warning); err != nil {
		return err
	}
	srv, err := server.New(cfg, server.Options{
		Log: server.NewLog(cfg, s.stderr), DemoToken: token, NotifySocket: s.getenv("NOTIFY_SOCKET"),
	})
	if err != nil {
		return err
	}
	return c.serve(s, srv, keys)
}

// docsToken returns the token that /docs gives to everybody who opens the page. If other
// machines can reach the page, it returns a warning instead.
func docsToken(cfg *config.Config, keys *demoKeys) (token, warning string) {
	if !cfg.Reachable() {
		return keys.AccessToken, ""
	}
	return "", fmt.Sprintf("Warning: other machines can reach this demo on %s, and its traffic is not encrypted. Anybody who gets hold of the access token can read and change everything in the demo and create users, apps and tokens. The token is not filled in on /docs: paste it there. To limit the demo to this machine, use --listen 127.0.0.1:8080.\n", cfg.Listen)
}

var errStopped = errors.New("the demo was stopped before its users were ready")

// serve runs the server and, once it answers, the users. When one of the two ends,
// the other ends too.
func (c *demoCommand) serve(s *shell, srv *server.Server, keys *demoKeys) error {
	ctx, stop := context.WithCancelCause(s.ctx)
	defer stop(nil)
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(ctx) }()

	err := c.simulate(ctx, s, srv, keys)
	if s.ctx.Err() == nil {
		stop(server.ErrInterrupted)
	}
	return errors.Join(err, <-ended)
}

// simulate sets up the users, announces that everything is ready, and simulates
// the users' activity.
func (c *demoCommand) simulate(ctx context.Context, s *shell, srv *server.Server, keys *demoKeys) error {
	// A transport of its own, closed before the server stops and waits for connections.
	transport := &http.Transport{MaxConnsPerHost: 8, MaxIdleConnsPerHost: 8}
	defer transport.CloseIdleConnections()
	cl, err := client.New(srv.URL(), client.StaticToken(keys.AccessToken), &http.Client{Transport: transport, Timeout: 10 * time.Second})
	if err != nil {
		return err
	}
	simulation := &simulation{client: cl, keys: keys}
	switch err := simulation.setUp(ctx); {
	case ctx.Err() != nil:
		return errStopped
	case err != nil:
		return fmt.Errorf("set up the demo's users: %w", err)
	}
	if !keys.signing() {
		if keys.WebhookSecret, err = cl.RotateWebhookSecret(ctx, keys.ClientID, 0); err != nil {
			return fmt.Errorf("set up the demo's webhooks: %w", err)
		}
	}
	if err := keys.save(); err != nil {
		return err
	}
	if err := c.announce(s, srv, keys); err != nil {
		return err
	}
	return simulation.run(ctx, c.QuietUsers)
}

// directory is where the demo keeps its data, and a function that removes a
// temporary one.
func (c *demoCommand) directory() (dir string, remove func() error, err error) {
	if c.DataDir != "" {
		return c.DataDir, func() error { return nil }, nil
	}
	dir, err = os.MkdirTemp("", "porchlight-demo-")
	if err != nil {
		return "", nil, fmt.Errorf("create a temporary directory for the demo: %w; name one with --data-dir", err)
	}
	return dir, func() error { return os.RemoveAll(dir) }, nil
}

// configure returns the default settings with changes for a demo.
func (c *demoCommand) configure(s *shell, dir string) (config.Config, error) {
	base := config.Default()
	base.RateLimitPlan = "off"
	base.WebhookAllow = "127.0.0.0/8,::1/128"
	base.AdminListen = c.AdminListen
	base.AccessLog = "off"
	base.LogLevel = "warn"
	base.DrainDelay, base.DrainTimeout = 0, 5*time.Second
	return config.Load(config.Sources{
		// Other variables, such as the certificate, are meant for a real server.
		Base: base, Getenv: only(s.getenv, "PORCHLIGHT_LISTEN", "PORCHLIGHT_MIN_UPDATE_INTERVAL", "PORCHLIGHT_LOG_LEVEL", "PORCHLIGHT_LOG_FORMAT"),
		Flags: c.place.settings(config.Config{DataDir: dir, Listen: c.Listen, AdminListen: c.AdminListen, MinUpdateInterval: c.MinUpdateInterval}),
		Given: func(name string) bool { return name == "data-dir" || s.given(name) },
	})
}

// openKeys reads the credentials of the demo in the data directory, or creates a
// demo there.
func openKeys(ctx context.Context, cfg config.Config) (*demoKeys, error) {
	keys, err := readKeys(cfg.DataDir)
	if err == nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errUnfinished) {
		return keys, err
	}
	if err := prepare(cfg, errors.Is(err, errUnfinished)); err != nil {
		return nil, err
	}
	made, err := server.Init(ctx, cfg, server.Founding{
		Account: "Porchlight demo", OwnerEmail: "owner@example.com", OwnerName: "Demo Owner", AppName: "demo", WithToken: true,
	})
	if errors.Is(err, server.ErrInitialised) {
		return nil, fmt.Errorf("%s has an account that the demo did not create: use another directory or store, or run \"porchlight serve %s\"", cfg.StoreDescription(), server.LocationFlag(cfg))
	}
	if err != nil {
		return nil, err
	}
	keys = newKeys(cfg.DataDir, made)
	return keys, keys.save()
}

// prepare marks the data directory as a demo's before the store exists. If a demo is
// killed before it has credentials, the mark shows that its remains can be removed.
// A store without the mark belongs to somebody else.
func prepare(cfg config.Config, again bool) error {
	if cfg.Store != "" {
		return nil
	}
	at := filepath.Join(cfg.DataDir, "store")
	if _, err := os.Stat(at); err == nil && !again {
		return nil
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("create the demo's directory: %w", err)
	}
	begun := &demoKeys{Unfinished: true, file: keysFile(cfg.DataDir)}
	if err := begun.save(); err != nil {
		return err
	}
	if err := os.RemoveAll(at); err != nil {
		return fmt.Errorf("remove the files of an unfinished demo: %w", err)
	}
	return nil
}

// announce prints the addresses and credentials.
func (c *demoCommand) announce(s *shell, srv *server.Server, keys *demoKeys) error {
	if s.json {
		return s.printJSON(keys.announced(srv.URL(), srv.AdminURL()))
	}
	user := keys.Users[0]
	signedIn := 0
	for _, u := range keys.Users {
		if u.SignedIn {
			signedIn++
		}
	}
	_, err := fmt.Fprintf(s.stdout, `Porchlight is running with %[1]d users, %[2]d of them signed in. Press Ctrl-C to stop.

  The board, as Ada sees it     %[3]s/#token=%[7]s
  Ada's own status page         %[3]s/me#token=%[7]s
  API reference                 %[3]s/docs
  Metrics                       %[4]s/metrics

Set a status with Zoom's API, and read it back:

  curl -i -X PUT '%[3]s/v2/users/%[5]s/presence_status' -H 'Authorization: Bearer %[6]s' -H 'Content-Type: application/json' -d '{"status":"Do_Not_Disturb","duration":20}'

  curl '%[3]s/v2/users/%[5]s/presence_status' -H 'Authorization: Bearer %[6]s'

Follow changes as they happen:

  curl -N '%[3]s/v1/stream?users=%[5]s' -H 'Authorization: Bearer %[6]s'

Or use the command line in another terminal:

  export PORCHLIGHT_URL=%[3]s PORCHLIGHT_TOKEN=%[6]s PORCHLIGHT_ACCOUNT_ID=%[8]s PORCHLIGHT_CLIENT_ID=%[9]s PORCHLIGHT_CLIENT_SECRET=%[10]s
  %[11]s status explain %[5]s
  %[11]s status watch %[5]s
  %[11]s status history %[5]s
  %[11]s listen

"listen" prints the events that webhooks deliver. Subscriptions without a secret of their own are signed with that of the app, %[12]s
`, len(keys.Users), signedIn, srv.URL(), cmp.Or(srv.AdminURL(), "-"), user.Email, keys.AccessToken, user.AccessToken,
		keys.AccountID, keys.ClientID, keys.ClientSecret, callOf(s.program), keys.WebhookSecret)
	return err
}

// goRun matches the path of a program that "go run" built: in its temporary directory, or
// in the build cache.
var goRun = regexp.MustCompile(`/go-build\d+/b\d+/exe/[^/]+$|/[0-9a-f]{64}-d/[^/]+$`)

// plainWord matches a word that needs no quotes in a shell.
var plainWord = regexp.MustCompile(`^[\w./+:@%-]+$`)

// callOf returns how to call this program again in a shell, because it may not be
// installed.
func callOf(program string) string {
	switch {
	case program == "":
		return "porchlight"
	case goRun.MatchString(program):
		return "go run ./cmd/porchlight"
	case plainWord.MatchString(program):
		return program
	default:
		return "'" + strings.ReplaceAll(program, "'", `'\''`) + "'"
	}
}
