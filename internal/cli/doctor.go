package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/doctor"
	"porchlight.dev/porchlight/internal/server"
)

// doctorCommand is "porchlight doctor".
type doctorCommand struct {
	settings
	clientCertificate
	Strict bool `name:"strict" help:"Exit with 4 if there are warnings and no problems."`
}

func (*doctorCommand) Help() string {
	return `Checks the disk, the clock, the open file limit, the certificates, public-url, webhooks, consumers, quarantined entries, NATS, backups and the settings, and says what to do about each problem and warning. It changes nothing.

Run it on the server's machine, as the same user as the server, with the settings of "porchlight serve". A running server answers on the control socket in its data directory, with its own settings, so that --data-dir is enough; with a store on NATS it answers on admin-listen, and if admin-client-ca-file admits only clients with a certificate there, give the command one with --client-cert-file and --client-key-file. Without a running server, the command reads the data directory or the store itself, and says which checks need the server.

It exits with 0 if no check found a problem, and with 1 otherwise. Warnings alone exit with 0, or with 4 if --strict is given. The output contains no secrets.

Example:

    porchlight doctor --config /etc/porchlight.yaml
    porchlight doctor --data-dir /var/lib/porchlight --json`
}

// A warningsError means that "doctor --strict" found warnings and no problems.
type warningsError struct{ text string }

func (e *warningsError) Error() string { return e.text }

func (c *doctorCommand) Run(s *shell) error {
	cfg, _, err := c.load(s)
	problems, invalid := errors.AsType[config.Problems](err)
	switch {
	case err != nil && !invalid:
		return err
	case cfg.DataDir == "" && cfg.Store == "", slices.ContainsFunc(problems, func(p config.Problem) bool { return p.Setting == "store" || p.Setting == "" }):
		return problems // there is nothing to check without the store
	}
	certificates, err := c.certificates()
	if err != nil {
		return err
	}
	facts, err := server.Examine(s.ctx, cfg, certificates)
	if err != nil {
		return err
	}
	addProblems(facts, problems)
	report := doctor.Judge(facts, time.Now())
	if err := s.printReport(&report); err != nil {
		return err
	}
	return c.result(&report)
}

// addProblems adds the problems of the command's own settings, unless the server has reported
// them: its next start would fail with them.
func addProblems(f *doctor.Facts, problems config.Problems) {
	for _, p := range problems {
		if !slices.ContainsFunc(f.Settings.Problems, func(known string) bool { return strings.HasSuffix(known, p.Text) }) {
			f.Settings.Problems = append(f.Settings.Problems, p.String())
		}
	}
}

// result is the error that the exit code follows from, or nil.
func (c *doctorCommand) result(r *doctor.Report) error {
	warnings := r.Count(doctor.Warning)
	switch problems := r.Count(doctor.Problem); {
	case problems == 1:
		return errors.New("1 problem was found")
	case problems > 1:
		return fmt.Errorf("%d problems were found", problems)
	case warnings > 0 && c.Strict:
		return &warningsError{fmt.Sprintf("no problem was found, but there are warnings (%d)", warnings)}
	}
	return nil
}

func (s *shell) printReport(r *doctor.Report) error {
	if s.json {
		return s.printJSON(r)
	}
	var b strings.Builder
	state := "no running server was found"
	if r.Running {
		state = "server " + r.Version + " is running"
	}
	fmt.Fprintf(&b, "%s: %s\n\n", printable(r.Place), printable(state))
	for i := range r.Results {
		s.describeResult(&b, &r.Results[i])
	}
	fmt.Fprintf(&b, "\nproblems: %d, warnings: %d, ok: %d, not checked: %d\n",
		r.Count(doctor.Problem), r.Count(doctor.Warning), r.Count(doctor.OK), r.Count(doctor.NotChecked))
	_, err := fmt.Fprint(s.stdout, b.String())
	return err
}

// describeResult writes a line on what was found, and one on what to do.
func (s *shell) describeResult(to *strings.Builder, r *doctor.Result) {
	const columns = "%-13s%-14s"
	outcome := strings.ReplaceAll(string(r.Outcome), "_", " ")
	line := fmt.Sprintf(columns, outcome, r.Check)
	if code := outcomeColours[r.Outcome]; code != "" && s.isTerminal(s.stdout) {
		line = "\x1b[" + code + "m" + line + "\x1b[0m"
	}
	fmt.Fprintf(to, "%s%s\n", line, printable(r.Found))
	if r.Do != "" {
		fmt.Fprintf(to, columns+"%s\n", "", "", printable(r.Do))
	}
}

// outcomeColours are SGR codes.
var outcomeColours = map[doctor.Outcome]string{doctor.OK: "32", doctor.Warning: "33", doctor.Problem: "31", doctor.NotChecked: "90"}
