package config

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Check returns all errors in the settings, each with what to do.
func (c *Config) Check() Problems {
	k := &checker{config: c}
	k.dataDir()
	k.store()
	k.storage()
	k.backups()
	k.listeners()
	k.publicURL()
	k.networks()
	k.hosts()
	k.origins()
	k.certificates()
	k.policy()
	k.quotas()
	k.hstsMaxAge()
	k.queueDelay()
	k.meetings()
	k.accessLog()
	k.oidc()
	k.telemetry()
	return k.found
}

type checker struct {
	config *Config
	found  Problems
}

func (k *checker) add(setting, format string, args ...any) {
	separator := ": "
	if strings.HasPrefix(format, "is ") || strings.HasPrefix(format, "must ") || strings.HasPrefix(format, "needs ") {
		separator = " "
	}
	k.found = append(k.found, Problem{Setting: setting, Text: setting + separator + fmt.Sprintf(format, args...)})
}

func (k *checker) dataDir() {
	dir := k.config.DataDir
	if dir == "" {
		if k.config.Store != "" {
			return
		}
		k.found = append(k.found, Problem{"data-dir", "--data-dir", "data-dir is not set: set it to the directory for the server's data"})
		return
	}
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		k.add("data-dir", "%s is a file: set a directory", dir)
	}
}

// store checks the settings of a store outside the data directory.
func (k *checker) store() {
	c := k.config
	const example = "expected a form such as nats://127.0.0.1:4222"
	if c.Store != "" {
		u, err := url.Parse(c.Store)
		switch {
		case err != nil || u.Host == "" || (u.Scheme != "nats" && u.Scheme != "tls"):
			k.add("store", "%q is not the URL of a store: %s", c.Store, example)
		case u.User != nil:
			k.add("store", "the URL contains credentials, which others could read: put them into a file and set store-credentials to its path")
		case u.RawQuery != "" || u.Fragment != "" || !storeName(u.Path):
			k.add("store", "the path must be empty, or a name of letters, digits, - and _: %s/presence", example)
		}
	}
	k.credentials("store-credentials", c.StoreCredentials)
	k.credentials("store-system-credentials", c.StoreSystemCredentials)
	if n := c.StoreReplicas; n > 5 || (n != 0 && n%2 == 0) {
		k.add("store-replicas", "%d is invalid: set 1, 3 or 5", n)
	}
}

func (k *checker) credentials(setting, file string) {
	if file == "" {
		return
	}
	k.secret(setting, file)
	if k.config.Store == "" {
		k.add(setting, "is set, but store is not: set both or neither")
	}
}

// storeName reports whether the path of a store's URL is empty or a valid name.
func storeName(path string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	name := strings.TrimPrefix(path, "/")
	return len(name) <= 32 && strings.Trim(name, letters) == ""
}

const minAuditRetention = 24 * time.Hour

func (k *checker) storage() {
	c := k.config
	if c.LogRetention != 0 && c.LogRetention < time.Minute {
		k.add("log-retention", "%s is too short: consumers of the log that are offline for longer miss changes; set at least 1m", FormatDuration(c.LogRetention))
	}
	if c.AuditRetention != 0 && c.AuditRetention < minAuditRetention {
		k.add("audit-retention", "%s is too short: set at least 1d, or 0 to keep events for ever", FormatDuration(c.AuditRetention))
	}
	if c.AuditKeyFile != "" {
		k.secret("audit-key-file", c.AuditKeyFile)
	}
	const maxRecords = 10_000_000
	if c.CacheRecords > maxRecords {
		k.add("cache-records", "%d would use more than 10 GiB of memory: set at most %d", c.CacheRecords, maxRecords)
	}
	if c.WriteBufferSize != 0 && (c.WriteBufferSize < 1<<20 || c.WriteBufferSize > 1<<30) {
		k.add("write-buffer-size", "%s is out of range: set 1MiB to 1GiB", c.WriteBufferSize)
	}
}

func (k *checker) listeners() {
	c := k.config.Filled()
	k.address("listen", c.Listen)
	if c.AdminOff() {
		return
	}
	host, ok := k.address("admin-listen", c.AdminListen)
	if !ok {
		return
	}
	if !loopback(host) && !c.AdminAnywhere && c.AdminClientCAFile == "" {
		k.add("admin-listen", "%s accepts connections from other machines without authentication: use 127.0.0.1, set admin-client-ca-file, or set admin-anywhere if a firewall protects the address", c.AdminListen)
	}
	if _, port, _ := net.SplitHostPort(c.Listen); c.Listen == c.AdminListen && port != "0" {
		k.add("admin-listen", "is the same address as listen: use another port, or \"off\"")
	}
}

// address checks HOST:PORT and returns the host.
func (k *checker) address(setting, address string) (string, bool) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		k.add(setting, "%q is not HOST:PORT: expected a form such as 127.0.0.1:8080, or :8080 for every interface", address)
		return "", false
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		k.add(setting, "%q is not a port: use a number from 1 to 65535, or 0 for any free port", port)
		return "", false
	} else if n > 65535 {
		return "", false
	}
	return host, true
}

func (k *checker) publicURL() {
	text := k.config.PublicURL
	if text == "" {
		return
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		k.add("public-url", "%q is not a URL: expected a form such as https://presence.example.com", text)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		k.add("public-url", "must have no user, query or fragment: expected a form such as https://presence.example.com")
	default:
		k.asciiHost("public-url", u.Hostname())
	}
}

func (k *checker) readable(setting, file string) bool {
	f, err := os.Open(file)
	if err != nil {
		k.add(setting, "%s cannot be read: %s; correct the path or the permissions", file, reason(err))
		return false
	}
	_ = f.Close() // opened only to check that it can be read
	return true
}

// secret checks a file with a secret, which only the server's user and group may read. It
// reports whether the file can be read. On Windows a mode does not tell who can.
func (k *checker) secret(setting, file string) bool {
	if !k.readable(setting, file) {
		return false
	}
	if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o007 != 0 && runtime.GOOS != "windows" {
		k.add(setting, "other users of this machine can read or write %s (mode %04o): run chmod o= %[1]s", file, info.Mode().Perm())
	}
	return true
}

func (k *checker) policy() {
	const day = 24 * time.Hour
	for _, d := range []struct {
		setting string
		value   time.Duration
		most    time.Duration
	}{
		{"min-update-interval", k.config.MinUpdateInterval, time.Hour},
		{"idle-after", k.config.IdleAfter, day},
		{"hsts-max-age", k.config.HSTSMaxAge, 10 * 365 * day},
		{"drain-delay", k.config.DrainDelay, 10 * time.Minute},
		{"drain-timeout", k.config.DrainTimeout, 10 * time.Minute},
	} {
		if d.value < 0 || d.value > d.most {
			k.add(d.setting, "%s is out of range: set 0 to %s", FormatDuration(d.value), FormatDuration(d.most))
		}
	}
}

// hstsMaxAge checks what the server sends in whole seconds; zero would turn HSTS off in
// browsers that have it.
func (k *checker) hstsMaxAge() {
	if d := k.config.HSTSMaxAge; d > 0 && d < time.Second {
		k.add("hsts-max-age", "%s is too short: set at least 1s, or 0 to turn it off", FormatDuration(d))
	}
}

// queueDelay checks what the server has in whole milliseconds.
func (k *checker) queueDelay() {
	if d := k.config.MaxQueueDelay; d < 0 || d > 0 && d < time.Millisecond {
		k.add("max-queue-delay", "%s is too short: set at least 1ms, or 0 to turn it off", FormatDuration(d))
	}
}

func (k *checker) meetings() {
	const least, most = time.Minute, 366 * 24 * time.Hour
	if d := k.config.MeetingTimeout; d != 0 && (d < least || d > most) {
		k.add("meeting-timeout", "%s is out of range: set %s to %s", FormatDuration(d), FormatDuration(least), FormatDuration(most))
	}
}

func (k *checker) accessLog() {
	if n := k.config.AccessLogSample; n < 0 {
		k.add("access-log-sample", "%d is negative: set a number from 1, which logs every request", n)
	}
	if d := k.config.AccessLogSlow; d < 0 {
		k.add("access-log-slow", "%s is negative: set a time such as 500ms", FormatDuration(d))
	}
	switch file := k.config.AccessLog; file {
	case "", "on", "off":
	default:
		if info, err := os.Stat(filepath.Dir(file)); err != nil || !info.IsDir() {
			k.add("access-log", "the directory %s of %s does not exist: create it, or set on or off", filepath.Dir(file), file)
		}
	}
}

func (k *checker) telemetry() {
	c := k.config.Filled()
	if at := c.OTLPEndpoint; at != "" {
		switch u, err := url.Parse(at); {
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
			k.add("otlp-endpoint", "is not a URL: expected a form such as http://127.0.0.1:4318")
		case u.User != nil:
			k.add("otlp-endpoint", "the URL contains credentials, which others could read: put them into a file as Authorization=Basic …, and set otlp-headers-file to its path")
		}
	}
	if file := c.OTLPHeadersFile; file != "" {
		k.secret("otlp-headers-file", file)
	}
	if share, err := strconv.ParseFloat(c.TraceSample, 64); err != nil || !(share >= 0 && share <= 1) {
		k.add("trace-sample", "%q is not a share: set a number from 0 to 1, such as 0.01", c.TraceSample)
	}
}

// TraceShare is trace-sample as a number.
func (c *Config) TraceShare() float64 {
	share, _ := strconv.ParseFloat(c.Filled().TraceSample, 64) // Check has refused any other
	return share
}
