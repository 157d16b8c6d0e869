package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestDefaults: the defaults are valid, except for the data directory, which has none.
// Every field has a name and help.
func TestDefaults(t *testing.T) {
	c := Default()
	problems := c.Check()
	if len(problems) != 1 || problems[0].Setting != "data-dir" {
		t.Errorf("the defaults: %v", problems)
	}
	c.DataDir = t.TempDir()
	if problems := c.Check(); len(problems) > 0 {
		t.Errorf("the defaults with a data directory: %v", problems)
	}
	for _, s := range append(Settings(), ConnectionSettings()...) {
		if s.Name == "" || s.Group == "" || !strings.HasSuffix(s.Help, ".") || strings.Contains(s.Name, "_") {
			t.Errorf("%+v lacks a name, a group or a sentence of help", s)
		}
		if !strings.Contains(Reference(), "\n### "+s.Name+"\n") {
			t.Errorf("the reference lacks %s", s.Name)
		}
	}
}

// TestZero: the zero value of every field is usable.
func TestZero(t *testing.T) {
	zero := Config{DataDir: t.TempDir()}
	if problems := zero.Check(); len(problems) > 0 {
		t.Errorf("the zero settings: %v", problems)
	}
	filled := zero.Filled()
	if filled.Listen != "127.0.0.1:8080" || filled.Durability != "fsync" || !filled.AdminOff() || filled.MinUpdateInterval != 0 {
		t.Errorf("the zero settings, filled: %+v", filled)
	}
}

func TestUnits(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "90s": 90 * time.Second, "15m": 15 * time.Minute, "36h": 36 * time.Hour, "30d": 720 * time.Hour, "1d12h": 36 * time.Hour, "50ms": 50 * time.Millisecond, "106751d": 106751 * 24 * time.Hour,
	} {
		got, err := ParseDuration(text)
		if err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
		if again, err := ParseDuration(FormatDuration(got)); err != nil || again != got {
			t.Errorf("%v is formatted as %q, which parses as %v, %v", got, FormatDuration(got), again, err)
		}
	}
	for _, text := range []string{"900000d", "106752d", "99999999999d", "99999999999999999999d", "65535d2000000h", "9999999999h", "1d9999999999h", "99999999999999999999.5h1s"} {
		if _, err := ParseDuration(text); err == nil || !strings.Contains(err.Error(), "is too long a duration: use at most 106751d") {
			t.Errorf("the error of %q is %v", text, err)
		}
	}
	for _, text := range []string{"", "d", "-5s", "-9999999999h", "5", "1.5d", "1d-3h", "9999999999hours", "soon"} {
		if got, err := ParseDuration(text); err == nil || !strings.Contains(err.Error(), "is not a duration") {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
	for text, want := range map[string]Size{"0": 0, "1": 1, "64MiB": 64 << 20, "2 GiB": 2 << 30, "12B": 12} {
		var got Size
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
		var again Size
		if err := again.UnmarshalText([]byte(got.String())); err != nil || again != got {
			t.Errorf("%d is formatted as %q, which parses as %d, %v", got, got, again, err)
		}
	}
	for _, text := range []string{"", "-1", "1.5MiB", "9999999TiB", "64MB", "x"} {
		var got Size
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
}

// TestSecrets: a secret is read from its file, the variable or the flag, and is never
// printed.
func TestSecrets(t *testing.T) {
	env := map[string]string{"PORCHLIGHT_TOKEN": "canary"}
	getenv := func(name string) string { return env[name] }
	none := func(string) bool { return false }
	c, from, err := LoadConnection(Connection{}, none, getenv)
	if err != nil || c.Token != "canary" || c.URL != DefaultURL || from["token"] != "PORCHLIGHT_TOKEN" || from.URL(c) != DefaultURL+" (the default)" {
		t.Errorf("%+v from %v, %v", c, from, err)
	}
	for name, value := range c.Values(from) {
		if strings.Contains(fmt.Sprint(value), "canary") {
			t.Errorf("%s is printed", name)
		}
	}
	c, from, err = LoadConnection(Connection{Token: "flag"}, func(name string) bool { return name == "token" }, func(name string) string {
		if name == "PORCHLIGHT_TOKEN_FILE" {
			return "/nowhere"
		}
		return getenv(name)
	})
	if err != nil || c.Token != "flag" || from["token"] != "--token" {
		t.Errorf("a flag and a file variable: %+v from %v, %v", c, from, err)
	}
	env = map[string]string{"PORCHLIGHT_CLIENT_ID": "app"}
	_, _, err = LoadConnection(Connection{}, none, getenv)
	if problems, ok := errors.AsType[Problems](err); !ok || len(problems) != 2 {
		t.Errorf("incomplete credentials: %v", err)
	}
}

// TestUnknownVariables: a variable that sets nothing causes a warning, unless Kubernetes
// added it. A setting is known whatever its name.
func TestUnknownVariables(t *testing.T) {
	for _, test := range []struct {
		names []string
		want  []string // a part of each warning
	}{
		{[]string{"HOME", "PORCHLIGHT_LISTEN", "PORCHLIGHT_TOKEN", "PORCHLIGHT_CONFIG"}, nil},
		{[]string{"PORCHLIGHT_TOKE", "PORCHLIGHT_DATADIR"}, []string{"PORCHLIGHT_DATADIR is unknown and ignored (did you mean PORCHLIGHT_DATA_DIR?)", "did you mean PORCHLIGHT_TOKEN?"}},
		{[]string{"PORCHLIGHT_QWERTYUIOP"}, []string{"the environment variable PORCHLIGHT_QWERTYUIOP is unknown and ignored"}},
		{[]string{
			"PORCHLIGHT_PORT", "PORCHLIGHT_PORT_8080_TCP", "PORCHLIGHT_PORT_8080_TCP_ADDR", "PORCHLIGHT_PORT_8080_TCP_PORT",
			"PORCHLIGHT_PORT_8080_TCP_PROTO", "PORCHLIGHT_SERVICE_HOST", "PORCHLIGHT_SERVICE_PORT", "PORCHLIGHT_SERVICE_PORT_HTTP",
		}, nil},
		{[]string{"PORCHLIGHT_NATS_PORT", "PORCHLIGHT_NATS_PORT_4222_TCP_ADDR", "PORCHLIGHT_NATS_SERVICE_HOST", "PORCHLIGHT_NATS_SERVICE_PORT"}, nil},
		{[]string{"PORCHLIGHT_ADMIN_PORT"}, []string{"PORCHLIGHT_ADMIN_PORT is unknown"}},
	} {
		got := UnknownVariables(test.names)
		if len(got) != len(test.want) {
			t.Errorf("%v: %q", test.names, got)
			continue
		}
		for i, want := range test.want {
			if !strings.Contains(got[i], want) {
				t.Errorf("%v: %q, want %q", test.names, got[i], want)
			}
		}
	}

	settings := struct {
		Port string `name:"port"`
		Host string `name:"service-host"`
	}{}
	if got := unknownVariables([]string{"PORCHLIGHT_POR"}, fields(&settings)); len(got) != 1 || !strings.HasSuffix(got[0], "(did you mean PORCHLIGHT_PORT?)") {
		t.Errorf("a setting named like a variable of Kubernetes is not suggested: %q", got)
	}
	l := &loader{fields: fields(&settings), origin: make(Origins), invalid: make(map[string]bool)}
	l.environment(func(name string) string { return name })
	if settings.Port != "PORCHLIGHT_PORT" || settings.Host != "PORCHLIGHT_SERVICE_HOST" {
		t.Errorf("settings named like variables of Kubernetes are not read: %+v", settings)
	}
}

// TestOrigins: each value has its source, and its type in JSON.
func TestOrigins(t *testing.T) {
	env := map[string]string{"PORCHLIGHT_IDLE_AFTER": "5m"}
	c, from, err := LoadOrigins(Sources{
		Base: Default(), Getenv: func(name string) string { return env[name] },
		Flags: Config{DataDir: "data", AllowedHosts: "a,b", CacheRecords: 7, AdminAnywhere: true},
		Given: func(name string) bool {
			return name == "data-dir" || name == "allowed-hosts" || name == "cache-records" || name == "admin-anywhere"
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	values := c.Values(from)
	for name, want := range map[string]Value{
		"data-dir":        {"data", "flag", "--data-dir"},
		"idle-after":      {"5m", "environment", "PORCHLIGHT_IDLE_AFTER"},
		"cache-records":   {7, "flag", "--cache-records"},
		"admin-anywhere":  {true, "flag", "--admin-anywhere"},
		"allowed-hosts":   {[]string{"a", "b"}, "flag", "--allowed-hosts"},
		"cors-origins":    {[]string{}, "default", ""},
		"store-replicas":  {3, "default", ""},
		"max-connections": {0, "default", ""},
	} {
		if got := values[name]; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %#v, want %#v", name, got, want)
		}
	}
}

// FuzzFile: a file that cannot be parsed causes Problems with a position, and no other
// failure.
func FuzzFile(f *testing.F) {
	for _, text := range []string{"", "a", "listen: :8080\n", "a: &x [*x]", "? b", "listen:\n  - 1", "---\n---\na: 1", "listen: |\n  text", "\"listen\": 'x'", "{a: {b: c}}", "<<: *a", "!!set {a}"} {
		f.Add(text)
	}
	f.Fuzz(func(_ *testing.T, text string) {
		l := &loader{origin: make(Origins), invalid: make(map[string]bool)}
		l.fields = fields(&l.config)
		l.parse("f.yaml", []byte(text))
	})
}

// TestNetworks: the list accepts a network, an address, and IPv4 in IPv6; each invalid
// item is named.
func TestNetworks(t *testing.T) {
	c := Config{DataDir: t.TempDir(), TrustedProxies: "10.0.0.5, fd00::/8,::ffff:10.1.0.0/112,2001:db8::1,"}
	if problems := c.Check(); len(problems) > 0 {
		t.Error(problems)
	}
	if got := fmt.Sprint(c.Networks()); got != "[10.0.0.5/32 fd00::/8 10.1.0.0/16 2001:db8::1/128]" {
		t.Error(got)
	}
	if len(c.WebhookNetworks()) > 0 || len(Default().WebhookAllow) > 0 {
		t.Error("webhook-allow is not empty by default")
	}
	invalid := "10.0.0.5/8,proxy.example,fe80::1%eth0,10.0.0.1:80,0.0.0.0/0"
	c.TrustedProxies, c.WebhookAllow = invalid, "127.0.0.0/8,"+invalid
	problems := c.Check()
	if len(problems) != 8 || problems[3].Setting != "trusted-proxies" || problems[4].Setting != "webhook-allow" {
		t.Error(problems)
	}
	if got := fmt.Sprint(c.WebhookNetworks()); got != "[127.0.0.0/8 0.0.0.0/0]" {
		t.Error(got)
	}
}

// TestMetadataWarning: a network with the address of a cloud's credentials is warned of.
func TestMetadataWarning(t *testing.T) {
	for list, want := range map[string]int{"": 0, "127.0.0.0/8,10.0.0.0/8": 0, "169.254.0.0/16": 1, "10.0.0.0/8,0.0.0.0/0": 1, "::ffff:169.254.169.254": 1} {
		c := Config{Listen: "127.0.0.1:0", WebhookAllow: list}
		if got := c.Warnings(); len(got) != want || want == 1 && !strings.Contains(got[0], "webhook-allow") {
			t.Errorf("%q: %q", list, got)
		}
	}
}

// TestLists: a list in the file may be a sequence; other settings may not.
func TestLists(t *testing.T) {
	for text, want := range map[string]string{
		"trusted-proxies: [10.0.0.1, 10.0.0.2]":       "10.0.0.1,10.0.0.2",
		"trusted-proxies:\n  - 10.0.0.1\n  - fd00::1": "10.0.0.1,fd00::1",
		"trusted-proxies: 10.0.0.1,10.0.0.2":          "10.0.0.1,10.0.0.2",
	} {
		l := &loader{origin: make(Origins), invalid: make(map[string]bool)}
		l.fields = fields(&l.config)
		l.parse("f.yaml", []byte(text))
		if len(l.problems) > 0 || l.config.TrustedProxies != want {
			t.Errorf("%s: %q, %v", text, l.config.TrustedProxies, l.problems)
		}
	}
}

// TestHostsAndOrigins: the server's names and origins are normalised, and invalid ones
// are reported.
func TestHostsAndOrigins(t *testing.T) {
	c := Config{
		DataDir: t.TempDir(), Listen: "[::FFFF:192.0.2.1]:80", PublicURL: "https://Presence.example:443/base",
		AllowedHosts: "A.example,2001:DB8::1", CORSOrigins: "https://app.example,http://localhost:3000,*",
	}
	if problems := c.Check(); len(problems) > 0 {
		t.Error(problems)
	}
	if got := fmt.Sprint(c.Hosts()); got != "[a.example 2001:db8::1 presence.example 192.0.2.1]" || c.Everywhere() {
		t.Error(got)
	}
	if got := fmt.Sprint(c.Origins()); got != "[https://app.example http://localhost:3000 *]" || c.Origin() != "https://presence.example" {
		t.Error(got, c.Origin())
	}
	dotted := Config{Listen: "[fe80::1%lo]:80", PublicURL: "https://presence.example.:8443", AllowedHosts: "b.example."}
	if got := fmt.Sprint(dotted.Hosts()); got != "[b.example presence.example fe80::1]" {
		t.Errorf("with final dots and a zone: %s", got)
	}
	for listen, want := range map[string]bool{":80": true, "0.0.0.0:80": true, "[::]:80": true, "127.0.0.1:80": false, "a.example:80": false} {
		if got := (&Config{Listen: listen}).Everywhere(); got != want {
			t.Errorf("Everywhere with %s is %v", listen, got)
		}
	}
	c.AllowedHosts = "https://a.example,a.example:80,*.example,a/b,[::1]"
	c.CORSOrigins = "https://a.example/,https://A.example,a.example,https://a.example:443,null,ftp://a.example,https://u@a.example,https://a.example?x"
	if problems := c.Check(); len(problems) != 13 {
		t.Error(problems)
	}
}

// TestInternationalHosts: browsers send such hosts in their ASCII form, which a setting must
// have as well.
func TestInternationalHosts(t *testing.T) {
	c := Config{
		DataDir: t.TempDir(), ACME: true, PublicURL: "https://präsenz.example", ACMENames: "müller.example",
		AllowedHosts: "grün.example", CORSOrigins: "https://über.example:8443",
	}
	problems := c.Check()
	for _, want := range []string{
		"public-url: browsers send präsenz.example as xn--prsenz-cua.example: use that form",
		"acme-names: browsers send müller.example as xn--mller-kva.example: use that form",
		"allowed-hosts: browsers send grün.example as xn--grn-ioa.example: use that form",
		"cors-origins: browsers send über.example as xn--ber-goa.example: use that form",
	} {
		if !strings.Contains(problems.Error(), want) {
			t.Errorf("without %q:\n%v", want, problems)
		}
	}
	if len(problems) != 4 {
		t.Errorf("%d problems, want 4: %v", len(problems), problems)
	}
	for _, host := range []string{"grün_1.example", "ab--ü.example", "xn--ü.example", "אa.example"} { // have no such form
		c.PublicURL, c.ACMENames, c.AllowedHosts, c.CORSOrigins = "https://"+host, host, host, "https://"+host
		if problems := c.Check(); len(problems) != 4 {
			t.Errorf("%s: %d problems, want 4: %v", host, len(problems), problems)
		}
	}
	c.PublicURL, c.ACMENames, c.AllowedHosts, c.CORSOrigins = "https://xn--prsenz-cua.example", "xn--mller-kva.example", "xn--grn-ioa.example", "https://xn--ber-goa.example:8443"
	if problems := c.Check(); len(problems) > 0 {
		t.Error(problems)
	}
}

// TestInternationalHostsWithOtherProblems: each setting is reported for the form of its host
// and for what else is wrong.
func TestInternationalHostsWithOtherProblems(t *testing.T) {
	c := Config{DataDir: t.TempDir(), ACME: true, PublicURL: "http://präsenz.example", CORSOrigins: "https://über.example/path"}
	if problems := c.Check(); len(problems) != 4 {
		t.Errorf("%d problems, want 4: %v", len(problems), problems)
	}
}

// TestHSTSMaxAge: a time that would be sent as zero is refused.
func TestHSTSMaxAge(t *testing.T) {
	for value, ok := range map[time.Duration]bool{0: true, time.Second - 1: false, time.Second: true} {
		c := Config{DataDir: t.TempDir(), HSTSMaxAge: value}
		if problems := c.Check(); (len(problems) == 0) != ok {
			t.Errorf("%s: %v", value, problems)
		}
	}
}

// TestQueueDelay: a time that would turn the limit off by being rounded is refused.
func TestQueueDelay(t *testing.T) {
	for value, ok := range map[time.Duration]bool{
		0: true, time.Nanosecond: false, time.Millisecond - 1: false, time.Millisecond: true, time.Minute: true,
	} {
		c := Config{DataDir: t.TempDir(), MaxQueueDelay: value}
		if problems := c.Check(); (len(problems) == 0) != ok {
			t.Errorf("%s: %v", value, problems)
		}
	}
}

func TestMeetingTimeout(t *testing.T) {
	for value, ok := range map[time.Duration]bool{
		0: true, time.Minute: true, 24 * time.Hour: true, 366 * 24 * time.Hour: true,
		-time.Hour: false, 59 * time.Second: false, 366*24*time.Hour + 1: false,
	} {
		c := Default()
		c.DataDir, c.MeetingTimeout = t.TempDir(), value
		found := c.Check()
		if ok != (len(found) == 0) || (!ok && !strings.Contains(found.Error(), "meeting-timeout")) {
			t.Errorf("%v: %v", value, found)
		}
	}
}

// TestQuotas: omitted quotas have their defaults, and meaningless ones are refused.
func TestQuotas(t *testing.T) {
	c := Config{DataDir: t.TempDir()}.Filled()
	if want := "user=100,app=90%,account=90%,address=50%"; c.StreamLimits.String() != want {
		t.Errorf("the default is %s, want %s", c.StreamLimits, want)
	}
	for text, want := range map[string]string{
		"":                         "user=100,app=90%,account=90%,address=50%",
		"user=5":                   "user=5,app=90%,account=90%,address=50%",
		" address = none , user=7": "user=7,app=90%,account=90%,address=none",
		"app=100%,account=1":       "user=100,app=100%,account=1,address=50%",
	} {
		got, err := Load(Sources{Base: Config{DataDir: c.DataDir}, Getenv: func(name string) string {
			return map[string]string{"PORCHLIGHT_STREAM_LIMITS": text}[name]
		}})
		if err != nil || got.StreamLimits.String() != want {
			t.Errorf("%q is %s, %v; want %s", text, got.StreamLimits, err, want)
		}
	}
	for text, want := range map[string]int{"user=5": 5, "user=none": 0, "user=50%": 150, "user=1%": 3} {
		var q Quotas
		if err := q.UnmarshalText([]byte(text)); err != nil || q.User.Of(300) != want {
			t.Errorf("%q of 300 is %d, %v; want %d", text, q.User.Of(300), err, want)
		}
	}
	for _, text := range []string{"5", "user", "user=", "user=0", "user=-1", "user=101%", "user=x", "users=1", "user=1,user=2", "user=1;app=2", "user=9999999999"} {
		var q Quotas
		if err := q.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is %s", text, q)
		}
	}
	for setting, set := range map[string]func(*Config, Quotas){
		"write-limits":      func(c *Config, q Quotas) { c.WriteLimits = q },
		"live-token-limits": func(c *Config, q Quotas) { c.LiveTokenLimits = q },
	} {
		wrong := c
		set(&wrong, Quotas{Address: Quota{5, true}})
		if problems := wrong.Check(); len(problems) != 1 || problems[0].Setting != setting {
			t.Errorf("a percentage for addresses in %s: %v", setting, problems)
		}
	}
}

func TestProblemNamesTheSettingOnce(t *testing.T) {
	for _, c := range []struct{ where, text, want string }{
		{"", "listen: bad", "listen: bad"},
		{"a.yaml:3", "listen: bad", "a.yaml:3: listen: bad"},
		{"--listen", "listen: bad", "--listen: bad"},
		{"--listen", "listen is bad", "--listen is bad"},
		{"PORCHLIGHT_LISTEN", "listen: bad", "PORCHLIGHT_LISTEN: bad"},
		{"PORCHLIGHT_LISTEN", "/x cannot be read", "PORCHLIGHT_LISTEN: /x cannot be read"},
	} {
		if got := (Problem{"listen", c.where, c.text}).String(); got != c.want {
			t.Errorf("%q, %q is formatted as %q, want %q", c.where, c.text, got, c.want)
		}
	}
}

// TestNoSecretsInURLs: a password in a URL is refused, because "config print" shows the URL. The
// problem does not repeat it.
func TestNoSecretsInURLs(t *testing.T) {
	const password = "hunter2"
	for setting, c := range map[string]Config{
		"store":         {Store: "nats://ada:" + password + "@127.0.0.1"},
		"public-url":    {PublicURL: "https://ada:" + password + "@presence.example"},
		"otlp-endpoint": {OTLPEndpoint: "https://ada:" + password + "@collector.example"},
	} {
		c.DataDir = t.TempDir()
		if problems := c.Check(); len(problems) != 1 || problems[0].Setting != setting || strings.Contains(problems.Error(), password) {
			t.Errorf("%s: %v", setting, problems)
		}
	}
}

// TestSecretFiles: a file with a secret of the server is refused if other users of the
// machine can read or write it, whichever setting names it.
func TestSecretFiles(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a mode does not tell who can read a file on Windows")
	}
	for setting, set := range map[string]func(*Config, string){
		"audit-key-file": func(c *Config, file string) { c.AuditKeyFile = file },
		"oidc-client-secret-file": func(c *Config, file string) {
			c.OIDCIssuer, c.OIDCClientID, c.OIDCClientSecretFile = "https://login.example.com", "porchlight", file
		},
		"store-credentials":        func(c *Config, file string) { c.Store, c.StoreCredentials = "nats://127.0.0.1", file },
		"store-system-credentials": func(c *Config, file string) { c.Store, c.StoreSystemCredentials = "nats://127.0.0.1", file },
		"tls-key-file":             func(c *Config, file string) { c.TLSCertFile, c.TLSKeyFile = file, file },
	} {
		for mode, refused := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o644: true, 0o604: true, 0o602: true} {
			file := filepath.Join(t.TempDir(), "secret")
			if err := errors.Join(os.WriteFile(file, []byte("x"), mode), os.Chmod(file, mode)); err != nil {
				t.Fatal(err)
			}
			c := Config{DataDir: t.TempDir()}
			set(&c, file)
			var found bool
			for _, p := range c.Check() {
				found = found || p.Setting == setting && strings.Contains(p.Text, "other users of this machine") && strings.Contains(p.Text, "run chmod o= "+file)
			}
			if found != refused {
				t.Errorf("%s with mode %04o: refused is %v", setting, mode, found)
			}
		}
	}
}
