package doctor

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The oldest version of NATS that the store works with.
const minNATSMajor, minNATSMinor = 2, 12

func judgeNATS(j *judgement) {
	n := j.facts.NATS
	if n == nil {
		j.skip("the store is in the data directory")
		return
	}
	if n.Unusable != "" {
		j.problem("the store cannot be used: "+n.Unusable, "Check that the NATS servers run, and correct the URL in store (with its NAME) or store-credentials.")
	}
	for _, text := range n.Settings {
		j.problem(text, "Change the setting as the line says, then restart the server.")
	}
	j.natsVersion(n.Version, n.Servers)
	for i := range n.Streams {
		j.stream(n, &n.Streams[i])
	}
	j.synced(n)
	j.natsSpace(n)
	j.okIfClean(fmt.Sprintf("NATS %s: the streams have their leaders, replicas and settings", n.Version))
}

func (j *judgement) natsVersion(version, server string) {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, errA := strconv.Atoi(major)
	b, errB := strconv.Atoi(minor)
	if errA != nil || errB != nil || a > minNATSMajor || a == minNATSMajor && b >= minNATSMinor {
		return
	}
	j.problem(fmt.Sprintf("the NATS server %s has version %s", server, version), fmt.Sprintf("Upgrade the servers, one after the other, to version %d.%d or later.", minNATSMajor, minNATSMinor))
}

func (j *judgement) stream(n *NATS, s *Stream) {
	const repair = "Repair or restart these servers. Do not change the members of the cluster meanwhile."
	if s.Cluster && s.Leader == "" {
		j.problem("the stream "+s.Name+" has no leader: writes are refused", repair)
	}
	if len(s.Offline) > 0 {
		outcome := Warning
		if 2*len(s.Offline) >= s.Replicas {
			outcome = Problem
		}
		j.add(outcome, fmt.Sprintf("the stream %s has %d replicas, and these are offline: %s", s.Name, s.Replicas, strings.Join(s.Offline, ", ")), repair)
	}
	if len(s.Behind) > 0 {
		j.warn(fmt.Sprintf("the stream %s has %d replicas, and these are behind: %s", s.Name, s.Replicas, strings.Join(s.Behind, ", ")), "Wait until they have caught up. If they stay behind, check the disk and the network of these servers.")
	}
	if s.Replicas == 1 && n.Replicas == 1 {
		j.warn("the stream "+s.Name+" has one replica: the disk of one server has the only copy", "With three servers, set store-replicas to 3, and change the stream with \"nats stream edit\".")
	}
}

// synced judges whether an acknowledged write is on a disk.
func (j *judgement) synced(n *NATS) {
	const always = "Set sync_interval: always in the jetstream block of each server, then restart the servers one after the other."
	if n.NoSync != "" {
		j.skip("unknown whether the servers sync every write: " + n.NoSync)
	}
	var unsynced []string
	for i := range n.Synced {
		s := &n.Synced[i]
		if !s.SyncAlways {
			unsynced = append(unsynced, s.Name)
		}
		j.natsVersion(s.Version, s.Name)
		if s.Limit > 0 && over(s.Used, s.Limit) {
			j.warn(fmt.Sprintf("the NATS server %s has used %s of the %s that it may store", s.Name, Bytes(s.Used), Bytes(s.Limit)), "Raise max_file_store of the server, or enlarge its disk.")
		}
	}
	switch found := "these servers do not sync every write: " + strings.Join(unsynced, ", "); {
	case len(unsynced) == 0:
	case n.Relaxed:
		j.warn(found+"; with durability os a power failure may lose minutes", always)
	default:
		j.problem(found+": a power failure loses acknowledged updates", always)
	}
	if n.Missing > 0 {
		j.warn(count(n.Missing, "server with JetStream did", "servers with JetStream did")+" not report whether it syncs every write", "Repair the server, or remove it from the cluster.")
	}
}

func (j *judgement) natsSpace(n *NATS) {
	if n.NoLimits != "" {
		j.skip("the limits of the account cannot be read: " + n.NoLimits)
	}
	if n.Limit <= 0 {
		return
	}
	limit := uint64(n.Limit)
	found := fmt.Sprintf("the NATS account has used %s of its limit of %s", Bytes(n.Used), Bytes(limit))
	const do = "Raise max_file (max_storage) of the account's JetStream limits."
	switch {
	case n.Used >= limit:
		j.problem(found+": updates are refused (507)", do)
	case over(n.Used, limit):
		j.warn(found, do)
	}
}

const (
	// backupGrace is how late a scheduled backup may be: it starts a minute after a start,
	// takes some time, and is made again after a failure.
	backupGrace = 2 * time.Hour
	// backupAge is how old the last backup may be without a schedule.
	backupAge = 2 * 24 * time.Hour
)

func judgeBackups(j *judgement) {
	b := &j.facts.Backups
	switch {
	case b.NATS:
		j.skip("a store on NATS is backed up with NATS's own tools (nats account backup)")
		return
	case b.Unknown != "":
		j.problem("the backups cannot be read: "+b.Unknown, "Create or mount the directory of backup-dir, and let the server's user read and write it.")
	}
	if b.Failures > 0 {
		j.problem(fmt.Sprintf("%s in a row failed: %s", count(b.Failures, "backup", "backups"), b.Reason), "Remove the cause. The server retries by itself; \"porchlight backup\" makes a backup now.")
	}
	j.backupAge(b)
	j.okIfClean("the last backup is " + j.since(b.Last) + " old")
}

func (j *judgement) backupAge(b *Backups) {
	const now = "Make one now with \"porchlight backup\"."
	switch {
	case b.Unknown != "":
	case b.Last.IsZero() && b.Dir == "":
		j.warn("no backup is known, and none is scheduled", now+" Set backup-dir for regular ones. If other tools make backups, check those.")
	case b.Last.IsZero():
		j.warn("there is no backup in "+b.Dir+" yet", "The server makes the first one a minute after it starts. "+now)
	case b.Last.Sub(j.now) > clockProblem:
		j.warn("the last backup is dated "+Span(b.Last.Sub(j.now))+" in the future: the clock was ahead, or is behind now", "Correct the clock of the machine.")
	case b.Dir != "" && j.now.Sub(b.Due) > backupGrace:
		j.problem(fmt.Sprintf("the last backup is %s old; the next one was due %s ago (backup-schedule %s)", j.since(b.Last), j.since(b.Due), b.Schedule), "Start the server if it is stopped; otherwise look for \"backup\" in its log. "+now)
	case b.Dir == "" && j.now.Sub(b.Last) > backupAge:
		j.warn("the last backup is "+j.since(b.Last)+" old, and none is scheduled", now+" Set backup-dir for regular ones.")
	}
}

func judgeSettings(j *judgement) {
	s := &j.facts.Settings
	for _, text := range s.Problems {
		j.problem(text, "Correct the setting, check it with \"porchlight config check\", then restart the server.")
	}
	for _, text := range s.Warnings {
		j.warn(text, "Change the setting as the line says, then restart the server.")
	}
	for _, p := range s.Open {
		j.warn(fmt.Sprintf("other users of this machine can read the %s %s (mode %s), which has hashes of secrets and everybody's presence", p.What, p.Dir, p.Mode), "Run chmod o= "+p.Dir+".")
	}
	tls := j.facts.Certificates.TLS
	if s.HTTPS && !tls && !s.Proxies {
		j.warn("public-url is https and the server has no certificate, so a proxy must be in front of it; but trusted-proxies is empty, so all clients count as one address", "Set trusted-proxies to the addresses of the proxy.")
	}
	if s.HSTS && !tls && !s.Proxies {
		j.warn("hsts-max-age is set but is never sent: the server has no certificate and trusts no proxy", "Set tls-cert-file, acme or trusted-proxies, or remove hsts-max-age.")
	}
	if s.AnyOrigin {
		j.warn("cors-origins is *, so every web page may call the API from its visitors' browsers", "List only the origins of your own pages.")
	}
	j.okIfClean("no settings contradict each other, and files with secrets are private")
}

// Bytes formats a number of bytes.
func Bytes(n uint64) string {
	value := float64(n)
	for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		if value < 1024 {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", value), ".0") + " " + unit
		}
		value /= 1024
	}
	return fmt.Sprintf("%.1f TiB", value)
}

// Span formats a duration for people, in its largest one or two units.
func Span(d time.Duration) string {
	const day = 24 * time.Hour
	switch d = d.Abs(); {
	case d >= 2*day:
		return fmt.Sprintf("%d days", d/day)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", d/time.Hour)
	case d >= 2*time.Minute:
		return fmt.Sprintf("%d minutes", d/time.Minute)
	case d >= 10*time.Second:
		return fmt.Sprintf("%d seconds", d/time.Second)
	default:
		return fmt.Sprintf("%.2g seconds", d.Seconds())
	}
}
