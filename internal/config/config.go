// Package config holds the settings: one plain struct that is filled from flags, the
// environment and a YAML file.
//
// It is separate from server, which takes a complete Config, and from cli, which
// defines the commands, so that each setting is defined once. A field's tags have its
// name, help and default. The flags, the parsing of the environment and the file, the
// reference and "config print" all use these tags.
//
// It guarantees that all errors are reported together, each with its place and what
// to do, that an unknown key or value is never ignored, and that a secret is never
// printed. It must not open, listen or log.
package config

import (
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Config is the settings of a server. The zero value of every field is usable: an
// empty string means the default (see Filled), and the field's help says what other
// zero values mean.
type Config struct {
	DataDir                string `name:"data-dir" group:"Storage" placeholder:"DIR" help:"Directory for all data of the server. Required unless store is set."`
	Store                  string `name:"store" group:"Storage" placeholder:"URL" help:"URL of the store, if it is not in data-dir: nats://HOST:4222[,HOST…][/NAME] (or tls://) for NATS JetStream. NAME distinguishes several stores on the same servers."`
	StoreCredentials       string `name:"store-credentials" group:"Storage" placeholder:"FILE" help:"File with the credentials for NATS: a .creds file, or one line with USER:PASSWORD or a token. Other users of the machine must not be able to read the file."`
	StoreSystemCredentials string `name:"store-system-credentials" group:"Storage" placeholder:"FILE" help:"File with the credentials of a user of the NATS system account, in the same formats. Only such a user can ask the NATS servers whether they sync every write. Without the answer the server refuses to start, unless durability is os."`
	StoreReplicas          int    `name:"store-replicas" group:"Storage" default:"3" placeholder:"N" help:"Number of NATS servers that store each change: 3 or 5, or 1 for a single server. The server refuses a store with fewer replicas. 0 means the default."`

	Durability      string        `name:"durability" group:"Storage" default:"fsync" enum:"fsync,os" help:"When an update is acknowledged. fsync: when it is on stable storage. os: when the operating system has it, so that a crash of the machine may lose the last second. With NATS, os also accepts servers that do not sync every write, where a power failure may lose minutes."`
	LogRetention    time.Duration `name:"log-retention" group:"Storage" default:"30d" placeholder:"TIME" help:"How long entries of the commit log are kept, read or not. 0 means the default."`
	AuditKeyFile    string        `name:"audit-key-file" group:"Storage" placeholder:"FILE" help:"Private key (PEM, Ed25519) that signs the checkpoints of the audit log. Create one with \"porchlight audit key\". Other users of the machine must not be able to read the file. Without a key, checkpoints are not signed, and anybody who can write to the store can replace the log unnoticed."`
	AuditRetention  time.Duration `name:"audit-retention" group:"Storage" default:"400d" placeholder:"TIME" help:"How long events of the audit log are kept: at least 1d, or 0 to keep them forever."`
	LowDisk         Size          `name:"low-disk" group:"Storage" default:"256MiB" placeholder:"SIZE" help:"Free disk space below which updates are refused with 507, at most an eighth of the disk. 0 disables the check."`
	CacheRecords    int           `name:"cache-records" group:"Storage" default:"65536" placeholder:"N" help:"Number of users whose decoded records are cached in memory, about 1 KiB each. 0 means the default."`
	CacheSize       Size          `name:"cache-size" group:"Storage" default:"512MiB" placeholder:"SIZE" help:"Maximum memory for cached encoded records, about 300 bytes for each user. The cache grows with the number of users. 0 means the default."`
	WriteBufferSize Size          `name:"write-buffer-size" group:"Storage" default:"32MiB" placeholder:"SIZE" help:"Memory that buffers updates before they are written to a table, at most 1/64 of the disk. 0 means the default."`

	BackupDir      string `name:"backup-dir" group:"Storage" placeholder:"DIR" help:"Directory for scheduled backups, of this server alone and not inside data-dir. It must exist. If it is empty, the server makes no backups by itself."`
	BackupSchedule string `name:"backup-schedule" group:"Storage" default:"@daily" placeholder:"TIMES" help:"When to make a backup in backup-dir: the five fields of cron (minute, hour, day of the month, month, day of the week), @hourly, @daily, @weekly, @monthly, or @every with a time of at least 1m. Times are in UTC, or in the time zone of a prefix: CRON_TZ=Europe/Berlin 30 3 * * *."`
	BackupKeep     int    `name:"backup-keep" group:"Storage" default:"7" placeholder:"N" help:"Number of backups to keep in backup-dir. Older ones are deleted after a new one was made and verified. 0 keeps all."`

	Setup bool `name:"setup" group:"Storage" default:"true" negatable:"" help:"If the store has no account yet, show a set-up page on the address of the API, which asks for a code that the server prints. Turn it off to end with an error instead, for example where an empty directory means that a disk is not mounted."`

	Listen         string        `name:"listen" group:"Listening" default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Address of the API. Port 0 selects a free port."`
	AdminListen    string        `name:"admin-listen" group:"Listening" default:"127.0.0.1:8081" placeholder:"HOST:PORT" help:"Address of /livez, /readyz, /metrics and /debug/pprof; \"off\" or empty disables them. They need no token, so the address must be on loopback unless admin-anywhere is set."`
	AdminAnywhere  bool          `name:"admin-anywhere" group:"Listening" default:"false" help:"Allow an admin-listen that other machines can reach."`
	FastPath       bool          `name:"fast-path" group:"Listening" default:"true" negatable:"" help:"Answer PUT and GET of presence_status, the most frequent requests, without the general HTTP server, which takes less CPU time. The responses are the same. Turn it off to rule it out when you look for the cause of a problem."`
	MaxConnections int           `name:"max-connections" group:"Listening" default:"0" placeholder:"N" help:"Maximum number of open connections to the API. At the limit the server evicts a connection for each new one: first an idle one that never sent a token, then one that has been idle for 250 ms. If it can evict none, the new connection gets 503. 0 means as many as the open file limit allows, less what the store needs."`
	PublicURL      string        `name:"public-url" group:"Listening" placeholder:"URL" help:"URL at which clients reach the API, if it differs from listen, for example behind a proxy."`
	AllowedHosts   string        `name:"allowed-hosts" list:"true" group:"Listening" placeholder:"HOSTS" help:"Additional host names under which browsers may load pages and obtain or use stream tickets, separated by commas. The hosts of public-url, of listen and of loopback are always allowed. Browsers get 421 under any other name, which prevents DNS rebinding."`
	CORSOrigins    string        `name:"cors-origins" list:"true" group:"Listening" placeholder:"ORIGINS" help:"Origins of web pages that may call the API from a browser (CORS) and open streams, such as https://app.example.com, separated by commas; * allows all. By default only the server's own pages may. Cookies are never used: such a page sends a token."`
	HSTSMaxAge     time.Duration `name:"hsts-max-age" group:"Listening" default:"0" placeholder:"TIME" help:"How long browsers must use only HTTPS for this host (Strict-Transport-Security). The header is sent only over HTTPS, provided by this server or by a trusted proxy. 0 disables the header."`
	TrustedProxies string        `name:"trusted-proxies" list:"true" group:"Listening" placeholder:"NETWORKS" help:"Addresses and networks (CIDR) of the reverse proxies in front of this server, separated by commas. Only from these proxies does the server accept the client's address, scheme and host in X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host. Each proxy must set all three headers itself."`

	TLSCertFile       string `name:"tls-cert-file" group:"TLS" placeholder:"FILE" help:"Certificate chain (PEM) for HTTPS. The server reloads it when the file changes and on SIGHUP."`
	TLSKeyFile        string `name:"tls-key-file" group:"TLS" placeholder:"FILE" help:"Private key (PEM) of the certificate. Other users of the machine must not be able to read the file."`
	TLSSelfSigned     bool   `name:"tls-self-signed" group:"TLS" default:"false" help:"Serve HTTPS with a certificate that the server makes and renews itself, for a private network. Clients must pin its key or trust its file: \"porchlight certificate\" shows both."`
	HTTPListen        string `name:"http-listen" group:"TLS" placeholder:"HOST:PORT" help:"Address of a listener for plain HTTP, usually :80. It answers ACME's http-01 challenges, and redirects browsers to HTTPS. By default there is none."`
	AdminClientCAFile string `name:"admin-client-ca-file" group:"TLS" placeholder:"FILE" help:"PEM file with the certificate authorities of the clients of admin-listen. With it, admin-listen speaks TLS with the certificate of the API, and refuses clients without a certificate that one of the authorities has signed (mutual TLS). The server reloads it when the file changes and on SIGHUP."`

	ACME               bool   `name:"acme" group:"ACME" default:"false" help:"Obtain a certificate for the host of public-url from a certificate authority (CA) by ACME, and renew it. By turning it on you agree to the CA's terms of service."`
	ACMENames          string `name:"acme-names" list:"true" group:"ACME" placeholder:"HOSTS" help:"Additional host names of this server that get a certificate, separated by commas. Each gets its own."`
	ACMEDirectory      string `name:"acme-directory" group:"ACME" default:"https://acme-v02.api.letsencrypt.org/directory" placeholder:"URL" help:"Directory URL of the CA. The default is Let's Encrypt."`
	ACMEEmail          string `name:"acme-email" group:"ACME" placeholder:"ADDRESS" help:"E-mail address for the account at the CA, which may write to it."`
	ACMEChallenge      string `name:"acme-challenge" group:"ACME" default:"tls-alpn-01" enum:"tls-alpn-01,http-01" help:"How the CA validates a name. tls-alpn-01: it connects to port 443, which must lead to listen without a proxy that terminates TLS. http-01: it connects to port 80, which must lead to http-listen."`
	ACMECAFile         string `name:"acme-ca-file" group:"ACME" placeholder:"FILE" help:"PEM file with the certificates to trust for the CA's own server, in place of the system's. A private CA usually needs it."`
	ACMEEABKeyID       string `name:"acme-eab-key-id" group:"ACME" placeholder:"ID" help:"Key identifier of an external account binding, if the CA requires one."`
	ACMEEABHMACKeyFile string `name:"acme-eab-hmac-key-file" group:"ACME" placeholder:"FILE" help:"File with the HMAC key of the external account binding, in base64url as the CA gives it. Other users of the machine must not be able to read the file."`

	MinUpdateInterval time.Duration `name:"min-update-interval" group:"Policy" default:"60s" placeholder:"TIME" help:"Minimum time between two accepted PUT presence_status requests for a user. 0 means no limit."`
	SignedInRule      string        `name:"signed-in-rule" group:"Policy" default:"zoom" enum:"zoom,off" help:"zoom: PUT presence_status is refused for a user who is not signed in. off: it is accepted."`
	LegacyTransitions bool          `name:"legacy-transitions" group:"Policy" default:"true" negatable:"" help:"Apply Zoom's rule for old clients: if the newest client of a user is older than 5.3.0, allow only the status changes that Zoom allows."`
	RateLimitPlan     string        `name:"rate-limit-plan" group:"Policy" default:"business" enum:"off,free,pro,business" help:"Zoom plan whose account-wide rate limits apply, or off."`
	IdleAfter         time.Duration `name:"idle-after" group:"Policy" default:"15m" placeholder:"TIME" help:"How long after its last activity a session becomes idle. 0 means never."`
	MeetingTimeout    time.Duration `name:"meeting-timeout" group:"Policy" default:"24h" placeholder:"TIME" help:"How long an in_meeting, presenting or on_call claim lasts if it has no end of its own, whatever its source: 1m to 366d. Repeating the claim renews it. 0 means the default."`

	Passwords bool `name:"passwords" group:"Sign-in" default:"true" negatable:"" help:"Let people sign in with a password. Turn it off if everybody signs in through an OpenID provider."`

	OIDCIssuer           string `name:"oidc-issuer" group:"Sign-in" placeholder:"URL" help:"Issuer URL of the OpenID provider through which people can sign in, such as https://login.example.com. If it is empty, there is no provider."`
	OIDCClientID         string `name:"oidc-client-id" group:"Sign-in" placeholder:"ID" help:"Client id of this server at the provider. Register the redirect URI there: public-url with the path /signin/oidc/callback."`
	OIDCClientSecretFile string `name:"oidc-client-secret-file" group:"Sign-in" placeholder:"FILE" help:"File that contains the client secret of this server at the provider. Omit it for a public client. Other users of the machine must not be able to read the file."`
	OIDCName             string `name:"oidc-name" group:"Sign-in" default:"single sign-on" placeholder:"NAME" help:"Name of the provider on the sign-in page, whose button reads \"Sign in with NAME\"."`
	OIDCAccount          string `name:"oidc-account" group:"Sign-in" placeholder:"ID" help:"Id of the account that people sign in to through the provider. It can be empty if the server has only one account."`
	OIDCCreateUsers      bool   `name:"oidc-create-users" group:"Sign-in" default:"true" negatable:"" help:"Create a user when somebody signs in through the provider for the first time, with an e-mail address that the provider has verified. If it is off, only existing users can sign in."`
	OIDCAllowedDomains   string `name:"oidc-allowed-domains" list:"true" group:"Sign-in" placeholder:"DOMAINS" help:"E-mail domains whose users can sign in through the provider for the first time, separated by commas. If it is empty, all domains are allowed. Set it if people outside your organisation can register with the provider."`
	OIDCGroupsClaim      string `name:"oidc-groups-claim" group:"Sign-in" placeholder:"NAME" help:"Claim of the ID token that lists a person's groups. At each sign-in, the user is added to these groups and removed from those that only an earlier ID token listed. If it is empty, the provider's groups are ignored."`
	OIDCAdminGroup       string `name:"oidc-admin-group" group:"Sign-in" placeholder:"NAME" help:"Group in oidc-groups-claim whose members become administrators of the account."`

	WebhookAllow string `name:"webhook-allow" list:"true" group:"Webhooks" placeholder:"NETWORKS" help:"Addresses and networks (CIDR) to which events may be sent although they are private, local or reserved, separated by commas, such as 10.1.0.0/16. By default only public addresses may be the target, because users choose the URLs of subscriptions: whoever may create one can reach every service in these networks on the ports 80, 443 and from 1024."`

	MaxConnectionsPerAddress int    `name:"max-connections-per-address" group:"Limits" default:"0" placeholder:"N" help:"Maximum number of connections of one address, or of one /64 in IPv6. Connections of trusted proxies are not counted. 0 means half of max-connections."`
	StreamLimits             Quotas `name:"stream-limits" group:"Limits" default:"user=100,app=90%,account=90%,address=50%" placeholder:"LIMITS" help:"Maximum numbers of open streams, including long polls, for each user, app, account and address: a number, a percentage of max-connections, or none. A limit that is not named keeps its default."`
	TicketLimits             Quotas `name:"ticket-limits" group:"Limits" default:"user=120,app=60000,account=60000,address=60000" placeholder:"LIMITS" help:"Maximum numbers of new tickets a minute, for each user, app, account and address."`
	TokenLimits              Quotas `name:"token-limits" group:"Limits" default:"user=60,app=6000,account=12000,address=6000" placeholder:"LIMITS" help:"Maximum numbers of new tokens a minute, from POST /oauth/token and POST /v1/tokens together."`
	LiveTokenLimits          Quotas `name:"live-token-limits" group:"Limits" default:"user=100,app=10000" placeholder:"LIMITS" help:"Maximum number of valid tokens for each user, and of an app's own (account-level) tokens for each app. At an app's limit, POST /oauth/token revokes the oldest tokens that it issued to the app. Any other new token past a limit is refused."`
	WriteLimits              Quotas `name:"write-limits" group:"Limits" default:"user=3000,app=300000,account=600000,address=300000" placeholder:"LIMITS" help:"Maximum numbers of changes a minute through the native API. Changes through Zoom's API have the limits of rate-limit-plan."`

	WaitingReads int `name:"waiting-reads" group:"Limits" default:"64" placeholder:"N" help:"Maximum number of queued large reads, such as queries of more than 200 users. The server runs half as many at once as there are processors, and serves users in turn. Past the limit, the user with the most queued reads gets 503. 0 means no limit."`

	MaxQueueDelay time.Duration `name:"max-queue-delay" group:"Limits" default:"50ms" placeholder:"TIME" help:"Longest time that requests may queue because others are answered first. Above it, the server refuses some of them with 503 and Retry-After, reads before updates, so that the others are answered in time. 0 turns this off."`

	LogLevel  string `name:"log-level" group:"Logging" default:"info" enum:"debug,info,warn,error" help:"Lowest severity to log. The log is written to standard error. A running server reloads it on SIGHUP, and \"porchlight log-level\" changes it for a while."`
	LogFormat string `name:"log-format" group:"Logging" default:"text" enum:"text,json" help:"Format of the log."`
	AccessLog string `name:"access-log" group:"Logging" default:"on" placeholder:"on|off|FILE" help:"Access log, with a JSON line for each request: on (standard error, like the other logs), off, or a file to append to, which is reopened on SIGHUP."`

	AccessLogSample int           `name:"access-log-sample" group:"Logging" default:"1" placeholder:"N" help:"Log one of N successful requests in the access log, to write less under load. Such a line has the member sample with the value N. Errors and slow requests are always logged. 0 and 1 log every request."`
	AccessLogSlow   time.Duration `name:"access-log-slow" group:"Logging" default:"500ms" placeholder:"TIME" help:"Requests that take at least this long are always logged in the access log, whatever access-log-sample is. 0 means the default."`

	OTLPEndpoint    string `name:"otlp-endpoint" group:"Telemetry" placeholder:"URL" help:"Base URL of an OpenTelemetry collector, such as http://127.0.0.1:4318, to which the server sends traces and metrics by OTLP over HTTP. By default it sends none. The standard variables OTEL_EXPORTER_OTLP_… take precedence."`
	OTLPHeadersFile string `name:"otlp-headers-file" group:"Telemetry" placeholder:"FILE" help:"File with headers for the collector, such as its credentials, one NAME=VALUE in each line. Other users of the machine must not be able to read the file."`
	TraceSample     string `name:"trace-sample" group:"Telemetry" default:"0.01" placeholder:"SHARE" help:"Share of the requests without a traceparent to trace, from 0 to 1. A request with one is traced if its trace is sampled, but for this reason alone at most 10 a second are."`

	DrainDelay   time.Duration `name:"drain-delay" group:"Stopping" default:"5s" placeholder:"TIME" help:"After SIGTERM, how long the server keeps serving while /readyz reports 503, so that load balancers notice. Ctrl-C skips this delay."`
	DrainTimeout time.Duration `name:"drain-timeout" group:"Stopping" default:"20s" placeholder:"TIME" help:"How long requests in flight may then take to finish. 0 aborts them at once."`
}

// Default returns the default settings.
func Default() Config {
	var c Config
	for _, f := range fields(&c) {
		f.reset()
	}
	return c
}

// Filled returns c with defaults in place of empty strings, except in AdminListen,
// where empty means off.
func (c Config) Filled() Config {
	fillEmpty(&c)
	fillQuotas(&c)
	return c
}

// AdminOff reports whether there is no second listener.
func (c *Config) AdminOff() bool { return c.AdminListen == "" || c.AdminListen == "off" }

// Warnings lists settings that are allowed but insecure.
func (c *Config) Warnings() []string {
	var all []string
	if c.Reachable() && !c.TLS() && !c.behindTLS() {
		all = append(all, "listen "+c.Listen+" accepts connections from other machines without TLS, so tokens travel unencrypted: set tls-cert-file and tls-key-file, acme or tls-self-signed, or put a proxy with TLS in front and set public-url to its https URL")
	}
	if !c.AdminOff() && c.AdminAnywhere && c.AdminClientCAFile == "" {
		if host, _, err := net.SplitHostPort(c.AdminListen); err == nil && !loopback(host) {
			all = append(all, "admin-listen "+c.AdminListen+" accepts connections from other machines without authentication: protect it with a firewall")
		}
	}
	for _, network := range c.WebhookNetworks() {
		if metadata := netip.MustParseAddr("169.254.169.254"); network.Contains(metadata) {
			all = append(all, "webhook-allow "+network.String()+" includes "+metadata.String()+", where cloud providers hand out the machine's credentials: list only the networks of the endpoints")
		}
	}
	return all
}

// Reachable reports whether other machines can reach listen.
func (c *Config) Reachable() bool {
	host, _, err := net.SplitHostPort(c.Listen)
	return err == nil && !loopback(host)
}

// StoreDescription describes the store for messages, by its directory or URL.
func (c *Config) StoreDescription() string {
	if c.Store != "" {
		return "store " + c.Store
	}
	return "data directory " + c.DataDir
}

func (c *Config) behindTLS() bool {
	u, err := url.Parse(c.PublicURL)
	return err == nil && strings.EqualFold(u.Scheme, "https")
}

// loopback reports whether host can be reached only from this machine.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
