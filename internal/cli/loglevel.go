package cli

import (
	"slices"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/server"
)

// logLevelCommand is "porchlight log-level".
type logLevelCommand struct {
	DataDir string        `name:"data-dir" placeholder:"DIR" help:"The data directory of the server. Also PORCHLIGHT_DATA_DIR."`
	For     time.Duration `name:"for" placeholder:"TIME" help:"How long the level lasts, such as 10m. Then the one in the settings applies again. Without it, the level lasts until the server stops."`
	Level   string        `arg:"" optional:"" help:"debug, info, warn or error; default for the level in the settings. Without it, the command shows the current level."`
}

func (*logLevelCommand) Help() string {
	return `Run the command on the server's machine, as the same user as the server.

Example:

    porchlight log-level debug --for 10m --data-dir /var/lib/porchlight`
}

func (c *logLevelCommand) Run(s *shell) error {
	if !slices.Contains([]string{"", "debug", "info", "warn", "error", "default"}, c.Level) {
		return &usageError{c.Level + " is not a level: use debug, info, warn, error or default"}
	}
	if c.Level == "" && c.For != 0 {
		return &usageError{"--for needs a level: name one, or omit --for"}
	}
	if c.For < 0 {
		return &usageError{"--for must be positive"}
	}
	if at := s.getenv("PORCHLIGHT_STORE"); at != "" && c.DataDir == "" {
		return &usageError{"PORCHLIGHT_STORE is " + at + ": the log level of a server with a store on NATS is that in its settings; change log-level there, and send SIGHUP to the server"}
	}
	cfg, err := config.Load(config.Sources{
		Base: config.Default(), Getenv: only(s.getenv, "PORCHLIGHT_DATA_DIR"), Flags: config.Config{DataDir: c.DataDir}, Given: s.given,
	})
	if err != nil {
		return err
	}
	status, err := server.LogLevel(s.ctx, cfg.DataDir, server.LogLevelRequest{Level: c.Level, For: c.For})
	if err != nil {
		return err
	}
	if status.Until == nil {
		return s.print(status, "%s (in the settings: %s)\n", status.Level, status.Configured)
	}
	return s.print(status, "%s until %s, then %s\n", status.Level, clock(api.Time{Time: *status.Until}), status.Configured)
}
