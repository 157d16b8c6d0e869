package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/server"
)

// standard is the argument that stands for standard output or input.
const standard = "-"

// A dataDir is the one setting that the commands below take.
type dataDir struct {
	DataDir string `name:"data-dir" placeholder:"DIR" help:"The data directory. Also PORCHLIGHT_DATA_DIR."`
	Quiet   bool   `name:"quiet" short:"q" help:"Show no progress."`
}

// load is the directory as flag and environment say.
func (d *dataDir) load(s *shell) (string, error) {
	if at := s.getenv("PORCHLIGHT_STORE"); at != "" && d.DataDir == "" {
		return "", &usageError{"PORCHLIGHT_STORE says that the store is " + at + ", which the tools of NATS back up and restore (nats account backup): for the store of a data directory, name that with --data-dir"}
	}
	cfg, err := config.Load(config.Sources{
		Base: config.Default(), Getenv: only(s.getenv, "PORCHLIGHT_DATA_DIR"), Flags: config.Config{DataDir: d.DataDir}, Given: s.given,
	})
	return cfg.DataDir, err
}

// backupCommand is "porchlight backup".
type backupCommand struct {
	dataDir `embed:""`
	Force   bool   `name:"force" help:"Replace FILE."`
	File    string `arg:"" help:"File to make, or \"-\" for standard output."`
}

// Help is shown by --help.
func (*backupCommand) Help() string {
	return `A running server makes the backup while it serves; run this as the same user, on the same machine. Without one the data directory is read as it is. The backup has everything that was acknowledged before it began, and is of one moment. FILE appears when it is whole, readable for its owner alone. It is not compressed or encrypted.

Example:

    porchlight backup --data-dir /var/lib/porchlight /backups/porchlight-$(date +%F)
    porchlight backup --data-dir /var/lib/porchlight - | zstd | ssh nas 'cat > porchlight.zst'`
}

// Run implements the command.
func (c *backupCommand) Run(s *shell) error {
	dir, err := c.load(s)
	if err != nil {
		return err
	}
	b := server.Backup{DataDir: dir, File: c.File, Force: c.Force}
	if c.File == standard {
		switch {
		case s.json:
			return &usageError{"standard output gets the backup, so there is no place for --json: name a file, or leave --json out"}
		case s.isTerminal(s.stdout):
			return &usageError{"a backup is nothing to read on a terminal: name a file, or send standard output to one"}
		}
		b.File, b.To = "", s.stdout
	}
	m := s.meter("backup", c.Quiet)
	b.Progress = m.tell
	report, err := b.Run(s.ctx)
	m.end()
	if err != nil {
		return err
	}
	text := fmt.Sprintf("Backed up %s, as of %s, %s.\nsha256 %s\n", contents(report.Records, report.Entries, report.Documents, report.Bytes),
		report.Created.Local().Format(time.DateTime), rate(report.Bytes, report.Seconds), report.SHA256)
	if b.To != nil {
		_, err = fmt.Fprint(s.stderr, text)
		return err
	}
	return s.print(report, "%s", text)
}

// contents says what a store holds.
func contents(records, entries, documents, bytes int64) string {
	return fmt.Sprintf("%d users' records, %d log entries and %d documents (%s)", records, entries, documents, size(bytes))
}

// rate says how long bytes took.
func rate(bytes int64, took server.Second) string {
	seconds := max(time.Duration(took).Seconds(), 1e-3)
	return fmt.Sprintf("in %.1f s (%s/s)", seconds, size(int64(float64(bytes)/seconds)))
}

// size is bytes as people read them.
func size(bytes int64) string {
	value, unit := float64(bytes), "B"
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if value < 1024 {
			break
		}
		value, unit = value/1024, next
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", bytes)
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}

// source is the backup that an argument names.
func (s *shell) source(file string, m *meter) server.BackupFile {
	f := server.BackupFile{Path: file, Progress: m.tell}
	if file == standard {
		f.Path, f.From = "", s.stdin
	}
	return f
}

// restoreCommand is "porchlight restore".
type restoreCommand struct {
	dataDir `embed:""`
	place   `embed:""`
	File    string `arg:"" optional:"" help:"The backup, or \"-\" for standard input."`
}

// Help is shown by --help.
func (*restoreCommand) Help() string {
	return `The data directory must be missing or empty: nothing is overwritten. All of the backup is checked before there is anything in it; a restore that was cut short is begun again. Streams and queries of clients start anew, since the store gets a new epoch. Users, apps, tokens and statuses are as they were: what was revoked or deleted since the backup is back.

A store on NATS is brought back with the tools of NATS. After that, run this once with --store and without FILE: it gives the store its new epoch.

Example:

    porchlight restore --data-dir /var/lib/porchlight-new /backups/porchlight-2026-03-01
    zstd -dc porchlight.zst | porchlight restore --data-dir /var/lib/porchlight-new -`
}

// Run implements the command.
func (c *restoreCommand) Run(s *shell) error {
	if c.File == "" {
		return c.renew(s)
	}
	if c.Store != "" {
		return &usageError{"a backup file is restored to a data directory: leave --store out, and name that with --data-dir"}
	}
	dir, err := c.load(s)
	if err != nil {
		return err
	}
	m := s.meter("restore", c.Quiet)
	report, err := server.Restore(s.ctx, dir, s.source(c.File, m))
	m.end()
	if err != nil {
		return err
	}
	return s.print(report, "Restored %s, as of %s, %s.\nStart the server:\n\n  porchlight serve --data-dir %s\n",
		contents(report.Records, report.Entries, report.Documents, report.Bytes), report.Created.Local().Format(time.DateTime), rate(report.Bytes, report.Seconds), dir)
}

// renew is for a store that the tools of NATS brought back.
func (c *restoreCommand) renew(s *shell) error {
	cfg, err := config.Load(config.Sources{
		Base: config.Default(), Getenv: only(s.getenv, append(placeVariables(), "PORCHLIGHT_DURABILITY")...),
		Flags: c.place.settings(config.Config{}), Given: s.given,
	})
	if err != nil {
		return err
	}
	if cfg.Store == "" {
		return &usageError{"name the backup to restore, or \"-\" for standard input"}
	}
	if err := server.Renew(s.ctx, cfg); err != nil {
		return err
	}
	return s.print(map[string]string{"store": cfg.Store}, "The %s has a new epoch.\nStart the server:\n\n  porchlight serve %s\n", cfg.Place(), server.PlaceFlag(cfg))
}

// verifyCommand is "porchlight verify".
type verifyCommand struct {
	dataDir `embed:""`
	File    string `arg:"" optional:"" help:"The backup, or \"-\" for standard input."`
}

// Help is shown by --help.
func (*verifyCommand) Help() string {
	return `Reads all of a backup, or all of a data directory that no server runs on, and checks every checksum, every record, and what they say of each other. A changed byte is found. It changes nothing.

Example:

    porchlight verify /backups/porchlight-2026-03-01
    porchlight verify --data-dir /var/lib/porchlight`
}

// Run implements the command.
func (c *verifyCommand) Run(s *shell) error {
	if c.File != "" && c.DataDir != "" {
		return &usageError{"verify looks at one thing: name a backup, or a data directory with --data-dir"}
	}
	m := s.meter("verify", c.Quiet)
	report, err := c.verify(s, m)
	m.end()
	if err != nil {
		return err
	}
	what := "The backup"
	if report.DataDir != "" {
		what = "The data directory"
	}
	if !report.Created.IsZero() {
		what += " of " + report.Created.Local().Format(time.DateTime)
	}
	text := fmt.Sprintf("%s is whole: %s, %s.\n", what, contents(report.Records, report.Entries, report.Documents, report.Bytes), rate(report.Bytes, report.Seconds))
	if report.SHA256 != "" {
		text += "sha256 " + report.SHA256 + "\n"
	}
	return s.print(report, "%s", text)
}

func (c *verifyCommand) verify(s *shell, m *meter) (server.VerifyReport, error) {
	if c.File != "" {
		return server.Verify(s.ctx, s.source(c.File, m))
	}
	dir, err := c.load(s)
	if problems, ok := errors.AsType[config.Problems](err); ok && strings.Contains(problems.Error(), "is not set") {
		return server.VerifyReport{}, &usageError{"verify what? Name a backup, or a data directory with --data-dir DIR or PORCHLIGHT_DATA_DIR"}
	}
	if err != nil {
		return server.VerifyReport{}, err
	}
	return server.VerifyDir(s.ctx, dir, m.tell)
}
