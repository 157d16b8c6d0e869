package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/server"
)

// demoCommand is "porchlight demo".
type demoCommand struct {
	DataDir           string `name:"data-dir" placeholder:"DIR" help:"Directory to keep, so that a second start goes on with the same account and users. Without it: one that is removed at the end."`
	place             `embed:""`
	Listen            string        `name:"listen" default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Where the API is served. Port 0 takes any free one."`
	AdminListen       string        `name:"admin-listen" default:"127.0.0.1:0" placeholder:"HOST:PORT" help:"Where /readyz and /metrics are served; \"off\" for nowhere."`
	MinUpdateInterval time.Duration `name:"min-update-interval" default:"60s" placeholder:"TIME" help:"Least time between two accepted PUT presence_status of a user. 0: no limit."`
	QuietUsers        bool          `name:"quiet-users" help:"Let no user change by itself."`
}

// Help is shown by --help.
func (*demoCommand) Help() string {
	return `Twenty users, of whom twelve are signed in, and limits of requests are off. The access token is the app's; "me" is the account's owner, who is signed in, too. For trying things out and for tests, never for people: everything that it prints is a secret of its own server only.

With --json, one line for scripts is printed once everything is ready.

Example:

    porchlight demo
    porchlight demo --listen 127.0.0.1:0 --min-update-interval 0 --quiet-users --json`
}

// Run implements the command.
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

// docsToken is the token that /docs gives to everybody who opens it: none, with a
// warning, when other machines can.
func docsToken(cfg *config.Config, keys *demoKeys) (token, warning string) {
	if !cfg.Reachable() {
		return keys.AccessToken, ""
	}
	return "", fmt.Sprintf("Warning: other machines can reach this demo on %s. Anybody there who gets the token that it prints, or listens to its traffic, which is not encrypted, can read and change all that is in it, and make users, apps and tokens. /docs does not have the token: paste it there. Use --listen 127.0.0.1:8080 to keep the demo to this machine.\n", cfg.Listen)
}

var errStopped = errors.New("the demo was stopped before its users were ready")

// serve runs the server, and the users once it answers. When one of the two
// ends, so does the other.
func (c *demoCommand) serve(s *shell, srv *server.Server, keys *demoKeys) error {
	ctx, stop := context.WithCancelCause(s.ctx)
	defer stop(nil)
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(ctx) }()

	err := c.play(ctx, s, srv, keys)
	if s.ctx.Err() == nil {
		stop(server.ErrInterrupted)
	}
	return errors.Join(err, <-ended)
}

// play sets the users up, says that everything is ready, and lets them live.
func (c *demoCommand) play(ctx context.Context, s *shell, srv *server.Server, keys *demoKeys) error {
	// Its own connections, which are closed before the server would wait for them.
	transport := &http.Transport{MaxConnsPerHost: 8, MaxIdleConnsPerHost: 8}
	defer transport.CloseIdleConnections()
	cl, err := client.New(srv.URL(), client.StaticToken(keys.AccessToken), &http.Client{Transport: transport, Timeout: 10 * time.Second})
	if err != nil {
		return err
	}
	cast := &cast{client: cl, keys: keys}
	switch err := cast.assemble(ctx); {
	case ctx.Err() != nil:
		return errStopped
	case err != nil:
		return fmt.Errorf("the demo's users could not be set up: %w", err)
	}
	if err := keys.save(); err != nil {
		return err
	}
	if err := c.announce(s, srv, keys); err != nil {
		return err
	}
	return cast.live(ctx, c.QuietUsers)
}

// directory is where the demo keeps its data, and how to leave it behind.
func (c *demoCommand) directory() (dir string, remove func() error, err error) {
	if c.DataDir != "" {
		return c.DataDir, func() error { return nil }, nil
	}
	dir, err = os.MkdirTemp("", "porchlight-demo-")
	if err != nil {
		return "", nil, fmt.Errorf("make a directory for the demo: %w; name one with --data-dir", err)
	}
	return dir, func() error { return os.RemoveAll(dir) }, nil
}

// configure gives the defaults, but for what suits a demo.
func (c *demoCommand) configure(s *shell, dir string) (config.Config, error) {
	base := config.Default()
	base.RateLimitPlan = "off"
	base.AdminListen = c.AdminListen
	base.AccessLog = "off"
	base.LogLevel = "warn"
	base.DrainDelay, base.DrainTimeout = 0, 5*time.Second
	return config.Load(config.Sources{
		// What is meant for a real server, such as its certificate, is not meant for a demo.
		Base: base, Getenv: only(s.getenv, "PORCHLIGHT_LISTEN", "PORCHLIGHT_MIN_UPDATE_INTERVAL", "PORCHLIGHT_LOG_LEVEL", "PORCHLIGHT_LOG_FORMAT"),
		Flags: c.place.settings(config.Config{DataDir: dir, Listen: c.Listen, AdminListen: c.AdminListen, MinUpdateInterval: c.MinUpdateInterval}),
		Given: func(name string) bool { return name == "data-dir" || s.given(name) },
	})
}

// openKeys reads the credentials of the demo that lives in the data directory, or
// begins one.
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
		return nil, fmt.Errorf("%s holds an account that is not a demo's: name another, or run \"porchlight serve %s\"", cfg.Place(), server.PlaceFlag(cfg))
	}
	if err != nil {
		return nil, err
	}
	keys = newKeys(cfg.DataDir, made)
	return keys, keys.save()
}

// prepare notes in the data directory that a demo begins there, before there is a
// store: whatever a demo left that was killed before it had credentials is then
// known to be a demo's, and to be removed. A store that is there without the note
// is somebody's.
func prepare(cfg config.Config, again bool) error {
	if cfg.Store != "" {
		return nil
	}
	at := filepath.Join(cfg.DataDir, "store")
	if _, err := os.Stat(at); err == nil && !again {
		return nil
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("make the demo's directory: %w", err)
	}
	begun := &demoKeys{Unfinished: true, file: keysFile(cfg.DataDir)}
	if err := begun.save(); err != nil {
		return err
	}
	if err := os.RemoveAll(at); err != nil {
		return fmt.Errorf("remove what an unfinished demo left: %w", err)
	}
	return nil
}

// announce tells where everything is.
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

  API reference                           %[3]s/docs
  Your own status page, signed in as Ada  %[3]s/me#token=%[7]s
  Metrics                                 %[4]s/metrics

Set a status with Zoom's API, and read it back:

  curl -i -X PUT '%[3]s/v2/users/%[5]s/presence_status' -H 'Authorization: Bearer %[6]s' -H 'Content-Type: application/json' -d '{"status":"Do_Not_Disturb","duration":20}'

  curl '%[3]s/v2/users/%[5]s/presence_status' -H 'Authorization: Bearer %[6]s'

Follow changes as they happen:

  curl -N '%[3]s/v1/stream?users=%[5]s' -H 'Authorization: Bearer %[6]s'

Or use the command line in another terminal:

  export PORCHLIGHT_URL=%[3]s PORCHLIGHT_TOKEN=%[6]s
  porchlight status explain %[5]s
  porchlight status watch %[5]s
`, len(keys.Users), signedIn, srv.URL(), or(srv.AdminURL()), user.Email, keys.AccessToken, user.AccessToken)
	return err
}
