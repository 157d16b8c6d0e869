package server_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/server"
)

// TestPrometheus: while a server has a little of every load, a Prometheus that scrapes it
// gets data for every query of the dashboard and every selector of the alerting rules, of
// which none fires. The table in docs/metrics.md has exactly the metrics of both engines,
// and what is sent by OTLP are the same.
func TestPrometheus(t *testing.T) {
	rows := make(metricRows)
	for _, engine := range []string{embedded, onlyNATS} {
		t.Run(engine, func(t *testing.T) {
			m := startLoaded(t, engine)
			families := m.families(t)
			rows.add(families, engine)
			m.checkExport(t, families)
			p := startPrometheus(t, m.AdminURL())
			p.checkQueries(t, engine)
			p.checkRules(t, engine)
		})
	}
	if t.Failed() {
		return
	}
	rows.checkPage(t)
	rows.checkNames(t)
}

// A loaded is a running server with every part that has metrics, under load.
type loaded struct {
	*running
	collector *telemetryCollector
}

func startLoaded(t *testing.T, engine string) *loaded {
	t.Helper()
	cfg := settings(t)
	if engine == onlyNATS {
		cfg = onNATS(t)
	} else {
		cfg.BackupDir = t.TempDir()
	}
	m := &loaded{collector: newTelemetryCollector(t)}
	dir := t.TempDir()
	cfg.TLSCertFile, cfg.TLSKeyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificateUntil(t, cfg.TLSCertFile, cfg.TLSKeyFile, 1, time.Now().Add(60*24*time.Hour))
	cfg.SignedInRule, cfg.WebhookAllow, cfg.OTLPEndpoint = "off", "127.0.0.0/8", m.collector.URL
	m.running = start(t, cfg, server.Options{StoreTimeout: waitLimit, Getenv: func(name string) string {
		return map[string]string{"OTEL_METRIC_EXPORT_INTERVAL": "200"}[name]
	}})
	m.http.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(m.http.CloseIdleConnections)
	m.load(t)
	if engine == embedded {
		if err := m.BackUp(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// load changes a status again and again until the test ends. A stream and a webhook follow.
func (m *loaded) load(t *testing.T) {
	t.Helper()
	endpoint := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	m.TrustEndpoints()
	if status, answer := m.subscribe(t, `{"url":"`+endpoint.URL+`"}`); status != http.StatusCreated {
		t.Fatalf("%d %s", status, answer)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var group sync.WaitGroup
	t.Cleanup(func() {
		stop()
		group.Wait()
		endpoint.Close()
	})
	group.Go(func() { _ = m.client.Stream(client.StreamOptions{Users: []string{m.made.OwnerID}}).Run(ctx) })
	group.Go(func() {
		pause := time.NewTicker(50 * time.Millisecond)
		defer pause.Stop()
		for i := 0; ctx.Err() == nil; i++ {
			if _, err := m.client.SetZoomStatus(ctx, m.made.OwnerID, []string{"Away", "Available"}[i%2], 0); err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
		}
	})
}

// families waits until every metric that is described has a sample, and returns them.
func (m *loaded) families(t *testing.T) (found []*dto.MetricFamily) {
	t.Helper()
	described := descriptions(m.Metrics())
	var missing []string
	defer func() {
		if t.Failed() {
			t.Errorf("described, but without a sample: %v", missing)
		}
	}()
	eventually(t, "every metric has a sample", func() bool {
		var err error
		if found, err = m.Metrics().Gather(); err != nil {
			t.Fatal(err)
		}
		missing = slices.Clone(described)
		for _, f := range found {
			missing = slices.DeleteFunc(missing, func(name string) bool { return name == f.GetName() })
		}
		return len(missing) == 0
	})
	_, text := m.get(t, m.AdminURL()+"/metrics")
	command := exec.CommandContext(t.Context(), "promtool", "check", "metrics")
	command.Stdin = strings.NewReader(text)
	if out, err := command.CombinedOutput(); err != nil {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
	return found
}

// descriptions are the names of the server's own metrics.
func descriptions(registry *prometheus.Registry) (names []string) {
	all := make(chan *prometheus.Desc)
	go func() {
		defer close(all)
		registry.Describe(all)
	}()
	for d := range all {
		if name := regexp.MustCompile(`fqName: "(porchlight_[^"]+)"`).FindStringSubmatch(d.String()); name != nil {
			names = append(names, name[1])
		}
	}
	return names
}

// checkExport checks that the collector gets the same metrics by OTLP.
func (m *loaded) checkExport(t *testing.T, families []*dto.MetricFamily) {
	t.Helper()
	var want []string
	for _, f := range families {
		want = append(want, f.GetName())
	}
	slices.Sort(want)
	var got []string
	eventually(t, "OTLP has as many metrics as the registry", func() bool {
		m.collector.mu.Lock()
		defer m.collector.mu.Unlock()
		got = slices.Sorted(maps.Keys(m.collector.metrics))
		return len(got) >= len(want)
	})
	if !slices.Equal(got, want) {
		t.Errorf("by OTLP:\n%v\nin the registry:\n%v", got, want)
	}
}

// A prometheusServer scrapes a server until the test ends.
type prometheusServer struct {
	url  string
	http *http.Client
}

const prometheusConfig = `global: {scrape_interval: 2s, scrape_timeout: 2s, evaluation_interval: 1s}
rule_files: [%s]
scrape_configs:
  - job_name: porchlight
    static_configs: [{targets: ['%s']}]
`

func startPrometheus(t *testing.T, adminURL string) prometheusServer {
	t.Helper()
	dir := t.TempDir()
	rules, err := filepath.Abs(alertsDir + "/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "prometheus.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, prometheusConfig, rules, strings.TrimPrefix(adminURL, "http://")), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(context.WithoutCancel(t.Context()), "prometheus", "--config.file="+config,
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0", "--log.format=json")
	command.Env = append(os.Environ(), "GOMAXPROCS=1")
	log, err := command.StderrPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		t.Fatalf("prometheus (of the Debian package, which make test-tools installs): %v", err)
	}
	lines := bufio.NewScanner(log)
	address, all := "", new(bytes.Buffer)
	for address == "" && lines.Scan() {
		var line struct{ Msg, Address string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && strings.EqualFold(line.Msg, "listening on") {
			address = line.Address
		}
		fmt.Fprintln(all, lines.Text())
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, log)
	}()
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		<-drained
		_ = command.Wait()
	})
	if address == "" {
		t.Fatalf("prometheus does not listen:\n%s", all)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return prometheusServer{"http://" + address, &http.Client{Transport: transport, Timeout: waitLimit}}
}

// ask gets the data of a call of Prometheus's API.
func (p prometheusServer) ask(t *testing.T, path string, into any) error {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := p.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", response.Status, answer.Error)
	}
	return json.Unmarshal(answer.Data, into)
}

// samples is how many series a query has whose value is a number.
func (p prometheusServer) samples(t *testing.T, expr string) (n int, err error) {
	t.Helper()
	var vector struct{ Result []struct{ Value [2]any } }
	if err := p.ask(t, "/api/v1/query?query="+url.QueryEscape(expr), &vector); err != nil {
		return 0, err
	}
	for _, s := range vector.Result {
		if s.Value[1] != "NaN" {
			n++
		}
	}
	return n, nil
}

// checkQueries waits until every query of the dashboard for an engine has data.
func (p prometheusServer) checkQueries(t *testing.T, engine string) {
	t.Helper()
	variables := strings.NewReplacer("$__rate_interval", "1m", "$instance", ".+")
	waiting := slices.DeleteFunc(readDashboard(t).queries(), func(q query) bool { return q.engine != "" && q.engine != engine })
	report := func() {
		for _, q := range waiting {
			n, err := p.samples(t, variables.Replace(q.expr))
			t.Errorf("%s: %d samples, %v: %s", q.name, n, err, q.expr)
		}
	}
	p.eventually(t, report, func() bool {
		waiting = slices.DeleteFunc(waiting, func(q query) bool {
			n, err := p.samples(t, variables.Replace(q.expr))
			return err == nil && n > 0
		})
		return len(waiting) == 0
	})
}

// eventually waits until ok returns true, and reports why it does not.
func (p prometheusServer) eventually(t *testing.T, report func(), ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * waitLimit); !ok(); time.Sleep(250 * time.Millisecond) {
		if time.Now().After(end) {
			report()
			t.FailNow()
		}
	}
}

// A rule is an alerting rule as Prometheus evaluates it.
type rule struct{ Name, Query, Health, LastError, State string }

// slowMachine reports whether the rule is waiting to fire because three updates of the test took
// half a second: for a machine that is busy for a moment, that is right.
func (r rule) slowMachine() bool { return r.Name == "PorchlightSlowUpdates" && r.State == "pending" }

// selector matches the selectors of our rules.
var selector = regexp.MustCompile(`\b(?:porchlight_\w+|up)\b(?:\{(?:"[^"]*"|[^"}])*\})?`)

// checkRules waits until Prometheus has evaluated every rule, the selectors of those for an
// engine have series, and no alert is firing or, without a reason, pending.
func (p prometheusServer) checkRules(t *testing.T, engine string) {
	t.Helper()
	var problems []string
	p.eventually(t, func() { t.Error(strings.Join(problems, "\n")) }, func() bool {
		problems = p.ruleProblems(t, engine)
		return len(problems) == 0
	})
}

func (p prometheusServer) ruleProblems(t *testing.T, engine string) (problems []string) {
	t.Helper()
	var found struct {
		Groups []struct {
			Name  string
			Rules []rule
		}
	}
	if err := p.ask(t, "/api/v1/rules", &found); err != nil || len(found.Groups) < 3 {
		return []string{fmt.Sprintf("%d groups, %v", len(found.Groups), err)}
	}
	for _, group := range found.Groups {
		for _, r := range group.Rules {
			if r.Health != "ok" || r.State != "inactive" && !r.slowMachine() {
				problems = append(problems, fmt.Sprintf("%+v", r))
			}
			if e := engineOf(group.Name); e != "" && e != engine {
				continue
			}
			for _, s := range selector.FindAllString(r.Query, -1) {
				if n, err := p.samples(t, "count("+s+")"); err != nil || n == 0 {
					problems = append(problems, fmt.Sprintf("%s: %s selects nothing, %v", r.Name, s, err))
				}
			}
		}
	}
	return problems
}

// metricRows are the rows of the table in docs/metrics.md, by metric.
type metricRows map[string]*metricRow

type metricRow struct {
	kind, help string
	labels     []string
	engines    []string
}

func (rows metricRows) add(families []*dto.MetricFamily, engine string) {
	for _, f := range families {
		row := rows[f.GetName()]
		if row == nil {
			row = &metricRow{kind: strings.ToLower(f.GetType().String()), help: f.GetHelp()}
			rows[f.GetName()] = row
		}
		row.engines = append(row.engines, engine)
		for _, label := range f.GetMetric()[0].GetLabel() {
			if !slices.Contains(row.labels, "`"+label.GetName()+"`") {
				row.labels = append(row.labels, "`"+label.GetName()+"`")
			}
		}
	}
}

// String is a row in Markdown.
func (r *metricRow) String() string {
	engines := "both"
	if len(r.engines) == 1 {
		engines = r.engines[0]
	}
	return fmt.Sprintf("%s | %s | %s | %s |", r.kind, strings.Join(r.labels, ", "), r.help, engines)
}

// checkPage checks that docs/metrics.md has a row for each metric, and no other.
func (rows metricRows) checkPage(t *testing.T) {
	t.Helper()
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	inPage := make(map[string]bool)
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "| `") {
			inPage[strings.TrimSpace(line)] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		line := "| `" + name + "` | " + rows[name].String()
		if !inPage[line] {
			t.Errorf("docs/metrics.md lacks the row\n%s", line)
		}
		delete(inPage, line)
	}
	for line := range inPage {
		t.Errorf("docs/metrics.md has a row of no metric:\n%s", line)
	}
}

// checkNames checks that the documentation, the dashboard and the rules name no metric that
// a server does not have.
func (rows metricRows) checkNames(t *testing.T) {
	t.Helper()
	for _, file := range []string{"../../docs/operations.md", "../../docs/backup.md", "../../docs/tls.md", "../../docs/metrics.md", alertsDir + "/alerts.yaml", dashboardFile} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`\b(porchlight|process|go)_[a-z_]+`).FindAllString(string(text), -1) {
			if strings.HasSuffix(name, "_") { // of several metrics
				continue
			}
			if base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, ""); rows[name] == nil && rows[base] == nil {
				t.Errorf("%s names %s, which no server has", file, name)
			}
		}
	}
}
