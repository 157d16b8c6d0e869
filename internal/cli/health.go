package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
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
	DataDir     string `name:"data-dir" placeholder:"DIR" help:"Data directory of the server, with the control socket. It overrides the settings file. Also PORCHLIGHT_DATA_DIR."`
	AdminListen string `name:"admin-listen" placeholder:"HOST:PORT" help:"Address of the server's /readyz. It overrides the settings file. Also PORCHLIGHT_ADMIN_LISTEN."`
	clientCertificate
}

func (*healthCommand) Help() string {
	return `The command reads the settings of the server and asks /readyz on admin-listen. If admin-client-ca-file admits only clients with a certificate, give it one with --client-cert-file and --client-key-file. Without one it asks on the control socket in data-dir instead, which a store on NATS does not have: run it as the same user as the server. It fails if the server does not answer, is starting or stopping, waits for its set-up page, or answers 503 on /readyz. With a full disk it succeeds and says so, because reads work. Containers use it as their health check, because their image contains no other program.

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
	text, err := c.ask(ctx, &cfg)
	if err != nil {
		return err
	}
	return s.print(map[string]string{"health": text}, "%s\n", text)
}

// find reads where the server listens. What is wrong with other settings is for the server
// to report.
func (c *healthCommand) find(s *shell) (config.Config, error) {
	f := settings{File: c.Config, Config: config.Config{DataDir: c.DataDir, AdminListen: c.AdminListen}}
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
	return cfg, nil
}

// ask returns the readiness of the server with these settings, as an error if it is not ready.
func (c *healthCommand) ask(ctx context.Context, cfg *config.Config) (string, error) {
	if cfg.AdminClientCAFile != "" && cfg.Store == "" && c.CertFile == "" {
		return server.Ready(ctx, cfg.DataDir)
	}
	certificates, err := c.certificates()
	if err != nil {
		return "", err
	}
	resp, err := server.AskAdmin(ctx, cfg, "/readyz", certificates)
	switch {
	case errors.Is(err, server.ErrNoCertificate):
		return "", &usageError{err.Error()}
	case err != nil:
		if lost, ok := errors.AsType[*url.Error](err); ok {
			err = lost.Err
		}
		return "", fmt.Errorf("no answer at admin-listen: %w; start the server, finish its set-up, or correct --admin-listen", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	text := strings.TrimSpace(string(body))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("not ready: %s", text)
	}
	return text, err
}

// clientCertificate has the flags of the commands that ask on admin-listen.
type clientCertificate struct {
	CertFile string `name:"client-cert-file" placeholder:"FILE" and:"certificate" help:"PEM file with a client certificate from one of the CAs in admin-client-ca-file, and its intermediates."`
	KeyFile  string `name:"client-key-file" placeholder:"FILE" and:"certificate" help:"PEM file with the private key of client-cert-file."`
}

// certificates reads the certificate, if there is one.
func (c *clientCertificate) certificates() ([]tls.Certificate, error) {
	if c.CertFile == "" {
		return nil, nil
	}
	certificate, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return nil, &usageError{"the client certificate cannot be used: " + err.Error()}
	}
	return []tls.Certificate{certificate}, nil
}
