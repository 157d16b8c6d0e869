package config

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestBackupTimes: a schedule is in UTC unless it names a time zone, whose summer time it
// follows.
func TestBackupTimes(t *testing.T) {
	from := time.Date(2026, 3, 28, 12, 0, 0, 0, time.FixedZone("elsewhere", 5*3600))
	for schedule, want := range map[string]string{
		"":                                   "2026-03-29T00:00:00Z",
		"@daily":                             "2026-03-29T00:00:00Z",
		"@every 6h":                          "2026-03-28T13:00:00Z",
		" 30 3 * * *":                        "2026-03-29T03:30:00Z",
		"0 0 29 2 *":                         "2028-02-29T00:00:00Z",
		"0 4 * * sun":                        "2026-03-29T04:00:00Z",
		"CRON_TZ=Europe/Berlin 30 3 * * *":   "2026-03-29T01:30:00Z",
		"TZ=Europe/Berlin 30 6 28 3 *":       "2027-03-28T04:30:00Z",
		"@every 30s":                         "too often",
		"0 0 30 2 *":                         "no such day",
		"0 3 * *":                            "expected exactly 5 fields",
		"CRON_TZ=UTC":                        "times after the time zone",
		"CRON_TZ=Atlantis/Center 30 3 * * *": "Atlantis/Center",
		"daily":                              "expected exactly 5 fields",
		"61 3 * * *":                         "above maximum",
		"@every never":                       "@every never",
	} {
		c := Config{DataDir: t.TempDir(), BackupSchedule: schedule}
		times, err := c.BackupTimes()
		if err != nil {
			if found := c.Check(); !strings.Contains(err.Error(), want) || !strings.Contains(found.Error(), "backup-schedule") {
				t.Errorf("%q: %v, %v, want %s", schedule, err, found, want)
			}
			continue
		}
		if got := times.Next(from).UTC().Format(time.RFC3339); got != want {
			t.Errorf("%q: %s, want %s", schedule, got, want)
		}
	}
}

// TestBackupTimesThatAreSkipped: a time that the clock skips when summer time begins is made
// up for as soon as it would have come on a clock that was not changed.
func TestBackupTimesThatAreSkipped(t *testing.T) {
	for _, c := range []struct{ schedule, from, want string }{
		{"CRON_TZ=Europe/Berlin 30 2 * * *", "2026-03-28T12:00:00Z", "2026-03-29T01:30:00Z"},
		{"CRON_TZ=Europe/Berlin 30 2 * * *", "2026-03-29T00:59:00Z", "2026-03-29T01:30:00Z"},
		{"CRON_TZ=Europe/Berlin 30 2 * * *", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"},
		{"CRON_TZ=Europe/Berlin 30 2 * * sun", "2026-03-23T12:00:00Z", "2026-03-29T01:30:00Z"},
		{"CRON_TZ=Europe/Berlin 0 2,3 * * *", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"},
		{"CRON_TZ=Europe/Berlin 0 2,3 * * *", "2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"},
		{"CRON_TZ=Europe/Berlin */20 * * * *", "2026-03-29T00:40:00Z", "2026-03-29T01:00:00Z"},
		{"CRON_TZ=America/New_York 30 2 * * *", "2026-03-07T12:00:00Z", "2026-03-08T07:30:00Z"},
		{"CRON_TZ=America/New_York 30 2 * * *", "2026-03-08T06:45:00Z", "2026-03-08T07:30:00Z"},
		{"CRON_TZ=Africa/Cairo @daily", "2026-04-23T12:00:00Z", "2026-04-23T22:00:00Z"},
		{"CRON_TZ=Europe/Berlin 30 2 * * *", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"},
	} {
		times, err := (&Config{BackupSchedule: c.schedule}).BackupTimes()
		if err != nil {
			t.Fatal(err)
		}
		from, err := time.Parse(time.RFC3339, c.from)
		if err != nil {
			t.Fatal(err)
		}
		if got := times.Next(from).UTC().Format(time.RFC3339); got != c.want {
			t.Errorf("%q after %s: %s, want %s", c.schedule, c.from, got, c.want)
		}
	}
}

// TestBackupDir: backups are not made where they would be lost with the data, nor of a
// store on NATS.
func TestBackupDir(t *testing.T) {
	data := t.TempDir()
	for name, c := range map[string]struct {
		config Config
		want   string // in the problem; "": none
	}{
		"beside":          {Config{DataDir: data, BackupDir: data + "-backups"}, ""},
		"above":           {Config{DataDir: filepath.Join(data, "a"), BackupDir: data}, ""},
		"a similar name":  {Config{DataDir: filepath.Join(data, "a"), BackupDir: filepath.Join(data, "..a")}, ""},
		"missing":         {Config{DataDir: data, BackupDir: "/nowhere/at/all"}, ""},
		"inside":          {Config{DataDir: data, BackupDir: filepath.Join(data, "x", "backups")}, "inside data-dir"},
		"the same":        {Config{DataDir: data, BackupDir: data + "/."}, "inside data-dir"},
		"a file":          {Config{DataDir: data, BackupDir: "/dev/null"}, "is a file"},
		"a store on NATS": {Config{Store: "nats://127.0.0.1:4222", BackupDir: "/backups"}, "nats account backup"},
	} {
		found := c.config.Check()
		if (c.want == "") != (len(found) == 0) || c.want != "" && (!strings.Contains(found.Error(), "backup-dir") || !strings.Contains(found.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, found, c.want)
		}
	}
}
