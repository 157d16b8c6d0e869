package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/doctor"
	"porchlight.dev/porchlight/internal/porttest"
	"porchlight.dev/porchlight/internal/server"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/store/pebblestore"
)

// diagnose examines the server with these settings.
func diagnose(t *testing.T, cfg config.Config) doctor.Report {
	t.Helper()
	f, err := server.Examine(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	return doctor.Judge(f, time.Now())
}

// expect reports a missing result.
func expect(t *testing.T, r *doctor.Report, check string, outcome doctor.Outcome, found string) {
	t.Helper()
	if !slices.ContainsFunc(r.Results, func(x doctor.Result) bool {
		return x.Check == check && x.Outcome == outcome && strings.Contains(x.Found, found)
	}) {
		t.Errorf("no %s of %s with %q in\n%+v", outcome, check, found, r.Results)
	}
}

// plant adds a quarantined entry and a subscription that was disabled.
func plant(t *testing.T, st store.Store) {
	t.Helper()
	quarantined := fmt.Sprintf(`{"v":1,"count":3,"entries":[{"position":7,"epoch":"e","time":%q,"reason":"broken"}]}`, time.Now().Format(time.RFC3339))
	const disabled = `{"v":1,"account":"acme","url":"https://example.com/secret-path","form":"native","profile":"durable","created":"2026-01-01T00:00:00Z","disabled":"2026-01-02T00:00:00Z"}`
	err := st.Write(t.Context(), "",
		store.Doc{Key: store.Key{Collection: "quarantine", Key: "watch"}, Value: []byte(quarantined)},
		store.Doc{Key: store.Key{Collection: "subscription", Key: "acme/broken-one"}, Value: []byte(disabled)},
	)
	if err != nil {
		t.Fatal(err)
	}
}

// TestDoctorStopped finds what was planted in a stopped data directory, and changes nothing
// in it. A directory that another process has open is a problem of its own.
func TestDoctorStopped(t *testing.T) {
	cfg := settings(t)
	if _, err := server.Examine(t.Context(), cfg, nil); err == nil || !strings.Contains(err.Error(), "holds no store; correct --data-dir") {
		t.Errorf("a missing directory: %v", err)
	}
	if _, err := server.Init(t.Context(), cfg, testFounding); err != nil {
		t.Fatal(err)
	}
	cfg.BackupDir = t.TempDir()
	r := diagnose(t, cfg)
	expect(t, &r, "backups", doctor.Warning, "there is no backup in "+cfg.BackupDir)
	st, err := pebblestore.Open(filepath.Join(cfg.DataDir, "store"), pebblestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	plant(t, st)
	locked := diagnose(t, cfg)
	expect(t, &locked, "store", doctor.Problem, "another process uses the store")
	expect(t, &locked, "quarantine", doctor.NotChecked, "cannot be opened")
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cfg.BackupDir, "porchlight-20250101T000000Z-1.backup"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(cfg.DataDir, 0o755); err != nil {
		t.Fatal(err)
	}
	before := filesIn(t, cfg.DataDir)
	r = diagnose(t, cfg)
	if after := filesIn(t, cfg.DataDir); !slices.Equal(before, after) {
		t.Errorf("the files were\n%v\nand are\n%v", before, after)
	}
	expect(t, &r, "server", doctor.NotChecked, "no server runs on the data directory "+cfg.DataDir)
	expect(t, &r, "store", doctor.OK, "opens")
	expect(t, &r, "quarantine", doctor.Problem, "watch skipped 3 entries, the newest at position 7")
	expect(t, &r, "webhooks", doctor.Problem, "1 subscription is disabled because the endpoint failed its validations, and no events are sent: broken-one")
	expect(t, &r, "backups", doctor.Problem, "the next one was due")
	expect(t, &r, "disk", doctor.Warning, "is on the disk of the data directory")
	expect(t, &r, "settings", doctor.Warning, "can read the data directory")
	if err := os.Chmod(cfg.DataDir, 0o770); err != nil { // as Kubernetes makes a volume of a pod's group
		t.Fatal(err)
	}
	r = diagnose(t, cfg)
	expect(t, &r, "settings", doctor.OK, "files with secrets are private")
	if text, err := json.Marshal(r); err != nil || strings.Contains(string(text), "secret-path") {
		t.Errorf("%s, %v", text, err)
	}
}

// filesIn lists the files in a directory with their contents.
func filesIn(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		all = append(all, path+" "+string(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestDoctorRunning: a running server says on its control socket what it knows, and is found
// at public-url, as is another program that is there in its place.
func TestDoctorRunning(t *testing.T) {
	cfg := settings(t)
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	cfg.PublicURL, cfg.MaxConnections, cfg.TLSSelfSigned = other.URL, 1<<20, true
	r := start(t, cfg, server.Options{})
	asked := settings(t)
	asked.DataDir = cfg.DataDir
	report := diagnose(t, asked)
	if !report.Running || report.Version != server.Version() {
		t.Errorf("%+v", report)
	}
	expect(t, &report, "store", doctor.OK, "accepts updates")
	expect(t, &report, "clock", doctor.OK, "agrees")
	expect(t, &report, "descriptors", doctor.Problem, "max-connections is 1048576")
	expect(t, &report, "public-url", doctor.Problem, "is not a Porchlight server")
	expect(t, &report, "certificates", doctor.OK, "valid for")
	expect(t, &report, "consumers", doctor.OK, "2 consumers keep up")
	if status, _ := r.get(t, r.AdminURL()+"/facts"); status != http.StatusOK {
		t.Errorf("/facts on the admin listener: %d", status)
	}
}

// TestDoctorFindsItself: a server whose certificate answers at public-url is that one.
func TestDoctorFindsItself(t *testing.T) {
	cfg := settings(t)
	cfg.Listen = porttest.Address(t)
	cfg.TLSSelfSigned, cfg.PublicURL = true, "https://"+cfg.Listen
	start(t, cfg, server.Options{})
	report := diagnose(t, cfg)
	expect(t, &report, "public-url", doctor.OK, "this server answers at "+cfg.PublicURL)
	cfg.DataDir = filepath.Join(t.TempDir(), "other")
	if _, err := server.Init(t.Context(), cfg, testFounding); err != nil {
		t.Fatal(err)
	}
	report = diagnose(t, cfg)
	expect(t, &report, "public-url", doctor.Problem, "no server runs here, but a Porchlight server answers")
}

// TestDoctorWebhooks: a running server names the subscriptions whose endpoints are down.
func TestDoctorWebhooks(t *testing.T) {
	var refuses atomic.Bool
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if refuses.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer endpoint.Close()
	cfg := settings(t)
	cfg.WebhookAllow = "127.0.0.0/8"
	r := start(t, cfg, server.Options{})
	status, answer := r.subscribe(t, `{"url":"`+endpoint.URL+`/secret-path"}`)
	var made struct{ ID string }
	if err := json.Unmarshal([]byte(answer), &made); err != nil || status != http.StatusCreated {
		t.Fatalf("%d %s", status, answer)
	}
	refuses.Store(true)
	for i := range 20 { // each is an event, and more failures than a working endpoint has
		if _, err := r.client.CreateUser(t.Context(), api.CreateUser{Email: fmt.Sprintf("user%d@example.com", i)}); err != nil {
			t.Fatal(err)
		}
	}
	var report doctor.Report
	eventually(t, "the endpoint is down", func() bool {
		report = diagnose(t, cfg)
		return report.Count(doctor.Problem) > 0
	})
	expect(t, &report, "webhooks", doctor.Problem, "1 subscription has an endpoint that is down: "+made.ID)
	if text, err := json.Marshal(report); err != nil || strings.Contains(string(text), "secret-path") {
		t.Errorf("%s, %v", text, err)
	}
}

// TestDoctorFullDisk: a server on a full disk says so.
func TestDoctorFullDisk(t *testing.T) {
	cfg := settings(t)
	made, err := server.Init(t.Context(), cfg, testFounding)
	if err != nil {
		t.Fatal(err)
	}
	st, err := pebblestore.Open(filepath.Join(cfg.DataDir, "store"), pebblestore.Options{
		FS: vfs.Default, MinFreeBytes: int64(cfg.LowDisk), FreeBytes: func() (uint64, error) { return 1 << 20, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	r := run(t, cfg, server.Options{Store: st}, made)
	_, answer := r.get(t, r.AdminURL()+"/facts")
	var f doctor.Facts
	if err := json.Unmarshal([]byte(answer), &f); err != nil {
		t.Fatal(err)
	}
	report := doctor.Judge(&f, time.Now())
	expect(t, &report, "disk", doctor.Problem, "1 MiB are free for the data directory")
	expect(t, &report, "store", doctor.Problem, "updates are refused: disk almost full")
}

// TestDoctorNATS: a server with its store on NATS answers on its admin listener, and without
// one the command reads the store itself.
func TestDoctorNATS(t *testing.T) {
	cfg := onNATS(t)
	r := start(t, cfg, server.Options{StoreTimeout: waitLimit})
	asked := cfg
	asked.AdminListen = strings.TrimPrefix(r.AdminURL(), "http://")
	report := diagnose(t, asked)
	if !report.Running {
		t.Errorf("%+v", report)
	}
	expect(t, &report, "nats", doctor.Warning, "has one replica")
	expect(t, &report, "clock", doctor.OK, "agrees with that of the NATS servers")
	expect(t, &report, "backups", doctor.NotChecked, "NATS's own tools")
	r.stop(server.ErrInterrupted)
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	user, err := os.ReadFile(cfg.StoreCredentials)
	if err != nil {
		t.Fatal(err)
	}
	st, err := natsstore.Open(t.Context(), strings.Replace(cfg.Store, "//", "//"+string(user)+"@", 1), natsstore.Options{Replicas: 1, Relaxed: true, MustExist: true})
	if err != nil {
		t.Fatal(err)
	}
	plant(t, st)
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	report = diagnose(t, asked)
	if report.Running {
		t.Errorf("%+v", report)
	}
	expect(t, &report, "server", doctor.NotChecked, "no server answers at admin-listen "+asked.AdminListen)
	expect(t, &report, "nats", doctor.Warning, "has one replica")
	expect(t, &report, "quarantine", doctor.Problem, "watch skipped 3 entries")
	expect(t, &report, "webhooks", doctor.Problem, "broken-one")
	if text, err := json.Marshal(report); err != nil || strings.Contains(string(text), string(user)) {
		t.Errorf("%s, %v", text, err)
	}
	asked.StoreReplicas, asked.AdminListen = 3, "off"
	report = diagnose(t, asked)
	expect(t, &report, "server", doctor.NotChecked, "admin-listen is off")
	expect(t, &report, "nats", doctor.Problem, "num_replicas")
	asked.Store = "nats://127.0.0.1:1"
	report = diagnose(t, asked)
	expect(t, &report, "nats", doctor.Problem, "cannot be used")
}

// TestFactsWhileDraining: a server answers for itself until it has stopped, also while it
// waits for its last requests. Then it makes no more backups, and another server waits for it.
func TestFactsWhileDraining(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	cfg.DrainTimeout = waitLimit
	r := start(t, cfg, server.Options{})
	finish := r.holdRequest(t)
	r.stop(server.ErrInterrupted)
	eventually(t, "the server accepts no connections", func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(r.URL(), "http://"))
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	report := diagnose(t, cfg)
	expect(t, &report, "server", doctor.Warning, "the server is shutting down")
	expect(t, &report, "store", doctor.OK, "accepts updates")
	if _, err := server.Ready(t.Context(), cfg.DataDir); err == nil || !strings.Contains(err.Error(), "not ready: the server is shutting down") {
		t.Errorf("the health check: %v", err)
	}
	if _, err := (server.Backup{DataDir: cfg.DataDir, To: io.Discard}).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "refused the backup: the server is stopping") {
		t.Errorf("a backup: %v", err)
	}
	if _, err := server.SystemTokens(t.Context(), cfg, server.SystemTokenRequest{}); err == nil || !strings.Contains(err.Error(), "the server is stopping") {
		t.Errorf("system tokens: %v", err)
	}
	next := make(chan error, 1)
	go func() {
		srv, err := server.New(cfg, server.Options{})
		if err == nil {
			err = srv.Run(stoppedContext())
		}
		next <- err
	}()
	eventually(t, "the next server waits", func() bool {
		_, err := os.Stat(filepath.Join(cfg.DataDir, "backup.yield"))
		return err == nil
	})
	finish()
	for _, err := range []error{r.wait(t), <-next} {
		if err != nil {
			t.Error(err)
		}
	}
}

// holdRequest sends a request whose body ends with finish.
func (r *running) holdRequest(t *testing.T) (finish func()) {
	t.Helper()
	body, end := io.Pipe()
	begun, ended := make(chan struct{}), make(chan struct{})
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got100Continue: func() { close(begun) }})
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL()+"/v1/users", body)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"Authorization": "Bearer " + r.made.AccessToken, "Content-Type": "application/json", "Expect": "100-continue"} {
		request.Header.Set(name, value)
	}
	go func() {
		defer close(ended)
		response, err := (&http.Transport{ExpectContinueTimeout: waitLimit, DisableKeepAlives: true}).RoundTrip(request)
		if err != nil {
			t.Error(err)
			return
		}
		response.Body.Close()
	}()
	<-begun
	return func() {
		_ = end.Close() // it never fails
		<-ended
	}
}

// stoppedContext is that of a server that stops as soon as it runs.
func stoppedContext() context.Context {
	ctx, stop := context.WithCancelCause(context.Background())
	stop(server.ErrInterrupted)
	return ctx
}
