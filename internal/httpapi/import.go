package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/provision"
	"porchlight.dev/porchlight/internal/usersheet"
	"porchlight.dev/porchlight/internal/wire"
)

const (
	// importPart is how many users are read, changed and reported together.
	importPart = 2000
	// importTime is how long a client may take to send a list, and to read what is reported
	// of a part.
	importTime = 5 * time.Minute
	// importSenders is how many lists are sent at a time. Each is held in memory.
	importSenders = 4
	// importRetry is when a client may try again that another import kept waiting.
	importRetry = 10 * time.Second
)

// importUsers serves POST /v1/users/import. A server carries out one import at a time. It
// reads the list before, so that a client that sends slowly keeps no other waiting.
func (a *API) importUsers(c *call) error {
	q, err := c.query("dry_run", "all_errors")
	if err != nil {
		return err
	}
	dry, err := Flag(q, "dry_run")
	if err != nil {
		return err
	}
	allErrors, err := Flag(q, "all_errors")
	if err != nil {
		return err
	}
	if err := requireCSV(c.r); err != nil {
		return err
	}
	received, ok := a.importing.begin(c.p.TurnKey())
	if !ok {
		return &BusyError{Reason: "you send another list to the server, or several others do", RetryAfter: importRetry}
	}
	defer received()
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Now().Add(importTime)) // without it, a slow client is refused earlier
	list, err := wire.ReadBody(c.w, c.r, api.MaxImport)
	if err != nil {
		return err
	}
	done, ok := a.Provisioner.BeginImport()
	if !ok {
		return &BusyError{Reason: "the server carries out another import", RetryAfter: importRetry}
	}
	defer done()
	rows, err := usersheet.NewReader(bytes.NewReader(list))
	if header, ok := errors.AsType[*usersheet.HeaderError](err); ok {
		return &presence.FieldError{Field: "columns", Reason: header.Reason}
	}
	if err != nil {
		return err
	}
	run := &importRun{lines: newLines(c), rows: rows, allErrors: allErrors}
	run.Import = provision.Import{
		Provisioner: a.Provisioner, By: c.by(), MayAppoint: a.mayAppoint(c.p), DryRun: dry,
		Fail: func(u *provision.ImportedUser, err error) { run.report(u.Line, err) },
	}
	run.finish(run.all(c.r.Context()))
	return nil
}

// importQueue has the callers whose lists are in memory: one of each, and few in all.
type importQueue struct {
	mu      sync.Mutex
	callers map[string]bool // guarded by mu
}

// begin admits a caller, who calls done at the end of the import.
func (q *importQueue) begin(caller string) (done func(), ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.callers[caller] || len(q.callers) >= importSenders {
		return nil, false
	}
	if q.callers == nil {
		q.callers = make(map[string]bool)
	}
	q.callers[caller] = true
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.callers, caller)
	}, true
}

// requireCSV refuses a body of another type than CSV in UTF-8.
func requireCSV(r *http.Request) error {
	kind, params, err := wire.MediaType(r)
	if err != nil {
		return err
	}
	charset := params["charset"]
	if kind != "text/csv" || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return &wire.MediaTypeError{Given: kind, Accepted: "text/csv in UTF-8"}
	}
	return nil
}

// lines writes JSON lines to a client that reads them as they come.
type lines struct {
	to  *json.Encoder
	out *http.ResponseController
}

func newLines(c *call) *lines {
	header(c.w, "Content-Type", "application/x-ndjson")
	c.setPrivate()
	c.w.WriteHeader(http.StatusOK)
	return &lines{json.NewEncoder(c.w), http.NewResponseController(c.w)}
}

// write writes a line. The caller learns from its context that nobody reads.
func (l *lines) write(event *api.ImportEvent) { _ = l.to.Encode(event) }

func (l *lines) flush() {
	_ = l.out.SetWriteDeadline(time.Now().Add(importTime))
	_ = l.out.Flush()
}

// An importRun is an import that reports to its client.
type importRun struct {
	provision.Import
	*lines

	rows      *usersheet.Reader
	allErrors bool // writes more than api.MaxImportErrors
	read      int
	shown     int
	refused   []*api.ImportEvent // of the present part
}

// all imports all users of the list.
func (run *importRun) all(ctx context.Context) error {
	for more := true; more; {
		part := make([]*provision.ImportedUser, 0, importPart)
		for more && len(part) < importPart {
			u, err := run.next()
			switch {
			case errors.Is(err, io.EOF):
				more = false
			case err != nil:
				return err
			case u != nil:
				part = append(part, u)
			}
		}
		err := run.Part(ctx, part)
		run.tell()
		if err != nil {
			return err
		}
		run.write(&api.ImportEvent{Type: api.ImportProgress, ImportCounts: run.counts()})
		run.flush()
	}
	return nil
}

// next reads a user; nil for one that is refused.
func (run *importRun) next() (*provision.ImportedUser, error) {
	row, err := run.rows.Read()
	if bad, ok := errors.AsType[*usersheet.RowError](err); ok {
		run.read++
		run.refuse(bad.Line, &presence.FieldError{Field: bad.Field, Reason: bad.Reason})
		return nil, nil //nolint:nilnil // it is reported
	}
	if err != nil {
		return nil, err
	}
	run.read++
	u := &provision.ImportedUser{Line: row.Line, Email: row.Email(), Edit: row.Edit}
	if u.Active, err = row.Active(); err == nil {
		err = checkAddress(u.Email)
	}
	if err != nil {
		run.refuse(row.Line, err)
		return nil, nil //nolint:nilnil // likewise
	}
	return u, nil
}

func checkAddress(email string) error {
	u := directory.User{Email: email}
	return u.Clean(&directory.User{})
}

func (run *importRun) refuse(line int, err error) {
	run.Counts.Failed++
	run.report(line, err)
}

// report notes a user who was not imported.
func (run *importRun) report(line int, err error) {
	event := &api.ImportEvent{Type: api.ImportError, Line: line}
	field, isField := errors.AsType[*presence.FieldError](err)
	repeated, isRepeated := errors.AsType[*provision.RepeatedError](err)
	switch {
	case isField:
		event.Field, event.Reason = field.Field, field.Reason
	case isRepeated && repeated.ExternalID:
		event.Field, event.Reason = "external_id", repeated.Error()
	case isRepeated:
		event.Field, event.Reason = "email", repeated.Error()
	default:
		event.Reason = Problem(err).Detail
	}
	run.refused = append(run.refused, event)
}

// tell writes the lines of a part that were refused, in their order.
func (run *importRun) tell() {
	slices.SortStableFunc(run.refused, func(a, b *api.ImportEvent) int { return a.Line - b.Line })
	most := len(run.refused)
	if !run.allErrors {
		most = min(most, api.MaxImportErrors-run.shown)
	}
	for _, event := range run.refused[:most] {
		run.write(event)
		run.shown++
	}
	run.refused = nil
}

func (run *importRun) counts() *api.ImportCounts {
	n := &run.Counts
	return &api.ImportCounts{Rows: run.read, Created: n.Created, Updated: n.Updated, Unchanged: n.Unchanged, Failed: n.Failed}
}

// finish records the import, and writes the last line.
func (run *importRun) finish(err error) {
	ctx, cancel := context.WithTimeout(context.Background(), auditTime) // also if the client is gone
	defer cancel()
	err = errors.Join(err, run.Record(ctx))
	last := &api.ImportEvent{Type: api.ImportResult, ImportCounts: run.counts(), DryRun: run.DryRun, ErrorsShown: run.shown, Complete: err == nil}
	if err != nil {
		last.Problem = Problem(err)
	}
	run.write(last)
	run.flush()
}

// auditTime bounds how long an import waits for the audit log at its end.
const auditTime = 10 * time.Second
