package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/config"
)

const logLevelPath = "/log-level"

// A logLevel is the level of the server's log. It can be changed while the server runs,
// either until it stops or for a while, after which that of the settings applies again.
type logLevel struct {
	current *slog.LevelVar
	log     *slog.Logger

	mu         *sync.Mutex // guards the fields below
	configured slog.Level
	until      time.Time   // zero: until the server stops
	timer      *time.Timer // nil: no end
}

func newLogLevel(current *slog.LevelVar, log *slog.Logger) logLevel {
	if current == nil {
		current = new(slog.LevelVar)
	}
	return logLevel{current: current, log: log, mu: new(sync.Mutex), configured: current.Level()}
}

// LogLevelRequest asks a running server for the level of its log, or changes it.
type LogLevelRequest struct {
	Level string        `json:"level,omitempty"` // "": no change; "default": that of the settings
	For   time.Duration `json:"for,omitempty"`   // zero: until the server stops
}

// LogLevelStatus is the level of a log.
type LogLevelStatus struct {
	Level      string     `json:"level"`
	Configured string     `json:"configured"`
	Until      *time.Time `json:"until,omitempty"` // when the configured one applies again; nil: not by itself
}

// LogLevel asks the running server of a data directory.
func LogLevel(ctx context.Context, dataDir string, asked LogLevelRequest) (status LogLevelStatus, err error) {
	if err := askControl(ctx, dataDir, logLevelPath, &asked, &status); err != nil {
		if errors.Is(err, errNotRunning) {
			return status, errors.New("no server runs on " + dataDir + ": start it, or correct --data-dir")
		}
		return status, err
	}
	return status, nil
}

// serve serves a LogLevelRequest.
func (l *logLevel) serve(w http.ResponseWriter, r *http.Request) {
	var asked LogLevelRequest
	if err := json.NewDecoder(io.LimitReader(r.Body, maxControlResponse)).Decode(&asked); err != nil {
		writeText(w, http.StatusBadRequest, "the request cannot be read: use the same version of porchlight as the server")
		return
	}
	status, err := l.apply(asked)
	if err != nil {
		writeText(w, http.StatusConflict, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(status) // a failed write ends the connection
}

func (l *logLevel) apply(asked LogLevelRequest) (LogLevelStatus, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch asked.Level {
	case "":
	case "default":
		l.set(l.configured, 0)
	default:
		var level slog.Level
		if err := level.UnmarshalText([]byte(asked.Level)); err != nil {
			return LogLevelStatus{}, errors.New("the level is unknown: use debug, info, warn, error or default")
		}
		l.set(level, asked.For)
	}
	status := LogLevelStatus{Level: levelName(l.current.Level()), Configured: levelName(l.configured)}
	if !l.until.IsZero() {
		until := l.until // the caller does not have the lock
		status.Until = &until
	}
	return status, nil
}

func levelName(level slog.Level) string { return strings.ToLower(level.String()) }

// set changes the level, until the server stops if lasts is zero. The caller has the lock.
// The change itself is logged whatever the levels are.
func (l *logLevel) set(level slog.Level, lasts time.Duration) {
	l.stopTimer()
	was := l.current.Level()
	if lasts > 0 {
		l.until = time.Now().Add(lasts).UTC()
		l.timer = time.AfterFunc(lasts, l.expire)
	}
	l.current.Set(min(level, was, slog.LevelInfo))
	l.log.Info("log level set", slog.String("level", levelName(level)), slog.String("before", levelName(was)), slog.String("for", lasts.String()))
	l.current.Set(level)
}

func (l *logLevel) stopTimer() {
	if l.timer != nil {
		l.timer.Stop()
	}
	l.timer, l.until = nil, time.Time{}
}

// expire applies the level of the settings again.
func (l *logLevel) expire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.until.IsZero() && !time.Now().Before(l.until) {
		l.set(l.configured, 0)
	}
}

// configure takes a level from changed settings. A level that was set for a while stays
// until then.
func (l *logLevel) configure(level slog.Level) {
	l.mu.Lock()
	defer l.mu.Unlock()
	changed := level != l.configured
	l.configured = level
	if changed && l.until.IsZero() {
		l.set(level, 0)
	}
}

func (l *logLevel) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopTimer()
}

// Reconfigure takes from changed settings what a running server can change: the level of
// the log. An unknown level changes nothing.
func (s *Server) Reconfigure(cfg config.Config) {
	level, err := levelOf(cfg.Filled())
	if err != nil {
		s.log.Error("log-level is unknown; keeping the old one: set debug, info, warn or error", slog.String("log_level", cfg.LogLevel))
		return
	}
	s.level.configure(level)
}
