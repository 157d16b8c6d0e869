package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

type userImport struct {
	Remote
	File      string `arg:"" help:"CSV file, or - for standard input."`
	DryRun    bool   `name:"dry-run" help:"Change nothing. Report what would change, and the lines that would be refused."`
	AllErrors bool   `name:"all-errors" help:"List all refused lines. By default, the first 1,000 are listed and the others only counted."`
	Quiet     bool   `name:"quiet" short:"q" help:"Do not show progress."`
}

func (*userImport) Help() string {
	return `The first line of the file names its columns, in any order: email (required), first_name, last_name, display_name, department, groups (separated by semicolons), role, active and external_id. Users are matched by e-mail address: new users are created, and existing users are updated. A column that is missing changes nothing; without display_name, new users are shown by first and last name. An empty cell clears its field, except for role and active, which stay as they are.

The file must be UTF-8, with commas, semicolons or tabs between cells. An apostrophe that protects a cell from being read as a formula is removed. To complete an interrupted import, import the same file again: what is already imported does not change. If a line is refused, the other lines are still imported, and the command exits with 1.

Example:

    porchlight user import staff.csv --dry-run
    porchlight user import staff.csv
    porchlight user import staff.csv --dry-run --all-errors`
}

func (c *userImport) Run(s *shell, cl *client.Client) error {
	list, err := c.open(s)
	if err != nil {
		return err
	}
	defer list.Close()
	m := &importMeter{s: s, show: !c.Quiet && !s.json, terminal: s.isTerminal(s.stderr), started: time.Now()}
	result, err := cl.ImportUsers(s.ctx, list, client.ImportOptions{DryRun: c.DryRun, AllErrors: c.AllErrors}, m.event)
	m.clear()
	if err != nil {
		return err
	}
	return c.report(s, result, m.refused)
}

func (c *userImport) open(s *shell) (io.ReadCloser, error) {
	if c.File == standard {
		return io.NopCloser(s.stdin), nil
	}
	file, err := os.Open(c.File)
	if err != nil {
		return nil, &usageError{err.Error()}
	}
	return file, nil
}

// An importReport is the result of an import as --json prints it.
type importReport struct {
	api.ImportCounts

	DryRun   bool              `json:"dry_run"`
	Complete bool              `json:"complete"`
	Errors   []api.ImportEvent `json:"errors"`
}

func (c *userImport) report(s *shell, result *api.ImportEvent, refused []api.ImportEvent) error {
	counts := api.ImportCounts{}
	if result.ImportCounts != nil {
		counts = *result.ImportCounts
	}
	if s.json {
		if err := s.printJSON(importReport{counts, result.DryRun, result.Complete, append([]api.ImportEvent{}, refused...)}); err != nil {
			return err
		}
	} else if _, err := io.WriteString(s.stdout, summary(&counts, c.DryRun)); err != nil {
		return err
	}
	switch {
	case result.Problem != nil:
		return fmt.Errorf("the import stopped: %s Run the command again to complete the import", result.Problem.Detail)
	case counts.Failed > len(refused):
		return fmt.Errorf("%d of %d lines were refused; only the first %d are listed: repeat the command with --all-errors to list all", counts.Failed, counts.Rows, len(refused))
	case counts.Failed > 0:
		return fmt.Errorf("%d of %d lines were refused", counts.Failed, counts.Rows)
	}
	return nil
}

func summary(n *api.ImportCounts, dry bool) string {
	format := "Users created: %d, updated: %d, unchanged: %d.\n"
	if dry {
		format = "Dry run, nothing was changed. Users to create: %d, to update: %d, unchanged: %d.\n"
	}
	return fmt.Sprintf(format, n.Created, n.Updated, n.Unchanged)
}

// An importMeter shows how far an import is, and the lines that are refused.
type importMeter struct {
	s              *shell
	show, terminal bool
	started        time.Time
	shown          time.Time
	refused        []api.ImportEvent
}

// event shows an event of the server.
func (m *importMeter) event(e *api.ImportEvent) {
	switch {
	case e.Type == api.ImportError:
		m.clear()
		m.refused = append(m.refused, *e)
		if !m.s.json {
			_, _ = fmt.Fprintf(m.s.stderr, "line %d: %s\n", e.Line, printable(whyRefused(e))) // the summary tells that there were some
		}
	case m.show && e.ImportCounts != nil:
		took := time.Since(m.started)
		m.line(fmt.Sprintf("import: %d users, %d/s", e.Rows, int(float64(e.Rows)/max(took.Seconds(), 0.001))))
	}
}

func whyRefused(e *api.ImportEvent) string {
	if e.Field == "" {
		return e.Reason
	}
	return e.Field + " " + e.Reason
}

// line shows progress: on a terminal in place, elsewhere now and then.
func (m *importMeter) line(text string) {
	switch {
	case m.terminal:
		_, _ = fmt.Fprintf(m.s.stderr, "\r\x1b[K%s", text) // there is nowhere to report a failure
	case time.Since(m.shown) >= lineEvery && time.Since(m.started) >= lineEvery:
		m.shown = time.Now()
		_, _ = fmt.Fprintln(m.s.stderr, text) // likewise
	}
}

func (m *importMeter) clear() {
	if m.show && m.terminal {
		_, _ = io.WriteString(m.s.stderr, "\r\x1b[K") // likewise
	}
}

type userExport struct {
	Remote
	userFilter
	Format string `name:"format" enum:"csv,jsonl" default:"csv" help:"Format: csv, which \"user import\" reads, or jsonl, one JSON object on each line."`
	Output string `name:"output" short:"o" placeholder:"FILE" help:"File to write to. The default is standard output."`
}

func (*userExport) Help() string {
	return "Without a filter, all users are exported. With several filters, those who match every one.\n\nIn CSV, a cell that a spreadsheet program could read as a formula begins with an apostrophe, which \"porchlight user import\" removes.\n\nExample:\n\n    porchlight user export > users.csv\n    porchlight user export --group Support --active -o support.csv\n    porchlight user export --format jsonl -o users.jsonl"
}

func (c *userExport) Run(s *shell, cl *client.Client) error {
	if c.Output == "" || c.Output == standard {
		return cl.ExportUsers(s.ctx, c.Format, client.UserFilter(c.userFilter), s.stdout)
	}
	file, err := os.OpenFile(c.Output+partial, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("create the file: %w", err)
	}
	err = cl.ExportUsers(s.ctx, c.Format, client.UserFilter(c.userFilter), file)
	if err := errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return os.Rename(file.Name(), c.Output)
}
