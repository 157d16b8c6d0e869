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
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: errorText}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// errorText logs the message of an error and nothing else: the text handler would ask
// Pebble's errors for their stack traces.
func errorText(_ []string, a slog.Attr) slog.Attr {
	if err, ok := a.Value.Any().(error); ok {
		a.Value = slog.StringValue(err.Error())
	}
	return a
}
