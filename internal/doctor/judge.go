package doctor

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/certificate"
)

func judgeServer(j *judgement) {
	f := j.facts
	if !f.Running {
		j.skip(cmp.Or(f.NotRunning, "no server runs on the "+f.Place))
		return
	}
	h := f.Health
	if f.Draining {
		j.warn("the server is shutting down", "Wait until it has stopped, then start it again.")
	}
	if h != nil && h.ConnectionsLimit > 0 && h.Connections >= h.ConnectionsLimit {
		j.problem(fmt.Sprintf("all %d connections are in use: new ones evict idle ones or are refused", h.ConnectionsLimit),
			"Raise max-connections and the open file limit (LimitNOFILE), or find in the access log which clients hold them.")
	}
	j.okIfClean("version " + f.Version + " runs")
}

func judgeStore(j *judgement) {
	s := &j.facts.Store
	switch h := j.facts.Health; {
	case h != nil:
		j.runningStore(h)
	case s.Locked:
		j.problem("another process uses the store but does not answer", "It may be starting or stopping: try again. If that does not help, check its log, and run this command as the server's user.")
	case s.Error != "":
		j.problem("the store cannot be opened: "+s.Error, "Run this command as the server's user. If the store is damaged, copy it away, run \"porchlight verify\", and restore the newest intact backup.")
	case s.Unread != "":
		j.skip(s.Unread)
	case s.NoAccount:
		j.warn("the store has no account yet", "Start the server and open the set-up page that it prints, or run \"porchlight init\".")
	case j.facts.NATS != nil:
		j.ok("the store can be read")
	default:
		j.ok("the store opens; \"porchlight verify\" checks every byte of it")
	}
}

func (j *judgement) runningStore(h *api.ServerHealth) {
	switch h.State {
	case api.HealthReady:
		j.ok("the store accepts updates")
	case api.HealthReadOnly:
		j.problem("updates are refused: "+h.Reason, "Free space or enlarge the disk. Updates work again within a second.")
	default:
		j.problem("the store does not work: "+h.Reason, "Find the reason in the server's log, fix the disk or the NATS servers, then restart the server if it has stopped.")
	}
}

// lowMargin is how many times low-disk should be free.
const lowMargin = 4

func judgeDisks(j *judgement) {
	for i := range j.facts.Disks {
		j.disk(&j.facts.Disks[i])
	}
	if j.clean() {
		j.skip("the server stores nothing on this machine")
	}
}

func (j *judgement) disk(d *Disk) {
	name := d.What + " " + d.Dir
	free := fmt.Sprintf("%s are free for the %s", Bytes(d.Free), name)
	switch {
	case d.Unknown != "":
		j.problem("the disk of the "+name+" cannot be measured: "+d.Unknown, "Correct the path or the permissions, or mount the disk.")
	case d.ReadOnly != "":
		j.problem("the "+name+" cannot be written: "+d.ReadOnly, "Run this command as the server's user. If you did, correct the owner, the permissions or the mount.")
	case d.Low > 0 && d.Free < d.Low:
		j.problem(fmt.Sprintf("%s, less than %s: updates are refused (507)", free, Bytes(d.Low)), "Free space or enlarge the disk. Updates work again within a second.")
	case d.Low > 0 && d.Free < lowMargin*d.Low:
		j.warn(fmt.Sprintf("%s; below %s updates are refused", free, Bytes(d.Low)), "Free space or enlarge the disk before it is full.")
	case d.What == BackupDirectory && d.Shared:
		j.warn("the "+name+" is on the disk of the data directory, so whatever destroys that disk destroys the backups", "Set backup-dir to a directory on another disk, or copy the backups to another machine.")
	default:
		j.ok(free)
	}
}

// The values of Disk.What.
const (
	DataDirectory   = "data directory"
	BackupDirectory = "backup directory"
)

const (
	// clockStep is a difference that the server's own warning has too.
	clockStep = 2 * time.Second
	// clockProblem is a difference with which times in responses are wrong.
	clockProblem = time.Minute
	natsStep     = time.Second
)

func judgeClock(j *judgement) {
	c := &j.facts.Clock
	const correct = "Correct the clock of the machine, for example with NTP (timedatectl)."
	if c.Server != nil && c.Server.Abs() > clockStep {
		j.warn(fmt.Sprintf("the system clock was set; the server's clock is still %s it and approaches it by 0.1 s a second", offset(*c.Server)), "After a large step, restart the server to adopt the new time at once. After a small one, do nothing.")
	}
	if c.Machine != nil && c.Machine.Abs() > clockStep {
		j.clockOffset(*c.Machine, "the clock of the server's machine is %s this machine's", correct)
	}
	if c.NATS != nil && c.NATS.Abs()-c.Within > natsStep {
		j.clockOffset(*c.NATS, "this machine's clock is %s that of the NATS servers", "Correct the clocks of both machines, for example with NTP (timedatectl).")
	}
	if ahead := c.Newest.Sub(j.now); !c.Newest.IsZero() && ahead > clockProblem {
		j.problem(fmt.Sprintf("the newest change in the log is dated %s in the future: the clock was ahead, or is behind now", Span(ahead)), correct)
	}
	switch {
	case !j.clean():
	case c.Server == nil && c.Machine == nil && c.NATS == nil && c.Newest.IsZero():
		j.skip(cmp.Or(j.facts.Store.whyUnread(), "no server runs, and the log has no change to compare the clock with"))
	case c.NATS != nil:
		j.ok("the clock agrees with that of the NATS servers and with the log")
	default:
		j.ok("the clock agrees with the server's clock and with the log")
	}
}

func (j *judgement) clockOffset(by time.Duration, format, do string) {
	outcome := Warning
	if by.Abs() > clockProblem {
		outcome = Problem
	}
	j.add(outcome, fmt.Sprintf(format, offset(by)), do)
}

// offset says how far one clock is from another.
func offset(by time.Duration) string {
	if by < 0 {
		return Span(-by) + " behind"
	}
	return Span(by) + " ahead of"
}

// nearlyFull is the part of a limit above which there is a warning, in percent.
const nearlyFull = 80

func judgeDescriptors(j *judgement) {
	d := j.facts.Descriptors
	if d == nil {
		j.skip("the limit is that of the server's process, and no server runs")
		return
	}
	const raise = "Raise the open file limit (LimitNOFILE in systemd, ulimit -n), then restart the server."
	if d.Limit == 0 {
		j.skip("the open file limit is unknown on this system")
		return
	}
	if d.Asked > d.Allowed {
		j.problem(fmt.Sprintf("max-connections is %d, but the open file limit of %d allows %d", d.Asked, d.Limit, d.Allowed), raise)
	}
	if over(uint64(d.Used), d.Limit) {
		j.warn(fmt.Sprintf("%d of %d files and connections are open", d.Used, d.Limit), raise)
	}
	if d.Allowed > 0 && d.Open < d.Allowed && over(uint64(d.Open), uint64(d.Allowed)) {
		j.warn(fmt.Sprintf("%d of %d connections are open; at the limit, idle ones are evicted and new ones are refused", d.Open, d.Allowed), "Raise max-connections and the open file limit, or find out in the access log who has them.")
	}
	j.okIfClean(fmt.Sprintf("the open file limit of %d allows %d connections", d.Limit, d.Allowed))
}

// over reports whether a part is nearly the whole.
func over(part, whole uint64) bool { return float64(part)*100 >= float64(whole)*nearlyFull }

func judgeCertificates(j *judgement) {
	c := &j.facts.Certificates
	switch {
	case c.Unknown != "":
		j.problem("the certificates cannot be read: "+c.Unknown, "Correct the files that tls-cert-file, tls-key-file or admin-client-ca-file name, or their permissions.")
		return
	case !c.TLS:
		j.skip("TLS is off: a proxy has the certificate, or there is none")
		return
	}
	for i := range c.All {
		j.certificate(&c.All[i])
	}
	j.certificateName()
	j.okIfClean(validFor(c.All, j.now))
}

// validFor names the certificate that expires first.
func validFor(all []certificate.Info, now time.Time) string {
	if len(all) == 0 {
		return "there are no certificates"
	}
	first := slices.MinFunc(all, func(a, b certificate.Info) int { return a.NotAfter.Compare(b.NotAfter) })
	return fmt.Sprintf("the certificate for %s is valid for %s", first.Name(), Span(first.NotAfter.Sub(now)))
}

func (j *judgement) certificate(c *certificate.Info) {
	left, name := c.NotAfter.Sub(j.now), c.Name()
	switch {
	case c.NotAfter.IsZero():
		j.absent(c)
	case left <= 0:
		j.problem(fmt.Sprintf("the certificate for %s expired %s ago: clients refuse to connect", name, j.since(c.NotAfter)), renewal(c))
	case c.Problem != "" && left < certificate.ExpiresSoon:
		j.problem(fmt.Sprintf("the certificate for %s expires in %s, and its last renewal failed: %s", name, Span(left), c.Problem), renewal(c))
	case c.Problem != "":
		j.warn(fmt.Sprintf("the last renewal of the certificate for %s failed: %s", name, c.Problem), renewal(c))
	case left < certificate.ExpiresSoon && c.Source != certificate.SelfSigned:
		j.warn(fmt.Sprintf("the certificate for %s expires in %s", name, Span(left)), renewal(c))
	}
}

// absent judges a certificate that is not there yet.
func (j *judgement) absent(c *certificate.Info) {
	found := "there is no certificate for " + c.Name() + " yet"
	if !j.facts.Running {
		j.skip(found + "; the server obtains it when it runs")
		return
	}
	if c.Problem != "" {
		found += ": " + c.Problem
	}
	j.problem(found, renewal(c))
}

func renewal(c *certificate.Info) string {
	switch c.Source {
	case certificate.FromACME:
		return "See the server's log for the reason, check that acme-directory can be reached and that the name resolves to this server, then send the server SIGHUP to try again."
	case certificate.SelfSigned:
		return "Start the server, or send it SIGHUP: it renews the certificate itself."
	case certificate.ClientCA:
		return "Replace the certificate of the authority in admin-client-ca-file. The server reloads it."
	default:
		return "Replace both tls-cert-file and tls-key-file. The server reloads them within four seconds."
	}
}

// certificateName compares the names of the certificates with public-url.
func (j *judgement) certificateName() {
	u, err := url.Parse(j.facts.Public.URL)
	if err != nil || u.Hostname() == "" || len(j.facts.Certificates.All) == 0 {
		return
	}
	var names []string
	for i := range j.facts.Certificates.All {
		c := &j.facts.Certificates.All[i]
		if c.Source == certificate.ClientCA {
			continue
		}
		if covers(c.Names, u.Hostname()) {
			return
		}
		names = append(names, c.Names...)
	}
	j.problem(fmt.Sprintf("no certificate is valid for %s, the host of public-url; they are valid for %s", u.Hostname(), strings.Join(names, ", ")),
		"Install a certificate for this host, or set public-url to a name in the certificate.")
}

// covers reports whether a certificate with these names is valid for a host.
func covers(names []string, host string) bool {
	var c x509.Certificate
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, name)
		}
	}
	return c.VerifyHostname(host) == nil
}

func judgePublicURL(j *judgement) {
	p := &j.facts.Public
	switch {
	case p.URL == "":
		j.skip("public-url is not set")
	case p.NoAddress != "":
		j.problem("the host of public-url "+p.URL+" does not resolve: "+p.NoAddress, "Correct public-url, or the DNS records of the name.")
	case !j.facts.Running && p.Issuer != "":
		j.problem("no server runs here, but a Porchlight server answers at public-url "+p.URL+" ("+strings.Join(p.Addresses, ", ")+")", "If that is another machine, correct the DNS records or the proxy; if it uses a copy of this data, stop one of the two for good.")
	case !j.facts.Running:
		j.skip("no server runs; the host of " + p.URL + " resolves to " + strings.Join(p.Addresses, ", "))
	default:
		j.publicAnswer(p)
	}
}

// publicAnswer judges what answered while the server runs.
func (j *judgement) publicAnswer(p *Public) {
	at := fmt.Sprintf("%s (%s)", p.URL, strings.Join(p.Addresses, ", "))
	own := slices.ContainsFunc(j.facts.Certificates.All, func(c certificate.Info) bool { return c.PublicKey != "" && c.PublicKey == p.Key })
	const redirect = "Correct the DNS records, the proxy or public-url, so that public-url leads to this server."
	switch {
	case p.NoAnswer != "":
		j.warn("nothing answers at public-url "+at+": "+p.NoAnswer, "Check the firewall and the proxy. If public-url cannot be reached from this machine alone, check it from another one.")
	case p.Issuer == "":
		j.problem("what answers at public-url "+at+" is not a Porchlight server", redirect)
	case p.Issuer != strings.TrimRight(p.URL, "/"):
		j.problem("the server at public-url "+at+" is configured with public-url "+p.Issuer, redirect)
	case j.facts.Certificates.TLS && !own && p.Key != "":
		j.warn("the certificate at public-url "+at+" is not one of this server's", "If a proxy with its own certificate is in front, do nothing. Otherwise another server answers: correct the DNS records.")
	case p.Untrusted != "" && !own:
		j.problem("the certificate at public-url "+at+" cannot be verified: "+p.Untrusted, "Correct the certificate of the proxy.")
	case own:
		j.ok("this server answers at " + at)
	default:
		j.ok("a Porchlight server with this public-url answers at " + at + "; without a certificate of this server, it may be another one")
	}
}

// maxNamed is how many of many things a result names.
const maxNamed = 5

const (
	webhookLag  = 5 * time.Minute
	consumerLag = time.Minute // as in the alerting rules
	// retentionShare is the part of log-retention above which a lag is a problem.
	retentionShare = 10
)

func judgeWebhooks(j *judgement) {
	w := &j.facts.Webhooks
	const see = "Run \"porchlight subscription deliveries ID\" for the reasons"
	if w.Unknown != "" {
		j.skip("the subscriptions cannot be read: " + w.Unknown)
		return
	}
	if n := len(w.Disabled); n > 0 {
		j.problem(fmt.Sprintf("%s disabled because the endpoint failed its validations, and no events are sent: %s", count(n, "subscription is", "subscriptions are"), named(w.Disabled)),
			"Repair the endpoint, then run \"porchlight subscription enable ID\" and, for what it missed, \"porchlight subscription replay ID\".")
	}
	if n := len(w.Failing); n > 0 {
		j.problem(fmt.Sprintf("%s down: %s", count(n, "subscription has an endpoint that is", "subscriptions have endpoints that are"), named(w.Failing)), see+", and repair the endpoint. Events are retried meanwhile.")
	}
	if w.Lag > webhookLag {
		j.warn("the oldest event that was not sent yet is "+Span(w.Lag)+" old", "If an endpoint is down, repair it. Otherwise it is slow: raise the subscription's concurrency with \"porchlight subscription update ID --concurrency N\".")
	}
	switch {
	case !j.clean():
	case !j.facts.Running:
		j.ok(fmt.Sprintf("%s, none disabled; only a running server knows whether endpoints fail", count(w.Total, "subscription", "subscriptions")))
	default:
		j.ok(count(w.Total, "subscription", "subscriptions") + ", none disabled or failing")
	}
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func named(all []Subscription) string {
	var ids []string
	for i := range all[:min(len(all), maxNamed)] {
		ids = append(ids, all[i].ID)
	}
	if len(all) > maxNamed {
		ids = append(ids, "…")
	}
	return strings.Join(ids, ", ")
}

func judgeConsumers(j *judgement) {
	h := j.facts.Health
	if h == nil {
		j.skip("consumers run only with the server")
		return
	}
	for i := range h.Consumers {
		j.consumer(&h.Consumers[i])
	}
	j.okIfClean(count(len(h.Consumers), "consumer keeps up", "consumers keep up"))
}

func (j *judgement) consumer(c *api.ConsumerHealth) {
	lag := time.Duration(c.LagSeconds * float64(time.Second))
	found := fmt.Sprintf("the consumer %s is %s behind (%d entries, %d retries)", c.Name, Span(lag), c.LagEntries, c.Retries)
	const do = "Find \"consumer failed; will retry\" in the server's log, and remove the cause that err names."
	switch {
	case !c.Running:
	case lag > j.facts.Settings.Retention/retentionShare && j.facts.Settings.Retention > 0:
		j.problem(found+", more than a tenth of log-retention: it misses changes if it falls behind further", do)
	case lag > consumerLag:
		j.warn(found, do)
	}
}

// freshQuarantine is how long a quarantined entry is a problem and not only a warning: its
// record remains for good.
const freshQuarantine = 7 * 24 * time.Hour

func judgeQuarantine(j *judgement) {
	q := &j.facts.Quarantine
	if q.Unknown != "" {
		j.skip("the quarantined entries cannot be read: " + q.Unknown)
		return
	}
	for _, c := range q.Consumers {
		outcome := Warning
		if j.now.Sub(c.Time) < freshQuarantine {
			outcome = Problem
		}
		j.add(outcome, fmt.Sprintf("the consumer %s skipped %s, the newest at position %d %s ago: an event or a watch is missing", c.Consumer, count(int(min(c.Count, 1<<30)), "entry", "entries"), c.Position, j.since(c.Time)),
			"Find \"entry quarantined\" in the server's log for the reason. Run \"porchlight verify\" on a backup: a damaged entry means a damaged disk. Otherwise report it.")
	}
	j.okIfClean("no entry is quarantined")
}
