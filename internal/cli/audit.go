package cli

import (
	"bufio"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/audit"
)

type auditCommands struct {
	List   auditList   `cmd:"" help:"List security events, newest first."`
	Export auditExport `cmd:"" help:"Write the whole audit log to a file."`
	Verify auditVerify `cmd:"" help:"Verify an export, or the audit log of the server."`
	Key    auditKey    `cmd:"" help:"Create a key to sign the audit log with."`
}

// auditSource is whose log a command reads.
type auditSource struct {
	Remote `embed:""`
	System bool `name:"system" help:"Read the audit log of the server, which belongs to no account. The token must be a system token."`
}

func (a *auditSource) events(s *shell, cl *client.Client, o client.AuditOptions) iter.Seq2[json.RawMessage, error] {
	if a.System {
		return cl.SystemAuditEvents(s.ctx, o)
	}
	return cl.AuditEvents(s.ctx, o)
}

func (a *auditSource) export(s *shell, cl *client.Client, to io.Writer) error {
	if a.System {
		return cl.ExportSystemAudit(s.ctx, to)
	}
	return cl.ExportAudit(s.ctx, to)
}

type auditList struct {
	auditSource `embed:""`
	User        string `name:"user" placeholder:"USER" help:"Only events that this user caused or that changed this user (id or e-mail address)."`
	Action      string `name:"action" placeholder:"ACTION" help:"Only this action, such as user.update."`
	From        string `name:"from" placeholder:"TIME" help:"Only events at or after this time, such as 2026-03-01T09:30:00Z."`
	To          string `name:"to" placeholder:"TIME" help:"Only events before this time."`
	Denied      bool   `name:"denied" help:"Only refused requests and sign-ins."`
	Oldest      bool   `name:"oldest" help:"List the oldest events first."`
	Limit       int    `name:"limit" default:"50" placeholder:"N" help:"Maximum number of events. 0 lists all."`
}

func (*auditList) Help() string {
	return `Lists the security events of the account. The token needs the scope audit:read:admin. docs/audit.md, which the server serves at /help/audit, explains the events.

Example:

    porchlight audit list --denied
    porchlight audit list --user grace@example.com --from 2026-03-01T00:00:00Z
    porchlight audit list --system --action account.delete`
}

func (c *auditList) Run(s *shell) error {
	cl, err := c.connect(s)
	if err != nil {
		return err
	}
	o := client.AuditOptions{User: c.User, Action: c.Action, From: c.From, To: c.To, Denied: c.Denied, Oldest: c.Oldest}
	n := 0
	for line, err := range c.events(s, cl, o) {
		if err == nil {
			err = s.printEvent(line)
		}
		if err != nil {
			return err
		}
		if n++; n == c.Limit {
			return nil
		}
	}
	return nil
}

// printEvent prints an event as one line.
func (s *shell) printEvent(line json.RawMessage) error {
	if s.json {
		_, err := fmt.Fprintf(s.stdout, "%s\n", line)
		return err
	}
	var e api.AuditEvent
	if err := json.Unmarshal(line, &e); err != nil {
		return fmt.Errorf("unexpected event: %w", err)
	}
	parts := []string{e.Time.String(), e.Action}
	if e.Target != "" {
		parts = append(parts, e.Target)
	}
	if e.Denied {
		parts = append(parts, "denied="+e.Reason)
	}
	for _, field := range [][2]string{{"user", e.User}, {"app", e.App}, {"token", e.Token}, {"address", e.Address}, {"before", string(e.Before)}, {"after", string(e.After)}} {
		if field[1] != "" {
			parts = append(parts, field[0]+"="+field[1])
		}
	}
	if e.Count > 1 {
		parts = append(parts, fmt.Sprintf("count=%d", e.Count))
	}
	_, err := fmt.Fprintln(s.stdout, printable(strings.Join(parts, " ")))
	return err
}

type auditExport struct {
	auditSource `embed:""`
	Output      string `name:"output" short:"o" placeholder:"FILE" help:"File to write to. The default is standard output."`
	Quiet       bool   `name:"quiet" short:"q" help:"Do not show the progress."`
}

func (*auditExport) Help() string {
	return `Writes the audit log of the account and its checkpoints, oldest first, with one JSON object on each line. "porchlight audit verify" verifies the file. The export itself is recorded in the log.

Example:

    porchlight audit export --output audit.jsonl`
}

func (c *auditExport) Run(s *shell) error {
	cl, err := c.connect(s)
	if err != nil {
		return err
	}
	if c.Output == "" || c.Output == standard {
		return c.write(s, cl, s.stdout)
	}
	file, err := os.OpenFile(c.Output+partial, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("create the file: %w", err)
	}
	if err := errors.Join(c.write(s, cl, file), file.Close()); err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	if err := os.Rename(file.Name(), c.Output); err != nil {
		return err
	}
	return s.print(map[string]string{"file": c.Output}, "Audit log exported to %s.\n", c.Output)
}

func (c *auditExport) write(s *shell, cl *client.Client, to io.Writer) error {
	m := s.meter("export", c.Quiet || s.isTerminal(to))
	defer m.end()
	return c.export(s, cl, &countingWriter{to: to, m: m})
}

// live stands for the audit log of the server, in place of a file.
const live = "live"

type auditVerify struct {
	auditSource `embed:""`
	File        string   `arg:"" optional:"" default:"live" help:"A file written by \"audit export\", - for standard input, or live (the default) for the audit log on the server."`
	PublicKey   []string `name:"public-key" placeholder:"FILE" help:"Public key (PEM) to verify signatures with. Repeat the flag if the key has changed."`
	Known       string   `name:"known" placeholder:"FILE" help:"An earlier export, or saved log output of the server. Its checkpoints must match the audit log."`
}

func (*auditVerify) Help() string {
	return `Verifies that no event was changed, removed, inserted or moved. Otherwise the command names the first event that is wrong and exits with 1.

Without --public-key, signatures are not verified, so a log that was replaced as a whole is not detected. --known also detects a log that was replaced by somebody who has the signing key.

Example:

    porchlight audit verify audit.jsonl --public-key audit.pem.pub
    porchlight audit verify live --public-key audit.pem.pub --known last-month.jsonl`
}

func (c *auditVerify) Run(s *shell) error {
	v := new(audit.Verifier)
	var err error
	if v.Keys, err = publicKeys(c.PublicKey); err != nil {
		return err
	}
	if c.Known != "" {
		if v.Known, err = knownCheckpoints(c.Known); err != nil {
			return err
		}
	}
	report, err := c.verify(s, v)
	if err != nil {
		return err
	}
	if s.json {
		if err := s.printJSON(report); err != nil {
			return err
		}
	} else if err := c.print(s, report); err != nil {
		return err
	}
	if report.Problem != nil {
		return fmt.Errorf("the audit log failed verification: %w", report.Problem)
	}
	return nil
}

func publicKeys(files []string) (keys []ed25519.PublicKey, err error) {
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read the public key: %w", err)
		}
		found, err := audit.ParsePublicKeys(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		keys = append(keys, found...)
	}
	return keys, nil
}

func knownCheckpoints(name string) ([]*audit.Checkpoint, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read the known checkpoints: %w", err)
	}
	defer file.Close()
	known, err := audit.ReadCheckpoints(file)
	if err == nil && len(known) == 0 {
		err = fmt.Errorf("%s has no checkpoint", name)
	}
	return known, err
}

func (c *auditVerify) verify(s *shell, v *audit.Verifier) (*audit.Report, error) {
	switch c.File {
	case live:
		return c.verifyLive(s, v)
	case standard:
		return v.Verify(s.stdin)
	}
	file, err := os.Open(c.File)
	if err != nil {
		return nil, fmt.Errorf("read the export: %w", err)
	}
	defer file.Close()
	return v.Verify(bufio.NewReader(file))
}

// verifyLive verifies an export while it is read.
func (c *auditVerify) verifyLive(s *shell, v *audit.Verifier) (*audit.Report, error) {
	cl, err := c.connect(s)
	if err != nil {
		return nil, err
	}
	from, to := io.Pipe()
	go func() { to.CloseWithError(c.export(s, cl, to)) }()
	report, err := v.Verify(from)
	from.CloseWithError(io.ErrClosedPipe)
	return report, err
}

func (c *auditVerify) print(s *shell, r *audit.Report) error {
	if r.Problem != nil {
		return nil //nolint:nilerr // the caller reports it
	}
	signatures := fmt.Sprintf("signed by the given keys: %d", r.Signed)
	if len(c.PublicKey) == 0 {
		signatures = "signatures not verified (use --public-key)"
	}
	_, err := fmt.Fprintf(s.stdout, "Verified. Events: %d (%d to %d), the last at %s. Checkpoints: %d, %s.\n", r.Events, r.First, r.Last, r.LastTime, r.Checkpoints, signatures)
	return err
}

type auditKey struct {
	File  string `arg:"" help:"File for the private key. The public key is written to the same name with .pub appended."`
	Force bool   `name:"force" help:"Overwrite existing files."`
}

func (*auditKey) Help() string {
	return `Creates a key pair. The server signs checkpoints of the audit log with the private key: set audit-key-file to it. Keep the public key on another machine; "audit verify" needs it.

Example:

    porchlight audit key audit.pem`
}

func (c *auditKey) Run(s *shell) error {
	key, err := audit.NewKey()
	if err != nil {
		return err
	}
	public := c.File + ".pub"
	for name, text := range map[string][]byte{c.File: key.PEM(), public: key.PublicPEM()} {
		if err := createFile(name, text, c.Force); err != nil {
			return err
		}
	}
	return s.print(map[string]string{"file": c.File, "public_key": public, "key": key.ID(), "created": time.Now().UTC().Format(time.RFC3339)},
		"Wrote the private key %s to %s and its public key to %s.\n", key.ID(), c.File, public)
}

// createFile creates a file for its owner alone.
func createFile(name string, text []byte, replace bool) error {
	if replace {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("create the key: %w", err)
	}
	_, err = file.Write(text)
	return errors.Join(err, file.Close())
}
