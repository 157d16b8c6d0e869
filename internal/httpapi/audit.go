package httpapi

import (
	"bufio"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/wire"
)

func (a *API) auditRoutes() []route {
	read := needsAdmin(auth.AuditRead)
	return []route{
		{"GET", "/v1/audit", read, a.listEvents},
		{"GET", "/v1/audit/checkpoints", read, a.listCheckpoints},
		{"GET", "/v1/audit/export", read, a.exportEvents},
	}
}

// listEvents serves GET /v1/audit.
func (a *API) listEvents(c *call) error {
	q, err := EventQuery(c.r, "user", "target")
	if err != nil {
		return err
	}
	if q.User != "" {
		if q.User, err = a.eventUser(c, string(q.User)); err != nil {
			return err
		}
	}
	var page audit.Page
	err = a.withTurn(c, quota.LightRead+1, func() (err error) {
		page, err = a.Events.Page(c.r.Context(), c.p.Account, q)
		return err
	})
	if err != nil {
		return err
	}
	return c.writeDigested(AsEvents(&page))
}

// AsEvents is a page of an audit log in the form of the API.
func AsEvents(page *audit.Page) *api.AuditEvents {
	list := &api.AuditEvents{Events: make([]json.RawMessage, len(page.Records))}
	for i := range page.Records {
		list.Events[i] = page.Records[i].Line
	}
	list.Older, list.Newer = pageMark(store.Position(page.Older)), pageMark(store.Position(page.Newer))
	return list
}

// EventQuery reads which events of an audit log a request asks for. Its User is the
// parameter as it was given, if the route has that parameter.
func EventQuery(r *http.Request, more ...string) (*audit.Query, error) {
	values, err := Query(r, append(more, "limit", "before", "after", "from", "to", "action", "denied", "order")...)
	if err != nil {
		return nil, err
	}
	pg, err := PageOf(values, "after")
	if err != nil {
		return nil, err
	}
	q := &audit.Query{Limit: pg.Limit, Action: values.Get("action"), Target: values.Get("target"), User: presence.UserID(values.Get("user"))}
	before, err := parsePageMark(values.Get("before"))
	if err != nil {
		return nil, err
	}
	after, err := parsePageMark(pg.After)
	if err != nil {
		return nil, err
	}
	if before != 0 && after != 0 {
		return nil, &presence.FieldError{Field: "before", Reason: "cannot be given together with after"}
	}
	q.Before, q.After = uint64(before), uint64(after)
	if q.Denied, err = Flag(values, "denied"); err != nil {
		return nil, err
	}
	switch values.Get("order") {
	case "", "newest":
	case "oldest":
		q.Oldest = true
	default:
		return nil, &presence.FieldError{Field: "order", Reason: `must be "newest" or "oldest"`}
	}
	q.From, q.To, err = timeRange(values)
	return q, err
}

// eventUser is the user whose events are asked for. An id may be that of a user who was
// deleted.
func (a *API) eventUser(c *call, ref string) (presence.UserID, error) {
	if presence.CheckID("user", ref) == nil && ref != "me" && !strings.Contains(ref, "@") {
		return presence.UserID(ref), nil
	}
	return a.resolve(c, ref)
}

// listCheckpoints serves GET /v1/audit/checkpoints.
func (a *API) listCheckpoints(c *call) error {
	pg, err := c.page()
	if err != nil {
		return err
	}
	all, next, err := a.Events.Checkpoints(c.r.Context(), c.p.Account, pg.After, pg.Limit)
	if err != nil {
		return err
	}
	list := &api.AuditCheckpoints{Checkpoints: make([]json.RawMessage, len(all)), Next: next}
	for i, one := range all {
		list.Checkpoints[i] = one.Line()
	}
	return c.writeDigested(list)
}

// slowExport is how long an export waits for a client that does not read.
const slowExport = time.Minute

// exportEvents serves GET /v1/audit/export.
func (a *API) exportEvents(c *call) error {
	return WriteExport(c.w, c.r, a.Events, c.p.Account, wire.Actor(c.w, c.p))
}

// WriteExport answers with the audit log of an account. An export that fails is cut short,
// so that its last line is not the checkpoint of the export.
func WriteExport(w http.ResponseWriter, r *http.Request, log *audit.Log, account presence.AccountID, by audit.Actor) error {
	if _, err := Query(r); err != nil {
		return err
	}
	export, err := log.Begin(r.Context(), account, by)
	if err != nil {
		return err
	}
	header(w, "Content-Type", "application/x-ndjson")
	SetPrivate(w)
	w.WriteHeader(http.StatusOK)
	to := bufio.NewWriterSize(&patientWriter{w, http.NewResponseController(w)}, 64<<10)
	if err := export.Write(r.Context(), to); err != nil {
		return err
	}
	return to.Flush()
}

// A patientWriter waits for a client, but not for ever.
type patientWriter struct {
	to   http.ResponseWriter
	conn *http.ResponseController
}

func (w *patientWriter) Write(p []byte) (int, error) {
	err := w.conn.SetWriteDeadline(time.Now().Add(slowExport))
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return w.to.Write(p)
}
