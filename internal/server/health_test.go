package server_test

import (
	"encoding/json"
	"math"
	"net/http"
	"testing"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/server"
	"porchlight.dev/porchlight/internal/store/pebblestore"
)

// TestHealth: the administrator of the only account sees the figures of the server, which
// move with its work, and the last backup. Once the server has another account, nobody does.
func TestHealth(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	read := func() api.Health {
		t.Helper()
		response := r.send(t, http.MethodGet, r.URL()+"/v1/health", "", "Authorization", "Bearer "+r.made.AccessToken)
		defer response.Body.Close()
		var h api.Health
		if err := json.NewDecoder(response.Body).Decode(&h); err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%d: %v", response.StatusCode, err)
		}
		return h
	}

	first := read().Server
	if first == nil || first.State != api.HealthReady || first.Connections < 1 || first.Store == nil || len(first.Consumers) != 2 || first.Backup != nil {
		t.Fatalf("%+v", first)
	}
	r.send(t, http.MethodPut, r.URL()+"/v1/users/me/note", `{"text":"x"}`, "Authorization", "Bearer "+r.made.AccessToken, "Content-Type", "application/json").Body.Close()
	backupFile := takeBackup(t, r.config.DataDir, true)
	var second *api.ServerHealth
	eventually(t, "the backup is recorded", func() bool {
		second = read().Server
		return second.Backup != nil
	})
	if second.Changes <= first.Changes || second.Requests < first.Requests+2 || second.Started != first.Started {
		t.Errorf("after a change %+v, before %+v", second, first)
	}
	if last := len(second.Latency) - 1; second.Latency[0].Requests > second.Latency[last].Requests || second.Latency[last].Requests > second.Requests || second.Latency[last].Requests == 0 {
		t.Errorf("latency %+v of %d requests", second.Latency, second.Requests)
	}
	if second.Backup.Bytes != int64(len(backupFile)) || second.Backup.Time.IsZero() {
		t.Errorf("backup %+v of %d bytes", second.Backup, len(backupFile))
	}

	_, err := r.Provisioner().Directory.CreateAccount(t.Context(), "Another")
	apptest.Check(t, err)
	if health := read(); health.Server != nil {
		t.Errorf("with two accounts: %+v", health.Server)
	}
}

// TestHealthOfSmallDisk: the figures have the free space below which updates are refused, which
// is less than low-disk on a small disk.
func TestHealthOfSmallDisk(t *testing.T) {
	cfg := settings(t)
	made, err := server.Init(t.Context(), cfg, testFounding)
	if err != nil {
		t.Fatal(err)
	}
	cfg.LowDisk = math.MaxInt64
	r := run(t, cfg, server.Options{}, made)
	_, _, want, err := pebblestore.DiskUsage(cfg.DataDir, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	response := r.send(t, http.MethodGet, r.URL()+"/v1/health", "", "Authorization", "Bearer "+made.AccessToken)
	defer response.Body.Close()
	var h api.Health
	if err := json.NewDecoder(response.Body).Decode(&h); err != nil || h.Server == nil || h.Server.Store == nil || h.Server.Store.LowBytes != want {
		t.Errorf("%+v, want updates refused below %d free bytes; %v", h.Server, want, err)
	}
}
