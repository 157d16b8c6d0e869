package natsstore_test

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"porchlight.dev/porchlight/internal/store/natsstore"
)

// TestErrorsHoldNoSecret: the error for an invalid URL does not contain its password.
func TestErrorsHoldNoSecret(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"nats://me:topsecret@127.0.0.1:port", "nats://me:topsecret@127.0.0.1:1", "nats://me:topsecret@[::1"} {
		_, err := natsstore.Open(t.Context(), address, natsstore.Options{})
		if err == nil || strings.Contains(err.Error(), "topsecret") {
			t.Errorf("Open: %v", err)
		}
	}
}

// TestRefusedUsers: the error identifies the rejected user and the reason, and a failed
// Open does not log a lost connection.
func TestRefusedUsers(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	for name, c := range map[string]struct {
		url, system string
		want        []error
		not         error
	}{
		"the store's user":          {servers.urlOf(user, "wrong"), servers.urlOf(sysUser, sysSecret), []error{natsstore.ErrDenied}, natsstore.ErrSystemAccount},
		"no system user":            {servers.url(), "", []error{natsstore.ErrSettings, natsstore.ErrSystemAccount}, natsstore.ErrDenied},
		"the system user":           {servers.url(), servers.urlOf(sysUser, "wrong"), []error{natsstore.ErrSystemAccount, natsstore.ErrDenied}, natsstore.ErrSettings},
		"a user of another account": {servers.url(), servers.url(), []error{natsstore.ErrSystemAccount}, natsstore.ErrDenied},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := new(textLog)
			_, err := natsstore.Open(t.Context(), c.url, natsstore.Options{Replicas: 1, SystemURL: c.system, Timeout: storeTimeout, Logger: slog.New(slog.NewTextHandler(log, nil))})
			for _, want := range c.want {
				if !errors.Is(err, want) {
					t.Errorf("%v, want %v", err, want)
				}
			}
			if errors.Is(err, c.not) {
				t.Errorf("%v, which is not %v", err, c.not)
			}
			if log.String() != "" {
				t.Errorf("it logs %s", log)
			}
		})
	}
}

// A textLog records log lines.
type textLog struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (l *textLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *textLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
