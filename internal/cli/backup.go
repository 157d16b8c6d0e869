package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/server"
)

// standard is the argument for standard output or input.
const standard = "-"

// A dataDir has the flags that the commands below share.
type dataDir struct {
	DataDir string `name:"data-dir" placeholder:"DIR" help:"The data directory. Also PORCHLIGHT_DATA_DIR."`
	Quiet   bool   `name:"quiet" short:"q" help:"Show no progress."`
}

// load returns the directory from the flag or the environment.
func (d *dataDir) load(s *shell) (string, error) {
	if at := s.getenv("PORCHLIGHT_STORE"); at != "" && d.DataDir == "" {
		return "", &usageError{"PORCHLIGHT_STORE is " + at + ": back up and restore a store on NATS with NATS's own tools (nats account backup and restore), or specify a data directory with --data-dir"}
	}
	cfg, err := config.Load(config.Sources{
		Base: config.Default(), Getenv: only(s.getenv, "PORCHLIGHT_DATA_DIR"), Flags: config.Config{DataDir: d.DataDir}, Given: s.given,
	})
	return cfg.DataDir, err
}

// backupCommand is "porchlight backup".
type backupCommand struct {
	dataDir
	Force bool   `name:"force" help:"Replace FILE if it exists."`
	File  string `arg:"" help:"File to create, or \"-\" for standard output."`
}

func (*backupCommand) Help() string {
	return `If the server is running, it makes the backup while it serves requests: run the command on the same machine, as the same user. Otherwise the command reads the data directory directly. The backup is a consistent snapshot and contains everything acknowledged before it began. FILE appears when the backup is complete, and only its owner can read it. It is neither compressed nor encrypted.

Example:

    porchlight backup --data-dir /var/lib/porchlight /backups/porchlight-$(date +%F)
    porchlight backup --data-dir /var/lib/porchlight - | zstd | ssh nas 'cat > porchlight.zst'`
}

func (c *backupCommand) Run(s *shell) error {
	dir, err := c.load(s)
	if err != nil {
		return err
	}
	b := server.Backup{DataDir: dir, File: c.File, Force: c.Force}
	if c.File == standard {
		switch {
		case s.json:
			return &usageError{"--json cannot be used with a backup to standard output: specify a file, or omit --json"}
		case s.isTerminal(s.stdout):
			return &usageError{"refusing to write a backup to a terminal: specify a file, or redirect standard output"}
		}
		b.File, b.To = "", s.stdout
	}
	m := s.meter("backup", c.Quiet)
	b.Progress = m.update
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

// contents describes a backup.
func contents(records, entries, documents, bytes int64) string {
	return fmt.Sprintf("%s (%s)", items(records, entries, documents), size(bytes))
}

// items describes what a store holds.
func items(records, entries, documents int64) string {
	return counted(records, "user record", "user records") + ", " + counted(entries, "log entry", "log entries") + " and " + counted(documents, "document", "documents")
}

// counted formats a number of things, with the noun for one or for several.
func counted(n int64, one, several string) string {
	if n == 1 {
		several = one
	}
	return fmt.Sprintf("%d %s", n, several)
}

// rate describes how long bytes took.
func rate(bytes int64, took server.Second) string {
	seconds := max(time.Duration(took).Seconds(), 1e-3)
	return fmt.Sprintf("in %.1f s (%s/s)", seconds, size(int64(float64(bytes)/seconds)))
}

// size formats a number of bytes.
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

// source returns the backup that an argument names.
func (s *shell) source(file string, m *meter) server.BackupFile {
	f := server.BackupFile{Path: file, Progress: m.update}
	if file == standard {
		f.Path, f.From = "", s.stdin
	}
	return f
}

// restoreCommand is "porchlight restore".
type restoreCommand struct {
	dataDir
	place
	File string `arg:"" optional:"" help:"The backup, or \"-\" for standard input."`
}

func (*restoreCommand) Help() string {
	return `The data directory must be missing or empty: nothing is overwritten. The whole backup is checked before the store is put in place. If a restore is interrupted, run it again. The store gets a new epoch, so clients discard their cursors and start again. Users, apps, tokens and statuses are as they were at the time of the backup: tokens revoked and users deleted since then are back.

Restore a store on NATS with NATS's own tools (nats account restore). Then run this command once with --store and without FILE, to give the store its new epoch.

Example:

    porchlight restore --data-dir /var/lib/porchlight/restored /backups/porchlight-2026-03-01
    zstd -dc porchlight.zst | porchlight restore --data-dir /var/lib/porchlight/restored -`
}

func (c *restoreCommand) Run(s *shell) error {
	if c.File == "" {
		if c.Store == "" && (c.DataDir != "" || s.getenv("PORCHLIGHT_STORE") == "") {
			return &usageError{"specify the backup to restore, or \"-\" for standard input"}
		}
		return c.renew(s)
	}
	if c.Store != "" {
		return &usageError{"a backup file can only be restored to a data directory: replace --store with --data-dir"}
	}
	dir, err := c.load(s)
	if err != nil {
		return err
	}
	switch newest, err := server.BackupAt(c.File); {
	case err != nil:
		return err
	case newest != c.File:
		return &usageError{fmt.Sprintf("%s is a directory: specify one of the backups in it; the newest is %s", c.File, newest)}
	}
	m := s.meter("restore", c.Quiet)
	report, err := server.Restore(s.ctx, dir, s.source(c.File, m))
	m.end()
	if err != nil {
		return err
	}
	return s.print(report, "Restored %s, as of %s, %s.\nStart the server:\n\n  %s serve --data-dir %s\n",
		contents(report.Records, report.Entries, report.Documents, report.Bytes), report.Created.Local().Format(time.DateTime), rate(report.Bytes, report.Seconds), callOf(s.program), dir)
}

// renew gives a new epoch to a store that NATS's own tools restored.
func (c *restoreCommand) renew(s *shell) error {
	cfg, err := config.Load(config.Sources{
		Base: config.Default(), Getenv: only(s.getenv, append(placeVariables(), "PORCHLIGHT_DURABILITY")...),
		Flags: c.place.settings(config.Config{}), Given: s.given,
	})
	if err != nil {
		return err
	}
	if err := server.Renew(s.ctx, cfg); err != nil {
		return err
	}
	return s.print(map[string]string{"store": cfg.Store}, "The %s has a new epoch.\nStart the server:\n\n  %s serve %s\n", cfg.StoreDescription(), callOf(s.program), server.LocationFlag(cfg))
}

// verifyCommand is "porchlight verify".
type verifyCommand struct {
	dataDir
	Drill   bool   `name:"drill" help:"Restore the backup into a temporary directory, check that directory, open it as a server would, and remove it."`
	TempDir string `name:"temp-dir" placeholder:"DIR" help:"Existing directory for the temporary directory of --drill. By default the system's."`
	File    string `arg:"" optional:"" help:"The backup, or \"-\" for standard input. A directory of scheduled backups means the newest of them."`
}

func (*verifyCommand) Help() string {
	return `Reads a whole backup, or a whole data directory that no server is using, and checks every checksum, every record, and that records, log and indexes agree. It detects any altered byte and is read-only.

With --drill, the command proves that the backup can be restored: the restored store must have the same position and as many records, log entries and documents as the backup, and must open. The temporary directory needs about as much space as the backup, and contains secrets while the command runs. It is removed in any case.

Example:

    porchlight verify /backups/porchlight-2026-03-01
    porchlight verify --data-dir /var/lib/porchlight
    porchlight verify --drill /backups/porchlight`
}

func (c *verifyCommand) Run(s *shell) error {
	if c.Drill || c.TempDir != "" {
		return c.drill(s)
	}
	if c.File != "" && c.DataDir != "" {
		return &usageError{"verify checks one thing at a time: specify either a backup or, with --data-dir, a data directory"}
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
	text := fmt.Sprintf("%s is intact: %s, %s.\n", what, contents(report.Records, report.Entries, report.Documents, report.Bytes), rate(report.Bytes, report.Seconds))
	if report.SHA256 != "" {
		text += "sha256 " + report.SHA256 + "\n"
	}
	return s.print(report, "%s", text)
}

func (c *verifyCommand) verify(s *shell, m *meter) (server.VerifyReport, error) {
	if c.File != "" {
		file, err := server.BackupAt(c.File)
		if err != nil {
			return server.VerifyReport{}, err
		}
		return server.Verify(s.ctx, s.source(file, m))
	}
	dir, err := c.load(s)
	if problems, ok := errors.AsType[config.Problems](err); ok && strings.Contains(problems.Error(), "is not set") {
		return server.VerifyReport{}, &usageError{"nothing to verify: specify a backup, or a data directory with --data-dir"}
	}
	if err != nil {
		return server.VerifyReport{}, err
	}
	return server.VerifyDir(s.ctx, dir, m.update)
}

// drill restores a backup to a temporary directory.
func (c *verifyCommand) drill(s *shell) error {
	switch {
	case !c.Drill:
		return &usageError{"--temp-dir is only for --drill: add --drill, or omit --temp-dir"}
	case c.File == "" || c.DataDir != "":
		return &usageError{"--drill restores a backup: specify a backup or a directory of scheduled backups, and omit --data-dir"}
	}
	file, err := server.BackupAt(c.File)
	if err != nil {
		return err
	}
	m := s.meter("restore drill", c.Quiet)
	report, err := server.Drill(s.ctx, s.source(file, m), c.TempDir)
	m.end()
	if err != nil {
		return err
	}
	return s.print(report, "The backup %s of %s can be restored: %s. Restoring, checking and opening it took %.1f s; accounts: %d.\nsha256 %s\n",
		c.name(report.File), report.Created.Local().Format(time.DateTime), contents(report.Records, report.Entries, report.Documents, report.Bytes),
		time.Duration(report.Seconds).Seconds(), report.Accounts, report.SHA256)
}

// name is what a report calls the backup.
func (*verifyCommand) name(file string) string {
	if file == "" {
		return "from standard input"
	}
	return file
}
