package server

import (
	"io"
	"log/slog"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/config"
)

// NewLog is the log that the settings describe, written to w without what looks like a
// secret.
func NewLog(cfg config.Config, w io.Writer) *slog.Logger { return NewLogAt(new(slog.LevelVar), cfg, w) }

// NewLogAt is NewLog with a level that can be changed. It sets the level to that of the
// settings.
func NewLogAt(level *slog.LevelVar, cfg config.Config, w io.Writer) *slog.Logger {
	cfg = cfg.Filled()
	w = auth.NewRedactor(w)
	named, _ := levelOf(cfg) // Check refuses an unknown level; until then it is info
	level.Set(named)
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: errorText}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// levelOf is the level that the settings name.
func levelOf(cfg config.Config) (level slog.Level, err error) {
	return level, level.UnmarshalText([]byte(cfg.LogLevel))
}

// errorText logs the message of an error and nothing else: the text handler would ask
// Pebble's errors for their stack traces.
func errorText(_ []string, a slog.Attr) slog.Attr {
	if err, ok := a.Value.Any().(error); ok {
		a.Value = slog.StringValue(err.Error())
	}
	return a
}
