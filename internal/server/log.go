package server

import (
	"io"
	"log/slog"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/config"
)

// NewLog is the log that the settings describe, written to w without what looks like a
// secret.
func NewLog(cfg config.Config, w io.Writer) *slog.Logger {
	cfg = cfg.Filled()
	w = auth.NewRedactor(w)
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.LogLevel)); err != nil {
		level = slog.LevelInfo // Check has refused such a level
	}
	opts := &slog.HandlerOptions{Level: level}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
