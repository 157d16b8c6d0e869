package cli

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

// partial is appended to the name of a file until it is complete.
const partial = ".partial"

// export writes the changes to a file or to standard output, while it reads them.
func (c *statusHistory) export(s *shell, cl *client.Client, zone *time.Location) error {
	if c.Output == "" || c.Output == standard {
		_, err := c.write(s, cl, s.stdout, zone)
		return err
	}
	file, err := os.OpenFile(c.Output+partial, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("create the file: %w", err)
	}
	n, err := c.write(s, cl, file, zone)
	if err := errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	if err := os.Rename(file.Name(), c.Output); err != nil {
		return err
	}
	if !c.Quiet {
		_, _ = fmt.Fprintf(s.stderr, "porchlight: %d changes exported to %s\n", n, c.Output) // informational
	}
	return nil
}

// write writes the changes, and returns how many there are.
func (c *statusHistory) write(s *shell, cl *client.Client, to io.Writer, zone *time.Location) (n int, err error) {
	m := s.meter("export", c.Quiet || s.isTerminal(to))
	defer m.end()
	counted := &countingWriter{to: to, m: m}
	buffered := bufio.NewWriter(counted)
	put := jsonLines(buffered)
	if c.Export == "csv" {
		put = csvLines(buffered)
	}
	for e, err := range cl.History(s.ctx, c.User, c.options(zone)) {
		if err == nil {
			err = put(&e)
		}
		if err != nil {
			return n, errors.Join(err, buffered.Flush())
		}
		n++
	}
	return n, buffered.Flush()
}

// A countingWriter reports progress.
type countingWriter struct {
	to io.Writer
	m  *meter
	n  int64
}

func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.to.Write(p)
	w.n += int64(n)
	w.m.update(w.n, 0)
	return n, err
}

func jsonLines(to io.Writer) func(*api.HistoryEntry) error {
	enc := json.NewEncoder(to)
	enc.SetEscapeHTML(false)
	return func(e *api.HistoryEntry) error { return enc.Encode(e) }
}

var csvHeader = []string{
	"time", "status", "note", "status_before", "note_before", "cause", "source", "claim", "client", "client_version",
	"actor_user", "actor_app", "own_note", "user_state", "since", "until", "revision", "gap", "erased", "damaged", "id",
}

// csvLines writes a header before the first line.
func csvLines(to io.Writer) func(*api.HistoryEntry) error {
	w := csv.NewWriter(to)
	_ = w.Write(csvHeader) // Flush reports it
	w.Flush()
	return func(e *api.HistoryEntry) error {
		_ = w.Write(csvCells(e)) // likewise
		w.Flush()
		return w.Error()
	}
}

func csvCells(e *api.HistoryEntry) []string {
	var before, after api.HistoryState
	var actor api.HistoryActor
	var of api.HistoryClient
	if e.Before != nil {
		before = *e.Before
	}
	if e.After != nil {
		after = *e.After
	}
	if e.Actor != nil {
		actor = *e.Actor
	}
	if e.Client != nil {
		of = *e.Client
	}
	cells := []string{
		e.Time.String(), string(after.Status), after.Note, string(before.Status), before.Note, e.Cause, e.Source, e.Claim, of.Type, of.Version,
		actor.User, actor.App, after.OwnNote, after.UserState, after.Since.String(), after.Until.String(),
		strconv.FormatUint(e.Revision, 10), strconv.FormatBool(e.Gap), strconv.FormatBool(e.Erased), strconv.FormatBool(e.Damaged), e.ID,
	}
	for i := range cells {
		cells[i] = harmless(cells[i])
	}
	return cells
}

// harmless puts an apostrophe before a text that a spreadsheet would take for a formula:
// notes come from people and other programs.
func harmless(text string) string {
	trimmed := strings.TrimLeft(text, " \t\r\n")
	if trimmed != "" && strings.ContainsRune("=+-@＝＋－＠", []rune(trimmed)[0]) || text != trimmed && text != "" {
		return "'" + text
	}
	return text
}
