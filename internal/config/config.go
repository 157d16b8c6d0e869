// Package config is the settings: one plain struct that flags, environment and
// a YAML file fill in.
//
// It is separate from server, which takes a finished Config, and from cli, which
// owns the flags, so that each setting is written down once: its name, help and
// default stand in the tags of its field, and the flags, the reading of the
// environment and of the file, the reference and the listing all come from them.
//
// It guarantees that every mistake is reported at once, each with where it was
// made and what to do, that a key or value that means nothing is never passed
// over, and that a secret is never printed. It must not open, listen or log.
package config

import (
	"net"
	"net/url"
	"strings"
	"time"
)

// Config is the settings of a server. The zero of every field is usable: an
// empty text stands for the default (see Filled), and other zeros for what the
// field's help says.
type Config struct {
	DataDir                string `name:"data-dir" group:"Storage" placeholder:"DIR" help:"Directory that holds everything the server keeps. It has no default, and is needed unless store names another place."`
	Store                  string `name:"store" group:"Storage" placeholder:"URL" help:"Where the store is, if not in data-dir: nats://HOST:4222[,HOST…][/NAME] (or tls://) for NATS JetStream, where NAME tells several stores apart."`
	StoreCredentials       string `name:"store-credentials" group:"Storage" placeholder:"FILE" help:"File with what NATS asks for: a .creds file, or one line with USER:PASSWORD or a token."`
	StoreSystemCredentials string `name:"store-system-credentials" group:"Storage" placeholder:"FILE" help:"Likewise, for a user of the system account of NATS: nobody else can ask its servers whether they sync every write, and a start without the answer is refused unless durability is os."`
	StoreReplicas          int    `name:"store-replicas" group:"Storage" default:"3" placeholder:"N" help:"How many NATS servers hold each change: 3 or 5, or 1 for a single server. A store with fewer is refused. 0: the default."`

	Durability      string        `name:"durability" group:"Storage" default:"fsync" enum:"fsync,os" help:"When an update is acknowledged: fsync, when it is on stable storage; os, when the operating system has it, so that a crash of the machine may lose the last second. With NATS, os accepts servers that do not sync always, where a power cut may lose minutes."`
	LogRetention    time.Duration `name:"log-retention" group:"Storage" default:"30d" placeholder:"TIME" help:"How long the log of changes is kept. 0: the default."`
	LowDisk         Size          `name:"low-disk" group:"Storage" default:"256MiB" placeholder:"SIZE" help:"Free disk space below which updates are refused with 507, an eighth of the disk at most. 0: never."`
	CacheRecords    int           `name:"cache-records" group:"Storage" default:"65536" placeholder:"N" help:"Users whose records are kept decoded in memory, about 1 KiB each. 0: the default."`
	CacheSize       Size          `name:"cache-size" group:"Storage" default:"512MiB" placeholder:"SIZE" help:"The most memory for records in packed form, about 300 bytes a user; it is taken as there are users. 0: the default."`
	WriteBufferSize Size          `name:"write-buffer-size" group:"Storage" default:"32MiB" placeholder:"SIZE" help:"Memory in which updates gather before they go into a table, 1/64 of the disk at most. 0: the default."`

	Listen         string        `name:"listen" group:"Listening" default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Where the API is served. Port 0 takes any free one."`
	AdminListen    string        `name:"admin-listen" group:"Listening" default:"127.0.0.1:8081" placeholder:"HOST:PORT" help:"Where /livez, /readyz, /metrics and /debug/pprof are served; \"off\" or empty: nowhere. They ask for no token, so the address must be loopback."`
	AdminAnywhere  bool          `name:"admin-anywhere" group:"Listening" default:"false" help:"Allow an admin-listen that other machines can reach."`
	MaxConnections int           `name:"max-connections" group:"Listening" default:"0" placeholder:"N" help:"The most connections to the API at a time. At the limit the server evicts an idle connection for each new one, first those that never sent a token; if it can evict none, the new one gets 503. 0: as many as the limit of open files leaves beside what the store needs."`
	PublicURL      string        `name:"public-url" group:"Listening" placeholder:"URL" help:"The URL under which clients reach the API, if it is not that of listen: behind a proxy, say."`
	AllowedHosts   string        `name:"allowed-hosts" list:"true" group:"Listening" placeholder:"HOSTS" help:"Names, beside the hosts of public-url and listen and those of loopback, under which browsers may open pages and get and use tickets, separated by commas. Browsers get 421 under any other name, which prevents DNS rebinding."`
	CORSOrigins    string        `name:"cors-origins" list:"true" group:"Listening" placeholder:"ORIGINS" help:"Origins of pages that may call the API from a browser (CORS) and open streams, such as https://app.example.com, separated by commas; * for all. By default only the server's own pages may. Cookies are never used: such a page sends a token."`
	HSTSMaxAge     time.Duration `name:"hsts-max-age" group:"Listening" default:"0" placeholder:"TIME" help:"How long browsers must use only HTTPS for this host (Strict-Transport-Security). The header is sent only over HTTPS, of this server or of a trusted proxy. 0: it is not sent."`
	TrustedProxies string        `name:"trusted-proxies" list:"true" group:"Listening" placeholder:"NETWORKS" help:"Addresses and networks (CIDR) of the reverse proxies in front of this server, separated by commas. The server takes the client's address, scheme and host from X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host of these proxies only; each must set all three headers itself."`
	TLSCertFile    string        `name:"tls-cert-file" group:"Listening" placeholder:"FILE" help:"Certificate chain (PEM) to serve HTTPS with. It is read again when it changes and on SIGHUP."`
	TLSKeyFile     string        `name:"tls-key-file" group:"Listening" placeholder:"FILE" help:"Private key (PEM) of the certificate. Others must not be able to read it."`

	MinUpdateInterval time.Duration `name:"min-update-interval" group:"Policy" default:"60s" placeholder:"TIME" help:"Least time between two accepted PUT presence_status of a user. 0: no limit."`
	SignedInRule      string        `name:"signed-in-rule" group:"Policy" default:"zoom" enum:"zoom,off" help:"zoom: PUT presence_status is refused for a user who is not signed in; off: it is not."`
	LegacyTransitions bool          `name:"legacy-transitions" group:"Policy" default:"true" negatable:"" help:"Hold users whose newest client is older than 5.3.0 to the changes of status that Zoom allows it."`
	RateLimitPlan     string        `name:"rate-limit-plan" group:"Policy" default:"business" enum:"off,free,pro,business" help:"Zoom's account-wide limits of requests, by plan."`
	IdleAfter         time.Duration `name:"idle-after" group:"Policy" default:"15m" placeholder:"TIME" help:"How long after its last activity a session counts as idle. 0: never."`
	MeetingTimeout    time.Duration `name:"meeting-timeout" group:"Policy" default:"24h" placeholder:"TIME" help:"How long an in_meeting, presenting or on_call claim without an end lasts, whatever its source: 1m to 366d. Repeating the claim renews it. 0: the default."`

	MaxConnectionsPerAddress int    `name:"max-connections-per-address" group:"Limits" default:"0" placeholder:"N" help:"The most connections of one address, or of one /64 of IPv6. Those of trusted proxies are not counted. 0: half of max-connections."`
	StreamLimits             Quotas `name:"stream-limits" group:"Limits" default:"user=100,app=90%,account=90%,address=50%" placeholder:"LIMITS" help:"The most streams that are open at a time, long polls among them, by user, app, account and address: numbers, shares of max-connections, or none. A limit that is not named keeps its default."`
	TicketLimits             Quotas `name:"ticket-limits" group:"Limits" default:"user=120,app=60000,account=60000,address=60000" placeholder:"LIMITS" help:"The most tickets a minute."`
	TokenLimits              Quotas `name:"token-limits" group:"Limits" default:"user=60,app=6000,account=12000,address=6000" placeholder:"LIMITS" help:"The most new tokens a minute, of POST /oauth/token and POST /v1/tokens together."`
	LiveTokenLimits          Quotas `name:"live-token-limits" group:"Limits" default:"user=100,app=10000" placeholder:"LIMITS" help:"The most tokens that are valid at a time: of a user, and of an app for itself. At an app's limit, POST /oauth/token revokes the oldest tokens that it issued to the app; any other new token is refused."`
	WriteLimits              Quotas `name:"write-limits" group:"Limits" default:"user=3000,app=300000,account=600000,address=300000" placeholder:"LIMITS" help:"The most changes through the native API a minute. Changes through Zoom's API have the limits of rate-limit-plan."`

	WaitingReads int `name:"waiting-reads" group:"Limits" default:"64" placeholder:"N" help:"The most large reads, such as queries of more than 200 users, that wait in the queue. Half as many run at once as there are processors, and users take turns. Beyond the limit, the user with the most queued reads gets 503. 0: no limit."`

	LogLevel  string `name:"log-level" group:"Logging" default:"info" enum:"debug,info,warn,error" help:"The least severe messages that are written, to standard error."`
	LogFormat string `name:"log-format" group:"Logging" default:"text" enum:"text,json" help:"The form of the messages."`
	AccessLog string `name:"access-log" group:"Logging" default:"on" placeholder:"on|off|FILE" help:"A JSON line for each request: on (to standard output), off, or the file to append to, which is opened again on SIGHUP."`

	DrainDelay   time.Duration `name:"drain-delay" group:"Stopping" default:"5s" placeholder:"TIME" help:"On SIGTERM, how long to go on serving while /readyz is red, so that load balancers notice. An interrupt skips it."`
	DrainTimeout time.Duration `name:"drain-timeout" group:"Stopping" default:"20s" placeholder:"TIME" help:"How long running requests may take to finish after that. 0: they are cut off."`
}

// Default is the settings when nothing is set.
func Default() Config {
	var c Config
	setDefaults(&c)
	return c
}

// Filled is c with the defaults in place of texts that are empty, but for
// AdminListen, where empty means off.
func (c Config) Filled() Config {
	fillEmpty(&c)
	fillQuotas(&c)
	return c
}

// AdminOff reports whether there is no second listener.
func (c *Config) AdminOff() bool { return c.AdminListen == "" || c.AdminListen == "off" }

// Warnings are what is allowed but seldom meant.
func (c *Config) Warnings() []string {
	var all []string
	if c.Reachable() && c.TLSCertFile == "" && !c.behindTLS() {
		all = append(all, "listen "+c.Listen+" can be reached from other machines and there is no TLS, so tokens travel in the clear: set tls-cert-file and tls-key-file, or put a proxy with TLS in front and set public-url to its https URL")
	}
	if !c.AdminOff() && c.AdminAnywhere {
		if host, _, err := net.SplitHostPort(c.AdminListen); err == nil && !loopback(host) {
			all = append(all, "admin-listen "+c.AdminListen+" can be reached from other machines and asks for no token: keep it behind a firewall")
		}
	}
	return all
}

// Reachable reports whether other machines can reach listen.
func (c *Config) Reachable() bool {
	host, _, err := net.SplitHostPort(c.Listen)
	return err == nil && !loopback(host)
}

// Place names the store in messages: its directory or its URL.
func (c *Config) Place() string {
	if c.Store != "" {
		return "store " + c.Store
	}
	return "data directory " + c.DataDir
}

func (c *Config) behindTLS() bool {
	u, err := url.Parse(c.PublicURL)
	return err == nil && strings.EqualFold(u.Scheme, "https")
}

// loopback reports whether only this machine reaches host.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
