package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/backupjob"
	"porchlight.dev/porchlight/internal/server"
	"porchlight.dev/porchlight/internal/store/backup"
)

// TestScheduledBackup: a scheduled backup of a running server has everything that was
// acknowledged, and health, metrics, audit log and the next start know of it. It and a
// backup on request exclude each other, and it respects low-disk.
func TestScheduledBackup(t *testing.T) {
	cfg := settings(t)
	cfg.BackupDir = t.TempDir()
	r := run(t, cfg, server.Options{}, initLargeDataDir(t, cfg))
	if _, err := r.client.CreateUser(t.Context(), api.CreateUser{Email: "grace@example.com"}); err != nil {
		t.Fatal(err)
	}
	metric := func(text string) {
		t.Helper()
		if _, metrics := r.get(t, r.AdminURL()+"/metrics"); !strings.Contains(metrics, text) {
			t.Errorf("the metrics lack %q", text)
		}
	}
	eventually(t, "the schedule runs", func() bool { return r.health(t).Backups.Next != nil })
	metric("\nporchlight_backup_last_success_timestamp_seconds 0\n")
	if err := r.BackUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	newest, err := backupjob.Newest(cfg.BackupDir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	verified, err := server.Verify(t.Context(), server.BackupFile{Path: newest.Path})
	if err != nil || !strings.HasSuffix(newest.Path, ".backup") || verified.Records == 0 {
		t.Errorf("%s: %+v, %v", newest.Path, verified, err)
	}
	metric("\nporchlight_backup_last_bytes ")
	metric("\nporchlight_backup_failures_total 0\n")
	metric("\nporchlight_backup_last_success_timestamp_seconds 1")
	eventually(t, "the backup is in the audit log", func() bool {
		last := r.health(t).Backup
		return last != nil && last.Bytes == verified.Bytes
	})

	var inner error
	to := writerFunc(func(p []byte) (int, error) {
		if inner == nil {
			inner = r.BackUp(t.Context())
		}
		return len(p), nil
	})
	if _, err := (server.Backup{DataDir: cfg.DataDir, To: to}).Run(t.Context()); err != nil || !errors.Is(inner, backupjob.ErrBusy) {
		t.Errorf("%v; a scheduled backup meanwhile: %v", err, inner)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.BackUp(ended); err == nil || r.health(t).Backups.Failures != 0 {
		t.Errorf("cancelled: %v; %+v", err, r.health(t).Backups)
	}
	r.stop(server.ErrInterrupted)
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}

	cfg.LowDisk, cfg.BackupDir = 1<<60, filepath.Join(filepath.Dir(cfg.DataDir), "backups")
	if err := os.Mkdir(cfg.BackupDir, 0o700); err != nil {
		t.Fatal(err)
	}
	r = run(t, cfg, server.Options{}, r.made)
	r.BackUpToLargeDisk()
	metric("\nporchlight_backup_last_success_timestamp_seconds 1") // of the previous run
	if err := r.BackUp(t.Context()); !errors.Is(err, backup.ErrNoSpace) {
		t.Errorf("on an almost full disk: %v", err)
	}
	metric("\nporchlight_backup_failures_total 1\n")
	if h := r.health(t).Backups; h.Failures != 1 || !strings.Contains(h.Reason, "almost full") {
		t.Errorf("%+v", h)
	}
	if entries, err := os.ReadDir(cfg.BackupDir); err != nil || len(entries) != 0 {
		t.Errorf("a failed backup left %v, %v", entries, err)
	}
	if !strings.Contains(r.log.String(), "scheduled backup failed; will retry") {
		t.Error("the log does not have the failure")
	}
}

func (r *running) health(t *testing.T) *api.ServerHealth {
	t.Helper()
	response := r.send(t, http.MethodGet, r.URL()+"/v1/health", "", "Authorization", "Bearer "+r.made.AccessToken)
	defer response.Body.Close()
	var h api.Health
	if err := json.NewDecoder(response.Body).Decode(&h); err != nil || h.Server == nil || h.Server.Backups == nil {
		t.Fatalf("%d: %v", response.StatusCode, err)
	}
	return h.Server
}
