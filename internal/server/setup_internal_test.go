package server

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"porchlight.dev/porchlight/internal/config"
)

// TestSetupFinishes: a browser that does not wait for the answer leaves no account without
// an app or an invitation.
func TestSetupFinishes(t *testing.T) {
	cfg := config.Default()
	cfg.DataDir, cfg.Listen = filepath.Join(t.TempDir(), "data"), "127.0.0.1:0"
	setup, err := NewSetup(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer setup.listener.Close()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	form := `{"code":"` + setup.Code() + `","account":"Example","email":"ada@example.com","name":"Ada","app":"first"}`
	r := httptest.NewRequestWithContext(gone, http.MethodPost, "/setup", strings.NewReader(form))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	if err := setup.create(w, r); err != nil || w.Code != http.StatusCreated {
		t.Errorf("%v, %d %s", err, w.Code, w.Body)
	}
}
