package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/server"
)

// healthTimeout is more than /readyz needs, which waits for the disk for a second.
const healthTimeout = 5 * time.Second

// healthCommand is "porchlight health".
type healthCommand struct {
	Config      string `name:"config" placeholder:"FILE" help:"Settings file (YAML) of the server. Also PORCHLIGHT_CONFIG."`
	AdminListen string `name:"admin-listen" placeholder:"HOST:PORT" help:"Address of the server's /readyz. It overrides the settings file. Also PORCHLIGHT_ADMIN_LISTEN."`
}

func (*healthCommand) Help() string {
	return `The command reads the settings of the server and asks /readyz on admin-listen. With admin-client-ca-file, which admits only clients with a certificate there, it asks on the control socket in data-dir instead: run it as the same user as the server. It fails if the server does not answer, is starting or stopping, waits for its set-up page, or cannot store updates. Containers use it as their health check, because their image contains no other program.

Example:

    porchlight health --config /etc/porchlight/porchlight.yaml`
}

func (c *healthCommand) Run(s *shell) error {
	cfg, err := c.find(s)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, healthTimeout)
	defer cancel()
	text, err := ask(ctx, cfg)
	if err != nil {
		return err
	}
	return s.print(map[string]string{"health": text}, "%s\n", text)
}

// find reads where the server listens. What is wrong with other settings is for the server
// to report.
func (c *healthCommand) find(s *shell) (config.Config, error) {
	f := settings{File: c.Config, Config: config.Config{AdminListen: c.AdminListen}}
	cfg, _, err := f.load(s)
	if problems, ok := errors.AsType[config.Problems](err); ok {
		problems = slices.DeleteFunc(problems, func(p config.Problem) bool { return p.Setting != "" && p.Setting != "admin-listen" })
		if len(problems) > 0 {
			return cfg, problems
		}
	}
	if cfg.AdminOff() {
		return cfg, &usageError{"admin-listen is off, so the server has no health check: set it to an address such as 127.0.0.1:8081"}
	}
	if cfg.AdminClientCAFile != "" && cfg.Store != "" {
		return cfg, &usageError{"admin-client-ca-file admits only clients with a certificate, and a store on NATS has no control socket to ask on: ask /readyz with a client that has a certificate"}
	}
	return cfg, nil
}

// ask returns the readiness of the server with these settings.
func ask(ctx context.Context, cfg config.Config) (string, error) {
	if cfg.AdminClientCAFile != "" {
		return server.Ready(ctx, cfg.DataDir)
	}
	host, port, err := net.SplitHostPort(cfg.AdminListen)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	if err != nil {
		return "", err
	}
	return readiness(ctx, "http://"+net.JoinHostPort(host, port)+"/readyz")
}

// readiness returns what url answers, as an error if the server is not ready.
func readiness(ctx context.Context, url string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := new(http.Client).Do(r)
	if err != nil {
		return "", fmt.Errorf("no answer at admin-listen: %w; is the server running, with this admin-listen, and set up?", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	text := strings.TrimSpace(string(body))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("not ready: %s", text)
	}
	return text, err
}
