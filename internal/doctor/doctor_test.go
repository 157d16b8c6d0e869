package doctor_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/certificate"
	"porchlight.dev/porchlight/internal/doctor"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const gib = 1 << 30

func ago(d time.Duration) time.Time { return now.Add(-d) }

func span(d time.Duration) *time.Duration { return &d }

// healthy are the facts of a running server on which every check is in order.
func healthy() *doctor.Facts {
	return &doctor.Facts{
		Place: "data directory /data", Running: true, Version: "1.2.3",
		Health: &api.ServerHealth{
			State: api.HealthReady, Connections: 10, ConnectionsLimit: 1000,
			Consumers: []api.ConsumerHealth{{Name: "watch", Running: true, LagSeconds: 1}, {Name: "webhook"}},
		},
		Disks: []doctor.Disk{
			{What: doctor.DataDirectory, Dir: "/data", Free: 50 * gib, Total: 100 * gib, Low: gib / 4},
			{What: doctor.BackupDirectory, Dir: "/backups", Free: 50 * gib, Total: 100 * gib},
		},
		Clock:       doctor.Clock{At: now, Machine: new(time.Duration), Server: new(time.Duration), Newest: ago(time.Minute)},
		Descriptors: &doctor.Descriptors{Limit: 20000, Used: 100, Allowed: 18000, Open: 10},
		Certificates: doctor.Certificates{TLS: true, All: []certificate.Info{
			{Source: certificate.FromFile, Names: []string{"presence.example.com"}, NotAfter: now.Add(60 * 24 * time.Hour), PublicKey: "sha256//own"},
		}},
		Public: doctor.Public{
			URL: "https://presence.example.com/", Addresses: []string{"192.0.2.1"}, Key: "sha256//own", Issuer: "https://presence.example.com", Untrusted: "unknown authority",
		},
		Webhooks: doctor.Webhooks{Total: 2},
		Backups:  doctor.Backups{Dir: "/backups", Schedule: "@daily", Last: ago(12 * time.Hour), Due: now.Add(12 * time.Hour)},
		Settings: doctor.Settings{Retention: 30 * 24 * time.Hour, HTTPS: true, HSTS: true},
	}
}

// stopped are the facts of a stopped server.
func stopped() *doctor.Facts {
	f := healthy()
	f.Running, f.Version, f.Health, f.Descriptors = false, "", nil, nil
	f.Clock = doctor.Clock{Newest: f.Clock.Newest}
	f.Public.Issuer, f.Public.Key, f.Public.NoAnswer = "", "", "connection refused"
	return f
}

// onNATS are the facts of a running server on three NATS servers.
func onNATS() *doctor.Facts {
	f := healthy()
	f.Place, f.Disks, f.Backups = "store nats://n1", nil, doctor.Backups{NATS: true}
	f.Clock.NATS, f.Clock.Within = span(5*time.Millisecond), 10*time.Millisecond
	f.NATS = &doctor.NATS{
		Servers: "nats://n1", Version: "2.12.0", Replicas: 3, Reports: true, Used: gib, Limit: 10 * gib,
		Streams: []doctor.Stream{{Name: "S", Replicas: 3, Cluster: true, Leader: "n1"}, {Name: "H", Replicas: 3, Cluster: true, Leader: "n2"}},
		Synced:  []doctor.NATSServer{{Name: "n1", Version: "2.12.1", SyncAlways: true, Used: gib, Limit: 10 * gib}},
	}
	return f
}

func results(f *doctor.Facts, check string) (found []doctor.Result) {
	r := doctor.Judge(f, now)
	for _, x := range r.Results {
		if x.Check == check {
			found = append(found, x)
		}
	}
	return found
}

// TestOrderly: on servers in order no check finds anything.
func TestOrderly(t *testing.T) {
	for name, f := range map[string]*doctor.Facts{"running": healthy(), "stopped": stopped(), "NATS": onNATS()} {
		r := doctor.Judge(f, now)
		if r.Outcome != doctor.OK || r.Count(doctor.OK) == 0 {
			t.Errorf("%s: %s", name, r.Outcome)
		}
		for _, x := range r.Results {
			if x.Outcome == doctor.Problem || x.Outcome == doctor.Warning || x.Found == "" || x.Do != "" {
				t.Errorf("%s: %+v", name, x)
			}
		}
	}
}

// A finding is a change of facts, and what the check must say of it.
type finding struct {
	check   string
	name    string
	from    func() *doctor.Facts
	change  func(*doctor.Facts)
	outcome doctor.Outcome
	found   string // a part of it
	do      string // a part of it
}

func findings() []finding {
	return []finding{
		{"server", "stopped", stopped, nil, doctor.NotChecked, "no server runs on the data directory", ""},
		{"server", "elsewhere", stopped, func(f *doctor.Facts) { f.NotRunning = "no server answers at admin-listen" }, doctor.NotChecked, "at admin-listen", ""},
		{"server", "draining", healthy, func(f *doctor.Facts) { f.Draining = true }, doctor.Warning, "shutting down", "start it again"},
		{"server", "full", healthy, func(f *doctor.Facts) { f.Health.Connections = 1000 }, doctor.Problem, "all 1000 connections", "max-connections"},

		{"store", "full", healthy, func(f *doctor.Facts) { f.Health.State, f.Health.Reason = api.HealthReadOnly, "disk almost full" }, doctor.Problem, "refused: disk almost full", "Free space"},
		{"store", "failed", healthy, func(f *doctor.Facts) { f.Health.State, f.Health.Reason = api.HealthFailing, "broken" }, doctor.Problem, "does not work: broken", "log"},
		{"store", "running", healthy, nil, doctor.OK, "accepts updates", ""},
		{"store", "stopped", stopped, nil, doctor.OK, "opens", ""},
		{"store", "NATS, stopped", onNATS, func(f *doctor.Facts) { f.Health = nil }, doctor.OK, "can be read", ""},
		{"store", "locked", stopped, func(f *doctor.Facts) { f.Store.Locked = true }, doctor.Problem, "another process", "try again"},
		{"store", "damaged", stopped, func(f *doctor.Facts) { f.Store.Error = "damaged" }, doctor.Problem, "cannot be opened: damaged", "porchlight verify"},
		{"store", "older", stopped, func(f *doctor.Facts) { f.Store.Unread = "older format" }, doctor.NotChecked, "older format", ""},
		{"store", "empty", stopped, func(f *doctor.Facts) { f.Store.NoAccount = true }, doctor.Warning, "no account", "porchlight init"},

		{"disk", "full", healthy, func(f *doctor.Facts) { f.Disks[0].Free = gib / 8 }, doctor.Problem, "128 MiB are free for the data directory /data, less than 256 MiB", "Free space"},
		{"disk", "nearly full", healthy, func(f *doctor.Facts) { f.Disks[0].Free = gib / 2 }, doctor.Warning, "below 256 MiB updates are refused", "before it is full"},
		{"disk", "not checked by the server", healthy, func(f *doctor.Facts) { f.Disks[0].Free, f.Disks[0].Low = 1, 0 }, doctor.OK, "1 B are free", ""},
		{"disk", "missing", healthy, func(f *doctor.Facts) { f.Disks[1].Unknown = "no such directory" }, doctor.Problem, "backup directory /backups cannot be measured", "mount"},
		{"disk", "read-only", healthy, func(f *doctor.Facts) { f.Disks[0].ReadOnly = "read-only file system" }, doctor.Problem, "cannot be written: read-only", "owner"},
		{"disk", "backups on the same disk", healthy, func(f *doctor.Facts) { f.Disks[1].Shared = true }, doctor.Warning, "on the disk of the data directory", "another disk"},
		{"disk", "none", onNATS, nil, doctor.NotChecked, "stores nothing", ""},

		{"clock", "set", healthy, func(f *doctor.Facts) { f.Clock.Server = span(-3 * time.Hour) }, doctor.Warning, "still 3 hours behind it", "restart"},
		{"clock", "another machine", healthy, func(f *doctor.Facts) { f.Clock.Machine = span(3 * time.Second) }, doctor.Warning, "3 seconds ahead of this", "NTP"},
		{"clock", "far off", healthy, func(f *doctor.Facts) { f.Clock.Machine = span(-5 * time.Minute) }, doctor.Problem, "5 minutes behind this", "NTP"},
		{"clock", "NATS", onNATS, func(f *doctor.Facts) { f.Clock.NATS = span(-90 * time.Second) }, doctor.Problem, "90 seconds behind that of the NATS", "both machines"},
		{"clock", "NATS, slow answer", onNATS, func(f *doctor.Facts) { f.Clock.NATS, f.Clock.Within = span(2*time.Second), 2*time.Second }, doctor.OK, "agrees with that of the NATS servers", ""},
		{"clock", "future", stopped, func(f *doctor.Facts) { f.Clock.Newest = now.Add(50 * time.Hour) }, doctor.Problem, "2 days in the future", "NTP"},
		{"clock", "store in use", stopped, func(f *doctor.Facts) { f.Clock.Newest, f.Store.Locked = time.Time{}, true }, doctor.NotChecked, "does not answer", ""},
		{"clock", "store damaged", stopped, func(f *doctor.Facts) { f.Clock.Newest, f.Store.Error = time.Time{}, "damaged" }, doctor.NotChecked, "cannot be opened", ""},
		{"clock", "nothing to compare", stopped, func(f *doctor.Facts) { f.Clock.Newest = time.Time{} }, doctor.NotChecked, "no change", ""},

		{"descriptors", "too few", healthy, func(f *doctor.Facts) { f.Descriptors.Asked, f.Descriptors.Allowed = 5000, 400 }, doctor.Problem, "max-connections is 5000", "LimitNOFILE"},
		{"descriptors", "files", healthy, func(f *doctor.Facts) { f.Descriptors.Used = 16000 }, doctor.Warning, "16000 of 20000 files", "LimitNOFILE"},
		{"descriptors", "connections", healthy, func(f *doctor.Facts) { f.Descriptors.Open = 15000 }, doctor.Warning, "15000 of 18000 connections", "max-connections"},
		{"descriptors", "stopped", stopped, nil, doctor.NotChecked, "no server runs", ""},
		{"descriptors", "another system", healthy, func(f *doctor.Facts) { f.Descriptors.Limit = 0 }, doctor.NotChecked, "unknown on this system", ""},

		{"certificates", "expired", healthy, func(f *doctor.Facts) { f.Certificates.All[0].NotAfter = ago(3 * time.Hour) }, doctor.Problem, "presence.example.com expired 3 hours ago", "Replace both"},
		{"certificates", "expires", healthy, func(f *doctor.Facts) { f.Certificates.All[0].NotAfter = now.Add(5 * 24 * time.Hour) }, doctor.Warning, "expires in 5 days", "Replace both"},
		{"certificates", "renewal failed", healthy, func(f *doctor.Facts) {
			f.Certificates.All[0].Source, f.Certificates.All[0].Problem = certificate.FromACME, "no challenge"
		}, doctor.Warning, "last renewal of the certificate for presence.example.com failed: no challenge", "acme-directory"},
		{"certificates", "renewal failed, and expires", healthy, func(f *doctor.Facts) {
			f.Certificates.All[0].Problem, f.Certificates.All[0].NotAfter = "no challenge", now.Add(5*24*time.Hour)
		}, doctor.Problem, "expires in 5 days, and its last renewal failed", "Replace both"},
		{"certificates", "self-signed", healthy, func(f *doctor.Facts) {
			f.Certificates.All[0].Source, f.Certificates.All[0].NotAfter = certificate.SelfSigned, ago(time.Hour)
		}, doctor.Problem, "expired", "renews the certificate itself"},
		{"certificates", "authority", healthy, func(f *doctor.Facts) {
			f.Certificates.All = append(f.Certificates.All, certificate.Info{Source: certificate.ClientCA, Names: []string{"Clients"}, NotAfter: ago(time.Hour)})
		}, doctor.Problem, "Clients expired", "admin-client-ca-file"},
		{"certificates", "none yet", healthy, func(f *doctor.Facts) {
			f.Certificates.All[0] = certificate.Info{Source: certificate.FromACME, Names: []string{"presence.example.com"}, Problem: "refused"}
		}, doctor.Problem, "no certificate for presence.example.com yet: refused", "SIGHUP"},
		{"certificates", "none yet, stopped", stopped, func(f *doctor.Facts) {
			f.Certificates.All[0] = certificate.Info{Source: certificate.FromACME, Names: []string{"presence.example.com"}}
		}, doctor.NotChecked, "obtains it when it runs", ""},
		{"certificates", "another name", healthy, func(f *doctor.Facts) { f.Certificates.All[0].Names = []string{"*.example.org", "192.0.2.1"} }, doctor.Problem, "no certificate is valid for presence.example.com, the host of public-url; they are valid for *.example.org, 192.0.2.1", "public-url"},
		{"certificates", "wildcard", healthy, func(f *doctor.Facts) { f.Certificates.All[0].Names = []string{"*.example.com"} }, doctor.OK, "valid for 60 days", ""},
		{"certificates", "unreadable", healthy, func(f *doctor.Facts) { f.Certificates.Unknown = "denied" }, doctor.Problem, "cannot be read: denied", "tls-cert-file"},
		{"certificates", "off", healthy, func(f *doctor.Facts) { f.Certificates = doctor.Certificates{} }, doctor.NotChecked, "TLS is off", ""},

		{"public-url", "not set", healthy, func(f *doctor.Facts) { f.Public = doctor.Public{} }, doctor.NotChecked, "not set", ""},
		{"public-url", "no address", healthy, func(f *doctor.Facts) { f.Public.NoAddress = "no such host" }, doctor.Problem, "does not resolve: no such host", "DNS"},
		{"public-url", "stopped", stopped, nil, doctor.NotChecked, "resolves to 192.0.2.1", ""},
		{"public-url", "stopped, and another answers", stopped, func(f *doctor.Facts) { f.Public.Issuer = "https://presence.example.com" }, doctor.Problem, "no server runs here, but", "stop one"},
		{"public-url", "no answer", healthy, func(f *doctor.Facts) { f.Public.NoAnswer = "connection refused" }, doctor.Warning, "nothing answers at public-url https://presence.example.com/ (192.0.2.1): connection refused", "firewall"},
		{"public-url", "another program", healthy, func(f *doctor.Facts) { f.Public.Issuer = "" }, doctor.Problem, "not a Porchlight server", "DNS"},
		{"public-url", "another name", healthy, func(f *doctor.Facts) { f.Public.Issuer = "https://other.example.com" }, doctor.Problem, "is configured with public-url https://other.example.com", "DNS"},
		{"public-url", "another certificate", healthy, func(f *doctor.Facts) { f.Public.Key = "sha256//other" }, doctor.Warning, "not one of this server's", "proxy"},
		{"public-url", "untrusted proxy", healthy, func(f *doctor.Facts) { f.Certificates, f.Public.Key = doctor.Certificates{}, "sha256//other" }, doctor.Problem, "cannot be verified: unknown authority", "proxy"},
		{"public-url", "proxy", healthy, func(f *doctor.Facts) {
			f.Certificates, f.Public.Key, f.Public.Untrusted = doctor.Certificates{}, "sha256//other", ""
		}, doctor.OK, "a Porchlight server", ""},
		{"public-url", "this server", healthy, nil, doctor.OK, "this server answers", ""},

		{"webhooks", "disabled", healthy, func(f *doctor.Facts) {
			f.Webhooks.Disabled = []doctor.Subscription{{ID: "one"}, {ID: "two"}, {ID: "three"}, {ID: "four"}, {ID: "five"}, {ID: "six"}}
		}, doctor.Problem, "6 subscriptions are disabled because the endpoint failed its validations, and no events are sent: one, two, three, four, five, …", "subscription enable"},
		{"webhooks", "failing", healthy, func(f *doctor.Facts) { f.Webhooks.Failing = []doctor.Subscription{{ID: "one"}} }, doctor.Problem, "1 subscription has an endpoint that is down: one", "subscription deliveries"},
		{"webhooks", "late", healthy, func(f *doctor.Facts) { f.Webhooks.Lag = 10 * time.Minute }, doctor.Warning, "10 minutes old", "concurrency"},
		{"webhooks", "unreadable", stopped, func(f *doctor.Facts) { f.Webhooks.Unknown = "damaged" }, doctor.NotChecked, "damaged", ""},
		{"webhooks", "stopped", stopped, nil, doctor.OK, "only a running server knows", ""},

		{"consumers", "late", healthy, func(f *doctor.Facts) { f.Health.Consumers[0].LagSeconds = 180 }, doctor.Warning, "consumer watch is 3 minutes behind", "will retry"},
		{"consumers", "very late", healthy, func(f *doctor.Facts) { f.Health.Consumers[0].LagSeconds = 4 * 86400 }, doctor.Problem, "more than a tenth of log-retention", "will retry"},
		{"consumers", "on another node", healthy, func(f *doctor.Facts) { f.Health.Consumers[1].LagSeconds = 4 * 86400 }, doctor.OK, "keep up", ""},
		{"consumers", "stopped", stopped, nil, doctor.NotChecked, "only with the server", ""},

		{"quarantine", "new", healthy, func(f *doctor.Facts) {
			f.Quarantine.Consumers = []doctor.Quarantined{{Consumer: "watch", Count: 2, Position: 7, Time: ago(time.Hour * 3)}}
		}, doctor.Problem, "watch skipped 2 entries, the newest at position 7 3 hours ago", "porchlight verify"},
		{"quarantine", "old", stopped, func(f *doctor.Facts) {
			f.Quarantine.Consumers = []doctor.Quarantined{{Consumer: "watch", Count: 1, Position: 7, Time: ago(30 * 24 * time.Hour)}}
		}, doctor.Warning, "1 entry", "porchlight verify"},
		{"quarantine", "unreadable", stopped, func(f *doctor.Facts) { f.Quarantine.Unknown = "damaged" }, doctor.NotChecked, "damaged", ""},

		{"nats", "none", healthy, nil, doctor.NotChecked, "in the data directory", ""},
		{"nats", "unusable", onNATS, func(f *doctor.Facts) { f.NATS.Unusable = "no connection" }, doctor.Problem, "cannot be used: no connection", "store-credentials"},
		{"nats", "settings", onNATS, func(f *doctor.Facts) { f.NATS.Settings = []string{"stream S has storage Memory"} }, doctor.Problem, "storage Memory", "restart"},
		{"nats", "version", onNATS, func(f *doctor.Facts) { f.NATS.Version = "2.9.3" }, doctor.Problem, "nats://n1 has version 2.9.3", "2.12"},
		{"nats", "version of another server", onNATS, func(f *doctor.Facts) { f.NATS.Synced[0].Version = "1.99.0" }, doctor.Problem, "server n1 has version 1.99.0", "2.12"},
		{"nats", "no leader", onNATS, func(f *doctor.Facts) { f.NATS.Streams[0].Leader = "" }, doctor.Problem, "S has no leader", "Repair"},
		{"nats", "one offline", onNATS, func(f *doctor.Facts) { f.NATS.Streams[0].Offline = []string{"n3"} }, doctor.Warning, "offline: n3", "Repair"},
		{"nats", "two offline", onNATS, func(f *doctor.Facts) { f.NATS.Streams[0].Offline = []string{"n2", "n3"} }, doctor.Problem, "offline: n2, n3", "Repair"},
		{"nats", "behind", onNATS, func(f *doctor.Facts) { f.NATS.Streams[1].Behind = []string{"n3"} }, doctor.Warning, "stream H has 3 replicas, and these are behind: n3", "Wait"},
		{"nats", "one replica", onNATS, func(f *doctor.Facts) { f.NATS.Replicas, f.NATS.Streams = 1, []doctor.Stream{{Name: "S", Replicas: 1}} }, doctor.Warning, "one replica", "store-replicas"},
		{"nats", "not synced", onNATS, func(f *doctor.Facts) { f.NATS.Synced[0].SyncAlways = false }, doctor.Problem, "do not sync every write: n1", "sync_interval"},
		{"nats", "not synced, relaxed", onNATS, func(f *doctor.Facts) { f.NATS.Synced[0].SyncAlways, f.NATS.Relaxed = false, true }, doctor.Warning, "may lose minutes", "sync_interval"},
		{"nats", "cannot ask", onNATS, func(f *doctor.Facts) { f.NATS.NoSync = "set store-system-credentials" }, doctor.NotChecked, "set store-system-credentials", ""},
		{"nats", "missing", onNATS, func(f *doctor.Facts) { f.NATS.Missing = 1 }, doctor.Warning, "1 server with JetStream did not report", "Repair"},
		{"nats", "server nearly full", onNATS, func(f *doctor.Facts) { f.NATS.Synced[0].Used = 9 * gib }, doctor.Warning, "n1 has used 9 GiB of the 10 GiB", "max_file_store"},
		{"nats", "account nearly full", onNATS, func(f *doctor.Facts) { f.NATS.Used = 9 * gib }, doctor.Warning, "used 9 GiB of its limit of 10 GiB", "JetStream limits"},
		{"nats", "account full", onNATS, func(f *doctor.Facts) { f.NATS.Used = 10 * gib }, doctor.Problem, "refused (507)", "JetStream limits"},
		{"nats", "no limit", onNATS, func(f *doctor.Facts) { f.NATS.Limit = -1 }, doctor.OK, "their leaders", ""},
		{"nats", "unknown limit", onNATS, func(f *doctor.Facts) { f.NATS.NoLimits, f.NATS.Limit = "denied", 0 }, doctor.NotChecked, "denied", ""},

		{"backups", "NATS", onNATS, nil, doctor.NotChecked, "NATS's own tools", ""},
		{"backups", "old", stopped, func(f *doctor.Facts) { f.Backups.Last, f.Backups.Due = ago(75*time.Hour), ago(51*time.Hour) }, doctor.Problem, "3 days old; the next one was due 2 days ago (backup-schedule @daily)", "porchlight backup"},
		{"backups", "a little late", healthy, func(f *doctor.Facts) { f.Backups.Due = ago(time.Hour) }, doctor.OK, "12 hours old", ""},
		{"backups", "none yet", healthy, func(f *doctor.Facts) { f.Backups.Last = time.Time{} }, doctor.Warning, "no backup in /backups yet", "a minute after"},
		{"backups", "none known", healthy, func(f *doctor.Facts) { f.Backups = doctor.Backups{} }, doctor.Warning, "none is scheduled", "backup-dir"},
		{"backups", "old, no schedule", healthy, func(f *doctor.Facts) { f.Backups = doctor.Backups{Last: ago(75 * time.Hour)} }, doctor.Warning, "3 days old, and none is scheduled", "backup-dir"},
		{"backups", "new, no schedule", healthy, func(f *doctor.Facts) { f.Backups = doctor.Backups{Last: ago(3 * time.Hour)} }, doctor.OK, "3 hours old", ""},
		{"backups", "failed", healthy, func(f *doctor.Facts) { f.Backups.Failures, f.Backups.Reason = 2, "no space" }, doctor.Problem, "2 backups in a row failed: no space", "Remove the cause"},
		{"backups", "unreadable", healthy, func(f *doctor.Facts) { f.Backups.Unknown = "not mounted" }, doctor.Problem, "cannot be read: not mounted", "mount"},
		{"backups", "future", healthy, func(f *doctor.Facts) { f.Backups.Last = now.Add(3 * time.Hour) }, doctor.Warning, "3 hours in the future", "clock"},

		{"settings", "problem", healthy, func(f *doctor.Facts) { f.Settings.Problems = []string{"tls-key-file: others can read it"} }, doctor.Problem, "others can read it", "config check"},
		{"settings", "warning", healthy, func(f *doctor.Facts) { f.Settings.Warnings = []string{"admin-listen is open"} }, doctor.Warning, "admin-listen is open", "restart"},
		{"settings", "open directory", healthy, func(f *doctor.Facts) {
			f.Settings.Open = []doctor.Permission{{Dir: "/data", Mode: "0755", What: doctor.DataDirectory}}
		}, doctor.Warning, "can read the data directory /data (mode 0755)", "chmod o= /data"},
		{"settings", "no proxies", healthy, func(f *doctor.Facts) { f.Certificates, f.Settings.HSTS = doctor.Certificates{}, false }, doctor.Warning, "all clients count as one address", "trusted-proxies"},
		{"settings", "no HTTPS", healthy, func(f *doctor.Facts) { f.Certificates, f.Settings.HTTPS = doctor.Certificates{}, false }, doctor.Warning, "hsts-max-age is set but is never sent", "tls-cert-file"},
		{"settings", "proxies", healthy, func(f *doctor.Facts) { f.Certificates, f.Settings.Proxies = doctor.Certificates{}, true }, doctor.OK, "no settings contradict", ""},
		{"settings", "all origins", healthy, func(f *doctor.Facts) { f.Settings.AnyOrigin = true }, doctor.Warning, "cors-origins is *", "origins"},
	}
}

// TestFindings: each change of facts that are in order has its outcome, and no other check
// has another one.
func TestFindings(t *testing.T) {
	for _, c := range findings() {
		t.Run(c.check+", "+c.name, func(t *testing.T) {
			f := c.from()
			if c.change != nil {
				c.change(f)
			}
			found := results(f, c.check)
			if !slices.ContainsFunc(found, func(r doctor.Result) bool {
				return r.Outcome == c.outcome && strings.Contains(r.Found, c.found) && strings.Contains(r.Do, c.do)
			}) {
				t.Errorf("want %s with %q and %q; found\n%+v", c.outcome, c.found, c.do, found)
			}
			if r := doctor.Judge(f, now); c.outcome == doctor.Problem && r.Outcome != doctor.Problem || c.outcome == doctor.Warning && r.Outcome == doctor.OK {
				t.Errorf("the report is %s", r.Outcome)
			}
		})
	}
}

// TestTable: every check has results in any case, each with what to do if it is not in order,
// and the table above has each check in each outcome that it can have.
func TestTable(t *testing.T) {
	checked := make(map[string]map[doctor.Outcome]bool)
	for _, c := range findings() {
		if checked[c.check] == nil {
			checked[c.check] = make(map[doctor.Outcome]bool)
		}
		checked[c.check][c.outcome] = true
		f := c.from()
		if c.change != nil {
			c.change(f)
		}
		for _, r := range doctor.Judge(f, now).Results {
			finding := r.Outcome == doctor.Problem || r.Outcome == doctor.Warning
			if r.Found == "" || finding != (r.Do != "") || strings.Contains(r.Found+r.Do, "\n") {
				t.Errorf("%s, %s: %+v", c.check, c.name, r)
			}
		}
	}
	var names []string
	for _, r := range doctor.Judge(new(doctor.Facts), now).Results {
		if len(names) == 0 || names[len(names)-1] != r.Check {
			names = append(names, r.Check)
		}
		if !checked[r.Check][doctor.Problem] && r.Check != "" {
			t.Errorf("no case has a problem of the check %s", r.Check)
		}
	}
	if want := []string{"server", "store", "disk", "clock", "descriptors", "certificates", "public-url", "webhooks", "consumers", "quarantine", "nats", "backups", "settings"}; !reflect.DeepEqual(names, want) {
		t.Errorf("the checks are %v", names)
	}
}

// TestUnits formats sizes and times.
func TestUnits(t *testing.T) {
	for want, got := range map[string]string{
		"0 B": doctor.Bytes(0), "1 KiB": doctor.Bytes(1 << 10), "1.5 MiB": doctor.Bytes(3 << 19), "2.0 TiB": doctor.Bytes(2 << 40),
		"0.25 seconds": doctor.Span(250 * time.Millisecond), "90 seconds": doctor.Span(-90 * time.Second),
		"2 minutes": doctor.Span(2 * time.Minute), "47 hours": doctor.Span(47 * time.Hour), "2 days": doctor.Span(48 * time.Hour),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
