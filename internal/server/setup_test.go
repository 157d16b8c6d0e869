package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/server"
)

// TestSetup: a server without an account has a page that makes it, for whoever knows the
// code. Nothing is stored before, nor by a form with an error, and the code works once.
func TestSetup(t *testing.T) {
	cfg := settings(t)
	if err := os.RemoveAll(cfg.DataDir); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	setup, err := server.NewSetup(cfg, server.Options{Log: server.NewLog(cfg, &log)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	type outcome struct {
		made bool
		err  error
	}
	ended := make(chan outcome, 1)
	go func() {
		made, err := setup.Run(ctx)
		ended <- outcome{made, err}
	}()

	send := func(method, path, body string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+setup.Address()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		response, err := new(http.Client).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(text)
	}
	form := func(code, email string) string {
		text, _ := json.Marshal(map[string]string{"code": code, "account": "Example Ltd", "email": email, "name": "Ada Okafor", "app": "first"})
		return string(text)
	}
	right := strings.ToLower(strings.ReplaceAll(setup.Code(), "-", " "))
	for _, c := range []struct {
		method, path, body string
		want               int
	}{
		{"GET", "/", "", 200},
		{"GET", "/setup", "", 200},
		{"GET", "/v1/users", "", 404},
		{"PUT", "/v2/users/me/presence_status", `{"status":"Away"}`, 404},
		{"POST", "/setup", form("", "ada@example.com"), 400},
		{"POST", "/setup", form("AAAA-AAAA-AAAA", "ada@example.com"), 400},
		{"POST", "/setup", form(setup.Code(), "not an address"), 400},
	} {
		if status, text := send(c.method, c.path, c.body); status != c.want {
			t.Errorf("%s %s %s: %d %s, want %d", c.method, c.path, c.body, status, text, c.want)
		}
	}
	if _, err := server.New(cfg, server.Options{}); !errors.Is(err, server.ErrNotInitialised) {
		t.Errorf("after refused forms the server starts: %v", err)
	}

	status, text := send("POST", "/setup", form(right, "ada@example.com"))
	var made server.Credentials
	if err := json.Unmarshal([]byte(text), &made); err != nil || status != http.StatusCreated || made.AccessToken == "" {
		t.Fatalf("POST /setup: %d %s, %v", status, text, err)
	}
	if end := <-ended; !end.made || end.err != nil {
		t.Errorf("Run: %+v", end)
	}
	if strings.Contains(log.String(), setup.Code()) || strings.Contains(log.String(), made.ClientSecret) {
		t.Errorf("the log has a secret:\n%s", &log)
	}
	r := run(t, cfg, server.Options{}, made)
	if response, text := r.roundTrip(t, "GET", "/v1/me", "", "Authorization", "Bearer "+made.AccessToken); response.StatusCode != http.StatusOK {
		t.Errorf("the token of the first app: %d %s", response.StatusCode, text)
	}
}

// TestSetupStopped: a server that is stopped before it has an account leaves nothing.
func TestSetupStopped(t *testing.T) {
	cfg := settings(t)
	if err := os.RemoveAll(cfg.DataDir); err != nil {
		t.Fatal(err)
	}
	setup, err := server.NewSetup(cfg, server.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if made, err := setup.Run(ctx); made || err != nil {
		t.Errorf("Run: %v, %v", made, err)
	}
	if _, err := os.Stat(cfg.DataDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the data directory: %v", err)
	}
}

// TestSetupWithoutDirectory: nobody fills in a form whose result could not be stored.
func TestSetupWithoutDirectory(t *testing.T) {
	cfg := settings(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.DataDir = filepath.Join(file, "data")
	if _, err := server.NewSetup(cfg, server.Options{}); err == nil || !strings.Contains(err.Error(), "data is not writable by this user (not a directory); give") {
		t.Errorf("NewSetup: %v", err)
	}
}

// TestSetupAndInit: an account that was made elsewhere meanwhile ends the page, so that the
// server starts with it.
func TestSetupAndInit(t *testing.T) {
	cfg := settings(t)
	setup, err := server.NewSetup(cfg, server.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.Init(t.Context(), cfg, server.Founding{Account: "Other", OwnerEmail: "bob@example.com", OwnerName: "Bob", AppName: "other"}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan bool, 1)
	go func() {
		made, err := setup.Run(t.Context())
		ended <- made && err == nil
	}()
	form := `{"code":"` + setup.Code() + `","account":"Example","email":"ada@example.com","name":"Ada","app":"first"}`
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, setup.URL(), strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := new(http.Client).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusBadRequest || !strings.Contains(string(text), "has an account already") {
		t.Errorf("%d %s, %v", response.StatusCode, text, err)
	}
	select {
	case made := <-ended:
		if !made {
			t.Error("the server does not start")
		}
	case <-time.After(2 * time.Minute):
		t.Error("the page did not end")
	}
}

// TestSetupNotifiesSystemd: the set-up page waits for a person, so it counts as started and
// alive.
func TestSetupNotifiesSystemd(t *testing.T) {
	for _, watchdog := range []time.Duration{time.Millisecond, time.Hour} {
		t.Run(watchdog.String(), func(t *testing.T) { setupNotifies(t, watchdog) })
	}
}

func setupNotifies(t *testing.T, watchdog time.Duration) {
	systemd := newServiceManager(t)
	setup, err := server.NewSetup(settings(t), server.Options{NotifySocket: systemd.socket, Watchdog: watchdog})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := setup.Run(ctx)
		ended <- err
	}()
	expect := func(want string) {
		t.Helper()
		if state := systemd.next(t); !strings.HasPrefix(state, want) {
			t.Errorf("systemd was sent %q; want %q", state, want)
		}
	}
	expect("READY=1\nSTATUS=Waiting for the set-up page")
	if watchdog == time.Millisecond {
		expect("WATCHDOG=1")
	} else {
		setup.Reload()
		expect("RELOADING=1")
		expect("READY=1")
		stop()
		expect("WATCHDOG=1") // so that the server has a whole interval to start
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
