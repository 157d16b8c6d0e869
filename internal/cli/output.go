package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/config"
)

// A usageError is a mistake on the command line.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

// A timeoutError means that the time limit of a command has passed.
type timeoutError struct{ text string }

func (e *timeoutError) Error() string { return e.text }

// An advice is an error described in terms of the command line, with what to do about
// it.
type advice struct {
	err    error
	text   string
	action string
}

func (e *advice) Error() string { return strings.TrimSpace(e.text + "\n" + e.action) }
func (e *advice) Unwrap() error { return e.err }

// fail prints an error and returns its exit code.
func (s *shell) fail(err error) int {
	code := exitFailure
	_, usage := errors.AsType[*usageError](err)
	problems, invalid := errors.AsType[config.Problems](err)
	_, timeout := errors.AsType[*timeoutError](err)
	_, warnings := errors.AsType[*warningsError](err)
	switch {
	case usage || invalid:
		code = exitUsage
	case timeout:
		code = exitTimeout
	case warnings:
		code = exitWarning
	}
	err = s.explained(err)
	if s.json {
		report := map[string]any{"error": err.Error(), "exit_code": code}
		if invalid {
			report["problems"] = problems
		}
		if refused, ok := errors.AsType[*client.Error](err); ok {
			report["status"] = refused.Status
			if refused.Problem != nil {
				report["type"] = refused.Problem.Type
			}
		}
		_ = json.NewEncoder(s.stderr).Encode(report) // there is nowhere else to report an error
		return code
	}
	_, _ = fmt.Fprintf(s.stderr, "porchlight: %v\n", err) // likewise
	return code
}

// explained describes an error of the API in terms of the command line.
func (s *shell) explained(err error) error {
	_, described := errors.AsType[*advice](err)
	if s.target == nil || described {
		return err
	}
	if lost, ok := errors.AsType[*client.TransportError](err); ok {
		if s.ctx.Err() != nil {
			return fmt.Errorf("%w before the server answered", context.Cause(s.ctx))
		}
		text, action := s.target.unreachable(lost)
		return &advice{err, text, action}
	}
	if closed, ok := errors.AsType[*client.ClosedError](err); ok {
		switch closed.Code {
		case api.CloseUnauthorized:
			return &advice{err, err.Error(), s.target.refusal() + "\n" + s.target.renewal(hints[&api.InvalidToken].action)}
		case api.CloseSuspended:
			return &advice{err, err.Error(), hints[&api.AccountSuspended].action}
		}
	}
	refused, ok := errors.AsType[*client.Error](err)
	switch {
	case !ok:
		return err
	case refused.Problem == nil:
		return &advice{err, fmt.Sprintf("%s (%d)", strings.TrimSpace(refused.Message), refused.Status), s.target.adviceFor(refused)}
	}
	text, action := hintFor(refused.Problem, s.param)
	switch {
	case client.Is(refused, &api.InvalidToken), client.Is(refused, &api.ExpiredToken):
		action = s.target.refusal() + "\n" + s.target.renewal(action)
	case refused.Status == http.StatusUnauthorized:
		action = s.target.refusal() + "\n" + action
	case client.Is(refused, &api.NoRoute): // or the URL has a path that it must not have
		action = fmt.Sprintf("The server is %s.\n%s", s.target.server(), action)
	}
	return &advice{refused, text, action}
}

// brief is the text of explained, without the advice.
func (s *shell) brief(err error) string {
	err = s.explained(err)
	if a, ok := errors.AsType[*advice](err); ok {
		return a.text
	}
	return fmt.Sprint(err)
}

// print prints value with --json, and otherwise the text.
func (s *shell) print(value any, format string, args ...any) error {
	if s.json {
		return s.printJSON(value)
	}
	_, err := fmt.Fprintf(s.stdout, format, args...)
	return err
}

// printDone prints what a command removed, unless it failed.
func (s *shell) printDone(done, what string, err error) error {
	if err != nil {
		return err
	}
	return s.print(map[string]string{strings.ToLower(done): what}, "%s %s\n", done, what)
}

func (s *shell) printJSON(value any) error {
	enc := json.NewEncoder(s.stdout)
	enc.SetEscapeHTML(false)
	return enc.Encode(value)
}

// cells joins the cells of a line. Names come from other users.
func cells(texts []string) string {
	for i, text := range texts {
		texts[i] = printable(text)
	}
	return strings.Join(texts, "\t")
}

// list prints a table with a line for each item, or with --json one array.
func list[T any](s *shell, items iter.Seq2[T, error], header string, line func(T) []string) error {
	all, err := collect(items)
	if err != nil {
		return err
	}
	return table(s, all, header, line)
}

func collect[T any](items iter.Seq2[T, error]) ([]T, error) {
	all := []T{}
	for item, err := range items {
		if err != nil {
			return nil, err
		}
		all = append(all, item)
	}
	return all, nil
}

// table is list for items that have been read.
func table[T any](s *shell, all []T, header string, line func(T) []string) error {
	if s.json {
		return s.printJSON(all)
	}
	w := tabwriter.NewWriter(s.stdout, 0, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, header) // Flush reports it
	for _, item := range all {
		_, _ = fmt.Fprintln(w, cells(line(item))) // likewise
	}
	return w.Flush()
}

// colours of the statuses, as SGR codes.
var colours = map[api.Status]string{
	api.Available: "32", api.Away: "33", api.Offline: "90",
	api.Busy: "31", api.DoNotDisturb: "31", api.InMeeting: "31", api.Presenting: "31", api.OnCall: "31",
	api.InCalendarEvent: "31", api.OutOfOffice: "35",
}

// coloured is the status, in colour on a terminal.
func (s *shell) coloured(status api.Status) string {
	if !s.isTerminal(s.stdout) {
		return string(status)
	}
	return "\x1b[" + colours[status] + "m" + string(status) + "\x1b[0m"
}

// isTerminal reports whether w is a terminal that shows colour.
func (s *shell) isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok || s.getenv("NO_COLOR") != "" || s.getenv("TERM") == "dumb" {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// clock formats a time for people, in local time.
func clock(t api.Time) string {
	if t.IsZero() {
		return "-"
	}
	local := t.Local()
	if now := time.Now(); local.YearDay() == now.YearDay() && local.Year() == now.Year() {
		return local.Format("15:04:05")
	}
	return local.Format("2006-01-02 15:04:05")
}
