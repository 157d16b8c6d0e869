package server

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/internal/config"
)

// TestLogLevel: a level that was set for a while ends by itself, changed settings do not end
// it earlier, and every change is in the log.
func TestLogLevel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var output bytes.Buffer
		var current slog.LevelVar
		log := NewLogAt(&current, config.Config{LogLevel: "warn"}, &output)
		l := newLogLevel(&current, log)
		defer l.close()
		expect := func(asked LogLevelRequest, want string, ends time.Duration) {
			t.Helper()
			status, err := l.apply(asked)
			if err != nil || status.Level != want || (status.Until != nil) != (ends > 0) || ends > 0 && time.Until(*status.Until) != ends {
				t.Errorf("%+v: %+v, %v", asked, status, err)
			}
		}
		expect(LogLevelRequest{}, "warn", 0)
		expect(LogLevelRequest{Level: "debug", For: 10 * time.Minute}, "debug", 10*time.Minute)
		if !log.Enabled(t.Context(), slog.LevelDebug) {
			t.Error("the log has another level")
		}
		time.Sleep(9 * time.Minute)
		l.configure(slog.LevelError)
		expect(LogLevelRequest{}, "debug", time.Minute)
		time.Sleep(time.Minute)
		synctest.Wait()
		expect(LogLevelRequest{}, "error", 0)
		l.configure(slog.LevelInfo) // as on SIGHUP
		expect(LogLevelRequest{}, "info", 0)
		expect(LogLevelRequest{Level: "error"}, "error", 0)
		expect(LogLevelRequest{Level: "default"}, "info", 0)
		if _, err := l.apply(LogLevelRequest{Level: "loud"}); err == nil {
			t.Error("an unknown level was accepted")
		}
		const want = "debug warn 10m0s, error debug 0s, info error 0s, error info 0s, info error 0s"
		if got := changesIn(output.String()); got != want {
			t.Errorf("logged %s, want %s", got, want)
		}
	})
}

// TestLogLevelConcurrently: an answer is encoded while others change the level.
func TestLogLevelConcurrently(t *testing.T) {
	l := newLogLevel(nil, slog.New(slog.DiscardHandler))
	defer l.close()
	first, err := l.apply(LogLevelRequest{Level: "debug", For: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	var changes sync.WaitGroup
	for range 2 {
		changes.Go(func() {
			for range 100 {
				status, err := l.apply(LogLevelRequest{Level: "warn", For: time.Hour})
				if err != nil || status.Until.IsZero() {
					t.Errorf("%+v, %v", status, err)
				}
				if _, err := l.apply(LogLevelRequest{Level: "default"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	changes.Wait()
	if first.Until.IsZero() {
		t.Error("an answer changed after it was given")
	}
}

// TestReconfigure: a level that nobody knows leaves the old one.
func TestReconfigure(t *testing.T) {
	var output bytes.Buffer
	var current slog.LevelVar
	log := NewLogAt(&current, config.Config{LogLevel: "warn"}, &output)
	s := &Server{log: log, level: newLogLevel(&current, log)}
	s.Reconfigure(config.Config{LogLevel: "loud"})
	if current.Level() != slog.LevelWarn || !strings.Contains(output.String(), "keeping the old one") {
		t.Errorf("%s\n%s", current.Level(), &output)
	}
	s.Reconfigure(config.Config{LogLevel: "error"})
	if current.Level() != slog.LevelError {
		t.Errorf("the level is %s", current.Level())
	}
}

// changesIn lists the level, the one before and the duration of each change in a log.
func changesIn(text string) string {
	var all []string
	for line := range strings.Lines(text) {
		if _, facts, ok := strings.Cut(strings.TrimSpace(line), `msg="log level set" `); ok {
			all = append(all, strings.NewReplacer("level=", "", "before=", "", "for=", "").Replace(facts))
		}
	}
	return strings.Join(all, ", ")
}
