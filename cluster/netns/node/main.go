// Command node is a server as "porchlight serve" runs it, with a clock and levels of formats
// that tests choose: NODE_SKEW is how far its clock is ahead, such as -2s, NODE_LEVELS the
// oldest and newest level that it reads, such as 1,2. All settings come from the environment.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/membership"
	"porchlight.dev/porchlight/internal/server"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func run() error {
	cfg, err := config.Load(config.Sources{Base: config.Default(), Getenv: os.Getenv, Given: func(string) bool { return false }})
	if err != nil {
		return err
	}
	options := server.Options{Log: server.NewLogAt(new(slog.LevelVar), cfg, os.Stderr), Getenv: os.Getenv}
	if err := choose(&options); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	s, err := server.New(cfg, options)
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

func choose(o *server.Options) error {
	if text := os.Getenv("NODE_SKEW"); text != "" {
		skew, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("NODE_SKEW: %w", err)
		}
		o.Clock = func() time.Time { return time.Now().Add(skew) }
	}
	if text := os.Getenv("NODE_LEVELS"); text != "" {
		var levels membership.Levels
		if n, err := fmt.Sscanf(text, "%d,%d", &levels.Oldest, &levels.Newest); n != 2 {
			return errors.Join(fmt.Errorf("NODE_LEVELS is %q, want OLDEST,NEWEST", text), err)
		}
		o.Levels = levels
	}
	return nil
}
